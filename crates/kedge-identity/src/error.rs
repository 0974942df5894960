//! Why a token is not believed.

use std::time::Duration;

use kedge_api::{IssuerUrl, Time};

use crate::rules::Algorithm;

/// Why a token is not believed. For logs, and for the person whose own token it is; never for a stranger who shows
/// one. Nothing in it repeats the token, and what it quotes of it is made printable and short.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// It is signed in a way that the issuer's rules do not list, or not at all.
    #[error("the token is signed with `{found}`, which is not among this issuer's `algorithms`")]
    Algorithm {
        /// The header's `alg`.
        found: String,
    },
    /// It is for somebody else.
    #[error("the token is for {found}, which is not among this issuer's audiences")]
    Audience {
        /// The token's audiences.
        found: String,
    },
    /// It was given to a client that is not trusted.
    #[error(
        "the token was given to {found}, which is not among this issuer's `authorized-parties`"
    )]
    AuthorizedParty {
        /// The token's `azp`, or that it has none.
        found: String,
    },
    /// A claim is absent, or not what it must be.
    #[error("the token's claim `{claim}` {problem}")]
    Claim {
        /// Its name.
        claim: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The claims are more than a session may carry.
    #[error("the token's claims have {found}, at most {allowed} are taken")]
    ClaimsTooMany {
        /// How many of what.
        found: String,
        /// How many are allowed.
        allowed: usize,
    },
    /// The person's name would be a mail address that the issuer has not verified.
    #[error("the token's claim `email` is not verified by its issuer (`email_verified`)")]
    EmailNotVerified,
    /// Its time is over.
    #[error(
        "the token expired at {at}, {} ago; if it is new, check this machine's clock",
        Ago(*.ago)
    )]
    Expired {
        /// When.
        at: Time,
        /// How long ago.
        ago: Duration,
    },
    /// It comes from the future.
    #[error(
        "the token's `{claim}` is {}, {} ahead: is this machine's clock right?",
        .at,
        Ago(*.ahead)
    )]
    FromTheFuture {
        /// Which of its times: `auth_time`, `iat` or `nbf`.
        claim: &'static str,
        /// What it says.
        at: Time,
        /// How far ahead that is.
        ahead: Duration,
    },
    /// None of the issuer's keys fits it.
    #[error("the issuer {issuer} has no key {kid} for a token signed with {algorithm}")]
    Key {
        /// Whose keys.
        issuer: IssuerUrl,
        /// The header's `kid`, or that there is none.
        kid: String,
        /// The header's `alg`.
        algorithm: Algorithm,
    },
    /// It is no ID token but another kind.
    #[error("not an ID token: {found}")]
    Kind {
        /// What it is instead.
        found: String,
    },
    /// It is no JWT of the form that issuers make.
    #[error("the token is malformed: {problem}")]
    Malformed {
        /// What is wrong.
        problem: &'static str,
    },
    /// It does not answer the login that was begun.
    #[error("the token's `nonce` is not the one of this login")]
    Nonce,
    /// The signature is not of the issuer's key.
    #[error("the token's signature is wrong")]
    Signature,
    /// It is longer than anything is worth reading.
    #[error("the token has {found} bytes, at most {allowed} are read")]
    TooLong {
        /// Its length.
        found: usize,
        /// The most that is read.
        allowed: usize,
    },
    /// The issuer's keys cannot be had, so nobody knows.
    #[error("the keys of {issuer} cannot be had: {cause}")]
    Unavailable {
        /// Whose keys.
        issuer: IssuerUrl,
        /// Why.
        cause: String,
    },
    /// No issuer of that name is trusted.
    #[error("the token's issuer {found} is not configured")]
    UnknownIssuer {
        /// The token's `iss`.
        found: String,
    },
}

impl VerifyError {
    /// Whether the token may be good, and only the issuer's keys are missing to tell.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// Which kind of refusal this is, in one word out of a fixed set: for metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Algorithm { .. } => "algorithm",
            Self::Audience { .. } => "audience",
            Self::AuthorizedParty { .. } => "authorized-party",
            Self::Claim { .. } => "claim",
            Self::ClaimsTooMany { .. } => "claims-too-many",
            Self::EmailNotVerified => "email-not-verified",
            Self::Expired { .. } => "expired",
            Self::FromTheFuture { .. } => "from-the-future",
            Self::Key { .. } => "key",
            Self::Kind { .. } => "kind",
            Self::Malformed { .. } => "malformed",
            Self::Nonce => "nonce",
            Self::Signature => "signature",
            Self::TooLong { .. } => "too-long",
            Self::Unavailable { .. } => "unavailable",
            Self::UnknownIssuer { .. } => "unknown-issuer",
        }
    }
}

/// A duration as people say it.
struct Ago(Duration);

impl std::fmt::Display for Ago {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            0..120 => write!(f, "{seconds} s"),
            120..7200 => write!(f, "{} min", seconds / 60),
            7200..172_800 => write!(f, "{} h", seconds / 3600),
            _ => write!(f, "{} days", seconds / 86_400),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_said_in_the_unit_that_people_think_in() {
        for (seconds, said) in [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (600, "10 min"),
            (7199, "119 min"),
            (7200, "2 h"),
            (172_799, "47 h"),
            (172_800, "2 days"),
            (u64::MAX, "213503982334601 days"),
        ] {
            assert_eq!(Ago(Duration::from_secs(seconds)).to_string(), said);
        }
    }

    #[test]
    fn only_missing_keys_leave_it_open_whether_a_token_is_good() {
        let issuer: IssuerUrl = "https://id.example".parse().unwrap();
        let open = VerifyError::Unavailable {
            issuer,
            cause: "connection refused".into(),
        };
        assert!(open.is_unavailable());
        assert!(!VerifyError::Signature.is_unavailable());
    }
}
