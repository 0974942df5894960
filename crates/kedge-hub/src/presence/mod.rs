//! Whether servers are there, and how that gets into their status.
//!
//! ```text
//!  link up, link down, report, spec changed ── mark(name) ─▶ due ── settle ─▶ one write, when something changed
//!                                                             ▲                │
//!                                                             └─ too often: later, with what is true then
//! ```
//!
//! Marks of one server fall together, and what is written is what holds when it is written: nothing is queued that
//! could be stale, and the list is never longer than there are servers. What others write into a status at once, because
//! it cannot wait, counts as well.

mod settle;

use std::{
    collections::BTreeMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use kedge_api::{LabelSelector, Server, ServerName, meta::Changed, resources::ServerStatus};
use kedge_service::Stage;
use kedge_store::StoreError;
use tokio::sync::Notify;

pub use settle::{Live, settle};

use crate::{
    app::App,
    defaults,
    metrics::Outcome,
    rate::{Bucket, Rate},
    sync::locked,
};

/// Which servers' status must be looked at.
#[derive(Debug, Default)]
pub struct Presence {
    due: Mutex<BTreeMap<ServerName, Instant>>,
    written: Mutex<BTreeMap<ServerName, Bucket>>,
    wake: Notify,
}

impl Presence {
    /// Something about `name` changed.
    pub fn mark(&self, name: ServerName) {
        self.mark_at(name, Instant::now());
    }

    /// The same for a server that was just made: whoever makes it says more about it at once, where that takes a second
    /// write of theirs, and what is true then need not be written again.
    pub fn mark_new(&self, name: ServerName) {
        self.mark_at(name, Instant::now() + defaults::NEWCOMER_PAUSE);
    }

    /// The same for a server whose agent has just connected: its report follows, and takes this along.
    pub(crate) fn mark_connected(&self, name: ServerName, app: &App) {
        match app.settings.shares_store() {
            true => self.mark_at(name, Instant::now() + defaults::REPORT_PAUSE),
            false => self.mark(name),
        }
    }

    /// The status of `name` was written by somebody who could not wait.
    pub(crate) fn wrote(&self, name: &ServerName, app: &App) {
        let now = Instant::now();
        let mut written = locked(&self.written);
        let bucket = rate(app).spent(written.get(name).copied(), now);
        written.insert(name.clone(), bucket);
    }

    /// The time until `name` may be written again.
    fn wait(&self, name: &ServerName, rate: Rate, now: Instant) -> Result<(), Duration> {
        rate.left(locked(&self.written).get(name).copied(), now)
            .map(|_| ())
    }

    /// Buckets that are full again say nothing.
    fn forget_full(&self, now: Instant) {
        locked(&self.written).retain(|_, bucket| !bucket.is_full(now));
    }

    fn mark_at(&self, name: ServerName, when: Instant) {
        locked(&self.due)
            .entry(name)
            .and_modify(|due| *due = when.min(*due))
            .or_insert(when);
        self.wake.notify_one();
    }

    fn take_due(&self, now: Instant) -> Vec<ServerName> {
        let mut due = locked(&self.due);
        let ready: Vec<_> = due
            .iter()
            .filter(|(_, when)| **when <= now)
            .map(|(name, _)| name.clone())
            .collect();
        due.retain(|_, when| *when > now);
        ready
    }

    fn next_due(&self) -> Option<Instant> {
        locked(&self.due).values().min().copied()
    }
}

/// Brings the status of every server in line with who is connected. Called before the hub listens, it turns what a
/// killed hub left `Online` into `Offline`.
///
/// # Errors
/// When the store fails.
///
/// # Cancel safety
/// When dropped, some are done and some are not.
pub async fn settle_all(app: &App) -> Result<(), StoreError> {
    let servers = app.store.list::<Server>(&LabelSelector::default()).await?;
    let names = servers.items.iter().map(Server::name);
    let results = stream::iter(names)
        .map(|name| async move { write(app, &name).await })
        .buffer_unordered(defaults::STATUS_WRITES)
        .collect::<Vec<_>>()
        .await;
    results
        .into_iter()
        .find_map(Result::err)
        .map_or(Ok(()), Err)
}

/// Writes what is marked until the hub is cut and every tunnel is gone.
///
/// # Cancel safety
/// When dropped, what is marked stays unwritten; the next start settles it.
pub async fn run(app: App) {
    let rate = rate(&app);
    // A hub that shares its store gives its turn to another one then, which says who is connected to it.
    let last = match app.settings.shares_store() {
        true => Stage::Goaway,
        false => Stage::Cut,
    };
    let mut refresh = tokio::time::interval(defaults::LAST_SEEN_EVERY / 2);
    loop {
        let next = app.presence.next_due();
        tokio::select! {
            biased;
            () = app.shutdown.reached(last) => break,
            _ = refresh.tick() => {
                for (name, _) in app.tunnels.all() {
                    app.presence.mark(name);
                }
            }
            () = app.presence.wake.notified() => {}
            () = async { tokio::time::sleep_until(next.unwrap_or_else(Instant::now).into()).await }, if next.is_some() => {}
        }
        app.presence.forget_full(Instant::now());
        pass(&app, rate, Pace::Measured).await;
    }
    if app.settings.shares_store() {
        return;
    }
    // The last word: nobody is connected to a hub that is gone.
    let mut waited = tokio::time::interval(defaults::LAST_LOOK);
    for _ in 0..defaults::LAST_LOOKS {
        waited.tick().await;
        pass(&app, rate, Pace::AtOnce).await;
        if app.tunnels.is_empty() && app.presence.next_due().is_none() {
            return;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    AtOnce,
    Measured,
}

async fn pass(app: &App, rate: Rate, pace: Pace) {
    let now = Instant::now();
    let until = if pace == Pace::AtOnce {
        now + rate.refill * rate.burst
    } else {
        now
    };
    let ready = app.presence.take_due(until);
    let mut allowed = Vec::with_capacity(ready.len());
    for name in ready {
        match app.presence.wait(&name, rate, now) {
            Err(wait) if pace == Pace::Measured => app.presence.mark_at(name, now + wait),
            _ => allowed.push(name),
        }
    }
    let written = stream::iter(allowed)
        .map(|name| async move {
            let result = write(app, &name).await;
            (name, result)
        })
        .buffer_unordered(defaults::STATUS_WRITES)
        .collect::<Vec<_>>()
        .await;
    let mut failed = 0_usize;
    for (name, result) in written {
        match result {
            Ok(Changed::No) => {}
            Ok(Changed::Yes) => {
                app.metrics.status_write(Outcome::Accepted);
                app.presence.wrote(&name, app);
            }
            Err(error) => {
                if matches!(error, StoreError::Broken { .. }) {
                    app.readiness.missing("store", error.to_string());
                }
                app.metrics.status_write(Outcome::Refused);
                // A store that is away is away for all of them: one line says so.
                if failed == 0 {
                    tracing::warn!(server = %name, cause = %error, "a server's status cannot be written; it is tried again");
                } else {
                    tracing::debug!(server = %name, cause = %error, "a server's status cannot be written");
                }
                failed += 1;
                app.presence.mark_at(name, now + defaults::STORE_RETRY);
            }
        }
    }
    if failed > 1 {
        tracing::warn!(
            servers = failed,
            "so many servers' status cannot be written; it is tried again"
        );
    }
}

/// The status that a server ought to have by all that this hub knows; `None` when it has it already.
#[must_use]
pub fn ought(app: &App, server: &Server) -> Option<ServerStatus> {
    let name = server.name();
    let live = app.tunnels.link(&name).map(|tunnel| tunnel.live);
    let key = app.keyring.verdict(&name);
    settle(server, live.as_ref(), key.as_ref(), app.clock.now())
}

/// Settles one server. A server that is gone needs no status.
async fn write(app: &App, name: &ServerName) -> Result<Changed, StoreError> {
    let mut changed = Changed::No;
    let result = app
        .store
        .modify_status::<Server>(name, |server| {
            changed = match ought(app, server) {
                Some(status) => {
                    server.status = status;
                    Changed::Yes
                }
                None => Changed::No,
            };
            changed
        })
        .await;
    match result {
        Ok(_) => Ok(changed),
        Err(StoreError::NotFound { .. }) => Ok(Changed::No),
        Err(error) => Err(error),
    }
}

/// How often one server's status is written. A store that is shared is one that many watch, each change of which is told
/// to all of them.
fn rate(app: &App) -> Rate {
    Rate {
        burst: match app.settings.shares_store() {
            true => 1,
            false => defaults::STATUS_BURST,
        },
        refill: defaults::STATUS_REFILL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_one_server_fall_together_and_the_earliest_counts() {
        let presence = Presence::default();
        let now = Instant::now();
        let later = now + std::time::Duration::from_secs(60);
        let name: ServerName = "web01".parse().unwrap();
        presence.mark_at(name.clone(), later);
        assert!(presence.take_due(now).is_empty());
        presence.mark_at(name.clone(), now);
        presence.mark_at(name.clone(), later);
        assert_eq!(presence.next_due(), Some(now));
        assert_eq!(presence.take_due(now), [name]);
        assert_eq!(presence.next_due(), None);
    }
}
