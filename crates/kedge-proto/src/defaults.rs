//! Every limit, size and time of the protocol, with unit and reason.

use std::time::Duration;

/// Bytes of stream data in one DATA frame, at most. 64 KiB is where the cost per frame stops to matter.
pub const MAX_DATA: usize = 64 * 1024;
/// Bytes of stream data in one DATA frame while the socket is backlogged: on a slow link a keystroke waits for one frame.
pub const BACKLOGGED_DATA: usize = 16 * 1024;
/// Time a full frame may take to leave before frames shrink: what a keystroke waits for unnoticed. 64 KiB in 1.3 ms are
/// 400 Mbit/s.
pub const SLOW_FRAME: Duration = Duration::from_micros(1300);
/// Bytes of one message, at most: a full DATA frame and its header (type, stream and offset: 17 bytes), rounded up.
pub const MAX_FRAME: usize = MAX_DATA + 64;
/// Bytes of the attributes of one frame: enough for names and words, too little to be a buffer.
pub const MAX_ATTRIBUTES: usize = 8 * 1024;
/// Bytes of the text of REFUSED and RESET: a sentence or two for a person.
pub const MAX_TEXT: usize = 1024;
/// Bytes of a target's name.
pub const MAX_TARGET: usize = 64;
/// Bytes the opener may send before OPENED, so that a new stream costs no round trip.
pub const INITIAL_CREDIT: u64 = 64 * 1024;

/// Streams one peer may have open on a link: far above what a person or a server needs, far below what hurts.
pub const MAX_STREAMS: u32 = 1024;
/// Bytes all streams of a link may hold together beyond their first [`INITIAL_CREDIT`] each, for each direction.
pub const LINK_BUDGET: u64 = 32 * 1024 * 1024;
/// Bytes a new stream is granted: enough for 20 MiB/s at 50 ms.
pub const INITIAL_WINDOW: u64 = 1024 * 1024;
/// Bytes a stream's window may grow to: OpenSSH's own channel window is 2 MiB, so more would seldom be used.
pub const WINDOW_CAP: u64 = 4 * 1024 * 1024;
/// Credit is returned when this part of the window was taken: often enough to keep the sender going.
pub const CREDIT_FRACTION: u64 = 8;
/// Bytes after which credit is returned however large the window is.
pub const CREDIT_STEP_CAP: u64 = 1024 * 1024;
/// Bytes a stream may send in one turn of the scheduler.
pub const QUANTUM: usize = 32 * 1024;
/// Received pieces smaller than this are copied together: a slice of a read buffer keeps all of it alive.
pub const SLICE_MIN: usize = 16 * 1024;
/// Pieces that one acknowledgement gives back for the next writes: a step of the largest window.
pub const SPENT: usize = 16;
/// Bytes of a buffer that collects small pieces.
pub const CHUNK: usize = 16 * 1024;

/// Time between two PINGs.
pub const PING_INTERVAL: Duration = Duration::from_secs(15);
/// PINGs without PONG after which the link is dead: half-open TCP is noticed within 40 s.
pub const PINGS_MISSED: u32 = 2;
/// Time a stream whose application has left may take to deliver what was written, without any progress.
pub const LINGER: Duration = Duration::from_secs(60);
/// Time a detached stream is kept.
pub const RESUME_TIMEOUT: Duration = Duration::from_secs(300);

/// The first pause before a new dial.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// The longest pause before a new dial.
pub const BACKOFF_CAP: Duration = Duration::from_secs(30);
/// A link that held this long was healthy: the next pause is the first again.
pub const BACKOFF_HEALTHY: Duration = Duration::from_secs(60);
