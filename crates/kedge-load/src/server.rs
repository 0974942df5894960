//! What the servers among these programs have in common: listen, say where, serve until a signal comes.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use kedge_service::{Accepted, Acceptor};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use crate::{defaults, line};

/// Listens, says where on standard output, and serves until SIGTERM or SIGINT.
///
/// # Errors
///
/// When it cannot listen or not say so.
pub async fn run<F>(listen: SocketAddr, serve: impl Fn(TcpStream) -> F) -> Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let bound = TcpListener::bind(listen).await;
    let listener = bound.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener
        .local_addr()
        .context("cannot tell where it listens")?;
    line::say(&json!({ "address": address.to_string() }))?;
    let stop = stopped()?;
    accept(listener, serve, stop).await;
    Ok(())
}

/// Serves the connections of a listener, each in a task and for a bounded time, until `stop`.
///
/// # Cancel safety
///
/// Dropping it ends every connection.
pub async fn accept<F>(
    listener: TcpListener,
    serve: impl Fn(TcpStream) -> F,
    stop: impl Future<Output = ()>,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut acceptor = Acceptor::new(listener, defaults::CONNECTIONS);
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return,
            Some(ended) = connections.join_next() => pass_panic(ended),
            accepted = acceptor.accept() => {
                let Accepted { stream, permit, .. } = accepted;
                let served = serve(stream);
                connections.spawn(async move {
                    let _permit = permit;
                    // What is left after that was forgotten.
                    let _ = timeout(defaults::WORK_TIME, served).await;
                });
            }
        }
    }
}

/// A task's panic is its owner's.
fn pass_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}

fn stopped() -> Result<impl Future<Output = ()>> {
    let listen = |kind| signal(kind).context("cannot listen for signals");
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
