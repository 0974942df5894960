//! How long tests wait, and for what. Every number is an upper bound on a slow, busy machine, not an expectation.

use std::time::Duration;

/// A daemon says that it listens. Covers a debug build that starts beside other tests on two cores.
pub const START: Duration = Duration::from_secs(30);

/// A command of the command line, or one `ssh` session with a key exchange, ends.
pub const COMMAND: Duration = Duration::from_secs(60);

/// A state that changes "at once" has changed.
pub const SOON: Duration = Duration::from_secs(20);

/// A silent loss is noticed: 40 s by promise, and a slow machine's slack.
pub const SILENT_LOSS: Duration = Duration::from_secs(50);

/// A daemon leaves after SIGTERM; longer than its drain.
pub const STOP: Duration = Duration::from_secs(40);

/// Bulk transfers of 100 MiB through debug builds.
pub const BULK: Duration = Duration::from_secs(180);

/// Pause between two looks at a condition. Short beside everything above, long beside the look itself.
pub const POLL: Duration = Duration::from_millis(20);

/// Bytes one direction of a [`crate::wire::Wire`] holds at most.
pub const WIRE_BUFFER: usize = 16 * 1024;

/// Times a free port is looked for when somebody else was faster.
pub const PORT_ATTEMPTS: usize = 20;
