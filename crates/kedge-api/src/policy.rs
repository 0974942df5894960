//! The one place that decides whether somebody may do something. Pure: same input, same answer.
//!
//! - Deny by default: no policy, no access.
//! - A policy allows when all its parts match: subject, server, login, permission, constraints.
//! - `root` needs a policy that lists `root` literally, wherever the login comes from.
//! - A login that the person asked for needs a policy that lists it literally.
//! - Of several policies that allow, the one with the smallest name is the one that did, and its
//!   constraints hold. So the order in which they are given never matters.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::login::{LoginOrigin, MappedLogin};
use crate::names::ObjectName;
use crate::principal::Principal;
use crate::resources::{
    AccessPolicy, LoginRule, Permission, Server, ServerRule, SubjectRule, Subjects,
};
use crate::time::Time;

/// What somebody wants.
#[derive(Clone, Copy, Debug)]
pub struct AccessRequest<'a> {
    /// Who.
    pub principal: &'a Principal,
    /// Where.
    pub server: &'a Server,
    /// As whom, from [`LoginMapping::map`](crate::login::LoginMapping::map).
    pub login: &'a MappedLogin,
    /// To do what.
    pub permission: &'a Permission,
    /// From where. Unknown is outside every network that a policy names.
    pub source: Option<IpAddr>,
    /// When.
    pub now: Time,
}

/// The answer, and how it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The policy that allows it; none means denied.
    pub allowed_by: Option<ObjectName>,
    /// How long a session may last from now, by that policy's `maxSessionSeconds` and `notAfter`.
    pub max_session: Option<Duration>,
    /// Every policy and its verdict, in the order of their names.
    pub trace: Vec<PolicyTrace>,
}

impl Decision {
    /// Whether any policy allows it.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.allowed_by.is_some()
    }
}

/// One policy's verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyTrace {
    /// The policy's name.
    pub policy: ObjectName,
    /// Whether it allows the request.
    pub matched: bool,
    /// Which of its parts decided.
    pub reason: PolicyReason,
}

/// Why a policy allows a request, or the first of its parts that does not match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PolicyReason {
    /// Every part matches.
    #[error("every part matches")]
    Allows,
    /// `constraints.notAfter` has passed.
    #[error("it ended (spec.constraints.notAfter)")]
    Ended,
    /// The login is in no rule.
    #[error("the login is not listed (spec.logins)")]
    Login,
    /// The permission is not listed.
    #[error("the permission is not listed (spec.permissions)")]
    Permission,
    /// The login is `root`, and `root` is not listed literally.
    #[error("root is not listed literally (spec.logins)")]
    Root,
    /// The server is neither named nor has the labels.
    #[error("the server is not selected (spec.servers)")]
    Server,
    /// The source address is in none of the networks, or not known.
    #[error("the source address is outside its networks (spec.constraints.sourceRanges)")]
    Source,
    /// The person is in no list.
    #[error("the person is not among its subjects (spec.subjects)")]
    Subject,
}

/// Decides.
pub fn evaluate<'p>(
    policies: impl IntoIterator<Item = &'p AccessPolicy>,
    request: &AccessRequest<'_>,
) -> Decision {
    let mut policies: Vec<&AccessPolicy> = policies.into_iter().collect();
    policies.sort_unstable_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let mut allowing = None;
    let mut trace = Vec::with_capacity(policies.len());
    for policy in policies {
        let reason = verdict(policy, request);
        let matched = reason == PolicyReason::Allows;
        if matched && allowing.is_none() {
            allowing = Some(policy);
        }
        trace.push(PolicyTrace {
            policy: policy.metadata.name.clone(),
            matched,
            reason,
        });
    }
    Decision {
        allowed_by: allowing.map(|policy| policy.metadata.name.clone()),
        max_session: allowing.and_then(|policy| max_session(policy, request.now)),
        trace,
    }
}

/// Whether some policy lets the person reach the server at all, as anybody, from anywhere: whether
/// they may know that it exists.
pub fn may_see<'p>(
    policies: impl IntoIterator<Item = &'p AccessPolicy>,
    principal: &Principal,
    server: &Server,
    now: Time,
) -> bool {
    policies.into_iter().any(|policy| {
        is_subject(&policy.spec.subjects, principal)
            && is_selected(policy, server)
            && !has_ended(policy, now)
            && !policy.spec.logins.is_empty()
            && !policy.spec.permissions.is_empty()
    })
}

fn verdict(policy: &AccessPolicy, request: &AccessRequest<'_>) -> PolicyReason {
    if !is_subject(&policy.spec.subjects, request.principal) {
        PolicyReason::Subject
    } else if !is_selected(policy, request.server) {
        PolicyReason::Server
    } else if !policy.spec.permissions.contains(request.permission) {
        PolicyReason::Permission
    } else if let Some(reason) = login_objection(policy, request.login) {
        reason
    } else if has_ended(policy, request.now) {
        PolicyReason::Ended
    } else if !is_from(policy, request.source) {
        PolicyReason::Source
    } else {
        PolicyReason::Allows
    }
}

fn is_subject(subjects: &Subjects, principal: &Principal) -> bool {
    subjects.users.iter().any(|user| match user {
        SubjectRule::Everybody => true,
        SubjectRule::Named(subject) => *subject == principal.subject,
    }) || subjects
        .groups
        .iter()
        .any(|group| principal.groups.contains(group))
        || subjects.claims.iter().any(|(claim, values)| {
            principal
                .claims
                .get(claim)
                .is_some_and(|held| has_value(held, values))
        })
}

/// Whether a claim is one of the texts, or a list that contains one.
fn has_value(held: &serde_json::Value, values: &[String]) -> bool {
    match held {
        serde_json::Value::String(text) => values.contains(text),
        serde_json::Value::Array(list) => list.iter().any(|item| {
            item.as_str()
                .is_some_and(|text| values.iter().any(|v| v == text))
        }),
        _ => false,
    }
}

fn is_selected(policy: &AccessPolicy, server: &Server) -> bool {
    let servers = &policy.spec.servers;
    servers.names.iter().any(|rule| match rule {
        ServerRule::All => true,
        ServerRule::Named(name) => name.as_str() == server.metadata.name.as_str(),
    }) || (!servers.match_labels.is_empty()
        && servers.match_labels.is_subset_of(&server.metadata.labels))
}

fn login_objection(policy: &AccessPolicy, wanted: &MappedLogin) -> Option<PolicyReason> {
    let literal = policy
        .spec
        .logins
        .iter()
        .any(|rule| matches!(rule, LoginRule::Literal(login) if *login == wanted.login));
    let mapped =
        wanted.origin != LoginOrigin::Requested && policy.spec.logins.contains(&LoginRule::Mapped);
    match (literal, mapped) {
        (true, _) => None,
        (false, _) if wanted.login.is_root() => Some(PolicyReason::Root),
        (false, true) => None,
        (false, false) => Some(PolicyReason::Login),
    }
}

fn has_ended(policy: &AccessPolicy, now: Time) -> bool {
    policy
        .spec
        .constraints
        .not_after
        .is_some_and(|end| end <= now)
}

fn is_from(policy: &AccessPolicy, source: Option<IpAddr>) -> bool {
    let constraints = &policy.spec.constraints;
    match source {
        Some(source) => constraints.admits(source),
        None => constraints.source_ranges.is_empty(),
    }
}

fn max_session(policy: &AccessPolicy, now: Time) -> Option<Duration> {
    let constraints = &policy.spec.constraints;
    let longest = constraints
        .max_session_seconds
        .map(|s| Duration::from_secs(s.into()));
    let until_end = constraints.not_after.map(|end| end.saturating_since(now));
    match (longest, until_end) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
