//! An issuer's signing keys, and signatures of any kind, the forged ones too.

use anyhow::{Context, Result, bail};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
    RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use aws_lc_rs::{hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// What an issuer signs with: one key for each family of algorithms.
#[derive(Debug)]
pub(super) struct Keys {
    id: String,
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
}

impl Keys {
    /// New ones; their ids were never used before.
    pub(super) fn generate() -> Result<Self> {
        Ok(Self {
            id: random_hex(4)?,
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).context("make an RSA key")?,
            p256: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
                .context("make a P-256 key")?,
            p384: EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING)
                .context("make a P-384 key")?,
            ed25519: Ed25519KeyPair::generate().context("make an Ed25519 key")?,
        })
    }

    /// The id of the key an algorithm signs with.
    pub(super) fn kid(&self, algorithm: &str) -> String {
        let family = match algorithm {
            "ES256" => "p256",
            "ES384" => "p384",
            "EdDSA" => "ed25519",
            _ => "rsa",
        };
        format!("{family}-{}", self.id)
    }

    /// The public key an algorithm signs with, as a JWK.
    pub(super) fn jwk(&self, algorithm: &str) -> Result<Value> {
        let kid = self.kid(algorithm);
        let point = |raw: &[u8], curve: &str, algorithm: &str| -> Result<Value> {
            let raw = raw.get(1..).context("a point in its plain form")?;
            let (x, y) = raw.split_at(raw.len() / 2);
            Ok(json!({
                "kty": "EC", "crv": curve, "use": "sig", "alg": algorithm, "kid": kid,
                "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
            }))
        };
        match algorithm {
            "ES256" => point(self.p256.public_key().as_ref(), "P-256", algorithm),
            "ES384" => point(self.p384.public_key().as_ref(), "P-384", algorithm),
            "EdDSA" => Ok(json!({
                "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": kid,
                "x": URL_SAFE_NO_PAD.encode(self.ed25519.public_key().as_ref()),
            })),
            // One RSA key serves every RSA algorithm, so it names none.
            _ => {
                let (modulus, exponent) = rsa_numbers(self.rsa.public_key().as_ref())?;
                Ok(json!({
                    "kty": "RSA", "use": "sig", "kid": kid,
                    "n": URL_SAFE_NO_PAD.encode(modulus), "e": URL_SAFE_NO_PAD.encode(exponent),
                }))
            }
        }
    }

    /// All public keys.
    pub(super) fn jwks(&self) -> Result<Vec<Value>> {
        ["RS256", "ES256", "ES384", "EdDSA"]
            .iter()
            .map(|algorithm| self.jwk(algorithm))
            .collect()
    }

    /// The public RSA key as PEM: what a confused verifier takes for the secret of an HMAC.
    pub(super) fn rsa_pem(&self) -> Result<String> {
        let der: PublicKeyX509Der<'_> = self.rsa.public_key().as_der()?;
        let text = STANDARD.encode(der.as_ref());
        let mut pem = "-----BEGIN PUBLIC KEY-----\n".to_owned();
        for line in text.as_bytes().chunks(64) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem.push_str("-----END PUBLIC KEY-----\n");
        Ok(pem)
    }

    /// A compact JWS of these two texts, whatever they are, signed as `algorithm` says.
    pub(super) fn sign(&self, algorithm: &str, header: &str, claims: &str) -> Result<String> {
        let message = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        );
        let signature = self.signature(algorithm, message.as_bytes())?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn signature(&self, algorithm: &str, message: &[u8]) -> Result<Vec<u8>> {
        let random = SystemRandom::new();
        let rsa = |padding: &'static dyn RsaEncoding| -> Result<Vec<u8>> {
            let mut signature = vec![0; self.rsa.public_modulus_len()];
            self.rsa
                .sign(padding, &random, message, &mut signature)
                .context("sign with RSA")?;
            Ok(signature)
        };
        let mac = |algorithm| -> Result<Vec<u8>> {
            let key = hmac::Key::new(algorithm, self.rsa_pem()?.as_bytes());
            Ok(hmac::sign(&key, message).as_ref().to_vec())
        };
        match algorithm {
            "RS256" => rsa(&RSA_PKCS1_SHA256),
            "RS384" => rsa(&RSA_PKCS1_SHA384),
            "RS512" => rsa(&RSA_PKCS1_SHA512),
            "PS256" => rsa(&RSA_PSS_SHA256),
            "PS384" => rsa(&RSA_PSS_SHA384),
            "PS512" => rsa(&RSA_PSS_SHA512),
            "ES256" => Ok(self.p256.sign(&random, message)?.as_ref().to_vec()),
            "ES384" => Ok(self.p384.sign(&random, message)?.as_ref().to_vec()),
            "EdDSA" => Ok(self.ed25519.sign(message).as_ref().to_vec()),
            "HS256" => mac(hmac::HMAC_SHA256),
            "HS384" => mac(hmac::HMAC_SHA384),
            "HS512" => mac(hmac::HMAC_SHA512),
            _ if algorithm.eq_ignore_ascii_case("none") => Ok(Vec::new()),
            _ => bail!("no key signs with {algorithm}"),
        }
    }
}

/// Random text that fits into a URL.
pub(super) fn random_text() -> Result<String> {
    let mut bytes = [0; 24];
    rand::fill(&mut bytes).context("read random bytes")?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Random bytes in hex.
pub(super) fn random_hex(length: usize) -> Result<String> {
    let mut bytes = vec![0; length];
    rand::fill(&mut bytes).context("read random bytes")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Modulus and exponent of an RSAPublicKey (RFC 8017 A.1.1): a sequence of two integers.
fn rsa_numbers(der: &[u8]) -> Result<(&[u8], &[u8])> {
    let (sequence, _) = der_value(der, 0x30)?;
    let (modulus, rest) = der_value(sequence, 0x02)?;
    let (exponent, _) = der_value(rest, 0x02)?;
    // An integer whose first bit is set has a zero in front, which a JWK leaves out.
    Ok((
        modulus.strip_prefix(&[0]).unwrap_or(modulus),
        exponent.strip_prefix(&[0]).unwrap_or(exponent),
    ))
}

fn der_value(der: &[u8], tag: u8) -> Result<(&[u8], &[u8])> {
    let (head, rest) = der.split_at_checked(2).context("DER ends early")?;
    let &[found, first] = head else {
        bail!("DER ends early")
    };
    anyhow::ensure!(found == tag, "DER has tag {found} and not {tag}");
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest
            .split_at_checked(usize::from(first & 0x7f))
            .context("DER ends early")?;
        let length = bytes
            .iter()
            .fold(0_usize, |length, byte| (length << 8) | usize::from(*byte));
        (length, rest)
    };
    rest.split_at_checked(length).context("DER ends early")
}
