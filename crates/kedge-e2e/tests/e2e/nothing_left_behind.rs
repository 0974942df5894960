//! After 1,000 sessions no task, descriptor or buffer is left behind. Counted, not assumed.

use kedge_testkit::census::{self, Census};

use crate::prelude::*;

const SESSIONS: usize = 1_000;
const AT_ONCE: usize = 16;

/// What is counted: descriptors and tasks of both daemons.
#[derive(Debug)]
struct Count {
    hub: Census,
    agent: Census,
    tasks: Option<f64>,
}

fn count(cheap: &mut Cheap) -> Result<Count> {
    let metrics = cheap.hub.metrics()?;
    let tasks = census::total(&metrics, "kedge_hub_process_tasks");
    Ok(Count {
        hub: cheap.hub.census()?,
        agent: cheap.agent.census()?,
        tasks,
    })
}

#[test]
fn a_thousand_sessions_leave_nothing() -> Result<()> {
    case(|t| {
        let mut cheap = Cheap::start(t, Manner::Echo)?;
        // Lazily made things (worker threads, the first buffers) are no leak.
        burst(&cheap, AT_ONCE * 4)?;
        settled(&cheap)?;
        let before = count(&mut cheap)?;
        ensure!(before.tasks.is_some(), "the hub does not count its tasks");
        burst(&cheap, SESSIONS)?;
        settled(&cheap)?;
        let mut after = count(&mut cheap)?;
        let same = wait::until_true("everything to be let go of", defaults::SOON, || {
            after = count(&mut cheap)?;
            Ok(after.hub.descriptors <= before.hub.descriptors
                && after.agent.descriptors <= before.agent.descriptors
                && after.tasks <= before.tasks)
        });
        same.with_context(|| format!("before {before:?}\nafter {after:?}"))?;
        ensure!(
            cheap.target.accepted() >= SESSIONS,
            "only {} sessions were had",
            cheap.target.accepted()
        );
        let grown = after
            .hub
            .resident_kib
            .saturating_sub(before.hub.resident_kib);
        ensure!(
            grown < 16 * 1024,
            "the hub grew by {grown} KiB: {before:?} {after:?}"
        );
        let grown = after
            .agent
            .resident_kib
            .saturating_sub(before.agent.resident_kib);
        ensure!(
            grown < 16 * 1024,
            "the agent grew by {grown} KiB: {before:?} {after:?}"
        );
        Ok(())
    })
}

/// Sessions that end in every way there is.
fn burst(cheap: &Cheap, sessions: usize) -> Result<()> {
    let (endpoint, token) = (cheap.endpoint(), cheap.hub.token("alice")?);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE)
            .map(|worker| {
                scope.spawn(move || -> Result<()> {
                    for number in 0..sessions.div_ceil(AT_ONCE) {
                        let mut client = Client::connect(endpoint, token)?;
                        client.opened(SERVER)?;
                        client.read(BANNER.len())?;
                        client.write(b"some bytes")?;
                        client.read(10)?;
                        match (worker + number) % 4 {
                            0 => {
                                client.finish()?;
                                client.read(1)?;
                            }
                            1 => client.send(&kedge_proto::Frame::Reset {
                                stream: client.stream,
                                code: kedge_proto::ResetCode::Cancelled,
                                text: String::new(),
                            })?,
                            2 => client.write(b"bytes under way when the link is lost")?,
                            _ => {}
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| {
            worker
                .join()
                .map_err(|_| anyhow::anyhow!("a session panicked"))?
        })
    })
}

fn settled(cheap: &Cheap) -> Result<()> {
    cheap
        .hub
        .metric("kedge_hub_sessions", defaults::SOON, |live| live == 0.0)?;
    wait::until_true("the agent to end its connections", defaults::SOON, || {
        Ok(cheap.target.open() == 0)
    })
}

#[test]
fn a_hundred_agents_that_come_and_go_leave_nothing() -> Result<()> {
    case(|t| {
        let mut cheap = Cheap::start(t, Manner::Echo)?;
        let other = FakeAgent::enrolled(cheap.endpoint(), "other", &cheap.admin.join_token(&[])?)?;
        for _ in 0..5 {
            drop(other.connected()?);
        }
        cheap
            .hub
            .metric("kedge_hub_tunnels", defaults::SOON, |tunnels| {
                tunnels == 1.0
            })?;
        let before = count(&mut cheap)?;
        for _ in 0..100 {
            drop(other.connected()?);
        }
        cheap
            .hub
            .metric("kedge_hub_tunnels", defaults::SOON, |tunnels| {
                tunnels == 1.0
            })?;
        let mut after = count(&mut cheap)?;
        let same = wait::until_true("everything to be let go of", defaults::SOON, || {
            after = count(&mut cheap)?;
            Ok(after.hub.descriptors <= before.hub.descriptors && after.tasks <= before.tasks)
        });
        same.with_context(|| format!("before {before:?}\nafter {after:?}"))
    })
}
