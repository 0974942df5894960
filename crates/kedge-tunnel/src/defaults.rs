//! Limits, timeouts and sizes of dialling and upgrading: each with its unit and its reason. Those
//! of the protocol itself are in [`kedge_proto::defaults`].

use std::time::Duration;

/// Time a name has to resolve: longer than a resolver's own retry (5 s), so that one lost datagram
/// is no failure.
pub const RESOLVE_TIME: Duration = Duration::from_secs(10);

/// Time one address has to accept a TCP connection, before the next is tried.
pub const CONNECT_TIME: Duration = Duration::from_secs(5);

/// TLS sessions that a dialer with a local address of its own remembers: it dials one hub, and eight tickets of one name
/// are what is kept anyway.
pub const OWN_TICKETS: usize = 8;

/// Time a proxy has to answer CONNECT: it resolves and connects for us meanwhile.
pub const PROXY_TIME: Duration = Duration::from_secs(15);

/// Time a TLS handshake has.
pub const TLS_TIME: Duration = Duration::from_secs(10);

/// Time from the request to the head of its answer.
pub const ANSWER_TIME: Duration = Duration::from_secs(15);

/// Time a whole short answer has to arrive ([`crate::Dialer::fetch`]).
pub const BODY_TIME: Duration = Duration::from_secs(30);

/// Time from the 101 until the connection is ours, on the hub's side.
pub const UPGRADE_TIME: Duration = Duration::from_secs(10);

/// Bytes the head of an answer may have.
pub const ANSWER_HEADER_BYTES: usize = 16 << 10;

/// Bytes of a refusal's body that are kept for the person who reads the reason.
pub const REFUSAL_BYTES: usize = 64 << 10;

/// Bytes a file of root certificates may have: the whole of Mozilla's list is 220 KB.
pub const ROOTS_BYTES: u64 = 4 << 20;

/// Unsent bytes the kernel may hold before a socket counts as full: short, so that the scheduler
/// and not the kernel decides what is sent next (measured: a keystroke beside bulk streams).
pub const LOW_WATER_FAST: u32 = 64 << 10;

/// The same below [`MEDIUM_RATE`].
pub const LOW_WATER_MEDIUM: u32 = 32 << 10;

/// The same below [`SLOW_RATE`].
pub const LOW_WATER_SLOW: u32 = 16 << 10;

/// Bytes per second (400 Mbit/s) below which 64 KiB take longer to leave than a keystroke should wait.
pub const MEDIUM_RATE: f64 = 50e6;

/// Bytes per second (100 Mbit/s) below which 32 KiB do.
pub const SLOW_RATE: f64 = 12.5e6;

/// Bytes that are read from a socket at once while much comes in: a full frame, and few system calls.
pub const READ_AHEAD: usize = 64 << 10;

/// Bytes from which on a read was much: what rustls asks for at once.
pub const READ_AHEAD_FROM: usize = 4 << 10;

/// Time sent bytes may stay unacknowledged before the kernel gives the connection up.
pub const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Silence after which the kernel asks whether the other side is there: below the 60 s after which
/// many middle boxes forget a connection.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(45);

/// Time between the kernel's questions.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Buffers of a full frame that each thread keeps for the next frames: what one busy relay has under way.
pub const POOLED_BUFFERS: usize = 32;

/// Bytes from which on a frame gets such a buffer: below, more than half of it would be wasted.
pub const POOLED_FROM: usize = 32 << 10;

/// Messages a link reads or writes before it looks at the other direction, and at its clock.
pub const TRAFFIC_TURN: usize = 16;

/// Bytes after which it does so too, and lets other tasks run: what one task has brought in is still in the processor's
/// cache when the next one sends it on.
pub const TRAFFIC_BYTES: usize = 256 << 10;

/// Turns a link takes before it lets other tasks of its thread run.
pub const TRAFFIC_TURNS: usize = 4;

/// Time for the last words of a link: what is queued, the close, and the peer's answer to it.
pub const GOODBYE_TIME: Duration = Duration::from_secs(5);

/// Bytes that a splice reads at once: with what WebSocket (14 bytes) and DATA (17) put before them, four full records of
/// TLS. 64 KiB would need a fifth for the rest.
pub const SPLICE_BUFFER: usize = (64 << 10) - 31;

/// Time the peer's application has to take the last bytes after both directions have ended.
pub const DELIVERY_TIME: Duration = Duration::from_secs(30);
