//! Issuers' keys on their way through a restart.

use kedge_api::{IssuerUrl, Time};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Issuers' keys as they were fetched: for a store, so that a hub that starts while an issuer is down still knows its
/// people. Public keys only; but whoever can change it can say who is who.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeySnapshot {
    /// One entry for each issuer whose keys were had.
    pub issuers: Vec<SavedKeys>,
}

/// One issuer's keys as they were fetched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SavedKeys {
    /// Whose.
    pub issuer: IssuerUrl,
    /// When.
    pub fetched_at: Time,
    /// The JWKS (RFC 7517 §5).
    pub jwks: Map<String, Value>,
}
