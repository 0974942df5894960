//! What the handles of a link and its driver share: the state machine behind a mutex, and who waits
//! for what.
//!
//! The mutex is held for the time of one operation on memory, never across an await, and never
//! together with that of another link, but for one place: joining two streams to a relay takes both
//! in the order of their addresses.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use kedge_proto::{
    Attributes, Event, RefuseCode, RelayEvent, Request, ResetCode, Side, StreamEnd, StreamId,
};
use tokio::sync::{Notify, watch};

use crate::link::{CloseReason, LinkConfig, LinkEnd};
use crate::relay::RelayHalf;
use crate::stream::StreamError;

/// The time the state machine is told: tokio's, so that a paused clock holds here too.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

pub(crate) struct Shared {
    inner: Mutex<Inner>,
    /// Streams that wait to be accepted, or the end.
    pub(crate) arrivals: Notify,
    pub(crate) ended: watch::Sender<Option<LinkEnd>>,
    pub(crate) goaway: watch::Sender<Option<Duration>>,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    /// Bytes of memory that the WebSocket holds, as of the driver's last turn.
    pub(crate) wire: AtomicUsize,
}

pub(crate) struct Inner {
    pub(crate) proto: kedge_proto::Link,
    /// Streams whose handle somebody holds.
    slots: HashMap<StreamId, Slot>,
    /// Streams that are joined with one of another link.
    pub(crate) relays: HashMap<StreamId, RelayHalf>,
    /// Streams that wait to be accepted: at most as many as the peer may open.
    pub(crate) incoming: VecDeque<StreamId>,
    /// News for the other halves of relays, in order. Only the driver carries them over, and it does
    /// so after each message, so what waits here came from one message.
    pub(crate) outbox: VecDeque<(StreamId, RelayEvent)>,
    pub(crate) closing: Option<CloseReason>,
    pub(crate) end: Option<LinkEnd>,
    driver: Option<Waker>,
    goaway: Option<Duration>,
    arrived: bool,
}

/// What is known of a stream whose handle somebody holds, and who waits for more.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    pub(crate) opened: Option<Attributes>,
    pub(crate) delivered: bool,
    pub(crate) end: Option<StreamEnd>,
    pub(crate) reader: Option<Waker>,
    pub(crate) writer: Option<Waker>,
    /// Waits for the answer or the delivery.
    pub(crate) watcher: Option<Waker>,
    pub(crate) handles: u8,
}

/// Tasks to wake once the mutex is free again.
#[derive(Debug, Default)]
pub(crate) struct Wakes(Vec<Waker>);

impl Wakes {
    pub(crate) fn add(&mut self, waker: Option<Waker>) {
        self.0.extend(waker);
    }

    pub(crate) fn wake(&mut self) {
        self.0.drain(..).for_each(Waker::wake);
    }
}

impl Slot {
    fn take_all(&mut self, wakes: &mut Wakes) {
        wakes.add(self.reader.take());
        wakes.add(self.writer.take());
        wakes.add(self.watcher.take());
    }
}

impl Shared {
    pub(crate) fn new(side: Side, config: LinkConfig) -> Arc<Self> {
        let proto = kedge_proto::Link::new(side, config, now());
        Arc::new(Self {
            inner: Mutex::new(Inner {
                proto,
                slots: HashMap::new(),
                relays: HashMap::new(),
                incoming: VecDeque::new(),
                outbox: VecDeque::new(),
                closing: None,
                end: None,
                driver: None,
                goaway: None,
                arrived: false,
            }),
            arrivals: Notify::new(),
            ended: watch::Sender::new(None),
            goaway: watch::Sender::new(None),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            wire: AtomicUsize::new(0),
        })
    }

    /// The state. A panic of another holder cannot have left it half changed in a way that matters:
    /// the link's driver is gone then, and ends the link when it is dropped.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one operation, then wakes whoever it concerns.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut Inner, &mut Wakes) -> R) -> R {
        let mut wakes = Wakes::default();
        let mut inner = self.lock();
        let result = act(&mut inner, &mut wakes);
        let news = inner.settle(&mut wakes);
        if !inner.outbox.is_empty() {
            inner.wake_driver(&mut wakes);
        }
        drop(inner);
        self.publish(news);
        wakes.wake();
        result
    }

    /// Tells those who wait for the link rather than for a stream.
    pub(crate) fn publish(&self, news: News) {
        if news.arrived {
            self.arrivals.notify_waiters();
        }
        if let Some(delay) = news.goaway {
            self.goaway.send_replace(Some(delay));
        }
    }

    pub(crate) fn count_in(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn count_out(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The link has ended: lets go of everything, tells everybody, resets the other halves of relays.
    /// Only the first end counts.
    pub(crate) fn finish(&self, end: LinkEnd) {
        let mut wakes = Wakes::default();
        let mut inner = self.lock();
        if inner.end.is_some() {
            return;
        }
        tracing::debug!(%end, "link ended");
        inner.end = Some(end.clone());
        let relays = std::mem::take(&mut inner.relays);
        inner
            .slots
            .values_mut()
            .for_each(|slot| slot.take_all(&mut wakes));
        inner.incoming = VecDeque::new();
        inner.outbox = VecDeque::new();
        inner.proto.clear();
        wakes.add(inner.driver.take());
        drop(inner);
        self.ended.send_replace(Some(end));
        self.arrivals.notify_waiters();
        wakes.wake();
        for half in relays.into_values() {
            half.link_lost();
        }
    }
}

/// News for those who wait for the link rather than for a stream.
#[derive(Debug, Default)]
pub(crate) struct News {
    arrived: bool,
    goaway: Option<Duration>,
}

impl Inner {
    /// Who is to be woken when there is something to send.
    pub(crate) fn drive_with(&mut self, waker: &Waker) {
        match &mut self.driver {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// There is something to send, or to carry over to another link.
    pub(crate) fn wake_driver(&mut self, wakes: &mut Wakes) {
        wakes.add(self.driver.take());
    }

    pub(crate) fn slot(&mut self, id: StreamId) -> Option<&mut Slot> {
        self.slots.get_mut(&id)
    }

    pub(crate) fn add_slot(&mut self, id: StreamId, slot: Slot) {
        self.slots.insert(id, slot);
    }

    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn forget_slot(&mut self, id: StreamId) {
        self.slots.remove(&id);
    }

    /// Why nothing can be done with a stream any more; `None` while it lives or has finished well.
    pub(crate) fn failure(&self, id: StreamId) -> Option<StreamError> {
        match self.slots.get(&id).and_then(|slot| slot.end.clone()) {
            Some(StreamEnd::Finished) => None,
            Some(StreamEnd::Refused { code, text }) => Some(StreamError::Refused { code, text }),
            Some(StreamEnd::Reset { code, text }) => Some(StreamError::Reset { code, text }),
            None => self.end.clone().map(StreamError::Link),
        }
    }

    /// Ends a stream from this side, for its handles too.
    pub(crate) fn reset(&mut self, id: StreamId, code: ResetCode, text: &str, wakes: &mut Wakes) {
        self.proto.reset(id, code, text);
        self.end_slot(
            id,
            StreamEnd::Reset {
                code,
                text: text.to_owned(),
            },
            wakes,
        );
        self.wake_driver(wakes);
    }

    fn end_slot(&mut self, id: StreamId, end: StreamEnd, wakes: &mut Wakes) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.end.get_or_insert(end);
            slot.take_all(wakes);
        }
    }

    /// Takes what the state machine has to tell to where it belongs.
    pub(crate) fn settle(&mut self, wakes: &mut Wakes) -> News {
        while let Some(event) = self.proto.poll_event() {
            self.on_event(event, wakes);
        }
        News {
            arrived: std::mem::take(&mut self.arrived),
            goaway: self.goaway.take(),
        }
    }

    fn on_event(&mut self, event: Event, wakes: &mut Wakes) {
        match event {
            Event::Readable(id) => {
                if let Some(slot) = self.slots.get_mut(&id) {
                    wakes.add(slot.reader.take());
                }
            }
            Event::Writable(id) => {
                if let Some(slot) = self.slots.get_mut(&id) {
                    wakes.add(slot.writer.take());
                }
            }
            Event::Relay(id, event) => self.outbox.push_back((id, event)),
            Event::Opened(id, attributes) => {
                if let Some(slot) = self.slots.get_mut(&id) {
                    slot.opened = Some(attributes);
                    wakes.add(slot.watcher.take());
                }
            }
            Event::Delivered(id) => {
                if let Some(slot) = self.slots.get_mut(&id) {
                    slot.delivered = true;
                    wakes.add(slot.watcher.take());
                }
            }
            Event::Incoming(id) => {
                self.incoming.push_back(id);
                self.arrived = true;
            }
            Event::Ended(id, end) => {
                tracing::trace!(stream = %id, ?end, "stream ended");
                self.incoming.retain(|waiting| *waiting != id);
                self.end_slot(id, end, wakes);
            }
            Event::Goaway(delay) => self.goaway = Some(delay),
            Event::Resume(id) => {
                let text = "streams are not kept between links here";
                self.proto.refuse(id, RefuseCode::ResumeRejected, text);
                self.wake_driver(wakes);
            }
            Event::Detached(id, _, code) => {
                let text = "the way to the other end broke".to_owned();
                self.end_slot(id, StreamEnd::Reset { code, text }, wakes);
            }
            // Nothing is resumed from here yet, and what newer versions tell is not for this one.
            _ => {}
        }
    }

    /// The OPEN of a stream that waits for an answer.
    pub(crate) fn open_request(&self, id: StreamId) -> Option<&kedge_proto::OpenFrame> {
        match self.proto.request(id) {
            Some(Request::Open(open)) => Some(open),
            _ => None,
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("end", &*self.ended.borrow())
            .finish_non_exhaustive()
    }
}
