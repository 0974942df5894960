//! Two network namespaces joined by a link of limited rate, as two sites are by their uplinks.
//!
//! Each end of the link sends through a token-bucket filter. Nothing outside the two namespaces is touched, and they
//! are removed with the value. A run that was killed (`kill -9`) cannot do that: the next one recognises what it left
//! by its name, which tells whose it was, and ends it.

use std::cell::OnceCell;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use kedge_testkit::process::kill_each;
use kedge_testkit::{machine, run};

use super::leftovers::PREFIX;
use crate::network_namespace;
use crate::owner::Owner;

/// The link's name at both ends: each is alone with the loopback in its namespace.
const DEVICE: &str = "bench0";

/// Addresses nobody outside the namespaces sees.
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 118, 0, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 118, 0, 2);
const NET: &str = "10.118.0.0/30";

/// How long a packet may wait in a filter's queue before it is dropped, in milliseconds: what a decent router at
/// the edge of a site holds. More would be a router with the disease that fair queueing was invented for, less
/// would keep a plain connection from filling the link.
const QUEUE_MS: u64 = 50;

/// How much of a filter's rate may pass at once, in milliseconds: enough for the clock of the kernel's timers, little
/// beside the queue.
const BURST_MS: u64 = 5;

/// A filter must let the largest packet pass: 64 KiB before it is cut for the wire would do, 32 KiB have it cut.
const BURST_LEAST: u64 = 32 * 1024;

/// Where named namespaces are.
const NAMED: &str = "/run/netns";

/// An end of the link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// Where people are.
    Client,
    /// Where the hub and the servers are.
    Far,
}

/// How the kernel finds out how fast it may send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Congestion {
    /// By the rate at which data arrives: it keeps the link's queue short by itself.
    Bbr,
    /// By losses: what Linux does unless somebody changed it. It fills the link's queue.
    Cubic,
}

impl Congestion {
    /// The kernel's word for it.
    const fn word(self) -> &'static str {
        match self {
            Self::Bbr => "bbr",
            Self::Cubic => "cubic",
        }
    }

    /// Why it cannot be had.
    pub(crate) fn missing(self) -> Option<String> {
        let path = "/proc/sys/net/ipv4/tcp_available_congestion_control";
        let there = fs::read_to_string(path).unwrap_or_default();
        let there = there.split_whitespace().any(|word| word == self.word());
        (!there).then(|| format!("the kernel has no {}", self.word()))
    }
}

/// Two namespaces and the link between them.
#[derive(Debug)]
pub(crate) struct Link {
    client: Namespace,
    far: Namespace,
}

impl Link {
    /// With this many million bits per second in each direction. The congestion control is set, because the marks
    /// must not depend on what this machine happens to use.
    ///
    /// # Errors
    ///
    /// When a part cannot be made; what was made until then is removed.
    pub(crate) fn new(mbit: u64, congestion: Congestion) -> Result<Self> {
        remove_leftovers();
        let link = Self {
            client: Namespace::new()?,
            far: Namespace::new()?,
        };
        let (client, far) = (link.client.name.as_str(), link.far.name.as_str());
        ip(&format!(
            "link add {DEVICE} netns {client} type veth peer name {DEVICE} netns {far}"
        ))?;
        for (name, address) in [(client, CLIENT), (far, FAR)] {
            ip(&format!("-n {name} address add {address}/30 dev {DEVICE}"))?;
            ip(&format!("-n {name} link set {DEVICE} up"))?;
            ip(&format!("-n {name} link set lo up"))?;
            // A namespace may only be given the congestion controls that the machine allows everybody; a route, any.
            let control = congestion.word();
            ip(&format!(
                "-n {name} route replace {NET} dev {DEVICE} scope link src {address} congctl {control}"
            ))?;
            tc(&filter(name, DEVICE, mbit))?;
        }
        Ok(link)
    }

    /// Where the far end is reached over the link.
    pub(crate) fn far_address(&self) -> Ipv4Addr {
        FAR
    }

    /// Does something at one end: what it starts runs there, and what it connects to is there.
    ///
    /// # Errors
    ///
    /// The action's, or that the calling thread cannot go there and back.
    pub(crate) fn at<T>(&self, end: End, action: impl FnOnce() -> Result<T>) -> Result<T> {
        let namespace = match end {
            End::Client => &self.client,
            End::Far => &self.far,
        };
        network_namespace::within(&namespace.path(), action)
    }
}

/// Why there can be no such link here.
pub(crate) fn missing() -> Option<String> {
    if !machine::am_root() {
        return Some("network namespaces need root".to_owned());
    }
    for program in ["ip", "tc"] {
        if machine::find_program(program).is_none() {
            return Some(format!("{program} (iproute2) is not installed"));
        }
    }
    thread_local! {
        static TRIED: OnceCell<Option<String>> = const { OnceCell::new() };
    }
    TRIED.with(|tried| tried.get_or_init(refused).clone())
}

/// What the kernel says to a namespace with such a filter.
fn refused() -> Option<String> {
    let tried = Namespace::new().and_then(|one| {
        let filter = filter(&one.name, "lo", 1000);
        tc(&filter).context("token-bucket filters")
    });
    let error = tried.err()?;
    Some(format!("the kernel refuses: {}", error.root_cause()))
}

/// The words of `tc` for one end.
fn filter(namespace: &str, device: &str, mbit: u64) -> String {
    let burst = BURST_LEAST.max(mbit * 1_000_000 / 8 * BURST_MS / 1000);
    format!(
        "-n {namespace} qdisc add dev {device} root tbf rate {mbit}mbit burst {burst} latency {QUEUE_MS}ms"
    )
}

/// A named network namespace. Dropping it removes it.
#[derive(Debug)]
struct Namespace {
    name: String,
}

impl Namespace {
    fn new() -> Result<Self> {
        let name = Owner::me().new_name(PREFIX);
        ip(&format!("netns add {name}"))?;
        Ok(Self { name })
    }

    fn path(&self) -> PathBuf {
        Path::new(NAMED).join(&self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Removes the namespaces of runs that were killed, and ends what still runs in them.
fn remove_leftovers() {
    for entry in fs::read_dir(NAMED).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if Owner::of(PREFIX, name).is_some_and(Owner::is_gone) {
            kill_each(&inside(name));
            remove(name);
        }
    }
}

/// Who runs in a namespace.
fn inside(name: &str) -> Vec<u32> {
    let mut command = Command::new("ip");
    command.args(["netns", "pids", name]);
    let said = run::run(command).map(|ran| ran.out()).unwrap_or_default();
    said.lines()
        .filter_map(|line| line.trim().parse().ok())
        .collect()
}

/// Without the waits that Ctrl-C ends: this is what is done about Ctrl-C.
fn remove(name: &str) {
    let mut command = Command::new("ip");
    command
        .args(["netns", "delete", name])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _ = command.status();
}

fn ip(words: &str) -> Result<()> {
    said("ip", words)
}

fn tc(words: &str) -> Result<()> {
    said("tc", words)
}

fn said(program: &str, words: &str) -> Result<()> {
    let mut command = Command::new(program);
    command.args(words.split_whitespace());
    run::run(command)?.success().map(drop)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;

    #[test]
    fn filters_hold_a_bounded_queue() {
        assert_eq!(
            filter("a", "bench0", 200),
            "-n a qdisc add dev bench0 root tbf rate 200mbit burst 125000 latency 50ms"
        );
        assert!(filter("a", "bench0", 50).contains("burst 32768 "));
    }

    #[test]
    fn a_link_is_there_and_then_gone() {
        if let Some(reason) = missing() {
            // Not root, as most developers: the pure part above is tested all the same.
            assert!(!reason.is_empty());
            return;
        }
        let link = Link::new(100, Congestion::Cubic).unwrap();
        let names = [&link.client, &link.far].map(|one| Path::new(NAMED).join(&one.name));
        assert!(names.iter().all(|name| name.exists()));
        let listener = link
            .at(End::Far, || Ok(TcpListener::bind((link.far_address(), 0))?))
            .unwrap();
        let address = listener.local_addr().unwrap();
        let meet = || {
            Ok(TcpStream::connect_timeout(
                &address,
                Duration::from_millis(500),
            )?)
        };
        assert!(meet().is_err(), "not from here");
        assert!(link.at(End::Client, meet).is_ok());
        let failed = link.at(End::Client, || -> Result<()> { anyhow::bail!("no") });
        assert!(failed.is_err());
        assert!(meet().is_err(), "back home");
        drop(link);
        assert!(!names.iter().any(|name| name.exists()));
    }

    #[test]
    fn what_a_killed_run_left_is_removed() {
        if missing().is_some() {
            return;
        }
        // Removed also when the assertion fails.
        let left = Namespace {
            name: Owner::gone().new_name(PREFIX),
        };
        ip(&format!("netns add {}", left.name)).unwrap();
        let mine = Namespace::new().unwrap();
        remove_leftovers();
        let there = |one: &Namespace| Path::new(NAMED).join(&one.name).exists();
        assert!(there(&mine) && !there(&left));
    }
}
