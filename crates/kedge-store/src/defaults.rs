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

// What follows is of the Kubernetes store.

/// How long one call to the Kubernetes API may take, with all its attempts: longer than etcd's elections, shorter than
/// a person waits.
pub(crate) const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// How long a page of a list may take: an API server reads 500 objects in a fraction of it.
pub(crate) const LIST_DEADLINE: Duration = Duration::from_secs(30);
/// How long a connection to the Kubernetes API may take to come up.
pub(crate) const DIAL_DEADLINE: Duration = Duration::from_secs(4);
/// How often a call is tried that certainly was not carried out.
pub(crate) const CALL_ATTEMPTS: u32 = 3;
/// The pause before the second attempt; it doubles.
pub(crate) const CALL_PAUSE: Duration = Duration::from_millis(100);
/// The longest `Retry-After` that is waited for inside a call.
pub(crate) const CALL_PAUSE_MAX: Duration = Duration::from_secs(3);
/// Calls under way at once, each with a connection of its own; further ones wait their turn, within their deadline.
pub(crate) const CALLS_MAX: usize = 16;
/// How long an idle connection to the Kubernetes API is kept: less than load balancers keep theirs.
pub(crate) const IDLE_CONNECTION: Duration = Duration::from_secs(30);
/// Bytes of an answer about one object: etcd takes 1.5 MiB, and JSON may double that.
pub(crate) const ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of a page of a list.
pub(crate) const LIST_BYTES: usize = 32 * 1024 * 1024;
/// Objects of a page of a list, as kubectl asks for. Fewer are asked for when a page has too many bytes.
pub(crate) const LIST_PAGE: u32 = 500;
/// Characters of what the Kubernetes API says that are passed on: its longest sentences about one object.
pub(crate) const MESSAGE_CHARS: usize = 1000;
/// How long a watch lasts, at least and at most; then it goes on where it was. With the grace, a connection that died
/// silently is noticed within a minute.
pub(crate) const WATCH_SECONDS: std::ops::RangeInclusive<u64> = 30..=40;
/// How long after its end a watch may still be open.
pub(crate) const WATCH_GRACE: Duration = Duration::from_secs(10);
/// The longest pause before the first attempt to list or watch again; it doubles.
pub(crate) const REFLECT_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause between attempts to list or watch: how late the end of an outage is noticed.
pub(crate) const REFLECT_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long a watch must have lasted to be a good one, after which pauses are short again.
pub(crate) const REFLECT_HEALTHY: Duration = Duration::from_secs(10);
/// How long whoever wrote waits until the view has it, so that they read what they wrote; usually milliseconds.
pub(crate) const SEEN_PATIENCE: Duration = Duration::from_secs(5);
/// How long a conflict waits until the view has what it conflicts with, so that the next attempt is made with that.
pub(crate) const CONFLICT_PATIENCE: Duration = Duration::from_secs(2);
/// How long a store that is opened waits for the Kubernetes API.
pub(crate) const CONNECT_PATIENCE: Duration = Duration::from_secs(20);
/// How often a text of the hub's own is tried to be set against others who do the same.
pub(crate) const META_RETRIES: u32 = 16;
/// Bytes of a Secret's answer: Kubernetes takes 1 MiB of data, which is a third more in base64.
pub(crate) const SECRET_ANSWER_BYTES: usize = 2 * 1024 * 1024;
/// How long the holder of the Lease may be silent before another takes over, in seconds.
pub(crate) const LEASE_SECONDS: u32 = 10;
/// The longest silence that another's Lease may ask for; a stranger's number must not keep everybody waiting.
pub(crate) const LEASE_SECONDS_MAX: u32 = 60;
/// How often the holder says that it is there.
pub(crate) const LEASE_RENEW: Duration = Duration::from_secs(3);
/// How soon it tries again when it could not, and how often those who wait look; up to a fifth more or less.
pub(crate) const LEASE_LOOK: Duration = Duration::from_secs(1);
/// How long one call about the Lease may take, so that several fit into its duration.
pub(crate) const LEASE_DEADLINE: Duration = Duration::from_secs(3);

// What follows is of export and import.

/// Bytes of one line of an export: an object of etcd's largest size.
pub(crate) const EXPORT_LINE_BYTES: usize = 4 * 1024 * 1024;
/// Objects of one export, all of which are in memory while they are checked.
pub(crate) const EXPORT_OBJECTS_MAX: usize = 1_000_000;
/// Objects of an import that are written at once: enough to keep an API server busy, few enough for everybody else.
pub(crate) const IMPORT_WRITES: usize = 8;
