//! One hub at a time: a Lease says which.
//!
//! ```text
//!              holds nobody, or its holder fell silent
//!   waiting ─────────────────────────────────────────▶ held ── renews every 3 s ──▶ held
//!      ▲                                                │ │
//!      └──────── another holds it: lost ◀───────────────┘ └── release ──▶ holds nobody
//! ```
//!
//! - Whoever waits judges by its own clock: the holder is silent when the Lease has not changed for its duration *while
//!   it could be looked at*. Clocks that differ do no harm, and after an outage of the API server the holder has all of
//!   that time again to say that it is there.
//! - A holder that cannot reach the API server goes on: its sessions are worth more than the word of a server that is
//!   away. When it sees that another holds the Lease, it has lost it.
//! - Every change names the version it changes, so of two that want the Lease one gets it.

mod site;

use std::sync::Arc;

use kedge_api::text::Printable;
use kedge_api::{Namespace, random};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::pause::around;
use super::wire::Wire;
use crate::defaults::{LEASE_DEADLINE, LEASE_LOOK, LEASE_RENEW};
use site::{NAME, Record, Site, is_raced};

/// A candidate for the Lease `kedge-hub`.
#[derive(Clone)]
pub struct Lease {
    site: Arc<Site>,
    runtime: Handle,
    standing: watch::Sender<Standing>,
}

/// How a candidate stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// It holds the Lease.
    Holds,
    /// The Lease cannot be looked at.
    Unknown {
        /// Why not.
        cause: String,
    },
    /// Another holds it.
    Waits {
        /// Who, as it calls itself; nobody when it was not looked at yet.
        holder: Option<String>,
    },
}

/// The Lease, held. Dropped without [`Self::release`] it is not given back, and others wait for its end.
#[derive(Debug)]
pub struct Held {
    release: mpsc::Sender<oneshot::Sender<()>>,
    lost: watch::Receiver<Option<Lost>>,
    // Renews until this is dropped.
    _renewing: JoinSet<()>,
}

/// The Lease is another's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("another hub holds the lease: {}", Printable::new(holder))]
pub struct Lost {
    /// Who, as it calls itself.
    pub holder: String,
}

impl Lease {
    pub(super) fn new(
        wire: Arc<Wire>,
        namespace: Namespace,
        identity: &str,
        runtime: Handle,
    ) -> Result<Self, random::RandomError> {
        // Two of the same name, or two lives of one, must not take each other for themselves.
        let life = u64::from_le_bytes(random::bytes()?);
        let site = Site {
            wire,
            namespace,
            identity: format!("{identity}_{life:016x}"),
        };
        Ok(Self {
            site: Arc::new(site),
            runtime,
            standing: watch::Sender::new(Standing::Waits { holder: None }),
        })
    }

    /// How this candidate calls itself in the Lease: the identity it was given and a random part.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.site.identity
    }

    /// How it stands, for whoever asks why this hub is not ready.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Waits until the Lease is held by this candidate.
    ///
    /// # Cancel safety
    /// When dropped, the Lease may just have been taken; then others wait for its end, 10 s.
    pub async fn acquire(&self) -> Held {
        let mut sight = Sight::default();
        loop {
            let wanted = match self.site.fetch().await {
                Ok(None) => self.site.create().await.map(Some),
                // Taken, and the answer was lost on its way.
                Ok(Some(record)) if record.holder.as_deref() == Some(self.identity()) => {
                    self.site.take(&record).await.map(Some)
                }
                Ok(Some(record)) => match sight.look(&record, Instant::now()) {
                    Verdict::Free => self.site.take(&record).await.map(Some),
                    Verdict::Held => {
                        self.stand(Standing::Waits {
                            holder: record.holder,
                        });
                        Ok(None)
                    }
                },
                Err(error) => Err(error),
            };
            match wanted {
                Ok(Some(record)) => {
                    self.stand(Standing::Holds);
                    return self.hold(record);
                }
                Ok(None) => {}
                // Another was quicker.
                Err(error) if is_raced(&error) => {}
                Err(error) => {
                    sight.lost_sight();
                    self.stand(Standing::Unknown {
                        cause: format!(
                            "lease {NAME} in namespace {} at {}: {error}",
                            self.site.namespace,
                            self.site.wire.url()
                        ),
                    });
                }
            }
            sleep(around(LEASE_LOOK)).await;
        }
    }

    fn stand(&self, standing: Standing) {
        self.standing.send_if_modified(|now| {
            if *now == standing {
                return false;
            }
            if let Standing::Unknown { cause } = &standing {
                tracing::warn!(%cause, "cannot look at the lease");
            }
            *now = standing;
            true
        });
    }

    fn hold(&self, record: Record) -> Held {
        let (said, lost) = watch::channel(None);
        // Backpressure: none; there is one release.
        let (release, released) = mpsc::channel(1);
        let mut renewing = JoinSet::new();
        renewing.spawn_on(
            renew(Arc::clone(&self.site), record, said, released),
            &self.runtime,
        );
        Held {
            release,
            lost,
            _renewing: renewing,
        }
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease")
            .field("identity", &self.site.identity)
            .field("standing", &*self.standing.borrow())
            .finish_non_exhaustive()
    }
}

impl Held {
    /// Waits until another holds the Lease. An API server that is away is no reason to say so.
    ///
    /// # Cancel safety
    /// Cancel safe: it can be asked again.
    pub async fn lost(&self) -> Lost {
        let mut lost = self.lost.clone();
        loop {
            if let Some(lost) = &*lost.borrow_and_update() {
                return lost.clone();
            }
            if lost.changed().await.is_err() {
                // Only a panic ends the renewing before this value is dropped. Without it the Lease is as good as lost.
                return Lost {
                    holder: "unknown, because renewing it failed".to_owned(),
                };
            }
        }
    }

    /// Gives the Lease back, so that another can take it at once. Takes at most 3 s; a Lease that cannot be given back
    /// ends by itself.
    ///
    /// # Cancel safety
    /// When dropped, it may have been given back or not.
    pub async fn release(self) {
        let (done, heard) = oneshot::channel();
        if self.release.send(done).await.is_ok() {
            // Whether it worked or not, there is nothing more to do.
            let _ = timeout(LEASE_DEADLINE, heard).await;
        }
    }
}

/// Says again and again that the holder is there, until it is released or lost.
async fn renew(
    site: Arc<Site>,
    mut record: Record,
    said: watch::Sender<Option<Lost>>,
    mut released: mpsc::Receiver<oneshot::Sender<()>>,
) {
    let mut pause = LEASE_RENEW;
    loop {
        let asked = tokio::select! {
            asked = released.recv() => asked,
            () = sleep(around(pause)) => None,
        };
        if let Some(done) = asked {
            site.give_back(&record).await;
            // Whoever asked may be gone.
            let _ = done.send(());
            return;
        }
        match site.confirm(&mut record).await {
            Ok(None) => pause = LEASE_RENEW,
            Ok(Some(lost)) => {
                said.send_replace(Some(lost));
                return;
            }
            Err(error) => {
                tracing::debug!(cause = %error, "the lease cannot be renewed; it is tried again");
                pause = LEASE_LOOK;
            }
        }
    }
}

/// What one that waits makes of what it sees.
#[derive(Debug, Default)]
struct Sight {
    // The version seen last, and since when nothing else was seen.
    unchanged: Option<(String, Instant)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Free,
    Held,
}

impl Sight {
    fn look(&mut self, record: &Record, now: Instant) -> Verdict {
        if record.holder.is_none() {
            return Verdict::Free;
        }
        match &self.unchanged {
            Some((version, since)) if *version == record.version => {
                if now.saturating_duration_since(*since) > record.duration {
                    Verdict::Free
                } else {
                    Verdict::Held
                }
            }
            _ => {
                self.unchanged = Some((record.version.clone(), now));
                Verdict::Held
            }
        }
    }

    /// What could not be looked at may have changed meanwhile, or may not have been able to.
    fn lost_sight(&mut self) {
        self.unchanged = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn record(version: &str, holder: Option<&str>) -> Record {
        Record {
            version: version.to_owned(),
            holder: holder.map(str::to_owned),
            duration: Duration::from_secs(10),
            transitions: 0,
        }
    }

    #[test]
    fn a_holder_is_silent_only_after_its_duration_by_the_watchers_clock() {
        let (mut sight, start) = (Sight::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        let held = record("1", Some("a"));
        assert_eq!(sight.look(&held, after(0)), Verdict::Held);
        assert_eq!(sight.look(&held, after(10)), Verdict::Held);
        // It renewed.
        let renewed = record("2", Some("a"));
        assert_eq!(sight.look(&renewed, after(10)), Verdict::Held);
        assert_eq!(sight.look(&renewed, after(20)), Verdict::Held);
        assert_eq!(sight.look(&renewed, after(21)), Verdict::Free);
    }

    #[test]
    fn a_lease_that_was_given_back_is_free_at_once() {
        let mut sight = Sight::default();
        assert_eq!(
            sight.look(&record("1", None), Instant::now()),
            Verdict::Free
        );
    }

    #[test]
    fn after_an_outage_the_holder_has_all_of_its_time_again() {
        let (mut sight, start) = (Sight::default(), Instant::now());
        let held = record("1", Some("a"));
        assert_eq!(sight.look(&held, start), Verdict::Held);
        sight.lost_sight();
        let back = start + Duration::from_secs(300);
        assert_eq!(sight.look(&held, back), Verdict::Held);
        assert_eq!(
            sight.look(&held, back + Duration::from_secs(10)),
            Verdict::Held
        );
        assert_eq!(
            sight.look(&held, back + Duration::from_secs(11)),
            Verdict::Free
        );
    }
}
