//! The HTTPS port: from a TCP connection to requests.
//!
//! ```text
//!  accept ─▶ a newcomer too many of its address? ── yes ─▶ closed
//!              │ no
//!              ▼
//!           a place? ── no ─▶ overflow: one 503 with Retry-After, then closed
//!              │ yes
//!              ▼
//!           TLS in its turn ─▶ HTTP/1.1 (head in 10 s, ≤ 72 KiB) ─▶ routes ─▶ maybe a WebSocket
//! ```
//!
//! A WebSocket keeps the place of its connection until it ends ([`Held`]).

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr, TcpStream},
    sync::{Arc, Mutex},
};

use axum::{Router, body::Body, response::IntoResponse as _};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use kedge_service::{Accepted, Acceptor, Stage, report};
use kedge_tunnel::Carrier;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};
use tower::ServiceExt as _;

use crate::{
    app::App,
    defaults,
    handover::{Passage, Portable},
    handshake::Handshakes,
    http::{self, Failure, Peer},
    metrics::{self, Turned},
    share::{Part, Shares},
    stall::Unstalled,
    sync::locked,
};

/// A connection's place among those allowed; the last clone gives it back.
#[derive(Clone, Debug)]
pub struct Held {
    _place: Arc<Place>,
}

#[derive(Debug)]
struct Place {
    _permit: OwnedSemaphorePermit,
    _regular: Option<OwnedSemaphorePermit>,
    _gauge: metrics::Held,
}

/// The port, ready to serve.
pub struct Server {
    app: App,
    acceptors: Vec<Acceptor>,
    regular: Arc<Semaphore>,
    newcomers: Arc<Shares>,
    tls: Option<Handshakes>,
    router: Router,
}

/// A connection's part in those that its address may have before their first request; none for a trusted proxy.
type Newcomer = Option<Part>;

/// A connection as it came.
#[derive(Clone, Debug)]
struct Visit {
    peer: SocketAddr,
    admission: Admission,
    held: Held,
    passage: Passage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admission {
    Overflow,
    Regular,
}

impl Server {
    /// Serves on `listeners`, with TLS when there is a configuration for it.
    #[must_use]
    pub fn new(
        app: App,
        listeners: Vec<TcpListener>,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> Self {
        let limit = usize::try_from(app.settings.limits.connections)
            .unwrap_or(usize::MAX)
            .min(Semaphore::MAX_PERMITS / 2);
        let handshakes = usize::try_from(app.settings.limits.handshakes)
            .unwrap_or(usize::MAX)
            .min(Semaphore::MAX_PERMITS / 2);
        let all = Arc::new(Semaphore::new(limit + defaults::OVERFLOW_CONNECTIONS));
        Self {
            acceptors: listeners
                .into_iter()
                .map(|listener| Acceptor::sharing(listener, Arc::clone(&all)))
                .collect(),
            regular: Arc::new(Semaphore::new(limit)),
            newcomers: Shares::new(limit, defaults::NEWCOMER_SHARE),
            tls: tls.map(|config| Handshakes::new(config, handshakes)),
            router: http::router(app.clone()),
            app,
        }
    }

    /// Accepts until the hub stops accepting. Connections are tasks of their own.
    ///
    /// # Cancel safety
    /// When dropped, nobody is accepted any more; connections go on.
    pub async fn run(mut self) {
        let acceptors = std::mem::take(&mut self.acceptors);
        let server = Arc::new(self);
        let loops = acceptors.into_iter().map(|mut acceptor| {
            let server = Arc::clone(&server);
            async move {
                loop {
                    tokio::select! {
                        biased;
                        () = server.app.shutdown.reached(Stage::StopAccepting) => return,
                        accepted = acceptor.accept() => server.take(accepted),
                    }
                }
            }
        });
        futures_util::future::join_all(loops).await;
    }

    fn take(self: &Arc<Self>, accepted: Accepted) {
        let Accepted {
            stream,
            peer,
            permit,
        } = accepted;
        // Another thread's runtime is to know it, and not this one's.
        let stream = match stream.into_std() {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%peer, %error, "a connection could not be handed over");
                return;
            }
        };
        // Before a place is taken, so that what is closed here never keeps another from one.
        let newcomer = match self
            .source(peer)
            .map(|source| self.newcomers.of(source).take())
        {
            Some(None) => {
                self.app.metrics.turned_away(Turned::Share);
                return;
            }
            Some(part) => part,
            None => None,
        };
        let regular = Arc::clone(&self.regular).try_acquire_owned().ok();
        let admission = if regular.is_some() {
            Admission::Regular
        } else {
            Admission::Overflow
        };
        if admission == Admission::Overflow {
            self.app.metrics.turned_away(Turned::Limit);
        }
        let place = Place {
            _permit: permit,
            _regular: regular,
            _gauge: self.app.metrics.connection(),
        };
        let visit = Visit {
            peer,
            admission,
            held: Held {
                _place: Arc::new(place),
            },
            passage: Passage::new(self.app.shards.seat()),
        };
        let server = Arc::clone(self);
        let shard = visit.passage.shard();
        shard.spawn(self.app.shutdown.tasks(), "connection", async move {
            server.connection(stream, visit, newcomer).await;
        });
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, visit: Visit, newcomer: Newcomer) {
        let stream = match Portable::new(stream, visit.passage.clone()) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(peer = %visit.peer, %error, "a connection could not be taken over");
                return;
            }
        };
        let stream = Unstalled::new(Carrier::new(stream), defaults::WRITE_STALL);
        match &self.tls {
            None => self.http(stream, visit, newcomer).await,
            Some(tls) => {
                let Some(stream) = self.handshake(tls, stream, visit.peer).await else {
                    return;
                };
                self.http(stream, visit, newcomer).await;
            }
        }
    }

    /// The address whose share bounds a connection; `None` for a proxy, which stands for everybody behind it.
    fn source(&self, peer: SocketAddr) -> Option<IpAddr> {
        let is_proxy = Peer(peer).is_trusted(&self.app.settings.trusted_proxies);
        (!is_proxy).then(|| peer.ip())
    }

    async fn handshake<S>(
        &self,
        tls: &Handshakes,
        stream: S,
        peer: SocketAddr,
    ) -> Option<tokio_rustls::server::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let source = self.source(peer);
        let begun = Instant::now();
        let deadline = begun + defaults::HANDSHAKE_TIMEOUT;
        let shaken = async {
            match tls.shake(stream, source).await {
                Ok(stream) => Some(stream),
                Err(error) => {
                    let cause = report::chain(&error);
                    tracing::debug!(%peer, cause, "a TLS handshake failed");
                    None
                }
            }
        };
        let stream = tokio::select! {
            shaken = timeout_at(deadline, Box::pin(shaken)) => shaken.ok().flatten(),
            () = self.app.shutdown.reached(Stage::StopAccepting) => return None,
        };
        match &stream {
            Some(_) => self.app.metrics.stage(metrics::Stage::Tls, begun.elapsed()),
            None => self.app.metrics.turned_away(Turned::Handshake),
        }
        stream
    }

    async fn http<S>(&self, stream: S, visit: Visit, newcomer: Newcomer)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let peer = visit.peer;
        let admission = visit.admission;
        let newcomer = Mutex::new(newcomer);
        let service = service_fn(|request: ::http::Request<Incoming>| {
            // Its first head is here, so it has said something.
            drop(locked(&newcomer).take());
            let visit = visit.clone();
            async move { Ok::<_, Infallible>(self.answer(request, visit).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(defaults::HEADER_TIMEOUT)
            .max_buf_size(defaults::HEADER_BYTES)
            .max_headers(defaults::HEADER_LINES)
            .keep_alive(admission == Admission::Regular)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let mut told = false;
        let ended = loop {
            tokio::select! {
                ended = connection.as_mut() => break ended,
                () = self.app.shutdown.reached(Stage::StopAccepting), if !told => {
                    told = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = self.app.shutdown.reached(Stage::Cut) => return,
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "a connection ended");
        }
    }

    async fn answer(
        &self,
        request: ::http::Request<Incoming>,
        visit: Visit,
    ) -> ::http::Response<Body> {
        let method = request.method().clone();
        let response = if visit.admission == Admission::Overflow {
            let failure = Failure::unavailable(
                "the hub carries as many connections as it may",
                defaults::RETRY_AFTER,
            );
            failure.into_response()
        } else {
            let (mut parts, body) = request.into_parts();
            parts.extensions.insert(Peer(visit.peer));
            parts.extensions.insert(visit.held);
            parts.extensions.insert(visit.passage);
            let request = ::http::Request::from_parts(parts, Body::new(body));
            match timeout(
                defaults::REQUEST_TIMEOUT,
                self.router.clone().oneshot(request),
            )
            .await
            {
                Ok(Ok(response)) => response,
                Ok(Err(never)) => match never {},
                Err(_) => Failure::unavailable("the hub is too slow", defaults::RETRY_AFTER)
                    .into_response(),
            }
        };
        self.app.metrics.request(&method, response.status());
        response
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}
