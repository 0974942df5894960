//! What a token proved.

use std::collections::{BTreeMap, BTreeSet};

use kedge_api::{Group, IssuerUrl, Subject, Time};
use serde_json::Value;

/// What a token proved.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// Who vouches for it.
    pub issuer: IssuerUrl,
    /// Who it is to the issuer (`sub`).
    pub subject: Subject,
    /// What policies call them: the issuer's `user_claim`.
    pub user: Subject,
    /// Their groups: the issuer's `groups_claim`.
    pub groups: BTreeSet<Group>,
    /// What the token says about them, without what differs from one token to the next; bounded in number and size.
    /// Hostile text.
    pub claims: BTreeMap<String, Value>,
    /// When the token was made (`iat`).
    pub issued_at: Time,
    /// When it ends (`exp`).
    pub expires_at: Time,
    /// When they last proved to the issuer who they are (`auth_time`), if it says.
    pub authenticated_at: Option<Time>,
}
