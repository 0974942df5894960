//! Every limit of this crate, with its unit and why it is what it is.

use std::time::Duration;

/// Bytes of a DNS name (RFC 1035 §2.3.4), and so of every object name, as in Kubernetes.
pub const NAME_MAX_BYTES: usize = 253;
/// Bytes of one label of a DNS name (RFC 1035 §2.3.4).
pub const NAME_LABEL_MAX_BYTES: usize = 63;
/// Bytes of the key of one field of a Secret, as in Kubernetes.
pub const SECRET_DATA_KEY_MAX_BYTES: usize = 253;
/// Bytes of a Secret owner's offer to servers: two hundred of the longest names, thousands of usual ones.
pub const OFFER_MAX_BYTES: usize = 64 * 1024;
/// Bytes of a unix login: `utmp` and `useradd` hold no more.
pub const LOGIN_MAX_BYTES: usize = 32;
/// Bytes of a subject or a group: OpenID Connect allows 255 for `sub`, rounded up.
pub const SUBJECT_MAX_BYTES: usize = 256;
/// Bytes of free text a peer tells about itself (version, operating system): one line of a table.
pub const LINE_MAX_BYTES: usize = 128;
/// Bytes of a hub's URL: a host name of [`NAME_MAX_BYTES`], scheme and port fit easily.
pub const HUB_URL_MAX_BYTES: usize = 512;
/// Bytes of an issuer's URL: a host name of [`NAME_MAX_BYTES`] and a path of several long parts.
pub const ISSUER_MAX_BYTES: usize = 1024;
/// Ports of this machine that an issuer may send browsers back to: as many logins at once, and each must be registered
/// at the issuer by hand.
pub const REDIRECT_PORTS_MAX: usize = 8;
/// The lowest of them: below are those of the machine's own services, where no person may listen.
pub const REDIRECT_PORT_MIN: u16 = 1024;
/// Audiences, and authorized parties, of one issuer: a hub is called by a few names, and has a few clients.
pub const AUDIENCES_MAX: usize = 32;
/// Bytes of a client id, an audience or an authorized party: Google's have 73, a URL as an audience may have more.
pub const CLIENT_ID_MAX_BYTES: usize = 512;
/// The shortest [`Span`](crate::Span): moments are kept in whole seconds.
pub const SPAN_MIN: Duration = Duration::from_secs(1);
/// The longest [`Span`](crate::Span): ten years, after which nobody remembers why.
pub const SPAN_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);
/// Bytes of a span's text: `87840h00m00s` and some air.
pub const SPAN_MAX_BYTES: usize = 32;
/// Time windows of one policy: one for each day of the week, twice over.
pub const TIME_WINDOWS_MAX: usize = 14;
/// Sessions at once that a policy may count to: more is no limit for one person.
pub const MAX_SESSIONS_MAX: u32 = 10_000;
/// Bytes of a label's value and of the name part of its key, as in Kubernetes.
pub const LABEL_PART_MAX_BYTES: usize = 63;
/// Labels of one object: enough for a person, too few to fill a store.
pub const LABELS_MAX: usize = 64;
/// Bytes of all annotations of one object, keys and values: a quarter of Kubernetes' 256 KiB.
pub const ANNOTATIONS_MAX_BYTES: usize = 64 * 1024;
/// Bytes of a label selector: what fits comfortably in a request line.
pub const SELECTOR_MAX_BYTES: usize = 4096;
/// Host keys of one server: sshd has five kinds, twice over during a rotation, and some air.
pub const HOST_KEYS_MAX: usize = 16;
/// Bytes of a host key's text: RSA with 16384 bits is 2.8 KiB in base64.
pub const HOST_KEY_MAX_BYTES: usize = 4096;
/// Bits of the smallest RSA host key: OpenSSH's `RequiredRSASize`.
pub const RSA_MIN_BITS: usize = 1024;
/// Bits of the largest RSA host key: OpenSSH's `SSHBUF_MAX_BIGNUM`.
pub const RSA_MAX_BITS: usize = 16_384;
/// Entries of any one list in a policy: above it, use a group or a label.
pub const POLICY_LIST_MAX: usize = 256;
/// Uses of one join token: more is a fleet, and a fleet deserves several tokens.
pub const JOIN_TOKEN_USES_MAX: u32 = 10_000;
/// Life of an agent's assertion: one dial, through a slow proxy.
pub const ASSERTION_LIFETIME: Duration = Duration::from_secs(60);
/// How far two clocks may disagree about an assertion.
pub const ASSERTION_LEEWAY: Duration = Duration::from_secs(60);
/// Bytes of an assertion: three names of [`NAME_MAX_BYTES`] in base64, and the signature.
pub const ASSERTION_MAX_BYTES: usize = 2048;
/// Bytes of a claim's value that is quoted in an error.
pub const QUOTED_MAX_CHARS: usize = 200;
/// Bytes of one object in a request: the hub's body limit.
pub const OBJECT_MAX_BYTES: usize = 256 * 1024;
/// Nesting of JSON that is read from outside: our deepest kind has six levels, claims may add some.
pub const JSON_MAX_DEPTH: usize = 32;
