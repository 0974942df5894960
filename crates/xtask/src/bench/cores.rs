//! What a second core gives the hub: the same load through a hub that may use two cores and one that may use one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kedge_testkit::agent::Agent;
use kedge_testkit::machine;
use kedge_testkit::run::Live;

use super::measure::{Bench, Round, Running, Side, Wanted};
use super::row::{Against, Measured, Row, Sample, Unit};
use super::stage::{Route, Server, Stage, number, tcp_words};
use super::ways::{Bulk, MIB, rate, sample_mib};
use crate::defaults;

const NAME: &str = "hub-cores";

/// Clients at once, each with an agent of its own, so that every core of the hub can have its share.
const CLIENTS: usize = 4;

/// Streams of each client.
const STREAMS: u32 = 4;

/// The bench.
#[derive(Debug)]
pub(crate) struct Cores;

impl Bench for Cores {
    fn rows(&self) -> Vec<Row> {
        let against = Against::Counterpart("the same on one core");
        vec![Row::higher(NAME, against, Unit::MibPerSecond)]
    }

    fn missing(&self) -> Option<String> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        if cores < 2 {
            return Some("this machine has one core".to_owned());
        }
        let taskset = machine::find_program("taskset");
        taskset
            .is_none()
            .then(|| "taskset is not installed".to_owned())
    }

    fn set_up(&self, stage: &Stage, _: &Wanted) -> Result<Box<dyn Running>> {
        let target = stage.serve(&["target"])?;
        let trial = Bulk {
            direction: "down",
            streams: 1,
            mib: 256,
        };
        let hubs = [
            Held::start(stage, &target, "0,1")?,
            Held::start(stage, &target, "0")?,
        ];
        let mut words = tcp_words(target.address());
        words.extend(trial.words());
        // A quarter of what the bare target gives, for each of the four.
        let clients = f64::from(u16::try_from(CLIENTS)?);
        let mib = sample_mib(rate(&stage.load(&words)?)? / clients / clients);
        Ok(Box::new(Run {
            hubs,
            mib,
            _target: target,
        }))
    }
}

/// A hub that is held to some cores, and its agents. Dropped in this order.
struct Held {
    agents: Vec<Agent>,
    route: Route,
}

impl Held {
    fn start(stage: &Stage, target: &Server, cores: &str) -> Result<Self> {
        let bins = held_bins(stage, cores)?;
        let host_keys = stage.host_keys()?;
        let hub = stage.hub(|hub| hub.bins = bins)?;
        let route = stage.route_of(hub, target.address(), &host_keys, None, |_| {})?;
        let mut agents = Vec::new();
        for number in 1..CLIENTS {
            let name = format!("more{number}");
            let options = stage.agent_options(&route.hub, &name, target.address(), &host_keys)?;
            let mut agent = Agent::new(options)?;
            agent.join(&route.admin.join_token(&[])?)?.success()?;
            agent.start()?;
            agents.push(agent);
        }
        Ok(Self { agents, route })
    }

    /// All clients at once; answers MiB/s altogether.
    fn load(&self, stage: &Stage, mib: u64) -> Result<f64> {
        let bulk = Bulk {
            direction: "down",
            streams: STREAMS,
            mib,
        };
        let more = self.agents.iter().map(|agent| agent.options().name.clone());
        let mut running = Vec::new();
        for server in std::iter::once(None).chain(more.map(Some)) {
            let mut words = self.route.words()?;
            if let (Some(server), Some(last)) = (server, words.last_mut()) {
                *last = server;
            }
            words.extend(bulk.words());
            running.push(Live::start(stage.load_command(&words))?);
        }
        let (mut bytes, mut slowest) = (0.0, 0.0_f64);
        for live in running {
            let ran = live.finish(defaults::BENCH_LOAD)?.success()?;
            let answer = ran.json()?;
            bytes += number(&answer, "bytes")?;
            slowest = slowest.max(number(&answer, "seconds")?);
        }
        Ok(bytes / MIB / slowest)
    }
}

struct Run {
    hubs: [Held; 2],
    mib: u64,
    _target: Server,
}

impl Running for Run {
    fn measure(&mut self, stage: &Stage, round: &Round) -> Result<Vec<Measured>> {
        let [two, one] = &self.hubs;
        let both = round.both(|side| {
            let hub = match side {
                Side::Ours => two,
                Side::Theirs => one,
            };
            hub.load(stage, self.mib)
        })?;
        Ok(vec![Measured::new(
            NAME,
            Sample::pair(both.ours, both.theirs),
        )])
    }
}

/// A folder whose `kedge-hub` is the hub on these cores: it counts them when it starts.
fn held_bins(stage: &Stage, cores: &str) -> Result<PathBuf> {
    let taskset = machine::find_program("taskset").context("taskset is installed")?;
    let bins = stage.subdir("held")?;
    let script = script(&taskset, cores, &stage.bins().join("kedge-hub"));
    let file = bins.join("kedge-hub");
    fs::write(&file, script).with_context(|| format!("write {}", file.display()))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    Ok(bins)
}

fn script(taskset: &Path, cores: &str, hub: &Path) -> String {
    format!(
        "#!/bin/sh\nexec '{}' -c {cores} '{}' \"$@\"\n",
        taskset.display(),
        hub.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hub_keeps_its_process() {
        let script = script(
            Path::new("/usr/bin/taskset"),
            "0,1",
            Path::new("/x y/kedge-hub"),
        );
        assert_eq!(
            script,
            "#!/bin/sh\nexec '/usr/bin/taskset' -c 0,1 '/x y/kedge-hub' \"$@\"\n"
        );
    }
}
