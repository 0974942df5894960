//! Who somebody is, once authenticated, whatever the way.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::names::{Group, Line, Subject};
use crate::wire_enum::wire_enum;

/// An authenticated person or workload. People are told apart by issuer and subject together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Principal {
    /// Who vouches for them: the issuer's URL, or `static`.
    pub issuer: Line,
    /// Who they are to the issuer (`sub`).
    pub subject: Subject,
    /// What else the issuer says about them. Hostile text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, serde_json::Value>,
    /// The groups they are in.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<Group>,
    /// How they proved it.
    pub method: AuthMethod,
}

wire_enum! {
    /// How a principal was authenticated.
    AuthMethod {
        /// A token from the hub's configuration, for trying out.
        StaticToken = "static-token",
    }
}
