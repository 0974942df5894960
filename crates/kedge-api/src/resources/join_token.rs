//! `JoinToken`: lets a new agent enrol. The store holds its hash, never the secret.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kind::resource;
use crate::defaults::{JOIN_TOKEN_USES_MAX, LABELS_MAX};
use crate::meta::FieldError;
use crate::names::{Labels, ServerName};
use crate::time::Time;
use crate::tokens::{JoinTokenName, JoinTokenSecret, TokenHash};

resource! {
    /// A secret that lets new agents enrol, so many times and so long.
    JoinToken { spec: JoinTokenSpec, status: JoinTokenStatus }
    plural "jointokens", singular "jointoken", short &["jt", "token"],
    validate check, change check_change,
    columns crate::crd::join_token::COLUMNS, rules crate::crd::join_token::RULES
}

/// What a join token is good for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JoinTokenSpec {
    /// How many agents may enrol with it.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = JOIN_TOKEN_USES_MAX))]
    pub uses: u32,
    /// When it ends. The hub fills in an hour from now where a new token names nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// The only name that may be enrolled with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<ServerName>,
    /// Labels that servers enrolled with it get, whatever the agent says.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    #[schemars(extend("maxProperties" = LABELS_MAX))]
    pub labels: Labels,
}

impl Default for JoinTokenSpec {
    fn default() -> Self {
        Self {
            uses: one(),
            expires_at: None,
            server_name: None,
            labels: Labels::default(),
        }
    }
}

/// What became of a join token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JoinTokenStatus {
    /// SHA-256 of the secret, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<TokenHash>,
    /// How many agents have enrolled with it.
    #[serde(default)]
    pub used: u32,
    /// The names of those that came last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<ServerName>,
    /// How many came before those: a token of thousands of uses would otherwise be rewritten with all names by each of
    /// them. Their servers name the token.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub used_earlier: u32,
    /// The numbers of the uses that are counted and whose servers are being made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joining: Vec<u64>,
    /// The number that the last use was given, whether a server came of it or not.
    #[serde(default, skip_serializing_if = "is_no_number")]
    pub last_use: u64,
    /// When the last of them did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Time>,
}

/// The answer to the creation of a join token: the object, and the secret in `status.token`, this
/// once. A type of its own, so that no store ever writes a secret.
#[derive(Debug)]
pub struct IssuedJoinToken {
    /// What is stored.
    pub object: JoinToken,
    /// What is shown once.
    pub secret: JoinTokenSecret,
}

impl IssuedJoinToken {
    /// The object as JSON, with the secret in `status.token`.
    ///
    /// # Errors
    /// None that can happen: the types have no values that JSON cannot hold.
    pub fn to_json(&self) -> serde_json::Result<serde_json::Value> {
        let mut value = serde_json::to_value(&self.object)?;
        if let Some(status) = value.pointer_mut("/status").and_then(|s| s.as_object_mut()) {
            status.insert("token".to_owned(), self.secret.reveal().into());
        }
        Ok(value)
    }

    /// Reads what [`Self::to_json`] wrote.
    ///
    /// # Errors
    /// The text is not such an object, or has no legal `status.token`.
    pub fn from_json(bytes: &[u8]) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct OnlyToken {
            status: OnlyStatus,
        }
        #[derive(Deserialize)]
        struct OnlyStatus {
            token: JoinTokenSecret,
        }
        let object = serde_json::from_slice(bytes)?;
        let OnlyToken { status } = serde_json::from_slice(bytes)?;
        Ok(Self {
            object,
            secret: status.token,
        })
    }
}

impl JoinToken {
    /// Whether no further agent may enrol with it, because it ended or is used up.
    ///
    /// A token without an end is spent: nothing is good for ever because a field was lost.
    #[must_use]
    pub fn is_spent(&self, now: Time) -> bool {
        self.status.used >= self.spec.uses || self.spec.expires_at.is_none_or(|end| end <= now)
    }
}

fn check(token: &JoinToken, errors: &mut Vec<FieldError>) {
    if let Err(error) = token.metadata.name.as_str().parse::<JoinTokenName>() {
        errors.push(FieldError::new("metadata.name", error.problem()));
    }
    if !(1..=JOIN_TOKEN_USES_MAX).contains(&token.spec.uses) {
        let message = format!("must be between 1 and {JOIN_TOKEN_USES_MAX}");
        errors.push(FieldError::new("spec.uses", message));
    }
    if token.spec.server_name.is_some() && token.spec.uses != 1 {
        let message = "must be 1 when spec.serverName allows one name only";
        errors.push(FieldError::new("spec.uses", message));
    }
    if token.spec.labels.len() > LABELS_MAX {
        errors.push(FieldError::new(
            "spec.labels",
            format!("more than {LABELS_MAX}"),
        ));
    }
}

fn check_change(new: &JoinToken, old: &JoinToken, errors: &mut Vec<FieldError>) {
    if new.spec != old.spec {
        let message = "cannot be changed; revoke the token and make another";
        errors.push(FieldError::new("spec", message));
    }
}

const fn one() -> u32 {
    1
}

const fn is_nothing(count: &u32) -> bool {
    *count == 0
}

const fn is_no_number(number: &u64) -> bool {
    *number == 0
}
