//! The public half of a key that signs.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kedge_api::Fingerprint;

use crate::algorithm::KeyAlgorithm;
use crate::wire::PutFields;

/// A public key. Displays as `algorithm base64`, fit for a line of `authorized_keys`.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: KeyAlgorithm,
    blob: Vec<u8>,
}

impl PublicKey {
    /// What kind it is.
    #[must_use]
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// The key as SSH sends it.
    #[must_use]
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// What `ssh-keygen -l` shows.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.blob)
    }

    /// RFC 8709 §4.
    pub(crate) fn ed25519(key: &[u8]) -> Self {
        Self::new(KeyAlgorithm::Ed25519, |blob| blob.put_string(key))
    }

    /// RFC 5656 §3.1, with the point uncompressed.
    pub(crate) fn ecdsa(curve: Curve, point: &[u8]) -> Self {
        Self::new(curve.algorithm(), |blob| {
            blob.put_string(curve.name().as_bytes());
            blob.put_string(point);
        })
    }

    /// RFC 4253 §6.6.
    pub(crate) fn rsa(exponent: &[u8], modulus: &[u8]) -> Self {
        Self::new(KeyAlgorithm::Rsa, |blob| {
            blob.put_positive(exponent);
            blob.put_positive(modulus);
        })
    }

    fn new(algorithm: KeyAlgorithm, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut blob = Vec::new();
        blob.put_string(algorithm.as_str().as_bytes());
        write(&mut blob);
        Self { algorithm, blob }
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.algorithm, STANDARD.encode(&self.blob))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.algorithm, self.fingerprint())
    }
}

/// The curves of ECDSA keys (RFC 5656 §10.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    pub(crate) const ALL: [Self; 3] = [Self::P256, Self::P384, Self::P521];

    /// SSH's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::P256 => "nistp256",
            Self::P384 => "nistp384",
            Self::P521 => "nistp521",
        }
    }

    pub(crate) fn algorithm(self) -> KeyAlgorithm {
        match self {
            Self::P256 => KeyAlgorithm::EcdsaP256,
            Self::P384 => KeyAlgorithm::EcdsaP384,
            Self::P521 => KeyAlgorithm::EcdsaP521,
        }
    }

    /// Bytes of a coordinate and of a scalar.
    pub(crate) fn width(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }
}
