//! A splice joins a stream with a local connection so that neither side can tell: bytes, half-closes, failures.

#![cfg(test)]

mod common;

use std::time::Duration;

use common::{Pair, pair, pattern, request, websocket};
use kedge_tunnel::{
    Attributes, Link, LinkConfig, ResetCode, Side, SpliceEnd, Spliced, StreamError, TunnelStream,
    splice,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::protocol::Role;

/// A stream, and a splice of its other end with a local connection.
struct Spliced1 {
    stream: TunnelStream,
    local: DuplexStream,
    splices: JoinSet<Spliced>,
    _pair: Pair,
}

async fn spliced() -> Spliced1 {
    let pair = pair(LinkConfig::default()).await;
    let stream = pair.client.open(request()).unwrap();
    let far = pair
        .server
        .accept()
        .await
        .unwrap()
        .accept(Attributes::new());
    let (near, local) = tokio::io::duplex(4096);
    let mut splices = JoinSet::new();
    splices.spawn(splice(far, near, ResetCode::TargetReset));
    Spliced1 {
        stream,
        local,
        splices,
        _pair: pair,
    }
}

fn assert_gone(link: &Link) {
    let stats = link.stats();
    assert_eq!((stats.handles, stats.buffered), (0, 0), "{stats:?}");
}

#[tokio::test(start_paused = true)]
async fn each_half_close_passes_alone() {
    let Spliced1 {
        mut stream,
        mut local,
        mut splices,
        _pair,
    } = spliced().await;
    stream.write_all(b"question").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut got = Vec::new();
    local.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"question");
    // The other direction is open still, for as long as it takes.
    tokio::time::sleep(Duration::from_secs(3600)).await;
    local.write_all(b"answer").await.unwrap();
    local.shutdown().await.unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"answer");
    let done = splices.join_next().await.unwrap().unwrap();
    assert!(
        matches!(
            done,
            Spliced {
                sent: 6,
                received: 8,
                end: SpliceEnd::Finished
            }
        ),
        "{done:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn it_has_not_finished_before_the_peer_has_taken_everything() {
    let Spliced1 {
        mut stream,
        mut local,
        mut splices,
        _pair,
    } = spliced().await;
    stream.shutdown().await.unwrap();
    local.write_all(b"last words").await.unwrap();
    local.shutdown().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(splices.try_join_next().is_none());
    let mut got = Vec::new();
    stream.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"last words");
    let done = splices.join_next().await.unwrap().unwrap();
    assert!(matches!(done.end, SpliceEnd::Finished));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_takes_the_last_bytes_does_not_hold_it_for_ever() {
    let Spliced1 {
        mut stream,
        mut local,
        mut splices,
        _pair,
    } = spliced().await;
    stream.shutdown().await.unwrap();
    local.write_all(b"last words").await.unwrap();
    local.shutdown().await.unwrap();
    let done = splices.join_next().await.unwrap().unwrap();
    let expired = |error: &StreamError| {
        matches!(
            error,
            StreamError::Reset {
                code: ResetCode::Expired,
                ..
            }
        )
    };
    assert!(
        matches!(&done.end, SpliceEnd::Stream(error) if expired(error)),
        "{done:?}"
    );
}

#[tokio::test]
async fn a_local_side_that_breaks_resets_the_stream() {
    let pair = pair(LinkConfig::default()).await;
    let mut stream = pair.client.open(request()).unwrap();
    let far = pair
        .server
        .accept()
        .await
        .unwrap()
        .accept(Attributes::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (server, _) = listener.accept().await.unwrap();
    let mut splices = JoinSet::new();
    splices.spawn(splice(far, target, ResetCode::TargetReset));
    // RST instead of FIN.
    server.set_zero_linger().unwrap();
    drop(server);
    let error = stream.read_u8().await.unwrap_err();
    let source = error
        .get_ref()
        .unwrap()
        .downcast_ref::<StreamError>()
        .unwrap();
    assert!(
        matches!(
            source,
            StreamError::Reset {
                code: ResetCode::TargetReset,
                ..
            }
        ),
        "{source:?}"
    );
    let done = splices.join_next().await.unwrap().unwrap();
    assert!(matches!(done.end, SpliceEnd::Io(_)), "{done:?}");
    assert_gone(&pair.server);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_closes_the_local_side() {
    let Spliced1 {
        stream,
        mut local,
        mut splices,
        _pair,
    } = spliced().await;
    local.write_all(b"unread").await.unwrap();
    stream.reset(ResetCode::Revoked, "no longer allowed");
    let mut got = Vec::new();
    local.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"");
    let done = splices.join_next().await.unwrap().unwrap();
    let revoked = |error: &StreamError| {
        matches!(
            error,
            StreamError::Reset {
                code: ResetCode::Revoked,
                ..
            }
        )
    };
    assert!(
        matches!(&done.end, SpliceEnd::Stream(error) if revoked(error)),
        "{done:?}"
    );
    assert_gone(&_pair.server);
}

#[tokio::test(start_paused = true)]
async fn dropping_it_resets_the_stream() {
    let Spliced1 {
        mut stream,
        mut splices,
        _pair,
        ..
    } = spliced().await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    splices.shutdown().await;
    let error = stream.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_gone(&_pair.server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn megabytes_pass_both_ways_at_once() {
    let Spliced1 {
        stream,
        local,
        mut splices,
        _pair,
    } = spliced().await;
    let (up, down) = (pattern(1, 8_000_000), pattern(2, 8_000_000));
    let (mut recv, mut send) = stream.split();
    let (mut local_recv, mut local_send) = tokio::io::split(local);
    let mut got_up = Vec::new();
    let mut got_down = Vec::new();
    let (sent_up, sent_down, read_up, read_down) = tokio::join!(
        async { send.write_all(&up).await.and(send.shutdown().await) },
        async {
            local_send
                .write_all(&down)
                .await
                .and(local_send.shutdown().await)
        },
        local_recv.read_to_end(&mut got_up),
        recv.read_to_end(&mut got_down),
    );
    sent_up.and(sent_down).and(read_up).and(read_down).unwrap();
    assert!(got_up == up && got_down == down);
    let done = splices.join_next().await.unwrap().unwrap();
    assert!(matches!(
        done,
        Spliced {
            sent: 8_000_000,
            received: 8_000_000,
            end: SpliceEnd::Finished
        }
    ));
}

#[tokio::test]
async fn who_waits_to_read_does_not_keep_room_that_others_have_used() {
    const FIRST: usize = 60_000;
    const STREAMS: usize = 8;
    let budget = 128 * 1024;
    // The peer grants more than this end may hold.
    let (near, far) = tokio::io::duplex(64 * 1024);
    let near = websocket(near, Role::Client).await;
    let far = websocket(far, Role::Server).await;
    let (client, client_driver) = Link::new(near, Side::Client, LinkConfig::default());
    let config = LinkConfig {
        budget,
        ..LinkConfig::default()
    };
    let (server, server_driver) = Link::new(far, Side::Server, config);
    let mut drivers = JoinSet::new();
    drivers.spawn(client_driver.run());
    drivers.spawn(server_driver.run());
    let mut splices = JoinSet::new();
    let mut ends = Vec::new();
    for _ in 0..STREAMS {
        let stream = client.open(request()).unwrap();
        let arrived = server.accept().await.unwrap();
        let far = arrived.accept(Attributes::new());
        let (near, local) = tokio::io::duplex(1 << 20);
        splices.spawn(splice(far, near, ResetCode::TargetReset));
        ends.push((stream, local));
    }
    for round in [pattern(1, FIRST), pattern(2, 65_000)] {
        for (_, local) in &mut ends {
            local.write_all(&round).await.unwrap();
        }
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
    }
    // Nobody has read anything yet.
    let held = server.stats().buffered;
    let bound = budget + (STREAMS * 64 * 1024) as u64;
    assert!(held <= bound, "{held} of {bound}");
    assert!(held >= (STREAMS * FIRST) as u64, "{held}");
    for (mut stream, mut local) in ends {
        local.shutdown().await.unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await.unwrap();
        assert!(got == [pattern(1, FIRST), pattern(2, 65_000)].concat());
    }
}
