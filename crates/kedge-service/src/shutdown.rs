//! The end of a daemon as a sequence with names.
//!
//! ```text
//!  running ─begin()─► not ready ─► stop accepting ─► goaway ─► drain ─────► cut ─────► report
//!                     probes fail   listeners close   tunnels   sessions     what is    what was
//!                                                     are told  may finish   left ends  left behind
//! ```
//!
//! Stages only move forward. Every part of a daemon waits for the stage that concerns it
//! ([`Shutdown::reached`]) and needs to know of no other part.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::defaults;
use crate::tasks::Tasks;

/// Where the daemon is in its life, in order.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Stage {
    /// Working.
    Running,
    /// The readiness probe fails, so that nobody new is sent here.
    NotReady,
    /// Listeners are closed.
    StopAccepting,
    /// Tunnels are told to go elsewhere.
    Goaway,
    /// Sessions may finish; nothing new begins.
    Drain,
    /// Whatever still runs ends now.
    Cut,
    /// All is over but the summary.
    Report,
}

/// The shared knowledge of how far the end has come. Clones are handles to the same end.
#[derive(Clone, Debug)]
pub struct Shutdown {
    stage: watch::Sender<Stage>,
    sessions: Tasks,
    tasks: Tasks,
}

/// How long each stage may take.
#[derive(Clone, Copy, Debug)]
pub struct StopLimits {
    /// From "not ready" to "stop accepting": time for a load balancer's probe to notice.
    pub not_ready: Duration,
    /// From "goaway" to "drain": time for the message to leave.
    pub goaway: Duration,
    /// Time sessions have to finish by themselves.
    pub drain: Duration,
    /// Time tasks have to end after "cut".
    pub cut: Duration,
}

impl Default for StopLimits {
    fn default() -> Self {
        Self {
            not_ready: Duration::ZERO,
            goaway: defaults::GOAWAY_TIME,
            drain: defaults::DRAIN_TIME,
            cut: defaults::CUT_TIME,
        }
    }
}

/// What the end left behind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StopReport {
    /// Sessions that had to be cut.
    pub cut_sessions: usize,
    /// Tasks that still ran after the cut: a defect when it is not zero.
    pub left_tasks: usize,
}

impl Shutdown {
    /// A daemon that runs.
    #[must_use]
    pub fn new() -> Self {
        Self {
            stage: watch::Sender::new(Stage::Running),
            sessions: Tasks::new(),
            tasks: Tasks::new(),
        }
    }

    /// Asks for the end. The second time, draining is skipped: whoever asks twice is in a hurry.
    pub fn begin(&self) {
        self.stage.send_if_modified(|stage| {
            let next = if *stage == Stage::Running {
                Stage::NotReady
            } else {
                (*stage).max(Stage::Cut)
            };
            std::mem::replace(stage, next) != next
        });
    }

    /// Where the daemon is now.
    #[must_use]
    pub fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Pends until `stage` or a later one.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn reached(&self, stage: Stage) {
        // It fails only when the sender is gone, and `self` holds it.
        let _ = self.stage.subscribe().wait_for(|now| *now >= stage).await;
    }

    /// Tasks that carry somebody's work and may finish it while draining.
    #[must_use]
    pub fn sessions(&self) -> &Tasks {
        &self.sessions
    }

    /// Every other task: each must end by itself at [`Stage::Cut`] at the latest.
    #[must_use]
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Waits for [`Self::begin`] (or a panic in a task, which begins the end too), then walks
    /// through the stages.
    ///
    /// # Cancel safety
    ///
    /// Safe: the stage stays where it was.
    pub async fn sequence(&self, limits: StopLimits) -> StopReport {
        tokio::select! {
            () = self.reached(Stage::NotReady) => {}
            () = self.tasks.panicked() => self.advance(Stage::NotReady),
            () = self.sessions.panicked() => self.advance(Stage::NotReady),
        }
        self.pause(limits.not_ready).await;
        self.advance(Stage::StopAccepting);
        self.advance(Stage::Goaway);
        if self.sessions.count() + self.tasks.count() > 0 {
            self.pause(limits.goaway).await;
        }
        self.advance(Stage::Drain);
        tokio::select! {
            _ = timeout(limits.drain, self.sessions.idle()) => {}
            () = self.reached(Stage::Cut) => {}
        }
        let cut_sessions = self.sessions.count();
        self.advance(Stage::Cut);
        let all = async {
            self.sessions.idle().await;
            self.tasks.idle().await;
        };
        // Whether it ended in time shows in the count.
        let _ = timeout(limits.cut, all).await;
        self.advance(Stage::Report);
        StopReport {
            cut_sessions,
            left_tasks: self.sessions.count() + self.tasks.count(),
        }
    }

    /// Waits, unless somebody is in a hurry.
    async fn pause(&self, time: Duration) {
        // Either end of the wait leads on.
        let _ = timeout(time, self.reached(Stage::Cut)).await;
    }

    fn advance(&self, to: Stage) {
        self.stage.send_if_modified(|stage| {
            let forward = *stage < to;
            if forward {
                *stage = to;
                tracing::debug!(stage = ?to, "shutdown");
            }
            forward
        });
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn stages_come_in_order_and_sessions_may_finish() {
        let shutdown = Shutdown::new();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let watcher = {
            let (shutdown, seen) = (shutdown.clone(), Arc::clone(&seen));
            async move {
                for stage in [
                    Stage::NotReady,
                    Stage::StopAccepting,
                    Stage::Goaway,
                    Stage::Drain,
                ] {
                    shutdown.reached(stage).await;
                    seen.lock().unwrap().push(stage);
                }
            }
        };
        shutdown.tasks().spawn("watcher", watcher);
        let session = {
            let (shutdown, seen) = (shutdown.clone(), Arc::clone(&seen));
            async move {
                shutdown.reached(Stage::Drain).await;
                tokio::time::sleep(Duration::from_secs(10)).await;
                assert_eq!(shutdown.stage(), Stage::Drain, "it was given time");
                assert_eq!(seen.lock().unwrap().len(), 4);
            }
        };
        let session = shutdown.sessions().spawn("session", session);
        shutdown.begin();
        let report = shutdown.sequence(StopLimits::default()).await;
        session.await.unwrap();
        assert_eq!(
            report,
            StopReport {
                cut_sessions: 0,
                left_tasks: 0
            }
        );
        assert_eq!(shutdown.stage(), Stage::Report);
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_finish_is_cut_and_what_ignores_the_cut_is_reported() {
        let shutdown = Shutdown::new();
        let obeys = shutdown.clone();
        shutdown
            .sessions()
            .spawn("obeys", async move { obeys.reached(Stage::Cut).await });
        shutdown.tasks().spawn("deaf", std::future::pending::<()>());
        let begun = Instant::now();
        shutdown.begin();
        let report = shutdown.sequence(StopLimits::default()).await;
        assert_eq!(
            report,
            StopReport {
                cut_sessions: 1,
                left_tasks: 1
            }
        );
        let expected = defaults::GOAWAY_TIME + defaults::DRAIN_TIME + defaults::CUT_TIME;
        assert!(begun.elapsed() >= expected && begun.elapsed() < expected + Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn asking_twice_skips_the_drain() {
        let shutdown = Shutdown::new();
        let session = shutdown.clone();
        shutdown
            .sessions()
            .spawn("session", async move { session.reached(Stage::Cut).await });
        let begun = Instant::now();
        shutdown.begin();
        shutdown.begin();
        let report = shutdown.sequence(StopLimits::default()).await;
        assert_eq!(report.left_tasks, 0);
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "{:?}",
            begun.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_begins_the_end() {
        let shutdown = Shutdown::new();
        shutdown
            .tasks()
            .spawn("doomed", async { panic!("on purpose") });
        let report = shutdown.sequence(StopLimits::default()).await;
        assert_eq!(report.left_tasks, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_daemon_stops_at_once() {
        let shutdown = Shutdown::new();
        let begun = Instant::now();
        shutdown.begin();
        shutdown.sequence(StopLimits::default()).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
