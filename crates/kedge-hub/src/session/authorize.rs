//! Whether somebody may reach a server, as whom, and for how long: every door asks here.

use std::{net::IpAddr, sync::Arc};

use kedge_api::{
    Login, ObjectName, Permission, Server, ServerName, Time,
    login::LoginError,
    policy::{Outcome, SessionLimits},
};
use kedge_tunnel::RefuseCode;

use super::{refusal::Refusal, table::Place};
use crate::{
    app::App,
    decision::{Answer, Question},
    defaults,
    host_keys::{self, Standing},
    people::Authenticated,
    policies::Entry,
    rights::Rights,
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
    /// When it was decided.
    pub decided: Time,
    /// When time alone may change the answer.
    pub review_at: Option<Time>,
}

/// What a decision rests on besides what is asked: of a session that is there already, when it was asked for and how
/// many of its person's are older; else how many there are.
#[derive(Clone, Copy, Debug)]
struct Standpoint {
    opened: Option<Time>,
    sessions: u32,
}

/// What there is at one moment.
struct World {
    policies: Arc<Vec<Entry>>,
    server: Server,
    visible: bool,
}

/// Decides by server, login, policy and host keys; whether the server is connected is another question.
///
/// To a person whom no policy lets see a server, it is one that does not exist: otherwise asking for names would list
/// them. Those who may read it at the hub anyway are told the truth.
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
    let world = World::read(app, who, ask, from).await?;
    let sessions = app.sessions.of(&who.principal);
    world.grant(app, who, ask, from, sessions)
}

/// The same for a session that is to begin, which takes its part in the number that a policy allows: of those who ask
/// at the same moment no more than that many are admitted.
///
/// # Errors
/// [`Refusal`], the first thing in the way.
///
/// # Cancel safety
/// Cancel safe: a place that was admitted is given back with the place.
pub async fn admit(
    app: &App,
    who: &Authenticated,
    ask: &Ask,
    from: IpAddr,
    place: &mut Place,
) -> Result<Grant, Refusal> {
    let world = World::read(app, who, ask, from).await?;
    let mut sessions = place.older();
    for _ in 0..defaults::ADMISSION_TRIES {
        let grant = world.grant(app, who, ask, from, sessions)?;
        match place.admit(grant.limits.max_sessions) {
            Ok(()) => return Ok(grant),
            // Others were quicker. With as many as there are now another policy may allow it, or none.
            Err(there) => sessions = there,
        }
    }
    Err(Refusal::new(
        RefuseCode::TooManyStreams,
        "you begin too many sessions at once",
    ))
}

/// Whether a session that was granted still would be. Host keys that changed meanwhile do not end it: it verified the
/// old ones when it began.
///
/// # Errors
/// [`Refusal`] when it would not.
///
/// # Cancel safety
/// Cancel safe: it only reads.
pub(super) async fn reauthorize(
    app: &App,
    who: &Authenticated,
    live: &Live<'_>,
    from: IpAddr,
) -> Result<Grant, Refusal> {
    let Live {
        ask,
        granted,
        asked,
        older,
    } = live;
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
    let standpoint = Standpoint {
        opened: Some(*asked),
        sessions: *older,
    };
    let grant = decide(app, who, ask, from, &server, &policies, standpoint)?;
    if grant.login != granted.login {
        let words = format!(
            "the session is for {}, and the login is {} now",
            granted.login, grant.login
        );
        return Err(Refusal::new(RefuseCode::Denied, words));
    }
    Ok(grant)
}

/// A session that lives, as far as it matters to whether it may go on.
pub(super) struct Live<'a> {
    /// What was asked for.
    pub(super) ask: &'a Ask,
    /// What was granted last.
    pub(super) granted: &'a Grant,
    /// When it was asked for.
    pub(super) asked: Time,
    /// How many sessions its person had before it.
    pub(super) older: u32,
}

impl World {
    async fn read(
        app: &App,
        who: &Authenticated,
        ask: &Ask,
        from: IpAddr,
    ) -> Result<Self, Refusal> {
        // Both are read whatever is found, so that neither a failing store nor the work tells the two apart.
        let rights = Rights::of(app, who, from).await?;
        let server = app.store.find::<Server>(&ask.server).await?;
        let server = server.ok_or_else(|| Refusal::unknown(&ask.server))?;
        let visible = rights.see(&server, app.clock.now());
        Ok(Self {
            policies: rights.policies()?,
            server,
            visible,
        })
    }

    fn grant(
        &self,
        app: &App,
        who: &Authenticated,
        ask: &Ask,
        from: IpAddr,
        sessions: u32,
    ) -> Result<Grant, Refusal> {
        let standpoint = Standpoint {
            opened: None,
            sessions,
        };
        let decided = decide(
            app,
            who,
            ask,
            from,
            &self.server,
            &self.policies,
            standpoint,
        );
        let grant = match decided {
            Err(refusal) if !self.visible => return Err(refusal.hidden(&ask.server)),
            decided => decided?,
        };
        let words = match host_keys::standing(
            &grant.server.spec.host_keys,
            grant.server.status.observed_host_keys.as_ref(),
        ) {
            Standing::Verified => return Ok(grant),
            Standing::Changed => format!(
                "the host keys of {} changed and nobody has accepted the new ones; ask an administrator",
                ask.server
            ),
            Standing::Missing => format!(
                "no host key of {} is known; its agent has reported none",
                ask.server
            ),
        };
        Err(Refusal::new(RefuseCode::HostKeyChanged, words))
    }
}

fn decide(
    app: &App,
    who: &Authenticated,
    ask: &Ask,
    from: IpAddr,
    server: &Server,
    policies: &[Entry],
    standpoint: Standpoint,
) -> Result<Grant, Refusal> {
    let mapping = app
        .people
        .mapping(&who.principal.issuer)
        .ok_or_else(Refusal::not_accepted)?;
    let now = app.clock.now();
    let question = Question {
        principal: &who.principal,
        server,
        login: ask.login.as_ref(),
        permission: &ask.permission,
        source: Some(from),
        now,
        opened: standpoint.opened,
        sessions: standpoint.sessions,
    };
    let Answer { login, decision } = question
        .put(&mapping, policies.iter().map(Entry::policy))
        .map_err(|error| no_login(&error))?;
    let Outcome::Allowed { policy, limits } = &decision.outcome else {
        let refusal = Refusal::by_policy(&decision, &who.principal, &ask.server, &login.login);
        return Err(refusal);
    };
    Ok(Grant {
        server: server.clone(),
        login: login.login,
        policy: policy.clone(),
        limits: *limits,
        decided: now,
        review_at: decision.review_at,
    })
}

fn no_login(error: &LoginError) -> Refusal {
    Refusal::new(RefuseCode::Denied, kedge_service::report::chain(error))
}
