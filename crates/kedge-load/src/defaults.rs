//! Limits, times and sizes of these programs: each with its unit and its reason.

use std::time::Duration;

/// Bytes of a buffer of clients and targets: their own share of what is measured should be small, and 256 KiB cost 15 %
/// less than 64 KiB.
pub const BUFFER: usize = 256 << 10;

/// Bytes of each of the two buffers of a relayed connection: what a plain copy is usually given.
pub const RELAY_BUFFER: usize = 64 << 10;

/// Bytes of a piece on a delayed link: one read of a socket that is not empty.
pub const DELAY_PIECE: usize = 64 << 10;

/// Bytes that a delayed link holds in each direction: twice what 10 Gbit/s have under way in 25 ms.
pub const DELAY_BYTES: usize = 64 << 20;

/// Connections served at once: a sixteenth more than the descriptors that Linux grants by default to a service
/// (16384) would never be had.
pub const CONNECTIONS: usize = 16 << 10;

/// Time for one step of a client: a dial, a stream's first words, the next bytes of a transfer. A hub that takes longer is
/// not worth measuring. A quarter of what the benchmark waits for a client, so that it hears what stood still.
pub const STEP_TIME: Duration = Duration::from_secs(30);

/// Time for a client's whole work, and for one connection of a server: nothing that is measured takes so long, and
/// nothing forgotten stays longer.
pub const WORK_TIME: Duration = Duration::from_secs(60 * 60);

/// Time for a link's last words.
pub const CLOSE_TIME: Duration = Duration::from_secs(2);

/// Bytes after which a stream flows: past what is granted before the first round trip.
pub const FLOWING_BYTES: u64 = 256 << 10;

/// Echoes that are not counted: the first one pays for the stream.
pub const WARM_UP: u32 = 8;

/// Time without a new byte after which streams that nobody reads are full: many times a credit's way.
pub const SETTLED_TIME: Duration = Duration::from_millis(500);

/// Time in which they fill: half of what the benchmark waits for them.
pub const SETTLING_TIME: Duration = Duration::from_secs(60);

/// Time between two looks whether anything came.
pub const SETTLING_LOOK: Duration = Duration::from_millis(25);

/// Bytes of a file with a token: far above the longest.
pub const TOKEN_BYTES: u64 = 64 << 10;

/// Streams that carry bytes at once before all of them are held: what each holds meanwhile should not be what is measured.
pub const CARRYING: usize = 16;

/// Pieces under way on a delayed link in each direction: half the bytes' bound even when a piece is one TLS record.
pub const DELAY_PIECES: usize = 2048;

/// Agents of a fleet that join at once: as many handshakes as a hub has under way.
pub const JOINING: usize = 256;

/// Time for one agent to join, with everything a busy hub may ask it to wait for; less than the benchmark waits for a
/// fleet, so that it hears who could not.
pub const JOIN_TIME: Duration = Duration::from_secs(90);

/// Time after the hub's restart after which an agent that is not back is lost: three times the longest pause between two
/// dials, and less than the benchmark waits.
pub const LOST_AFTER: Duration = Duration::from_secs(90);

/// Time between two looks at a fleet: what its times are exact to.
pub const LOOK: Duration = Duration::from_millis(10);

/// Open files of a fleet beside its tunnels: an agent has two connections while it reports, and only some do so at once.
pub const SPARE_FILES: u64 = 512;

/// Threads for what blocks: standard input has one, and the host keys are a small file in memory.
pub const BLOCKING_THREADS: usize = 3;
