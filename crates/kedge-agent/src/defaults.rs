//! Limits, timeouts and paths of the agent: each with its unit and its reason.

use std::time::Duration;

/// Where the configuration is looked for.
pub const CONFIG_PATH: &str = "/etc/kedge/agent.toml";

/// Where key and identity are kept.
pub const STATE_DIR: &str = "/var/lib/kedge-agent";

/// The target: where Debian, Fedora and NixOS have their sshd.
pub const TARGET: &str = "tcp:127.0.0.1:22";

/// Where OpenSSH keeps its public host keys.
pub const HOST_KEYS: &str = "/etc/ssh/ssh_host_*_key.pub";

/// Time the target has to accept a connection: it is on this machine, so this is generous.
pub const TARGET_CONNECT_TIME: Duration = Duration::from_secs(5);

/// Time the target has for its first byte. sshd speaks first (RFC 4253 §4.2) and at once; with
/// reverse lookups of a broken resolver it may take 10 s.
pub const TARGET_FIRST_BYTE_TIME: Duration = Duration::from_secs(15);

/// Time between two looks at the host keys: a change blocks the server, so it should show soon.
pub const HOST_KEY_PERIOD: Duration = Duration::from_secs(60);

/// Bytes of a public host key's file: the longest RSA key has 3 KiB.
pub const HOST_KEY_BYTES: u64 = 16 << 10;

/// Folder entries looked at for one pattern of host keys: `/etc/ssh` has twenty.
pub const HOST_KEY_ENTRIES: usize = 4096;

/// Sessions at once: many times what one sshd serves by its own defaults.
pub const MAX_SESSIONS: u32 = 256;

/// Seconds that sessions may still take when the agent stops. They end with people, not by
/// themselves, so a longer wait mostly delays a restart.
pub const DRAIN_SECONDS: u64 = 10;

/// Time a session has to tell its other end that it is cut, before the link closes under it.
pub const CUT_TIME: Duration = Duration::from_secs(1);

/// Time a link that is over has for its goodbyes, before its driver is dropped. With [`CUT_TIME`] it
/// stays below the time a stopping daemon gives its tasks (5 s).
pub const CLOSE_TIME: Duration = Duration::from_secs(2);

/// Bytes of a hub's answer: an enrolled server is 20 KiB at most.
pub const ANSWER_BYTES: usize = 256 << 10;

/// Bytes of the state file: name, URL, id and pin.
pub const IDENTITY_BYTES: u64 = 16 << 10;

/// Bytes of the lock's file: a process number has at most ten digits.
pub const PROCESS_NUMBER_BYTES: u64 = 16;

/// Time between two updates of `STATUS=` while connected.
pub const STATUS_PERIOD: Duration = Duration::from_secs(30);

/// Longest time that an answer on the control socket is held for whoever waits: they ask again, or give up.
pub const WAIT_TIME: Duration = Duration::from_secs(600);

/// Time that `join` is given the running agent's first words in: to read a file and make a key ready.
pub const BEGIN_TIME: Duration = Duration::from_secs(2);

/// Time that `join` waits for a running agent to be told: the service manager may have to start it first.
pub const TELL_TIME: Duration = Duration::from_secs(20);

/// Time between two looks for an identity, where nobody can tell that there is one.
pub const IDENTITY_PERIOD: Duration = Duration::from_secs(5);

/// Least time before an agent shows a join token again that the hub has refused: a hub counts such failures, and
/// a person needs longer to put another token there.
pub const REFUSED_PAUSE: Duration = Duration::from_secs(60);
