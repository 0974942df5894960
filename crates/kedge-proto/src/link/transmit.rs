//! What goes out next.

use std::time::Instant;

use bytes::Bytes;

use super::Link;
use crate::frame::Frame;
use crate::ids::StreamId;
use crate::schedule::Sent;
use crate::send::Outgoing;
use crate::stream::Part;

/// Control frames in a row after which one data frame passes: peers that provoke answers must not starve streams.
const CONTROL_RUN: u32 = 64;

impl Link {
    /// The next message to write, if there is any: life signs first, then control frames, then the streams in turn.
    /// `max_data` is how many bytes of stream data it may carry: [`MAX_DATA`](crate::defaults::MAX_DATA), or less while
    /// the socket is slow.
    pub fn transmit(&mut self, now: Instant, max_data: usize) -> Option<Bytes> {
        self.transmit_parts(now, max_data).map(Outgoing::joined)
    }

    /// The same in two parts, so that stream data is written from where it lies.
    pub fn transmit_parts(&mut self, now: Instant, max_data: usize) -> Option<Outgoing> {
        if let Some(message) = self.transmit_life(now) {
            return Some(message);
        }
        let first = self.control_run < CONTROL_RUN || self.schedule.head().is_none();
        if first && let Some(message) = self.transmit_control(now) {
            self.control_run += 1;
            return Some(message);
        }
        self.control_run = 0;
        self.transmit_data(now, max_data)
            .or_else(|| self.transmit_control(now))
    }

    /// The same without stream data, for a link that is closing.
    pub fn transmit_last(&mut self, now: Instant) -> Option<Outgoing> {
        self.transmit_life(now)
            .or_else(|| self.transmit_control(now))
    }

    fn transmit_life(&mut self, now: Instant) -> Option<Outgoing> {
        let pong = self.liveness.take_pong().map(Frame::Pong);
        let frame = pong.or_else(|| self.liveness.take_ping(now).map(Frame::Ping));
        let goaway = || {
            self.goaway
                .take()
                .map(|reconnect_after| Frame::Goaway { reconnect_after })
        };
        frame.or_else(goaway).map(Outgoing::from)
    }

    fn transmit_control(&mut self, now: Instant) -> Option<Outgoing> {
        while let Some(id) = self.control.pop_front() {
            let Some(stream) = self.streams.get_mut(&id) else {
                continue;
            };
            stream.queued = false;
            if let Some(first) = stream.first.take() {
                self.after_control(id);
                return Some(Outgoing::from(*first));
            }
            if let Some(last) = stream.last.take() {
                self.forget(id);
                return Some(Outgoing::from(*last));
            }
            if stream.recv.is_due() {
                let (consumed, limit) = stream.recv.announce(now);
                self.after_control(id);
                let credit = Frame::MaxStreamData {
                    stream: id,
                    consumed,
                    limit,
                };
                return Some(credit.into());
            }
        }
        None
    }

    fn after_control(&mut self, id: StreamId) {
        self.want_control(id);
        self.want_turn(id);
        self.complete(id);
    }

    fn transmit_data(&mut self, now: Instant, max_data: usize) -> Option<Outgoing> {
        while let Some(id) = self.schedule.head() {
            let stream = self.streams.get_mut(&id)?;
            if !stream.may_send() {
                self.schedule.sent(&mut stream.turn, 0, Sent::Dry);
                continue;
            }
            if !self.schedule.admits(&mut stream.turn) {
                continue;
            }
            let (message, len) = stream.send.transmit(id, max_data)?;
            let then = if stream.may_send() {
                Sent::More
            } else {
                Sent::Dry
            };
            self.schedule.sent(&mut stream.turn, len, then);
            if let Some(left) = &mut stream.left {
                *left = now + self.limits.linger;
            }
            if stream.part == Part::Relay {
                self.mark_moved(id);
            }
            return Some(message);
        }
        None
    }
}
