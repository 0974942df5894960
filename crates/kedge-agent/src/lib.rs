//! The agent: it keeps one outbound tunnel to a hub and moves bytes to the sshd that is there.
//!
//! It opens no port, speaks no SSH and holds no secret but its own key. Whatever a hub asks for,
//! an agent reaches the one target of its configuration, on its own machine, and nothing else.
//!
//! ```text
//!             ┌──────────────────────── waiting (back-off, jitter) ◄──────────────┐
//!  started    ▼                                                                   │ link ended,
//!  READY  ──► report host keys ─► dial ─► connected ─── GOAWAY ─► next link ──────┤ hub refused,
//!   │ ▲       (again every 60 s)            │                     (old one drains)│ no way there
//!   ▼ │ an identity is there                └─ OPEN ─► connect target ─► session ─┘
//!  not joined                                          │ TargetUnreachable
//! ```
//!
//! `join` makes the key and enrols it, and tells an agent that waits for it; `run` is the picture above; `check-config`
//! reads the configuration and says whether it can be. What a running agent is doing is one value ([`standing`]), which
//! the service manager, probes and the control socket show.

pub mod agent;
mod brief;
pub mod cli;
pub mod config;
mod control;
pub mod defaults;
pub mod host_keys;
pub mod hub;
pub mod identity;
pub mod join;
mod joining;
pub mod lock;
pub mod machine;
pub mod metrics;
mod owner;
pub mod reload;
pub mod session;
pub mod standing;
pub mod target;
pub mod tunnel;

/// This build's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
