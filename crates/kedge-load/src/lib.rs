//! The programs that the benchmark drives the daemons with: something behind the agent, somebody before the hub, a plain
//! copy to compare with, a link with a delay, and a fleet of agents.
//!
//! ```text
//!  client ══ link ══ kedge-hub ══ link ══ kedge-agent ── target      what is measured
//!  client ────────── relay ────────────── relay ──────── target      what it is measured against
//!                 delay anywhere between them; fleet in place of thousands of agents
//! ```
//!
//! They use the libraries that the daemons and the command line are made of, so that a link is dialled, a stream opened
//! and an agent enrolled by the code that people run. Nothing of kedge links them.
//!
//! Each says what it has to say as one JSON object per line on standard output, and on standard error why it failed.

pub mod cli;
pub mod client;
pub mod defaults;
pub mod delay;
pub mod fleet;
pub mod line;
pub mod order;
pub mod relay;
pub mod server;
pub mod target;
