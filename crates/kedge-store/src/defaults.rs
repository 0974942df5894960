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
/// Bytes of one line of the history: what one token may say, and the facts of a session.
pub(crate) const LINE_BYTES: usize = 80 * 1024;
/// Lines appended in one transaction; more would keep other writes waiting.
pub(crate) const APPEND_MAX: usize = 256;
/// Lines that are read at once, a few milliseconds of the writer's time.
pub(crate) const PAGE_LINES: usize = 1000;
/// Bytes of lines that are read at once, for the same reason; one line is always given.
pub(crate) const PAGE_BYTES: usize = 1024 * 1024;
/// Lines that are removed in one transaction, for the same reason.
pub(crate) const PRUNE_LINES: i64 = 500;
/// Bytes up to which a file is checked as a whole when it is opened, about a second's reading. Of a larger one, which
/// is large because of its history, the objects are.
pub(crate) const CHECK_BYTES: u64 = 256 * 1024 * 1024;
/// Bytes of one field of a Secret: an RSA key of 16384 bits in PEM has 13 KiB, and nothing else is a key.
pub const SECRET_FIELD_BYTES: usize = 64 * 1024;
/// Bytes of the annotation that says for which servers a Secret may be used: as many as can be understood.
pub(crate) const SECRET_ANNOTATION_BYTES: usize = kedge_api::defaults::OFFER_MAX_BYTES;
/// How long one field may take to be read from files: local disks answer in milliseconds, network file systems that
/// hang never do.
pub(crate) const SECRET_READ: Duration = Duration::from_secs(5);
/// How often a field is looked for in files that may be exchanged meanwhile.
pub(crate) const SECRET_ATTEMPTS: u32 = 5;
/// Threads that read Secrets from files at once; of more, the others wait their turn.
pub(crate) const SECRET_READERS: usize = 16;
/// Links on the way to one file of a Secret, as Linux itself has it.
pub(crate) const SECRET_LINKS_MAX: usize = 40;
/// Folders between the root of all Secrets and a file: mounted Secrets have four.
pub(crate) const SECRET_FOLDERS_MAX: usize = 32;
/// Bytes after which the write-ahead log is cut back to when it was checkpointed.
pub(crate) const WAL_BYTES: u32 = 4 * 1024 * 1024;
