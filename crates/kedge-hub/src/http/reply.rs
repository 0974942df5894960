//! Answers: JSON, and errors in Kubernetes' `Status` shape.

use std::time::Duration;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use kedge_api::{Status, StatusReason};
use kedge_store::StoreError;
use serde::Serialize;

/// An answer that is an error. What the caller may know is in the status; the rest goes to the log.
#[derive(Debug)]
pub struct Failure(Box<Inner>);

#[derive(Debug)]
struct Inner {
    status: Status,
    code: StatusCode,
    headers: HeaderMap,
    internal: Option<String>,
}

impl Failure {
    /// Whoever asks has not proved who they are. They learn no more than that.
    pub fn unauthorized() -> Self {
        let mut failure = Self::from(Status::unauthorized());
        failure.0.headers.insert(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"kedge\""),
        );
        failure
    }

    /// The hub cannot do it now; the caller may come back.
    pub fn unavailable(message: impl Into<String>, retry_after: Duration) -> Self {
        Self::later(StatusReason::ServiceUnavailable, message, retry_after)
    }

    /// The caller came too often.
    pub fn too_many(message: impl Into<String>, retry_after: Duration) -> Self {
        Self::later(StatusReason::TooManyRequests, message, retry_after)
    }

    /// The hub's fault; `why` is for its log.
    pub fn internal(why: impl Into<String>) -> Self {
        let mut failure = Self::from(Status::internal());
        failure.0.internal = Some(why.into());
        failure
    }

    /// With another HTTP code and more headers than the status alone says.
    pub fn with(mut self, code: StatusCode, headers: HeaderMap) -> Self {
        self.0.code = code;
        self.0.status.code = code.as_u16();
        self.0.headers.extend(headers);
        self
    }

    /// The words for the caller.
    pub fn message(&self) -> &str {
        &self.0.status.message
    }

    fn later(reason: StatusReason, message: impl Into<String>, retry_after: Duration) -> Self {
        // Rounded up: a client that comes back too early only makes it worse.
        let seconds = u32::try_from(retry_after.as_millis().div_ceil(1000))
            .unwrap_or(u32::MAX)
            .max(1);
        let mut failure = Self::from(Status::new(reason, message).retry_after(seconds));
        failure
            .0
            .headers
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        failure
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self(Box::new(Inner {
            status,
            code,
            headers: HeaderMap::new(),
            internal: None,
        }))
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let internal = error.to_string();
        let mut failure = Self::from(Status::from(error));
        if failure.0.code.is_server_error() {
            failure.0.internal = Some(internal);
        }
        failure
    }
}

impl From<kedge_api::random::RandomError> for Failure {
    fn from(error: kedge_api::random::RandomError) -> Self {
        Self::internal(error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Inner {
            status,
            code,
            headers,
            internal,
        } = *self.0;
        if let Some(internal) = internal {
            tracing::error!(code = code.as_u16(), cause = %internal, "a request failed");
        }
        let mut response = json(code, &status);
        response.headers_mut().extend(headers);
        response
    }
}

/// A JSON answer.
pub(super) fn json<T: Serialize>(code: StatusCode, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => typed(code, Body::from(body)),
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            typed(StatusCode::INTERNAL_SERVER_ERROR, Body::empty())
        }
    }
}

/// A JSON answer whose body is made elsewhere.
pub(super) fn typed(code: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}
