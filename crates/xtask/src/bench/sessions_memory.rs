//! What an agent, a session and stalled streams hold: in the hub, in the agent, in `kedge proxy`.

use anyhow::{Context, Result};
use kedge_testkit::defaults as limits;
use kedge_testkit::run::Live;

use super::figures::median;
use super::measure::{Bench, Round, Running, Wanted};
use super::row::{Against, Measured, Row, Sample, Unit};
use super::settle::settled;
use super::stage::{Route, SERVER, Stage, memory};
use super::stalled::STALLED;
use crate::{defaults, interrupt};

/// Bytes that go each way before an agent counts as used.
pub(crate) const EACH_WAY: &str = "1048576";

/// Sessions that are there before it is looked at: the first ones pay for what all share.
const FIRST: usize = 10;

/// Sessions that are counted.
const COUNTED: usize = 40;

/// KiB of a MiB.
const MIB: f64 = 1024.0;

const IDLE_AGENT: &str = "memory-idle-agent";
const USED_AGENT: &str = "memory-used-agent";
const STALLED_HUB: &str = "memory-stalled-hub";
const STALLED_AGENT: &str = "memory-stalled-agent";
const SESSION: [&str; 3] = [
    "memory-session-hub",
    "memory-session-agent",
    "memory-session-proxy",
];

/// The bench.
#[derive(Debug)]
pub(crate) struct SessionsMemory;

impl Bench for SessionsMemory {
    fn rows(&self) -> Vec<Row> {
        let row = |name, unit| Row::lower(name, Against::Nothing, unit);
        let [hub, agent, proxy] = SESSION;
        vec![
            row(STALLED_HUB, Unit::Mib).must(32.0),
            row(STALLED_AGENT, Unit::Mib),
            row(IDLE_AGENT, Unit::Mib),
            row(USED_AGENT, Unit::Kib),
            row(hub, Unit::Kib),
            row(agent, Unit::Kib),
            row(proxy, Unit::Mib),
        ]
    }

    fn set_up(&self, _: &Stage, _: &Wanted) -> Result<Box<dyn Running>> {
        Ok(Box::new(Run))
    }
}

/// Every round begins with processes that have done nothing yet.
struct Run;

impl Running for Run {
    fn measure(&mut self, stage: &Stage, round: &Round) -> Result<Vec<Measured>> {
        let mut measured = Vec::new();
        let mut found = |row, figure| measured.push(Measured::new(row, Sample::alone(figure)));
        let target = stage.serve(&["target"])?;
        if round.wanted.has(IDLE_AGENT) || round.wanted.any(&SESSION) {
            let mut route = stage.route(target.address())?;
            let idle = settled(route.agent.daemon()?.pid())?;
            found(IDLE_AGENT, idle.private_kib / MIB);
            if round.wanted.any(&SESSION) {
                for (row, kib) in SESSION.into_iter().zip(sessions(&mut route)?) {
                    let shown = if row == "memory-session-proxy" {
                        kib / MIB
                    } else {
                        kib
                    };
                    found(row, shown);
                }
            }
        }
        interrupt::check()?;
        if round.wanted.has(USED_AGENT) {
            let mut route = stage.route(target.address())?;
            let agent = route.agent.daemon()?.pid();
            let before = settled(agent)?;
            let held = hold(stage, &route, &["--streams", "1", "--each-way", EACH_WAY])?;
            held.finish(defaults::BENCH_LOAD)?.success()?;
            found(USED_AGENT, settled(agent)?.private_kib - before.private_kib);
        }
        interrupt::check()?;
        if round.wanted.any(&[STALLED_HUB, STALLED_AGENT]) {
            let mut route = stage.route(target.address())?;
            let (hub, agent) = (route.hub.daemon()?.pid(), route.agent.daemon()?.pid());
            let before = (settled(hub)?, settled(agent)?);
            let held = hold(stage, &route, &["--streams", STALLED, "--stalled"])?;
            let after = (settled(hub)?, settled(agent)?);
            drop(held);
            found(
                STALLED_HUB,
                (after.0.private_kib - before.0.private_kib) / MIB,
            );
            found(
                STALLED_AGENT,
                (after.1.private_kib - before.1.private_kib) / MIB,
            );
        }
        Ok(measured)
    }
}

/// Streams that are there, and stay until the value is finished or dropped.
pub(crate) fn hold(stage: &Stage, route: &Route, work: &[&str]) -> Result<Live> {
    let mut words = route.words()?;
    words.push("hold".to_owned());
    words.extend(work.iter().map(|&word| word.to_owned()));
    ready(stage, &words)
}

/// Starts the loading program, and waits until it says that it is ready.
pub(crate) fn ready(stage: &Stage, words: &[String]) -> Result<Live> {
    let mut live = Live::start(stage.load_command(words))?;
    live.expect("\"ready\":true", defaults::BENCH_LOAD)?;
    Ok(live)
}

/// KiB of one idle session in the hub, in the agent, and of its `kedge proxy`.
fn sessions(route: &mut Route) -> Result<[f64; 3]> {
    let (hub, agent) = (route.hub.daemon()?.pid(), route.agent.daemon()?.pid());
    let first = open(route, FIRST)?;
    let before = (settled(hub)?, settled(agent)?);
    let counted = open(route, COUNTED)?;
    let after = (settled(hub)?, settled(agent)?);
    let proxies = counted
        .iter()
        .map(|live| Ok(memory(live.pid())?.private_kib));
    let proxy = median(proxies.collect::<Result<_>>()?).context("there are sessions")?;
    drop(first);
    let sessions = f64::from(u16::try_from(COUNTED)?);
    Ok([
        (after.0.private_kib - before.0.private_kib) / sessions,
        (after.1.private_kib - before.1.private_kib) / sessions,
        proxy,
    ])
}

/// As many `kedge proxy` as asked for, each greeted by the target.
fn open(route: &Route, sessions: usize) -> Result<Vec<Live>> {
    let mut open = Vec::with_capacity(sessions);
    for _ in 0..sessions {
        let mut live = Live::start(route.person.kedge_command(&["proxy", SERVER]))?;
        live.expect("SSH-2.0-", limits::START)?;
        open.push(live);
    }
    Ok(open)
}
