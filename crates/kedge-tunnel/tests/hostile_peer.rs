//! What a peer does wrong ends its link with the right close code, at once, and leaves nothing behind.

#![cfg(test)]

mod common;

use std::time::Duration;

use common::{Against, link_against, pair, request};
use futures_util::{SinkExt, StreamExt};
use kedge_proto::defaults::MAX_FRAME;
use kedge_proto::{Frame, OpenFrame};
use kedge_tunnel::{
    Attributes, LinkConfig, LinkEnd, LinkError, RefuseCode, ResetCode, Side, StreamError, StreamId,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame as WsFrame, FrameHeader};

fn id(value: u64) -> StreamId {
    StreamId::new(value).unwrap()
}

fn open(stream: u64) -> Frame {
    let request = request();
    Frame::Open(OpenFrame {
        stream: id(stream),
        key: request.key,
        resume: request.resume,
        limit: 1 << 20,
        target: request.target,
        attributes: request.attributes,
    })
}

impl Against {
    async fn say(&mut self, frame: &Frame) {
        self.peer
            .send(Message::Binary(frame.encode()))
            .await
            .unwrap();
    }

    /// The next frame of the link that is no PING.
    async fn hear(&mut self) -> Frame {
        loop {
            let message = timeout(Duration::from_secs(5), self.peer.next())
                .await
                .unwrap();
            if let Message::Binary(message) = message.unwrap().unwrap() {
                match Frame::decode(message).unwrap() {
                    Frame::Ping(_) => {}
                    frame => return frame,
                }
            }
        }
    }

    /// The code with which the link closes the WebSocket.
    async fn close_code(&mut self) -> u16 {
        loop {
            let message = timeout(Duration::from_secs(5), self.peer.next())
                .await
                .unwrap();
            if let Message::Close(frame) = message.unwrap().unwrap() {
                return frame.unwrap().code.into();
            }
        }
    }

    async fn end(mut self) -> LinkEnd {
        drop(self.peer);
        self.drivers.join_next().await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn a_text_message_is_1003() {
    let mut against = link_against(Side::Server, LinkConfig::default()).await;
    against.peer.send(Message::text("hello")).await.unwrap();
    assert_eq!(against.close_code().await, 1003);
    assert_eq!(against.end().await, LinkEnd::Protocol(LinkError::Text));
}

#[tokio::test]
async fn malformed_frames_and_frames_for_nobody_are_1002() {
    for message in [
        &b""[..],
        b"\x13\x00",
        b"\x14\x00\x00\x00",
        b"\x15\x01\x00",
        b"\x16\x04\x01",
    ] {
        let mut against = link_against(Side::Server, LinkConfig::default()).await;
        against.peer.send(Message::binary(message)).await.unwrap();
        assert_eq!(against.close_code().await, 1002, "{message:?}");
        assert!(matches!(against.end().await, LinkEnd::Protocol(_)));
    }
}

#[tokio::test]
async fn an_oversized_message_is_1009_before_it_has_arrived() {
    let mut against = link_against(Side::Server, LinkConfig::default()).await;
    against
        .peer
        .send(Message::binary(vec![0x3f; MAX_FRAME + 1]))
        .await
        .unwrap();
    assert_eq!(against.close_code().await, 1009);
    let limit = MAX_FRAME;
    assert_eq!(
        against.end().await,
        LinkEnd::Protocol(LinkError::Oversized { limit })
    );
}

#[tokio::test]
async fn a_message_in_fragments_cannot_be_oversized_either() {
    let mut against = link_against(Side::Server, LinkConfig::default()).await;
    let fragment = |code, last| WsFrame::message(vec![0x3f; 60_000], OpCode::Data(code), last);
    against
        .peer
        .send(Message::Frame(fragment(Data::Binary, false)))
        .await
        .unwrap();
    against
        .peer
        .send(Message::Frame(fragment(Data::Continue, false)))
        .await
        .unwrap();
    assert_eq!(against.close_code().await, 1009);
}

#[tokio::test]
async fn an_unmasked_client_message_is_1002() {
    let (ours, mut theirs) = tokio::io::duplex(4096);
    let ws = common::websocket(ours, tokio_tungstenite::tungstenite::protocol::Role::Server).await;
    let (link, driver) = kedge_tunnel::Link::new(ws, Side::Server, LinkConfig::default());
    let mut drivers = tokio::task::JoinSet::new();
    drivers.spawn(driver.run());
    let mut wire = Vec::new();
    let header = FrameHeader {
        opcode: OpCode::Data(Data::Binary),
        ..FrameHeader::default()
    };
    header.format(9, &mut wire).unwrap();
    wire.extend_from_slice(&Frame::Ping(7).encode());
    theirs.write_all(&wire).await.unwrap();
    assert!(matches!(
        link.closed().await,
        LinkEnd::Protocol(LinkError::WebSocket(_))
    ));
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(6), theirs.read_to_end(&mut answer)).await;
    // A close frame (0x88) with 1002 (0x03ea).
    assert!(
        answer
            .windows(4)
            .any(|w| w[0] == 0x88 && w[2..] == [0x03, 0xea]),
        "{answer:02x?}"
    );
}

#[tokio::test]
async fn a_violation_on_one_stream_leaves_the_others_alone() {
    let mut against = link_against(Side::Server, LinkConfig::default()).await;
    against.say(&open(0)).await;
    against.say(&open(2)).await;
    let mut bad = against
        .link
        .accept()
        .await
        .unwrap()
        .accept(Attributes::new());
    let mut good = against
        .link
        .accept()
        .await
        .unwrap()
        .accept(Attributes::new());
    assert!(matches!(against.hear().await, Frame::Opened { .. }));
    assert!(matches!(against.hear().await, Frame::Opened { .. }));
    against
        .say(&Frame::Data {
            stream: id(0),
            offset: 5,
            bytes: "gap".into(),
        })
        .await;
    against
        .say(&Frame::Data {
            stream: id(2),
            offset: 0,
            bytes: "fine".into(),
        })
        .await;
    let error = bad.read_u8().await.unwrap_err();
    let source = error
        .get_ref()
        .unwrap()
        .downcast_ref::<StreamError>()
        .unwrap();
    assert!(
        matches!(
            source,
            StreamError::Reset {
                code: ResetCode::Protocol,
                ..
            }
        ),
        "{source:?}"
    );
    let mut got = [0; 4];
    good.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"fine");
    assert!(matches!(
        against.hear().await,
        Frame::Reset {
            code: ResetCode::Protocol,
            ..
        }
    ));
}

/// What a message provokes must not wait for the next thing to happen on the link, which may be a PING 15 s later.
#[tokio::test]
async fn a_message_that_nobody_else_wakes_for_is_answered_at_once() {
    let mut against = link_against(Side::Server, LinkConfig::default()).await;
    let pong = Frame::Pong(7);
    against.say(&Frame::Ping(7)).await;
    assert_eq!(against.hear().await, pong);
    against.say(&open(0)).await;
    let stream = against.link.accept().await.unwrap();
    let _stream = stream.accept(Attributes::new());
    assert!(matches!(against.hear().await, Frame::Opened { .. }));
    against
        .say(&Frame::Data {
            stream: id(0),
            offset: 5,
            bytes: "gap".into(),
        })
        .await;
    assert!(matches!(against.hear().await, Frame::Reset { .. }));
}

#[tokio::test]
async fn a_stream_that_is_taken_back_before_it_is_accepted_is_an_error_not_a_hang() {
    let mut against = link_against(Side::Server, LinkConfig::default()).await;
    against.say(&open(0)).await;
    let incoming = against.link.accept().await.unwrap();
    against
        .say(&Frame::Reset {
            stream: id(0),
            code: ResetCode::Cancelled,
            text: "never mind".into(),
        })
        .await;
    against.say(&open(2)).await;
    let _next = against.link.accept().await.unwrap();
    let mut stream = incoming.accept(Attributes::new());
    let error = stream.read_u8().await.unwrap_err();
    assert!(error.to_string().contains("never mind"), "{error}");
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_on_both_sides() {
    let config = LinkConfig {
        max_streams: 2,
        ..LinkConfig::default()
    };
    let common::Pair {
        client,
        server,
        drivers: _drivers,
    } = pair(config).await;
    let mut streams: Vec<_> = (0..3).map(|_| client.open(request()).unwrap()).collect();
    let refused = StreamError::Refused {
        code: RefuseCode::TooManyStreams,
        text: "the link carries as many streams as it may".to_owned(),
    };
    assert_eq!(streams[2].opened().await, Err(refused));
    let _first = server.accept().await.unwrap();

    let config = LinkConfig {
        max_streams: 1,
        ..LinkConfig::default()
    };
    let mut against = link_against(Side::Server, config).await;
    against.say(&open(0)).await;
    against.say(&open(2)).await;
    assert!(matches!(
        against.hear().await,
        Frame::Refused {
            code: RefuseCode::TooManyStreams,
            ..
        }
    ));
    assert_eq!(against.link.stats().surplus, 1, "nobody else hears of it");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_falls_silent_is_dead_within_forty_seconds() {
    let mut against = link_against(Side::Client, LinkConfig::default()).await;
    let mut stream = against.link.open(request()).unwrap();
    let start = Instant::now();
    // It holds the connection, takes what comes, and says nothing.
    while let Some(Ok(_)) = against.peer.next().await {}
    let end = against.link.closed().await;
    assert_eq!(end, LinkEnd::Dead);
    let elapsed = start.elapsed();
    assert!(
        (Duration::from_secs(20)..=Duration::from_secs(40)).contains(&elapsed),
        "{elapsed:?}"
    );
    assert_eq!(stream.opened().await, Err(StreamError::Link(LinkEnd::Dead)));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_and_never_reads_is_dead_too() {
    let mut against = link_against(Side::Server, LinkConfig::default()).await;
    let mut number = 0;
    let start = Instant::now();
    let end = loop {
        tokio::select! {
            end = against.link.closed() => break end,
            () = tokio::time::sleep(Duration::from_secs(1)) => {
                number += 1;
                let ping = Message::Binary(Frame::Ping(number).encode());
                let _ = timeout(Duration::from_millis(1), against.peer.send(ping)).await;
            }
        }
        assert!(start.elapsed() < Duration::from_secs(41));
    };
    assert_eq!(end, LinkEnd::Dead);
}

#[tokio::test(start_paused = true)]
async fn closing_towards_a_peer_that_does_not_read_takes_seconds_not_for_ever() {
    let (ours, _theirs) = tokio::io::duplex(64);
    let ws = common::websocket(ours, tokio_tungstenite::tungstenite::protocol::Role::Client).await;
    let (link, driver) = kedge_tunnel::Link::new(ws, Side::Client, LinkConfig::default());
    let mut drivers = tokio::task::JoinSet::new();
    drivers.spawn(driver.run());
    let mut stream = link.open(request()).unwrap();
    stream.write_all(&[0; 10_000]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    link.close(kedge_tunnel::CloseReason::ShuttingDown);
    assert_eq!(link.closed().await, LinkEnd::Closed);
    assert!(
        start.elapsed() <= Duration::from_secs(11),
        "{:?}",
        start.elapsed()
    );
    drivers.join_next().await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_costs_one_frame_of_memory_in_the_websocket() {
    let (ours, _theirs) = tokio::io::duplex(64);
    let ws = common::websocket(ours, tokio_tungstenite::tungstenite::protocol::Role::Client).await;
    let (link, driver) = kedge_tunnel::Link::new(ws, Side::Client, LinkConfig::default());
    let mut drivers = tokio::task::JoinSet::new();
    drivers.spawn(driver.run());
    let mut streams = Vec::new();
    for _ in 0..50 {
        let mut stream = link.open(request()).unwrap();
        let _ = timeout(
            Duration::from_millis(10),
            stream.write_all(&vec![0; 1 << 20]),
        )
        .await;
        streams.push(stream);
    }
    let stats = link.stats();
    assert_eq!(stats.buffered, 50 * 64 * 1024, "each its first credit");
    assert!(stats.bytes_out <= 2 * MAX_FRAME as u64, "{stats:?}");
    drop(drivers);
    assert!(matches!(link.closed().await, LinkEnd::Io(_)));
    assert_eq!(link.stats().buffered, 0);
}
