//! What every kedge daemon needs around its own work: configuration, logging, readiness,
//! listeners, metrics, an administration endpoint and an orderly end.
//!
//! It is not a framework: each part is used alone, nothing here knows a hub from an agent, and no
//! part reads the daemon's own files behind its back.
//!
//! A daemon's life, and the module that holds each step:
//!
//! ```text
//!  parse ───► log ───► build ───► READY ───► run ───────────────► stop
//!  config     logging  listen     notify     tasks  signals       shutdown:
//!                      metrics                │ SIGHUP            not ready → stop accepting
//!                      admin                  └─► reload          → goaway → drain → cut → report
//! ```

pub mod admin;
pub mod config;
pub mod control;
pub mod defaults;
pub mod descriptors;
pub mod files;
mod http1;
pub mod listen;
pub mod logging;
pub mod man;
pub mod metrics;
pub mod notify;
pub mod paths;
pub mod reference;
pub mod report;
pub mod shards;
pub mod shutdown;
pub mod signals;
pub mod tasks;

pub use admin::{Admin, Readiness};
pub use config::{ConfigError, Source};
pub use control::Control;
pub use listen::{Accepted, Acceptor, Activated, Caller, Listener, Listening};
pub use logging::{LogConfig, LogHandle};
pub use metrics::Metrics;
pub use notify::Notifier;
pub use paths::ConfigPath;
pub use report::Failure;
pub use shards::{Seat, Shard, ShardThreads, Shards};
pub use shutdown::{Shutdown, Stage, StopLimits, StopReport};
pub use signals::{Signal, Signals};
pub use tasks::Tasks;
