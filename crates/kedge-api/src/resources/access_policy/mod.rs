//! `AccessPolicy`: who may reach which servers, as whom, to do what, and who may do what at the hub itself. Evaluated
//! in [`crate::policy`].

mod check;
mod constraints;
mod hub;
mod rules;

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::constraints::{Constraints, Day, TimeOfDay, TimeWindow, Zone};
pub use self::hub::{HubGrant, HubResource, HubRole, HubRule, Verb};
pub use self::rules::{
    IssuerRule, LoginRule, PermissionRule, ResourceRule, ServerRule, SubjectRule, VerbRule,
};
use super::kind::resource;
use crate::defaults::POLICY_LIST_MAX;
use crate::expression::{ClaimRequirement, LabelRequirement};
use crate::names::{Group, Labels, NameError};
use crate::wire_enum::{closed_enum, wire_enum};

resource! {
    /// Allows some people to reach some servers, or denies it. What no policy allows is denied.
    AccessPolicy { spec: AccessPolicySpec, status: AccessPolicyStatus }
    plural "accesspolicies", singular "accesspolicy", short &["ap", "policy"],
    validate check::check, change check::check_change,
    columns crate::crd::access_policy::COLUMNS, rules crate::crd::access_policy::RULES
}

/// What a policy allows or denies: every part must match.
///
/// An unknown field is refused even when read from a store: a constraint that an older hub does not
/// know must not be ignored by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccessPolicySpec {
    /// Whether it allows or denies what matches.
    #[serde(default, skip_serializing_if = "Effect::is_allow")]
    #[schemars(extend("default" = "Allow"))]
    pub effect: Effect,
    /// Who.
    pub subjects: Subjects,
    /// Where: any of these.
    #[serde(default, skip_serializing_if = "Servers::is_empty")]
    pub servers: Servers,
    /// As whom: any of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = POLICY_LIST_MAX))]
    pub logins: Vec<LoginRule>,
    /// To do what: any of these.
    #[serde(default = "ssh_only")]
    #[schemars(length(max = POLICY_LIST_MAX))]
    pub permissions: Vec<PermissionRule>,
    /// Rights on the hub itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<HubGrant>,
    /// Under which circumstances: all of these.
    #[serde(default, skip_serializing_if = "Constraints::is_empty")]
    pub constraints: Constraints,
}

closed_enum! {
    /// What a policy does with what matches.
    #[derive(Default)]
    Effect, "effect" {
        /// Allows it, unless another policy denies it.
        #[default]
        Allow = "Allow",
        /// Denies it, whatever other policies allow.
        Deny = "Deny",
    }
}

/// The people a policy is about: of one of the issuers, with all of the claims, and, where `users` or `groups` are
/// listed, one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subjects {
    /// People by name, or `*` for everybody of the issuers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = POLICY_LIST_MAX))]
    pub users: Vec<SubjectRule>,
    /// Members of these groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = POLICY_LIST_MAX))]
    pub groups: Vec<Group>,
    /// Whose people: issuers exactly as they call themselves, or `*` for any. None means those of the hub's own
    /// issuer and of its configuration, and nobody else's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = POLICY_LIST_MAX))]
    pub issuers: Vec<IssuerRule>,
    /// What their claims must be: all of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = POLICY_LIST_MAX))]
    pub claims: Vec<ClaimRequirement>,
}

/// The servers a policy is about: named, or with all of the labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Servers {
    /// Servers by name, or `*` for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = POLICY_LIST_MAX))]
    pub names: Vec<ServerRule>,
    /// Servers that have all of these labels, and meet all of `matchExpressions`. Nothing in either selects nothing.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    #[schemars(extend("maxProperties" = POLICY_LIST_MAX))]
    pub match_labels: Labels,
    /// Servers whose labels meet all of these, and are those of `matchLabels`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = POLICY_LIST_MAX))]
    pub match_expressions: Vec<LabelRequirement>,
}

impl Effect {
    /// Whether it allows.
    #[must_use]
    pub const fn is_allow(&self) -> bool {
        matches!(self, Self::Allow)
    }
}

impl Servers {
    /// Whether it selects nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.match_labels.is_empty() && self.match_expressions.is_empty()
    }
}

/// Nothing yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessPolicyStatus {}

wire_enum! {
    /// What somebody wants to do at a target.
    Permission {
        /// Open an SSH session.
        Ssh = "ssh",
    }
}

impl FromStr for Permission {
    type Err = NameError;

    /// Never fails: a word of a newer version is [`Permission::Unknown`].
    fn from_str(text: &str) -> Result<Self, NameError> {
        Ok(text.to_owned().into())
    }
}

fn ssh_only() -> Vec<PermissionRule> {
    vec![PermissionRule::Named(Permission::Ssh)]
}
