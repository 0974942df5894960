//! The two WebSockets: agents' tunnels and people's connections.
//!
//! The token is checked before the 101: whoever has none never gets a byte of the tunnel protocol, and the caller
//! reads a plain HTTP error.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use kedge_api::{Status, StatusReason};
use kedge_service::Stage;
use kedge_tunnel::{Link, PendingUpgrade, Side, UpgradeError};
use tokio::sync::OwnedSemaphorePermit;

use super::{
    auth::{Agent, Person},
    reply::Failure,
};
use crate::{
    app::App, defaults, handover::Passage, metrics::Stage as Step, people::Authenticated,
    serve::Held, session, tunnel,
};

/// `GET /kedge/v1/agent`
pub(super) async fn agent(State(app): State<App>, agent: Agent, request: Request) -> Response {
    match begin(&app, request) {
        Ok(begun) => {
            let Begun {
                response,
                pending,
                admission,
                held,
                passage,
            } = begun;
            let work = tunnel::serve(app.clone(), agent, pending, passage, admission, held);
            app.shutdown.tasks().spawn("tunnel", work);
            response
        }
        Err(failure) => failure.into_response(),
    }
}

/// `GET /kedge/v1/connect`
pub(super) async fn connect(State(app): State<App>, person: Person, request: Request) -> Response {
    let ticket = match app.clients.take(&person.who.principal) {
        Ok(ticket) => ticket,
        Err(full) => {
            let words = format!("no further connection: {full}");
            return Failure::too_many(words, defaults::RETRY_AFTER).into_response();
        }
    };
    match begin(&app, request) {
        Ok(begun) => {
            let Begun {
                response,
                pending,
                admission,
                held,
                passage,
            } = begun;
            let task = app.clone();
            let mine = passage.clone();
            let work = async move {
                client(task, person, pending, mine, admission).await;
                drop((held, ticket));
            };
            let tasks = app.shutdown.tasks();
            tasks.spawn("client", passage.carry(tasks.clone(), "client", work));
            response
        }
        Err(failure) => failure.into_response(),
    }
}

struct Begun {
    response: Response,
    pending: PendingUpgrade,
    admission: OwnedSemaphorePermit,
    held: Option<Held>,
    passage: Passage,
}

fn begin(app: &App, mut request: Request) -> Result<Begun, Failure> {
    if app.shutdown.stage() >= Stage::StopAccepting {
        return Err(Failure::unavailable(
            "the hub is going away",
            defaults::RETRY_AFTER,
        ));
    }
    let admission = Arc::clone(&app.admissions)
        .try_acquire_owned()
        .map_err(|_| {
            Failure::unavailable("too many tunnels begin at once", defaults::RETRY_AFTER)
        })?;
    let extensions = request.extensions_mut();
    let held = extensions.remove::<Held>();
    let passage = extensions
        .remove::<Passage>()
        .ok_or_else(|| Failure::internal("a request without its connection"))?;
    let (response, pending) =
        kedge_tunnel::upgrade(&mut request).map_err(|error| not_upgraded(&error))?;
    let (parts, ()) = response.into_parts();
    Ok(Begun {
        response: switching(parts),
        pending,
        admission,
        held,
        passage,
    })
}

fn switching(parts: http::response::Parts) -> Response {
    Response::from_parts(parts, Body::empty())
}

fn not_upgraded(error: &UpgradeError) -> Failure {
    let reason = match error {
        UpgradeError::Origin => StatusReason::Forbidden,
        UpgradeError::Method => StatusReason::MethodNotAllowed,
        _ => StatusReason::BadRequest,
    };
    Failure::from(Status::new(reason, error.to_string())).with(error.status(), error.headers())
}

async fn client(
    app: App,
    person: Person,
    pending: PendingUpgrade,
    passage: Passage,
    admission: OwnedSemaphorePermit,
) {
    let begun = std::time::Instant::now();
    let websocket = match pending.websocket().await {
        Ok(websocket) => websocket,
        Err(error) => {
            tracing::debug!(%error, "a person's connection did not begin");
            return;
        }
    };
    let config = app.link_config(defaults::STREAMS_PER_CLIENT);
    let (link, driver) = Link::new(websocket, Side::Server, config);
    let gauge = app.metrics.client();
    app.metrics.stage(Step::Upgrade, begun.elapsed());
    drop(admission);
    let who: Authenticated = person.who;
    let steer = session::serve(app.clone(), link.clone(), who.clone(), person.from, passage);
    let end = tunnel::drive(Box::pin(driver.run()), steer).await;
    session::note_surplus(&app, &who, person.from, link.stats().surplus);
    tracing::debug!(from = %person.from, %end, "a person's connection ended");
    drop(gauge);
}
