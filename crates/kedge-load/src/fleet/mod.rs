//! `kedge-load fleet`: thousands of agents in one process, each with a key, an enrolment and an address of its own.
//!
//! * Each asks the hub who it is, enrols, and keeps its tunnel with the code and the rules of `kedge-agent`.
//! * What their machines would not share is theirs: TLS sessions, back-off, source address. Certificates, host key and
//!   counters are shared, so that a fleet costs little beside the hub it is to load.
//! * `joined` and `connected` are said once. A line `restarted` on standard input starts a clock, and `reconnected` is
//!   said when every agent has dialled again since the last such news, or is given up as lost.
//! * The end of standard input ends the fleet.

mod member;
mod roll;

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use kedge_agent::config::AgentConfig;
use kedge_agent::host_keys;
use kedge_agent::metrics::AgentMetrics;
use kedge_api::{HubUrl, JoinTokenSecret};
use kedge_service::{Notifier, Readiness, files};
use kedge_tunnel::{CertificatePin, Dialer, Trust};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines, Stdin, stdin};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::{defaults, line};
use member::Plan;
use roll::{News, Roll};

/// Where the fleet goes, and how large it is.
#[derive(Args, Debug)]
pub struct FleetArgs {
    /// The hub's URL.
    #[arg(long, value_name = "URL")]
    hub: HubUrl,
    /// The pin of the hub's certificate.
    #[arg(long)]
    pin: CertificatePin,
    /// A file with a join token that is good for all of them.
    #[arg(long, value_name = "FILE")]
    join_token_file: PathBuf,
    /// How many.
    #[arg(long, value_name = "N")]
    agents: u32,
    /// What their servers are called: `NAME-0` and so on.
    #[arg(long, default_value = "load")]
    name: String,
    /// Where their sessions go.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:22")]
    target: SocketAddr,
    /// Threads that they run on.
    #[arg(long, default_value = "1")]
    threads: NonZeroUsize,
}

impl FleetArgs {
    /// Threads that the fleet runs on.
    #[must_use]
    pub fn threads(&self) -> NonZeroUsize {
        self.threads
    }
}

/// Runs a fleet until standard input ends.
///
/// # Errors
///
/// When an agent cannot join, or the process cannot have as many.
pub async fn run(arguments: FleetArgs) -> Result<()> {
    let begun = Instant::now();
    let agents = arguments.agents;
    make_room(agents)?;
    // Read by every agent before each dial, and gone with this function.
    let folder = tempfile::tempdir().context("cannot make a folder for a host key")?;
    let plan = Arc::new(plan(&arguments, &folder)?);
    let mut roll = Roll::new(agents, begun, plan.metrics.clone());
    let mut members = JoinSet::new();
    for number in 0..agents {
        let (plan, name) = (Arc::clone(&plan), format!("{}-{number}", arguments.name));
        let readiness = Readiness::new();
        readiness.missing("hub", "not dialled yet");
        let member = roll.enlist(readiness);
        let address = address(number);
        members.spawn(async move { member::live(&plan, name, address, member).await });
    }
    let mut lines = BufReader::new(stdin()).lines();
    let mut looks = interval(defaults::LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            Some(ended) = members.join_next() => match ended? {
                Err(error) => return Err(error),
                Ok(never) => match never {},
            },
            restarted = next(&mut lines) => match restarted? {
                News::Ended => return Ok(()),
                News::Restarted => roll.restarted(Instant::now()),
            },
            _ = looks.tick() => {
                for event in roll.look(Instant::now()) {
                    line::say(&event)?;
                }
            }
        }
    }
}

fn plan(arguments: &FleetArgs, folder: &tempfile::TempDir) -> Result<Plan> {
    let token: JoinTokenSecret =
        files::read_text(&arguments.join_token_file, defaults::TOKEN_BYTES)?
            .trim()
            .parse()
            .with_context(|| {
                let path = arguments.join_token_file.display();
                format!("{path} holds no join token")
            })?;
    let host_key = folder.path().join("host_key.pub");
    std::fs::write(&host_key, HOST_KEY).context("cannot write a host key")?;
    let config = AgentConfig {
        host_keys: vec![host_key.display().to_string()],
        target: format!("tcp:{}", arguments.target).parse()?,
        ..AgentConfig::default()
    };
    let dialer = Dialer::builder(arguments.hub.as_url().clone())
        .trust(Trust::Pinned(vec![arguments.pin]))
        .user_agent(concat!("kedge-load/", env!("CARGO_PKG_VERSION")))
        .build()?;
    Ok(Plan {
        dialer,
        token,
        host_keys: host_keys::read(&config.host_keys)?,
        settings: watch::channel(Arc::new(config)).1,
        metrics: AgentMetrics::new(),
        notifier: Notifier::from_environment(),
        joining: Semaphore::new(defaults::JOINING),
    })
}

/// The address that an agent dials from: all of 127.0.0.0/8 is this machine.
fn address(number: u32) -> Ipv4Addr {
    let first = u32::from(FIRST_ADDRESS);
    // As many as there are before the last address, which is for broadcasts.
    Ipv4Addr::from(first + number % (u32::from(Ipv4Addr::new(127, 255, 255, 254)) - first))
}

/// The process may have as many files as agents, and some more.
fn make_room(agents: u32) -> Result<()> {
    let needed = u64::from(agents) + defaults::SPARE_FILES;
    let limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|maximum| maximum < needed) {
        bail!("{agents} agents need {needed} open files: raise the hard limit (ulimit -Hn)");
    }
    if limit.current.is_some_and(|current| current < needed) {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, raised).context("cannot raise the limit of open files")?;
    }
    Ok(())
}

/// What standard input says next.
async fn next(lines: &mut Lines<BufReader<Stdin>>) -> Result<News> {
    let line = lines.next_line().await;
    match line.context("cannot read standard input")?.as_deref() {
        None => Ok(News::Ended),
        Some("restarted") => Ok(News::Restarted),
        Some(other) => bail!("standard input says {other:?}, and only `restarted` is known"),
    }
}

/// The public half of a key that nobody has: servers need one, and nobody gets as far as to be shown it.
const HOST_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINGuahRGrSW01kmNZIBjpY+Qoywwm491ZD/pHuep4t5c\n";

/// The first agent's address: out of the way of what is given to other things by hand.
const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 10, 0, 1);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_agent_has_an_address_of_this_machine_to_itself() {
        let addresses: BTreeSet<_> = (0..100_000).map(address).collect();
        assert_eq!(addresses.len(), 100_000);
        assert!(addresses.iter().all(Ipv4Addr::is_loopback));
        assert!(address(u32::MAX).is_loopback());
    }
}
