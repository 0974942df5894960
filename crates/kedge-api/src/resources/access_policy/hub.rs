//! Rights on the hub itself, in the words of Kubernetes' RBAC.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules::{ResourceRule, VerbRule};
use crate::defaults::POLICY_LIST_MAX;
use crate::names::ObjectName;
use crate::wire_enum::closed_enum;

/// What a policy says about the hub itself: one match in either list is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HubGrant {
    /// Rights by the bundle.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<HubRole>,
    /// Rights one by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = POLICY_LIST_MAX))]
    pub rules: Vec<HubRule>,
}

/// Some verbs on some resources: one match in each list is needed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HubRule {
    /// To do what.
    #[schemars(length(min = 1))]
    pub verbs: Vec<VerbRule>,
    /// With which kinds of things.
    #[schemars(length(min = 1))]
    pub resources: Vec<ResourceRule>,
    /// With these alone, by name. None means all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = POLICY_LIST_MAX))]
    pub resource_names: Vec<ObjectName>,
}

closed_enum! {
    /// A bundle of rights.
    HubRole, "role" {
        /// Everything.
        Admin = "admin",
        /// To read everything and to ask for explanations, and to change nothing.
        Viewer = "viewer",
    }
}

closed_enum! {
    /// What somebody does at the hub.
    Verb, "verb" {
        /// Makes a new one.
        Create = "create",
        /// Removes one.
        Delete = "delete",
        /// Reads one by its name.
        Get = "get",
        /// Reads all.
        List = "list",
        /// Changes one.
        Update = "update",
        /// Follows all as they change.
        Watch = "watch",
    }
}

closed_enum! {
    /// What the hub has.
    HubResource, "resource" {
        /// Policies.
        AccessPolicies = "accesspolicies",
        /// Answers to what-if questions about other people, and trials of policies on the history (`create`).
        Explanations = "explanations",
        /// Sessions that were, and those that were refused.
        History = "history",
        /// Join tokens.
        JoinTokens = "jointokens",
        /// Servers.
        Servers = "servers",
        /// Sessions that live.
        Sessions = "sessions",
    }
}

impl Verb {
    /// Whether it only reads.
    #[must_use]
    pub const fn is_read(self) -> bool {
        matches!(self, Self::Get | Self::List | Self::Watch)
    }
}

impl HubRole {
    /// Whether the role has a right.
    #[must_use]
    pub fn covers(self, verb: Verb, resource: HubResource) -> bool {
        match self {
            Self::Admin => true,
            Self::Viewer => verb.is_read() || resource == HubResource::Explanations,
        }
    }
}

impl HubRule {
    /// Whether verb and resource are among its own, whatever the name.
    #[must_use]
    pub fn covers(&self, verb: Verb, resource: HubResource) -> bool {
        let verbs = self.verbs.iter().any(|rule| match rule {
            VerbRule::Any => true,
            VerbRule::Named(named) => *named == verb,
        });
        verbs
            && self.resources.iter().any(|rule| match rule {
                ResourceRule::Any => true,
                ResourceRule::Named(named) => *named == resource,
            })
    }
}

impl HubGrant {
    pub(super) fn check(&self, wrong: &mut impl FnMut(&str, &str)) {
        if self.roles.is_empty() && self.rules.is_empty() {
            wrong("spec.hub", "grants nothing; list roles or rules");
        }
        if self.rules.len() > POLICY_LIST_MAX {
            let message = format!("{} entries, at most {POLICY_LIST_MAX}", self.rules.len());
            wrong("spec.hub.rules", &message);
        }
        for (index, rule) in self.rules.iter().enumerate() {
            for (list, length) in [
                ("verbs", rule.verbs.len()),
                ("resources", rule.resources.len()),
            ] {
                if length == 0 {
                    let path = format!("spec.hub.rules[{index}].{list}");
                    wrong(&path, "is empty; `[\"*\"]` is all of them");
                }
            }
            if rule.resource_names.len() > POLICY_LIST_MAX {
                let count = rule.resource_names.len();
                let path = format!("spec.hub.rules[{index}].resourceNames");
                wrong(
                    &path,
                    &format!("{count} entries, at most {POLICY_LIST_MAX}"),
                );
            }
        }
    }
}
