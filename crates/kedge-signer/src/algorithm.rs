//! The algorithms of keys and of signatures that are used here, and no others.

use std::fmt;

/// What kind a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyAlgorithm {
    /// ECDSA on the curve P-256 (RFC 5656).
    EcdsaP256,
    /// ECDSA on the curve P-384 (RFC 5656).
    EcdsaP384,
    /// ECDSA on the curve P-521 (RFC 5656).
    EcdsaP521,
    /// Ed25519 (RFC 8709).
    Ed25519,
    /// RSA (RFC 4253); it signs with SHA-2 only.
    Rsa,
}

impl KeyAlgorithm {
    /// The name in SSH's files and on its wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ecdsa-sha2-nistp256",
            Self::EcdsaP384 => "ecdsa-sha2-nistp384",
            Self::EcdsaP521 => "ecdsa-sha2-nistp521",
            Self::Ed25519 => "ssh-ed25519",
            Self::Rsa => "ssh-rsa",
        }
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a signature was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignatureAlgorithm {
    /// ECDSA on the curve P-256 with SHA-256.
    EcdsaP256,
    /// ECDSA on the curve P-384 with SHA-384.
    EcdsaP384,
    /// ECDSA on the curve P-521 with SHA-512.
    EcdsaP521,
    /// Ed25519.
    Ed25519,
    /// RSA with SHA-256 (RFC 8332).
    RsaSha256,
    /// RSA with SHA-512 (RFC 8332).
    RsaSha512,
}

impl SignatureAlgorithm {
    /// The name on SSH's wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ecdsa-sha2-nistp256",
            Self::EcdsaP384 => "ecdsa-sha2-nistp384",
            Self::EcdsaP521 => "ecdsa-sha2-nistp521",
            Self::Ed25519 => "ssh-ed25519",
            Self::RsaSha256 => "rsa-sha2-256",
            Self::RsaSha512 => "rsa-sha2-512",
        }
    }
}

impl fmt::Display for SignatureAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
