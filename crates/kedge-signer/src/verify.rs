//! Verification of SSH signatures: those of host keys over session ids, and our own before the first use of a key.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};

use crate::protocol::Malformed;
use crate::public::Curve;
use crate::wire::Fields;

/// The signature does not hold, or is of a kind that is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unverified;

/// Verifies a signature (RFC 4253 §6.6: `string algorithm`, `string bytes`) by a plain public key over a message.
///
/// `ssh-rsa`, which is RSA with SHA-1, never holds; neither does anything by a certificate.
pub(crate) fn verify(key: &[u8], signature: &[u8], message: &[u8]) -> Result<(), Unverified> {
    let (mut key, mut signature) = (Fields::new(key), Fields::new(signature));
    let kind = key.string()?;
    let algorithm = signature.string()?;
    let bytes = signature.string()?;
    match (kind, algorithm) {
        (b"ssh-ed25519", b"ssh-ed25519") => {
            let public = key.string()?;
            ends(key, signature)?;
            holds(&ED25519, public, message, bytes)
        }
        (b"ecdsa-sha2-nistp256", b"ecdsa-sha2-nistp256") => {
            let public = point(&mut key, Curve::P256)?;
            ends(key, signature)?;
            ecdsa(Curve::P256, public, message, bytes)
        }
        (b"ecdsa-sha2-nistp384", b"ecdsa-sha2-nistp384") => {
            let public = point(&mut key, Curve::P384)?;
            ends(key, signature)?;
            ecdsa(Curve::P384, public, message, bytes)
        }
        (b"ecdsa-sha2-nistp521", b"ecdsa-sha2-nistp521") => {
            let public = point(&mut key, Curve::P521)?;
            ends(key, signature)?;
            ecdsa(Curve::P521, public, message, bytes)
        }
        (b"ssh-rsa", b"rsa-sha2-256" | b"rsa-sha2-512") => {
            let exponent = key.positive()?;
            let modulus = key.positive()?;
            ends(key, signature)?;
            // Which sizes a host key may have is decided where it is pinned.
            let parameters = match algorithm {
                b"rsa-sha2-256" => &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
                _ => &RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
            };
            rsa(parameters, exponent, modulus, message, bytes)
        }
        (b"sk-ssh-ed25519@openssh.com", b"sk-ssh-ed25519@openssh.com") => {
            let public = key.string()?;
            let signed = security_key(&mut key, &mut signature, message)?;
            ends(key, signature)?;
            holds(&ED25519, public, &signed, bytes)
        }
        (b"sk-ecdsa-sha2-nistp256@openssh.com", b"sk-ecdsa-sha2-nistp256@openssh.com") => {
            let public = point(&mut key, Curve::P256)?;
            let signed = security_key(&mut key, &mut signature, message)?;
            ends(key, signature)?;
            ecdsa(Curve::P256, public, &signed, bytes)
        }
        _ => Err(Unverified),
    }
}

fn ends(key: Fields<'_>, signature: Fields<'_>) -> Result<(), Unverified> {
    key.end()?;
    signature.end()?;
    Ok(())
}

fn holds(
    algorithm: &'static dyn VerificationAlgorithm,
    public: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), Unverified> {
    UnparsedPublicKey::new(algorithm, public)
        .verify(message, signature)
        .map_err(|_| Unverified)
}

/// The public point of an ECDSA key, which must be of this curve.
fn point<'a>(key: &mut Fields<'a>, curve: Curve) -> Result<&'a [u8], Unverified> {
    match key.string()? == curve.name().as_bytes() {
        true => Ok(key.string()?),
        false => Err(Unverified),
    }
}

/// RFC 5656 §3.1.2: two numbers.
fn ecdsa(curve: Curve, public: &[u8], message: &[u8], signature: &[u8]) -> Result<(), Unverified> {
    let mut numbers = Fields::new(signature);
    let (r, s) = (numbers.positive()?, numbers.positive()?);
    numbers.end()?;
    let mut fixed = Vec::with_capacity(2 * curve.width());
    for number in [r, s] {
        let zeros = curve.width().checked_sub(number.len()).ok_or(Unverified)?;
        fixed.resize(fixed.len() + zeros, 0);
        fixed.extend_from_slice(number);
    }
    let algorithm: &'static dyn VerificationAlgorithm = match curve {
        Curve::P256 => &ECDSA_P256_SHA256_FIXED,
        Curve::P384 => &ECDSA_P384_SHA384_FIXED,
        Curve::P521 => &ECDSA_P521_SHA512_FIXED,
    };
    holds(algorithm, public, message, &fixed)
}

/// RFC 8332 §3.
fn rsa(
    parameters: &'static RsaParameters,
    exponent: &[u8],
    modulus: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), Unverified> {
    // Some leave out leading zeros.
    let zeros = modulus
        .len()
        .checked_sub(signature.len())
        .ok_or(Unverified)?;
    let mut padded = vec![0; zeros];
    padded.extend_from_slice(signature);
    RsaPublicKeyComponents {
        n: modulus,
        e: exponent,
    }
    .verify(parameters, message, &padded)
    .map_err(|_| Unverified)
}

/// What a security key signs for a message (OpenSSH's PROTOCOL.u2f).
fn security_key(
    key: &mut Fields<'_>,
    signature: &mut Fields<'_>,
    message: &[u8],
) -> Result<Vec<u8>, Unverified> {
    let application = key.string()?;
    let flags = signature.byte()?;
    let counter = signature.number()?;
    let hash = |bytes| digest::digest(&digest::SHA256, bytes);
    let mut signed = hash(application).as_ref().to_vec();
    signed.push(flags);
    signed.extend_from_slice(&counter.to_be_bytes());
    signed.extend_from_slice(hash(message).as_ref());
    Ok(signed)
}

impl From<Malformed> for Unverified {
    fn from(_: Malformed) -> Self {
        Self
    }
}
