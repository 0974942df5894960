//! The HTTP side of the hub: one port for agents, people and everything they ask.
//!
//! | path | for | |
//! |---|---|---|
//! | `GET /.well-known/kedge` | anybody | what the hub is |
//! | `POST …/enrollments` | a join token | an agent becomes a server |
//! | `POST …/servers/NAME/agentreport` | that agent | its host keys and version |
//! | `GET /kedge/v1/agent` | an agent | its tunnel (WebSocket) |
//! | `GET /kedge/v1/connect` | people | their streams (WebSocket) |
//! | `GET …/whoami`, `GET …/servers`, `GET …/servers/NAME`, `GET …/servers/NAME/access` | people | what they may see |
//! | `GET …/sessions`, `DELETE …/sessions/ID` | people | their own; those of others with the right to it |
//! | `POST …/explanations` | people | why they may, or may not |
//! | everything else under `…` = `/apis/kedge.dev/v1alpha1` | whom policies give the right | objects, in Kubernetes' shape |

mod auth;
mod body;
mod enrollments;
mod explain;
mod objects;
mod people;
mod reply;
mod servers;
mod sessions;
mod source;
mod tokens;
mod upgrades;
mod watch;

use axum::{
    Router,
    extract::Request,
    response::{IntoResponse as _, Response},
    routing::{delete, get, post},
};
use kedge_api::{AccessPolicy, JoinToken, Server, Status, StatusReason};

pub use auth::{Agent, Anybody, Joiner, Person, failed, spend};
pub use reply::Failure;
pub use source::Peer;

use crate::app::App;

/// Every route of the hub.
pub fn router(app: App) -> Router {
    let resources = Router::new()
        .route("/enrollments", post(enrollments::create))
        .route("/whoami", get(people::whoami))
        .route("/sessions", get(sessions::list))
        .route("/sessions/{id}", delete(sessions::end))
        .route("/history", get(explain::list))
        .route("/explanations", post(explain::explain))
        .route("/policyreplays", post(explain::replay))
        .route(
            "/servers",
            get(objects::list::<Server>).post(objects::create::<Server>),
        )
        .route(
            "/servers/{name}",
            get(objects::read::<Server>)
                .put(objects::replace::<Server>)
                .delete(objects::delete::<Server>),
        )
        .route("/servers/{name}/access", get(servers::access))
        .route("/servers/{name}/agentreport", post(servers::report))
        .route("/servers/{name}/hostkeys", post(servers::accept_host_keys))
        .route(
            "/accesspolicies",
            get(objects::list::<AccessPolicy>).post(objects::create::<AccessPolicy>),
        )
        .route(
            "/accesspolicies/{name}",
            get(objects::read::<AccessPolicy>)
                .put(objects::replace::<AccessPolicy>)
                .delete(objects::delete::<AccessPolicy>),
        )
        .route(
            "/jointokens",
            get(objects::list::<JoinToken>).post(tokens::create),
        )
        .route(
            "/jointokens/{name}",
            get(objects::read::<JoinToken>).delete(objects::delete::<JoinToken>),
        );
    Router::new()
        .route(kedge_api::DISCOVERY_PATH, get(people::discovery))
        .route(kedge_api::AGENT_PATH, get(upgrades::agent))
        .route(kedge_api::CONNECT_PATH, get(upgrades::connect))
        .nest(kedge_api::API_PATH, resources)
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app)
}

async fn not_found(request: Request) -> Response {
    let path = kedge_api::text::Printable::new(request.uri().path()).to_string();
    Failure::from(Status::new(
        StatusReason::NotFound,
        format!("there is nothing at {path}"),
    ))
    .into_response()
}

async fn wrong_method(request: Request) -> Response {
    let method = kedge_api::text::Printable::new(request.method().as_str()).to_string();
    let message = format!("{method} is not offered here");
    Failure::from(Status::new(StatusReason::MethodNotAllowed, message)).into_response()
}
