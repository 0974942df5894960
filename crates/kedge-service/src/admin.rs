//! The administration endpoint: `/live`, `/ready`, `/metrics` on a port of their own.
//!
//! It never shows anything secret and changes nothing; it still belongs on loopback or behind a
//! network policy, because metrics tell how busy one is.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::defaults;
use crate::http1;
use crate::listen::{Accepted, Acceptor};
use crate::metrics::{self, Metrics};
use crate::shutdown::{Shutdown, Stage};

/// Whether the daemon can do its work, and if not, what is missing. Clones are handles.
///
/// Besides what is missing there is what is *noted*: it does not work as it should, and sending callers elsewhere would
/// not help them. `/ready` says it and stays 200.
#[derive(Clone, Debug)]
pub struct Readiness {
    missing: Arc<watch::Sender<BTreeMap<&'static str, String>>>,
    notes: Arc<watch::Sender<BTreeMap<&'static str, Vec<String>>>>,
}

impl Readiness {
    /// Nothing is missing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            missing: Arc::new(watch::Sender::new(BTreeMap::new())),
            notes: Arc::new(watch::Sender::new(BTreeMap::new())),
        }
    }

    /// What is to be noted of `part` from now on, a line each, in place of what was.
    pub fn note(&self, part: &'static str, lines: Vec<String>) {
        self.notes.send_modify(|notes| {
            notes.insert(part, lines);
        });
    }

    /// What is noted now.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.notes.borrow().values().flatten().cloned().collect()
    }

    /// `part` does not work; `reason` is shown to whoever asks.
    pub fn missing(&self, part: &'static str, reason: impl Into<String>) {
        self.missing.send_modify(|missing| {
            missing.insert(part, reason.into());
        });
    }

    /// `part` works.
    pub fn present(&self, part: &'static str) {
        self.missing
            .send_if_modified(|missing| missing.remove(part).is_some());
    }

    /// What is missing now, by part.
    #[must_use]
    pub fn reasons(&self) -> BTreeMap<&'static str, String> {
        self.missing.borrow().clone()
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

/// The endpoint, built and not yet running.
#[derive(Debug)]
pub struct Admin {
    acceptor: Acceptor,
    router: Router,
}

#[derive(Clone, Debug)]
struct Shared {
    readiness: Readiness,
    metrics: Metrics,
    shutdown: Shutdown,
}

impl Admin {
    /// Serves on `listener` what `readiness` and `metrics` know.
    #[must_use]
    pub fn new(
        listener: TcpListener,
        readiness: Readiness,
        metrics: Metrics,
        shutdown: Shutdown,
    ) -> Self {
        let router = Router::new()
            .route("/live", get(|| async { "alive\n" }))
            .route("/ready", get(ready))
            .route("/metrics", get(render))
            .with_state(Shared {
                readiness,
                metrics,
                shutdown,
            });
        Self {
            acceptor: Acceptor::new(listener, defaults::ADMIN_CONNECTIONS),
            router,
        }
    }

    /// Serves until [`Stage::Cut`], so that probes see the drain. Its connections are tasks of
    /// `shutdown`.
    ///
    /// # Cancel safety
    ///
    /// Safe: dropping it stops accepting; connections go on until [`Stage::Cut`].
    pub async fn run(mut self, shutdown: Shutdown) {
        loop {
            let Accepted {
                stream,
                peer,
                permit,
            } = tokio::select! {
                biased;
                () = shutdown.reached(Stage::Cut) => return,
                accepted = self.acceptor.accept() => accepted,
            };
            let (router, cut) = (self.router.clone(), shutdown.clone());
            let serve = async move {
                let _permit = permit;
                let ended =
                    http1::serve(stream, router, &cut, defaults::ADMIN_CONNECTION_TIME).await;
                tracing::trace!(%peer, ?ended, "administration connection ended");
            };
            shutdown.tasks().spawn("admin connection", serve);
        }
    }
}

async fn ready(State(shared): State<Shared>) -> impl IntoResponse {
    let mut reasons = shared.readiness.reasons();
    if shared.shutdown.stage() > Stage::Running {
        reasons.insert("shutdown", "the daemon is stopping".to_owned());
    }
    let notes: String = shared
        .readiness
        .notes()
        .iter()
        .map(|line| format!("{line}\n"))
        .collect();
    if reasons.is_empty() {
        return (StatusCode::OK, format!("ready\n{notes}"));
    }
    let lines: String = reasons
        .iter()
        .map(|(part, reason)| format!("{part}: {reason}\n"))
        .collect();
    (StatusCode::SERVICE_UNAVAILABLE, format!("{lines}{notes}"))
}

async fn render(State(shared): State<Shared>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)],
        shared.metrics.render(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen;
    use crate::shutdown::StopLimits;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    struct Running {
        address: SocketAddr,
        readiness: Readiness,
        shutdown: Shutdown,
    }

    fn start() -> Running {
        let listener = listen::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let (readiness, shutdown) = (Readiness::new(), Shutdown::new());
        let metrics = Metrics::new("test", "1");
        let admin = Admin::new(listener, readiness.clone(), metrics, shutdown.clone());
        shutdown.tasks().spawn("admin", admin.run(shutdown.clone()));
        Running {
            address,
            readiness,
            shutdown,
        }
    }

    async fn fetch(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn probes_tell_what_is_missing() {
        let running = start();
        assert!(
            fetch(running.address, "/live")
                .await
                .starts_with("HTTP/1.1 200 ")
        );
        assert!(
            fetch(running.address, "/ready")
                .await
                .starts_with("HTTP/1.1 200 ")
        );
        running.readiness.missing("store", "disk full");
        let answer = fetch(running.address, "/ready").await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("store: disk full\n"));
        running.readiness.present("store");
        assert!(
            fetch(running.address, "/ready")
                .await
                .starts_with("HTTP/1.1 200 ")
        );
        let line = "issuer corp: does not answer".to_owned();
        running.readiness.note("issuers", vec![line]);
        let answer = fetch(running.address, "/ready").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(
            answer.ends_with("ready\nissuer corp: does not answer\n"),
            "{answer}"
        );
        running.readiness.note("issuers", Vec::new());
        assert!(
            fetch(running.address, "/ready")
                .await
                .ends_with("\r\n\r\nready\n")
        );
        assert!(
            fetch(running.address, "/nothing")
                .await
                .starts_with("HTTP/1.1 404 ")
        );
    }

    #[tokio::test]
    async fn metrics_are_openmetrics() {
        let running = start();
        let answer = fetch(running.address, "/metrics").await;
        assert!(answer.contains("application/openmetrics-text"), "{answer}");
        assert!(answer.ends_with("# EOF\n"), "{answer}");
    }

    #[tokio::test]
    async fn a_stopping_daemon_is_not_ready_but_alive_and_ends_clean() {
        let running = start();
        let session = running.shutdown.clone();
        let gate = tokio_util::sync::CancellationToken::new();
        let open = gate.clone();
        running
            .shutdown
            .sessions()
            .spawn("session", async move { open.cancelled().await });
        running.shutdown.begin();
        let stop = session.sequence(StopLimits::default());
        let probe = async {
            running.shutdown.reached(Stage::Drain).await;
            let answer = fetch(running.address, "/ready").await;
            assert!(
                answer.ends_with("shutdown: the daemon is stopping\n"),
                "{answer}"
            );
            assert!(
                fetch(running.address, "/live")
                    .await
                    .starts_with("HTTP/1.1 200 ")
            );
            gate.cancel();
        };
        let (report, ()) = tokio::join!(stop, probe);
        assert_eq!((report.cut_sessions, report.left_tasks), (0, 0));
    }
}
