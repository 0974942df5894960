//! A hub whose connections are on several threads: it carries the same, and ends as whole as on one.

use std::{num::NonZeroUsize, sync::Arc};

use kedge_api::ServerPhase;
use kedge_hub::defaults;
use kedge_service::{Shard, ShardThreads, Shards, Shutdown, StopReport};
use kedge_tunnel::{CloseReason, TunnelStream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::harness::{Agent, Hub, Peer, SOON, Serving, eventually};

const THREADS: usize = 3;
const AGENTS: usize = 2 * THREADS;

struct Site {
    hub: Hub,
    threads: ShardThreads,
    agents: Vec<(Agent, Serving)>,
}

/// A hub with so many agents, as many at each thread.
async fn site(extra: &str) -> Site {
    let shutdown = Shutdown::new();
    let count = NonZeroUsize::new(THREADS).unwrap();
    let (shards, threads) = Shards::start(count, shutdown.tasks(), defaults::CUT).unwrap();
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let hub = Hub::over(shards, shutdown, directory, extra).await;
    hub.let_alice_in().await;
    let mut agents = Vec::new();
    for number in 0..AGENTS {
        let agent = hub.agent(&format!("web{number:02}")).await;
        settled(&hub, number).await;
        let serving = agent.serve(&hub).await;
        hub.phase(agent.name.as_str(), ServerPhase::Online).await;
        agents.push((agent, serving));
    }
    settled(&hub, AGENTS).await;
    Site {
        hub,
        threads,
        agents,
    }
}

/// Waits until there are so many connections and no more: requests that were answered are gone.
async fn settled(hub: &Hub, connections: usize) {
    eventually("requests to be over", async || {
        let seats: usize = hub.app.shards.all().iter().map(Shard::seats).sum();
        (seats == connections).then_some(())
    })
    .await;
}

fn seats(hub: &Hub) -> Vec<usize> {
    hub.app.shards.all().iter().map(Shard::seats).collect()
}

async fn opened(person: &Peer, server: &Agent) -> TunnelStream {
    let mut stream = person.open(server.name.as_str(), None);
    timeout(SOON, stream.opened()).await.unwrap().unwrap();
    stream
}

#[tokio::test]
async fn agents_are_spread_and_whoever_reaches_one_goes_to_its_thread() {
    let Site {
        hub,
        threads,
        agents,
    } = site("").await;
    assert_eq!(seats(&hub), [AGENTS / THREADS; THREADS]);
    let mut people = Vec::new();
    for (agent, _) in &agents[..2] {
        let to = hub.app.tunnels.link(&agent.name).unwrap().shard;
        let before = to.seats();
        for nth in 1..=4 {
            let person = hub.connect("alice").await;
            let stream = opened(&person, agent).await;
            eventually("the person to be where the agent is", async || {
                (to.seats() == before + nth).then_some(())
            })
            .await;
            people.push((person, stream));
        }
    }
    // Each where its agent is, and one that is there stays there whatever else it opens.
    let settled = seats(&hub);
    assert_eq!(settled.iter().sum::<usize>(), AGENTS + people.len());
    for (person, first) in &mut people {
        for (agent, _) in &agents {
            let mut stream = opened(person, agent).await;
            let sent = vec![7; 200_000];
            let (mut from, mut to) = tokio::io::split(&mut stream);
            let write = async {
                to.write_all(&sent).await.unwrap();
                to.shutdown().await.unwrap();
            };
            let mut received = Vec::new();
            let (read, ()) = tokio::join!(from.read_to_end(&mut received), write);
            read.unwrap();
            assert!(received == sent);
        }
        first.write_all(b"still here").await.unwrap();
        let mut echo = [0; 10];
        first.read_exact(&mut echo).await.unwrap();
        assert_eq!(&echo, b"still here");
    }
    assert_eq!(seats(&hub), settled);
    let app = hub.app.clone();
    drop((people, agents));
    let (report, _) = timeout(SOON, hub.stop()).await.unwrap();
    assert_eq!(report.left_tasks, 0);
    threads.end();
    assert!(app.shards.all().iter().all(|shard| shard.seats() == 0));
}

#[tokio::test]
async fn what_is_on_other_threads_is_told_cut_and_counted() {
    let Site {
        hub,
        threads,
        agents,
    } = site("shutdown = { drain-seconds = 0 }").await;
    let mut people = Vec::new();
    for (agent, _) in &agents {
        let person = hub.connect("alice").await;
        let stream = opened(&person, agent).await;
        people.push((person, stream));
    }
    let app = hub.app.clone();
    hub.shutdown.begin();
    for (_, serving) in &agents {
        timeout(SOON, serving.peer.link.received_goaway())
            .await
            .unwrap();
    }
    for (person, stream) in &mut people {
        timeout(SOON, person.link.received_goaway()).await.unwrap();
        timeout(SOON, stream.read_u8()).await.unwrap().unwrap_err();
    }
    let report = timeout(SOON, hub.ended()).await.unwrap();
    let expected = StopReport {
        cut_sessions: AGENTS,
        left_tasks: 0,
    };
    assert_eq!(report, expected);
    for (agent, _) in &agents {
        let name = agent.name.as_str();
        let server = app.store.get::<kedge_api::Server>(name).await.unwrap();
        assert_eq!(server.status.phase, ServerPhase::Offline, "{name}");
    }
    threads.end();
}

#[tokio::test]
async fn a_panic_on_one_thread_ends_the_hub_in_order() {
    let Site {
        hub,
        threads,
        agents,
    } = site("shutdown = { drain-seconds = 0 }").await;
    let tasks = hub.shutdown.tasks().clone();
    let shard = hub.app.shards.seat().shard();
    shard.spawn(&tasks, "doomed", async { panic!("on purpose") });
    let report = timeout(SOON, hub.ended()).await.unwrap();
    assert_eq!(report.left_tasks, 0);
    assert!(tasks.has_panicked());
    for (_, serving) in agents {
        serving.peer.end().await;
    }
    threads.end();
}

/// How a person leaves who has asked for two sessions at once.
#[derive(Clone, Copy, Debug)]
enum Leaving {
    Asking,
    Closing,
    Using,
}

/// Asks for sessions at two agents at the same moment, and leaves.
async fn visit(hub: &Hub, [one, other]: [&str; 2], leaving: Leaving) {
    let person = hub.connect("alice").await;
    let mut streams = [person.open(one, None), person.open(other, None)];
    match leaving {
        Leaving::Asking => return person.break_off(),
        Leaving::Closing => {
            timeout(SOON, streams[0].opened()).await.unwrap().ok();
            person.link.close(CloseReason::Finished);
        }
        Leaving::Using => {
            for stream in &mut streams {
                // An agent that dials again takes its sessions with it; everything else is carried.
                if timeout(SOON, stream.opened()).await.unwrap().is_err() {
                    continue;
                }
                let mut echo = [0; 5];
                let said = async {
                    stream.write_all(b"moved").await?;
                    stream.read_exact(&mut echo).await
                };
                if timeout(SOON, said).await.unwrap().is_ok() {
                    assert_eq!(&echo, b"moved");
                }
            }
            person.link.close(CloseReason::Finished);
        }
    }
    person.end().await;
}

#[tokio::test]
async fn whatever_happens_while_people_move_nothing_is_left_behind() {
    let Site {
        hub,
        threads,
        mut agents,
    } = site("shutdown = { drain-seconds = 0 }").await;
    let names: Vec<_> = agents
        .iter()
        .map(|(agent, _)| agent.name.as_str().to_owned())
        .collect();
    let leavings = [Leaving::Using, Leaving::Closing, Leaving::Asking];
    for round in 0..6 {
        let visits = (0..12).map(|nth| {
            let pair = [nth % AGENTS, (nth + 1 + round) % AGENTS].map(|at| names[at].as_str());
            visit(&hub, pair, leavings[(nth + round) % leavings.len()])
        });
        // One of the agents dials again meanwhile, and may come to another thread.
        let (agent, serving) = &mut agents[round];
        let again = async { *serving = agent.serve(&hub).await };
        tokio::join!(futures_util::future::join_all(visits), again);
    }
    // And those who are on their way when the hub ends.
    let mut people = Vec::new();
    for name in &names {
        let person = hub.connect("alice").await;
        let stream = person.open(name, None);
        people.push((person, stream));
    }
    let app = hub.app.clone();
    let tasks = hub.shutdown.tasks().clone();
    let (report, _) = timeout(SOON, hub.stop()).await.unwrap();
    assert_eq!(report.left_tasks, 0);
    assert!(!tasks.has_panicked());
    drop((people, agents));
    threads.end();
    assert_eq!((app.sessions.count(), app.tunnels.len()), (0, 0));
    assert!(app.shards.all().iter().all(|shard| shard.seats() == 0));
}
