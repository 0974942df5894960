//! Limits, times and names of files, each with unit and reason.

use std::time::Duration;

/// How long a request to the hub may take in all. People wait for it at a prompt.
pub const REQUEST_TIME: Duration = Duration::from_secs(20);

/// How long `ssh` waits for the mapped login when an older answer can stand in: a hub that is down
/// must not make every `ssh` to a multiplexed master slow.
pub const RESOLVE_TIME: Duration = Duration::from_secs(2);

/// Bytes of one answer of the hub. A list of 10,000 servers is about 20 MiB.
pub const RESPONSE_BYTES: usize = 64 << 20;

/// Bytes of one event of a watch: one object.
pub const EVENT_BYTES: usize = 1 << 20;

/// How long a watch may be silent before it is made anew; the hub's own bookmarks come more often.
pub const WATCH_SILENCE: Duration = Duration::from_secs(600);

/// How long to wait before a broken watch is made anew, so that a hub that restarts is not hammered.
pub const WATCH_RETRY: Duration = Duration::from_secs(1);

/// How long a hub's answer about a server serves later steps of the same `ssh`: the login at its
/// start, the host keys half a second later. Short, since a host key may be revoked meanwhile.
pub const ACCESS_TIME: Duration = Duration::from_secs(30);

/// Servers whose mapped login is remembered for plain `ssh`. Each costs `ssh` two lines to parse.
pub const LOGINS_REMEMBERED: usize = 1024;

/// Bytes of a manifest that `kedge apply` reads.
pub const MANIFEST_BYTES: u64 = 8 << 20;

/// Bytes of `~/.ssh/config` that are read to add one line to it.
pub const SSH_CONFIG_BYTES: u64 = 4 << 20;

/// How often a change is tried again when somebody else changed the object meanwhile.
pub const CONFLICT_TRIES: usize = 5;

/// How long `kedge proxy` goes on passing what `ssh` wrote last, once `ssh` has gone.
pub const PARTING_TIME: Duration = Duration::from_secs(2);

/// How long closing the link may take; what matters has been delivered by then.
pub const CLOSE_TIME: Duration = Duration::from_millis(500);

/// The port of SSH. Which sshd is reached is the agent's choice, so any other is a mistake.
pub const SSH_PORT: u16 = 22;

/// Unchanged lines around a change in a diff, as `diff -u` has them.
pub const DIFF_CONTEXT: usize = 3;

/// A join token's life when none is asked for: long enough to walk to the server.
pub const TOKEN_TIME: &str = "1h";

/// The mode of files that hold what others may not read.
pub const PRIVATE_FILE: u32 = 0o600;
