//! The hub: it relays ciphertext, decides who may connect, and keeps the books.
//!
//! It is: one HTTPS port with a REST API in Kubernetes' shape, the tunnels of agents and the connections of people;
//! the decision who may reach which server as whom; the join between the two; and the audit log of all of it.
//!
//! It is not: an SSH server or client. What passes between a person and a server is encrypted from end to end, and
//! nothing here could read it.
//!
//! ```text
//!   person ── token ──▶ http ──▶ session: authorise ─▶ relay ◀── registry ◀── tunnel ◀── assertion ── agent
//!                        │             │    ▲                        │
//!                        ▼             ▼    │ look again             ▼
//!                      objects ──▶ store ─▶ watcher              presence ─▶ status in the store
//! ```
//!
//! A session: asked ─▶ granted ─▶ open ─▶ ended, with an audit event at each of the last two, or one refusal.
//! The hub: running ─▶ not ready ─▶ stop accepting ─▶ goaway ─▶ drain ─▶ cut ─▶ report.

pub mod app;
pub mod audit;
pub mod carry;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod decision;
pub mod defaults;
pub mod enrol;
pub mod explain;
pub mod handover;
mod handshake;
pub mod history;
pub mod host_keys;
pub mod http;
pub mod keyring;
pub mod metrics;
pub mod people;
pub mod policies;
pub mod presence;
pub mod rate;
pub mod registry;
pub mod replay;
pub mod rights;
pub mod serve;
pub mod session;
mod share;
mod stall;
pub mod standby;
pub mod stores;
mod sync;
pub mod tls;
pub mod tunnel;
pub mod watcher;
