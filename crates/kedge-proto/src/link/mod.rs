//! One end of a link: streams, whose turn it is, whether the peer lives.
//!
//! - Bytes come in through [`Link::receive`] and go out through [`Link::transmit`], one message at a time.
//! - What happened comes out of [`Link::poll_event`]; drain it after every call that may cause news.
//! - The clock is asked for through [`Link::timeout`] and told through [`Link::on_timeout`].
//! - Applications read and write through [`Link::read`], [`Link::write`], [`Link::finish`], [`Link::reset`].

mod ends;
mod receive;
mod relays;
mod resumption;
mod transmit;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::attributes::Attributes;
use crate::codes::ResetCode;
use crate::defaults;
use crate::event::{Event, RelayEvent, ResetCause, StreamEnd};
use crate::frame::{self, Frame, OpenFrame};
use crate::ids::{ResumeHash, Side, StreamId, StreamKey, Target};
use crate::liveness::{Liveness, Pulse};
use crate::recv::Violation;
use crate::schedule::Schedule;
use crate::stream::{Part, Phase, Stream};
use crate::window::{Budget, SharedBudget, Window};

pub use ends::Write;
pub use resumption::ResumeRequest;

/// The limits of a link.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Streams that either side may have open at once.
    pub max_streams: u32,
    /// Bytes that all streams together may hold beyond their first 64 KiB each, in each direction.
    pub budget: u64,
    /// What all links of the process may hold so together, if that is bounded too.
    pub shared: Option<SharedBudget>,
    /// Bytes a new stream may receive ahead of its reader.
    pub initial_window: u64,
    /// Bytes a stream's window may grow to.
    pub window_cap: u64,
    /// Time between two PINGs.
    pub ping_interval: Duration,
    /// Time a stream that nobody holds any more may take to deliver its last bytes without progress.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_streams: defaults::MAX_STREAMS,
            budget: defaults::LINK_BUDGET,
            shared: None,
            initial_window: defaults::INITIAL_WINDOW,
            window_cap: defaults::WINDOW_CAP,
            ping_interval: defaults::PING_INTERVAL,
            linger: defaults::LINGER,
        }
    }
}

/// What a new stream asks for.
#[derive(Clone, Debug)]
pub struct OpenRequest {
    /// What kind of thing.
    pub target: Target,
    /// Its name across links.
    pub key: StreamKey,
    /// What will prove the right to resume it.
    pub resume: ResumeHash,
    /// Which one, as whom.
    pub attributes: Attributes,
}

impl OpenRequest {
    fn into_frame(self, stream: StreamId, limit: u64) -> OpenFrame {
        OpenFrame {
            stream,
            key: self.key,
            resume: self.resume,
            limit,
            target: self.target,
            attributes: self.attributes,
        }
    }
}

/// A stream that could not be opened from this side.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the link carries as many streams as it may")]
pub struct TooManyStreams {
    /// The id it would have had; no other stream will get it.
    pub stream: StreamId,
}

/// The link is dead.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the peer does not answer")]
pub struct Dead;

/// There is no such stream (any more).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no such stream")]
pub struct NoStream;

/// One end of a link.
#[derive(Debug)]
pub struct Link {
    side: Side,
    limits: Limits,
    streams: BTreeMap<StreamId, Stream>,
    /// The id of the next stream opened here.
    next_own: Option<StreamId>,
    /// The newest stream the peer has opened.
    newest_peer: Option<StreamId>,
    counts: Counts,
    /// Streams with a control frame to send, each at most once.
    control: VecDeque<StreamId>,
    /// Control frames sent since the last data.
    control_run: u32,
    schedule: Schedule,
    liveness: Liveness,
    goaway: Option<u64>,
    budget: Budget,
    /// Bytes that applications have written and that are not acknowledged, beyond the first [`defaults::INITIAL_CREDIT`] of each
    /// stream, as the peer's budget for windows counts them.
    written: u64,
    /// Streams whose write found the link full.
    crowded: BTreeSet<StreamId>,
    events: VecDeque<Event>,
    /// Relays whose sending half has moved, each at most once.
    moved: VecDeque<StreamId>,
    /// Pieces that the last acknowledgement gave back.
    spent: VecDeque<Bytes>,
    next_linger_check: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Counts {
    /// Streams of this side that are not forgotten.
    own: u32,
    /// Streams of the peer that are not forgotten.
    peers: u32,
    /// Streams of the peer that were too many, since the link began.
    surplus: u64,
}

/// What a link holds, for metrics and for tests that count.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Holdings {
    /// Streams that are not forgotten.
    pub streams: usize,
    /// Bytes written here and not acknowledged, or passing through and not yet sent.
    pub sending: u64,
    /// Bytes received and not read.
    pub receiving: u64,
    /// Bytes promised to peers beyond the first 64 KiB of each stream.
    pub promised: u64,
    /// Entries in queues: control frames, turns, events, waiting writers.
    pub queued: usize,
}

impl Link {
    /// A link that has just agreed on the protocol. Asks for a first PING at once, to learn the round trip.
    #[must_use]
    pub fn new(side: Side, limits: Limits, now: Instant) -> Self {
        Self {
            side,
            liveness: Liveness::new(limits.ping_interval, now),
            budget: Budget::new(limits.budget, limits.shared.clone()),
            limits,
            streams: BTreeMap::new(),
            next_own: Some(side.first_stream()),
            newest_peer: None,
            counts: Counts::default(),
            control: VecDeque::new(),
            control_run: 0,
            schedule: Schedule::default(),
            goaway: None,
            written: 0,
            crowded: BTreeSet::new(),
            events: VecDeque::new(),
            moved: VecDeque::new(),
            spent: VecDeque::new(),
            next_linger_check: None,
        }
    }

    /// The next piece of news.
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        while let Some(id) = self.moved.pop_front() {
            if let Some(stream) = self.streams.get_mut(&id).filter(|stream| stream.moved) {
                stream.moved = false;
                return Some(Event::Relay(id, progress(stream)));
            }
        }
        None
    }

    /// Memory that was written to and is no longer needed, for the next writes. Take it after each message that came.
    pub fn poll_spent(&mut self) -> Option<Bytes> {
        self.spent.pop_front()
    }

    /// When [`on_timeout`](Self::on_timeout) wants to be called.
    #[must_use]
    pub fn timeout(&self) -> Instant {
        let ping = self.liveness.timeout();
        self.next_linger_check
            .map_or(ping, |linger| linger.min(ping))
    }

    /// The clock has moved.
    ///
    /// # Errors
    /// When the peer was silent for too long: the link is to be dropped.
    pub fn on_timeout(&mut self, now: Instant) -> Result<(), Dead> {
        match self.liveness.tick(now) {
            Pulse::Dead => return Err(Dead),
            Pulse::Ping => self.settle_all(),
            Pulse::Quiet => {}
        }
        if self.next_linger_check.is_some_and(|at| now >= at) {
            let late = |stream: &Stream| stream.left.is_some_and(|at| now >= at);
            let expired: Vec<_> = self
                .streams
                .iter()
                .filter(|(_, stream)| late(stream))
                .map(|(id, _)| *id)
                .collect();
            for id in expired {
                self.reset(id, ResetCode::Expired, "nobody took the last bytes");
            }
            self.next_linger_check = self.streams.values().filter_map(|stream| stream.left).min();
        }
        Ok(())
    }

    /// Asks the peer to dial again after this.
    pub fn goaway(&mut self, reconnect_after: Duration) {
        self.goaway = Some(u64::try_from(reconnect_after.as_millis()).unwrap_or(u64::MAX));
    }

    /// The round trip of the last PING, once there was one.
    #[must_use]
    pub fn rtt(&self) -> Option<Duration> {
        self.liveness.rtt()
    }

    /// What the link holds. Looks at every stream.
    #[must_use]
    pub fn holdings(&self) -> Holdings {
        debug_assert!(
            self.adds_up(),
            "the link's sums are not those of its streams"
        );
        Holdings {
            streams: self.streams.len(),
            sending: self.streams.values().map(|stream| stream.send.held()).sum(),
            receiving: self.streams.values().map(|stream| stream.recv.held()).sum(),
            promised: self.budget.used(),
            queued: self.control.len()
                + self.schedule.len()
                + self.events.len()
                + self.moved.len()
                + self.crowded.len(),
        }
    }

    /// Whether what is counted for all streams together is what they hold.
    fn adds_up(&self) -> bool {
        let ends = self.streams.values().filter(|one| one.part == Part::End);
        let written: u64 = ends.map(|stream| stream.send.beyond()).sum();
        let windows = self.streams.values().map(|stream| &stream.recv.window);
        let reserved: u64 = windows.map(Window::reserved).sum();
        (written, reserved) == (self.written, self.budget.used())
    }

    /// How many streams are not forgotten.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// How many streams of the peer were refused here because the link carried as many as it may, since it began.
    #[must_use]
    pub fn surplus(&self) -> u64 {
        self.counts.surplus
    }

    /// The link is gone, and so is everything it carries. Nothing is told to anybody.
    pub fn clear(&mut self) {
        let ids: Vec<_> = self.streams.keys().copied().collect();
        for id in ids {
            self.forget(id);
        }
        self.events = VecDeque::new();
        self.moved = VecDeque::new();
        self.spent = VecDeque::new();
        self.control = VecDeque::new();
        self.next_linger_check = None;
    }

    /// A PING is due: a good moment for acknowledgements too small for a frame of their own.
    fn settle_all(&mut self) {
        let ids: Vec<_> = self.streams.keys().copied().collect();
        for id in ids {
            if let Some(stream) = self
                .streams
                .get_mut(&id)
                .filter(|stream| stream.phase == Phase::Open)
            {
                stream.recv.tick(&mut self.budget);
            }
            self.want_control(id);
        }
    }

    /// Queues the stream when it has a control frame to send.
    fn want_control(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if stream.has_control() && !stream.queued {
            stream.queued = true;
            self.control.push_back(id);
        }
    }

    /// Queues the stream when it has data to send.
    fn want_turn(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id).filter(|stream| stream.may_send()) {
            self.schedule.add(id, &mut stream.turn);
        }
    }

    /// The relay's other half is to hear how far the sending half has come.
    fn mark_moved(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id)
            && stream.part == Part::Relay
            && !stream.moved
        {
            stream.moved = true;
            self.moved.push_back(id);
        }
    }

    fn insert(&mut self, id: StreamId, stream: Stream) {
        if id.opener() == self.side {
            self.counts.own += 1;
        } else {
            self.counts.peers += 1;
        }
        self.streams.insert(id, stream);
    }

    /// Puts a stream of this side into its place, with the frame that asks for it.
    fn ask(&mut self, id: StreamId, mut stream: Stream, question: Frame) {
        stream.first = Some(Box::new(question));
        self.insert(id, stream);
        self.want_control(id);
    }

    /// Takes the id for a stream opened here.
    fn next_own(&mut self) -> Result<StreamId, TooManyStreams> {
        let stream = self.next_own.ok_or(TooManyStreams {
            stream: StreamId(crate::varint::MAX),
        })?;
        self.next_own = stream.next();
        let full = self.counts.own >= self.limits.max_streams;
        if full {
            Err(TooManyStreams { stream })
        } else {
            Ok(stream)
        }
    }

    /// Lets go of everything a stream holds and of every place it waits in.
    fn forget(&mut self, id: StreamId) -> Option<Stream> {
        let mut stream = self.streams.remove(&id)?;
        if id.opener() == self.side {
            self.counts.own = self.counts.own.saturating_sub(1);
        } else {
            self.counts.peers = self.counts.peers.saturating_sub(1);
        }
        self.empty(id, &mut stream);
        if stream.queued {
            self.control.retain(|other| *other != id);
        }
        if stream.moved {
            self.moved.retain(|other| *other != id);
        }
        Some(stream)
    }

    /// Lets go of the bytes of a stream.
    fn empty(&mut self, id: StreamId, stream: &mut Stream) {
        if stream.part == Part::End {
            self.less_written(stream.send.beyond());
        }
        stream.send.clear();
        stream.recv.clear(&mut self.budget);
        self.schedule.remove(id, &mut stream.turn);
        self.crowded.remove(&id);
    }

    /// Room has come free: whoever found the link full may try again.
    fn less_written(&mut self, bytes: u64) {
        self.written = self.written.saturating_sub(bytes);
        if bytes > 0 {
            let crowded = std::mem::take(&mut self.crowded);
            self.events.extend(crowded.into_iter().map(Event::Writable));
        }
    }

    /// The stream is over; `last` still goes out, if the peer has ever heard of the stream.
    fn end(&mut self, id: StreamId, last: Frame) {
        let Some(mut stream) = self.streams.remove(&id) else {
            return;
        };
        if stream.phase == Phase::Over {
            self.streams.insert(id, stream);
            return;
        }
        self.empty(id, &mut stream);
        let unheard = id.opener() == self.side && stream.first.is_some();
        stream.phase = Phase::Over;
        stream.first = None;
        stream.request = None;
        stream.left = None;
        stream.last = Some(Box::new(last));
        self.streams.insert(id, stream);
        if unheard {
            self.forget(id);
        } else {
            self.want_control(id);
        }
    }

    /// The peer violated the protocol on one stream.
    fn break_off(&mut self, id: StreamId, violation: Violation) {
        let Violation { code, text } = violation;
        let text = text.to_owned();
        if let Some(part) = self.streams.get(&id).map(|stream| stream.part) {
            self.end(
                id,
                Frame::Reset {
                    stream: id,
                    code,
                    text: text.clone(),
                },
            );
            self.events.push_back(match part {
                Part::End => Event::Ended(id, StreamEnd::Reset { code, text }),
                Part::Relay => Event::Relay(
                    id,
                    RelayEvent::Reset {
                        code,
                        text,
                        cause: ResetCause::Violation,
                    },
                ),
            });
        }
    }

    /// Forgets a stream whose two directions are delivered and acknowledged.
    fn complete(&mut self, id: StreamId) {
        let Some(stream) = self
            .streams
            .get_mut(&id)
            .filter(|stream| stream.is_complete())
        else {
            return;
        };
        let part = stream.part;
        let news = std::mem::take(&mut stream.moved).then(|| progress(stream));
        if news.is_some() {
            self.moved.retain(|other| *other != id);
        }
        if part == Part::End && id.opener() != self.side {
            let remains = self.detach(id).map(Box::new);
            self.events
                .extend(remains.map(|remains| Event::Completed(id, remains)));
        } else {
            self.forget(id);
        }
        match part {
            Part::End => self.events.push_back(Event::Ended(id, StreamEnd::Finished)),
            Part::Relay => {
                self.events.extend(news.map(|news| Event::Relay(id, news)));
                self.events
                    .push_back(Event::Relay(id, RelayEvent::Finished));
            }
        }
    }
}

/// A RESET with as much of the text as fits.
fn reset_frame(stream: StreamId, code: ResetCode, text: &str) -> Frame {
    Frame::Reset {
        stream,
        code,
        text: frame::cut(text).to_owned(),
    }
}

fn progress(stream: &Stream) -> RelayEvent {
    RelayEvent::Progress {
        forwarded: stream.send.next(),
        consumed: stream.send.consumed(),
        limit: stream.send.limit(),
    }
}
