//! Every limit of this crate, with its unit and why it is what it is.

use std::time::Duration;

/// Writes that wait for the writer thread. Callers of further ones wait their turn.
pub(crate) const WRITE_QUEUE: usize = 256;
/// Writes that share one commit, and so one fsync.
pub(crate) const BATCH_MAX: usize = 64;
/// Events kept for watchers that come back.
pub(crate) const HISTORY_EVENTS: usize = 10_000;
/// Bytes of events kept for watchers that come back: what a small machine can spare.
pub(crate) const HISTORY_BYTES: usize = 32 * 1024 * 1024;
/// How long events are kept: longer than a client that sleeps over lunch with its lid open.
pub(crate) const HISTORY_AGE: Duration = Duration::from_secs(60 * 60);
/// Events that may wait in one watcher; a slower one is told `Expired` and lists again.
pub(crate) const WATCH_QUEUE: usize = 1024;
/// Versions after which a watcher of a quiet kind gets a bookmark, a tenth of the history.
pub(crate) const BOOKMARK_EVERY: u64 = 1000;
/// Watchers at once: a hub's clients, and far from what would hurt.
pub(crate) const WATCHERS_MAX: usize = 4096;
/// How often a change to the newest version is tried before the conflict is reported.
pub(crate) const CONFLICT_RETRIES: u32 = 8;
/// Bytes after which the write-ahead log is cut back to when it was checkpointed.
pub(crate) const WAL_BYTES: u32 = 4 * 1024 * 1024;
