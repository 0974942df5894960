//! Private keys: how files hold them, and the one use they are put to.

mod der;
mod openssh;
mod pem;
mod remainder;

use std::fmt;

use aws_lc_rs::error::{KeyRejected, Unspecified};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaEncoding, RsaKeyPair,
};

use crate::algorithm::{KeyAlgorithm, SignatureAlgorithm};
use crate::defaults::{KEY_FILE_BYTES, RSA_BITS_MAX, RSA_BITS_MIN};
use crate::protocol::Malformed;
use crate::public::{Curve, PublicKey};
use crate::verify;
use crate::wire::PutFields;
use pem::Label;

/// Why bytes are no private key that can be used. Says nothing of what is in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not Ed25519, ECDSA on a NIST curve, or RSA.
    #[error(
        "the private key is of the kind {name}; Ed25519, ECDSA (P-256, P-384, P-521) and RSA are taken"
    )]
    Algorithm {
        /// What it is, if that is a kind we have heard of.
        name: &'static str,
    },
    /// A certificate stands where the private key should.
    #[error("a certificate, and no private key")]
    Certificate,
    /// Nothing but blanks.
    #[error("empty, and no private key")]
    Empty,
    /// Nobody is there to ask for the passphrase.
    #[error(
        "the private key is protected by a passphrase; `ssh-keygen -p -N '' -f KEY` takes it off"
    )]
    Encrypted,
    /// Another program's format.
    #[error(
        "the private key is in the format of {program}; `puttygen KEY -O private-openssh` converts it"
    )]
    Foreign {
        /// Whose.
        program: &'static str,
    },
    /// Its parts do not belong together: it could sign, and nobody would believe it.
    #[error("the public half does not belong to the private half")]
    Inconsistent,
    /// It begins as a private key does, and then something is wrong.
    #[error("the private key is damaged: {problem}")]
    Malformed {
        /// What is wrong.
        problem: &'static str,
    },
    /// Nothing that begins as a private key does.
    #[error("no private key: neither OpenSSH's format nor PKCS#8, PKCS#1 or SEC 1 in PEM")]
    NotAKey,
    /// The public half stands where the private key should.
    #[error("a public key, and no private one")]
    PublicKey,
    /// An RSA key that is too small to be safe, or too large to be used.
    #[error("an RSA key of {bits} bits; from {RSA_BITS_MIN} to {RSA_BITS_MAX} are taken")]
    RsaSize {
        /// Bits of its modulus.
        bits: usize,
    },
    /// The private half never leaves the device.
    #[error("the private half of this key is in a security key; only its owner can sign with it")]
    SecurityKey,
    /// Which one should be used?
    #[error("more than one private key")]
    Several,
    /// More bytes than any private key has.
    #[error("more than {KEY_FILE_BYTES} bytes, and no private key")]
    TooLarge,
}

impl KeyError {
    /// Why, in one CamelCase word: the `reason` of a condition.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Algorithm { .. } => "KeyAlgorithmNotSupported",
            Self::Certificate => "KeyIsCertificate",
            Self::Empty => "KeyEmpty",
            Self::Encrypted => "KeyEncrypted",
            Self::Foreign { .. } => "KeyFormatNotSupported",
            Self::Inconsistent => "KeyInconsistent",
            Self::Malformed { .. } => "KeyMalformed",
            Self::NotAKey => "NotAKey",
            Self::PublicKey => "KeyIsPublic",
            Self::RsaSize { .. } => "KeySizeNotSupported",
            Self::SecurityKey => "KeyInSecurityKey",
            Self::Several => "SeveralKeys",
            Self::TooLarge => "KeyTooLarge",
        }
    }
}

/// A private key. It signs for [`Connection`](crate::Connection) and nobody else; its memory is cleared when it goes.
pub struct PrivateKey {
    pair: Pair,
    public: PublicKey,
}

/// What the library of cryptography holds; it clears its memory itself.
enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl PrivateKey {
    /// Reads the one private key of a file: OpenSSH's format, PKCS#8 (RFC 5208, RFC 5958), PKCS#1 (RFC 8017) or SEC 1
    /// (RFC 5915), all of them in PEM and without a passphrase. Line ends of any kind, and none at the end, are fine.
    ///
    /// It has signed once, and the signature was verified with the public half, before it is given back.
    ///
    /// # Errors
    /// [`KeyError`] says what it is instead.
    pub fn parse(file: &[u8]) -> Result<Self, KeyError> {
        let block = pem::only_block(file)?;
        let key = match block.label {
            Label::OpenSsh => openssh::parse(&block.contents),
            Label::Pkcs1 => der::pkcs1(&block.contents),
            Label::Pkcs8 => der::pkcs8(&block.contents),
            Label::Sec1 => der::sec1(&block.contents),
        }?;
        key.try_out()?;
        Ok(key)
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// A signature as SSH has it (RFC 4253 §6.6): `string algorithm`, `string bytes`.
    ///
    /// # Errors
    /// [`Unspecified`] when the algorithm is another key's, or the library fails.
    pub(crate) fn sign(
        &self,
        algorithm: SignatureAlgorithm,
        data: &[u8],
    ) -> Result<Vec<u8>, Unspecified> {
        let bytes = match (&self.pair, algorithm) {
            (Pair::Ed25519(pair), SignatureAlgorithm::Ed25519) => {
                pair.try_sign(data)?.as_ref().to_vec()
            }
            (
                Pair::Ecdsa(pair),
                SignatureAlgorithm::EcdsaP256
                | SignatureAlgorithm::EcdsaP384
                | SignatureAlgorithm::EcdsaP521,
            ) if self.usual() == algorithm => {
                let signature = pair.sign(&SystemRandom::new(), data)?;
                let (r, s) = signature
                    .as_ref()
                    .split_at_checked(signature.as_ref().len() / 2)
                    .ok_or(Unspecified)?;
                let mut numbers = Vec::new();
                numbers.put_positive(r);
                numbers.put_positive(s);
                numbers
            }
            (Pair::Rsa(pair), SignatureAlgorithm::RsaSha256) => {
                rsa_signature(pair, &RSA_PKCS1_SHA256, data)?
            }
            (Pair::Rsa(pair), SignatureAlgorithm::RsaSha512) => {
                rsa_signature(pair, &RSA_PKCS1_SHA512, data)?
            }
            _ => return Err(Unspecified),
        };
        let mut signature = Vec::new();
        signature.put_string(algorithm.as_str().as_bytes());
        signature.put_string(&bytes);
        Ok(signature)
    }

    fn ed25519(pair: Ed25519KeyPair) -> Self {
        use aws_lc_rs::signature::KeyPair;
        let public = PublicKey::ed25519(pair.public_key().as_ref());
        Self {
            pair: Pair::Ed25519(pair),
            public,
        }
    }

    fn ecdsa(curve: Curve, pair: EcdsaKeyPair) -> Self {
        use aws_lc_rs::signature::KeyPair;
        let public = PublicKey::ecdsa(curve, pair.public_key().as_ref());
        Self {
            pair: Pair::Ecdsa(pair),
            public,
        }
    }

    fn rsa(pair: RsaKeyPair, exponent: &[u8], modulus: &[u8]) -> Self {
        Self {
            pair: Pair::Rsa(pair),
            public: PublicKey::rsa(exponent, modulus),
        }
    }

    /// How it signs when nobody asks for anything else.
    fn usual(&self) -> SignatureAlgorithm {
        match self.public.algorithm() {
            KeyAlgorithm::EcdsaP256 => SignatureAlgorithm::EcdsaP256,
            KeyAlgorithm::EcdsaP384 => SignatureAlgorithm::EcdsaP384,
            KeyAlgorithm::EcdsaP521 => SignatureAlgorithm::EcdsaP521,
            KeyAlgorithm::Ed25519 => SignatureAlgorithm::Ed25519,
            KeyAlgorithm::Rsa => SignatureAlgorithm::RsaSha512,
        }
    }

    /// Signs and verifies, once: a private half that belongs to another public one is found here and not at the server.
    fn try_out(&self) -> Result<(), KeyError> {
        let signature = self
            .sign(self.usual(), TRIAL)
            .map_err(|_| KeyError::Inconsistent)?;
        verify::verify(self.public.blob(), &signature, TRIAL).map_err(|_| KeyError::Inconsistent)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.public.fingerprint())
    }
}

fn rsa_signature(
    pair: &RsaKeyPair,
    encoding: &'static dyn RsaEncoding,
    data: &[u8],
) -> Result<Vec<u8>, Unspecified> {
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(encoding, &SystemRandom::new(), data, &mut signature)?;
    Ok(signature)
}

fn ecdsa_algorithm(curve: Curve) -> &'static EcdsaSigningAlgorithm {
    match curve {
        Curve::P256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
        Curve::P384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
        Curve::P521 => &ECDSA_P521_SHA512_FIXED_SIGNING,
    }
}

/// That an RSA modulus, without leading zeros, is of a size that is taken.
fn check_rsa_size(modulus: &[u8]) -> Result<(), KeyError> {
    let unused = modulus.first().map_or(0, |first| first.leading_zeros());
    let bits = modulus.len() * 8 - usize::try_from(unused).unwrap_or_default();
    match (RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
        true => Ok(()),
        false => Err(KeyError::RsaSize { bits }),
    }
}

impl From<Malformed> for KeyError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed {
            problem: malformed.problem(),
        }
    }
}

impl From<KeyRejected> for KeyError {
    fn from(_: KeyRejected) -> Self {
        Self::Malformed {
            problem: "its parts do not make a key",
        }
    }
}

/// What a key signs to be tried out. No ssh server takes it for an authentication.
const TRIAL: &[u8] = b"kedge tries out this key";
