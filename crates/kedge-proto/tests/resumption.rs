//! Who may have a detached stream back, for how long, and what a peer cannot claim.

#![cfg(test)]

mod common;

use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{key, request, secret};
use kedge_proto::{
    Attributes, Detached, Event, Frame, Limits, Link, NoStream, Read, RefuseCode, Registry,
    ResumeFrame, Side, StreamId, Write,
};

fn id(value: u64) -> StreamId {
    StreamId::new(value).unwrap()
}

/// The acceptor's end of a stream that has lost its link: it has received `hello` and read `he`, and written `world`,
/// of which the peer has taken `wor`.
fn detached(now: Instant) -> Detached {
    let mut link = Link::new(Side::Server, Limits::default(), now);
    let request = request(7);
    let open = kedge_proto::OpenFrame {
        stream: id(0),
        key: request.key,
        resume: request.resume,
        limit: 1 << 20,
        target: request.target,
        attributes: request.attributes,
    };
    let receive = |link: &mut Link, frame: Frame| link.receive(now, frame.encode()).unwrap();
    receive(&mut link, Frame::Open(open));
    link.accept(now, id(0), Attributes::new()).unwrap();
    receive(
        &mut link,
        Frame::Data {
            stream: id(0),
            offset: 0,
            bytes: "hello".into(),
        },
    );
    assert_eq!(
        link.read(now, id(0), 2),
        Ok(Read::Data(Bytes::from_static(b"he")))
    );
    assert_eq!(link.write(id(0), b"world"), Ok(Write::Accepted(5)));
    while link.transmit(now, usize::MAX).is_some() {}
    receive(
        &mut link,
        Frame::MaxStreamData {
            stream: id(0),
            consumed: 3,
            limit: 1 << 20,
        },
    );
    let (_, detached) = link.detach_all().pop().unwrap();
    assert_eq!(detached.held(), 3 + 2);
    detached
}

/// A request for it, on stream `stream` of a new link.
fn resume(stream: u64, proof: u64) -> ResumeFrame {
    ResumeFrame {
        stream: id(stream),
        key: key(7),
        offset: 4,
        consumed: 3,
        limit: 1000,
        proof: secret(key(7), proof),
        next: secret(key(7), proof + 1).hash(),
        target: request(7).target,
        attributes: Attributes::new(),
    }
}

fn registry() -> Registry {
    Registry::new(Duration::from_secs(300), 2, 100)
}

/// Asks for the stream on a new link.
fn ask(now: Instant, frame: ResumeFrame) -> (Link, StreamId) {
    let mut link = Link::new(Side::Server, Limits::default(), now);
    let stream = frame.stream;
    link.receive(now, Frame::Resume(frame).encode()).unwrap();
    assert!(matches!(link.poll_event(), Some(Event::Resume(asked)) if asked == stream));
    (link, stream)
}

fn said(link: &mut Link, now: Instant) -> Vec<Frame> {
    std::iter::from_fn(|| link.transmit(now, usize::MAX))
        .map(|message| Frame::decode(message).unwrap())
        .collect()
}

#[test]
fn it_goes_on_where_it_was() {
    let now = Instant::now();
    let mut registry = registry();
    registry.keep(detached(now), now).unwrap();
    let frame = resume(0, 0);
    let stream = registry.claim(&frame, now).unwrap();
    assert!(registry.is_empty() && registry.bytes() == 0);
    let (mut link, id) = ask(now, frame);
    link.accept_resume(now, id, stream).unwrap();
    let said = said(&mut link, now);
    let limit = 1024 * 1024 + 2;
    assert_eq!(
        said,
        [
            Frame::Resumed {
                stream: id,
                offset: 5,
                consumed: 2,
                limit
            },
            Frame::Data {
                stream: id,
                offset: 4,
                bytes: "d".into()
            },
        ]
    );
    // Bytes that come again are dropped to the byte.
    let data = Frame::Data {
        stream: id,
        offset: 3,
        bytes: "lo, again".into(),
    };
    link.receive(now, data.encode()).unwrap();
    let mut got = Vec::new();
    while let Ok(Read::Data(bytes)) = link.read(now, id, 100) {
        got.extend(bytes);
    }
    assert_eq!(got, b"llo, again");
}

#[test]
fn a_wrong_proof_changes_nothing_and_looks_like_an_unknown_key() {
    let now = Instant::now();
    let mut registry = registry();
    registry.keep(detached(now), now).unwrap();
    let unknown = ResumeFrame {
        key: key(8),
        ..resume(0, 0)
    };
    let other_target = ResumeFrame {
        target: "pod".parse().unwrap(),
        ..resume(0, 0)
    };
    for wrong in [resume(0, 1), unknown, other_target] {
        assert_eq!(
            registry.claim(&wrong, now).unwrap_err(),
            RefuseCode::ResumeRejected
        );
    }
    assert_eq!(registry.len(), 1);
    assert!(registry.claim(&resume(0, 0), now).is_ok());
    assert!(
        registry.claim(&resume(0, 0), now).is_err(),
        "it is not there twice"
    );
}

#[test]
fn a_proof_is_good_again_only_until_the_peer_has_gone_on() {
    let now = Instant::now();
    for goes_on in [false, true] {
        let mut registry = registry();
        let (mut link, id) = ask(now, resume(0, 0));
        link.accept_resume(now, id, detached(now)).unwrap();
        said(&mut link, now);
        if goes_on {
            let credit = Frame::MaxStreamData {
                stream: id,
                consumed: 4,
                limit: 1000,
            };
            link.receive(now, credit.encode()).unwrap();
        }
        let (_, stream) = link.detach_all().pop().unwrap();
        registry.keep(stream, now).unwrap();
        assert_eq!(registry.claim(&resume(0, 0), now).is_err(), goes_on);
        if goes_on {
            assert!(registry.claim(&resume(0, 1), now).is_ok());
        }
    }
}

#[test]
fn offsets_that_cannot_be_are_refused() {
    let now = Instant::now();
    for (offset, consumed) in [(2, 2), (6, 3), (4, 2), (4, 5), (5, 6), (4, 6)] {
        let (mut link, id) = ask(
            now,
            ResumeFrame {
                offset,
                consumed,
                ..resume(0, 0)
            },
        );
        let refused = link.accept_resume(now, id, detached(now));
        assert_eq!(refused, Err(NoStream), "{offset} {consumed}");
        let said = said(&mut link, now);
        assert!(
            matches!(
                said[..],
                [Frame::Refused {
                    code: RefuseCode::ResumeRejected,
                    ..
                }]
            ),
            "{said:?}"
        );
        assert_eq!(link.streams(), 0);
    }
}

#[test]
fn what_is_kept_is_bounded_in_number_bytes_and_time() {
    let now = Instant::now();
    let mut few = Registry::new(Duration::from_secs(300), 1, 100);
    few.keep(detached(now), now).unwrap();
    assert!(few.keep(detached(now), now).is_err());
    let mut small = Registry::new(Duration::from_secs(300), 10, 9);
    small.keep(detached(now), now).unwrap();
    assert!(small.keep(detached(now), now).is_err());
    assert_eq!(small.bytes(), 5);

    let mut registry = registry();
    registry.keep(detached(now), now).unwrap();
    let late = now + Duration::from_secs(300);
    assert_eq!(registry.timeout(), Some(late));
    assert!(registry.expire(late - Duration::from_secs(1)).is_empty());
    assert!(registry.claim(&resume(0, 0), late).is_err());
    assert_eq!(registry.expire(late).len(), 1);
    assert_eq!(
        (registry.len(), registry.bytes(), registry.timeout()),
        (0, 0, None)
    );
}

#[test]
fn a_detached_notice_hands_the_stream_out() {
    let now = Instant::now();
    let (mut link, id) = ask(now, resume(0, 0));
    link.accept_resume(now, id, detached(now)).unwrap();
    said(&mut link, now);
    while link.poll_event().is_some() {}
    let notice = Frame::Detached {
        stream: id,
        code: kedge_proto::ResetCode::LinkLost,
    };
    link.receive(now, notice.encode()).unwrap();
    let event = link.poll_event();
    assert!(
        matches!(&event, Some(Event::Detached(told, stream, _)) if *told == id && stream.key() == key(7)),
        "{event:?}"
    );
    let holdings = link.holdings();
    assert_eq!(
        (holdings.streams, holdings.sending, holdings.promised),
        (0, 0, 0)
    );
}
