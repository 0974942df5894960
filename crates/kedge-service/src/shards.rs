//! Threads that carry a daemon's connections: one runtime each, so that what a connection does stays on one thread.
//!
//! ```text
//!  accept ── seat() ─▶ the shard with the fewest connections ── spawn ─▶ all that this connection does
//!                                                                 │
//!                                          change(other shard), spawn there: the seat moves along
//! ```
//!
//! * A task that was spawned on a shard never runs on another; so whoever serves two connections on one shard passes
//!   bytes between them without waking a thread.
//! * Who is accepted goes where the fewest are. Shards of one process differ in load only by what their connections do.
//! * Tasks belong to their [`Tasks`] whatever shard they are on: they are counted, waited for, and their panics noticed.

use std::fmt;
use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::tasks::Tasks;

/// All shards of a daemon. Clones are handles to the same.
#[derive(Clone, Debug)]
pub struct Shards {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    all: Vec<Shard>,
    /// Who is asked first, so that of equals it is each in its turn.
    next: AtomicUsize,
}

/// One thread with its runtime. Clones are handles to the same.
#[derive(Clone)]
pub struct Shard {
    inner: Arc<One>,
}

struct One {
    runtime: Handle,
    seats: AtomicUsize,
}

/// A connection's place at a shard, until it is dropped.
#[derive(Debug)]
pub struct Seat {
    shard: Mutex<Shard>,
}

/// The threads of [`Shards`]; whoever has this ends them.
#[derive(Debug)]
pub struct ShardThreads {
    stop: CancellationToken,
    steps: Arc<Steps>,
    patience: Duration,
    threads: Vec<thread::JoinHandle<()>>,
}

/// How many threads have come how far in their end.
#[derive(Debug, Default)]
struct Steps {
    counts: Mutex<Counts>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Counts {
    /// They may run tasks.
    running: usize,
    /// They have something left to do.
    left: usize,
}

/// Says that a thread has nothing left to do, also when it panics.
struct Done(Arc<Steps>);

/// As many threads as this process may use cores: what its affinity mask and its control group leave of the machine.
#[must_use]
pub fn cores() -> NonZeroUsize {
    // Where the system does not say, one thread works everywhere.
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

impl Shards {
    /// The runtime that this is called in as the only shard, for whoever has one anyway.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    #[must_use]
    pub fn here() -> Self {
        Self::new(vec![Shard::new(Handle::current())])
    }

    /// Starts so many threads. When one of them dies, `tasks` have panicked. At their end the runtimes wait `patience`
    /// for calls that block.
    ///
    /// # Errors
    ///
    /// When the operating system gives no thread, or no descriptors for its runtime.
    pub fn start(
        count: NonZeroUsize,
        tasks: &Tasks,
        patience: Duration,
    ) -> io::Result<(Self, ShardThreads)> {
        let mut all = Vec::with_capacity(count.get());
        let mut threads = ShardThreads {
            stop: CancellationToken::new(),
            steps: Arc::default(),
            patience,
            threads: Vec::with_capacity(count.get()),
        };
        for number in 0..count.get() {
            let runtime = Builder::new_current_thread()
                .enable_io()
                .enable_time()
                .build()?;
            all.push(Shard::new(runtime.handle().clone()));
            threads.add(number, runtime, tasks.clone())?;
        }
        Ok((Self::new(all), threads))
    }

    fn new(all: Vec<Shard>) -> Self {
        Self {
            inner: Arc::new(Inner {
                all,
                next: AtomicUsize::new(0),
            }),
        }
    }

    /// A place at the shard that has the fewest.
    #[must_use]
    pub fn seat(&self) -> Seat {
        let all = &self.inner.all;
        let first = self.inner.next.fetch_add(1, Ordering::Relaxed) % all.len().max(1);
        let fewest = all
            .iter()
            .cycle()
            .skip(first)
            .take(all.len())
            .min_by_key(|shard| shard.seats());
        // There is one at least: both ways to make shards see to it.
        let shard = fewest
            .cloned()
            .unwrap_or_else(|| Shard::new(Handle::current()));
        shard.inner.seats.fetch_add(1, Ordering::Relaxed);
        Seat {
            shard: Mutex::new(shard),
        }
    }

    /// Pends until each of them has got round to a task of `tasks`: while one is stuck, so is this.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn turn(&self, tasks: &Tasks) {
        let asked: Vec<_> = self
            .inner
            .all
            .iter()
            .map(|shard| shard.spawn(tasks, "turn", std::future::ready(())))
            .collect();
        for answer in asked {
            // A shard that has ended is not stuck.
            let _ = answer.await;
        }
    }

    /// Each of them.
    #[must_use]
    pub fn all(&self) -> &[Shard] {
        &self.inner.all
    }
}

impl Shard {
    fn new(runtime: Handle) -> Self {
        Self {
            inner: Arc::new(One {
                runtime,
                seats: AtomicUsize::new(0),
            }),
        }
    }

    /// Starts a task of `tasks` on this shard.
    pub fn spawn<F>(&self, tasks: &Tasks, name: &'static str, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tasks.spawn_on(&self.inner.runtime, name, task)
    }

    /// How many connections have their place here.
    #[must_use]
    pub fn seats(&self) -> usize {
        self.inner.seats.load(Ordering::Relaxed)
    }
}

impl PartialEq for Shard {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl Eq for Shard {}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard")
            .field("seats", &self.seats())
            .finish_non_exhaustive()
    }
}

impl Seat {
    /// Where it is.
    #[must_use]
    pub fn shard(&self) -> Shard {
        self.shard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Gives the place up for one at `to`.
    pub fn change(&self, to: Shard) {
        to.inner.seats.fetch_add(1, Ordering::Relaxed);
        let mut shard = self.shard.lock().unwrap_or_else(PoisonError::into_inner);
        let left = std::mem::replace(&mut *shard, to);
        left.inner.seats.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let shard = self.shard.get_mut().unwrap_or_else(PoisonError::into_inner);
        shard.inner.seats.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ShardThreads {
    fn add(&mut self, number: usize, runtime: Runtime, tasks: Tasks) -> io::Result<()> {
        let stop = self.stop.clone();
        let patience = self.patience;
        self.steps.advance(|counts| {
            counts.running += 1;
            counts.left += 1;
        });
        let done = Done(Arc::clone(&self.steps));
        let thread = thread::Builder::new()
            .name(format!("shard-{number}"))
            .spawn(move || {
                let _watch = tasks.watch("shard");
                runtime.block_on(stop.cancelled());
                // A task that came from another shard may wait for that one's clock, and is not to be polled without.
                done.0.advance(|counts| counts.running -= 1);
                done.0.wait(patience, |counts| counts.running > 0);
                runtime.shutdown_timeout(patience);
            })
            .inspect_err(|_| self.steps.advance(|counts| counts.running -= 1))?;
        self.threads.push(thread);
        Ok(())
    }

    /// Ends all of them, with the tasks that they still have, and waits for that, but not for a thread whose task does not
    /// let go of it: that one ends with the process. Tasks end better by themselves: see
    /// [`Shutdown::sequence`](crate::Shutdown::sequence).
    pub fn end(self) {
        drop(self);
    }
}

impl Drop for ShardThreads {
    fn drop(&mut self) {
        self.stop.cancel();
        // The others, then calls that block, then those that are late with both.
        let patience = self.patience.saturating_mul(3);
        let left = self.steps.wait(patience, |counts| counts.left > 0);
        if left > 0 {
            tracing::error!(threads = left, "a task keeps its thread; it is left behind");
            return;
        }
        for thread in self.threads.drain(..) {
            // One that panicked has said so to its tasks' owner.
            let _ = thread.join();
        }
    }
}

impl Steps {
    fn advance(&self, step: impl FnOnce(&mut Counts)) {
        step(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    /// Waits while there is something to wait for, and says how many threads have something left to do.
    fn wait(&self, patience: Duration, mut more: impl FnMut(&Counts) -> bool) -> usize {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let (counts, _) = self
            .changed
            .wait_timeout_while(counts, patience, |counts| more(counts))
            .unwrap_or_else(PoisonError::into_inner);
        counts.left
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        self.0.advance(|counts| counts.left -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Shutdown, StopLimits, StopReport};
    use std::thread::ThreadId;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn two(tasks: &Tasks) -> (Shards, ShardThreads) {
        Shards::start(NonZeroUsize::new(2).unwrap(), tasks, PATIENCE).unwrap()
    }

    fn seats(shards: &Shards) -> Vec<usize> {
        shards.all().iter().map(Shard::seats).collect()
    }

    async fn thread_of(seat: &Seat, tasks: &Tasks) -> ThreadId {
        let there = seat.shard().spawn(tasks, "where", async {
            let before = thread::current().id();
            tokio::task::yield_now().await;
            assert_eq!(thread::current().id(), before);
            before
        });
        there.await.unwrap()
    }

    #[tokio::test]
    async fn a_seat_is_at_the_shard_with_the_fewest_and_moves_with_its_connection() {
        let tasks = Tasks::new();
        let (shards, threads) = two(&tasks);
        let mut taken: Vec<_> = (0..8).map(|_| shards.seat()).collect();
        assert_eq!(seats(&shards), [4, 4]);
        let [one, other] = shards.all() else {
            panic!("two")
        };
        taken.retain(|seat| seat.shard() == *one);
        assert_eq!(seats(&shards), [4, 0]);
        let next: Vec<_> = (0..4).map(|_| shards.seat()).collect();
        assert!(next.iter().all(|seat| seat.shard() == *other));
        taken[0].change(other.clone());
        assert_eq!(seats(&shards), [3, 5]);
        taken[0].change(other.clone());
        assert_eq!(seats(&shards), [3, 5], "it is there already");
        drop((taken, next));
        assert_eq!(seats(&shards), [0, 0]);
        threads.end();
    }

    #[tokio::test]
    async fn a_task_stays_on_the_thread_of_its_shard() {
        let tasks = Tasks::new();
        let (shards, threads) = two(&tasks);
        let (one, other) = (shards.seat(), shards.seat());
        let (first, second) = (
            thread_of(&one, &tasks).await,
            thread_of(&other, &tasks).await,
        );
        assert_ne!(first, second);
        for thread in [first, second] {
            assert_ne!(thread, thread::current().id());
        }
        assert_eq!(thread_of(&one, &tasks).await, first);
        one.change(other.shard());
        assert_eq!(thread_of(&one, &tasks).await, second);
        threads.end();
    }

    #[tokio::test]
    async fn what_runs_on_shards_is_waited_for_cut_and_counted() {
        let shutdown = Shutdown::new();
        let (shards, threads) = two(shutdown.tasks());
        for shard in shards.all() {
            let obeys = shutdown.clone();
            shard.spawn(shutdown.sessions(), "obeys", async move {
                obeys.reached(crate::Stage::Cut).await;
            });
            shard.spawn(shutdown.tasks(), "deaf", std::future::pending::<()>());
        }
        assert_eq!(
            (shutdown.sessions().count(), shutdown.tasks().count()),
            (2, 2)
        );
        shutdown.begin();
        let limits = StopLimits {
            not_ready: Duration::ZERO,
            goaway: Duration::ZERO,
            drain: Duration::ZERO,
            cut: Duration::from_millis(10),
        };
        let report = shutdown.sequence(limits).await;
        let expected = StopReport {
            cut_sessions: 2,
            left_tasks: 2,
        };
        assert_eq!(report, expected);
        threads.end();
        assert_eq!(shutdown.tasks().count(), 0, "nothing outlives its shard");
    }

    #[tokio::test]
    async fn a_panic_on_a_shard_begins_the_end_and_leaves_the_others_at_work() {
        let shutdown = Shutdown::new();
        let (shards, threads) = two(shutdown.tasks());
        let (one, other) = (shards.seat(), shards.seat());
        let doomed = one
            .shard()
            .spawn(shutdown.tasks(), "doomed", async { panic!("on purpose") });
        shutdown.tasks().panicked().await;
        assert!(doomed.await.unwrap_err().is_panic());
        for seat in [&one, &other] {
            thread_of(seat, shutdown.tasks()).await;
        }
        let report = shutdown.sequence(StopLimits::default()).await;
        assert_eq!(report.left_tasks, 0);
        threads.end();
    }

    #[tokio::test]
    async fn a_task_that_never_lets_go_of_its_thread_does_not_keep_the_daemon() {
        let tasks = Tasks::new();
        let count = NonZeroUsize::new(2).unwrap();
        let (shards, threads) = Shards::start(count, &tasks, Duration::from_millis(10)).unwrap();
        let (let_go, held) = std::sync::mpsc::sync_channel::<()>(1);
        let (begun, begins) = tokio::sync::oneshot::channel();
        let (one, other) = (shards.seat(), shards.seat());
        let stuck = one.shard().spawn(&tasks, "stuck", async move {
            begun.send(()).unwrap();
            // As long as the other end is there, which is until after the threads ended.
            let _ = held.recv();
        });
        let patient = other
            .shard()
            .spawn(&tasks, "patient", std::future::pending::<()>());
        begins.await.unwrap();
        threads.end();
        assert!(patient.await.unwrap_err().is_cancelled());
        assert!(!stuck.is_finished());
        drop(let_go);
        stuck.await.unwrap();
    }

    #[tokio::test]
    async fn nobody_is_vouched_for_while_one_is_stuck() {
        let tasks = Tasks::new();
        let (shards, threads) = two(&tasks);
        shards.turn(&tasks).await;
        let (let_go, held) = std::sync::mpsc::sync_channel::<()>(1);
        let (begun, begins) = tokio::sync::oneshot::channel();
        let (one, other) = (shards.seat(), shards.seat());
        one.shard().spawn(&tasks, "stuck", async move {
            begun.send(()).unwrap();
            let _ = held.recv();
        });
        begins.await.unwrap();
        let mut turn = Box::pin(shards.turn(&tasks));
        assert!(futures_util::poll!(turn.as_mut()).is_pending());
        // What was asked of the other before has been done by now.
        thread_of(&other, &tasks).await;
        assert!(futures_util::poll!(turn.as_mut()).is_pending());
        drop(let_go);
        turn.await;
        threads.end();
    }

    #[tokio::test]
    async fn no_task_is_polled_when_the_clock_it_came_with_has_stopped() {
        let tasks = Tasks::new();
        for _ in 0..20 {
            let (shards, threads) = two(&tasks);
            let (one, other) = (shards.seat(), shards.seat());
            // Begun on one shard, polled all the time on the other.
            let slept = one.shard().spawn(&tasks, "sleeps", async {
                let mut sleep = Box::pin(tokio::time::sleep(Duration::from_secs(3600)));
                let polled = futures_util::poll!(sleep.as_mut());
                assert!(polled.is_pending());
                [sleep]
            });
            let [mut sleep] = slept.await.unwrap();
            other.shard().spawn(&tasks, "carried", async move {
                loop {
                    assert!(futures_util::poll!(sleep.as_mut()).is_pending());
                    tokio::task::yield_now().await;
                }
            });
            threads.end();
            assert!(!tasks.has_panicked());
        }
    }

    #[tokio::test]
    async fn here_is_where_it_was_asked() {
        let tasks = Tasks::new();
        let shards = Shards::here();
        let seat = shards.seat();
        assert_eq!(thread_of(&seat, &tasks).await, thread::current().id());
        assert_eq!(seats(&shards), [1]);
    }
}
