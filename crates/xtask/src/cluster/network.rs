//! The networks of a run: the node's, and one outside of it, from which only what the node lets in is reached.
//!
//! ```text
//!  pods 10.244.0.0/24 ── node 192.0.2.1 ── 192.0.2.2 outside
//!                         198.51.100.10: the hub's Service, as a load balancer has it
//! ```

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use kedge_testkit::run;

use crate::network_namespace::within;

/// The node's address. Like the others, from the networks for documentation (RFC 5737).
pub(super) const NODE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// The address that a load balancer would give to the hub's Service.
pub(super) const BALANCED: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);

/// The name under which everybody knows that address.
pub(super) const HUB: &str = "hub.kedge.test";

/// Those of pods.
pub(super) const PODS: &str = "10.244.0.0/24";

/// Wires this network namespace, which must be a new one, to another.
pub(super) fn wire() -> Result<()> {
    let lines = [
        "link set lo up".to_owned(),
        format!("netns add {OUTSIDE}"),
        format!("link add {DEVICE} type veth peer name {DEVICE} netns {OUTSIDE}"),
        format!("address add {NODE}/24 dev {DEVICE}"),
        format!("link set {DEVICE} up"),
        format!("-n {OUTSIDE} link set lo up"),
        format!("-n {OUTSIDE} address add 192.0.2.2/24 dev {DEVICE}"),
        format!("-n {OUTSIDE} link set {DEVICE} up"),
        format!("-n {OUTSIDE} route add 198.51.100.0/24 via {NODE}"),
    ];
    for line in lines {
        let mut command = Command::new("ip");
        command.args(line.split_whitespace());
        run::run(command)?.success()?;
    }
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("have the node forward packets")
}

/// Does something outside: what it starts runs there, and sees of the node what is open.
pub(super) fn outside<T>(action: impl FnOnce() -> Result<T>) -> Result<T> {
    within(&Path::new("/run/netns").join(OUTSIDE), action)
}

const OUTSIDE: &str = "outside";
const DEVICE: &str = "wire";
