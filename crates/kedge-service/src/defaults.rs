//! Limits, timeouts and sizes of this crate: each with its unit and its reason.

use std::time::Duration;

/// Bytes a configuration file may have: a thousand times a real one, and no `/dev/zero`.
pub const CONFIG_BYTES: u64 = 1 << 20;

/// Bytes a secret file may have: a token, a key or a small bundle, never a disk image.
pub const SECRET_BYTES: u64 = 64 << 10;

/// How close (0 to 1) a known key must be to an unknown one before it is offered as what was meant.
pub const SUGGESTION_SIMILARITY: f64 = 0.7;

/// First pause after a failed `accept`, so that a lack of descriptors does not become a busy loop.
pub const ACCEPT_BACKOFF_FIRST: Duration = Duration::from_millis(5);

/// Longest pause between failed `accept`s: descriptors come back when a connection ends, and a
/// caller waits this long at worst.
pub const ACCEPT_BACKOFF_LIMIT: Duration = Duration::from_secs(1);

/// Connections waiting in the kernel before `accept` (`listen(2)`): a fleet that reconnects at
/// once must not meet a refused connection.
pub const LISTEN_BACKLOG: i32 = 4096;

/// Connections the administration endpoint serves at once: a scraper, two probes and a person.
pub const ADMIN_CONNECTIONS: usize = 64;

/// Time a caller of an endpoint on this machine has to send its request's head.
pub const HEADER_TIME: Duration = Duration::from_secs(10);

/// Time a whole connection to the administration endpoint may last.
pub const ADMIN_CONNECTION_TIME: Duration = Duration::from_secs(60);

/// Bytes of one request head to an endpoint on this machine (hyper's least is 8 KiB).
pub const HEADER_BYTES: usize = 16 << 10;

/// Connections the control socket serves at once: a few who wait, and a person who looks.
pub const CONTROL_CONNECTIONS: usize = 32;

/// Connections waiting in the kernel before the control socket accepts them.
pub const CONTROL_BACKLOG: i32 = 32;

/// Time a whole connection to the control socket may last: longer than an answer may be held.
pub const CONTROL_CONNECTION_TIME: Duration = Duration::from_secs(660);

/// Bytes of an answer on the control socket: a status has a few hundred.
pub const CONTROL_ANSWER_BYTES: usize = 64 << 10;

/// Time the work in flight has to end by itself once the daemon stops.
pub const DRAIN_TIME: Duration = Duration::from_secs(30);

/// Time tasks have to end after they were cut, before the report names them as left behind.
pub const CUT_TIME: Duration = Duration::from_secs(5);

/// Time the tunnels' ends have to be told `GOAWAY` before draining starts.
pub const GOAWAY_TIME: Duration = Duration::from_millis(200);
