//! What is asked about one server besides the object itself.

use axum::{
    body::Body,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    response::Response,
};
use http::{HeaderMap, StatusCode};
use kedge_api::{
    HostKey, HostKeys, Login, NameError, Permission, Resource as _, Server, Status, StatusReason,
    decode,
    meta::Changed,
    resources::{HubResource, Verb},
    rest::{AgentReport, HostKeyAcceptance, ServerAccess},
};
use kedge_tunnel::RefuseCode;
use serde::Deserialize;

use super::{
    auth::{self, Agent, Person},
    body, objects,
    reply::{self, Failure},
};
use crate::{
    app::App,
    audit,
    history::{self, Wish},
    host_keys, keyring,
    session::{Ask, Refusal, authorize},
};

/// `?login=L`
#[derive(Debug, Deserialize)]
pub(super) struct AccessQuery {
    login: Option<String>,
}

/// `GET …/servers/NAME/access`: as whom, and with which host keys.
pub(super) async fn access(
    State(app): State<App>,
    person: Person,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<AccessQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    let query = objects::query(query)?;
    let name = auth::server_name(&objects::name(path)?)?;
    let bad = |error: NameError| Failure::from(Status::bad_request(error.to_string()));
    let login = query
        .login
        .as_deref()
        .map(str::parse::<Login>)
        .transpose()
        .map_err(bad)?;
    let ask = Ask {
        server: name,
        login,
        permission: Permission::Ssh,
    };
    match authorize::authorize(&app, &person.who, &ask, person.from).await {
        Ok(grant) => {
            // Said here already: whoever begins with this question hears it before `ssh` starts.
            let key = keyring::key_of(&app, &grant.server)
                .await
                .map_err(|error| Failure::from(error.status()))?;
            let answer = ServerAccess {
                server: ask.server,
                login: grant.login,
                injected_key: key.map(|key| key.key.public().fingerprint()),
                host_keys: grant.server.spec.host_keys.clone(),
                phase: grant.server.status.phase.clone(),
            };
            Ok(reply::json(StatusCode::OK, &answer))
        }
        Err(refusal) => {
            // Whoever is told no here does not ask for the session, so it is here that it is remembered.
            if person.may_be_noted(&app) {
                let wish = Wish {
                    who: &person.who,
                    from: person.from,
                    ask: &ask,
                    id: None,
                    sessions: app.sessions.of(&person.who.principal),
                };
                history::refused(&app, wish, refusal.word(), refusal.reason()).await;
                note_no_access(&person, &ask, &refusal);
            }
            Err(no_access(&ask, &refusal))
        }
    }
}

fn note_no_access(person: &Person, ask: &Ask, refusal: &Refusal) {
    let asked = audit::Asked {
        id: None,
        server: ask.server.as_str(),
        login: ask.login.as_ref().map(Login::as_str).unwrap_or_default(),
        permission: ask.permission.as_str(),
    };
    audit::session_refused(person.actor(), asked, refusal.word(), refusal.reason());
}

/// The answer to somebody who may not reach a server.
fn no_access(ask: &Ask, refusal: &Refusal) -> Failure {
    let name = ask.server.as_str();
    let about =
        |reason| Failure::from(Status::new(reason, refusal.public.clone()).about::<Server>(name));
    match refusal.code {
        RefuseCode::BadRequest => about(StatusReason::BadRequest),
        RefuseCode::HostKeyChanged => about(StatusReason::Conflict),
        RefuseCode::Internal => Failure::internal(refusal.reason()),
        RefuseCode::NotFound => about(StatusReason::NotFound),
        _ => about(StatusReason::Forbidden),
    }
}

/// `POST …/servers/NAME/agentreport`: what an agent says of its server.
pub(super) async fn report(
    State(app): State<App>,
    agent: Agent,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    raw: Body,
) -> Result<Response, Failure> {
    let name = auth::server_name(&objects::name(path)?)?;
    if name != agent.server.name() {
        return Err(Status::forbidden(format!(
            "you are the server `{}` and no other",
            agent.server.name()
        ))
        .into());
    }
    let report: AgentReport = decode::body(&body::read(&headers, raw).await?)?;
    let verdict = host_keys::judge(&agent.server.spec.host_keys, &report.host_keys);
    if verdict == host_keys::Report::First {
        app.store
            .modify::<Server>(&name, |server| {
                // Only the first: whoever pinned meanwhile decides.
                if !server.spec.host_keys.is_empty() || server.spec.agent_key != Some(agent.key) {
                    return Changed::No;
                }
                server.spec.host_keys = report.host_keys.clone();
                Changed::Yes
            })
            .await?;
    }
    let (mut news, mut written) = (false, false);
    let stored = app
        .store
        .modify_status::<Server>(&name, |server| {
            let before = server.status.clone();
            let observed = match host_keys::judge(&server.spec.host_keys, &report.host_keys) {
                host_keys::Report::Changed => Some(report.host_keys.clone()),
                host_keys::Report::Empty => before.observed_host_keys.clone(),
                host_keys::Report::First | host_keys::Report::Verified => None,
            };
            news = observed.is_some() && observed != before.observed_host_keys;
            server.status.observed_host_keys = observed;
            server.status.agent_version = Some(report.version.clone());
            server.status.os.clone_from(&report.os);
            server.status.arch.clone_from(&report.arch);
            written = server.status != before;
            if !written {
                // That it is there again is written down as often as the store bears.
                return Changed::No;
            }
            if let Some(status) = crate::presence::ought(&app, server) {
                server.status = status;
            }
            Changed::Yes
        })
        .await?;
    if written {
        app.presence.wrote(&name, &app);
    }
    app.presence.mark(name.clone());
    if news {
        audit::host_keys_changed(&name, agent.from, &fingerprints(&report.host_keys));
    }
    if stored.status.observed_host_keys.is_some() {
        let message = format!(
            "the host keys of `{name}` are not the pinned ones; sessions are blocked until an administrator accepts \
             them"
        );
        return Err(Status::new(StatusReason::Conflict, message)
            .about::<Server>(name.as_str())
            .into());
    }
    Ok(reply::json(StatusCode::OK, &stored))
}

/// `POST …/servers/NAME/hostkeys`: somebody who may change the server accepts what the agent reports.
pub(super) async fn accept_host_keys(
    State(app): State<App>,
    person: Person,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    raw: Body,
) -> Result<Response, Failure> {
    let name = auth::server_name(&objects::name(path)?)?;
    let bytes = body::read(&headers, raw).await?;
    person
        .rights(&app)
        .await?
        .require(Verb::Update, HubResource::Servers, Some(name.as_str()))
        .map_err(person.refused_write(&app, Verb::Update, Server::SINGULAR, name.as_str()))?;
    let wanted: HostKeyAcceptance = decode::body(&bytes)?;
    let mut refused = None;
    let stored = app
        .store
        .modify::<Server>(&name, |server| {
            refused = None;
            let Some(observed) = server.status.observed_host_keys.clone() else {
                let words =
                    format!("server `{name}` reports no host keys other than the pinned ones");
                refused =
                    Some(Status::new(StatusReason::Conflict, words).about::<Server>(name.as_str()));
                return Changed::No;
            };
            match host_keys::accept(&observed, &wanted.accept) {
                Ok(keys) => {
                    server.spec.host_keys = keys;
                    Changed::Yes
                }
                Err(error) => {
                    let field = kedge_api::FieldError::new("accept", error.to_string());
                    refused = Some(Status::invalid::<Server>(name.as_str(), &[field]));
                    Changed::No
                }
            }
        })
        .await?;
    if let Some(status) = refused {
        return Err(status.into());
    }
    audit::host_keys_accepted(person.actor(), &name, &fingerprints(&stored.spec.host_keys));
    // The status follows by itself when the watcher sees the change; here it is done at once, so that the answer and
    // the next session see it.
    let stored = app
        .store
        .modify_status::<Server>(&name, |server| match crate::presence::ought(&app, server) {
            Some(status) => {
                server.status = status;
                Changed::Yes
            }
            None => Changed::No,
        })
        .await?;
    Ok(reply::json(StatusCode::OK, &stored))
}

fn fingerprints(keys: &HostKeys) -> String {
    let list: Vec<_> = keys
        .iter()
        .map(|key: &HostKey| key.fingerprint().to_string())
        .collect();
    list.join(" ")
}
