//! One stream from OPEN to its end.

use std::{net::IpAddr, sync::Arc, time::Instant};

use kedge_api::{SessionId, Time};
use kedge_service::Stage;
use kedge_tunnel::{
    AttributeId, Attributes, Incoming, Link, OpenRequest, RefuseCode, Relay, RelayEnd, RelayHow,
    RelayParty, ResetCode, StreamError,
};
use tokio::{sync::watch, time::timeout};

use super::{
    authorize::{self, Ask, Grant, Live},
    raw::Raw,
    refusal::{self, Refusal},
    show,
    signing::{Granted, Neighbour},
    table::{Orders, Place},
};
use crate::{
    app::App,
    audit::{self, Actor, Ending, SessionFacts},
    defaults,
    handover::Passage,
    history::{self, Wish},
    keyring::{self, ReadKey},
    metrics::Stage as Step,
    people::Authenticated,
    tunnel::Tunnel,
};

/// A person's link.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) who: Authenticated,
    pub(super) from: IpAddr,
    pub(super) link: Link,
    /// When it began.
    pub(super) since: Time,
}

/// Serves one stream that a person opened, to its end. It is one task, and the session is what it does.
pub(super) async fn run(
    app: App,
    caller: Caller,
    passage: Passage,
    neighbour: Neighbour,
    incoming: Incoming,
) {
    let raw = Raw::read(incoming.request());
    let epoch = app.epoch.subscribe();
    let Caller { ref who, from, .. } = caller;
    let granted = prepare(&app, who, from, &raw).await;
    let actor = Actor {
        principal: &who.principal,
        from,
    };
    match granted {
        Err((id, refusal)) => {
            // Told first, logged second: a test that saw the one may look for the other.
            let code = refusal.word();
            audit::session_refused(actor, raw.asked(id.as_ref()), code, refusal.reason());
            app.metrics.session_refused(code);
            neighbour.refused(&refusal);
            incoming.refuse(refusal.code, &refusal.public);
            if let Ok(ask) = raw.ask() {
                let wish = Wish {
                    who,
                    from,
                    ask: &ask,
                    id: id.as_ref(),
                    sessions: app.sessions.of(&who.principal),
                };
                history::refused(&app, wish, code, refusal.reason()).await;
            }
        }
        Ok(mut prepared) => {
            passage.ask(prepared.tunnel.shard.clone());
            neighbour.granted(Granted {
                id: prepared.id.clone(),
                ask: prepared.ask.clone(),
                grant: prepared.grant.clone(),
                asked: prepared.grant.decided,
                older: prepared.place.older(),
                key: prepared
                    .key
                    .take()
                    .map(|key| tokio::sync::Mutex::new(key.into())),
            });
            open(&app, &caller, &raw, prepared, incoming, epoch).await;
        }
    }
}

/// A session that may begin.
struct Prepared {
    ask: Ask,
    grant: Grant,
    place: Place,
    id: SessionId,
    key: Option<ReadKey>,
    tunnel: Tunnel,
}

async fn prepare(
    app: &App,
    who: &Authenticated,
    from: IpAddr,
    raw: &Raw,
) -> Result<Prepared, (Option<SessionId>, Refusal)> {
    let early = |refusal| (None, refusal);
    if app.shutdown.stage() >= Stage::StopAccepting {
        return Err(early(Refusal::new(
            RefuseCode::Draining,
            "the hub is going away; connect again",
        )));
    }
    let begun = Instant::now();
    let ask = raw.ask().map_err(early)?;
    let who = app
        .people
        .refresh(who)
        .ok_or_else(|| early(Refusal::not_accepted()))?;
    if who.has_expired(app.clock.now()) {
        return Err(early(Refusal::expired()));
    }
    let bytes = kedge_api::random::bytes().map_err(|error| {
        let mut refusal = Refusal::new(RefuseCode::Internal, "the hub cannot make a session id");
        refusal.internal = Some(error.to_string());
        early(refusal)
    })?;
    let id = SessionId::from_bytes(bytes);
    let late = |refusal| (Some(id.clone()), refusal);
    // The place first: deciding is what costs, and the limits are there to bound it.
    let mut place = app
        .sessions
        .enter(id.clone(), &who.principal)
        .map_err(|full| {
            late(Refusal::new(
                RefuseCode::TooManyStreams,
                format!("no further session: {full}"),
            ))
        })?;
    let grant = authorize::admit(app, &who, &ask, from, &mut place)
        .await
        .map_err(late)?;
    let Some(tunnel) = app.tunnels.link(&ask.server) else {
        return Err(late(Refusal::new(
            RefuseCode::Offline,
            format!("{} is not connected", ask.server),
        )));
    };
    // A tunnel of a server that was replaced a moment ago proves nothing about the one that is there now.
    if grant.server.spec.agent_key != Some(tunnel.key) {
        return Err(late(Refusal::new(
            RefuseCode::Offline,
            format!("{} is not connected", ask.server),
        )));
    }
    app.metrics.stage(Step::Authorize, begun.elapsed());
    // Before the agent hears of it: a server whose key cannot be used is not reached in any other way.
    let key = keyring::key_of(app, &grant.server)
        .await
        .map_err(|error| late(error.into()))?;
    Ok(Prepared {
        ask,
        grant,
        place,
        id,
        key,
        tunnel,
    })
}

async fn open(
    app: &App,
    caller: &Caller,
    raw: &Raw,
    prepared: Prepared,
    incoming: Incoming,
    epoch: watch::Receiver<u64>,
) {
    let Prepared {
        ask,
        grant,
        place,
        id,
        key: _,
        tunnel,
    } = prepared;
    let Caller { ref who, from, .. } = *caller;
    let actor = Actor {
        principal: &who.principal,
        from,
    };
    let begun = Instant::now();
    let attributes = match attributes(&ask, &grant, &id, who) {
        Ok(attributes) => attributes,
        Err(error) => {
            audit::session_refused(actor, raw.asked(Some(&id)), "internal", &error.to_string());
            app.metrics.session_refused("internal");
            return incoming.refuse(
                RefuseCode::Internal,
                "the hub cannot describe the session to the agent",
            );
        }
    };
    let request = incoming.request();
    let request = OpenRequest {
        target: request.target.clone(),
        key: request.key,
        resume: request.resume,
        attributes,
    };
    let relay = Arc::new(incoming.relay(&tunnel.link, request));
    let wish = Wish {
        who,
        from,
        ask: &ask,
        id: Some(&id),
        sessions: place.older(),
    };
    let answer = timeout(defaults::OPEN_TIMEOUT, relay.opened()).await;
    if let Some((code, reason)) = refusal_of(answer) {
        if code == "no-answer" {
            relay.reset(ResetCode::TargetSilent, "the agent did not answer in time");
        }
        audit::session_refused(actor, raw.asked(Some(&id)), code, &reason);
        app.metrics.session_refused(code);
        history::refused(app, wish, code, &reason).await;
        return;
    }
    app.metrics.stage(Step::Open, begun.elapsed());

    let facts = SessionFacts {
        id: id.clone(),
        server: ask.server.clone(),
        login: grant.login.clone(),
        permission: ask.permission.clone(),
        policy: grant.policy.clone(),
    };
    let since = app.clock.now();
    let session = Session {
        app,
        who,
        ask: &ask,
        from,
        relay: &relay,
        place: &place,
        asked: grant.decided,
        since,
    };
    let until = session.end(&grant).map(|(end, _)| end);
    let orders = show::enter(&place, caller, &facts, (since, until), &tunnel, &relay);
    let gauge = app.metrics.session_opened();
    audit::session_opened(actor, &facts);
    history::opened(app, wish, &grant);

    let opened = Instant::now();
    let (end, cause) = session.watch(grant, epoch, orders).await;

    let how = cause.unwrap_or_else(|| how(&end.how));
    let duration = opened.elapsed();
    let detail = detail(&end.how);
    let ending = Ending {
        up: end.bytes.up,
        down: end.bytes.down,
        duration,
        how,
        detail,
    };
    audit::session_closed(actor, &facts, &ending);
    app.metrics
        .session_ended(how, end.bytes.up, end.bytes.down, duration);
    drop((gauge, place));
}

/// A session while it lives.
struct Session<'a> {
    app: &'a App,
    who: &'a Authenticated,
    ask: &'a Ask,
    from: IpAddr,
    relay: &'a Relay,
    place: &'a Place,
    asked: Time,
    since: Time,
}

/// What the clock brings about.
#[derive(Clone, Copy, Debug)]
enum Due {
    /// The session was as long as it may be.
    MaxAge,
    /// Time alone may have changed what policies say.
    Review,
    /// The token it was opened with has expired, and the time after it is over.
    Token,
}

impl Session<'_> {
    /// Waits for the end, or brings it about. The second value says why, when the hub did.
    async fn watch(
        &self,
        mut grant: Grant,
        mut epoch: watch::Receiver<u64>,
        mut orders: Orders,
    ) -> (RelayEnd, Option<&'static str>) {
        loop {
            let due = self.due(&grant);
            let (code, cause, words) = tokio::select! {
                biased;
                end = self.relay.ended() => return (end, None),
                () = self.app.shutdown.reached(Stage::Cut) => {
                    (ResetCode::ShuttingDown, "shutting-down", "the hub shuts down".to_owned())
                }
                words = orders.end() => (ResetCode::Killed, "killed", words),
                due = due => match due {
                    Due::MaxAge => (ResetCode::MaxAge, "max-age", "the session was as long as it may be".to_owned()),
                    Due::Token => (
                        ResetCode::MaxAge,
                        "login-expired",
                        "the login that this session began with has expired; log in again".to_owned(),
                    ),
                    Due::Review => match self.look_again(&grant).await {
                        Ok(granted) => {
                            grant = granted;
                            continue;
                        }
                        Err(refusal) => (ResetCode::Revoked, "revoked", refusal.public),
                    },
                },
                changed = epoch.changed() => {
                    let looked = match changed {
                        Ok(()) => self.look_again(&grant).await,
                        // Nobody is left who would tell of changes; that is a hub that ends.
                        Err(_) => Err(Refusal::new(RefuseCode::Draining, "the hub ends")),
                    };
                    match looked {
                        Ok(granted) => {
                            grant = granted;
                            continue;
                        }
                        Err(refusal) => (ResetCode::Revoked, "revoked", refusal.public),
                    }
                }
            };
            self.relay.reset(code, &words);
            let end = match timeout(defaults::LAST_WORDS, self.relay.ended()).await {
                Ok(end) => end,
                Err(_) => RelayEnd {
                    bytes: self.relay.bytes(),
                    how: RelayHow::Reset {
                        by: RelayParty::Relay,
                        code,
                        text: words,
                    },
                },
            };
            return (end, Some(cause));
        }
    }

    async fn look_again(&self, grant: &Grant) -> Result<Grant, Refusal> {
        let who = self
            .app
            .people
            .refresh(self.who)
            .ok_or_else(Refusal::not_accepted)?;
        let live = Live {
            ask: self.ask,
            granted: grant,
            asked: self.asked,
            older: self.place.older(),
        };
        match authorize::reauthorize(self.app, &who, &live, self.from).await {
            // A store that does not answer takes nothing back: the next change asks again.
            Err(refusal) if refusal.code == RefuseCode::Internal => {
                tracing::warn!(
                    cause = refusal.reason(),
                    "a live session cannot be looked at again"
                );
                Ok(Grant {
                    decided: self.app.clock.now(),
                    ..grant.clone()
                })
            }
            decided => decided,
        }
    }

    /// When the session must end whatever else happens, and by what.
    fn end(&self, grant: &Grant) -> Option<(Time, Due)> {
        let limits = &self.app.settings.session;
        let by_length = grant.limits.until(self.since, limits.max_age);
        let by_token = match (limits.token_grace, self.who.principal.expires_at) {
            (Some(grace), Some(expires)) => Some(expires.saturating_add(grace)),
            _ => None,
        };
        [
            by_length.map(|at| (at, Due::MaxAge)),
            by_token.map(|at| (at, Due::Token)),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at)
    }

    async fn due(&self, grant: &Grant) -> Due {
        // However time is cut up by policies, one look a second is enough.
        let soonest = grant.decided.saturating_add(defaults::REVIEW_PAUSE);
        let review = grant.review_at.map(|at| (at.max(soonest), Due::Review));
        let first = [self.end(grant), review]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at);
        let Some((at, due)) = first else {
            return std::future::pending().await;
        };
        // The wall clock may jump, and a sleep must not be longer than it can be wrong.
        loop {
            let left = at.saturating_since(self.app.clock.now());
            if left.is_zero() {
                return due;
            }
            tokio::time::sleep(left.min(defaults::REEVALUATE_EVERY)).await;
        }
    }
}

fn attributes(
    ask: &Ask,
    grant: &Grant,
    id: &SessionId,
    who: &Authenticated,
) -> Result<Attributes, kedge_proto::AttributesFull> {
    Attributes::new()
        .with(AttributeId::SERVER, ask.server.as_str().to_owned())?
        .with(AttributeId::LOGIN, grant.login.as_str().to_owned())?
        .with(AttributeId::SESSION, id.as_str().to_owned())?
        .with(
            AttributeId::SUBJECT,
            who.principal.subject.as_str().to_owned(),
        )
}

/// Why the session did not come about; `None` when it did.
fn refusal_of(
    answer: Result<Result<(), StreamError>, tokio::time::error::Elapsed>,
) -> Option<(&'static str, String)> {
    match answer {
        Ok(Ok(())) => None,
        Ok(Err(StreamError::Refused { code, text })) => Some((refusal::word(code), text)),
        Ok(Err(StreamError::Reset { code, text })) => Some(("reset", format!("{code}: {text}"))),
        Ok(Err(error)) => Some(("link-lost", error.to_string())),
        Err(_) => Some(("no-answer", "the agent did not answer in time".to_owned())),
    }
}

/// How a session ended, as a word for logs and labels.
fn how(how: &RelayHow) -> &'static str {
    match how {
        RelayHow::AcceptorLost => "agent-lost",
        RelayHow::Finished => "finished",
        RelayHow::OpenerLost => "client-lost",
        RelayHow::Refused { .. } => "refused",
        RelayHow::Reset {
            by: RelayParty::Acceptor,
            ..
        } => "reset-by-agent",
        RelayHow::Reset {
            by: RelayParty::Opener,
            ..
        } => "reset-by-client",
        RelayHow::Reset {
            by: RelayParty::Relay,
            ..
        } => "reset-by-hub",
        _ => "unknown",
    }
}

fn detail(how: &RelayHow) -> &str {
    match how {
        RelayHow::Refused { text, .. } | RelayHow::Reset { text, .. } => text,
        _ => "",
    }
}
