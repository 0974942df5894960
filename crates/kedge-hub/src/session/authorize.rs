//! Whether somebody may reach a server, as whom, and for how long: every door asks here.

use std::{net::IpAddr, sync::Arc, time::Duration};

use kedge_api::{
    Login, ObjectName, Permission, Server, ServerName, Time,
    login::LoginError,
    policy::{self, AccessRequest, Action, Outcome, SessionLimits},
};
use kedge_store::StoreError;
use kedge_tunnel::RefuseCode;

use crate::{
    app::App,
    host_keys::{self, Standing},
    people::{Authenticated, Role},
    policies::Entry,
};

/// What somebody asks for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Where.
    pub server: ServerName,
    /// As whom; `None` leaves it to the mapping.
    pub login: Option<Login>,
    /// To do what.
    pub permission: Permission,
}

/// What was granted.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The server as it was then.
    pub server: Server,
    /// As whom.
    pub login: Login,
    /// The policy that allows it.
    pub policy: ObjectName,
    /// How that policy limits it.
    pub limits: SessionLimits,
}

/// Why something is refused: the words for the person, and for the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For programs.
    pub code: RefuseCode,
    /// For the person.
    pub public: String,
    /// For the audit log, when it says more.
    pub internal: Option<String>,
    /// For the audit log, when the person may not know.
    pub truth: Option<RefuseCode>,
}

impl Refusal {
    pub(crate) fn new(code: RefuseCode, public: impl Into<String>) -> Self {
        Self {
            code,
            public: public.into(),
            internal: None,
            truth: None,
        }
    }

    /// The same, as it looks to somebody who may not know that there is such a server.
    fn hidden(self, server: &ServerName) -> Self {
        Self {
            internal: Some(self.reason().to_owned()),
            truth: Some(self.code),
            ..unknown(server)
        }
    }

    /// Its code as the audit log and the metrics say it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        word(self.truth.unwrap_or(self.code))
    }

    /// What the audit log is told.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.internal.as_deref().unwrap_or(&self.public)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self {
            code: RefuseCode::Internal,
            public: "the hub cannot read its store".to_owned(),
            internal: Some(error.to_string()),
            truth: None,
        }
    }
}

impl Grant {
    /// When a session that began at `opened` must end: by the policy, and by the hub's own limit.
    #[must_use]
    pub fn until(&self, opened: Time, hub_limit: Option<Duration>) -> Option<Time> {
        self.limits.until(opened, hub_limit)
    }
}

/// Decides by server, login, policy and host keys; whether the server is connected is another question.
///
/// To a person whom no policy lets see a server, it is one that does not exist: otherwise asking for names would list
/// them. Administrators see every server anyway.
///
/// # Errors
/// [`Refusal`], the first thing in the way.
///
/// # Cancel safety
/// Cancel safe: it only reads.
pub async fn authorize(
    app: &App,
    who: &Authenticated,
    ask: &Ask,
    from: IpAddr,
) -> Result<Grant, Refusal> {
    // Both are read whatever is found, so that neither a failing store nor the work tells the two apart.
    let policies = app.policies.current(&*app.store).await?;
    let server = app.store.find::<Server>(&ask.server).await?;
    let server = server.ok_or_else(|| unknown(&ask.server))?;
    let visible = who.role == Role::Admin
        || policy::may_see(
            policies.iter().map(Entry::policy),
            &who.principal,
            &server,
            app.clock.now(),
        );
    let grant = match decide(app, who, ask, from, server, &policies) {
        Err(refusal) if !visible => return Err(refusal.hidden(&ask.server)),
        decided => decided?,
    };
    match host_keys::standing(
        &grant.server.spec.host_keys,
        grant.server.status.observed_host_keys.as_ref(),
    ) {
        Standing::Verified => Ok(grant),
        Standing::Changed => Err(Refusal::new(
            RefuseCode::HostKeyChanged,
            format!(
                "the host keys of {} changed and nobody has accepted the new ones; ask an administrator",
                ask.server
            ),
        )),
        Standing::Missing => Err(Refusal::new(
            RefuseCode::HostKeyChanged,
            format!(
                "no host key of {} is known; its agent has reported none",
                ask.server
            ),
        )),
    }
}

/// Whether a session that was granted still would be. Host keys that changed meanwhile do not end it: it verified the
/// old ones when it began.
///
/// # Errors
/// [`Refusal`] when it would not.
///
/// # Cancel safety
/// Cancel safe: it only reads.
pub async fn reauthorize(
    app: &App,
    who: &Authenticated,
    granted: &Grant,
    ask: &Ask,
    from: IpAddr,
) -> Result<Grant, Refusal> {
    let server = app
        .store
        .find::<Server>(&ask.server)
        .await?
        .ok_or_else(|| Refusal::new(RefuseCode::NotFound, "the server was removed"))?;
    if server.metadata.uid != granted.server.metadata.uid
        || server.spec.agent_key != granted.server.spec.agent_key
    {
        return Err(Refusal::new(
            RefuseCode::NotFound,
            "the server was removed and is another one now",
        ));
    }
    let policies = app.policies.current(&*app.store).await?;
    let grant = decide(app, who, ask, from, server, &policies)?;
    if grant.login != granted.login {
        let words = format!(
            "the session is for {}, and the login is {} now",
            granted.login, grant.login
        );
        return Err(Refusal::new(RefuseCode::Denied, words));
    }
    Ok(grant)
}

fn decide(
    app: &App,
    who: &Authenticated,
    ask: &Ask,
    from: IpAddr,
    server: Server,
    policies: &Arc<Vec<Entry>>,
) -> Result<Grant, Refusal> {
    let mapped = app
        .people
        .mapping()
        .map(&who.principal, &server.spec, ask.login.as_ref())
        .map_err(|error| no_login(&error))?;
    let request = AccessRequest {
        principal: &who.principal,
        action: Action::Session {
            server: &server,
            login: &mapped,
            permission: &ask.permission,
        },
        source: Some(from),
        now: app.clock.now(),
        opened: None,
        sessions: 0,
    };
    let decision = policy::evaluate(policies.iter().map(Entry::policy), &request);
    let Outcome::Allowed { policy, limits } = decision.outcome else {
        let trace: Vec<_> = decision
            .trace
            .iter()
            .map(|t| format!("{}: {}", t.policy, t.reason))
            .collect();
        return Err(Refusal {
            code: RefuseCode::Denied,
            public: format!(
                "no policy allows you to reach {} as {}",
                ask.server, mapped.login
            ),
            internal: Some(if trace.is_empty() {
                "there is no policy".to_owned()
            } else {
                format!("no policy allows it ({})", trace.join("; "))
            }),
            truth: None,
        });
    };
    Ok(Grant {
        server,
        login: mapped.login,
        policy,
        limits,
    })
}

fn unknown(server: &ServerName) -> Refusal {
    Refusal::new(
        RefuseCode::NotFound,
        format!("there is no server {server} that you may reach"),
    )
}

fn no_login(error: &LoginError) -> Refusal {
    Refusal::new(RefuseCode::Denied, kedge_service::report::chain(error))
}

/// A refuse code as a word for logs and labels.
#[must_use]
pub fn word(code: RefuseCode) -> &'static str {
    match code {
        RefuseCode::BadRequest => "bad-request",
        RefuseCode::Denied => "denied",
        RefuseCode::Draining => "draining",
        RefuseCode::HostKeyChanged => "host-key-changed",
        RefuseCode::Internal => "internal",
        RefuseCode::NotFound => "not-found",
        RefuseCode::Offline => "offline",
        RefuseCode::ResumeRejected => "resume-rejected",
        RefuseCode::TargetUnreachable => "target-unreachable",
        RefuseCode::TooManyStreams => "too-many-streams",
        RefuseCode::Unauthenticated => "unauthenticated",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Time {
        jiff::Timestamp::from_second(second).unwrap().into()
    }

    fn grant(length: Option<u64>, not_after: Option<i64>) -> Grant {
        Grant {
            server: kedge_api::Resource::new("web01".parse().unwrap(), Default::default()),
            login: "alice".parse().unwrap(),
            policy: "p".parse().unwrap(),
            limits: SessionLimits {
                max_session: length.map(Duration::from_secs),
                not_after: not_after.map(at),
                max_sessions: None,
            },
        }
    }

    #[test]
    fn a_session_ends_at_the_first_of_its_limits() {
        let hub = Some(Duration::from_secs(100));
        for (length, not_after, hub_limit, wanted) in [
            (None, None, None, None),
            (Some(50), None, None, Some(1050)),
            (Some(50), None, hub, Some(1050)),
            (Some(500), None, hub, Some(1100)),
            (None, None, hub, Some(1100)),
            (None, Some(1010), hub, Some(1010)),
            (Some(50), Some(2000), None, Some(1050)),
        ] {
            assert_eq!(
                grant(length, not_after).until(at(1000), hub_limit),
                wanted.map(at)
            );
        }
    }
}
