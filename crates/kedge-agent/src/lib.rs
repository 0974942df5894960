//! The agent: it keeps one outbound tunnel to a hub and moves bytes to the sshd that is there.
//!
//! It opens no port, speaks no SSH and holds no secret but its own key. Whatever a hub asks for,
//! an agent reaches the one target of its configuration, on its own machine, and nothing else.
//!
//! ```text
//!             ┌──────────────────────── waiting (back-off, jitter) ◄──────────────┐
//!             ▼                                                                   │ link ended,
//!  started ─► report host keys ─► dial ─► connected ─── GOAWAY ─► next link ──────┤ hub refused,
//!  READY      (again every 60 s)            │                     (old one drains)│ no way there
//!                                           └─ OPEN ─► connect target ─► session ─┘
//!                                                      │ TargetUnreachable
//! ```
//!
//! `join` makes the key and enrols it; `run` is the picture above; `check-config` reads the
//! configuration and says whether it can be.

pub mod agent;
pub mod cli;
pub mod config;
pub mod defaults;
pub mod host_keys;
pub mod hub;
pub mod identity;
pub mod join;
pub mod lock;
pub mod machine;
pub mod metrics;
pub mod session;
pub mod target;
pub mod tunnel;

/// This build's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
