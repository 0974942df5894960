//! Rights on the hub itself.

use std::collections::BTreeSet;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AccessRequest, Action, Objection, PolicyReason, circumstances, subject, window};
use crate::principal::Principal;
use crate::resources::{AccessPolicy, Effect, HubResource, HubRole, HubRule, Verb};
use crate::time::Time;

/// What somebody may do at the hub itself, as its policies say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HubRights {
    /// Bundles.
    pub roles: BTreeSet<HubRole>,
    /// Single rights.
    pub rules: Vec<HubRule>,
    /// What is denied of them by bundle.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub denied_roles: BTreeSet<HubRole>,
    /// What is denied of them one by one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub denied_rules: Vec<HubRule>,
}

/// What the policies that hold now say of somebody's rights on the hub.
pub fn hub_rights<'p>(
    policies: impl IntoIterator<Item = &'p AccessPolicy>,
    principal: &Principal,
    now: Time,
    source: Option<IpAddr>,
) -> HubRights {
    // Which right is asked for does not matter to the circumstances, but that it is one of the hub's does.
    let request = AccessRequest {
        principal,
        action: Action::Hub {
            verb: Verb::Get,
            resource: HubResource::Servers,
            name: None,
        },
        source,
        now,
        opened: None,
        sessions: 0,
    };
    let mut rights = HubRights::default();
    for policy in policies {
        let constraints = &policy.spec.constraints;
        let Some(hub) = &policy.spec.hub else {
            continue;
        };
        let holds = subject::objection(policy, principal)
            .and_then(|()| circumstances(constraints, policy.spec.effect, &request))
            .and_then(|()| window::objection(policy, now));
        if holds.is_err() {
            continue;
        }
        let (roles, rules) = match policy.spec.effect {
            Effect::Allow => (&mut rights.roles, &mut rights.rules),
            Effect::Deny => (&mut rights.denied_roles, &mut rights.denied_rules),
        };
        roles.extend(&hub.roles);
        rules.extend(hub.rules.iter().cloned());
    }
    for rules in [&mut rights.rules, &mut rights.denied_rules] {
        rules.sort_unstable();
        rules.dedup();
    }
    rights
}

pub(super) fn objection(
    policy: &AccessPolicy,
    verb: Verb,
    resource: HubResource,
    name: Option<&str>,
) -> Objection {
    let Some(hub) = &policy.spec.hub else {
        return Err(PolicyReason::HubRight);
    };
    let listed = hub.roles.iter().any(|role| role.covers(verb, resource))
        || hub
            .rules
            .iter()
            .any(|rule| rule.covers(verb, resource) && is_named(rule, name, policy.spec.effect));
    if listed {
        Ok(())
    } else {
        Err(PolicyReason::HubRight)
    }
}

/// All of them, asked for together, are more than the ones a rule allows, and hold the ones a rule denies.
fn is_named(rule: &HubRule, name: Option<&str>, effect: Effect) -> bool {
    rule.resource_names.is_empty()
        || match name {
            Some(name) => rule.resource_names.iter().any(|listed| *listed == name),
            None => effect == Effect::Deny,
        }
}
