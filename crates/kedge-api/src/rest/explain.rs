//! Asking why: what the policies would say to somebody, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::login::LoginOrigin;
use crate::names::{Group, Issuer, Login, ObjectName, ServerName, Subject};
use crate::policy::{Decision, Outcome, PolicyTrace};
use crate::resources::Permission;
use crate::span::Span;
use crate::time::Time;
use crate::wire_enum::wire_enum;

/// `POST …/explanations`: may somebody open a session, and why? What is not given, the hub takes from what it knows
/// of the person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExplanationRequest {
    /// The person, as policies call them. One of `user` and `subject` must be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Subject>,
    /// The person, as their issuer calls them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// Who vouches for them; the hub's own issuer when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Issuer>,
    /// The groups they are in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<BTreeSet<Group>>,
    /// Claims; those that are named here replace the ones that are known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, serde_json::Value>,
    /// Where to.
    pub server: ServerName,
    /// As whom; what the mapping gives when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
    /// To do what.
    #[serde(default = "ssh")]
    pub permission: Permission,
    /// When; now when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
    /// From where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// When they proved who they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authenticated_at: Option<Time>,
}

/// The answer to an [`ExplanationRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Whether the session would be opened, as far as policy goes.
    pub allowed: bool,
    /// How it came out.
    pub outcome: Verdict,
    /// The policy that allows or denies it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<ObjectName>,
    /// When it was, or would be, asked.
    pub at: Time,
    /// The unix user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
    /// Where it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_origin: Option<LoginOrigin>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_error: Option<String>,
    /// The longest the session may last, by the allowing policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_session: Option<Span>,
    /// When time alone may next change the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review_at: Option<Time>,
    /// Every policy and its verdict, in the order of their names.
    #[serde(default)]
    pub trace: Vec<PolicyTrace>,
    /// What was taken to be true of the person, and from where.
    #[serde(default)]
    pub assumed: Vec<AssumedFact>,
}

/// Something that an explanation takes to be true.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssumedFact {
    /// What: `issuer`, `subject`, `user`, `groups`, `claims.NAME`, `source`, `authenticatedAt`.
    pub fact: String,
    /// Its value.
    pub value: serde_json::Value,
    /// Where it comes from.
    pub origin: FactOrigin,
    /// When it was seen, for what was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Time>,
}

wire_enum! {
    /// Where a fact comes from.
    FactOrigin {
        /// From the hub's configuration.
        Configuration = "configuration",
        /// From the question.
        Given = "given",
        /// From the person's last session, or attempt at one.
        LastSeen = "last-seen",
        /// From the token with which the question was asked.
        Token = "token",
    }
}

wire_enum! {
    /// How a question came out.
    Verdict {
        /// A policy allows it, and none denies it.
        Allowed = "allowed",
        /// A policy denies it.
        Denied = "denied",
        /// There is no login to decide about.
        NoLogin = "no-login",
        /// No policy allows it.
        NoPolicy = "no-policy",
    }
}

impl From<&Outcome> for Verdict {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Allowed { .. } => Self::Allowed,
            Outcome::Denied { .. } => Self::Denied,
            Outcome::NoPolicy => Self::NoPolicy,
        }
    }
}

impl Explanation {
    /// The explanation of a decision; login and facts are the caller's to add.
    #[must_use]
    pub fn of(decision: Decision, at: Time) -> Self {
        let max_session = match &decision.outcome {
            Outcome::Allowed { limits, .. } => {
                limits.max_session.and_then(|length| length.try_into().ok())
            }
            Outcome::Denied { .. } | Outcome::NoPolicy => None,
        };
        Self {
            allowed: decision.is_allowed(),
            outcome: Verdict::from(&decision.outcome),
            policy: decision.outcome.policy().cloned(),
            at,
            login: None,
            login_origin: None,
            login_error: None,
            max_session,
            review_at: decision.review_at,
            trace: decision.trace,
            assumed: Vec::new(),
        }
    }
}

fn ssh() -> Permission {
    Permission::Ssh
}
