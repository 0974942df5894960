//! Limits, timeouts and sizes of dialling and upgrading: each with its unit and its reason. Those
//! of the protocol itself are in [`kedge_proto::defaults`].

use std::time::Duration;

/// Time a name has to resolve: longer than a resolver's own retry (5 s), so that one lost datagram
/// is no failure.
pub const RESOLVE_TIME: Duration = Duration::from_secs(10);

/// Time one address has to accept a TCP connection, before the next is tried.
pub const CONNECT_TIME: Duration = Duration::from_secs(5);

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
pub const NOT_SENT_LOW_WATER: u32 = 64 << 10;

/// Time sent bytes may stay unacknowledged before the kernel gives the connection up.
pub const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Silence after which the kernel asks whether the other side is there: below the 60 s after which
/// many middle boxes forget a connection.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(45);

/// Time between the kernel's questions.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Bytes of a link's read buffer while nothing is under way; it grows to a frame's size while one
/// comes in.
pub const READ_BUFFER: usize = 4 << 10;

/// Bytes the WebSocket may hold unwritten: the frame being written, and the pongs and the close
/// that the WebSocket itself may add.
pub const WRITE_BUFFER: usize = 2 * kedge_proto::defaults::MAX_FRAME;

/// Messages a link reads or writes before it looks at the other direction, and at its clock.
pub const TRAFFIC_TURN: usize = 16;

/// Turns a link takes before it lets other tasks of its thread run.
pub const TRAFFIC_TURNS: usize = 4;

/// Time for the last words of a link: what is queued, the close, and the peer's answer to it.
pub const GOODBYE_TIME: Duration = Duration::from_secs(5);

/// Bytes of each of the two buffers of a splice: a full frame, so that none is sent half empty.
pub const SPLICE_BUFFER: usize = 64 << 10;

/// Time the peer's application has to take the last bytes after both directions have ended.
pub const DELIVERY_TIME: Duration = Duration::from_secs(30);
