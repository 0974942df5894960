//! Names and ids as types: a value that exists is legal.
//!
//! Nothing here can hold an ssh option, a path, a line break or a shell word. Each type has private
//! contents, `FromStr`, `Display`, and goes through JSON as the string it is.

mod host_key;
mod hub_url;
mod ids;
mod issuer;
mod labels;
mod secret;
mod selector;
mod text_type;

pub use host_key::{Fingerprint, HostKey, HostKeyAlgorithm, HostKeyError, HostKeys};
pub use hub_url::HubUrl;
pub(crate) use ids::base32;
pub use ids::{
    ClaimName, Group, HubId, HubName, Line, Login, Nonce, ObjectName, ServerName, SessionId,
    Subject, Suffix,
};
pub use issuer::{Issuer, IssuerUrl, is_loopback};
pub use labels::{LabelKey, LabelValue, Labels};
pub use secret::{Namespace, SecretDataKey, SecretName};
pub use selector::{LabelSelector, Requirement};
pub(crate) use text_type::text_type;

use crate::text::Printable;

/// Why a text is no legal name. Names the kind of thing, the text (made printable), and the cause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{value}` is not legal: {problem}")]
pub struct NameError {
    what: &'static str,
    value: String,
    problem: String,
}

impl NameError {
    pub(crate) fn new(what: &'static str, value: &str, problem: impl Into<String>) -> Self {
        Self {
            what,
            value: Printable::new(value).to_string(),
            problem: problem.into(),
        }
    }

    /// What the text should have been: `server name`, `login`, …
    #[must_use]
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// The cause alone, for places that already show the object.
    #[must_use]
    pub fn problem(&self) -> &str {
        &self.problem
    }
}
