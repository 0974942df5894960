//! Private keys at work: what a server's sshd accepts, used for a person who never gets to see it.
//!
//! It is: the ssh-agent protocol ([`protocol`]), private keys as files hold them ([`PrivateKey`]), and the one place that
//! signs with them ([`Connection::answer`]), after a look at what is to be signed.
//!
//! It is not: an agent that keeps keys, a socket, a policy. Who may have a session, and with which key, is decided
//! before. Nothing here does I/O or reads a clock; the library of cryptography draws its own randomness. A process that
//! only carries requests ([`protocol`] alone) has no private key in it.
//!
//! One connection of one ssh, as [`Connection`] sees it:
//!
//! - `ssh → SESSION-BIND` (host key, session id, the host key's signature over the session id, not forwarded): the host key
//!   is one that is pinned for the server, and the signature holds: from now on the connection is good for this ssh
//!   session alone.
//! - `ssh → REQUEST_IDENTITIES`; `→ IDENTITIES_ANSWER`: the one public key.
//! - `ssh → SIGN_REQUEST` (key, data, flags): the data is an SSH user authentication and nothing more, for the session's
//!   login, with this key, for the bound session or naming a pinned host key (`publickey-hostbound-v00@openssh.com`);
//!   `→ SIGN_RESPONSE`.
//! - whatever is not so: `→ FAILURE`, and an [`Event`] that says why.
//! - anything else (ADD, REMOVE, LOCK, smartcards, extensions): `→ FAILURE`, and an event.
//!
//! ```text
//!              SESSION-BIND that holds                 SIGN_REQUEST for that session
//!   unbound ──────────────────────────▶ bound ───────────────────────────────────────▶ signed
//!      │  │                               SIGN_REQUEST with a pinned host key in it
//!      │  └────────────────────────────────────────────────────────────────────────▶ signed
//!      │       SESSION-BIND that does not hold
//!      └──────────────────────────────────────▶ spoiled: nothing is signed any more
//! ```
//!
//! Sources: draft-ietf-sshm-ssh-agent and OpenSSH's PROTOCOL.agent (messages, `session-bind@openssh.com`), OpenSSH's
//! PROTOCOL §3.1 (the host-bound method), RFC 4252 §7 (what a user's key signs), PROTOCOL.key, RFC 5208, 5915, 5958 and
//! 8017 (files of keys).

mod algorithm;
mod connection;
mod defaults;
mod event;
mod private;
pub mod protocol;
mod public;
mod userauth;
mod verify;
mod wire;

pub use algorithm::{KeyAlgorithm, SignatureAlgorithm};
pub use connection::{Answer, Connection, Terms, Unbound};
pub use defaults::KEY_FILE_BYTES;
pub use event::{BoundBy, Event, Reason, Refusal, Signed, SshSessionId};
pub use private::{KeyError, PrivateKey};
pub use public::PublicKey;
