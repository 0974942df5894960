//! The one place that decides whether somebody may do something. Pure: same input, same answer.
//!
//! - Deny by default: no policy, no access.
//! - A policy matches when all its parts do: subject, target, login, permission, constraints.
//! - One that matches and denies wins over every one that allows.
//! - `root` needs a policy that lists `root` literally, wherever the login comes from.
//! - A login that the person asked for needs a policy that lists it literally, or a claim of theirs that holds it.
//! - Of several policies that decide, the one with the smallest name is the one that did, and its constraints hold.
//!   So the order in which they are given never matters.
//! - What a policy cannot know (an address, an age) counts against the person: outside of what is allowed, inside of
//!   what is denied.

mod hub;
mod reason;
mod session;
mod subject;
mod window;

use std::net::IpAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::hub::{HubRights, hub_rights};
pub use self::reason::PolicyReason;
pub use self::session::may_see;
pub use self::subject::is_about;
use crate::expression::Unreadable;
use crate::login::MappedLogin;
use crate::names::ObjectName;
use crate::principal::Principal;
use crate::resources::{AccessPolicy, Constraints, Effect, HubResource, Permission, Server, Verb};
use crate::time::Time;

/// What somebody wants.
#[derive(Clone, Copy, Debug)]
pub struct AccessRequest<'a> {
    /// Who.
    pub principal: &'a Principal,
    /// What.
    pub action: Action<'a>,
    /// From where, if that is known.
    pub source: Option<IpAddr>,
    /// When.
    pub now: Time,
    /// When the session began that is looked at again; none while it is asked for. How fresh the authentication must
    /// be is judged at that moment.
    pub opened: Option<Time>,
    /// How many sessions the person has besides this one; of a session that is looked at again, those that are older.
    pub sessions: u32,
}

/// Something to do.
#[derive(Clone, Copy, Debug)]
pub enum Action<'a> {
    /// Something at the hub itself.
    Hub {
        /// What.
        verb: Verb,
        /// With which kind of thing.
        resource: HubResource,
        /// With which one; none means all of them, or one that has no name yet.
        name: Option<&'a str>,
    },
    /// A session at a server.
    Session {
        /// Where.
        server: &'a Server,
        /// As whom, from [`LoginMapping::map`](crate::login::LoginMapping::map).
        login: &'a MappedLogin,
        /// To do what.
        permission: &'a Permission,
    },
}

/// The answer, and how it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether, and which policy says so.
    pub outcome: Outcome,
    /// Every policy and its verdict, in the order of their names.
    pub trace: Vec<PolicyTrace>,
    /// The earliest moment at which time alone may change the answer: a window opens or closes, a policy begins or
    /// ends.
    pub review_at: Option<Time>,
}

/// Whether something is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is.
    Allowed {
        /// By this policy.
        policy: ObjectName,
        /// For so long.
        limits: SessionLimits,
    },
    /// A policy denies it.
    Denied {
        /// This one.
        policy: ObjectName,
    },
    /// No policy allows it.
    NoPolicy,
}

/// How the allowing policy limits a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionLimits {
    /// How long it may last.
    pub max_session: Option<Duration>,
    /// When the policy ends.
    pub not_after: Option<Time>,
    /// How many the person may have at once, this one included.
    pub max_sessions: Option<u32>,
}

/// One policy's verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyTrace {
    /// The policy's name.
    pub policy: ObjectName,
    /// What it does with what matches.
    pub effect: Effect,
    /// Whether the request matches.
    pub matched: bool,
    /// Which of its parts decided.
    pub reason: PolicyReason,
}

impl Decision {
    /// Whether it is allowed.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        matches!(self.outcome, Outcome::Allowed { .. })
    }
}

impl Outcome {
    /// The policy that allows or denies it.
    #[must_use]
    pub fn policy(&self) -> Option<&ObjectName> {
        match self {
            Self::Allowed { policy, .. } | Self::Denied { policy } => Some(policy),
            Self::NoPolicy => None,
        }
    }
}

impl SessionLimits {
    fn of(constraints: &Constraints) -> Self {
        Self {
            max_session: constraints.max_session.map(Duration::from),
            not_after: constraints.not_after,
            max_sessions: constraints.max_sessions,
        }
    }

    /// When a session that began at `opened` must end: by the policy, and by the hub's own limit.
    #[must_use]
    pub fn until(&self, opened: Time, hub_limit: Option<Duration>) -> Option<Time> {
        let length = [self.max_session, hub_limit].into_iter().flatten().min();
        let by_length = length.map(|length| opened.saturating_add(length));
        [by_length, self.not_after].into_iter().flatten().min()
    }
}

/// Decides.
pub fn evaluate<'p>(
    policies: impl IntoIterator<Item = &'p AccessPolicy>,
    request: &AccessRequest<'_>,
) -> Decision {
    let mut policies: Vec<&AccessPolicy> = policies.into_iter().collect();
    policies.sort_unstable_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let (mut allowing, mut denying) = (None, None);
    let mut review_at = None;
    let mut trace = Vec::with_capacity(policies.len());
    for policy in policies {
        let verdict = judge(policy, request);
        let matched = verdict.reason == PolicyReason::Matches;
        if matched {
            let first = match policy.spec.effect {
                Effect::Allow => &mut allowing,
                Effect::Deny => &mut denying,
            };
            first.get_or_insert(policy);
        }
        review_at = [review_at, verdict.review_at].into_iter().flatten().min();
        trace.push(PolicyTrace {
            policy: policy.metadata.name.clone(),
            effect: policy.spec.effect,
            matched,
            reason: verdict.reason,
        });
    }
    let outcome = match (denying, allowing) {
        (Some(policy), _) => Outcome::Denied {
            policy: policy.metadata.name.clone(),
        },
        (None, Some(policy)) => Outcome::Allowed {
            policy: policy.metadata.name.clone(),
            limits: SessionLimits::of(&policy.spec.constraints),
        },
        (None, None) => Outcome::NoPolicy,
    };
    Decision {
        outcome,
        trace,
        review_at,
    }
}

struct Verdict {
    reason: PolicyReason,
    /// When time alone may change it; only where all but the time matches.
    review_at: Option<Time>,
}

/// The first thing in the way, or nothing.
type Objection = Result<(), PolicyReason>;

fn judge(policy: &AccessPolicy, request: &AccessRequest<'_>) -> Verdict {
    if let Err(reason) = timeless(policy, request) {
        return Verdict {
            reason,
            review_at: None,
        };
    }
    Verdict {
        reason: window::objection(policy, request.now)
            .err()
            .unwrap_or(PolicyReason::Matches),
        review_at: window::next_change(policy, request.now),
    }
}

fn timeless(policy: &AccessPolicy, request: &AccessRequest<'_>) -> Objection {
    let effect = policy.spec.effect;
    subject::objection(policy, request.principal)?;
    match request.action {
        Action::Hub {
            verb,
            resource,
            name,
        } => hub::objection(policy, verb, resource, name)?,
        Action::Session {
            server,
            login,
            permission,
        } => session::objection(policy, request.principal, server, login, permission)?,
    }
    circumstances(&policy.spec.constraints, effect, request)
}

fn circumstances(
    constraints: &Constraints,
    effect: Effect,
    request: &AccessRequest<'_>,
) -> Objection {
    let within = match request.source {
        Some(source) => constraints.admits(source),
        None => constraints.source_ranges.is_empty() || effect == Effect::Deny,
    };
    if !within {
        return Err(PolicyReason::Source);
    }
    let unreadable = unreadable(effect);
    for (index, claim) in constraints.required_claims.iter().enumerate() {
        if !claim.holds(request.principal.claims.get(claim.key.as_str()), unreadable) {
            return Err(PolicyReason::RequiredClaim { index });
        }
    }
    if effect == Effect::Deny {
        // What limits a session is refused in such a policy; were it there, it must not make it deny less.
        return Ok(());
    }
    if let Some(most) = constraints.max_auth_age {
        let at = request.opened.unwrap_or(request.now);
        let fresh = request
            .principal
            .authenticated_at
            .is_some_and(|then| at.saturating_since(then) <= most.duration());
        if !fresh {
            return Err(PolicyReason::AuthenticationAge);
        }
    }
    match (constraints.max_sessions, request.action) {
        (Some(most), Action::Session { .. }) if request.sessions >= most => {
            Err(PolicyReason::Sessions)
        }
        _ => Ok(()),
    }
}

const fn unreadable(effect: Effect) -> Unreadable {
    match effect {
        Effect::Allow => Unreadable::Fails,
        Effect::Deny => Unreadable::Holds,
    }
}
