//! The receiving direction of a stream: what arrived, what was taken, how far the sender may go.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use crate::codes::ResetCode;
use crate::defaults::{CHUNK, INITIAL_CREDIT, SLICE_MIN};
use crate::window::{Budget, Window};

/// What a peer did wrong on one stream; the stream is reset with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Violation {
    pub(crate) code: ResetCode,
    pub(crate) text: &'static str,
}

impl Violation {
    pub(crate) const fn protocol(text: &'static str) -> Self {
        Self {
            code: ResetCode::Protocol,
            text,
        }
    }
}

/// The receiving direction.
#[derive(Debug)]
pub(crate) struct RecvHalf {
    queue: VecDeque<Bytes>,
    /// The last of the queue, when pieces are too small to be worth their buffer.
    tail: BytesMut,
    received: u64,
    taken: u64,
    end: End,
    /// The sender may go this far; never goes back on one link.
    limit: u64,
    /// How far it may go as of the last update that went out.
    announced: Announced,
    due: Due,
    /// For a relay: what the far end grants, of which a part is passed on.
    far: Option<Far>,
    repeats: Repeats,
    pub(crate) window: Window,
}

/// The end of the direction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Unknown,
    /// FIN has come.
    Known,
    /// And the application, or the far end, has taken it.
    Taken,
    /// And the sender was told.
    Acknowledged,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Announced {
    consumed: u64,
    limit: u64,
}

/// Whether an update is worth a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Due {
    No,
    Yes,
}

/// What the far end of a relay has said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Far {
    forwarded: u64,
    consumed: u64,
    limit: u64,
}

/// Whether bytes that were received before may come again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Repeats {
    /// Right after a resume: the sender may not have known how far we were.
    Dropped,
    Violation,
}

/// What a read found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Read {
    /// Bytes, at least one.
    Data(Bytes),
    /// No more will come.
    End,
    /// None yet.
    Pending,
}

impl RecvHalf {
    /// Nothing has come; the sender may go up to `limit`.
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            queue: VecDeque::new(),
            tail: BytesMut::new(),
            received: 0,
            taken: 0,
            end: End::Unknown,
            limit,
            announced: Announced { consumed: 0, limit },
            due: Due::No,
            far: None,
            repeats: Repeats::Violation,
            window: Window::minimal(),
        }
    }

    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes this half holds.
    pub(crate) fn held(&self) -> u64 {
        if self.far.is_some() {
            0
        } else {
            self.received - self.taken
        }
    }

    /// What the sender may forget, the end included.
    pub(crate) fn consumed(&self) -> u64 {
        match (self.far, self.end) {
            (Some(far), _) => far.consumed,
            (None, End::Taken | End::Acknowledged) => self.taken + 1,
            (None, _) => self.taken,
        }
    }

    /// Whether everything has come and was taken; if so no byte is lost by letting go of the stream.
    pub(crate) fn is_taken(&self) -> bool {
        matches!(self.end, End::Taken | End::Acknowledged)
    }

    pub(crate) fn is_acknowledged(&self) -> bool {
        self.end == End::Acknowledged
    }

    /// Whether the sender has said where it ends.
    pub(crate) fn is_finished(&self) -> bool {
        self.end != End::Unknown
    }

    /// Bytes at `offset` have come. Gives back the part that is new, if this half passes it on.
    pub(crate) fn arrive(
        &mut self,
        offset: u64,
        mut bytes: Bytes,
        now: Instant,
    ) -> Result<Option<Bytes>, Violation> {
        let end = offset + bytes.len() as u64;
        if offset > self.received {
            return Err(Violation::protocol("bytes are missing before the offset"));
        }
        if end > self.limit {
            return Err(Violation {
                code: ResetCode::FlowControl,
                text: "more was sent than the credit allows",
            });
        }
        if offset < self.received {
            if self.repeats == Repeats::Violation {
                return Err(Violation::protocol("bytes were sent twice"));
            }
            let known = (self.received - offset).min(bytes.len() as u64);
            bytes = bytes.slice(usize::try_from(known).unwrap_or(bytes.len())..);
            if bytes.is_empty() {
                return Ok(None);
            }
        }
        if self.is_finished() {
            return Err(Violation::protocol("bytes after the end"));
        }
        self.received = end;
        self.window.arrived(end, now);
        if self.far.is_some() {
            return Ok(Some(bytes));
        }
        if bytes.len() >= SLICE_MIN {
            self.seal_tail();
            self.queue.push_back(bytes);
        } else {
            self.tail.extend_from_slice(&bytes);
            if self.tail.len() >= CHUNK {
                self.seal_tail();
            }
        }
        Ok(None)
    }

    fn seal_tail(&mut self) {
        if !self.tail.is_empty() {
            self.queue
                .push_back(std::mem::take(&mut self.tail).freeze());
        }
    }

    /// The end has come. Says whether it is news.
    pub(crate) fn arrive_end(&mut self, offset: u64) -> Result<bool, Violation> {
        if offset < self.received {
            return Err(Violation::protocol("the end lies before what was sent"));
        }
        if offset > self.received {
            return Err(Violation::protocol("bytes are missing before the end"));
        }
        match (self.end, self.repeats) {
            (End::Unknown, _) => {
                self.end = End::Known;
                Ok(true)
            }
            (_, Repeats::Dropped) => Ok(false),
            (_, Repeats::Violation) => Err(Violation::protocol("the end was sent twice")),
        }
    }

    /// Takes at most `max` bytes.
    pub(crate) fn read(&mut self, max: usize, now: Instant, budget: &mut Budget) -> Read {
        if self.queue.is_empty() {
            self.seal_tail();
        }
        let Some(front) = self.queue.front_mut() else {
            return self.read_end();
        };
        let bytes = front.split_to(front.len().min(max));
        if front.is_empty() {
            self.queue.pop_front();
        }
        self.taken += bytes.len() as u64;
        self.window.taken(self.taken, now, budget);
        if self.end == End::Known && self.taken == self.received {
            // The last byte and the end are one to the sender, whether or not anybody asks once more.
            self.end = End::Taken;
        }
        self.settle(Settle::WhenWorthIt);
        Read::Data(bytes)
    }

    fn read_end(&mut self) -> Read {
        match self.end {
            End::Unknown => {
                self.settle(Settle::Drained);
                Read::Pending
            }
            End::Known => {
                self.end = End::Taken;
                self.settle(Settle::WhenWorthIt);
                Read::End
            }
            End::Taken | End::Acknowledged => Read::End,
        }
    }

    /// From here on bytes are passed on. Gives back what was held.
    pub(crate) fn pass_on(&mut self) -> Vec<Bytes> {
        self.seal_tail();
        self.far = Some(Far {
            forwarded: self.taken,
            consumed: self.taken,
            limit: self.limit,
        });
        std::mem::take(&mut self.queue).into()
    }

    /// The far end of a relay has moved: bytes below `forwarded` have left this process, those below `consumed` were
    /// taken by the application there, which lets us go up to `limit`.
    pub(crate) fn far_moved(
        &mut self,
        forwarded: u64,
        consumed: u64,
        limit: u64,
        now: Instant,
        budget: &mut Budget,
    ) {
        let Some(far) = &mut self.far else { return };
        far.forwarded = far.forwarded.max(forwarded);
        far.limit = far.limit.max(limit);
        let news = consumed > far.consumed;
        far.consumed = far.consumed.max(consumed);
        // After a resume the far end may have seen the end on another link, before it comes again on this one.
        if matches!(self.end, End::Unknown | End::Known) && far.consumed > self.received {
            self.end = End::Taken;
        }
        self.window
            .taken(self.far.map_or(0, |far| far.forwarded), now, budget);
        self.settle(if news {
            Settle::Now
        } else {
            Settle::WhenWorthIt
        });
    }

    /// Recomputes the credit and decides whether to tell the sender.
    pub(crate) fn settle(&mut self, when: Settle) {
        let limit = match self.far {
            Some(far) => far
                .limit
                .min(far.forwarded.saturating_add(self.window.size())),
            None => self.taken.saturating_add(self.window.size()),
        };
        self.limit = self.limit.max(limit);
        let worth = match (self.end, when) {
            (End::Acknowledged, _) => false,
            (End::Taken, _) => true,
            (_, Settle::Now) => {
                self.consumed() > self.announced.consumed || self.limit > self.announced.limit
            }
            (_, Settle::Drained) => {
                let worth = self.window.step().min(INITIAL_CREDIT / 2);
                self.far.is_none() && self.taken >= self.announced.consumed + worth
            }
            (_, Settle::WhenWorthIt) => {
                let step = self.window.step();
                self.limit >= self.announced.limit.saturating_add(step)
                    || (self.far.is_none() && self.taken >= self.announced.consumed + step)
            }
        };
        if worth {
            self.due = Due::Yes;
        }
    }

    pub(crate) fn is_due(&self) -> bool {
        self.due == Due::Yes
    }

    /// The update that goes out now: `consumed` and `limit`.
    pub(crate) fn announce(&mut self, now: Instant) -> (u64, u64) {
        let consumed = self.consumed();
        if self.limit > self.announced.limit {
            self.window.granted(self.announced.limit, now);
        }
        self.announced = Announced {
            consumed,
            limit: self.limit,
        };
        self.due = Due::No;
        if self.end == End::Taken {
            self.end = End::Acknowledged;
        }
        (consumed, self.limit)
    }

    /// Once per PING: small news go out after all, and windows nobody uses shrink.
    pub(crate) fn tick(&mut self, budget: &mut Budget) {
        let taken = self.far.map_or(self.taken, |far| far.forwarded);
        self.window
            .tick(taken, self.limit.saturating_sub(taken), budget);
        self.settle(Settle::Now);
    }

    /// The link is gone; the stream may go on with another one.
    pub(crate) fn detach(&mut self, budget: &mut Budget) {
        self.window.detach(budget);
        self.due = Due::No;
        if self.end == End::Acknowledged {
            // Nobody knows whether the last update arrived.
            self.end = End::Taken;
        }
    }

    /// On a new link: bytes may come twice, and the credit begins anew.
    pub(crate) fn resume(&mut self) {
        self.repeats = Repeats::Dropped;
        self.limit = self
            .taken
            .saturating_add(self.window.size())
            .max(self.received);
        self.announced = Announced {
            consumed: self.consumed(),
            limit: self.limit,
        };
        // The end, if it was taken, is told by RESUME or RESUMED itself.
        if self.end == End::Taken {
            self.end = End::Acknowledged;
        }
    }

    /// A half that passes on what comes in; the far end grants `far_limit`.
    pub(crate) fn passing(far_limit: u64) -> Self {
        let mut half = Self::new(far_limit.min(INITIAL_CREDIT));
        half.far = Some(Far {
            forwarded: 0,
            consumed: 0,
            limit: far_limit,
        });
        half
    }

    /// The same, beginning in the middle, as RESUME and RESUMED say.
    pub(crate) fn midway(offset: u64, consumed: u64, far_limit: u64) -> Self {
        let mut half = Self::new(far_limit.min(offset.saturating_add(INITIAL_CREDIT)));
        half.received = offset;
        half.taken = offset;
        half.repeats = Repeats::Dropped;
        half.announced.consumed = consumed;
        half.far = Some(Far {
            forwarded: offset,
            consumed,
            limit: far_limit,
        });
        if consumed > offset {
            half.end = End::Acknowledged;
        }
        half
    }

    /// Begins with as much credit as window and far end allow; gives it back for the frame that tells the sender.
    pub(crate) fn restart(&mut self) -> u64 {
        self.settle(Settle::WhenWorthIt);
        self.due = Due::No;
        self.announced = Announced {
            consumed: self.consumed(),
            limit: self.limit,
        };
        self.limit
    }

    /// Nobody will read any more. Says whether everything had been read, which includes an end that nobody asked for.
    pub(crate) fn leave(&mut self) -> bool {
        if self.end == End::Known && self.taken == self.received {
            self.end = End::Taken;
            self.settle(Settle::WhenWorthIt);
        }
        self.is_taken()
    }

    /// Nothing is held any more.
    pub(crate) fn clear(&mut self, budget: &mut Budget) {
        self.queue = VecDeque::new();
        self.tail = BytesMut::new();
        self.taken = self.received;
        self.window.close(budget);
    }
}

/// How eager an update is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Settle {
    /// Any news goes out.
    Now,
    /// The application has taken everything and waits. A sender that may keep no more than [`INITIAL_CREDIT`] does so
    /// too: half of that is told, however large the window is.
    Drained,
    /// Only what is worth a frame.
    WhenWorthIt,
}
