//! Why a login came to nothing. Nothing here holds a token, a code or a secret.

use std::fmt;
use std::io;
use std::time::Duration;

use kedge_api::text::Printable;
use kedge_api::{IssuerUrl, Time};
use thiserror::Error;

use crate::error::VerifyError;
use crate::http::HttpError;

/// A login that failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoginFlowError {
    /// The issuer's answer cannot be used.
    #[error("cannot use the answer of {url}: {cause}")]
    Answer {
        /// What was asked.
        url: String,
        /// What is wrong with it.
        cause: String,
    },
    /// Nobody logged in in time.
    #[error("nobody logged in within {}", minutes(*after))]
    Deadline {
        /// The time there was.
        after: Duration,
    },
    /// The issuer's description of itself cannot be used.
    #[error("cannot use the discovery document of {issuer}: {cause}")]
    Discovery {
        /// The issuer.
        issuer: IssuerUrl,
        /// What is wrong with it.
        cause: String,
    },
    /// Nobody entered the device's code in time.
    #[error("the code was not entered in time")]
    Expired,
    /// No port can be had for the browser's answer.
    #[error("cannot listen on 127.0.0.1 for the browser's answer")]
    Listen(#[source] io::Error),
    /// The answer came from another issuer than the one that was asked (RFC 9207).
    #[error("the answer to the login is not from {expected}: {}", whose(got.as_deref()))]
    MixUp {
        /// Who was asked.
        expected: IssuerUrl,
        /// Who says to have answered, if anybody does.
        got: Option<String>,
    },
    /// The issuer has no device flow.
    #[error("{issuer} has no device flow")]
    NoDeviceFlow {
        /// The issuer.
        issuer: IssuerUrl,
    },
    /// The issuer hands out no ID token.
    #[error("{issuer} sent no ID token")]
    NoIdToken {
        /// The issuer.
        issuer: IssuerUrl,
    },
    /// The issuer does not sign with anything that can be verified.
    #[error("{issuer} signs ID tokens only with {offered}, which are not believed")]
    NoAlgorithm {
        /// The issuer.
        issuer: IssuerUrl,
        /// What it offers.
        offered: String,
    },
    /// The person was to prove anew who they are, and the issuer did not ask them.
    #[error("{issuer} was told to ask who you are, and shows a proof of {at}")]
    NotReauthenticated {
        /// The issuer.
        issuer: IssuerUrl,
        /// When it last asked.
        at: Time,
    },
    /// A refreshed token is about somebody else.
    #[error("{issuer} refreshed the login of another person")]
    OtherPerson {
        /// The issuer.
        issuer: IssuerUrl,
    },
    /// A parameter of the authorization request is not the hub's to choose, or cannot be sent.
    #[error("the hub may not choose the {what} `{}`", Printable::new(name))]
    Parameter {
        /// Of what kind.
        what: &'static str,
        /// Which one.
        name: String,
    },
    /// Every port that the issuer may send the browser back to is in use.
    #[error(
        "cannot listen on {} of 127.0.0.1, and {issuer} sends browsers back to no other",
        any_of(ports)
    )]
    PortsTaken {
        /// The issuer.
        issuer: IssuerUrl,
        /// The ports that were tried.
        ports: Vec<u16>,
        /// What is wrong with the last of them.
        source: io::Error,
    },
    /// The issuer, or the person, said no.
    #[error("{issuer} refused the login: {refusal}")]
    Refused {
        /// The issuer.
        issuer: IssuerUrl,
        /// Its words.
        refusal: Refusal,
    },
    /// The ID token does not hold.
    #[error("the ID token of {issuer} cannot be believed")]
    Token {
        /// The issuer.
        issuer: IssuerUrl,
        /// Why.
        source: VerifyError,
    },
    /// The issuer cannot be reached, or cannot answer now.
    #[error(transparent)]
    Unreachable(#[from] HttpError),
}

/// Why a refresh brought no token.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RefreshError {
    /// The issuer no longer takes this refresh token: only a login helps.
    #[error("{issuer} refused to refresh the login: {refusal}")]
    Rejected {
        /// The issuer.
        issuer: IssuerUrl,
        /// Its words: `invalid_grant` for a token that was used, revoked or expired.
        refusal: Refusal,
    },
    /// The issuer cannot be reached, or cannot answer now. The refresh token may still be good.
    #[error("cannot refresh the login now")]
    Unavailable(#[source] Box<LoginFlowError>),
    /// The issuer answered, and its answer cannot be used. The refresh token may be spent.
    #[error("cannot use the refreshed login")]
    Unusable(#[source] Box<LoginFlowError>),
}

/// The words of an issuer that says no (RFC 6749 §4.1.2.1 and §5.2), fit to be printed: hostile characters are
/// escaped, and there are at most 200 of each.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// The code: `access_denied`, `invalid_grant`.
    pub code: String,
    /// What it says about it.
    pub description: Option<String>,
}

impl Refusal {
    pub(super) fn new(code: &str, description: Option<&str>) -> Self {
        let printable = |text: &str| Printable::new(text).to_string();
        Self {
            code: printable(code),
            description: description
                .map(str::trim)
                .filter(|text| !text.is_empty())
                .map(printable),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.description {
            Some(description) => write!(f, "{description} ({})", self.code),
            None => f.write_str(&self.code),
        }
    }
}

impl LoginFlowError {
    /// Whether the issuer cannot be reached or cannot answer now, so that the same may work later.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Token { source, .. } => source.is_unavailable(),
            _ => false,
        }
    }

    pub(super) fn answer(url: &str, cause: impl Into<String>) -> Self {
        Self::Answer {
            url: url.to_owned(),
            cause: cause.into(),
        }
    }
}

impl From<LoginFlowError> for RefreshError {
    fn from(error: LoginFlowError) -> Self {
        match error {
            LoginFlowError::Refused { issuer, refusal } => Self::Rejected { issuer, refusal },
            error if error.is_unavailable() => Self::Unavailable(Box::new(error)),
            error => Self::Unusable(Box::new(error)),
        }
    }
}

fn minutes(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds >= 60 && seconds % 60 == 0 => format!("{} min", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}

fn any_of(ports: &[u16]) -> String {
    let texts: Vec<_> = ports.iter().map(u16::to_string).collect();
    match texts.as_slice() {
        [only] => format!("port {only}"),
        _ => format!("any of the ports {}", texts.join(", ")),
    }
}

fn whose(got: Option<&str>) -> String {
    match got {
        Some(other) => format!("it is from `{}`", Printable::new(other)),
        None => "it does not say whose it is".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_an_issuer_are_printable_and_bounded() {
        let refusal = Refusal::new("access\u{1b}[2J", Some(&"\u{202e}".repeat(5000)));
        let text = refusal.to_string();
        assert!(text.chars().count() < 500, "{}", text.len());
        assert!(!text.contains(['\u{1b}', '\u{202e}']));
        assert_eq!(
            Refusal::new("access_denied", Some("  ")).to_string(),
            "access_denied"
        );
    }

    #[test]
    fn times_are_said_as_people_say_them() {
        assert_eq!(minutes(Duration::from_secs(300)), "5 min");
        assert_eq!(minutes(Duration::from_secs(90)), "90 s");
    }
}
