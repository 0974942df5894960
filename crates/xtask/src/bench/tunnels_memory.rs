//! What an agent's tunnel holds in the hub: idle, and after a MiB each way.

use anyhow::Result;
use kedge_testkit::hub::Hub;
use kedge_testkit::machine;
use kedge_testkit::person::Person;
use rustix::process::Signal;

use super::fleet::Fleet;
use super::measure::{Bench, Round, Running, Wanted};
use super::row::{Against, Measured, Row, Sample, Unit};
use super::sessions_memory::{EACH_WAY, ready};
use super::settle::settled;
use super::stage::{Stage, crew, enlist};
use crate::defaults;

const IDLE: &str = "memory-idle-hub";
const USED: &str = "memory-used-hub";

/// Tunnels that are counted, and as many that come before them and pay for what all share. Below the 400 sessions that
/// one person may open in a burst.
const TUNNELS: u32 = 384;

/// The two halves of the fleet.
const HALVES: [&str; 2] = ["first", "second"];

/// The bench.
#[derive(Debug)]
pub(crate) struct TunnelsMemory;

impl Bench for TunnelsMemory {
    fn rows(&self) -> Vec<Row> {
        let row = |name| Row::lower(name, Against::Nothing, Unit::Kib);
        vec![row(IDLE).marks(20.0, 14.0), row(USED).marks(64.0, 24.0)]
    }

    fn set_up(&self, _: &Stage, _: &Wanted) -> Result<Box<dyn Running>> {
        Ok(Box::new(Run))
    }
}

/// Every round has a new hub: what one has given back to its allocator hides what comes next.
struct Run;

impl Running for Run {
    fn measure(&mut self, stage: &Stage, round: &Round) -> Result<Vec<Measured>> {
        let people = crew(HALVES.len());
        // The same port before and after a restart: agents are told one address.
        let port = machine::free_port()?;
        let mut hub = stage.hub(|hub| {
            hub.listen = format!("127.0.0.1:{port}");
            enlist(hub, &people);
        })?;
        let admin = stage.person(&hub, "admin", None)?;
        let names: Vec<&str> = people.iter().map(String::as_str).collect();
        admin.apply(&Person::policy("crew", &names)?)?;
        let target = stage.serve(&["target"])?;
        let address = target.address().to_string();
        let mut fleets = Vec::new();
        for half in HALVES {
            let more = ["--name", half, "--target", &address];
            let mut fleet = Fleet::start_with(stage, &hub, &admin, TUNNELS, &more)?;
            fleet.event("connected", defaults::BENCH_LOAD)?;
            fleets.push(fleet);
        }
        // What a join leaves in the hub, such as the server's object, is no tunnel: so the hub begins anew, and the
        // halves come back one after the other.
        for fleet in &fleets {
            fleet.signal(Signal::STOP)?;
        }
        hub.kill()?;
        hub.launch()?;
        let pid = hub.daemon()?.pid();
        let mut held = Vec::new();
        for fleet in &mut fleets {
            fleet.signal(Signal::CONT)?;
            fleet.come_back()?;
            held.push(settled(pid)?.private_kib);
        }
        let idle = growth(&held);
        let mut measured = vec![Measured::new(IDLE, Sample::alone(idle))];
        if round.wanted.has(USED) {
            // The first half's traffic pays for what the hub keeps for everybody, such as its own buffers.
            let mut held = Vec::new();
            for (half, person) in HALVES.into_iter().zip(&people) {
                carry(stage, &hub, half, person)?;
                held.push(settled(pid)?.private_kib);
            }
            let used = idle + growth(&held);
            measured.push(Measured::new(USED, Sample::alone(used)));
        }
        drop(fleets);
        Ok(measured)
    }
}

/// A MiB each way through every tunnel of a half, one stream each; then the streams are closed.
fn carry(stage: &Stage, hub: &Hub, half: &str, person: &str) -> Result<()> {
    let token = stage.token_file(hub, person)?;
    let tunnels = TUNNELS.to_string();
    let words = [
        "client",
        "--hub",
        &hub.url(),
        "--pin",
        hub.pin().unwrap_or_default(),
        "--token-file",
        &token.display().to_string(),
        "--server",
        half,
        "hold",
        "--streams",
        &tunnels,
        "--servers",
        &tunnels,
        "--links",
        "2",
        "--each-way",
        EACH_WAY,
    ]
    .map(str::to_owned);
    let live = ready(stage, &words)?;
    live.finish(defaults::BENCH_LOAD)?.success()?;
    Ok(())
}

/// KiB for each of the counted tunnels.
fn growth(held: &[f64]) -> f64 {
    let [before, after] = held else {
        return f64::NAN;
    };
    (after - before) / f64::from(TUNNELS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_second_half_is_counted() {
        let tunnels = f64::from(TUNNELS);
        assert!((growth(&[5000.0, 5000.0 + tunnels * 12.0]) - 12.0).abs() < 1e-9);
        assert!(growth(&[1.0]).is_nan());
    }
}
