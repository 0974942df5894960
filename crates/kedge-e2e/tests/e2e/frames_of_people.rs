//! What a person's client may send to break a hub: every violation ends the stream or the link it is on, with a
//! reason, and nothing else.

use kedge_proto::{Frame, ResetCode, StreamId};
use std::time::Instant;

use kedge_testkit::peers::{Mask, Message, Opcode};

use crate::prelude::*;

/// An answer that needs nothing but the hub comes at once, and not with the next PING (15 s).
const AT_ONCE: Duration = Duration::from_secs(8);

fn id(value: u64) -> Result<StreamId> {
    StreamId::new(value).context("a stream id")
}

/// A violation that must end the link, with the WebSocket close code it should have.
fn ends_the_link(
    cheap: &Cheap,
    code: u16,
    violate: impl FnOnce(&mut Client) -> Result<()>,
) -> Result<()> {
    let mut client = cheap.greeted()?;
    violate(&mut client)?;
    let end = client.socket.ends(defaults::SOON)?;
    ensure!(
        end.is_none_or(|said| said == code),
        "closed with {end:?} and not with {code}"
    );
    Ok(())
}

/// A violation that must reset the stream, and leaves the link and its other streams alone.
fn resets_the_stream(cheap: &Cheap, violate: impl FnOnce(&mut Client) -> Result<()>) -> Result<()> {
    let mut client = cheap.greeted()?;
    violate(&mut client)?;
    let (code, said) = client.reset(AT_ONCE)?;
    ensure!(
        matches!(code, ResetCode::FlowControl | ResetCode::Protocol),
        "{code:?} {said}"
    );
    client.stream = id(client.stream.value() + 2)?;
    let opened = client.open(SERVER, None)?;
    ensure!(opened.is_ok(), "the link does not go on: {opened:?}");
    Ok(())
}

#[test]
fn malformed_frames_end_the_link() -> Result<()> {
    case(|t| {
        let cheap = Cheap::start(t, Manner::Echo)?;
        let bystander = cheap.greeted()?;
        for bytes in [
            &[][..],
            &[0xc0],
            &[0x13],
            &[0x13, 0],
            &[0x13, 0, 0],
            &[0x10, 2, 1, 2, 3],
            &[0x14, 0, 0xff],
            &[0x01, 1, 2],
            &[0x15, 0, 5, 9],
        ] {
            ends_the_link(&cheap, 1002, |client| client.socket.send(bytes))
                .with_context(|| format!("{bytes:?}"))?;
        }
        echoes(bystander)
    })
}

#[test]
fn text_and_unmasked_and_oversized_messages_end_the_link() -> Result<()> {
    case(|t| {
        let cheap = Cheap::start(t, Manner::Echo)?;
        let bystander = cheap.greeted()?;
        ends_the_link(&cheap, 1003, |client| {
            client
                .socket
                .send_frame(Opcode::TEXT, Mask::Masked, b"hello")
        })?;
        ends_the_link(&cheap, 1002, |client| {
            client
                .socket
                .send_frame(Opcode::BINARY, Mask::Unmasked, &[1; 9])
        })?;
        // One byte over the limit, and a length that only a liar has: neither is waited for.
        ends_the_link(&cheap, 1009, |client| {
            client
                .socket
                .send(&vec![0x3f; kedge_proto::defaults::MAX_FRAME + 1])
        })?;
        ends_the_link(&cheap, 1009, |client| {
            let mut head = vec![0x82, 0xff];
            head.extend_from_slice(&(1_u64 << 40).to_be_bytes());
            head.extend_from_slice(&[1, 2, 3, 4]);
            client.socket.send_raw(&head)
        })?;
        // Reserved bits, an unknown opcode, a fragment that never ends.
        ends_the_link(&cheap, 1002, |client| {
            client.socket.send_raw(&[0xf2, 0x80, 0, 0, 0, 0])
        })?;
        ends_the_link(&cheap, 1002, |client| {
            client.socket.send_raw(&[0x83, 0x80, 0, 0, 0, 0])
        })?;
        echoes(bystander)
    })
}

#[test]
fn frames_for_streams_that_never_were_end_the_link() -> Result<()> {
    case(|t| {
        let cheap = Cheap::start(t, Manner::Echo)?;
        let unknown = id(1000)?;
        let data = |stream| Frame::Data {
            stream,
            offset: 0,
            bytes: b"x".to_vec().into(),
        };
        ends_the_link(&cheap, 1002, |client| client.send(&data(unknown)))?;
        ends_the_link(&cheap, 1002, |client| {
            client.send(&Frame::Fin {
                stream: unknown,
                offset: 0,
            })
        })?;
        // An id of the hub's parity, one that goes back, one that was used.
        for wrong in [1, 0] {
            ends_the_link(&cheap, 1002, |client| {
                client.send(&kedge_testkit::peers::open_frame(id(wrong)?, SERVER, None)?)
            })?;
        }
        Ok(())
    })
}

#[test]
fn a_frame_that_was_late_is_ignored() -> Result<()> {
    case(|t| {
        let cheap = Cheap::start(t, Manner::Echo)?;
        let mut client = cheap.greeted()?;
        client.send(&Frame::Reset {
            stream: client.stream,
            code: ResetCode::Cancelled,
            text: String::new(),
        })?;
        client.write(b"under way when the stream ended")?;
        client.finish()?;
        client.stream = id(client.stream.value() + 2)?;
        let opened = client.open(SERVER, None)?;
        ensure!(opened.is_ok(), "{opened:?}");
        Ok(())
    })
}

#[test]
fn beyond_credit_gaps_and_after_fin_reset_the_stream_alone() -> Result<()> {
    case(|t| {
        let cheap = Cheap::start(t, Manner::Echo)?;
        let bystander = cheap.greeted()?;
        let data = |client: &Client, offset: u64| Frame::Data {
            stream: client.stream,
            offset,
            bytes: b"x".to_vec().into(),
        };
        resets_the_stream(&cheap, |client| client.send(&data(client, 1 << 40)))
            .context("far beyond credit")?;
        resets_the_stream(&cheap, |client| {
            let limit = client.limit();
            client.send(&data(client, limit))
        })
        .context("one byte beyond credit")?;
        resets_the_stream(&cheap, |client| client.send(&data(client, 5))).context("a gap")?;
        resets_the_stream(&cheap, |client| {
            client.finish()?;
            client.send(&data(client, 0))
        })
        .context("after FIN")?;
        resets_the_stream(&cheap, |client| {
            client.write(b"hello")?;
            client.send(&Frame::Fin {
                stream: client.stream,
                offset: 2,
            })
        })
        .context("FIN below what was sent")?;
        resets_the_stream(&cheap, |client| {
            client.send(&Frame::MaxStreamData {
                stream: client.stream,
                consumed: 1 << 40,
                limit: 1 << 41,
            })
        })
        .context("an acknowledgement of what was never sent")?;
        echoes(bystander)
    })
}

#[test]
fn a_stalled_stream_holds_a_bounded_number_of_bytes() -> Result<()> {
    case(|t| {
        let mut cheap = Cheap::start(t, Manner::Stall)?;
        let before = cheap.hub.census()?;
        let mut clients = Vec::new();
        for _ in 0..20 {
            let mut client = cheap.greeted()?;
            // All that is allowed, and then it must stop: nobody takes the bytes.
            let chunk = vec![7; 32 * 1024];
            while client.sent() + 32 * 1024 <= client.limit() {
                client.write(&chunk)?;
            }
            clients.push(client);
        }
        wait::throughout("the hub to stay small", Duration::from_secs(2), || {
            let grown = cheap
                .hub
                .census()?
                .resident_kib
                .saturating_sub(before.resident_kib);
            Ok(grown < 64 * 1024)
        })?;
        for client in &mut clients {
            while let Ok(frame) = client.next(Duration::from_millis(50)) {
                ensure!(matches!(frame, Frame::MaxStreamData { .. }), "{frame:?}");
            }
            ensure!(
                client.limit() < 16 * 1024 * 1024,
                "credit for what nobody reads: {}",
                client.limit()
            );
        }
        Ok(())
    })
}

#[test]
fn pings_are_answered_and_a_close_is_too() -> Result<()> {
    case(|t| {
        let cheap = Cheap::start(t, Manner::Echo)?;
        let mut client = cheap.greeted()?;
        client.send(&Frame::Ping(0x0123_4567_89ab_cdef))?;
        let pong = client.next(AT_ONCE)?;
        ensure!(pong == Frame::Pong(0x0123_4567_89ab_cdef), "{pong:?}");
        client.socket.send_frame(Opcode::PING, Mask::Masked, b"")?;
        client.write(b"x")?;
        ensure!(client.read(1)? == b"x");
        client
            .socket
            .send_frame(Opcode::CLOSE, Mask::Masked, &1000_u16.to_be_bytes())?;
        let start = Instant::now();
        client.socket.ends(defaults::SOON)?;
        let ended = client.socket.receive(defaults::SOON)?;
        ensure!(
            matches!(ended, Message::Ended),
            "after its close the hub says {ended:?}"
        );
        // RFC 6455 section 7.1.1: it is for the server to close the connection, and soon.
        ensure!(
            start.elapsed() < Duration::from_secs(8),
            "it took {:?}",
            start.elapsed()
        );
        cheap
            .hub
            .metric("kedge_hub_sessions", defaults::SOON, |live| live == 0.0)?;
        Ok(())
    })
}

fn echoes(mut client: Client) -> Result<()> {
    client.write(b"a bystander")?;
    ensure!(client.read(11)? == b"a bystander", "a bystander was hurt");
    Ok(())
}
