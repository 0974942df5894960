//! The tunnel kept: report, dial, serve, and come back when it is gone.
//!
//! * Before each dial the hub hears the host keys; while connected, every minute, if they changed.
//! * A link that ended, and a dial that failed, are followed by a pause that grows (full jitter).
//! * GOAWAY means: go on with what is open, and open a new link meanwhile.
//! * When the agent stops, the hub hears it at once; sessions may finish, then are cut.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use kedge_api::HostKeys;
use kedge_api::text::Printable;
use kedge_proto::backoff::Backoff;
use kedge_service::{Stage, report};
use kedge_tunnel::{CloseReason, Link, LinkConfig, LinkEnd, RefuseCode, Side};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::agent::Shared;
use crate::brief;
use crate::host_keys::{self, HostKeysError};
use crate::hub::{HubClient, HubError};
use crate::metrics::{DialLabels, DialResult};
use crate::session::{self, SessionContext};
use crate::{VERSION, defaults};

/// Everything that keeps a tunnel. Clones are handles.
#[derive(Clone, Debug)]
pub struct Tunnel {
    /// What it shares with the rest of the agent.
    pub shared: Shared,
    /// The way to the hub.
    pub client: Arc<HubClient>,
}

/// Why there is no link, or no longer.
enum Setback {
    /// The link ended.
    Ended(LinkEnd),
    /// The hub said no, or was not reached.
    Failed(HubError),
    /// The hub asked to be left alone for a while.
    Goaway(Duration),
}

impl Tunnel {
    /// Keeps a link to the hub until the agent stops accepting.
    ///
    /// # Cancel safety
    ///
    /// Dropping it stops dialling; links that stand go on.
    pub async fn keep(self) {
        let mut backoff = Backoff::default();
        let mut last = String::new();
        loop {
            let setback = tokio::select! {
                biased;
                () = self.shared.shutdown.reached(Stage::StopAccepting) => return,
                setback = self.once(&mut backoff) => setback,
            };
            let pause = pause(&setback, &mut backoff);
            self.tell(&setback, pause, &mut last);
            tokio::select! {
                biased;
                () = self.shared.shutdown.reached(Stage::StopAccepting) => return,
                () = self.shared.nudge.notified() => backoff = Backoff::default(),
                () = sleep(pause) => {}
            }
        }
    }

    /// One link, from the report to its end or to GOAWAY.
    async fn once(&self, backoff: &mut Backoff) -> Setback {
        let dialled = Instant::now();
        let (link, reported) = match self.connect().await {
            Ok(connected) => connected,
            Err(error) => {
                let result = match error.status() {
                    Some(_) => DialResult::refused,
                    None => DialResult::unreachable,
                };
                self.shared
                    .metrics
                    .dials
                    .get_or_create(&DialLabels { result })
                    .inc();
                return Setback::Failed(error);
            }
        };
        let result = DialResult::connected;
        self.shared
            .metrics
            .dials
            .get_or_create(&DialLabels { result })
            .inc();
        self.shared.metrics.connected.set(1);
        self.shared.standing.connected();
        backoff.connected(Instant::now());
        let (hub, server) = (self.client.dialer().url(), self.client.server());
        tracing::info!(
            hub = hub.as_str().trim_end_matches('/'),
            server = server.as_str(),
            proxy = self.client.dialer().proxy(),
            version = VERSION,
            dial_ms = u64::try_from(dialled.elapsed().as_millis()).unwrap_or(u64::MAX),
            rtt_ms = link.stats().rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
            "agent connected"
        );
        let setback = tokio::select! {
            biased;
            end = link.closed() => Setback::Ended(end),
            after = link.received_goaway() => Setback::Goaway(after),
            never = self.watch_host_keys(reported) => match never {},
            never = self.measure(&link) => match never {},
        };
        self.shared.metrics.connected.set(0);
        setback
    }

    /// Reports, dials, and starts the tasks of the link.
    async fn connect(&self) -> Result<(Link, Option<HostKeys>), HubError> {
        let reported = match self.host_keys().await {
            Ok(keys) => {
                self.report(&keys).await?;
                Some(keys)
            }
            Err(error) => {
                // Nothing is better than a half: the hub keeps to what it has pinned.
                tracing::error!(error = report::chain(&error), "cannot report host keys");
                None
            }
        };
        let (websocket, negotiated) = self.client.dial().await?;
        tracing::debug!(protocol = negotiated.protocol, peer = ?negotiated.peer, "dialled");
        let mut config = LinkConfig::default();
        // A few more than sessions, so that a refusal of ours can say what the limit is.
        let sessions = self.shared.settings.borrow().limits.max_sessions;
        config.max_streams = sessions.saturating_add(REFUSABLE_STREAMS);
        let (link, driver) = Link::new(websocket, Side::Client, config);
        let tasks = self.shared.shutdown.tasks();
        let mut driver = tasks.spawn("link driver", driver.run());
        let serving = self.clone().serve(link.clone());
        let link_task = async move {
            serving.await;
            // A hub that does not let go of a link that is over is not waited for.
            if timeout(defaults::CLOSE_TIME, &mut driver).await.is_err() {
                driver.abort();
            }
        };
        tasks.spawn("link", link_task);
        Ok((link, reported))
    }

    /// Tells the hub the host keys. That it then blocks the server is for its operator to see, and
    /// no reason to stay away.
    async fn report(&self, keys: &HostKeys) -> Result<(), HubError> {
        match self.client.report(keys.clone()).await {
            Err(HubError::Refused {
                status: StatusCode::CONFLICT,
                reason,
                ..
            }) => {
                let reason = reason.map(|status| Printable::new(&status.message).to_string());
                tracing::warn!(
                    reason,
                    "the hub has blocked this server until an operator accepts its host keys"
                );
                Ok(())
            }
            done => done,
        }
    }

    /// Serves one link to its end.
    async fn serve(self, link: Link) {
        let here = TaskTracker::new();
        let mut state = Serving::Open;
        loop {
            let incoming = tokio::select! {
                biased;
                end = link.closed() => {
                    tracing::debug!(%end, "link ended");
                    break;
                }
                () = self.shared.shutdown.reached(Stage::Cut) => {
                    // The sessions have the same news; their last words go first.
                    let _ = timeout(defaults::CUT_TIME, self.shared.shutdown.sessions().idle()).await;
                    link.close(CloseReason::ShuttingDown);
                    break;
                }
                () = self.shared.shutdown.reached(Stage::Goaway), if state < Serving::Leaving => {
                    state = Serving::Leaving;
                    link.goaway(Duration::ZERO);
                    continue;
                }
                _ = link.received_goaway(), if state < Serving::Draining => {
                    state = Serving::Draining;
                    here.close();
                    continue;
                }
                () = here.wait(), if state == Serving::Draining => {
                    link.close(CloseReason::Finished);
                    break;
                }
                incoming = link.accept() => incoming,
            };
            // `None` comes with the end of the link, whose reason the next round reads.
            let Some(incoming) = incoming else { continue };
            let settings = Arc::clone(&self.shared.settings.borrow());
            let limit = settings.limits.max_sessions;
            if self.shared.shutdown.stage() >= Stage::NotReady {
                let reason = "the agent is stopping";
                session::refuse(incoming, &self.shared.metrics, RefuseCode::Draining, reason);
            } else if self.shared.shutdown.sessions().count()
                >= usize::try_from(limit).unwrap_or(usize::MAX)
            {
                let reason =
                    format!("the server has {limit} sessions, as many as its agent allows");
                session::refuse(
                    incoming,
                    &self.shared.metrics,
                    RefuseCode::TooManyStreams,
                    &reason,
                );
            } else {
                let context = SessionContext {
                    target: settings.target.clone(),
                    metrics: self.shared.metrics.clone(),
                    shutdown: self.shared.shutdown.clone(),
                };
                let place = here.token();
                let session = async move {
                    let _place = place;
                    session::serve(incoming, context).await;
                };
                self.shared.shutdown.sessions().spawn("session", session);
            }
        }
    }

    /// Looks at the host keys every minute and reports a change.
    async fn watch_host_keys(&self, mut reported: Option<HostKeys>) -> std::convert::Infallible {
        let mut ticks = interval(defaults::HOST_KEY_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        loop {
            ticks.tick().await;
            let keys = match self.host_keys().await {
                Ok(keys) if reported.as_ref() == Some(&keys) => continue,
                Ok(keys) => keys,
                Err(error) => {
                    tracing::warn!(error = report::chain(&error), "cannot read host keys");
                    continue;
                }
            };
            tracing::warn!(
                keys = keys.len(),
                "the host keys of this server have changed"
            );
            match self.report(&keys).await {
                Ok(()) => reported = Some(keys),
                Err(error) => {
                    tracing::warn!(error = report::chain(&error), "cannot report host keys");
                }
            }
        }
    }

    /// Keeps the round trip's metric and the service manager's view fresh.
    async fn measure(&self, link: &Link) -> std::convert::Infallible {
        let mut ticks = interval(defaults::STATUS_PERIOD);
        ticks.reset();
        loop {
            ticks.tick().await;
            if let Some(rtt) = link.stats().rtt {
                self.shared.metrics.rtt.set(rtt.as_secs_f64());
            }
            self.shared.standing.refresh();
        }
    }

    async fn host_keys(&self) -> Result<HostKeys, HostKeysError> {
        let patterns = self.shared.settings.borrow().host_keys.clone();
        let shown = patterns.join(", ");
        // Files may lie on a disk that sleeps; the loop that moves bytes must not wait for it.
        match tokio::task::spawn_blocking(move || host_keys::read(&patterns)).await {
            Ok(read) => read,
            Err(_) => Err(HostKeysError::None { patterns: shown }),
        }
    }

    /// Says why there is no link: to the log when it is news, to the probes always.
    fn tell(&self, setback: &Setback, pause: Duration, last: &mut String) {
        let url = self.client.dialer().url().as_str().trim_end_matches('/');
        let reason = match setback {
            Setback::Ended(end) => format!("the link ended: {}", Printable::new(&end.to_string())),
            Setback::Failed(error) => report::chain(error),
            Setback::Goaway(_) => "the hub asked to reconnect".to_owned(),
        };
        match setback {
            Setback::Failed(error) => self.shared.standing.waits(&brief::cause(error), pause),
            Setback::Ended(_) | Setback::Goaway(_) => self.shared.standing.waits(&reason, pause),
        }
        let hint = match setback {
            Setback::Failed(error) => advice(error),
            Setback::Ended(LinkEnd::Replaced) => Some(
                "is this agent's state folder in use on a second machine? Each needs its own join"
                    .to_owned(),
            ),
            Setback::Ended(_) | Setback::Goaway(_) => None,
        };
        let pause_s = pause.as_secs_f64();
        match setback {
            Setback::Goaway(_) => {
                tracing::info!(hub = url, pause_s, "the hub asked to reconnect");
            }
            _ if reason == *last => {
                tracing::debug!(hub = url, reason, pause_s, "still not connected");
            }
            _ => tracing::warn!(hub = url, reason, hint, pause_s, "not connected"),
        }
        *last = reason;
    }
}

/// How far a link has come on its way out, in order.
#[derive(Clone, Copy, Debug, Eq, PartialEq, PartialOrd)]
enum Serving {
    /// Sessions come and go.
    Open,
    /// The hub asked for another link; this one ends with its last session.
    Draining,
    /// The agent stops and has said so.
    Leaving,
}

fn pause(setback: &Setback, backoff: &mut Backoff) -> Duration {
    let random = || kedge_api::random::bytes().map_or(u64::MAX, u64::from_le_bytes);
    let usual = backoff.next(Instant::now(), random());
    match setback {
        // Also no sooner than usual: a hub that says GOAWAY to everybody at once, for ever, would
        // otherwise be dialled without a pause.
        Setback::Goaway(after) => Backoff::after_goaway(*after, random()).max(usual),
        Setback::Failed(HubError::Refused {
            retry_after: Some(after),
            ..
        }) => Backoff::after_goaway(*after, random()).max(usual),
        Setback::Failed(_) | Setback::Ended(_) => usual,
    }
}

/// What an operator can do about a failed dial.
fn advice(error: &HubError) -> Option<String> {
    match error.status() {
        Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) => Some(
            "was the server deleted at the hub? Then join again with a new token; else \
             check this machine's clock"
                .to_owned(),
        ),
        _ => error.hint(),
    }
}

/// Streams beyond the sessions' limit that are heard and refused with words.
const REFUSABLE_STREAMS: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(retry_after: Option<Duration>) -> Setback {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Setback::Failed(HubError::Refused {
            status,
            reason: None,
            retry_after,
        })
    }

    #[test]
    fn a_hub_that_names_a_pause_is_obeyed_within_reason() {
        for setback in [
            Setback::Goaway(Duration::from_secs(7)),
            refused(Some(Duration::from_secs(7))),
        ] {
            let pause = pause(&setback, &mut Backoff::default());
            assert!(pause >= Duration::from_secs(7), "{pause:?}");
            assert!(pause <= Duration::from_secs(14), "{pause:?}");
        }
        let year = Duration::from_secs(365 * 86400);
        for setback in [Setback::Goaway(year), refused(Some(year))] {
            let pause = pause(&setback, &mut Backoff::default());
            assert!(pause <= Duration::from_secs(60), "{pause:?}");
        }
    }

    #[test]
    fn goaway_for_ever_is_no_busy_loop() {
        let mut backoff = Backoff::default();
        for _ in 0..20 {
            pause(&Setback::Goaway(Duration::ZERO), &mut backoff);
        }
        // The ceiling has grown: on average a pause is half of it.
        let pauses: Duration = (0..20)
            .map(|_| pause(&Setback::Goaway(Duration::ZERO), &mut backoff))
            .sum();
        assert!(pauses > Duration::from_secs(60), "{pauses:?}");
    }
}
