//! What the configuration says about an issuer.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use kedge_api::IssuerUrl;
use kedge_api::text::Printable;
use serde::{Deserialize, Serialize};

use crate::http::HttpClient;

/// An issuer that is believed, and how far.
#[derive(Clone, Debug)]
pub struct IssuerRules {
    /// Exactly what it calls itself: a token's `iss`.
    pub url: IssuerUrl,
    /// Whom its tokens must be for: one of these is in a token's `aud`.
    pub audiences: BTreeSet<String>,
    /// Clients that may have got a token (`azp`), and that may stand beside an audience in `aud`; ours among them.
    pub authorized_parties: BTreeSet<String>,
    /// With what its tokens may be signed. A token's header only chooses among them.
    pub algorithms: Vec<Algorithm>,
    /// The claim that policies call the person by. If it is `email`, only a verified one counts.
    pub user_claim: String,
    /// The claim that lists the person's groups: a list of texts, or one text. Empty: no groups are read.
    pub groups_claim: String,
    /// How to reach it.
    pub http: HttpClient,
}

/// An algorithm of signatures (RFC 7518 §3.1, RFC 8037 §3.1). All are asymmetric: a key that verifies cannot sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[non_exhaustive]
pub enum Algorithm {
    /// Ed25519.
    EdDsa,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// ECDSA with P-384 and SHA-384.
    Es384,
    /// RSA-PSS with SHA-256.
    Ps256,
    /// RSA-PSS with SHA-384.
    Ps384,
    /// RSA-PSS with SHA-512.
    Ps512,
    /// RSA PKCS #1 v1.5 with SHA-256.
    Rs256,
    /// RSA PKCS #1 v1.5 with SHA-384.
    Rs384,
    /// RSA PKCS #1 v1.5 with SHA-512.
    Rs512,
}

impl Algorithm {
    /// Every algorithm there is.
    pub const ALL: [Self; 9] = [
        Self::EdDsa,
        Self::Es256,
        Self::Es384,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
    ];

    /// What issuers are believed with when the configuration does not say: what they use.
    pub const DEFAULT: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];

    /// Its name in a token's header (`alg`).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
        }
    }
}

/// Why a text is no algorithm that tokens may be signed with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no algorithm for tokens: expected one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA"
)]
pub struct AlgorithmError(String);

impl FromStr for Algorithm {
    type Err = AlgorithmError;

    fn from_str(text: &str) -> Result<Self, AlgorithmError> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.as_str() == text)
            .ok_or_else(|| AlgorithmError(Printable::new(text).to_string()))
    }
}

impl TryFrom<String> for Algorithm {
    type Error = AlgorithmError;

    fn try_from(text: String) -> Result<Self, AlgorithmError> {
        text.parse()
    }
}

impl From<Algorithm> for String {
    fn from(algorithm: Algorithm) -> Self {
        algorithm.as_str().to_owned()
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algorithms_go_by_their_registered_names_and_no_others() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
        }
        for other in [
            "none", "HS256", "HS512", "rs256", "ES256K", "ES512", "RSA-OAEP", "", "\n",
        ] {
            let error = other.parse::<Algorithm>().unwrap_err().to_string();
            assert!(error.contains("EdDSA") && !error.contains('\n'), "{error}");
        }
    }
}
