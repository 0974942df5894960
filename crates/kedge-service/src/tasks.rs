//! Every task has an owner: this one counts them, waits for them and notices when one panics.

use std::future::Future;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A group of tasks with one owner. Clones are handles to the same group.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    tracker: TaskTracker,
    panicked: CancellationToken,
}

impl Tasks {
    /// An empty group.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task that belongs to this group. `name` is for the log when it panics.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn spawn<F>(&self, name: &'static str, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.spawn_on(&Handle::current(), name, task)
    }

    /// The same on another runtime.
    pub fn spawn_on<F>(
        &self,
        runtime: &Handle,
        name: &'static str,
        task: F,
    ) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let watch = self.watch(name);
        // Not an async block, which would hold the task twice: as what it was given, and as what it waits for. Of
        // thousands of tasks that is felt.
        let watched = task.map(move |done| {
            drop(watch);
            done
        });
        self.inner.tracker.spawn_on(watched, runtime)
    }

    /// Has the panic of whoever drops it count as one of this group: for a thread, which is no task.
    #[must_use]
    pub fn watch(&self, name: &'static str) -> PanicWatch {
        PanicWatch {
            name,
            panicked: self.inner.panicked.clone(),
        }
    }

    /// How many tasks are alive.
    #[must_use]
    pub fn count(&self) -> usize {
        self.inner.tracker.len()
    }

    /// Pends until a task of the group panicked: the daemon should then stop, since something it
    /// relies on is gone.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn panicked(&self) {
        self.inner.panicked.cancelled().await;
    }

    /// Whether a task of the group has panicked: then the daemon should not claim to have ended well.
    #[must_use]
    pub fn has_panicked(&self) -> bool {
        self.inner.panicked.is_cancelled()
    }

    /// Pends until the group is empty. New tasks may still be spawned, and are then waited for.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn idle(&self) {
        self.inner.tracker.close();
        self.inner.tracker.wait().await;
    }

    /// The tracker below, for code that spawns on trackers.
    #[must_use]
    pub fn tracker(&self) -> &TaskTracker {
        &self.inner.tracker
    }
}

/// Tells the owner of a group when its holder panics.
#[derive(Debug)]
pub struct PanicWatch {
    name: &'static str,
    panicked: CancellationToken,
}

impl Drop for PanicWatch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(task = self.name, "a task panicked");
            self.panicked.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_are_counted_and_waited_for() {
        let tasks = Tasks::new();
        let gate = CancellationToken::new();
        for _ in 0..3 {
            let gate = gate.clone();
            tasks.spawn("gate", async move { gate.cancelled().await });
        }
        assert_eq!(tasks.count(), 3);
        gate.cancel();
        tasks.idle().await;
        assert_eq!(tasks.count(), 0);
    }

    #[tokio::test]
    async fn a_panic_is_noticed_by_the_owner() {
        let tasks = Tasks::new();
        let handle = tasks.spawn("doomed", async { panic!("on purpose") });
        tasks.panicked().await;
        assert!(tasks.has_panicked());
        assert!(handle.await.unwrap_err().is_panic());
        tasks.idle().await;
    }
}
