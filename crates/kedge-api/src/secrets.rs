//! Keys that are kept for servers: where they are, and which servers their owner lets use them.
//!
//! Nothing here holds a secret. A [`SecretRef`] says where one is, and a [`ServerOffer`] is what its owner wrote beside
//! it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::defaults::OFFER_MAX_BYTES;
use crate::names::{
    LabelSelector, Labels, NameError, Namespace, SecretDataKey, SecretName, ServerName,
};

/// The annotation of a Secret by which its owner says for which servers it may be used; its value is a [`ServerOffer`].
pub const SERVERS_ANNOTATION: &str = "kedge.dev/servers";

/// One Secret. Displays as `namespace/name`.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
// Two who own a field each must not make a third Secret of theirs.
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct SecretRef {
    /// The Secret's name.
    pub name: SecretName,
    /// The namespace it is in; the hub's configuration must list it.
    pub namespace: Namespace,
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Where a server's private key is. Displays as `namespace/name key ssh-privatekey`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SshKeySource {
    /// The Secret.
    pub secret: SecretRef,
    /// The key of its data under which the private key is.
    pub key: SecretDataKey,
}

impl fmt::Display for SshKeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} key {}", self.secret, self.key)
    }
}

/// For which servers the owner of a Secret offers it: the value of [`SERVERS_ANNOTATION`].
///
/// Names of servers with commas, blanks or both between them; or, when `=`, `!` or `(` is in it, a [`LabelSelector`]. A
/// word alone is a name, never the selector that asks for a label. Nothing at all offers it to no server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerOffer {
    /// Servers with such labels.
    Labels(LabelSelector),
    /// These servers.
    Names(BTreeSet<ServerName>),
}

impl ServerOffer {
    /// Whether a server of this name and with these labels is among them.
    #[must_use]
    pub fn covers(&self, name: &ServerName, labels: &Labels) -> bool {
        match self {
            Self::Labels(selector) => selector.matches(labels),
            Self::Names(names) => names.contains(name),
        }
    }
}

impl FromStr for ServerOffer {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = |problem: String| NameError::new("offer to servers", text, problem);
        if text.len() > OFFER_MAX_BYTES {
            return Err(wrong(format!(
                "{} bytes, at most {OFFER_MAX_BYTES} allowed",
                text.len()
            )));
        }
        // Files and block scalars end in a line feed.
        let text = text.trim_ascii();
        if text.contains(['=', '!', '(']) {
            let selector = text
                .parse()
                .map_err(|e: NameError| wrong(e.problem().into()))?;
            return Ok(Self::Labels(selector));
        }
        text.split(|c: char| c == ',' || c.is_ascii_whitespace())
            .filter(|word| !word.is_empty())
            .map(|word| word.parse().map_err(|e: NameError| wrong(e.to_string())))
            .collect::<Result<_, _>>()
            .map(Self::Names)
    }
}

impl fmt::Display for ServerOffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Labels(selector) => selector.fmt(f),
            Self::Names(names) => {
                for (index, name) in names.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma}{name}")?;
                }
                Ok(())
            }
        }
    }
}
