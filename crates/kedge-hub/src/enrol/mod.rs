//! How an agent becomes a server, once and entirely.
//!
//! ```text
//!  token good? proof good? name free? ─▶ 1 use reserved (used += 1, by version) ─▶ server made ─▶ use named (usedBy)
//!                                           │ lost the race: look again              │ taken: use given back
//! ```
//!
//! * The reservation is a write that names the version it changes, so of two agents that race for the last use one
//!   gets it, on one hub or on several.
//! * Nothing is half-done: a server exists only after its use was reserved; a use without a server is given back at
//!   once, or, when the hub died between the two, at its next start ([`reconcile`]). The server carries the token's
//!   name ([`JOINED_WITH`]) and the use's number ([`JOIN_USE`]), which is how that start tells the two apart.
//! * What a join costs does not grow with those before it: see [`Ledger`].
//! * An agent whose answer was lost asks again with the same key and gets the same answer.

mod ledger;
mod uses;

use std::{net::IpAddr, time::Instant};

use kedge_api::{
    JoinToken, LabelKey, Resource as _, Server, ServerName, Status, StatusReason, Time, TokenHash,
    assertion,
    resources::{ServerSpec, ServerStatus},
    rest::{Enrolled, Enrollment, HubIdentity},
};
use kedge_store::StoreError;

pub use ledger::Ledger;
pub use uses::{latest_end, reconcile};

use crate::{
    app::App,
    audit,
    http::{Failure, Joiner, failed, spend},
    metrics::{Caller, Outcome},
    presence,
};

/// The annotation that says with which join token a server came.
pub const JOINED_WITH: &str = "kedge.dev/join-token";

/// The annotation that says with which of its uses.
pub const JOIN_USE: &str = "kedge.dev/join-use";

/// Why an agent may not join.
#[derive(Debug)]
enum Refused {
    /// It did not prove that it may: the answer says nothing more.
    Unproved(String),
    /// It may be told why.
    Told(Status),
    /// The hub failed.
    Failed(Failure),
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

/// Looks at the join token alone: whoever has none gets no further, and their body is not read. How often agents may
/// enrol is counted by token as well as by source, so that one that tries for ever keeps out no other behind its NAT.
///
/// # Errors
/// The answer to the agent.
///
/// # Cancel safety
/// Cancel safe: it only reads.
pub async fn admit(app: &App, joiner: &Joiner) -> Result<(), Failure> {
    match known_token(app, joiner).await {
        Ok(token) => {
            let token = token.metadata.name.as_str().to_owned();
            app.enrolments
                .take((joiner.from, token), Instant::now())
                .map_err(|wait| Failure::too_many("too many agents enrol from your address", wait))
        }
        Err(why) => Err(refuse(
            app,
            why,
            "",
            joiner.secret.name().as_str(),
            joiner.from,
        )),
    }
}

/// Enrols an agent. Run it as a task of its own: a caller that hangs up must not stop it half-way.
///
/// # Errors
/// The answer to the agent.
///
/// # Cancel safety
/// When dropped between two writes, a use may be left reserved until the hub's next start.
pub async fn enrol(app: App, joiner: Joiner, request: Enrollment) -> Result<Enrolled, Failure> {
    let token = joiner.secret.name().as_str().to_owned();
    let from = joiner.from;
    let server = request.name.clone();
    match attempt(&app, &joiner, &request).await {
        Ok(stored) => {
            app.metrics.enrolment(Outcome::Accepted);
            audit::enrolled(&server, &token, from);
            app.presence.mark(server);
            let hub = HubIdentity {
                id: app.id.clone(),
                name: app.settings.name.clone(),
            };
            Ok(Enrolled {
                server: stored,
                hub,
            })
        }
        Err(why) => Err(refuse(&app, why, server.as_str(), &token, from)),
    }
}

async fn attempt(app: &App, joiner: &Joiner, request: &Enrollment) -> Result<Server, Refused> {
    let now = app.clock.now();
    let token = known_token(app, joiner).await?;
    let verified = assertion::verify_enrolment(
        &request.proof,
        &request.public_key,
        &app.id,
        &request.name,
        &joiner.secret.hash(),
        now,
    )
    .map_err(|error| {
        // The token was good, so a wrong clock or a mixed-up key may be said.
        let words = kedge_service::report::chain(&error);
        Refused::Told(Status::new(
            StatusReason::Unauthorized,
            format!("the proof is not accepted: {words}"),
        ))
    })?;
    spend(app, &verified, now).map_err(|error| {
        Refused::Told(Status::new(
            StatusReason::Unauthorized,
            format!("the proof is not accepted: {error}"),
        ))
    })?;
    if let Some(only) = token
        .spec
        .server_name
        .as_ref()
        .filter(|only| **only != request.name)
    {
        let words = format!("the join token is for the server `{only}` only");
        return Err(Refused::Told(Status::forbidden(words)));
    }
    // An agent that joined already and asks again is answered again; it uses nothing.
    let existing = app.store.find::<Server>(&request.name).await?;
    if let Some(server) = existing
        .as_ref()
        .filter(|server| server.spec.agent_key == Some(request.public_key))
    {
        return Ok(server.clone());
    }
    if existing
        .as_ref()
        .is_some_and(|server| server.spec.agent_key.is_some())
    {
        return Err(taken(&request.name));
    }
    let number = uses::reserve(app, &token, now).await?;
    let joining = Joining {
        token: &token,
        number,
    };
    match make(app, joining, request, existing, now).await {
        Ok(server) => {
            uses::name(app, &token, number, &request.name, now).await;
            Ok(server)
        }
        Err(why) => {
            uses::give_back(app, &token, number).await;
            // An agent that asked twice at once lost against itself.
            let stored = app.store.find::<Server>(&request.name).await?;
            stored
                .filter(|server| server.spec.agent_key == Some(request.public_key))
                .ok_or(why)
        }
    }
}

async fn known_token(app: &App, joiner: &Joiner) -> Result<JoinToken, Refused> {
    let name = joiner.secret.name();
    let stored = app.store.find::<JoinToken>(name.as_str()).await?;
    // A name that is not there is compared like one that is, so that the time does not tell them apart.
    let hash = stored
        .as_ref()
        .and_then(|token| token.status.hash)
        .unwrap_or_else(nobodys_hash);
    let good = joiner.secret.verify(&hash);
    match stored {
        Some(token) if good && token.status.hash.is_some() => Ok(token),
        Some(_) => Err(Refused::Unproved(
            "the secret is not that of the join token".to_owned(),
        )),
        None => Err(Refused::Unproved("there is no such join token".to_owned())),
    }
}

/// A use of a join token that is under way.
#[derive(Clone, Copy, Debug)]
struct Joining<'a> {
    token: &'a JoinToken,
    number: u64,
}

async fn make(
    app: &App,
    joining: Joining<'_>,
    request: &Enrollment,
    existing: Option<Server>,
    now: Time,
) -> Result<Server, Refused> {
    let stored = match existing {
        // An operator described the server before its agent came: what they wrote stays.
        Some(mut server) => {
            server.spec.agent_key = Some(request.public_key);
            if server.spec.host_keys.is_empty() {
                server.spec.host_keys = request.host_keys.clone();
            }
            mark_joined(&mut server, joining);
            app.store.update(&server).await
        }
        None => {
            let spec = ServerSpec {
                agent_key: Some(request.public_key),
                host_keys: request.host_keys.clone(),
                ..ServerSpec::default()
            };
            let mut server = Server::new(request.name.clone().into(), spec);
            server.metadata.labels = request.labels.clone();
            mark_joined(&mut server, joining);
            server.validate().map_err(|errors| {
                Refused::Told(Status::invalid::<Server>(request.name.as_str(), &errors))
            })?;
            server.status = reported(request);
            if let Some(status) = presence::settle(&server, None, None, now) {
                server.status = status;
            }
            app.store.create(&server).await
        }
    };
    match stored {
        Ok(server) => Ok(server),
        // Somebody took the name between the look and the write.
        Err(StoreError::AlreadyExists { .. } | StoreError::Conflict { .. }) => {
            Err(taken(&request.name))
        }
        Err(error) => Err(error.into()),
    }
}

fn mark_joined(server: &mut Server, joining: Joining<'_>) {
    // The token's labels win: they are what an operator decided.
    let Joining { token, number } = joining;
    let forced = token
        .spec
        .labels
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()));
    server.metadata.labels.extend(forced);
    let notes = [
        (JOINED_WITH, token.metadata.name.as_str().to_owned()),
        (JOIN_USE, number.to_string()),
    ];
    for (key, note) in notes {
        if let Ok(key) = key.parse::<LabelKey>() {
            server.metadata.annotations.insert(key, note);
        }
    }
}

/// A server that came with a join token.
#[derive(Clone, Debug)]
struct Joined {
    server: ServerName,
    /// None of one that came to a hub that gave its uses no numbers.
    number: Option<u64>,
}

/// The name of the token that a server came with, and what is known of that.
fn joined_with(server: &Server) -> Option<(&str, Joined)> {
    let annotations = &server.metadata.annotations;
    let number = annotations.get(JOIN_USE);
    let joined = Joined {
        server: server.name(),
        number: number.and_then(|number| number.parse().ok()),
    };
    annotations
        .get(JOINED_WITH)
        .map(|token| (token.as_str(), joined))
}

fn reported(request: &Enrollment) -> ServerStatus {
    ServerStatus {
        agent_version: Some(request.version.clone()),
        os: request.os.clone(),
        arch: request.arch.clone(),
        ..ServerStatus::default()
    }
}

fn taken(name: &ServerName) -> Refused {
    let mut status = Status::already_exists::<Server>(name.as_str());
    status.message = format!(
        "server `{name}` is enrolled with another key; choose another name, or have an administrator delete it first"
    );
    Refused::Told(status)
}

fn refuse(app: &App, why: Refused, server: &str, token: &str, from: IpAddr) -> Failure {
    app.metrics.enrolment(Outcome::Refused);
    match why {
        Refused::Unproved(reason) => match failed(app, Caller::Agent, from) {
            Ok(failure) => {
                audit::enrolment_refused(server, token, from, &reason);
                audit::authentication_refused(Caller::Agent.label(), from, "enrollments", &reason);
                failure
            }
            Err(limited) => limited,
        },
        Refused::Told(status) => {
            audit::enrolment_refused(server, token, from, &status.message);
            status.into()
        }
        Refused::Failed(failure) => {
            audit::enrolment_refused(server, token, from, failure.message());
            failure
        }
    }
}

/// The hash of a token that nobody has.
fn nobodys_hash() -> TokenHash {
    TokenHash::of("")
}
