//! A relay carries streams between two links without a task of its own, tells each side what happened to the other, and
//! ends when either link does.

#![cfg(test)]

mod common;

use std::time::Duration;

use common::{Pair, pair, pattern, request};
use kedge_tunnel::{
    AttributeId, Attributes, CloseReason, Incoming, Link, LinkConfig, LinkEnd, RefuseCode, Relay,
    RelayBytes, RelayEnd, RelayHow, RelayParty, ResetCode, StreamError, TunnelStream,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// client ── hub_client ▒ hub_agent ── agent
struct Path {
    client: Link,
    hub_client: Link,
    hub_agent: Link,
    agent: Link,
    client_drivers: JoinSet<LinkEnd>,
    agent_drivers: JoinSet<LinkEnd>,
}

impl Path {
    async fn new(config: LinkConfig) -> Self {
        let Pair {
            client,
            server: hub_client,
            drivers: client_drivers,
        } = pair(config.clone()).await;
        let Pair {
            client: agent,
            server: hub_agent,
            drivers: agent_drivers,
        } = pair(config).await;
        Self {
            client,
            hub_client,
            hub_agent,
            agent,
            client_drivers,
            agent_drivers,
        }
    }

    async fn relay_next(&self) -> Relay {
        let incoming = self.hub_client.accept().await.unwrap();
        let open = incoming.request().clone();
        let request = kedge_tunnel::OpenRequest {
            target: open.target,
            key: open.key,
            resume: open.resume,
            attributes: Attributes::new().with(AttributeId::SESSION, "s-1").unwrap(),
        };
        incoming.relay(&self.hub_agent, request)
    }

    /// A client's stream, the relay, and what the agent is asked.
    async fn ask(&self) -> (TunnelStream, Relay, Incoming) {
        let stream = self.client.open(request()).unwrap();
        let relay = self.relay_next().await;
        let incoming = self.agent.accept().await.unwrap();
        (stream, relay, incoming)
    }

    async fn connect(&self) -> (TunnelStream, Relay, TunnelStream) {
        let (mut stream, relay, incoming) = self.ask().await;
        let other = incoming.accept(
            Attributes::new()
                .with(AttributeId::TEXT, "welcome")
                .unwrap(),
        );
        let attributes = stream.opened().await.unwrap();
        assert_eq!(attributes.text(AttributeId::TEXT), Some("welcome"));
        relay.opened().await.unwrap();
        (stream, relay, other)
    }

    async fn settled(&self) {
        for _ in 0..2000 {
            let all = [&self.client, &self.hub_client, &self.hub_agent, &self.agent];
            let busy = all.into_iter().map(Link::stats).find(|stats| {
                (stats.streams, stats.handles, stats.relays, stats.queued) != (0, 0, 0, 0)
                    || stats.buffered != 0
            });
            match busy {
                None => return,
                Some(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
        panic!(
            "something is left: {:?} {:?}",
            self.hub_client.stats(),
            self.hub_agent.stats()
        );
    }
}

async fn send(stream: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
}

async fn receive(stream: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    bytes
}

#[tokio::test(start_paused = true)]
async fn both_directions_arrive_whole_and_end_each_for_itself() {
    let path = Path::new(LinkConfig::default()).await;
    let (mut client, relay, mut agent) = path.connect().await;
    let (up, down) = (pattern(1, 6_000_000), pattern(2, 3_000_000));
    let got = tokio::join!(send(&mut client, &up), receive(&mut agent)).1;
    assert!(got == up);
    // The client has ended what it says, and still listens.
    let got = tokio::join!(send(&mut agent, &down), receive(&mut client)).1;
    assert!(got == down);
    client.delivered().await.unwrap();
    agent.delivered().await.unwrap();
    let bytes = RelayBytes {
        up: up.len() as u64,
        down: down.len() as u64,
    };
    assert_eq!(
        relay.ended().await,
        RelayEnd {
            bytes,
            how: RelayHow::Finished
        }
    );
    drop((client, agent, relay));
    path.settled().await;
}

#[tokio::test(start_paused = true)]
async fn it_is_not_finished_before_both_directions_are() {
    let path = Path::new(LinkConfig::default()).await;
    let (mut client, relay, mut agent) = path.connect().await;
    let got = tokio::join!(send(&mut client, b"up"), receive(&mut agent)).1;
    assert_eq!(got, b"up");
    client.delivered().await.unwrap();
    assert!(
        timeout(Duration::from_secs(60), relay.ended())
            .await
            .is_err()
    );
    agent.write_all(b"down").await.unwrap();
    agent.shutdown().await.unwrap();
    assert!(
        timeout(Duration::from_secs(60), relay.ended())
            .await
            .is_err(),
        "nobody has read it"
    );
    assert_eq!(receive(&mut client).await, b"down");
    assert_eq!(relay.ended().await.how, RelayHow::Finished);
}

#[tokio::test(start_paused = true)]
async fn data_follows_the_open_without_waiting() {
    let path = Path::new(LinkConfig::default()).await;
    let mut client = path.client.open(request()).unwrap();
    client.write_all(b"SSH-2.0-early\r\n").await.unwrap();
    let _relay = path.relay_next().await;
    let mut agent = path.agent.accept().await.unwrap().accept(Attributes::new());
    let mut got = [0; 15];
    agent.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"SSH-2.0-early\r\n");
}

#[tokio::test(start_paused = true)]
async fn refusals_and_resets_reach_the_other_end_with_their_words() {
    let path = Path::new(LinkConfig::default()).await;
    {
        let (mut client, relay, incoming) = path.ask().await;
        incoming.refuse(RefuseCode::TargetUnreachable, "port 22: connection refused");
        let (code, text) = (
            RefuseCode::TargetUnreachable,
            "port 22: connection refused".to_owned(),
        );
        let refused = StreamError::Refused {
            code,
            text: text.clone(),
        };
        assert_eq!(client.opened().await, Err(refused.clone()));
        assert_eq!(relay.opened().await, Err(refused));
        assert_eq!(relay.ended().await.how, RelayHow::Refused { code, text });
    }
    {
        let (mut client, relay, agent) = path.connect().await;
        agent.reset(ResetCode::TargetReset, "sshd has gone");
        let (code, text) = (ResetCode::TargetReset, "sshd has gone".to_owned());
        let error = client.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        let source = error
            .get_ref()
            .unwrap()
            .downcast_ref::<StreamError>()
            .unwrap();
        assert_eq!(
            *source,
            StreamError::Reset {
                code,
                text: text.clone()
            }
        );
        let by = RelayParty::Acceptor;
        assert_eq!(relay.ended().await.how, RelayHow::Reset { by, code, text });
    }
    {
        let (client, relay, mut agent) = path.connect().await;
        drop(client);
        assert_eq!(
            agent.read_u8().await.unwrap_err().kind(),
            std::io::ErrorKind::ConnectionReset
        );
        let how = relay.ended().await.how;
        assert!(matches!(
            how,
            RelayHow::Reset {
                by: RelayParty::Opener,
                code: ResetCode::Cancelled,
                ..
            }
        ));
    }
    {
        let (mut client, relay, mut agent) = path.connect().await;
        relay.reset(ResetCode::Revoked, "no longer allowed");
        assert!(
            client
                .read_u8()
                .await
                .unwrap_err()
                .to_string()
                .contains("no longer allowed")
        );
        assert!(
            agent
                .read_u8()
                .await
                .unwrap_err()
                .to_string()
                .contains("no longer allowed")
        );
        assert!(matches!(
            relay.ended().await.how,
            RelayHow::Reset {
                by: RelayParty::Relay,
                code: ResetCode::Revoked,
                ..
            }
        ));
    }
    {
        let (mut client, relay, mut agent) = path.connect().await;
        drop(relay);
        assert!(client.read_u8().await.is_err());
        assert!(agent.read_u8().await.is_err());
        drop((client, agent));
    }
    path.settled().await;
}

#[tokio::test(start_paused = true)]
async fn when_a_link_dies_the_other_end_hears_of_it_and_the_other_link_lives() {
    for opener_dies in [true, false] {
        let mut path = Path::new(LinkConfig::default()).await;
        let (mut client, relay, mut agent) = path.connect().await;
        let (mut asking, asked, incoming) = path.ask().await;
        match opener_dies {
            true => path.client_drivers.shutdown().await,
            false => path.agent_drivers.shutdown().await,
        }
        let (survivor, lost, how) = match opener_dies {
            true => (&mut agent, &mut client, RelayHow::OpenerLost),
            false => (&mut client, &mut agent, RelayHow::AcceptorLost),
        };
        let error = survivor.read_u8().await.unwrap_err();
        let source = error
            .get_ref()
            .unwrap()
            .downcast_ref::<StreamError>()
            .unwrap();
        assert!(matches!(
            source,
            StreamError::Reset {
                code: ResetCode::LinkLost,
                ..
            }
        ));
        let error = lost.read_u8().await.unwrap_err();
        let source = error
            .get_ref()
            .unwrap()
            .downcast_ref::<StreamError>()
            .unwrap();
        assert!(
            matches!(source, StreamError::Link(LinkEnd::Io(_))),
            "{source:?}"
        );
        assert_eq!(relay.ended().await.how, how);
        assert_eq!(asked.ended().await.how, how);
        assert!(asked.opened().await.is_err());
        assert!(asking.opened().await.is_err());
        drop((client, agent, asking, incoming));
        path.settled().await;

        // What comes for the dead link is refused.
        if !opener_dies {
            let mut stream = path.client.open(request()).unwrap();
            let relay = path.relay_next().await;
            assert!(matches!(
                stream.opened().await,
                Err(StreamError::Refused {
                    code: RefuseCode::Offline,
                    ..
                })
            ));
            assert_eq!(relay.ended().await.how, RelayHow::AcceptorLost);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_running_stream_beside_thirty_two_that_stall() {
    let config = LinkConfig {
        budget: 8 << 20,
        ..LinkConfig::default()
    };
    let path = Path::new(config).await;
    let mut stalled = Vec::new();
    for _ in 0..32 {
        let (client, relay, agent) = path.connect().await;
        let (client_recv, mut client_send) = client.split();
        let (agent_recv, mut agent_send) = agent.split();
        let mut writers = JoinSet::new();
        writers.spawn(async move { client_send.write_all(&vec![1; 8 << 20]).await });
        writers.spawn(async move { agent_send.write_all(&vec![2; 8 << 20]).await });
        stalled.push((client_recv, agent_recv, relay, writers));
    }
    let (mut client, relay, mut agent) = path.connect().await;
    let up = pattern(3, 20_000_000);
    let got = timeout(Duration::from_secs(60), async {
        tokio::join!(send(&mut client, &up), receive(&mut agent)).1
    });
    assert!(got.await.unwrap() == up);
    agent.shutdown().await.unwrap();
    assert_eq!(receive(&mut client).await, b"");
    assert_eq!(relay.ended().await.how, RelayHow::Finished);
    // The hub holds nothing for readers that stall: their ends do, within their windows.
    for hub in [&path.hub_client, &path.hub_agent] {
        assert_eq!(hub.stats().buffered, 0, "{:?}", hub.stats());
    }
    let bound = (8 << 20) + 33 * 64 * 1024;
    for end in [&path.client, &path.agent] {
        assert!(end.stats().buffered <= 2 * bound, "{:?}", end.stats());
    }
    drop((client, agent, relay, stalled));
    path.settled().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_after_a_thousand_streams() {
    let path = Path::new(LinkConfig::default()).await;
    for number in 0..1000_u64 {
        let (mut client, relay, mut agent) = path.connect().await;
        match number % 5 {
            0 => {
                let bytes = pattern(number, 1000);
                tokio::join!(send(&mut client, &bytes), send(&mut agent, &bytes));
                assert_eq!(receive(&mut client).await, bytes);
                assert_eq!(receive(&mut agent).await, bytes);
                assert_eq!(relay.ended().await.how, RelayHow::Finished);
            }
            1 => client.reset(ResetCode::Cancelled, "enough"),
            2 => agent.write_all(&[0; 100_000]).await.unwrap(),
            3 => relay.reset(ResetCode::MaxAge, "too old"),
            _ => {
                send(&mut client, b"half").await;
                assert_eq!(receive(&mut agent).await, b"half");
            }
        }
        if number % 2 == 0 {
            drop(relay);
            drop(client);
        } else {
            drop(agent);
        }
    }
    path.settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_on_several_threads() {
    let path = Path::new(LinkConfig::default()).await;
    let mut streams = JoinSet::new();
    for seed in 0..50_u64 {
        let (client, relay, agent) = path.connect().await;
        streams.spawn(async move {
            let (up, down) = (pattern(seed, 500_000), pattern(seed + 1000, 400_000));
            let (mut client_recv, mut client_send) = client.split();
            let (mut agent_recv, mut agent_send) = agent.split();
            let (_, _, got_up, got_down) = tokio::join!(
                send(&mut client_send, &up),
                send(&mut agent_send, &down),
                receive(&mut agent_recv),
                receive(&mut client_recv),
            );
            assert!(got_up == up && got_down == down);
            assert_eq!(relay.ended().await.how, RelayHow::Finished);
        });
    }
    while let Some(done) = streams.join_next().await {
        done.unwrap();
    }
    path.settled().await;
}

#[tokio::test(start_paused = true)]
async fn both_ends_closing_at_once_is_orderly() {
    let path = Path::new(LinkConfig::default()).await;
    let (_client, relay, _agent) = path.connect().await;
    path.hub_client.close(CloseReason::ShuttingDown);
    path.hub_agent.close(CloseReason::Replaced);
    assert_eq!(path.hub_client.closed().await, LinkEnd::Closed);
    assert_eq!(path.hub_agent.closed().await, LinkEnd::Replaced);
    assert_eq!(path.client.closed().await, LinkEnd::PeerClosed);
    assert_eq!(path.agent.closed().await, LinkEnd::Replaced);
    assert!(matches!(
        relay.ended().await.how,
        RelayHow::OpenerLost | RelayHow::AcceptorLost
    ));
}
