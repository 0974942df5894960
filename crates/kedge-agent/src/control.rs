//! What the agent answers on its control socket. The paths and bodies are [`kedge_api::control`].

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use kedge_api::control::{
    AgentState, AgentStatus, JOINED_PATH, RELOAD_PATH, Reloaded, STATUS_PATH,
};
use kedge_api::{Status, StatusReason};
use kedge_service::{Stage, report};
use serde::Deserialize;
use tokio::time::timeout;

use crate::agent::Shared;
use crate::defaults;
use crate::reload::Reloader;

#[derive(Clone)]
struct Control {
    shared: Shared,
    reloader: Reloader,
}

/// The routes of a running agent.
pub(crate) fn router(shared: Shared, reloader: Reloader) -> Router {
    Router::new()
        .route(STATUS_PATH, get(status))
        .route(RELOAD_PATH, post(reload))
        .route(JOINED_PATH, post(joined))
        .with_state(Control { shared, reloader })
}

/// `?wait=connected`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    wait: Option<Awaited>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Awaited {
    Connected,
}

async fn status(State(control): State<Control>, Query(asked): Query<Asked>) -> Json<AgentStatus> {
    let shared = &control.shared;
    if let Some(Awaited::Connected) = asked.wait {
        let connected = shared
            .standing
            .reached(|state| matches!(state, AgentState::Connected | AgentState::Draining));
        // Whoever has waited that long asks again, or gives up.
        let _ = timeout(defaults::WAIT_TIME, connected).await;
    }
    Json(now(shared))
}

async fn reload(State(control): State<Control>) -> Response {
    if control.shared.shutdown.stage() > Stage::Running {
        return conflict("the agent is stopping".to_owned());
    }
    match control.reloader.again() {
        Ok(waiting) => {
            let restart = waiting.into_iter().map(str::to_owned).collect();
            Json(Reloaded { restart }).into_response()
        }
        Err(error) => conflict(report::chain(&error)),
    }
}

/// `kedge-agent join` has written an identity, or found the one that is there.
async fn joined(State(control): State<Control>) -> Response {
    let shared = &control.shared;
    let now_is = shared.standing.identity();
    let will_be = shared.state.identity().ok().flatten();
    if let (Some((name, hub)), Some(identity)) = (now_is, will_be)
        && name != identity.name
    {
        let advice = format!(
            "this agent runs as {name} of {hub}; restart it to become {} of {}",
            identity.name, identity.hub
        );
        return conflict(advice);
    }
    shared.nudge.notify_one();
    let begun = shared
        .standing
        .reached(|state| !matches!(state, AgentState::Joining | AgentState::NotJoined));
    let _ = timeout(defaults::BEGIN_TIME, begun).await;
    Json(now(shared)).into_response()
}

fn now(shared: &Shared) -> AgentStatus {
    let target = shared.settings.borrow().target.to_string();
    shared.standing.status(target)
}

fn conflict(reason: String) -> Response {
    let status = Status::new(StatusReason::Conflict, reason);
    (StatusCode::CONFLICT, Json(status)).into_response()
}
