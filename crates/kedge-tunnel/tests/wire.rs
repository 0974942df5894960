//! What comes over a WebSocket is understood as tungstenite understands it, however it is cut, and what goes out is too;
//! and no memory stays behind.

#![cfg(test)]

mod common;

#[path = "../../../fuzz/checks/wire.rs"]
mod check;

use check::{compare, connection, runtime};
use common::{pair_over, pattern, request};
use futures_util::{FutureExt, SinkExt, StreamExt};
use kedge_proto::defaults::MAX_FRAME;
use kedge_tunnel::{Attributes, Link, LinkConfig, Side, Wire, WireError};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::OpCode;

#[derive(Clone, Debug)]
struct Sent {
    opcode: u8,
    last: bool,
    reserved: u8,
    masked: bool,
    payload: Vec<u8>,
}

fn sent() -> impl Strategy<Value = Sent> {
    let opcode = prop_oneof![8 => 0u8..3, 4 => 8u8..11, 1 => 0u8..16];
    let len = prop_oneof![
        8 => 0usize..130,
        1 => Just(1),
        1 => 65_530..MAX_FRAME + 4,
        1 => 30_000usize..40_000,
    ];
    let reserved = prop_oneof![20 => Just(0u8), 1 => 0u8..8];
    (opcode, any::<bool>(), reserved, 0..20, len, any::<u64>()).prop_map(
        |(opcode, last, reserved, mask, len, seed)| Sent {
            opcode,
            last,
            reserved,
            masked: mask > 0,
            payload: pattern(seed, len),
        },
    )
}

fn encode(frames: &[Sent], role: Role) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        let masked = frame.masked == (role == Role::Server);
        let mask = masked.then_some([7, 99, 0, 201]);
        let header = FrameHeader {
            is_final: frame.last,
            rsv1: frame.reserved & 1 != 0,
            rsv2: frame.reserved & 2 != 0,
            rsv3: frame.reserved & 4 != 0,
            opcode: OpCode::from(frame.opcode),
            mask,
        };
        header
            .format(frame.payload.len() as u64, &mut bytes)
            .unwrap();
        let key = mask.unwrap_or_default();
        let payload = frame.payload.iter().zip(key.into_iter().cycle());
        bytes.extend(payload.map(|(byte, key)| byte ^ key));
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn frames_are_understood_as_tungstenite_understands_them(
        frames in prop::collection::vec(sent(), 0..12),
        cuts in prop::collection::vec(prop_oneof![1usize..20, 1usize..5000, Just(usize::MAX)], 1..6),
        server in any::<bool>(),
        missing in prop_oneof![4 => Just(0usize), 1 => 0usize..200],
    ) {
        let role = if server { Role::Server } else { Role::Client };
        let mut bytes = encode(&frames, role);
        bytes.truncate(bytes.len().saturating_sub(missing));
        runtime().block_on(compare(&bytes, &cuts, role));
    }

    #[test]
    fn so_is_whatever_else_comes(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        cut in 1usize..20,
        server in any::<bool>(),
    ) {
        let role = if server { Role::Server } else { Role::Client };
        runtime().block_on(compare(&bytes, &[cut], role));
    }

    #[test]
    fn what_is_sent_is_what_tungstenite_reads(
        lens in prop::collection::vec(prop_oneof![0usize..300, 4000usize..5000, Just(MAX_FRAME)], 1..8),
        server in any::<bool>(),
        capacity in prop_oneof![1usize..100, Just(200_000)],
    ) {
        let (role, other) = if server { (Role::Server, Role::Client) } else { (Role::Client, Role::Server) };
        let sent: Vec<_> = lens.iter().map(|len| Message::binary(pattern(*len as u64, *len))).collect();
        runtime().block_on(async {
            let (near, far) = tokio::io::duplex(capacity);
            let mut wire = Wire::new(near, role, &[]);
            let mut peer = WebSocketStream::from_raw_socket(far, other, None).await;
            let write = async {
                for message in &sent {
                    wire.feed(message.clone()).await.unwrap();
                }
                wire.close().await.unwrap();
            };
            let read = async {
                for message in &sent {
                    assert_eq!(&peer.next().await.unwrap().unwrap(), message);
                }
                assert!(peer.next().await.unwrap().unwrap().is_close());
            };
            tokio::join!(write, read);
        });
    }
}

#[test]
fn the_corpus_of_conversations() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/wire");
    let mut count = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        check::wire(&std::fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count > 20, "only {count}");
}

/// A frame for a server.
fn frame(opcode: u8, last: bool, payload: &[u8]) -> Sent {
    Sent {
        opcode,
        last,
        reserved: 0,
        masked: true,
        payload: payload.to_vec(),
    }
}

#[tokio::test]
async fn what_follows_what_cannot_be_understood_means_nothing() {
    let close = frame(8, true, &[3]);
    let reserved = Sent {
        reserved: 1,
        ..frame(2, true, b"a")
    };
    let lone = frame(0, true, b"a");
    for wrong in [close, reserved, lone] {
        let bytes = encode(&[wrong.clone(), frame(2, true, b"good")], Role::Server);
        let mut wire = Wire::new(connection(&bytes, &[1000]), Role::Server, &[]);
        let first = wire.next().await;
        assert!(
            matches!(first, Some(Err(WireError::Protocol(_)))),
            "{wrong:?}: {first:?}"
        );
        assert!(wire.next().await.is_none(), "{wrong:?}");
    }
}

#[tokio::test]
async fn nothing_is_said_after_a_close() {
    let late = |error| {
        let text = ProtocolError::SendAfterClosing;
        matches!(error, WireError::Protocol(known) if known == text)
    };
    let (near, far) = tokio::io::duplex(4096);
    let mut one = Wire::new(near, Role::Client, &[]);
    let mut other = Wire::new(far, Role::Server, &[]);
    one.close().await.unwrap();
    assert!(late(one.send(Message::binary("a")).await.unwrap_err()));
    assert!(other.next().await.unwrap().unwrap().is_close());
    assert!(late(other.send(Message::binary("b")).await.unwrap_err()));
    other.flush().await.unwrap();
    assert!(one.next().await.unwrap().unwrap().is_close());
    assert!(one.next().await.is_none());
}

#[tokio::test]
async fn fragments_without_end_let_others_have_their_turn() {
    let mut frames = vec![frame(2, false, b"a")];
    frames.extend((0..50_000).map(|_| frame(0, false, b"")));
    frames.push(frame(0, true, b"b"));
    let bytes = encode(&frames, Role::Server);
    let mut wire = Wire::new(connection(&bytes, &[usize::MAX]), Role::Server, &[]);
    let mut turns = 0;
    let message = loop {
        match wire.next().now_or_never() {
            None => turns += 1,
            Some(message) => break message,
        }
    };
    assert_eq!(message.unwrap().unwrap(), Message::binary("ab"));
    assert!(turns > 50, "{turns}");
}

#[tokio::test]
async fn pings_without_end_cost_no_memory_though_nobody_reads_the_answers() {
    let (near, mut far) = tokio::io::duplex(1000);
    let wire = Wire::new(near, Role::Server, &[]);
    let (link, driver) = Link::new(wire, Side::Server, LinkConfig::default());
    let mut drivers = tokio::task::JoinSet::new();
    drivers.spawn(driver.run());
    let pings = vec![frame(9, true, &[7; 125]); 5000];
    far.write_all(&encode(&pings, Role::Server)).await.unwrap();
    let last = encode(&[frame(9, true, b"last")], Role::Server);
    far.write_all(&last).await.unwrap();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let held = link.stats().wire;
    assert!(held <= 16 << 10, "{held}");
    // Of those that waited the last is answered.
    let mut peer = WebSocketStream::from_raw_socket(far, Role::Client, None).await;
    loop {
        if peer.next().await.unwrap().unwrap() == Message::Pong("last".into()) {
            break;
        }
    }
}

#[tokio::test]
async fn bytes_that_came_with_the_handshake_are_the_first_of_the_link() {
    let frames = encode(
        &[Sent {
            opcode: 2,
            last: true,
            reserved: 0,
            masked: true,
            payload: pattern(3, 5000),
        }],
        Role::Server,
    );
    for cut in [0, 1, 7, 300, frames.len()] {
        let (first, rest) = frames.split_at(cut);
        let mut wire = Wire::new(connection(rest, &[100]), Role::Server, first);
        let message = wire.next().await.unwrap().unwrap();
        assert_eq!(message, Message::binary(pattern(3, 5000)), "{cut}");
    }
}

#[tokio::test]
async fn the_last_ping_is_answered_while_nothing_else_is_said() {
    let (near, far) = tokio::io::duplex(4096);
    let mut wire = Wire::new(near, Role::Server, &[]);
    let mut peer = WebSocketStream::from_raw_socket(far, Role::Client, None).await;
    for number in 0..3 {
        let ping = Message::Ping(vec![number].into());
        peer.send(ping.clone()).await.unwrap();
        assert_eq!(wire.next().await.unwrap().unwrap(), ping);
    }
    wire.flush().await.unwrap();
    let pong = peer.next().await.unwrap().unwrap();
    assert_eq!(pong, Message::Pong(vec![2].into()));
}

#[tokio::test]
async fn a_link_that_has_carried_much_holds_nothing_once_it_is_idle() {
    // Narrower than any frame, so that frames are under way whenever somebody looks.
    let (client, server) = tokio::io::duplex(1000);
    let pair = pair_over(client, server, LinkConfig::default()).await;
    let idle = [pair.client.stats().wire, pair.server.stats().wire];
    let mut near = pair.client.open(request()).unwrap();
    let mut far = pair
        .server
        .accept()
        .await
        .unwrap()
        .accept(Attributes::new());
    let data = pattern(1, 1 << 20);
    let (mut most, mut there, mut back) = (0, Vec::new(), Vec::new());
    let (mut near_read, mut near_write) = tokio::io::split(&mut near);
    let (mut far_read, mut far_write) = tokio::io::split(&mut far);
    let watch = async {
        for _ in 0..2000 {
            most = most.max(pair.client.stats().wire + pair.server.stats().wire);
            tokio::task::yield_now().await;
        }
    };
    let up = async {
        near_write.write_all(&data).await.unwrap();
        near_write.shutdown().await.unwrap();
    };
    let down = async {
        far_write.write_all(&data).await.unwrap();
        far_write.shutdown().await.unwrap();
    };
    let (_, _, got, sent, ()) = tokio::join!(
        up,
        down,
        far_read.read_to_end(&mut there),
        near_read.read_to_end(&mut back),
        watch
    );
    assert_eq!((got.unwrap(), sent.unwrap()), (data.len(), data.len()));
    assert!(there == data && back == data);
    near.delivered().await.unwrap();
    far.delivered().await.unwrap();
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    let after = [pair.client.stats().wire, pair.server.stats().wire];
    assert!(most > 16 << 10, "the number counts: {most}");
    assert!(
        most <= 6 * MAX_FRAME,
        "a frame each way at each end: {most}"
    );
    assert!(after.iter().all(|held| *held <= 1024), "{idle:?} {after:?}");
}
