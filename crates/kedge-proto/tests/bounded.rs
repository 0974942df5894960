//! Whatever frames a peer sends, in whatever order, read or not: no panic, no memory beyond what was promised.

#![cfg(test)]

mod common;

use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{request, secret, small};
use kedge_proto::defaults::INITIAL_CREDIT;
use kedge_proto::{
    Attributes, Event, Frame, Limits, Link, OpenFrame, RefuseCode, RelayEvent, ResetCode,
    ResumeFrame, Side, StreamId,
};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Receive(Frame),
    Transmit(u8),
    Accept,
    Open,
    Read(u64, usize),
    Write(u64, usize),
    Finish(u64),
    Reset(u64),
    Release(u64),
    Pass(u64),
}

fn stream() -> impl Strategy<Value = StreamId> {
    (0..12_u64).prop_map(|value| StreamId::new(value).unwrap())
}

fn offset() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..200_000_u64, 1 => 0..kedge_proto::varint::MAX, 2 => Just(0)]
}

fn frame() -> impl Strategy<Value = Frame> {
    let code = (0..14_u64).prop_map(ResetCode::from_value);
    prop_oneof![
        8 => (stream(), offset(), 1..70_000_usize).prop_map(|(stream, offset, len)| {
            Frame::Data { stream, offset, bytes: Bytes::from(vec![1; len.min(65_536)]) }
        }),
        4 => (stream(), offset(), offset())
            .prop_map(|(stream, consumed, limit)| Frame::MaxStreamData { stream, consumed, limit }),
        2 => (stream(), offset()).prop_map(|(stream, offset)| Frame::Fin { stream, offset }),
        2 => (stream(), code.clone())
            .prop_map(|(stream, code)| Frame::Reset { stream, code, text: "x".into() }),
        2 => (stream(), offset())
            .prop_map(|(stream, limit)| Frame::Opened { stream, limit, attributes: Attributes::new() }),
        1 => (stream(), 0..14_u64).prop_map(|(stream, code)| {
            Frame::Refused { stream, code: RefuseCode::from_value(code), text: "x".into() }
        }),
        1 => (stream(), code).prop_map(|(stream, code)| Frame::Detached { stream, code }),
        1 => (stream(), offset(), offset(), offset()).prop_map(|(stream, offset, consumed, limit)| {
            Frame::Resumed { stream, offset, consumed, limit }
        }),
        1 => any::<u64>().prop_map(Frame::Ping),
        1 => any::<u64>().prop_map(Frame::Pong),
    ]
}

/// A new stream of the peer, with the next id: 0 means OPEN, 1 RESUME.
fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => frame().prop_map(Step::Receive),
        6 => any::<u8>().prop_map(Step::Transmit),
        4 => Just(Step::Accept),
        4 => Just(Step::Open),
        4 => (0..12_u64, 1..70_000_usize).prop_map(|(id, max)| Step::Read(id, max)),
        4 => (0..12_u64, 1..300_000_usize).prop_map(|(id, len)| Step::Write(id, len)),
        1 => (0..12_u64).prop_map(Step::Finish),
        1 => (0..12_u64).prop_map(Step::Reset),
        1 => (0..12_u64).prop_map(Step::Release),
        1 => (0..20_000_u64).prop_map(Step::Pass),
    ]
}

fn check(link: &Link, limits: &Limits) {
    let holdings = link.holdings();
    let streams = u64::from(limits.max_streams) * 3;
    assert!(holdings.streams as u64 <= streams, "{holdings:?}");
    let bound = limits.budget + streams * INITIAL_CREDIT;
    assert!(holdings.promised <= limits.budget, "{holdings:?}");
    assert!(holdings.receiving <= bound, "{holdings:?}");
    assert!(holdings.sending <= bound, "{holdings:?}");
    assert!(holdings.queued <= 4 * holdings.streams + 4, "{holdings:?}");
}

/// How the streams of the peer are answered.
#[derive(Clone, Copy, Debug)]
enum Answer {
    End,
    Relay,
}

fn run(side: Side, answer: Answer, steps: Vec<(Step, bool)>) {
    let limits = Limits {
        max_streams: 5,
        ..small()
    };
    let mut now = Instant::now();
    let mut link = Link::new(side, limits.clone(), now);
    let mut peers_next = side.peer().first_stream();
    let mut incoming = Vec::new();
    for (step, resume) in steps {
        match step {
            Step::Receive(frame) => {
                if link.receive(now, frame.encode()).is_err() {
                    break;
                }
            }
            Step::Transmit(messages) => {
                (0..messages).for_each(|_| drop(link.transmit(now, 20_000)));
            }
            Step::Open if resume => drop(link.open(request(1))),
            Step::Open => {
                let id = peers_next;
                peers_next = id.next().unwrap();
                let request = request(id.value());
                let frame = match id.value() % 3 {
                    0 => Frame::Resume(ResumeFrame {
                        stream: id,
                        key: request.key,
                        offset: 5,
                        consumed: 6,
                        limit: 100_000,
                        proof: secret(request.key, 0),
                        next: request.resume,
                        target: request.target,
                        attributes: request.attributes,
                    }),
                    _ => Frame::Open(OpenFrame {
                        stream: id,
                        key: request.key,
                        resume: request.resume,
                        limit: 100_000,
                        target: request.target,
                        attributes: request.attributes,
                    }),
                };
                if link.receive(now, frame.encode()).is_err() {
                    break;
                }
            }
            Step::Accept => {
                if let Some(id) = incoming.pop() {
                    let _ = match answer {
                        Answer::End => link.accept(now, id, Attributes::new()),
                        Answer::Relay => link.accept_relay(id).and_then(|()| {
                            let (limit, attributes) = (1 << 30, Attributes::new());
                            link.relay(now, id, RelayEvent::Opened { limit, attributes })
                        }),
                    };
                }
            }
            Step::Read(id, max) => drop(link.read(now, StreamId::new(id).unwrap(), max)),
            Step::Write(id, len) => drop(link.write(StreamId::new(id).unwrap(), &vec![2; len])),
            Step::Finish(id) => drop(link.finish(StreamId::new(id).unwrap())),
            Step::Reset(id) => link.reset(StreamId::new(id).unwrap(), ResetCode::Internal, "test"),
            Step::Release(id) => link.release(now, StreamId::new(id).unwrap()),
            Step::Pass(millis) => {
                now += Duration::from_millis(millis);
                if link.on_timeout(now).is_err() {
                    break;
                }
            }
        }
        while let Some(event) = link.poll_event() {
            if let Event::Incoming(id) | Event::Resume(id) = event {
                incoming.push(id);
            }
        }
        check(&link, &limits);
    }
    link.clear();
    let holdings = link.holdings();
    assert_eq!(
        (holdings.streams, holdings.sending, holdings.receiving),
        (0, 0, 0)
    );
    assert_eq!((holdings.promised, holdings.queued), (0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_server_of_streams(steps in prop::collection::vec((step(), any::<bool>()), 0..300)) {
        run(Side::Server, Answer::End, steps);
    }

    #[test]
    fn a_client_of_streams(steps in prop::collection::vec((step(), any::<bool>()), 0..300)) {
        run(Side::Client, Answer::End, steps);
    }

    #[test]
    fn a_relay(steps in prop::collection::vec((step(), any::<bool>()), 0..300)) {
        run(Side::Server, Answer::Relay, steps);
    }
}
