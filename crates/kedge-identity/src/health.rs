//! How it stands with an issuer's keys.

use std::fmt;

use kedge_api::{IssuerUrl, Time};

/// How it stands with an issuer's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerHealth {
    /// Which issuer.
    pub issuer: IssuerUrl,
    /// How it stands.
    pub state: IssuerState,
    /// How many of its keys are in use.
    pub keys: usize,
    /// How many of its keys are of no use here: of another kind, too short, or not for signatures.
    pub skipped: usize,
}

/// Whether an issuer's keys can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuerState {
    /// The last fetch failed, and tokens are verified with the keys of an earlier one.
    Stale {
        /// When the keys in use were fetched.
        last: Time,
        /// Why there are no newer ones.
        cause: String,
    },
    /// There are no keys, so its tokens cannot be verified.
    Unreachable {
        /// Why.
        cause: String,
    },
    /// The last fetch succeeded.
    Working {
        /// When it did for the first time since the last failure.
        since: Time,
    },
}

impl fmt::Display for IssuerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stale { last, cause } => write!(f, "using its keys of {last}: {cause}"),
            Self::Unreachable { cause } => write!(f, "its keys cannot be had: {cause}"),
            Self::Working { since } => write!(f, "working since {since}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_a_sentence_for_operators() {
        let time: Time = "2026-01-01T12:00:00Z".parse().unwrap();
        let cause = || "connection refused".to_owned();
        for (state, said) in [
            (
                IssuerState::Stale {
                    last: time,
                    cause: cause(),
                },
                "using its keys of 2026-01-01T12:00:00Z: connection refused",
            ),
            (
                IssuerState::Unreachable { cause: cause() },
                "its keys cannot be had: connection refused",
            ),
            (
                IssuerState::Working { since: time },
                "working since 2026-01-01T12:00:00Z",
            ),
        ] {
            assert_eq!(state.to_string(), said);
        }
    }
}
