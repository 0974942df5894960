//! Every limit, deadline and size of the hub, each with its unit and its reason.

use std::time::Duration;

// --- Threads ---------------------------------------------------------------------------------------------------

/// Threads that carry connections at most: as many as the largest machines have cores, and a typing error is told.
pub const THREADS_MAX: u16 = 1024;

// --- Connections -----------------------------------------------------------------------------------------------

/// Connections served at once. Each costs up to 20 KiB (TLS, read buffer, task), so the default is 200 MiB; and
/// [`HEADER_BYTES`] more for the seconds in which somebody sends a head as long as it may be.
pub const CONNECTIONS: u32 = 10_000;

/// Files that are open besides connections and threads: the store, listeners, the log.
pub const OTHER_FILES: u64 = 192;

/// Files of one thread's runtime: what it waits with, is woken with, and hears of signals with.
pub const THREAD_FILES: u64 = 4;

/// Connections beyond [`CONNECTIONS`] that are still told `503` and when to come back; beyond these the socket is
/// closed without a word, because saying anything costs a TLS handshake.
pub const OVERFLOW_CONNECTIONS: usize = 64;

/// One source address has at most one in this many of [`CONNECTIONS`] that have not yet sent the head of a request;
/// more are closed at once. Saying nothing costs a peer nothing and holds a place for up to [`HANDSHAKE_TIMEOUT`] and
/// [`HEADER_TIMEOUT`], so it takes several addresses to keep everybody else out. A quarter lets 2500 agents behind one
/// NAT arrive at the same moment; those that have arrived do not count.
pub const NEWCOMER_SHARE: usize = 4;

/// TLS handshakes and tunnel admissions under way at once. A fleet that reconnects after a restart is served in
/// waves of this size; 64–256 keeps every wave below its deadline on two cores.
pub const HANDSHAKES: u32 = 256;

/// One source address has at most one in this many of [`HANDSHAKES`]; what it has beyond that waits without keeping
/// anybody else waiting. A quarter still serves a site behind one NAT in waves of 64.
pub const HANDSHAKE_SHARE: usize = 4;

/// Time one handshake may keep its turn after the peer's hello: two round trips over a bad mobile link. Whoever wants
/// to keep others out has to send [`HANDSHAKES`] hellos in that time, again and again, and from several addresses.
pub const HANDSHAKE_TURN: Duration = Duration::from_secs(5);

/// Time for a TLS handshake, waiting for its turn included. A peer that is slower is not a peer.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Time to send the head of a request, and time a kept-alive connection may idle between two requests.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a request's head. A bearer token of [`TOKEN_BYTES`] fits twice, so that one of 64 KiB is still read to its
/// end and refused in words. The buffer grows with what is sent, and lives for [`HEADER_TIMEOUT`] at most.
pub const HEADER_BYTES: usize = 72 * 1024;

/// Header lines of a request; browsers and load balancers send fewer than thirty.
pub const HEADER_LINES: usize = 64;

/// Bytes of a request's body. The largest honest one is a policy with a few thousand names.
pub const BODY_BYTES: usize = 256 * 1024;

/// Time to send a request's body.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for everything else in a request (the store, in the main); an answer later than this helps nobody.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// `Retry-After` of a `503`, seconds; the client adds its own jitter.
pub const RETRY_AFTER: Duration = Duration::from_secs(2);

/// How often certificate files are looked at for a change. ACME clients replace them days before they expire.
pub const CERTIFICATE_POLL: Duration = Duration::from_secs(10);

/// Bytes of a certificate or key file: a long chain is 20 KiB.
pub const CERTIFICATE_BYTES: u64 = 1024 * 1024;

/// Years that a self-signed certificate is valid. It is pinned, so expiry would only break what works.
pub const SELF_SIGNED_YEARS: i32 = 20;

// --- Watches ---------------------------------------------------------------------------------------------------

/// Watch streams at once, over all callers: each holds a task and a bounded queue.
pub const WATCHES: usize = 512;

/// Time between two bookmarks of a quiet watch; they keep proxies from cutting it and tell the client how far it is.
pub const WATCH_BOOKMARK: Duration = Duration::from_secs(30);

/// Longest life of a watch; the client asks again from where it was. Rights are checked anew then at the latest.
pub const WATCH_LIFE: Duration = Duration::from_secs(30 * 60);

/// Events that wait for a slow reader of a watch before the watch stops reading the store.
pub const WATCH_QUEUE: usize = 16;

/// Time a watch's reader may take none of the waiting events before the watch is ended.
pub const WATCH_STALL: Duration = Duration::from_secs(60);

// --- Authentication --------------------------------------------------------------------------------------------

/// Failed authentications that one source address may make in a burst before the others are answered 429…
pub const FAILURES_BURST: u32 = 60;

/// …and the time after which one more is told that it failed. Guessing a 256-bit token is hopeless anyway; this keeps
/// the audit log readable. Looking at a credential costs a hash or one signature, so what is good is let in always.
pub const FAILURES_REFILL: Duration = Duration::from_secs(1);

/// Enrolments that one source address may try with one join token in a burst (a rack behind one NAT)…
pub const ENROLMENTS_BURST: u32 = 100;

/// …and the time after which one more is allowed.
pub const ENROLMENTS_REFILL: Duration = Duration::from_millis(200);

/// Source addresses that a rate limit remembers; the fullest buckets are forgotten first.
pub const RATE_SOURCES: usize = 4096;

/// Assertions whose nonce is remembered until they expire. At one dial and one report per agent and minute this
/// is room for 20,000 agents; when it is full, agents wait (503) rather than replays pass.
pub const REPLAY_ENTRIES: usize = 65_536;

/// Longest bearer token that is looked at, bytes. An ID token that lists a few hundred groups has 16 KiB; most proxies
/// in front of a hub pass less.
pub const TOKEN_BYTES: usize = 32 * 1024;

/// Time to tell whether a token holds. It is microseconds, but for the first token after its issuer changed its keys:
/// then one fetch.
pub const VERIFY_TIMEOUT: Duration = Duration::from_secs(10);

/// `Retry-After` of a `503` because an issuer does not answer: as long as it takes to be asked again.
pub const ISSUER_RETRY_AFTER: Duration = Duration::from_secs(10);

/// People that a configuration may list: static tokens are for trying out.
pub const PEOPLE: usize = 1_000;

/// Issuers that a configuration may list: each is asked for its keys every hour, and `/ready` has a line for each.
pub const ISSUERS: usize = 32;

/// Bytes of the audiences and authorized parties of all issuers that people log in at: everybody who asks what the hub
/// is reads them, as they do the authorities.
pub const ALL_AUDIENCES_BYTES: usize = 16 * 1024;

/// Bytes of a file with an issuer's authorities: a company has three certificates of 2 KiB there, and no list of the whole
/// world's.
pub const AUTHORITIES_BYTES: u64 = 32 * 1024;

/// Bytes of all such files together: they are handed to everybody who asks what the hub is, agents included, who read
/// 256 KiB at most.
pub const ALL_AUTHORITIES_BYTES: usize = 128 * 1024;

/// Scopes that a login asks for unless the issuer says otherwise; those that it does not offer are left out.
pub const SCOPES: [&str; 5] = ["openid", "profile", "email", "groups", "offline_access"];

/// The claim by which policies call people: the one that no person can choose (OpenID Connect Core §2).
pub const USER_CLAIM: &str = "sub";

/// The claim that lists groups, as most providers call it.
pub const GROUPS_CLAIM: &str = "groups";

/// Join tokens made at once without a name before giving up on a free one: 36^10 names make one try enough.
pub const TOKEN_NAME_TRIES: u32 = 3;

/// Life of a join token when its maker names none.
pub const JOIN_TOKEN_LIFE: Duration = Duration::from_secs(60 * 60);

/// Longest life of a join token that may be asked for.
pub const JOIN_TOKEN_LIFE_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

// --- Sessions --------------------------------------------------------------------------------------------------

/// Live sessions in the hub. Each holds at most its relay allowance (64 KiB each way), so 1.25 GiB when all stall.
pub const SESSIONS: u32 = 10_000;

/// Live sessions of one person: Ansible with 100 forks and two connections each, twice.
pub const SESSIONS_PER_PRINCIPAL: u32 = 400;

/// Connections that one person may have beyond two for each session: room to be told, in the tunnel's own words, that
/// there are too many sessions.
pub const SPARE_CLIENTS: u32 = 16;

/// Sessions that one person may ask for in a burst: as many as they may have…
pub const OPENINGS_BURST: u32 = SESSIONS_PER_PRINCIPAL;

/// …and the time after which one more is looked at. Each costs a decision and a line in the audit log, also when the
/// answer is no; beyond fifty a second the rest waits its turn.
pub const OPENINGS_REFILL: Duration = Duration::from_millis(20);

/// Streams on one connection of a person: `kedge proxy` opens one, a later multiplexer more.
pub const STREAMS_PER_CLIENT: u32 = 256;

/// Streams that the hub opens to one agent at once: `MaxStartups` and `MaxSessions` of an sshd end far below.
pub const STREAMS_PER_AGENT: u32 = 1024;

/// Time for the agent to reach its target and answer OPEN.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(20);

/// Time between two looks at all live sessions, for policies that end at an hour. Half of the ten seconds promised.
pub const REEVALUATE_EVERY: Duration = Duration::from_secs(5);

/// Wait after a change before live sessions are looked at, so that an `apply` of many files is one look.
pub const REEVALUATE_DEBOUNCE: Duration = Duration::from_millis(200);

/// Time between two looks at one live session because of the time: moments are whole seconds.
pub const REVIEW_PAUSE: Duration = Duration::from_secs(1);

/// How often a session that others overtook is decided anew while it counts against its policy's limit: each time there
/// are more of them, so that more than a few tries mean a person who begins hundreds at once.
pub const ADMISSION_TRIES: u32 = 16;

/// How often it is looked whether the sessions of a tunnel that was revoked have been told, for [`LAST_WORDS`] at most.
pub const REVOKE_LOOK: Duration = Duration::from_millis(10);

// --- Signing ---------------------------------------------------------------------------------------------------

/// How long a key that was read serves its session before its Secret is read again: the way from a session's opening to
/// its signature, and not long enough for somebody to wonder why a key that was taken away still works.
pub const KEY_FRESH: Duration = Duration::from_secs(10);

/// Time for a Secret to be read: a disk, or one request to an API server.
pub const KEY_READ: Duration = Duration::from_secs(10);

/// Bytes of a request to the signer. The longest that makes sense has a host key and a signature of 16384 bits each.
pub const SIGN_REQUEST_BYTES: usize = 32 * 1024;

/// Time that a person's side may take none of an answer of the signer.
pub const SIGN_REPLY: Duration = Duration::from_secs(30);

/// Requests to the signer that one person may make in a burst: a hundred sessions that begin at once, each with a
/// request for the key, a binding and a signature…
pub const SIGNATURES_BURST: u32 = 400;

/// …and the time after which one more is answered. A signature with a large RSA key takes milliseconds.
pub const SIGNATURES_REFILL: Duration = Duration::from_millis(20);

// --- Tunnels ---------------------------------------------------------------------------------------------------

/// KiB that a stream's end may be sent ahead of its reader at first: 20 MiB/s at 50 ms. What the tunnel takes by itself.
pub const WINDOW_KIB: u32 = 1024;

/// KiB that a window grows to: 80 MiB/s at 50 ms, twice OpenSSH's own channel window, so that more would seldom be used.
pub const WINDOW_MAX_KIB: u32 = 4096;

/// Least that may be configured: what every stream may send before it was answered.
pub const WINDOW_KIB_MIN: u32 = 64;

/// Most that may be configured, 64 MiB: 10 Gbit/s at 50 ms.
pub const WINDOW_KIB_MAX: u32 = 65_536;

/// MiB that all streams of a link may hold: eight of them at their largest window.
pub const LINK_BUDGET_MIB: u32 = 32;

/// Most that may be configured, 64 GiB: a typing error is told.
pub const LINK_BUDGET_MIB_MAX: u32 = 65_536;

/// MiB that all links may hold together: five hundred sessions with the window they begin with, both ways; the further
/// ones are slower over a long way, and lose nothing.
pub const BUDGET_MIB: u32 = 1024;

/// Most that may be configured, a TiB: a typing error is told.
pub const BUDGET_MIB_MAX: u32 = 1_048_576;

// --- History ---------------------------------------------------------------------------------------------------

/// Days that sessions which were opened or refused are remembered: a month's audit can be asked "what if".
pub const HISTORY_DAYS: u32 = 30;

/// Most days that may be asked for: ten years, as laws ask of some.
pub const HISTORY_DAYS_MAX: u32 = 3660;

/// Sessions that are remembered at most: about half a gigabyte of disk.
pub const HISTORY_RECORDS: u64 = 1_000_000;

/// Sessions that wait to be written into the history, while the store is slow or full: a minute of a busy hub, and some
/// megabytes at most, because what is large about a person is shared.
pub const HISTORY_QUEUE: usize = 4096;

/// Records that one person may cause in a burst: as many sessions as they may have, asked for twice…
pub const HISTORY_BURST: u32 = 2 * SESSIONS_PER_PRINCIPAL;

/// …and the time after which one more is remembered: a day of somebody who never stops asking is a twelfth of
/// [`HISTORY_RECORDS`], so that they neither fill the disk nor push everybody else out. The audit log has the rest.
pub const HISTORY_REFILL: Duration = Duration::from_secs(1);

/// Sessions that are written in one transaction.
pub const HISTORY_BATCH: usize = 128;

/// Bytes of one session in the history. Claims that make it longer are left out, the longest first.
pub const HISTORY_RECORD_BYTES: usize = 32 * 1024;

/// How often what is too old or too much is forgotten.
pub const HISTORY_PRUNE_EVERY: Duration = Duration::from_secs(60 * 60);

/// Records in one answer unless the caller says otherwise; the store gives at most 1000, or 1 MiB.
pub const HISTORY_PAGE: usize = 500;

/// A person's last records that are looked through for what was last known of them.
pub const LAST_SEEN_RECORDS: usize = 20;

/// Records that one request tries policies on…
pub const REPLAY_RECORDS: usize = 10_000;

/// …the time of a processor that it may take…
pub const REPLAY_TIME: Duration = Duration::from_secs(1);

/// …and the bytes of records that it may answer with; one more is always there.
pub const REPLAY_BYTES: usize = 4 * 1024 * 1024;

// --- Agents and status -----------------------------------------------------------------------------------------

/// Changes of one server's status that are written at once…
pub const STATUS_BURST: u32 = 6;

/// …before one per this time is; a flapping agent must not turn the store into a metrics engine.
pub const STATUS_REFILL: Duration = Duration::from_secs(30);

/// How long a report may follow its connection, and be written together with it, where the store is shared.
pub const REPORT_PAUSE: Duration = Duration::from_secs(1);

/// How long a server that was just made is left to whoever made it, before its status is looked at.
pub const NEWCOMER_PAUSE: Duration = Duration::from_secs(1);

/// `status.lastSeen` of a connected server is refreshed this often, and at every change.
pub const LAST_SEEN_EVERY: Duration = Duration::from_secs(10 * 60);

/// Rounds of eight tries of a write that meets somebody else's: of a rack that joins with one token, nobody is sent
/// away because the others were quicker.
pub const CONFLICT_ROUNDS: u32 = 32;

/// Names that a join token says it was used by; those before are counted. It is rewritten and told to watchers whenever
/// it is used, so it must not grow with its uses; a screen full is what somebody reads.
pub const JOIN_TOKEN_NAMES: usize = 32;

/// Wait before a store that failed is asked again by a background task.
pub const STORE_RETRY: Duration = Duration::from_secs(2);

/// Wait before an object that this version cannot read is looked at again: somebody has to remove it first, and half of
/// the ten seconds promised is soon enough to notice.
pub const UNREADABLE_RETRY: Duration = Duration::from_secs(5);

// --- Shutdown --------------------------------------------------------------------------------------------------

/// Time between "not ready" and closing the listeners, so that a load balancer has looked. Zero outside clusters.
pub const LAME_DUCK: Duration = Duration::from_secs(0);

/// Agents and clients are asked to reconnect somewhere within this time after GOAWAY, so that they do not arrive at once.
pub const GOAWAY_SPREAD: Duration = Duration::from_secs(5);

/// Time that live sessions get to end by themselves after SIGTERM.
pub const DRAIN: Duration = Duration::from_secs(20);

/// Time for the last words on a link, and on a session: what is queued for a peer that still reads. Two of them, one
/// after the other, and the last status write fit into [`CUT`].
pub const LAST_WORDS: Duration = Duration::from_secs(1);

/// While the hub ends: how often it looks whether the last tunnel is gone…
pub const LAST_LOOK: Duration = Duration::from_millis(50);

/// …and how many times.
pub const LAST_LOOKS: u32 = 50;

/// What a hub that only stood by does before it works, or ends: it stops answering probes, and starts again to at once.
pub const STANDBY_STOP: kedge_service::StopLimits = kedge_service::StopLimits {
    not_ready: Duration::ZERO,
    goaway: Duration::ZERO,
    drain: Duration::ZERO,
    cut: CUT,
};

/// Status writes under way at once: as many as the store puts into one commit.
pub const STATUS_WRITES: usize = 64;

/// Time for the sessions that were cut to say so to their ends and to the audit log.
pub const CUT: Duration = Duration::from_secs(3);

// --- Names and places ------------------------------------------------------------------------------------------

/// Where the configuration is looked for.
pub const CONFIG_FILE: &str = "/etc/kedge/hub.toml";

/// Where state is kept unless configured.
pub const STATE_DIR: &str = "/var/lib/kedge-hub";

/// The file of the history in the state directory, where the objects are elsewhere.
pub const HISTORY_FILE: &str = "history.db";

/// The folder of Secrets in the state directory.
pub const SECRETS_FOLDER: &str = "secrets";

/// Where people, servers and agents connect.
pub const LISTEN: &str = "0.0.0.0:8443";

/// Where operators and probes connect: not reachable from outside.
pub const ADMIN_LISTEN: &str = "127.0.0.1:9443";

/// Time that a peer may take none of the bytes waiting for it. Tunnels notice sooner by their PINGs; this is for the
/// reader of an answer who stops reading.
pub const WRITE_STALL: Duration = Duration::from_secs(60);
