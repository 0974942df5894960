//! The formats that OpenSSL and others write: PKCS#8 (RFC 5208, RFC 5958), PKCS#1 (RFC 8017) and SEC 1 (RFC 5915).
//!
//! The library of cryptography reads them. What is read here is only which kind of key they hold, for the errors.

use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};

use super::{KeyError, PrivateKey, check_rsa_size, ecdsa_algorithm};
use crate::public::Curve;

/// `RSAPrivateKey`
pub(super) fn pkcs1(contents: &[u8]) -> Result<PrivateKey, KeyError> {
    check_rsa_size(rsa_modulus(contents).ok_or(NO_DER)?)?;
    rsa(RsaKeyPair::from_der(contents)?)
}

/// `ECPrivateKey`
pub(super) fn sec1(contents: &[u8]) -> Result<PrivateKey, KeyError> {
    let mut outer = Elements(contents);
    let mut key = Elements(outer.only(SEQUENCE).ok_or(NO_DER)?);
    key.next(INTEGER).ok_or(NO_DER)?;
    let scalar = key.next(OCTET_STRING).ok_or(NO_DER)?;
    let curve = match key.next(CONTEXT_0) {
        Some(parameters) => curve(&mut Elements(parameters))?,
        // They may be left out, which leaves the length.
        None => Curve::ALL
            .into_iter()
            .find(|curve| curve.width() == scalar.len())
            .ok_or(OTHER_CURVE)?,
    };
    let pair = EcdsaKeyPair::from_private_key_der(ecdsa_algorithm(curve), contents)?;
    Ok(PrivateKey::ecdsa(curve, pair))
}

/// `PrivateKeyInfo`, `OneAsymmetricKey`
pub(super) fn pkcs8(contents: &[u8]) -> Result<PrivateKey, KeyError> {
    let mut outer = Elements(contents);
    let mut info = Elements(outer.only(SEQUENCE).ok_or(NO_DER)?);
    info.next(INTEGER).ok_or(NO_DER)?;
    let mut algorithm = Elements(info.next(SEQUENCE).ok_or(NO_DER)?);
    let key = info.next(OCTET_STRING).ok_or(NO_DER)?;
    match algorithm.next(OBJECT_IDENTIFIER).ok_or(NO_DER)? {
        ED25519 => Ok(PrivateKey::ed25519(Ed25519KeyPair::from_pkcs8(contents)?)),
        EC_PUBLIC_KEY => {
            let curve = curve(&mut algorithm)?;
            let pair = EcdsaKeyPair::from_pkcs8(ecdsa_algorithm(curve), contents)?;
            Ok(PrivateKey::ecdsa(curve, pair))
        }
        RSA_ENCRYPTION => {
            check_rsa_size(rsa_modulus(key).ok_or(NO_DER)?)?;
            rsa(RsaKeyPair::from_pkcs8(contents)?)
        }
        other => Err(KeyError::Algorithm {
            name: KINDS
                .iter()
                .find(|(identifier, _)| *identifier == other)
                .map_or("unknown", |(_, name)| name),
        }),
    }
}

fn rsa(pair: RsaKeyPair) -> Result<PrivateKey, KeyError> {
    // `RSAPublicKey`, by the library.
    let public = pair.public_key().as_ref().to_vec();
    let mut outer = Elements(&public);
    let mut numbers = Elements(outer.only(SEQUENCE).ok_or(NO_DER)?);
    let modulus = numbers.next(INTEGER).ok_or(NO_DER)?;
    let exponent = numbers.next(INTEGER).ok_or(NO_DER)?;
    Ok(PrivateKey::rsa(pair, exponent, modulus))
}

/// The modulus of an `RSAPrivateKey`, without leading zeros.
fn rsa_modulus(contents: &[u8]) -> Option<&[u8]> {
    let mut outer = Elements(contents);
    let mut numbers = Elements(outer.only(SEQUENCE)?);
    numbers.next(INTEGER)?;
    let modulus = numbers.next(INTEGER)?;
    Some(modulus.strip_prefix(&[0]).unwrap_or(modulus))
}

/// The curve that `ECParameters` name.
fn curve(parameters: &mut Elements<'_>) -> Result<Curve, KeyError> {
    match parameters.next(OBJECT_IDENTIFIER) {
        Some(P256) => Ok(Curve::P256),
        Some(P384) => Ok(Curve::P384),
        Some(P521) => Ok(Curve::P521),
        _ => Err(OTHER_CURVE),
    }
}

/// Elements of DER (X.690 §8) that are still to be read.
struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    /// The contents of the next element, if it has this tag; else nothing is taken.
    fn next(&mut self, tag: u8) -> Option<&'a [u8]> {
        let rest = self.0.strip_prefix(&[tag])?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match *first {
            short @ ..=0x7f => (usize::from(short), rest),
            // No key comes near what three bytes can say.
            long @ 0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
                let length = bytes
                    .iter()
                    .fold(0, |length, byte| (length << 8) | usize::from(*byte));
                (length, rest)
            }
            _ => return None,
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(contents)
    }

    /// The contents of the only element there is.
    fn only(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next(tag).filter(|_| self.0.is_empty())
    }
}

const NO_DER: KeyError = KeyError::Malformed {
    problem: "it is not the structure that its first line says",
};
const OTHER_CURVE: KeyError = KeyError::Algorithm {
    name: "ECDSA on another curve",
};

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const CONTEXT_0: u8 = 0xa0;

/// 1.3.101.112 (RFC 8410)
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
/// 1.2.840.10045.2.1 (RFC 5480)
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// 1.2.840.113549.1.1.1 (RFC 8017)
const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// 1.2.840.10045.3.1.7 (RFC 5480)
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// 1.3.132.0.34 (RFC 5480)
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
/// 1.3.132.0.35 (RFC 5480)
const P521: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];

/// Kinds of keys that people may have, and that are not taken.
const KINDS: [(&[u8], &str); 5] = [
    (&[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01], "DSA"),
    (&[0x2b, 0x65, 0x71], "Ed448"),
    (&[0x2b, 0x65, 0x6e], "X25519"),
    (&[0x2b, 0x65, 0x6f], "X448"),
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a],
        "RSA-PSS",
    ),
];
