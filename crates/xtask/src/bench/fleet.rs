//! Thousands of agents that come at once, and again after the hub was killed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kedge_testkit::hub::Hub;
use kedge_testkit::person::Person;
use kedge_testkit::run::Live;
use kedge_testkit::{machine, wait};
use rustix::process::{Resource, Signal, getrlimit};
use serde_json::Value;

use super::measure::{Bench, Round, Running, Wanted};
use super::row::{Against, Measured, Row, Sample, Unit};
use super::stage::{Stage, number};
use crate::defaults;

const JOIN: &str = "fleet-join";
const RECONNECT: &str = "fleet-reconnect";

/// As many agents as come: below the 10,000 connections that a hub takes unless told otherwise.
const AGENTS: u32 = 9_500;

/// Open files that such a fleet needs, with room for what else a process has open.
const FILES: u64 = 10_500;

/// The bench.
#[derive(Debug)]
pub(crate) struct Reconnects;

impl Bench for Reconnects {
    fn rows(&self) -> Vec<Row> {
        let row = |name| Row::lower(name, Against::Nothing, Unit::Seconds);
        vec![row(JOIN), row(RECONNECT).marks(10.0, 6.0)]
    }

    fn missing(&self) -> Option<String> {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        (files < FILES).then(|| format!("a process may open {files} files, not {FILES}: ulimit -n"))
    }

    fn set_up(&self, _: &Stage, _: &Wanted) -> Result<Box<dyn Running>> {
        Ok(Box::new(Run))
    }
}

/// Every round has a new hub, because a hub that knows its agents is joined by nobody.
struct Run;

impl Running for Run {
    fn measure(&mut self, stage: &Stage, round: &Round) -> Result<Vec<Measured>> {
        // The same port before and after: agents are told one address.
        let port = machine::free_port()?;
        let mut hub = stage.hub(|hub| hub.listen = format!("127.0.0.1:{port}"))?;
        let admin = stage.person(&hub, "admin", None)?;
        let mut fleet = Fleet::start(stage, &hub, &admin, AGENTS, "fleet")?;
        let joined = seconds(&fleet.event("connected", defaults::BENCH_LOAD)?)?;
        let mut measured = vec![Measured::new(JOIN, Sample::alone(joined))];
        if round.wanted.has(RECONNECT) {
            hub.kill()?;
            hub.launch()?;
            let back = seconds(&fleet.come_back()?)?;
            measured.push(Measured::new(RECONNECT, Sample::alone(back)));
        }
        fleet.end()?;
        Ok(measured)
    }
}

/// How long all of them took.
fn seconds(event: &Value) -> Result<f64> {
    let agents = number(event, "agents")?;
    ensure!(
        agents == f64::from(AGENTS),
        "{agents} agents are there instead of {AGENTS}: {event}"
    );
    number(event, "seconds")
}

/// Many agents in one process. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Fleet {
    live: Live,
}

impl Fleet {
    /// Starts agents that join and connect. Their servers are called `NAME-0` and so on.
    pub(crate) fn start(
        stage: &Stage,
        hub: &Hub,
        admin: &Person,
        agents: u32,
        name: &str,
    ) -> Result<Self> {
        Self::start_with(stage, hub, admin, agents, &["--name", name])
    }

    /// The same, with more words for the loading program.
    pub(crate) fn start_with(
        stage: &Stage,
        hub: &Hub,
        admin: &Person,
        agents: u32,
        more: &[&str],
    ) -> Result<Self> {
        let agents = agents.to_string();
        let token = stage.secret(&admin.join_token(&["--uses", &agents])?)?;
        let mut words: Vec<String> = [
            "fleet",
            "--hub",
            &hub.url(),
            "--pin",
            hub.pin().context("the hub has a pin")?,
            "--join-token-file",
            &token.display().to_string(),
            "--agents",
            &agents,
        ]
        .map(str::to_owned)
        .to_vec();
        words.extend(more.iter().map(|&word| word.to_owned()));
        Ok(Self {
            live: Live::start(stage.load_command(&words))?,
        })
    }

    /// Waits for an event.
    ///
    /// # Errors
    ///
    /// When the time is up, or the fleet ended.
    pub(crate) fn event(&mut self, name: &str, limit: Duration) -> Result<Value> {
        let begun = Instant::now();
        let found = wait::until(&format!("the fleet to be {name}"), limit, || {
            let ended = !self.live.is_running()?;
            let found = event_of(&self.live.out(), name);
            ensure!(found.is_some() || !ended, "it ended");
            Ok(found)
        });
        found.with_context(|| {
            format!(
                "after {:?} it had said {} {}",
                begun.elapsed(),
                String::from_utf8_lossy(&self.live.out()),
                self.live.err()
            )
        })
    }

    /// Waits until all agents are back at a hub that was started again.
    ///
    /// # Errors
    ///
    /// When one of them is lost.
    pub(crate) fn come_back(&mut self) -> Result<Value> {
        self.live.send("restarted\n")?;
        let back = self.event("reconnected", defaults::BENCH_LOAD)?;
        let lost = number(&back, "lost")?;
        ensure!(lost == 0.0, "{lost} agents were lost: {back}");
        Ok(back)
    }

    /// Signals the program.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        self.live.signal(signal)
    }

    /// Ends all agents.
    ///
    /// # Errors
    ///
    /// When they do not end in time.
    pub(crate) fn end(self) -> Result<()> {
        self.live.finish(defaults::BENCH_LOAD)?.success()?;
        Ok(())
    }
}

/// The first whole line that reports this event.
fn event_of(out: &[u8], name: &str) -> Option<Value> {
    let out = String::from_utf8_lossy(out);
    let whole = out
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    whole
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|line| line.get("event").and_then(Value::as_str) == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_whole_lines() {
        let out =
            b"{\"event\":\"joined\",\"agents\":1}\nnoise\n{\"event\":\"connected\",\"agents\":2}";
        assert_eq!(
            number(&event_of(out, "joined").unwrap(), "agents").unwrap() as u8,
            1
        );
        assert!(
            event_of(out, "connected").is_none(),
            "its line has not ended"
        );
        let out = [out.as_slice(), b"\n"].concat();
        assert!(event_of(&out, "connected").is_some());
        assert!(event_of(&out, "reconnected").is_none());
    }

    #[test]
    fn fewer_agents_are_no_result() {
        let all = serde_json::json!({ "agents": AGENTS, "seconds": 2.5 });
        assert!((seconds(&all).unwrap() - 2.5).abs() < 1e-9);
        let fewer = serde_json::json!({ "agents": AGENTS - 1, "seconds": 2.5 });
        assert!(seconds(&fewer).is_err());
    }
}
