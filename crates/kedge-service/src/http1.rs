//! HTTP/1.1 for a daemon's small endpoints on its own machine: bounded heads, bounded time.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::defaults;
use crate::shutdown::{Shutdown, Stage};

/// How a connection ended.
#[derive(Debug)]
#[expect(dead_code, reason = "what it holds is for the log")]
pub(crate) enum Ended {
    /// The daemon ended first.
    Cut,
    /// Its caller hung up, or broke the protocol.
    Finished(Result<(), hyper::Error>),
    /// Its time was up.
    Late,
}

/// Serves one connection, for `limit` at most and not beyond [`Stage::Cut`].
///
/// # Cancel safety
///
/// Dropping it ends the connection.
pub(crate) async fn serve<S>(
    stream: S,
    router: Router,
    shutdown: &Shutdown,
    limit: Duration,
) -> Ended
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: http::Request<Incoming>| {
        let router = router.clone();
        async move { Ok::<_, Infallible>(answer(router, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(defaults::HEADER_TIME)
        .max_buf_size(defaults::HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        ended = timeout(limit, connection) => ended.map_or(Ended::Late, Ended::Finished),
        () = shutdown.reached(Stage::Cut) => Ended::Cut,
    }
}

async fn answer(
    router: Router,
    request: http::Request<Incoming>,
) -> http::Response<axum::body::Body> {
    use tower::ServiceExt as _;
    match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
