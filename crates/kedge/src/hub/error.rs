//! Why a request to a hub came to nothing.

use std::fmt::Write as _;
use std::time::Duration;

use http::StatusCode;
use kedge_api::text::Printable;
use kedge_api::{HubName, HubUrl, Status, StatusReason};
use kedge_tunnel::DialError;
use thiserror::Error;

use crate::advice::Advice;
use crate::credentials::{CredentialError, Kind};

/// Why a request came to nothing.
#[derive(Debug, Error)]
pub enum HubError {
    /// The answer is not what this program understands.
    #[error("hub `{hub}` gave an answer that cannot be read")]
    Answer {
        /// The hub.
        hub: HubName,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The connection broke while events came.
    #[error("hub `{hub}` broke off its answer: {cause}")]
    Broken {
        /// The hub.
        hub: HubName,
        /// How.
        cause: String,
    },
    /// There is a login, and no token to be had of it.
    #[error("cannot use the login at hub `{hub}`{advice}")]
    Credentials {
        /// The hub.
        hub: HubName,
        /// What helps.
        advice: Box<Advice>,
        /// Why.
        source: Box<CredentialError>,
    },
    /// There is no way to the hub.
    #[error("cannot reach hub `{hub}` at {url}")]
    Dial {
        /// The hub.
        hub: HubName,
        /// Where.
        url: HubUrl,
        /// Why.
        source: Box<DialError>,
    },
    /// Nobody is logged in there.
    #[error("not logged in at hub `{hub}`{advice}")]
    NotLoggedIn {
        /// The hub.
        hub: HubName,
        /// What helps.
        advice: Box<Advice>,
    },
    /// The hub does not take the login.
    #[error(
        "hub `{hub}` does not take the stored login{advice}: {}",
        refusal(status)
    )]
    NotTaken {
        /// The hub.
        hub: HubName,
        /// What helps.
        advice: Box<Advice>,
        /// How the token was had.
        kind: Kind,
        /// What the hub said.
        status: Box<Status>,
    },
    /// The hub refused.
    #[error("{}", refusal(status))]
    Refused {
        /// The hub.
        hub: HubName,
        /// What it said.
        status: Box<Status>,
    },
    /// The answer did not come in time.
    #[error("hub `{hub}` did not answer within {} s", after.as_secs())]
    Timeout {
        /// The hub.
        hub: HubName,
        /// How long it had.
        after: Duration,
    },
    /// An event is longer than anything a hub should say.
    #[error("hub `{hub}` sent an event of more than {limit} bytes")]
    TooLong {
        /// The hub.
        hub: HubName,
        /// The limit.
        limit: usize,
    },
    /// Something that is no hub answered.
    #[error("{url} answered `{status}`, and not as a hub does")]
    Unexpected {
        /// Where.
        url: HubUrl,
        /// The HTTP status.
        status: StatusCode,
    },
}

impl HubError {
    /// The hub's own word for what is wrong, where it gave one.
    #[must_use]
    pub fn reason(&self) -> Option<&StatusReason> {
        match self {
            Self::NotTaken { status, .. } | Self::Refused { status, .. } => Some(&status.reason),
            _ => None,
        }
    }

    /// Whether it is a new login that helps.
    #[must_use]
    pub fn needs_login(&self) -> bool {
        match self {
            Self::Credentials { source, .. } => source.needs_login(),
            Self::NotLoggedIn { .. } => true,
            Self::NotTaken { kind, .. } => matches!(kind, Kind::Oidc),
            _ => false,
        }
    }
}

/// The hub's sentence, and each field it complains about.
fn refusal(status: &Status) -> String {
    let mut text = Printable::new(&status.message).to_string();
    if text.is_empty() {
        text = format!("the hub refused: {}", status.reason);
    }
    for cause in status.details.iter().flat_map(|details| &details.causes) {
        // Kubernetes repeats the causes in the message; so may our hub.
        if !text.contains(&cause.message) {
            let (field, message) = (Printable::new(&cause.field), Printable::new(&cause.message));
            let _ = write!(text, "; {field}: {message}");
        }
    }
    text
}
