//! What kedge's tests, benchmarks and the demo are made of: real daemons and a real sshd in scratch folders, links
//! that stall and cut, peers that misbehave, and counters of what is left behind.
//!
//! It is not a mock of anything: everything runs as it would on a machine, on free loopback ports, in process groups
//! of its own. Nothing here touches the machine's sshd, `~/.ssh` or a port in use, and what a value starts ends with
//! that value.
//!
//! ```text
//!  Person ── kedge / ssh ──► Hub ◄── Wire ◄── Agent ──► Sshd | Target
//!                             ▲
//!              peers: TLS, HTTP, WebSocket and frames by hand, well or badly
//!
//!  kube::Cluster: etcd and kube-apiserver
//!
//!  Browser ── forms ──► Issuer (ours, misbehaves on demand) | Provider (a certified one, run by Node)
//! ```
//!
//! Without the features `peers` and `issuer` it needs little and compiles in seconds; `cargo xtask demo` uses that
//! half, and the program `kedge-demo-issuer`.

pub mod agent;
pub mod browser;
pub mod case;
pub mod census;
pub mod connect_proxy;
pub mod defaults;
pub mod demo_issuer;
pub mod form;
pub mod hub;
mod hub_options;
#[cfg(feature = "issuer")]
pub mod issuer;
pub mod kube;
pub mod machine;
#[cfg(feature = "peers")]
pub mod peers;
pub mod person;
pub mod process;
pub mod provider;
pub mod reply;
pub mod run;
pub mod sshd;
pub mod stack;
pub mod target;
pub mod wait;
pub mod wire;

pub use case::{Case, case, skip};
pub use stack::{SERVER, Stack};
