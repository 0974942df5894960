//! Every frame has the bytes that docs/protocol.md says, and the conversation shown there is what two links say.

#![cfg(test)]

mod common;

use bytes::Bytes;
use kedge_proto::{
    AttributeId, Attributes, Frame, OpenFrame, RefuseCode, ResetCode, ResumeFrame, ResumeHash,
    ResumeSecret, StreamId, StreamKey, Target,
};

fn id(value: u64) -> StreamId {
    StreamId::new(value).unwrap()
}

fn attributes() -> Attributes {
    Attributes::new()
        .with(AttributeId::SERVER, "web01")
        .unwrap()
        .with(AttributeId::LOGIN, "alice")
        .unwrap()
}

fn frames() -> Vec<(Frame, String)> {
    let (key, hash, proof) = ("11".repeat(16), "22".repeat(32), "33".repeat(32));
    let open = OpenFrame {
        stream: id(4),
        key: StreamKey([0x11; 16]),
        resume: ResumeHash([0x22; 32]),
        limit: 1 << 20,
        target: Target::ssh(),
        attributes: attributes(),
    };
    let resume = ResumeFrame {
        stream: id(6),
        key: StreamKey([0x11; 16]),
        offset: 1000,
        consumed: 900,
        limit: 1 << 20,
        proof: ResumeSecret::new([0x33; 32]),
        next: ResumeHash([0x22; 32]),
        target: Target::ssh(),
        attributes: attributes(),
    };
    let list = "01057765623031".to_owned() + "0205616c696365";
    vec![
        (Frame::Ping(1), "01 0000000000000001".into()),
        (Frame::Pong(u64::MAX), "02 ffffffffffffffff".into()),
        (
            Frame::Goaway {
                reconnect_after: 5000,
            },
            "03 5388".into(),
        ),
        (
            Frame::Open(open),
            format!("10 04 {key} {hash} 80100000 03 737368 {list}"),
        ),
        (
            Frame::Opened {
                stream: id(4),
                limit: 1 << 20,
                attributes: Attributes::new(),
            },
            "11 04 80100000".into(),
        ),
        (
            Frame::Refused {
                stream: id(4),
                code: RefuseCode::Offline,
                text: "web01 is offline".into(),
            },
            "12 04 07 7765623031206973206f66666c696e65".into(),
        ),
        (
            Frame::Data {
                stream: id(4),
                offset: 16384,
                bytes: Bytes::from_static(b"SSH-2.0-"),
            },
            "13 04 80004000 5353482d322e302d".into(),
        ),
        (
            Frame::MaxStreamData {
                stream: id(4),
                consumed: 63,
                limit: 64,
            },
            "14 04 3f 4040".into(),
        ),
        (
            Frame::Fin {
                stream: id(4),
                offset: 0x3fff_ffff_ffff_ffff,
            },
            "15 04 ffffffffffffffff".into(),
        ),
        (
            Frame::Reset {
                stream: id(4),
                code: ResetCode::TargetReset,
                text: String::new(),
            },
            "16 04 09".into(),
        ),
        (
            Frame::Reset {
                stream: id(4),
                code: ResetCode::Unknown(300),
                text: "é".into(),
            },
            "16 04 412c c3a9".into(),
        ),
        (
            Frame::Detached {
                stream: id(4),
                code: ResetCode::LinkLost,
            },
            "17 04 05".into(),
        ),
        (
            Frame::Resume(resume),
            format!("18 06 {key} 43e8 4384 80100000 {proof} {hash} 03 737368 {list}"),
        ),
        (
            Frame::Resumed {
                stream: id(6),
                offset: 5,
                consumed: 4,
                limit: 65540,
            },
            "19 06 05 04 80010004".into(),
        ),
    ]
}

fn bytes(hex: &str) -> Bytes {
    let digits: Vec<_> = hex.chars().filter(|c| !c.is_whitespace()).collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

#[test]
fn every_frame_has_its_bytes() {
    for (frame, hex) in frames() {
        assert_eq!(frame.encode(), bytes(&hex), "{frame:?}");
        assert_eq!(Frame::decode(bytes(&hex)), Ok(frame), "{hex}");
    }
}

#[test]
fn every_cut_and_every_addition_is_noticed_or_harmless() {
    for (frame, hex) in frames() {
        let whole = bytes(&hex);
        for cut in 0..whole.len() {
            // Text, data and attributes run to the end of the message, so a cut there is another frame; it never is the
            // same one.
            assert_ne!(
                Frame::decode(whole.slice(..cut)),
                Ok(frame.clone()),
                "{hex} cut at {cut}"
            );
        }
        let mut longer = whole.to_vec();
        longer.push(0);
        assert_ne!(
            Frame::decode(longer.into()),
            Ok(frame),
            "{hex} and one byte"
        );
    }
}

#[test]
fn types_of_newer_peers_are_skipped() {
    for message in [&b"\x1a"[..], b"\x3fanything", b"\x7f\xff\x00"] {
        assert!(matches!(
            Frame::decode(Bytes::from_static(message)),
            Ok(Frame::Unknown(_))
        ));
    }
}

/// The protocol's page, whose tables and examples are tested here.
const PAGE: &str = include_str!("../../../docs/protocol.md");

#[test]
fn the_page_shows_every_frame_as_it_is() {
    let shown = fenced("frames");
    let expected: Vec<_> = frames()
        .into_iter()
        .map(|(frame, hex)| (frame.name(), bytes(&hex)))
        .collect();
    let listed: Vec<_> = shown
        .lines()
        .map(|line| {
            let (name, hex) = line.split_once(':').unwrap();
            (name.trim(), bytes(hex))
        })
        .collect();
    assert_eq!(listed.len(), expected.len());
    for ((name, hex), (expected_name, expected_hex)) in listed.iter().zip(&expected) {
        assert_eq!((name, hex), (expected_name, expected_hex));
    }
}

#[test]
fn the_page_names_every_code_and_attribute() {
    for code in RefuseCode::KNOWN {
        assert!(
            PAGE.contains(&format!("| {} | `{code:?}` |", code.value())),
            "{code:?}"
        );
    }
    for code in ResetCode::KNOWN {
        assert!(
            PAGE.contains(&format!("| {} | `{code:?}` |", code.value())),
            "{code:?}"
        );
    }
    for (id, name) in [
        (AttributeId::SERVER, "SERVER"),
        (AttributeId::LOGIN, "LOGIN"),
        (AttributeId::SESSION, "SESSION"),
        (AttributeId::SUBJECT, "SUBJECT"),
        (AttributeId::TEXT, "TEXT"),
        (AttributeId::BESIDE, "BESIDE"),
    ] {
        assert!(PAGE.contains(&format!("| {} | `{name}` |", id.0)), "{name}");
    }
}

#[test]
fn the_page_states_the_limits_in_force() {
    use kedge_proto::defaults::*;
    for (name, value) in [
        ("MAX_DATA", MAX_DATA as u64),
        ("MAX_FRAME", MAX_FRAME as u64),
        ("MAX_ATTRIBUTES", MAX_ATTRIBUTES as u64),
        ("MAX_TEXT", MAX_TEXT as u64),
        ("MAX_TARGET", MAX_TARGET as u64),
        ("INITIAL_CREDIT", INITIAL_CREDIT),
        ("MAX_STREAMS", MAX_STREAMS.into()),
        ("INITIAL_WINDOW", INITIAL_WINDOW),
        ("WINDOW_CAP", WINDOW_CAP),
        ("PING_INTERVAL", PING_INTERVAL.as_secs()),
        ("PINGS_MISSED", PINGS_MISSED.into()),
        ("RESUME_TIMEOUT", RESUME_TIMEOUT.as_secs()),
    ] {
        assert!(
            PAGE.contains(&format!("| `{name}` | {value} |")),
            "{name} is {value}"
        );
    }
}

/// The conversation of the page, replayed: what it says each side sends is what each side sends.
#[test]
fn the_page_shows_a_conversation_that_happens() {
    use kedge_proto::{Event, Limits, Link, OpenRequest, Read, Side};
    use std::time::Instant;

    let now = Instant::now();
    let mut client = Link::new(Side::Client, Limits::default(), now);
    let mut server = Link::new(Side::Server, Limits::default(), now);
    let secret = ResumeSecret::new(std::array::from_fn(|at| at as u8));
    let stream = client
        .open(OpenRequest {
            target: Target::ssh(),
            key: StreamKey(std::array::from_fn(|at| 0xa0 + at as u8)),
            resume: secret.hash(),
            attributes: Attributes::new()
                .with(AttributeId::SERVER, "web01")
                .unwrap(),
        })
        .unwrap();
    client.write(stream, b"ping").unwrap();
    client.finish(stream).unwrap();

    let mut said = Vec::new();
    loop {
        let mut quiet = true;
        while let Some(message) = client.transmit(now, usize::MAX) {
            said.push(('C', message.clone()));
            server.receive(now, message).unwrap();
            quiet = false;
        }
        while let Some(event) = server.poll_event() {
            match event {
                Event::Incoming(id) => server.accept(now, id, Attributes::new()).unwrap(),
                Event::Readable(id) => {
                    while let Ok(Read::Data(bytes)) = server.read(now, id, usize::MAX) {
                        assert_eq!(bytes, "ping");
                        server.write(id, b"pong!").unwrap();
                        server.finish(id).unwrap();
                    }
                }
                _ => {}
            }
        }
        while let Some(message) = server.transmit(now, usize::MAX) {
            said.push(('S', message.clone()));
            client.receive(now, message).unwrap();
            quiet = false;
        }
        while let Some(event) = client.poll_event() {
            if let Event::Readable(id) = event {
                while let Ok(Read::Data(bytes)) = client.read(now, id, usize::MAX) {
                    assert_eq!(bytes, "pong!");
                }
            }
        }
        if quiet {
            break;
        }
    }
    assert_eq!((client.streams(), server.streams()), (0, 0));
    let shown: Vec<_> = fenced("conversation")
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            let (side, hex) = line.split_once(':').unwrap();
            (side.chars().next().unwrap(), bytes(hex))
        })
        .collect();
    let render = |list: &[(char, Bytes)]| {
        let hex = |bytes: &Bytes| {
            bytes
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        let line = |(side, bytes): &(char, Bytes)| format!("{side}: {}\n", hex(bytes));
        list.iter().map(line).collect::<String>()
    };
    assert_eq!(render(&shown), render(&said));
}

/// The code block that is marked with this word.
fn fenced(word: &str) -> &'static str {
    let (_, rest) = PAGE
        .split_once(&format!("```{word}\n"))
        .expect("the block is there");
    rest.split_once("```").expect("the block ends").0.trim_end()
}
