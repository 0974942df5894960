//! A daemon's control socket: HTTP/1.1 on a Unix socket, for root and for the daemon's own user.
//!
//! ```text
//!  curl --unix-socket, kedge agent ─► control.sock ─► who is it? ─► the daemon's own routes
//!                                     0600             SO_PEERCRED
//! ```
//!
//! The service manager hands the socket over ([`Activated::unix`](crate::Activated::unix)), and so starts the daemon
//! for whoever connects; else the daemon makes it itself ([`socket::claim`]). [`client::call`] is the other end.

pub mod client;
pub mod socket;

use axum::Router;
use axum::http::StatusCode;
use tokio::net::UnixListener;

use crate::defaults;
use crate::http1;
use crate::listen::{Accepted, Acceptor, Caller};
use crate::shutdown::{Shutdown, Stage};

pub use client::{CallError, call};
pub use socket::{ClaimError, SocketFile, claim};

/// The control socket, built and not yet running.
#[derive(Debug)]
pub struct Control {
    acceptor: Acceptor<UnixListener>,
    router: Router,
    me: u32,
}

impl Control {
    /// Serves `router` on `listener` to root, and to the user that this process runs as.
    #[must_use]
    pub fn new(listener: UnixListener, router: Router) -> Self {
        Self::for_user(listener, router, rustix::process::geteuid().as_raw())
    }

    fn for_user(listener: UnixListener, router: Router, me: u32) -> Self {
        Self {
            acceptor: Acceptor::new(listener, defaults::CONTROL_CONNECTIONS),
            router,
            me,
        }
    }

    /// Serves until [`Stage::Cut`], so that the drain can be watched. Its connections are tasks of `shutdown`.
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
            let router = match may_ask(peer, self.me) {
                true => self.router.clone(),
                false => {
                    tracing::warn!(
                        ?peer,
                        "a user who may not was turned away from the control socket"
                    );
                    refusal()
                }
            };
            let cut = shutdown.clone();
            let serve = async move {
                let _permit = permit;
                let limit = defaults::CONTROL_CONNECTION_TIME;
                let ended = http1::serve(stream, router, &cut, limit).await;
                tracing::trace!(?peer, ?ended, "control connection ended");
            };
            shutdown.tasks().spawn("control connection", serve);
        }
    }
}

/// The file's mode keeps others out already; whoever changes that, or hands the socket to a user, has not said that
/// this user may stop people's sessions.
fn may_ask(caller: Caller, me: u32) -> bool {
    caller.user == ROOT || caller.user == me
}

const ROOT: u32 = 0;

fn refusal() -> Router {
    Router::new().fallback(|| async {
        (
            StatusCode::FORBIDDEN,
            "only root and the user of this daemon may ask here\n",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use http::Method;
    use std::path::{Path, PathBuf};
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    struct Running {
        _folder: tempfile::TempDir,
        path: PathBuf,
        shutdown: Shutdown,
        _file: SocketFile,
    }

    fn start(me: Option<u32>) -> Running {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let (listener, file) = claim(&path).unwrap();
        let router = Router::new()
            .route("/v1/status", get(|| async { "well\n" }))
            .route("/v1/long", get(|| async { "x".repeat(1 << 20) }))
            .route(
                "/v1/never",
                get(|| async { std::future::pending::<&str>().await }),
            );
        let me = me.unwrap_or_else(|| rustix::process::geteuid().as_raw());
        let control = Control::for_user(listener, router, me);
        let shutdown = Shutdown::new();
        shutdown
            .tasks()
            .spawn("control", control.run(shutdown.clone()));
        Running {
            _folder: folder,
            path,
            shutdown,
            _file: file,
        }
    }

    async fn ask(path: &Path, target: &str) -> Result<(u16, String), CallError> {
        let answer = call(path, Method::GET, target, Duration::from_secs(20)).await?;
        let body = String::from_utf8_lossy(answer.body()).into_owned();
        Ok((answer.status().as_u16(), body))
    }

    #[tokio::test]
    async fn who_may_ask_is_answered() {
        let running = start(None);
        let answer = ask(&running.path, "/v1/status").await.unwrap();
        assert_eq!(answer, (200, "well\n".to_owned()));
        let answer = ask(&running.path, "/v2").await.unwrap();
        assert_eq!(answer.0, 404);
        let error = ask(&running.path, "/v1/long").await.unwrap_err();
        assert!(matches!(error, CallError::Answer { .. }), "{error:?}");
    }

    #[test]
    fn root_and_the_daemons_user_may_ask_and_nobody_else() {
        let caller = |user| Caller {
            user,
            process: None,
        };
        assert!(may_ask(caller(0), 990) && may_ask(caller(990), 990));
        assert!(!may_ask(caller(1000), 990) && !may_ask(caller(65534), 0));
    }

    #[tokio::test]
    async fn the_refused_hear_why() {
        // Whoever runs this test is not that user; root may all the same.
        let running = start(Some(u32::MAX - 7));
        let answer = ask(&running.path, "/v1/status").await.unwrap();
        match rustix::process::geteuid().is_root() {
            true => assert_eq!(answer.0, 200),
            false => assert_eq!(answer.0, 403),
        }
        let (mut stream, theirs) = UnixStream::pair().unwrap();
        let shutdown = running.shutdown.clone();
        let serve = async move {
            http1::serve(theirs, refusal(), &shutdown, Duration::from_secs(20)).await
        };
        let task = running.shutdown.tasks().spawn("refusing", serve);
        stream
            .write_all(b"POST /v1/reload HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        assert!(answer.contains("only root"), "{answer}");
        task.await.unwrap();
    }

    #[tokio::test]
    async fn a_head_that_is_too_long_or_no_http_ends_the_connection() {
        let running = start(None);
        for request in [
            format!(
                "GET /v1/status HTTP/1.1\r\nX: {}\r\n\r\n",
                "x".repeat(64 << 10)
            ),
            "\0\u{1}\u{2} nonsense\r\n\r\n".to_owned(),
        ] {
            let mut stream = UnixStream::connect(&running.path).await.unwrap();
            // It may hang up before all is said.
            let _ = stream.write_all(request.as_bytes()).await;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            let answer = String::from_utf8_lossy(&answer);
            assert!(
                answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
                "{answer}"
            );
        }
        assert_eq!(ask(&running.path, "/v1/status").await.unwrap().0, 200);
    }

    #[tokio::test]
    async fn more_callers_than_places_wait_and_the_end_cuts_them() {
        let running = start(None);
        let mut held = Vec::new();
        for _ in 0..defaults::CONTROL_CONNECTIONS {
            let mut stream = UnixStream::connect(&running.path).await.unwrap();
            let request = b"GET /v1/never HTTP/1.1\r\nHost: x\r\n\r\n";
            stream.write_all(request).await.unwrap();
            held.push(stream);
        }
        let waited = call(
            &running.path,
            Method::GET,
            "/v1/status",
            Duration::from_millis(200),
        );
        let error = waited.await.unwrap_err();
        assert!(matches!(error, CallError::Late { .. }), "{error:?}");
        held.pop();
        assert_eq!(ask(&running.path, "/v1/status").await.unwrap().0, 200);
        running.shutdown.begin();
        running.shutdown.begin();
        let report = running.shutdown.sequence(Default::default()).await;
        assert_eq!(report.left_tasks, 0);
    }
}
