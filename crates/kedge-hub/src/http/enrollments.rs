//! `POST …/enrollments`: an agent with a join token becomes a server.

use axum::{body::Body, extract::State, response::Response};
use http::{HeaderMap, StatusCode};
use kedge_api::{decode, rest::Enrollment};

use super::{
    auth::Joiner,
    body,
    reply::{self, Failure},
};
use crate::{app::App, defaults, enrol};

pub(super) async fn create(
    State(app): State<App>,
    joiner: Joiner,
    headers: HeaderMap,
    raw: Body,
) -> Result<Response, Failure> {
    enrol::admit(&app, &joiner).await?;
    let bytes = body::read(&headers, raw).await?;
    let request: Enrollment = decode::body(&bytes)?;
    // A task of its own: when the agent hangs up, this future is dropped, and the enrolment must not be.
    let task = app
        .shutdown
        .tasks()
        .spawn("enrolment", enrol::enrol(app.clone(), joiner, request));
    match tokio::time::timeout(defaults::REQUEST_TIMEOUT, task).await {
        Ok(Ok(enrolled)) => Ok(reply::json(StatusCode::CREATED, &enrolled?)),
        Ok(Err(error)) => Err(Failure::internal(error.to_string())),
        Err(_) => Err(Failure::unavailable(
            "the hub is too slow",
            defaults::RETRY_AFTER,
        )),
    }
}
