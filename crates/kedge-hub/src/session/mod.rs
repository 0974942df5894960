//! Sessions: one authorised use of a server by one person.
//!
//! ```text
//!  OPEN ─▶ asked ── authorize ─▶ granted ── place in the table ─▶ relay ── agent says OPENED ─▶ live ─▶ ended
//!            │          │                        │                  │                          │
//!            └──────────┴─── REFUSED + one audit event ─────────────┘     one opening and one closing audit event
//! ```
//!
//! A live session is looked at again whenever something it rests on changed (its policy, its server, its person), and at
//! each moment at which time alone may change the answer; it ends within seconds when it would not be granted any more.

pub mod authorize;
mod client;
mod live;
mod quota;
mod raw;
mod refusal;
mod show;
mod signing;
mod table;

pub use authorize::{Ask, Grant};
pub use client::{note_surplus, serve};
pub use quota::{Full, Quota, Ticket};
pub use refusal::Refusal;
pub use table::{Orders, Place, Sessions, Taken};

/// How a session can end, as the audit log and the metrics say it.
pub const ENDINGS: [&str; 12] = [
    "agent-lost",
    "client-lost",
    "finished",
    "killed",
    "login-expired",
    "max-age",
    "refused",
    "reset-by-agent",
    "reset-by-client",
    "reset-by-hub",
    "revoked",
    "shutting-down",
];

/// Why a session can be refused, as the audit log and the metrics say it.
pub const REFUSALS: [&str; 15] = [
    "bad-request",
    "credentials-unavailable",
    "denied",
    "draining",
    "host-key-changed",
    "internal",
    "link-lost",
    "no-answer",
    "not-found",
    "offline",
    "reset",
    "resume-rejected",
    "target-unreachable",
    "too-many-streams",
    "unauthenticated",
];
