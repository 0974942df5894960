//! What a peer does wrong on one stream resets that stream, what it does wrong on the link ends the link, and neither
//! hurts the others.

#![cfg(test)]

mod common;

use std::time::{Duration, Instant};

use bytes::Bytes;
use common::request;
use kedge_proto::defaults::{INITIAL_CREDIT, MAX_FRAME};
use kedge_proto::{
    Attributes, DecodeError, Event, Frame, Limits, Link, LinkError, OpenFrame, Read, RefuseCode,
    ResetCode, Side, StreamEnd, StreamId, Write,
};

fn id(value: u64) -> StreamId {
    StreamId::new(value).unwrap()
}

fn open(stream: u64) -> Frame {
    let request = request(stream);
    Frame::Open(OpenFrame {
        stream: id(stream),
        key: request.key,
        resume: request.resume,
        limit: 1000,
        target: request.target,
        attributes: request.attributes,
    })
}

fn data(stream: u64, offset: u64, bytes: &'static [u8]) -> Frame {
    Frame::Data {
        stream: id(stream),
        offset,
        bytes: Bytes::from_static(bytes),
    }
}

/// A server whose peer is the test.
struct Victim {
    link: Link,
    now: Instant,
}

impl Victim {
    fn new(limits: Limits) -> Self {
        let now = Instant::now();
        Self {
            link: Link::new(Side::Server, limits, now),
            now,
        }
    }

    /// With streams 0 and 2 accepted.
    fn with_streams() -> Self {
        let mut victim = Self::new(Limits::default());
        for stream in [0, 2] {
            victim.takes(open(stream));
            victim
                .link
                .accept(victim.now, id(stream), Attributes::new())
                .unwrap();
        }
        victim.said();
        victim.events();
        victim
    }

    fn receive(&mut self, frame: &Frame) -> Result<(), LinkError> {
        self.link.receive(self.now, frame.encode())
    }

    fn takes(&mut self, frame: Frame) {
        self.receive(&frame).unwrap();
    }

    fn said(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.link.transmit(self.now, usize::MAX))
            .map(|message| Frame::decode(message).unwrap())
            .filter(|frame| !matches!(frame, Frame::Ping(_)))
            .collect()
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.link.poll_event()).collect()
    }

    /// Stream 2 works as if nothing had happened.
    fn other_stream_lives(&mut self) {
        self.takes(data(2, 0, b"hello"));
        assert_eq!(
            self.link.read(self.now, id(2), 100),
            Ok(Read::Data(Bytes::from_static(b"hello")))
        );
        assert_eq!(self.link.write(id(2), b"world"), Ok(Write::Accepted(5)));
        assert_eq!(self.said(), [data(2, 0, b"world")]);
    }
}

#[test]
fn a_violation_on_a_stream_resets_that_stream_only() {
    let big = Bytes::from(vec![0; 65536]);
    let cases: Vec<(&str, ResetCode, Vec<Frame>)> = vec![
        (
            "a gap before the offset",
            ResetCode::Protocol,
            vec![data(0, 1, b"x")],
        ),
        (
            "bytes twice",
            ResetCode::Protocol,
            vec![data(0, 0, b"xy"), data(0, 1, b"yz")],
        ),
        (
            "bytes after the end",
            ResetCode::Protocol,
            vec![
                Frame::Fin {
                    stream: id(0),
                    offset: 0,
                },
                data(0, 0, b"x"),
            ],
        ),
        (
            "the end below what was sent",
            ResetCode::Protocol,
            vec![
                data(0, 0, b"xy"),
                Frame::Fin {
                    stream: id(0),
                    offset: 1,
                },
            ],
        ),
        (
            "the end beyond what was sent",
            ResetCode::Protocol,
            vec![
                data(0, 0, b"xy"),
                Frame::Fin {
                    stream: id(0),
                    offset: 3,
                },
            ],
        ),
        (
            "the end twice",
            ResetCode::Protocol,
            vec![
                Frame::Fin {
                    stream: id(0),
                    offset: 0,
                },
                Frame::Fin {
                    stream: id(0),
                    offset: 0,
                },
            ],
        ),
        (
            "more than the credit",
            ResetCode::FlowControl,
            (0..17)
                .map(|part| Frame::Data {
                    stream: id(0),
                    offset: part * 65536,
                    bytes: big.clone(),
                })
                .collect(),
        ),
        (
            "credit that shrinks",
            ResetCode::FlowControl,
            vec![Frame::MaxStreamData {
                stream: id(0),
                consumed: 0,
                limit: 999,
            }],
        ),
        (
            "an acknowledgement of what was not sent",
            ResetCode::FlowControl,
            vec![Frame::MaxStreamData {
                stream: id(0),
                consumed: 1,
                limit: 2000,
            }],
        ),
    ];
    for (name, code, frames) in cases {
        let mut victim = Victim::with_streams();
        for frame in frames {
            victim.takes(frame);
        }
        let said = victim.said();
        let reset = |frame: &Frame| matches!(frame, Frame::Reset { stream, code: said, .. } if *stream == id(0) && *said == code);
        assert!(said.iter().any(reset), "{name}: {said:?}");
        let told = |event: &Event| {
            matches!(event, Event::Ended(stream, StreamEnd::Reset { code: told, .. })
                if *stream == id(0) && *told == code)
        };
        assert!(victim.events().iter().any(told), "{name}");
        assert_eq!(victim.link.streams(), 1, "{name}");
        // What was on its way comes late and is passed over.
        victim.takes(data(0, 0, b"late"));
        victim.takes(Frame::Reset {
            stream: id(0),
            code: ResetCode::Cancelled,
            text: String::new(),
        });
        assert_eq!(victim.said(), [], "{name}");
        victim.other_stream_lives();
    }
}

#[test]
fn an_acknowledgement_that_goes_back_resets_the_stream() {
    let mut victim = Victim::with_streams();
    victim.link.write(id(0), b"abc").unwrap();
    victim.said();
    victim.takes(Frame::MaxStreamData {
        stream: id(0),
        consumed: 3,
        limit: 2000,
    });
    victim.takes(Frame::MaxStreamData {
        stream: id(0),
        consumed: 2,
        limit: 2000,
    });
    assert!(matches!(
        victim.said()[..],
        [Frame::Reset {
            code: ResetCode::FlowControl,
            ..
        }]
    ));
}

#[test]
fn an_end_that_was_not_sent_cannot_be_acknowledged() {
    let mut victim = Victim::with_streams();
    victim.link.write(id(0), b"abc").unwrap();
    victim.said();
    victim.takes(Frame::MaxStreamData {
        stream: id(0),
        consumed: 4,
        limit: 2000,
    });
    assert!(matches!(
        victim.said()[..],
        [Frame::Reset {
            code: ResetCode::FlowControl,
            ..
        }]
    ));
}

#[test]
fn the_opener_may_send_before_the_answer_but_not_more_than_the_first_credit() {
    let mut victim = Victim::new(Limits::default());
    victim.takes(open(0));
    let first = Bytes::from(vec![7; INITIAL_CREDIT as usize]);
    victim.takes(Frame::Data {
        stream: id(0),
        offset: 0,
        bytes: first,
    });
    assert_eq!(victim.said(), []);
    victim.takes(data(0, INITIAL_CREDIT, b"x"));
    assert!(matches!(
        victim.said()[..],
        [Frame::Reset {
            code: ResetCode::FlowControl,
            ..
        }]
    ));
}

#[test]
fn an_acceptor_that_sends_before_it_answers_is_reset() {
    for frame in [
        data(1, 0, b"x"),
        Frame::Fin {
            stream: id(1),
            offset: 0,
        },
        Frame::MaxStreamData {
            stream: id(1),
            consumed: 0,
            limit: 1 << 20,
        },
        Frame::Resumed {
            stream: id(1),
            offset: 0,
            consumed: 0,
            limit: 0,
        },
    ] {
        let mut victim = Victim::new(Limits::default());
        assert_eq!(victim.link.open(request(1)), Ok(id(1)));
        victim.said();
        victim.takes(frame);
        assert!(matches!(
            victim.said()[..],
            [Frame::Reset {
                code: ResetCode::Protocol,
                ..
            }]
        ));
    }
}

#[test]
fn a_second_answer_resets_the_stream() {
    let opened = Frame::Opened {
        stream: id(1),
        limit: 1 << 20,
        attributes: Attributes::new(),
    };
    let refused = Frame::Refused {
        stream: id(1),
        code: RefuseCode::Denied,
        text: String::new(),
    };
    for second in [opened.clone(), refused] {
        let mut victim = Victim::new(Limits::default());
        victim.link.open(request(1)).unwrap();
        victim.said();
        victim.takes(opened.clone());
        victim.takes(second);
        assert!(matches!(
            victim.said()[..],
            [Frame::Reset {
                code: ResetCode::Protocol,
                ..
            }]
        ));
    }
}

#[test]
fn what_breaks_the_link_ends_the_link() {
    let stray = |frame: Frame| LinkError::UnknownStream {
        frame: frame.name(),
        stream: id(4),
    };
    let unexpected = |frame: Frame| LinkError::Unexpected {
        frame: frame.name(),
        stream: id(0),
    };
    let reset = Frame::Reset {
        stream: id(4),
        code: ResetCode::Cancelled,
        text: String::new(),
    };
    let credit = Frame::MaxStreamData {
        stream: id(4),
        consumed: 0,
        limit: 0,
    };
    let opened = Frame::Opened {
        stream: id(0),
        limit: 0,
        attributes: Attributes::new(),
    };
    let refused = Frame::Refused {
        stream: id(0),
        code: RefuseCode::Denied,
        text: String::new(),
    };
    for (frame, error) in [
        (data(4, 0, b"x"), stray(data(4, 0, b"x"))),
        (reset.clone(), stray(reset)),
        (credit.clone(), stray(credit)),
        (
            data(1, 0, b"x"),
            LinkError::UnknownStream {
                frame: "DATA",
                stream: id(1),
            },
        ),
        (opened.clone(), unexpected(opened)),
        (refused.clone(), unexpected(refused)),
        (open(2), LinkError::StreamId(id(2))),
        (open(0), LinkError::StreamId(id(0))),
        (open(5), LinkError::StreamId(id(5))),
    ] {
        let mut victim = Victim::with_streams();
        assert_eq!(victim.receive(&frame), Err(error), "{frame:?}");
    }
}

#[test]
fn what_is_no_frame_ends_the_link() {
    for (message, error) in [
        (&b""[..], DecodeError::Truncated("frame type")),
        (b"\x13\x00\x00", DecodeError::BadField("DATA without bytes")),
        (b"\x15\x00\x00\x00", DecodeError::Trailing(1)),
        (b"\x12\x00\x01\xff", DecodeError::BadField("text")),
        (b"\x14\x00\x40", DecodeError::Truncated("consumed")),
    ] {
        let mut victim = Victim::with_streams();
        let received = victim.link.receive(victim.now, Bytes::from_static(message));
        assert_eq!(received, Err(LinkError::Malformed(error)));
    }
    let mut victim = Victim::with_streams();
    let received = victim
        .link
        .receive(victim.now, vec![0x3f; MAX_FRAME + 1].into());
    let error = DecodeError::TooLong {
        field: "frame",
        limit: MAX_FRAME,
    };
    assert_eq!(received, Err(LinkError::Malformed(error)));
}

#[test]
fn more_streams_than_allowed_are_refused_and_a_flood_of_them_ends_the_link() {
    let mut victim = Victim::new(Limits {
        max_streams: 3,
        ..Limits::default()
    });
    for stream in [0, 2, 4] {
        victim.takes(open(stream));
    }
    assert_eq!(victim.said(), []);
    victim.takes(open(6));
    assert!(matches!(
        victim.said()[..],
        [Frame::Refused {
            code: RefuseCode::TooManyStreams,
            ..
        }]
    ));
    // The link still takes new ones when old ones are gone.
    victim.takes(Frame::Reset {
        stream: id(0),
        code: ResetCode::Cancelled,
        text: String::new(),
    });
    victim.takes(open(8));
    assert!(victim.said().is_empty());
    // A peer that does not read its refusals.
    for stream in [10, 12, 14] {
        victim.takes(open(stream));
    }
    assert_eq!(victim.receive(&open(16)), Err(LinkError::Flood));
}

#[test]
fn resets_that_nobody_reads_are_bounded_too() {
    let mut victim = Victim::new(Limits {
        max_streams: 3,
        ..Limits::default()
    });
    let mut opened = 0;
    let flooded = (0..1000_u64).map(|number| number * 2).find_map(|stream| {
        let result = victim.receive(&open(stream));
        opened += 1;
        victim
            .link
            .reset(id(stream), ResetCode::Internal, &"x".repeat(5000));
        result.err()
    });
    assert_eq!(flooded, Some(LinkError::Flood));
    assert!(opened <= 7, "{opened}");
    assert!(victim.link.holdings().queued < 30);
}

#[test]
fn opening_and_resetting_without_end_holds_nothing() {
    let mut victim = Victim::new(Limits {
        max_streams: 3,
        ..Limits::default()
    });
    for stream in (0..10_000).map(|number| number * 2) {
        victim.takes(open(stream));
        victim
            .link
            .accept(victim.now, id(stream), Attributes::new())
            .unwrap();
        victim.link.write(id(stream), b"never sent").unwrap();
        victim.takes(data(stream, 0, b"never read"));
        victim.takes(Frame::Reset {
            stream: id(stream),
            code: ResetCode::Cancelled,
            text: String::new(),
        });
        victim.events();
        let holdings = victim.link.holdings();
        assert_eq!(
            (holdings.streams, holdings.queued, holdings.sending),
            (0, 0, 0)
        );
        assert_eq!((holdings.receiving, holdings.promised), (0, 0));
    }
    assert_eq!(victim.said(), []);
}

#[test]
fn resets_that_cross_meet_in_peace() {
    let now = Instant::now();
    let mut client = Link::new(Side::Client, Limits::default(), now);
    let mut server = Link::new(Side::Server, Limits::default(), now);
    let stream = client.open(request(1)).unwrap();
    while let Some(message) = client.transmit(now, usize::MAX) {
        server.receive(now, message).unwrap();
    }
    server.accept(now, stream, Attributes::new()).unwrap();
    client.reset(stream, ResetCode::Cancelled, "mine");
    server.write(stream, b"on its way").unwrap();
    server.reset(stream, ResetCode::TargetReset, "yours");
    let ours: Vec<_> = std::iter::from_fn(|| client.transmit(now, usize::MAX)).collect();
    let theirs: Vec<_> = std::iter::from_fn(|| server.transmit(now, usize::MAX)).collect();
    ours.into_iter()
        .for_each(|message| server.receive(now, message).unwrap());
    theirs
        .into_iter()
        .for_each(|message| client.receive(now, message).unwrap());
    assert_eq!((client.streams(), server.streams()), (0, 0));
    assert_eq!(client.transmit(now, usize::MAX), None);
    assert_eq!(server.transmit(now, usize::MAX), None);
}

#[test]
fn half_closes_are_exact() {
    let mut victim = Victim::with_streams();
    victim.takes(data(0, 0, b"request"));
    victim.takes(Frame::Fin {
        stream: id(0),
        offset: 7,
    });
    assert_eq!(
        victim.link.read(victim.now, id(0), 100),
        Ok(Read::Data(Bytes::from_static(b"request")))
    );
    assert_eq!(victim.link.read(victim.now, id(0), 100), Ok(Read::End));
    // One more than the final offset: the end was taken too.
    let limit = 1024 * 1024 + 7;
    assert_eq!(
        victim.said(),
        [Frame::MaxStreamData {
            stream: id(0),
            consumed: 8,
            limit
        }]
    );
    assert_eq!(victim.link.write(id(0), b"answer"), Ok(Write::Accepted(6)));
    victim.link.finish(id(0)).unwrap();
    assert_eq!(victim.link.write(id(0), b"more"), Ok(Write::Finished));
    assert_eq!(
        victim.said(),
        [
            data(0, 0, b"answer"),
            Frame::Fin {
                stream: id(0),
                offset: 6
            }
        ]
    );
    victim.takes(Frame::MaxStreamData {
        stream: id(0),
        consumed: 6,
        limit: 1000,
    });
    assert_eq!(victim.link.streams(), 2, "the end is not acknowledged yet");
    victim.takes(Frame::MaxStreamData {
        stream: id(0),
        consumed: 7,
        limit: 1000,
    });
    assert_eq!(victim.link.streams(), 1);
}

#[test]
fn an_application_that_leaves_early_resets_and_one_that_is_done_delivers() {
    let mut victim = Victim::with_streams();
    victim.link.release(victim.now, id(2));
    assert!(matches!(
        victim.said()[..],
        [Frame::Reset {
            code: ResetCode::Cancelled,
            ..
        }]
    ));

    victim.takes(Frame::Fin {
        stream: id(0),
        offset: 0,
    });
    victim.link.write(id(0), b"last words").unwrap();
    victim.link.finish(id(0)).unwrap();
    victim.link.release(victim.now, id(0));
    let said = victim.said();
    assert!(said.contains(&data(0, 0, b"last words")), "{said:?}");
    assert!(said.contains(&Frame::MaxStreamData {
        stream: id(0),
        consumed: 1,
        limit: 1024 * 1024
    }));
    assert_eq!(victim.link.streams(), 1);
    // Nobody ever takes them: they are not kept for ever.
    victim.now += Duration::from_secs(59);
    let _ = victim.link.on_timeout(victim.now);
    assert_eq!(victim.link.streams(), 1);
    victim.now += Duration::from_secs(2);
    let _ = victim.link.on_timeout(victim.now);
    assert!(victim.said().iter().any(|frame| matches!(
        frame,
        Frame::Reset {
            code: ResetCode::Expired,
            ..
        }
    )));
    assert_eq!(victim.link.holdings().sending, 0);
}

#[test]
fn nobody_resumes_what_was_not_kept() {
    let mut victim = Victim::new(Limits::default());
    let request = request(0);
    victim.takes(Frame::Resume(kedge_proto::ResumeFrame {
        stream: id(0),
        key: request.key,
        offset: 0,
        consumed: 0,
        limit: 0,
        proof: common::secret(request.key, 0),
        next: request.resume,
        target: request.target,
        attributes: Attributes::new(),
    }));
    assert!(matches!(victim.events()[..], [Event::Resume(stream)] if stream == id(0)));
    assert_eq!(
        victim.link.accept(victim.now, id(0), Attributes::new()),
        Err(kedge_proto::NoStream)
    );
    victim.takes(data(0, 0, b"too early"));
    assert!(matches!(
        victim.said()[..],
        [Frame::Reset {
            code: ResetCode::Protocol,
            ..
        }]
    ));
}
