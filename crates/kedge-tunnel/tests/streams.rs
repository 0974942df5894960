//! Streams carry the same bytes both ways, end when they are ended, and leave nothing behind.

#![cfg(test)]

mod common;

use std::time::Duration;

use common::{Pair, pair, pattern, request};
use futures_util::{SinkExt, StreamExt};
use kedge_tunnel::{
    AttributeId, Attributes, CloseReason, Link, LinkConfig, LinkEnd, RefuseCode, ResetCode,
    StreamError, TunnelStream,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

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

/// Two ends of a stream that is granted.
async fn connect(pair: &Pair) -> (TunnelStream, TunnelStream) {
    let mut near = pair.client.open(request()).unwrap();
    let far = pair
        .server
        .accept()
        .await
        .unwrap()
        .accept(Attributes::new());
    near.opened().await.unwrap();
    (near, far)
}

fn reason(error: &std::io::Error) -> StreamError {
    error
        .get_ref()
        .unwrap()
        .downcast_ref::<StreamError>()
        .unwrap()
        .clone()
}

#[tokio::test(start_paused = true)]
async fn an_end_that_nobody_asked_for_does_not_look_like_one() {
    let pair = pair(LinkConfig::default()).await;

    let (near, mut far) = connect(&pair).await;
    let (recv, mut send) = near.split();
    send.write_all(b"cut sh").await.unwrap();
    drop(send);
    let mut got = Vec::new();
    let error = far.read_to_end(&mut got).await.unwrap_err();
    assert!(matches!(
        reason(&error),
        StreamError::Reset {
            code: ResetCode::Cancelled,
            ..
        }
    ));
    drop(recv);

    let (near, mut far) = connect(&pair).await;
    let (recv, send) = near.split();
    drop(recv);
    let error = far.write_all(&vec![0; 8 << 20]).await.unwrap_err();
    assert!(matches!(
        reason(&error),
        StreamError::Reset {
            code: ResetCode::Cancelled,
            ..
        }
    ));
    drop(send);
}

#[tokio::test(start_paused = true)]
async fn what_was_finished_is_delivered_after_the_handle_is_gone() {
    let pair = pair(LinkConfig::default()).await;
    let (mut near, mut far) = connect(&pair).await;
    far.shutdown().await.unwrap();
    assert_eq!(near.read(&mut [0; 10]).await.unwrap(), 0);
    near.write_all(&pattern(9, 200_000)).await.unwrap();
    near.shutdown().await.unwrap();
    drop(near);
    let mut got = Vec::new();
    far.read_to_end(&mut got).await.unwrap();
    assert!(got == pattern(9, 200_000));
    drop(far);
    settled(&pair.client).await;
    settled(&pair.server).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_can_be_written_after_the_end() {
    let pair = pair(LinkConfig::default()).await;
    let (mut near, _far) = connect(&pair).await;
    near.shutdown().await.unwrap();
    near.shutdown().await.unwrap();
    let error = near.write_all(b"more").await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_comes_out_of_everything_with_its_code_and_words() {
    let pair = pair(LinkConfig::default()).await;
    let mut stream = pair.client.open(request()).unwrap();
    pair.server
        .accept()
        .await
        .unwrap()
        .refuse(RefuseCode::Denied, "no policy allows it");
    let refused = StreamError::Refused {
        code: RefuseCode::Denied,
        text: "no policy allows it".to_owned(),
    };
    assert_eq!(stream.opened().await, Err(refused.clone()));
    assert_eq!(reason(&stream.read_u8().await.unwrap_err()), refused);
    assert_eq!(reason(&stream.write_u8(1).await.unwrap_err()), refused);
    assert_eq!(stream.delivered().await, Err(refused));

    let mut stream = pair.client.open(request()).unwrap();
    drop(pair.server.accept().await.unwrap());
    let code = RefuseCode::Internal;
    assert!(
        matches!(stream.opened().await, Err(StreamError::Refused { code: c, .. }) if c == code)
    );
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stalls_stalls_its_writer_only() {
    let pair = pair(LinkConfig::default()).await;
    let (mut slow, mut slow_far) = connect(&pair).await;
    let (mut fast, mut fast_far) = connect(&pair).await;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        slow.write_all(&pattern(1, 20_000_000)).await.unwrap();
        slow.shutdown().await.unwrap();
        slow.delivered().await.unwrap();
    });
    let sent = pattern(2, 20_000_000);
    let mut got = Vec::new();
    let (written, read) = tokio::join!(
        async { fast.write_all(&sent).await.and(fast.shutdown().await) },
        fast_far.read_to_end(&mut got),
    );
    written.and(read).unwrap();
    assert!(got == sent);
    assert!(
        pair.server.stats().buffered <= 4 << 20,
        "one window: {:?}",
        pair.server.stats()
    );
    let mut got = Vec::new();
    slow_far.read_to_end(&mut got).await.unwrap();
    assert!(got == pattern(1, 20_000_000));
    tasks.join_next().await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn goaway_is_heard_and_the_link_goes_on() {
    let pair = pair(LinkConfig::default()).await;
    let (mut near, mut far) = connect(&pair).await;
    pair.server.goaway(Duration::from_secs(7));
    assert_eq!(pair.client.received_goaway().await, Duration::from_secs(7));
    assert_eq!(pair.client.received_goaway().await, Duration::from_secs(7));
    near.write_u8(42).await.unwrap();
    assert_eq!(far.read_u8().await.unwrap(), 42);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_link_reaches_everybody_who_waits() {
    for (close, ours, theirs) in [
        (CloseReason::Finished, LinkEnd::Closed, LinkEnd::PeerClosed),
        (
            CloseReason::ShuttingDown,
            LinkEnd::Closed,
            LinkEnd::PeerClosed,
        ),
        (CloseReason::Replaced, LinkEnd::Replaced, LinkEnd::Replaced),
        (CloseReason::Revoked, LinkEnd::Revoked, LinkEnd::Revoked),
    ] {
        let pair = pair(LinkConfig::default()).await;
        let (mut near, mut far) = connect(&pair).await;
        let mut unanswered = pair.client.open(request()).unwrap();
        pair.server.close(close);
        let (near, far, opened, accepted, near_end, far_end) = tokio::join!(
            near.read_u8(),
            far.read_u8(),
            unanswered.opened(),
            pair.client.accept(),
            pair.client.closed(),
            pair.server.closed(),
        );
        assert_eq!((&near_end, &far_end), (&theirs, &ours));
        assert_eq!(
            reason(&near.unwrap_err()),
            StreamError::Link(theirs.clone())
        );
        assert_eq!(reason(&far.unwrap_err()), StreamError::Link(ours));
        assert_eq!(opened, Err(StreamError::Link(theirs)));
        assert!(accepted.is_none());
        assert!(pair.client.open(request()).is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn streams_of_other_links_are_not_resumed_here() {
    let mut against = common::link_against(kedge_tunnel::Side::Server, LinkConfig::default()).await;
    let request = request();
    let resume = kedge_proto::Frame::Resume(kedge_proto::ResumeFrame {
        stream: kedge_tunnel::StreamId::new(0).unwrap(),
        key: request.key,
        offset: 0,
        consumed: 0,
        limit: 0,
        proof: kedge_tunnel::ResumeSecret::new([1; 32]),
        next: request.resume,
        target: request.target,
        attributes: Attributes::new(),
    });
    against
        .peer
        .send(Message::Binary(resume.encode()))
        .await
        .unwrap();
    loop {
        let Message::Binary(message) = against.peer.next().await.unwrap().unwrap() else {
            continue;
        };
        match kedge_proto::Frame::decode(message).unwrap() {
            kedge_proto::Frame::Ping(_) => {}
            frame => {
                let code = RefuseCode::ResumeRejected;
                assert!(matches!(frame, kedge_proto::Frame::Refused { code: c, .. } if c == code));
                return;
            }
        }
    }
}
