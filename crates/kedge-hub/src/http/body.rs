//! Reading a request's body: bounded in bytes and in time.

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use kedge_api::{Status, StatusReason};
use tokio::time::timeout;

use super::reply::Failure;
use crate::defaults;

/// The whole body.
///
/// # Errors
/// 413 beyond the limit, 408 when it comes too slowly, 415 when it says that it is no JSON.
pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Failure> {
    if let Some(kind) = headers.get(header::CONTENT_TYPE) {
        let kind = kind
            .to_str()
            .unwrap_or_default()
            .split(';')
            .next()
            .unwrap_or_default()
            .trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            let message = "the hub reads only application/json";
            return Err(Status::new(StatusReason::UnsupportedMediaType, message).into());
        }
    }
    let limited = Limited::new(body, defaults::BODY_BYTES);
    match timeout(defaults::BODY_TIMEOUT, limited.collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.downcast_ref::<LengthLimitError>().is_some() => {
            let message = format!("the body has more than {} bytes", defaults::BODY_BYTES);
            Err(Status::new(StatusReason::RequestEntityTooLarge, message).into())
        }
        Ok(Err(_)) => Err(Status::bad_request("the body ended early").into()),
        Err(_) => {
            let failure = Failure::from(Status::bad_request("the body came too slowly"));
            Err(failure.with(http::StatusCode::REQUEST_TIMEOUT, HeaderMap::new()))
        }
    }
}
