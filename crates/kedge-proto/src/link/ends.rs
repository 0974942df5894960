//! What applications do with streams that end here.

use std::time::Instant;

use super::{Link, NoStream, OpenRequest, TooManyStreams, reset_frame};
use crate::attributes::Attributes;
use crate::codes::{RefuseCode, ResetCode};
use crate::defaults::INITIAL_CREDIT;
use crate::frame::{self, Frame};
use crate::ids::StreamId;
use crate::recv::{Read, RecvHalf};
use crate::send::{Keep, SendBuffer, SendHalf};
use crate::stream::{Identity, Part, Phase, Request, Stream};
use crate::window::Window;

/// What became of a write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Write {
    /// So many bytes were taken.
    Accepted(usize),
    /// None; [`Event::Writable`](crate::Event::Writable) will say when to try again.
    Full,
    /// None, and none ever: the direction was finished.
    Finished,
}

impl Link {
    /// Opens a stream. Up to 64 KiB may be written before the peer has answered.
    ///
    /// # Errors
    /// When this side has as many open as it may.
    pub fn open(&mut self, request: OpenRequest) -> Result<StreamId, TooManyStreams> {
        let id = self.next_own()?;
        let mut window = Window::minimal();
        window.widen(
            self.limits.initial_window,
            self.limits.window_cap,
            &mut self.budget,
        );
        let mut recv = RecvHalf::new(window.size());
        recv.window = window;
        let limit = recv.limit();
        let identity = Identity::new(request.key, request.resume, request.target.clone());
        let send = SendHalf::new(Keep::Unacknowledged, INITIAL_CREDIT);
        let stream = Stream::new(Phase::Asked, Part::End, identity, send, recv);
        self.ask(id, stream, Frame::Open(request.into_frame(id, limit)));
        Ok(id)
    }

    /// What the peer asks for with a stream that is not answered yet.
    #[must_use]
    pub fn request(&self, id: StreamId) -> Option<&Request> {
        self.streams.get(&id)?.request.as_deref()
    }

    /// Grants a stream the peer has opened.
    ///
    /// # Errors
    /// When it is gone, or was answered, or is not a new stream.
    pub fn accept(
        &mut self,
        now: Instant,
        id: StreamId,
        attributes: Attributes,
    ) -> Result<(), NoStream> {
        let stream = self.streams.get_mut(&id).ok_or(NoStream)?;
        if !matches!(stream.request.as_deref(), Some(Request::Open(_))) {
            return Err(NoStream);
        }
        stream.request = None;
        stream.phase = Phase::Open;
        stream.recv.window.widen(
            self.limits.initial_window,
            self.limits.window_cap,
            &mut self.budget,
        );
        stream.recv.settle(crate::recv::Settle::Now);
        let (_, limit) = stream.recv.announce(now);
        stream.first = Some(Box::new(Frame::Opened {
            stream: id,
            limit,
            attributes,
        }));
        self.want_control(id);
        Ok(())
    }

    /// Does not grant it.
    pub fn refuse(&mut self, id: StreamId, code: RefuseCode, text: &str) {
        if self
            .streams
            .get(&id)
            .is_some_and(|stream| stream.phase == Phase::Asking)
        {
            self.end(
                id,
                Frame::Refused {
                    stream: id,
                    code,
                    text: frame::cut(text).to_owned(),
                },
            );
        }
    }

    /// Takes at most `max` bytes of what the peer has sent.
    ///
    /// # Errors
    /// When the stream is over; its end was told by an event.
    pub fn read(&mut self, now: Instant, id: StreamId, max: usize) -> Result<Read, NoStream> {
        let stream = self.living(id)?;
        // Split borrows: the window may grow into the link's budget.
        let read = match self.streams.get_mut(&stream) {
            Some(stream) => stream.recv.read(max, now, &mut self.budget),
            None => return Err(NoStream),
        };
        self.want_control(id);
        Ok(read)
    }

    /// Takes bytes to send: as many as credit, the stream's share and the link's budget allow.
    ///
    /// # Errors
    /// When the stream is over; its end was told by an event.
    pub fn write(&mut self, id: StreamId, data: &[u8]) -> Result<Write, NoStream> {
        let id = self.living(id)?;
        if !self
            .streams
            .get(&id)
            .is_some_and(|stream| stream.send.is_open())
        {
            return Ok(Write::Finished);
        }
        let len = data.len().min(self.room(id));
        let stream = self.streams.get_mut(&id).ok_or(NoStream)?;
        let Some(now) = data.get(..len).filter(|now| !now.is_empty()) else {
            return Ok(Write::Full);
        };
        let before = stream.send.beyond();
        stream.send.write(now);
        self.written += stream.send.beyond() - before;
        self.want_turn(id);
        Ok(Write::Accepted(len))
    }

    /// How much [`write_buffer`](Self::write_buffer) may bring; when nothing,
    /// [`Event::Writable`](crate::Event::Writable) will say when to ask again.
    pub fn room(&mut self, id: StreamId) -> usize {
        let free = self.limits.budget.saturating_sub(self.written);
        let Some(stream) = self.streams.get_mut(&id) else {
            return 0;
        };
        let room = stream.send.room(self.limits.window_cap);
        let share = INITIAL_CREDIT
            .saturating_sub(stream.send.held())
            .saturating_add(free);
        let granted = usize::try_from(room.min(share)).unwrap_or(usize::MAX);
        if granted == 0 {
            stream.starved = true;
            if room > 0 {
                self.crowded.insert(id);
            }
        }
        granted
    }

    /// Takes all of a buffer, without copying it when it is large. The caller has asked for [`room`](Self::room).
    ///
    /// # Errors
    /// When the stream is over, or this direction of it is finished.
    pub fn write_buffer(&mut self, id: StreamId, buffer: &mut SendBuffer) -> Result<(), NoStream> {
        let id = self.living(id)?;
        let stream = self.streams.get_mut(&id).ok_or(NoStream)?;
        if !stream.send.is_open() {
            return Err(NoStream);
        }
        let before = stream.send.beyond();
        stream.send.write_buffer(buffer);
        self.written += stream.send.beyond() - before;
        self.want_turn(id);
        Ok(())
    }

    /// Whether control frames wait to be written.
    #[must_use]
    pub fn has_control(&self) -> bool {
        !self.control.is_empty()
    }

    /// No more will be written.
    ///
    /// # Errors
    /// When the stream is over; its end was told by an event.
    pub fn finish(&mut self, id: StreamId) -> Result<(), NoStream> {
        let id = self.living(id)?;
        self.streams.get_mut(&id).ok_or(NoStream)?.send.finish();
        self.want_turn(id);
        Ok(())
    }

    /// Ends both directions now. Nothing happens to a stream that is over.
    pub fn reset(&mut self, id: StreamId, code: ResetCode, text: &str) {
        if self.streams.contains_key(&id) {
            self.end(id, reset_frame(id, code, text));
        }
    }

    /// The application will not read any more. When it has not read to the end, the stream is reset. Says whether the
    /// stream goes on.
    pub fn release_reading(&mut self, id: StreamId) -> bool {
        let read = self
            .streams
            .get_mut(&id)
            .is_none_or(|stream| stream.recv.leave());
        if !read {
            self.reset(id, ResetCode::Cancelled, "the application left");
        }
        self.want_control(id);
        read
    }

    /// The application will not write any more. When it has not finished, the stream is reset. Says whether the stream
    /// goes on.
    pub fn release_writing(&mut self, id: StreamId) -> bool {
        let finished = self
            .streams
            .get(&id)
            .is_none_or(|stream| !stream.send.is_open());
        if !finished {
            self.reset(id, ResetCode::Cancelled, "the application left");
        }
        finished
    }

    /// The application lets go of both directions. When it has read to the end and finished writing, what it wrote is
    /// still delivered; otherwise the stream is reset.
    pub fn release(&mut self, now: Instant, id: StreamId) {
        if !self.release_reading(id) || !self.release_writing(id) {
            return;
        }
        if let Some(stream) = self
            .streams
            .get_mut(&id)
            .filter(|stream| stream.phase != Phase::Over)
        {
            let deadline = now + self.limits.linger;
            stream.left = Some(deadline);
            let next = self.next_linger_check.get_or_insert(deadline);
            *next = deadline.min(*next);
        }
    }

    /// Whether everything written was taken by the peer's application, the end included.
    #[must_use]
    pub fn is_delivered(&self, id: StreamId) -> bool {
        self.streams
            .get(&id)
            .is_some_and(|stream| stream.send.is_acknowledged())
    }

    fn living(&self, id: StreamId) -> Result<StreamId, NoStream> {
        let alive = |stream: &&Stream| !matches!(stream.phase, Phase::Asking | Phase::Over);
        self.streams
            .get(&id)
            .filter(alive)
            .map(|_| id)
            .ok_or(NoStream)
    }
}
