//! What a hub does: joins a stream of one link with a stream of another.
//!
//! The two halves tell each other what happened through [`RelayEvent`]s; whoever drives the links carries them across,
//! in order. A relay holds only what its opener's or acceptor's window lets come in and the other link has not taken
//! yet; it never acknowledges on its own, since it cannot know what the far application has taken.

use std::time::Instant;

use super::{Link, NoStream, OpenRequest, TooManyStreams, reset_frame};
use crate::codes::ResetCode;
use crate::defaults::INITIAL_CREDIT;
use crate::event::{Event, RelayEvent};
use crate::frame::{self, Frame, ResumeFrame};
use crate::ids::StreamId;
use crate::recv::RecvHalf;
use crate::send::{Keep, SendHalf};
use crate::stream::{Identity, Part, Phase, Request, Stream};

impl Link {
    /// Opens the acceptor's half of a relay. `far_limit` is the credit of the OPEN that came in on the other link.
    ///
    /// # Errors
    /// When this side has as many streams open as it may.
    pub fn open_relay(
        &mut self,
        request: OpenRequest,
        far_limit: u64,
    ) -> Result<StreamId, TooManyStreams> {
        let id = self.next_own()?;
        let identity = Identity::new(request.key, request.resume, request.target.clone());
        let mut recv = RecvHalf::passing(far_limit);
        recv.window.widen(
            self.limits.initial_window,
            self.limits.window_cap,
            &mut self.budget,
        );
        let limit = recv.restart();
        let send = SendHalf::new(Keep::Nothing, INITIAL_CREDIT);
        let stream = Stream::new(Phase::Asked, Part::Relay, identity, send, recv);
        self.ask(id, stream, Frame::Open(request.into_frame(id, limit)));
        Ok(id)
    }

    /// Passes a RESUME on: the acceptor's half of a relay that begins in the middle.
    ///
    /// # Errors
    /// When this side has as many streams open as it may.
    pub fn resume_relay(&mut self, resume: ResumeFrame) -> Result<StreamId, TooManyStreams> {
        let id = self.next_own()?;
        let identity = Identity::new(resume.key, resume.next, resume.target.clone());
        let mut recv = RecvHalf::midway(resume.offset, resume.consumed, resume.limit);
        recv.window.widen(
            self.limits.initial_window,
            self.limits.window_cap,
            &mut self.budget,
        );
        let limit = recv.restart();
        let send = SendHalf::new(Keep::Nothing, 0);
        let stream = Stream::new(Phase::Resuming, Part::Relay, identity, send, recv);
        let frame = ResumeFrame {
            stream: id,
            limit,
            ..resume
        };
        self.ask(id, stream, Frame::Resume(frame));
        Ok(id)
    }

    /// Makes a stream that waits for an answer the opener's half of a relay. What has come in already is passed on.
    ///
    /// # Errors
    /// When it is gone or was answered.
    pub fn accept_relay(&mut self, id: StreamId) -> Result<(), NoStream> {
        let stream = self.streams.get_mut(&id).ok_or(NoStream)?;
        let request = stream.request.as_deref().ok_or(NoStream)?;
        let resumed = match request {
            Request::Open(open) => {
                stream.send = SendHalf::new(Keep::Nothing, open.limit);
                None
            }
            Request::Resume(resume) => Some(SendHalf::midway(
                resume.offset,
                resume.consumed,
                resume.limit,
            )),
        };
        match resumed {
            None => {}
            Some(Ok(send)) => stream.send = send,
            Some(Err(violation)) => {
                self.break_off(id, violation);
                return Err(NoStream);
            }
        }
        stream.part = Part::Relay;
        stream.recv.window.widen(
            self.limits.initial_window,
            self.limits.window_cap,
            &mut self.budget,
        );
        let held = stream.recv.pass_on();
        let finished = stream.recv.is_finished();
        let data = held
            .into_iter()
            .map(|bytes| Event::Relay(id, RelayEvent::Data(bytes)));
        self.events.extend(data);
        if finished {
            self.events.push_back(Event::Relay(id, RelayEvent::Fin));
        }
        Ok(())
    }

    /// Applies what the other half of a relay has told.
    ///
    /// # Errors
    /// When this half is over; whoever drives the links resets the other.
    pub fn relay(&mut self, now: Instant, id: StreamId, event: RelayEvent) -> Result<(), NoStream> {
        let relayed =
            |stream: &&mut Stream| stream.part == Part::Relay && stream.phase != Phase::Over;
        let stream = self.streams.get_mut(&id).filter(relayed).ok_or(NoStream)?;
        match event {
            RelayEvent::Data(bytes) => {
                stream.send.write_bytes(bytes);
                self.want_turn(id);
            }
            RelayEvent::Fin => {
                stream.send.finish();
                self.want_turn(id);
            }
            RelayEvent::Progress {
                forwarded,
                consumed,
                limit,
            } => {
                stream
                    .recv
                    .far_moved(forwarded, consumed, limit, now, &mut self.budget);
                self.want_control(id);
            }
            RelayEvent::Opened { limit, attributes } => {
                stream.request = None;
                stream.phase = Phase::Open;
                stream.recv.far_moved(0, 0, limit, now, &mut self.budget);
                let (_, limit) = stream.recv.announce(now);
                stream.first = Some(Box::new(Frame::Opened {
                    stream: id,
                    limit,
                    attributes,
                }));
                self.want_control(id);
            }
            RelayEvent::Resumed {
                offset,
                consumed,
                limit,
            } => {
                stream.request = None;
                stream.phase = Phase::Open;
                let mut recv = RecvHalf::midway(offset, consumed, limit);
                recv.window =
                    std::mem::replace(&mut stream.recv.window, crate::window::Window::minimal());
                let limit = recv.restart();
                stream.recv = recv;
                let first = Frame::Resumed {
                    stream: id,
                    offset,
                    consumed,
                    limit,
                };
                stream.first = Some(Box::new(first));
                self.want_control(id);
            }
            RelayEvent::Refused { code, text } => {
                let text = frame::cut(&text).to_owned();
                self.end(
                    id,
                    Frame::Refused {
                        stream: id,
                        code,
                        text,
                    },
                );
            }
            RelayEvent::Reset { code, text, .. } => self.end(id, reset_frame(id, code, &text)),
            RelayEvent::Detached(code) => self.end(id, Frame::Detached { stream: id, code }),
            RelayEvent::Finished => {}
        }
        Ok(())
    }

    /// The link of the other half is gone and the far end keeps the stream: tells this end to keep it too.
    pub fn detach_relay(&mut self, id: StreamId) {
        if self
            .streams
            .get(&id)
            .is_some_and(|stream| stream.part == Part::Relay)
        {
            self.end(
                id,
                Frame::Detached {
                    stream: id,
                    code: ResetCode::LinkLost,
                },
            );
        }
    }
}
