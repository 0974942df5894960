//! Whether a policy is about a session: server, login, permission.

use super::{Objection, PolicyReason, subject, window};
use crate::login::{LoginOrigin, MappedLogin};
use crate::principal::Principal;
use crate::resources::{
    AccessPolicy, Constraints, Effect, LoginRule, Permission, PermissionRule, Server, ServerRule,
};
use crate::time::Time;

/// Whether some policy lets the person reach the server at all, as anybody, from anywhere, at some hour: whether they
/// may know that it exists. A policy that denies it whatever the login and the circumstances hides it.
pub fn may_see<'p>(
    policies: impl IntoIterator<Item = &'p AccessPolicy>,
    principal: &Principal,
    server: &Server,
    now: Time,
) -> bool {
    let mut reachable = false;
    for policy in policies {
        let spec = &policy.spec;
        let about = subject::objection(policy, principal).is_ok()
            && is_selected(policy, server)
            && window::has_begun_and_not_ended(&spec.constraints, now);
        if !about {
            continue;
        }
        match spec.effect {
            Effect::Allow => {
                reachable |= !spec.logins.is_empty() && !spec.permissions.is_empty();
            }
            Effect::Deny => {
                let circumstances = Constraints {
                    not_before: None,
                    not_after: None,
                    ..spec.constraints.clone()
                };
                if spec.logins.contains(&LoginRule::Any)
                    && spec.permissions.contains(&PermissionRule::Any)
                    && circumstances.is_empty()
                {
                    return false;
                }
            }
        }
    }
    reachable
}

pub(super) fn objection(
    policy: &AccessPolicy,
    principal: &Principal,
    server: &Server,
    login: &MappedLogin,
    permission: &Permission,
) -> Objection {
    if !is_selected(policy, server) {
        return Err(PolicyReason::Server);
    }
    let permitted = policy.spec.permissions.iter().any(|rule| match rule {
        PermissionRule::Any => policy.spec.effect == Effect::Deny,
        PermissionRule::Named(named) => named == permission,
    });
    if !permitted {
        return Err(PolicyReason::Permission);
    }
    match policy.spec.effect {
        Effect::Allow => login_objection(policy, principal, login),
        Effect::Deny if is_denied_login(policy, principal, login) => Ok(()),
        Effect::Deny => Err(PolicyReason::Login),
    }
}

fn is_selected(policy: &AccessPolicy, server: &Server) -> bool {
    let servers = &policy.spec.servers;
    let labels = &server.metadata.labels;
    let by_labels = !(servers.match_labels.is_empty() && servers.match_expressions.is_empty());
    servers.names.iter().any(|rule| match rule {
        ServerRule::All => true,
        ServerRule::Named(name) => name.as_str() == server.metadata.name.as_str(),
    }) || (by_labels
        && servers.match_labels.is_subset_of(labels)
        && servers
            .match_expressions
            .iter()
            .all(|requirement| requirement.holds(labels)))
}

fn login_objection(
    policy: &AccessPolicy,
    principal: &Principal,
    wanted: &MappedLogin,
) -> Objection {
    let logins = &policy.spec.logins;
    if logins
        .iter()
        .any(|rule| matches!(rule, LoginRule::Literal(login) if *login == wanted.login))
    {
        return Ok(());
    }
    if wanted.login.is_root() {
        return Err(PolicyReason::Root);
    }
    let by_meaning = logins.iter().any(|rule| match rule {
        LoginRule::Any | LoginRule::Literal(_) => false,
        LoginRule::Claim(claim) => claim_holds(principal, claim.as_str(), wanted),
        LoginRule::Mapped => wanted.origin != LoginOrigin::Requested,
    });
    if by_meaning {
        Ok(())
    } else {
        Err(PolicyReason::Login)
    }
}

/// The same lists in a policy that denies: whatever may be meant is.
fn is_denied_login(policy: &AccessPolicy, principal: &Principal, wanted: &MappedLogin) -> bool {
    policy.spec.logins.iter().any(|rule| match rule {
        LoginRule::Any => true,
        LoginRule::Claim(claim) => claim_holds(principal, claim.as_str(), wanted),
        LoginRule::Literal(login) => *login == wanted.login,
        LoginRule::Mapped => wanted.origin != LoginOrigin::Requested,
    })
}

/// Whether a claim is the login, or a list that has it, to the letter.
fn claim_holds(principal: &Principal, claim: &str, wanted: &MappedLogin) -> bool {
    let is_login = |value: &serde_json::Value| value.as_str() == Some(wanted.login.as_str());
    match principal.claims.get(claim) {
        Some(serde_json::Value::Array(list)) => list.iter().any(is_login),
        Some(single) => is_login(single),
        None => false,
    }
}
