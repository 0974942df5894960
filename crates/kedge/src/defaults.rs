//! Limits, times and names of files, each with unit and reason.

use std::time::Duration;

/// How long a request to the hub may take in all. People wait for it at a prompt.
pub const REQUEST_TIME: Duration = Duration::from_secs(20);

/// How long `ssh` waits for the mapped login when an older answer can stand in: a hub that is down
/// must not make every `ssh` to a multiplexed master slow.
pub const RESOLVE_TIME: Duration = Duration::from_secs(2);

/// How long the hub may take to say how people log in there, once a login is known to be no good: the
/// error can wait for a better hint, but not long.
pub const ADVICE_TIME: Duration = Duration::from_secs(3);

/// Bytes of the hub's discovery document: with it come the issuers, each with its authorities.
pub const DISCOVERY_BYTES: usize = 1 << 20;

/// How far two clocks may differ before that is said: less than what tokens' own leeway forgives
/// explains no refusal.
pub const CLOCK_SKEW: Duration = Duration::from_secs(120);

/// How long before its end a token is renewed: an `ssh` that begins now shows it a moment later, and
/// clocks differ by some seconds.
pub const RENEW_BEFORE: Duration = Duration::from_secs(60);

/// How long an issuer may take for the head of an answer, and for the rest of it. A login is renewed by
/// three requests, while somebody waits for `ssh` to begin.
pub const ISSUER_TIME: Duration = Duration::from_secs(10);

/// How long an issuer may take in all to revoke a login that is already gone here: nobody waits longer to be
/// told that it did not.
pub const REVOKE_TIME: Duration = Duration::from_secs(5);

/// How long others wait for whoever renews the login. More than a token command may take, and than an
/// issuer may.
pub const LOCK_TIME: Duration = Duration::from_secs(45);

/// How long an issuer that did not answer is left alone while the token is still good.
pub const UNAVAILABLE_PAUSE: Duration = Duration::from_secs(10);

/// How long a token command may take: somebody may have to touch a security key.
pub const TOKEN_COMMAND_TIME: Duration = Duration::from_secs(30);

/// How long a person may take to log in in the browser: to find the telephone with the second factor.
pub const LOGIN_TIME: Duration = Duration::from_secs(600);

/// Bytes of a token: an ID token with many groups is a few KiB.
pub const TOKEN_BYTES: usize = 64 << 10;

/// Bytes of a stored login: two tokens and an issuer's authorities.
pub const CREDENTIALS_BYTES: u64 = 512 << 10;

/// Bytes that are set aside on the disk before a login is renewed: more than most logins have.
pub const ROOM_BYTES: u64 = 32 << 10;

/// How many of a hub's issuers an error names: it is one line.
pub const ISSUERS_NAMED: usize = 10;

/// How much earlier than the login a new proof may seem to have been given, as clocks differ.
pub const REAUTHENTICATION_LEEWAY: Duration = Duration::from_secs(60);

/// Steps of a device flow that wait to be shown. They come seconds apart; one that finds no room is
/// not shown.
pub const DEVICE_STEPS: usize = 4;

/// Servers whose login `kedge whoami` asks for by itself: each is a request.
pub const WHOAMI_SERVERS: usize = 20;

/// How many of them are asked for at once.
pub const WHOAMI_REQUESTS: usize = 8;

/// Changed sessions that `kedge explain --since` shows: whoever sees more has learned enough.
pub const REPLAY_CHANGES: usize = 10_000;

/// Bytes of one answer of the hub. A list of 10,000 servers is about 20 MiB.
pub const RESPONSE_BYTES: usize = 64 << 20;

/// Bytes of one event of a watch: one object.
pub const EVENT_BYTES: usize = 1 << 20;

/// How long a watch may be silent before it is made anew; the hub's own bookmarks come more often.
pub const WATCH_SILENCE: Duration = Duration::from_secs(600);

/// How long to wait before a broken watch is made anew, so that a hub that restarts is not hammered.
pub const WATCH_RETRY: Duration = Duration::from_secs(1);

/// How long after one look at the sessions that live the next is taken: what people call at once, and half
/// a request a second for each who watches.
pub const SESSIONS_PAUSE: Duration = Duration::from_secs(2);

/// How often in a row a hub may be away while somebody watches: one that restarts is back by then.
pub const WATCH_FAILURES: u32 = 10;

/// How many sessions an error names: it is one line.
pub const SESSIONS_NAMED: usize = 10;

/// Characters of a session's id behind its mark: 16 bytes in base32.
pub const SESSION_ID_CHARACTERS: usize = 26;

/// How long a hub's answer about a server serves later steps of the same `ssh`: the login at its
/// start, the host keys half a second later. Short, since a host key may be revoked meanwhile.
pub const ACCESS_TIME: Duration = Duration::from_secs(30);

/// How long the mapped login in it serves the next `ssh`, which saves a connection to the hub before it
/// begins. Longer, since the hub decides about the login of every session anyhow; but who was given
/// another one should not have to wonder for long.
pub const MAPPED_TIME: Duration = Duration::from_secs(600);

/// Servers whose mapped login is remembered for plain `ssh`. Each costs `ssh` two lines to parse.
pub const LOGINS_REMEMBERED: usize = 1024;

/// Bytes of a manifest that `kedge apply` reads.
pub const MANIFEST_BYTES: u64 = 8 << 20;

/// Bytes of `~/.ssh/config` that are read to add one line to it.
pub const SSH_CONFIG_BYTES: u64 = 4 << 20;

/// How often a change is tried again when somebody else changed the object meanwhile.
pub const CONFLICT_TRIES: usize = 5;

/// Bytes at once from `ssh` that show a transfer: half of what its pipe holds. What a person types, and what
/// a program prints for one, comes in less.
pub const PIECE_BYTES: usize = 32 << 10;

/// Pieces in one direction after which its pipe is made larger.
pub const PIECES: u32 = 16;

/// Bytes of a pipe that carries a transfer: `ssh` and `kedge proxy` wake each other less often, which is a
/// seventh of the throughput. The most that Linux gives without privileges, and not for all pipes of a person
/// at once: 64 MiB together by default, above which new ones get 8 KiB.
pub const PIPE_BYTES: usize = 1 << 20;

/// How long `kedge proxy` goes on passing what `ssh` wrote last, once `ssh` has gone.
pub const PARTING_TIME: Duration = Duration::from_secs(2);

/// How long closing the link may take; what matters has been delivered by then.
pub const CLOSE_TIME: Duration = Duration::from_millis(500);

/// Connections to a session's agent that are served at once: an `ssh` has one while it authenticates, and what it
/// forwards may have some; more wait their turn.
pub const AGENT_CONVERSATIONS: usize = 64;

/// How long after a connection that could not be accepted the next is tried: descriptors may be used up.
pub const AGENT_ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a session that begins tries to tell the one that listens: it is on this machine, and busy at most.
pub const AGENT_REFRESH: Duration = Duration::from_secs(1);

/// How long the hub's signer may take for an answer: the key is read from a store, and many may ask at once.
pub const AGENT_ANSWER: Duration = Duration::from_secs(30);

/// The folder of the agents' sockets: below `$XDG_RUNTIME_DIR`, or below kedge's state where there is none.
pub const AGENT_FOLDER: &str = "agent";

/// The port of SSH. Which sshd is reached is the agent's choice, so any other is a mistake.
pub const SSH_PORT: u16 = 22;

/// Unchanged lines around a change in a diff, as `diff -u` has them.
pub const DIFF_CONTEXT: usize = 3;

/// Time that `kedge agent wait` waits when no other is asked for: a hub that was restarted is found again by then.
pub const AGENT_WAIT_TIME: &str = "60s";

/// Time that an agent has to answer: the service manager may have to start it first.
pub const AGENT_ANSWER_TIME: Duration = Duration::from_secs(30);

/// A join token's life when none is asked for: long enough to walk to the server.
pub const TOKEN_TIME: &str = "1h";

/// The mode of files that hold what others may not read.
pub const PRIVATE_FILE: u32 = 0o600;
