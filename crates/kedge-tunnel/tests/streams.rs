//! Streams carry the same bytes both ways, end when they are ended, and leave nothing behind.

mod common;

use std::time::Duration;

use common::{Pair, pair, pattern, request};
use kedge_tunnel::{
    AttributeId, Attributes, CloseReason, Link, LinkConfig, LinkEnd, OpenError, RefuseCode,
    ResetCode, StreamError,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

/// Accepts streams and sends back what comes, each end after the peer's.
async fn echo(link: Link) -> LinkEnd {
    let mut streams = JoinSet::new();
    while let Some(incoming) = link.accept().await {
        let stream = incoming.accept(Attributes::new().with(AttributeId::TEXT, "hello").unwrap());
        streams.spawn(async move {
            let (mut recv, mut send) = stream.split();
            if tokio::io::copy(&mut recv, &mut send).await.is_ok() {
                let _ = send.shutdown().await;
                let _ = send.delivered().await;
            }
        });
        while streams.try_join_next().is_some() {}
    }
    link.closed().await
}

async fn roundtrip(link: &Link, seed: u64, len: usize) {
    let sent = pattern(seed, len);
    let stream = link.open(request()).unwrap();
    let (mut recv, mut send) = stream.split();
    let write = async {
        send.write_all(&sent).await.unwrap();
        send.shutdown().await.unwrap();
    };
    let read = async {
        let mut got = Vec::new();
        recv.read_to_end(&mut got).await.unwrap();
        got
    };
    let ((), got) = tokio::join!(write, read);
    assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
    send.delivered().await.unwrap();
}

async fn settled(link: &Link) {
    for _ in 0..1000 {
        let stats = link.stats();
        if (stats.streams, stats.handles, stats.buffered, stats.queued) == (0, 0, 0, 0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("something is left: {:?}", link.stats());
}

#[tokio::test(start_paused = true)]
async fn bytes_come_back_as_they_were() {
    let Pair {
        client,
        server,
        mut drivers,
    } = pair(LinkConfig::default()).await;
    drivers.spawn(echo(server.clone()));
    for len in [0, 1, 1000, 64 * 1024, 64 * 1024 + 1, 5 * 1024 * 1024] {
        roundtrip(&client, len as u64, len).await;
    }
    settled(&client).await;
    settled(&server).await;
    client.close(CloseReason::Finished);
    assert_eq!(client.closed().await, LinkEnd::Closed);
    assert_eq!(server.closed().await, LinkEnd::PeerClosed);
    while let Some(end) = drivers.join_next().await {
        end.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_streams_at_once_on_two_threads() {
    let Pair {
        client,
        server,
        mut drivers,
    } = pair(LinkConfig::default()).await;
    drivers.spawn(echo(server.clone()));
    let mut streams = JoinSet::new();
    for seed in 0..100 {
        let client = client.clone();
        streams.spawn(async move { roundtrip(&client, seed, 300 * 1024).await });
    }
    while let Some(done) = streams.join_next().await {
        done.unwrap();
    }
    settled(&client).await;
    settled(&server).await;
}
