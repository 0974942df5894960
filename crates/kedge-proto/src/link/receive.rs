//! What comes in.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Link, progress};
use crate::codes::RefuseCode;
use crate::defaults::INITIAL_CREDIT;
use crate::error::LinkError;
use crate::event::{Event, RelayEvent, ResetCause, StreamEnd};
use crate::frame::{Frame, OpenFrame, ResumeFrame};
use crate::ids::StreamId;
use crate::recv::{RecvHalf, Violation};
use crate::send::{Keep, SendHalf};
use crate::stream::{Identity, Part, Phase, Request, Stream};

impl Link {
    /// Takes one message of the peer.
    ///
    /// # Errors
    /// When the peer broke the protocol in a way that ends the link. What it does wrong on one stream resets that stream
    /// only.
    pub fn receive(&mut self, now: Instant, message: Bytes) -> Result<(), LinkError> {
        let frame = Frame::decode(message)?;
        let name = frame.name();
        match frame {
            Frame::Ping(number) => self.liveness.asked(number),
            Frame::Pong(number) => self.liveness.answered(number, now),
            Frame::Goaway { reconnect_after } => {
                self.events
                    .push_back(Event::Goaway(Duration::from_millis(reconnect_after)));
            }
            Frame::Unknown(_) => {}
            Frame::Open(open) => self.on_open(open)?,
            Frame::Resume(resume) => self.on_resume(resume)?,
            Frame::Opened {
                stream,
                limit,
                attributes,
            } => {
                self.check_answer(stream, name)?;
                self.on_stream(stream, name, |link, id| {
                    link.on_opened(id, limit, attributes)
                })?;
            }
            Frame::Refused { stream, code, text } => {
                self.check_answer(stream, name)?;
                self.on_stream(stream, name, |link, id| link.on_refused(id, code, text))?;
            }
            Frame::Resumed {
                stream,
                offset,
                consumed,
                limit,
            } => {
                self.check_answer(stream, name)?;
                self.on_stream(stream, name, |link, id| {
                    link.on_resumed(now, id, offset, consumed, limit)
                })?;
            }
            Frame::Data {
                stream,
                offset,
                bytes,
            } => {
                self.on_stream(stream, name, |link, id| {
                    link.on_data(now, id, offset, bytes)
                })?;
            }
            Frame::Fin { stream, offset } => {
                self.on_stream(stream, name, |link, id| link.on_fin(id, offset))?;
            }
            Frame::MaxStreamData {
                stream,
                consumed,
                limit,
            } => {
                self.on_stream(stream, name, |link, id| {
                    link.on_credit(now, id, consumed, limit)
                })?;
            }
            Frame::Reset { stream, code, text } => self.on_stream(stream, name, |link, id| {
                let end = StreamEnd::Reset {
                    code,
                    text: text.clone(),
                };
                link.ended_by_peer(
                    id,
                    end,
                    RelayEvent::Reset {
                        code,
                        text,
                        cause: ResetCause::Peer,
                    },
                );
                Ok(())
            })?,
            Frame::Detached { stream, code } => {
                self.on_stream(stream, name, |link, id| link.on_detached(id, code))?;
            }
        }
        Ok(())
    }

    /// Finds the stream a frame is for. A frame for a stream that is forgotten comes late and is passed over; one for
    /// a stream that never was ends the link; a violation resets the stream.
    fn on_stream(
        &mut self,
        id: StreamId,
        frame: &'static str,
        act: impl FnOnce(&mut Self, StreamId) -> Result<(), Violation>,
    ) -> Result<(), LinkError> {
        let Some(stream) = self.streams.get(&id) else {
            let known = if id.opener() == self.side {
                self.next_own.is_none_or(|next| id < next)
            } else {
                self.newest_peer.is_some_and(|newest| id <= newest)
            };
            return if known {
                Ok(())
            } else {
                Err(LinkError::UnknownStream { frame, stream: id })
            };
        };
        if stream.phase != Phase::Over
            && let Err(violation) = act(self, id)
        {
            self.break_off(id, violation);
        }
        Ok(())
    }

    /// Only the side that was asked may answer.
    fn check_answer(&self, stream: StreamId, frame: &'static str) -> Result<(), LinkError> {
        if stream.opener() == self.side {
            Ok(())
        } else {
            Err(LinkError::Unexpected { frame, stream })
        }
    }

    fn on_open(&mut self, open: OpenFrame) -> Result<(), LinkError> {
        let (id, key, resume) = (open.stream, open.key, open.resume);
        let identity = Identity::new(key, resume, open.target.clone());
        let send = SendHalf::new(Keep::Unacknowledged, open.limit);
        self.on_request(id, identity, send, Request::Open(open))
    }

    fn on_resume(&mut self, frame: ResumeFrame) -> Result<(), LinkError> {
        let (id, key, resume) = (frame.stream, frame.key, frame.next);
        let identity = Identity::new(key, resume, frame.target.clone());
        let send = SendHalf::new(Keep::Unacknowledged, 0);
        self.on_request(id, identity, send, Request::Resume(frame))
    }

    fn on_request(
        &mut self,
        id: StreamId,
        identity: Identity,
        send: SendHalf,
        request: Request,
    ) -> Result<(), LinkError> {
        let fresh = self.newest_peer.is_none_or(|newest| id > newest);
        if id.opener() == self.side || !fresh {
            return Err(LinkError::StreamId(id));
        }
        self.newest_peer = Some(id);
        // Refusals wait for the socket too: a peer that asks and does not read would fill this side's memory with them.
        if self.counts.peers >= self.limits.max_streams.saturating_mul(2) {
            return Err(LinkError::Flood);
        }
        let event = match request {
            Request::Open(_) => Event::Incoming(id),
            Request::Resume(_) => Event::Resume(id),
        };
        let surplus = self.counts.peers >= self.limits.max_streams;
        let mut stream = Stream::new(
            Phase::Asking,
            Part::End,
            identity,
            send,
            RecvHalf::new(INITIAL_CREDIT),
        );
        stream.request = Some(Box::new(request));
        self.insert(id, stream);
        if surplus {
            self.counts.surplus = self.counts.surplus.saturating_add(1);
            self.refuse(
                id,
                RefuseCode::TooManyStreams,
                "the link carries as many streams as it may",
            );
        } else {
            self.events.push_back(event);
        }
        Ok(())
    }

    fn on_opened(
        &mut self,
        id: StreamId,
        limit: u64,
        attributes: crate::Attributes,
    ) -> Result<(), Violation> {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(());
        };
        if stream.phase != Phase::Asked {
            return Err(Violation::protocol(
                "OPENED for a stream that did not wait for it",
            ));
        }
        stream.send.acknowledge(0, limit, &mut self.spent)?;
        stream.phase = Phase::Open;
        let part = stream.part;
        self.events.push_back(match part {
            Part::End => Event::Opened(id, attributes),
            Part::Relay => Event::Relay(id, RelayEvent::Opened { limit, attributes }),
        });
        self.room_made(id);
        Ok(())
    }

    fn on_refused(
        &mut self,
        id: StreamId,
        code: RefuseCode,
        text: String,
    ) -> Result<(), Violation> {
        let waits = |stream: &Stream| matches!(stream.phase, Phase::Asked | Phase::Resuming);
        if !self.streams.get(&id).is_some_and(waits) {
            return Err(Violation::protocol(
                "REFUSED for a stream that did not wait for it",
            ));
        }
        let end = StreamEnd::Refused {
            code,
            text: text.clone(),
        };
        self.ended_by_peer(id, end, RelayEvent::Refused { code, text });
        Ok(())
    }

    fn on_data(
        &mut self,
        now: Instant,
        id: StreamId,
        offset: u64,
        bytes: Bytes,
    ) -> Result<(), Violation> {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(());
        };
        check_granted(stream)?;
        match stream.recv.arrive(offset, bytes, now)? {
            Some(bytes) => self
                .events
                .push_back(Event::Relay(id, RelayEvent::Data(bytes))),
            None => self.events.push_back(Event::Readable(id)),
        }
        Ok(())
    }

    fn on_fin(&mut self, id: StreamId, offset: u64) -> Result<(), Violation> {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(());
        };
        check_granted(stream)?;
        if stream.recv.arrive_end(offset)? {
            if stream.left.is_some() {
                stream.recv.leave();
            }
            let part = stream.part;
            self.events.push_back(match part {
                Part::End => Event::Readable(id),
                Part::Relay => Event::Relay(id, RelayEvent::Fin),
            });
        }
        Ok(())
    }

    fn on_credit(
        &mut self,
        now: Instant,
        id: StreamId,
        consumed: u64,
        limit: u64,
    ) -> Result<(), Violation> {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(());
        };
        check_granted(stream)?;
        let before = (stream.send.beyond(), stream.send.is_acknowledged());
        stream.send.acknowledge(consumed, limit, &mut self.spent)?;
        if let Some(left) = &mut stream.left {
            *left = now + self.limits.linger;
        }
        if stream.part == Part::End {
            let freed = before.0 - stream.send.beyond();
            if stream.send.is_acknowledged() && !before.1 {
                self.events.push_back(Event::Delivered(id));
            }
            self.less_written(freed);
        } else {
            self.mark_moved(id);
        }
        self.room_made(id);
        self.complete(id);
        Ok(())
    }

    fn on_resumed(
        &mut self,
        now: Instant,
        id: StreamId,
        offset: u64,
        consumed: u64,
        limit: u64,
    ) -> Result<(), Violation> {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(());
        };
        if stream.phase != Phase::Resuming {
            return Err(Violation::protocol(
                "RESUMED for a stream that did not wait for it",
            ));
        }
        match stream.part {
            Part::Relay => {
                stream.send = SendHalf::midway(offset, consumed, limit)?;
                stream.phase = Phase::Open;
                let event = RelayEvent::Resumed {
                    offset,
                    consumed,
                    limit,
                };
                self.events.push_back(Event::Relay(id, event));
            }
            Part::End => {
                let (beyond, acknowledged) = (stream.send.beyond(), stream.send.is_acknowledged());
                stream.send.resume(offset, consumed, limit)?;
                stream.phase = Phase::Open;
                let freed = beyond - stream.send.beyond();
                let delivered = stream.send.is_acknowledged() && !acknowledged;
                stream.recv.settle(crate::recv::Settle::WhenWorthIt);
                self.events.push_back(Event::Resumed(id));
                if delivered {
                    self.events.push_back(Event::Delivered(id));
                }
                self.less_written(freed);
            }
        }
        if let Some(stream) = self
            .streams
            .get_mut(&id)
            .filter(|stream| stream.left.is_some())
        {
            stream.left = Some(now + self.limits.linger);
        }
        self.want_control(id);
        self.room_made(id);
        self.complete(id);
        Ok(())
    }

    fn on_detached(&mut self, id: StreamId, code: crate::ResetCode) -> Result<(), Violation> {
        let Some(stream) = self.streams.get(&id) else {
            return Ok(());
        };
        match (stream.part, stream.phase) {
            (Part::End, Phase::Open) => {
                if let Some(detached) = self.detach(id) {
                    self.events
                        .push_back(Event::Detached(id, Box::new(detached), code));
                }
            }
            _ => {
                let text = "the way to the other end broke".to_owned();
                self.ended_by_peer(
                    id,
                    StreamEnd::Reset { code, text },
                    RelayEvent::Detached(code),
                );
            }
        }
        Ok(())
    }

    /// The peer has ended a stream: nothing is to be answered, it is forgotten at once.
    fn ended_by_peer(&mut self, id: StreamId, end: StreamEnd, relayed: RelayEvent) {
        let Some(stream) = self.streams.get(&id) else {
            return;
        };
        let part = stream.part;
        let news = stream.moved.then(|| progress(stream));
        self.forget(id);
        match part {
            Part::End => self.events.push_back(Event::Ended(id, end)),
            Part::Relay => {
                self.events.extend(news.map(|news| Event::Relay(id, news)));
                self.events.push_back(Event::Relay(id, relayed));
            }
        }
    }

    /// Credit has come: the stream may have something to send, and its writer something to write.
    fn room_made(&mut self, id: StreamId) {
        self.want_turn(id);
        let cap = self.limits.window_cap;
        if let Some(stream) = self.streams.get_mut(&id)
            && stream.starved
            && stream.send.room(cap) > 0
        {
            stream.starved = false;
            self.events.push_back(Event::Writable(id));
        }
    }
}

/// Before a stream is granted only its opener may send.
fn check_granted(stream: &mut Stream) -> Result<(), Violation> {
    // The peer goes on, so it has seen RESUMED.
    stream.identity.resumed_with = None;
    match (stream.phase, stream.request.as_deref()) {
        (Phase::Asked | Phase::Resuming, _) => {
            Err(Violation::protocol("sent before the stream was granted"))
        }
        (_, Some(Request::Resume(_))) => {
            Err(Violation::protocol("sent before the stream was resumed"))
        }
        _ => Ok(()),
    }
}
