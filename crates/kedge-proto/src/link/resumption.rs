//! Streams that leave one link and go on with another.

use std::time::Instant;

use super::{Link, NoStream, TooManyStreams};
use crate::attributes::Attributes;
use crate::codes::{RefuseCode, ResetCode};
use crate::event::{Event, StreamEnd};
use crate::frame::{Frame, ResumeFrame};
use crate::ids::{ResumeHash, ResumeSecret, StreamId};
use crate::resume::Detached;
use crate::stream::{Part, Phase, Request, Stream};

/// How an end shows that it may resume a stream.
#[derive(Debug)]
pub struct ResumeRequest {
    /// The secret whose hash was announced by OPEN, or by the last RESUME that was answered with RESUMED. One whose
    /// RESUME was lost without an answer is shown again, with the same `next`.
    pub proof: ResumeSecret,
    /// The hash of the next one.
    pub next: ResumeHash,
    /// As in the OPEN.
    pub attributes: Attributes,
}

impl Link {
    /// The link is lost: takes out every stream that ends here and can go on with another link. What was not granted
    /// yet, and relays, cannot: they end.
    pub fn detach_all(&mut self) -> Vec<(StreamId, Detached)> {
        let ids: Vec<_> = self.streams.keys().copied().collect();
        let mut detached = Vec::new();
        for id in ids {
            let Some(stream) = self.streams.get(&id) else {
                continue;
            };
            if stream.part == Part::End && matches!(stream.phase, Phase::Open | Phase::Resuming) {
                detached.extend(self.detach(id).map(|stream| (id, stream)));
            } else {
                let told = matches!(stream.phase, Phase::Asked);
                self.forget(id);
                if told {
                    let text = "the link was lost before the stream was granted".to_owned();
                    let end = StreamEnd::Reset {
                        code: ResetCode::LinkLost,
                        text,
                    };
                    self.events.push_back(Event::Ended(id, end));
                }
            }
        }
        detached
    }

    /// Takes one stream out of the link.
    pub(super) fn detach(&mut self, id: StreamId) -> Option<Detached> {
        let mut stream = self.streams.remove(&id)?;
        stream.recv.detach(&mut self.budget);
        // Put back without its halves, so that every count and queue is settled in one place.
        let placeholder = Stream::new(
            Phase::Over,
            stream.part,
            stream.identity.clone(),
            crate::send::SendHalf::new(crate::send::Keep::Nothing, 0),
            crate::recv::RecvHalf::new(0),
        );
        let beyond = stream.send.beyond();
        let (queued, moved, turn, left) = (stream.queued, stream.moved, stream.turn, stream.left);
        let Stream {
            identity,
            mut send,
            recv,
            ..
        } = stream;
        self.streams.insert(
            id,
            Stream {
                queued,
                moved,
                turn,
                ..placeholder
            },
        );
        self.forget(id);
        self.less_written(beyond);
        send.rewind();
        Some(Detached {
            identity,
            send,
            recv,
            left: left.is_some(),
        })
    }

    /// Goes on with a stream that was opened from this side.
    ///
    /// # Errors
    /// When this side has as many streams open as it may; the stream is given back.
    pub fn resume(
        &mut self,
        now: Instant,
        mut detached: Detached,
        request: ResumeRequest,
    ) -> Result<StreamId, (TooManyStreams, Box<Detached>)> {
        let id = match self.next_own() {
            Ok(id) => id,
            Err(error) => return Err((error, Box::new(detached))),
        };
        let ResumeRequest {
            proof,
            next,
            attributes,
        } = request;
        detached.identity.resume = next;
        let (key, target) = (detached.identity.key, detached.identity.target.clone());
        let stream = self.attach(now, detached, Phase::Resuming);
        let frame = ResumeFrame {
            stream: id,
            key,
            offset: stream.recv.received(),
            consumed: stream.recv.consumed(),
            limit: stream.recv.limit(),
            proof,
            next,
            target,
            attributes,
        };
        self.ask(id, stream, Frame::Resume(frame));
        Ok(id)
    }

    /// Goes on with a stream that the peer had opened, and resumes with the request `id`. Whether the peer has shown
    /// the right proof was checked by the [`Registry`](crate::resume::Registry).
    ///
    /// # Errors
    /// When the request is gone or was answered, or the peer's offsets cannot be; the stream is lost then.
    pub fn accept_resume(
        &mut self,
        now: Instant,
        id: StreamId,
        mut detached: Detached,
    ) -> Result<(), NoStream> {
        let stream = self.streams.get_mut(&id).ok_or(NoStream)?;
        let Some(Request::Resume(request)) = stream.request.as_deref() else {
            return Err(NoStream);
        };
        let (offset, consumed, limit) = (request.offset, request.consumed, request.limit);
        if detached.send.resume(offset, consumed, limit).is_err() {
            self.refuse(id, RefuseCode::ResumeRejected, "the offsets do not fit");
            return Err(NoStream);
        }
        detached.identity.rotate(&request.proof, request.next);
        let (queued, turn) = (stream.queued, stream.turn);
        let mut stream = self.attach(now, detached, Phase::Open);
        stream.first = Some(Box::new(Frame::Resumed {
            stream: id,
            offset: stream.recv.received(),
            consumed: stream.recv.consumed(),
            limit: stream.recv.limit(),
        }));
        let delivered = stream.send.is_acknowledged();
        self.streams.insert(
            id,
            Stream {
                queued,
                turn,
                ..stream
            },
        );
        self.events.push_back(Event::Resumed(id));
        if delivered {
            self.events.push_back(Event::Delivered(id));
        }
        self.want_control(id);
        Ok(())
    }

    fn attach(&mut self, now: Instant, detached: Detached, phase: Phase) -> Stream {
        let Detached {
            identity,
            send,
            mut recv,
            left,
        } = detached;
        self.written += send.beyond();
        recv.window.widen(
            self.limits.initial_window,
            self.limits.window_cap,
            &mut self.budget,
        );
        recv.resume();
        let mut stream = Stream::new(phase, Part::End, identity, send, recv);
        stream.starved = true;
        if left {
            let deadline = now + self.limits.linger;
            stream.left = Some(deadline);
            let next = self.next_linger_check.get_or_insert(deadline);
            *next = deadline.min(*next);
        }
        stream
    }
}
