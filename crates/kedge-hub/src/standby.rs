//! Of several hubs that share a store one works, and the others wait for its turn to end.
//!
//! ```text
//!  start ─▶ standing by: /live 200, /ready 503, no port for people and agents ─▶ holds the lease ─▶ works
//!                                                                                 │            │
//!                                     another hub holds it: stop, start anew ◀────┘            └─▶ stops: gives it back
//! ```
//!
//! A hub that cannot reach the API server keeps its turn: its sessions live, and nobody could take over either. It ends
//! when it sees that another one has.

use kedge_service::{Admin, Metrics, Notifier, Readiness, Shutdown, Signal, Signals, Stage};
use kedge_store::{Held, Lease, Standing};
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::app::App;

/// What came of waiting.
#[derive(Debug)]
pub enum Turn {
    /// It is this hub's.
    Ours(Held),
    /// Somebody wants this hub to end.
    Stopped,
}

/// Waits for the lease, while `admin` answers probes.
///
/// # Cancel safety
/// Cancel safe: a lease that was just taken runs out by itself.
pub async fn wait(
    lease: &Lease,
    admin: &[TcpListener],
    notifier: &Notifier,
    signals: &mut Signals,
) -> Turn {
    let readiness = Readiness::new();
    let waiting = Shutdown::new();
    let metrics = Metrics::new("hub", env!("CARGO_PKG_VERSION"));
    readiness.missing(PART, words(&lease.standing().borrow()));
    for listener in admin {
        // The same port, which the hub itself goes on with: nobody is turned away in between.
        match twin(listener) {
            Ok(twin) => {
                let probes = Admin::new(twin, readiness.clone(), metrics.clone(), waiting.clone());
                waiting.tasks().spawn("probes", probes.run(waiting.clone()));
            }
            Err(error) => warn!(%error, "probes are not answered while this hub stands by"),
        }
    }
    let turn = tokio::select! {
        held = lease.acquire() => Turn::Ours(held),
        () = told(lease, &readiness, notifier) => Turn::Stopped,
        () = stopped(lease, notifier, signals) => Turn::Stopped,
    };
    waiting.begin();
    waiting.sequence(crate::defaults::STANDBY_STOP).await;
    turn
}

/// Keeps the lease for a hub that works, and ends the hub when it is lost.
///
/// # Cancel safety
/// When dropped, the lease runs out by itself.
pub async fn keep(app: App, held: Held) {
    tokio::select! {
        lost = held.lost() => {
            warn!(cause = %lost, "this hub stops");
            app.shutdown.begin();
        }
        // Agents are asked to dial again: there must be somebody for them to find.
        () = app.shutdown.reached(Stage::Goaway) => {
            held.release().await;
            info!("the lease is given back");
        }
    }
}

/// Says what this hub waits for, to probes and to the service manager. Never ends.
async fn told(lease: &Lease, readiness: &Readiness, notifier: &Notifier) {
    let mut standing = lease.standing();
    let saying = async {
        loop {
            let words = words(&standing.borrow_and_update());
            info!(%words, "not serving yet");
            notifier.ready(&words);
            readiness.missing(PART, words);
            if standing.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = saying => {}
        () = notifier.feed_watchdog(std::future::pending()) => {}
    }
}

fn words(standing: &Standing) -> String {
    match standing {
        Standing::Holds => "about to serve".to_owned(),
        Standing::Unknown { cause } => format!("standing by: {cause}"),
        Standing::Waits { holder: None } => "standing by: looking at the lease".to_owned(),
        Standing::Waits {
            holder: Some(holder),
        } => format!(
            "standing by: {} holds the lease",
            kedge_api::text::Printable::new(holder)
        ),
        _ => "standing by".to_owned(),
    }
}

/// What probes are told is missing.
const PART: &str = "lease";

async fn stopped(lease: &Lease, notifier: &Notifier, signals: &mut Signals) {
    while signals.next().await == Signal::Reload {
        // There is nobody yet whom another configuration would concern; the service manager waits for an end of it all
        // the same.
        warn!("the configuration is not read again while this hub stands by; restart it");
        notifier.reloading();
        notifier.ready(&words(&lease.standing().borrow()));
    }
}

fn twin(listener: &TcpListener) -> std::io::Result<TcpListener> {
    use std::os::fd::AsFd as _;
    let twin = listener.as_fd().try_clone_to_owned()?;
    TcpListener::from_std(twin.into())
}
