//! Who somebody is, once authenticated, whatever the way.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::{Group, Issuer, Subject};
use crate::time::Time;
use crate::wire_enum::{closed_enum, wire_enum};

/// An authenticated person or workload. People are told apart by issuer and subject together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Principal {
    /// Who vouches for them: the issuer's URL, or `static`.
    pub issuer: Issuer,
    /// Who they are to the issuer (`sub`). Audit and quotas go by issuer and subject.
    pub subject: Subject,
    /// What policies call them: the claim that the hub's configuration names for the issuer, `sub` unless it says
    /// otherwise.
    pub user: Subject,
    /// What else the issuer says about them. Hostile text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, serde_json::Value>,
    /// The groups they are in.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<Group>,
    /// How they proved it.
    pub method: AuthMethod,
    /// Whether a policy that names no issuer means them.
    pub standing: Standing,
    /// When they last proved who they are to the issuer (`auth_time`), as far as it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authenticated_at: Option<Time>,
    /// When what they showed ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
}

closed_enum! {
    /// Whether a policy that names no issuer means somebody: otherwise a second issuer could speak for the first
    /// one's people.
    Standing, "standing" {
        /// Their issuer is another: only policies that name it mean them.
        Foreign = "foreign",
        /// Their issuer is the hub's own, or the hub's configuration itself.
        Home = "home",
    }
}

wire_enum! {
    /// How a principal was authenticated.
    AuthMethod {
        /// By an ID token of an issuer that the hub trusts.
        Oidc = "oidc",
        /// A token from the hub's configuration, for trying out.
        StaticToken = "static-token",
    }
}
