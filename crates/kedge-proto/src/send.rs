//! The sending direction of a stream: what was written, what went out, what was acknowledged.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::codes::ResetCode;
use crate::defaults::{CHUNK, INITIAL_CREDIT, MAX_DATA, SLICE_MIN, SPENT};
use crate::frame;
use crate::ids::StreamId;
use crate::recv::Violation;

/// Bytes of what stands before the data of a DATA frame, at most: type, stream and offset.
const HEAD: usize = 1 + 8 + 8;

/// A message to write, in two parts: the second is the memory in which its bytes were written or came in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outgoing {
    head: [u8; HEAD],
    head_len: usize,
    body: Bytes,
}

impl Outgoing {
    /// What comes first; nothing, perhaps.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        self.head.get(..self.head_len).unwrap_or_default()
    }

    /// What follows it.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// What follows the head, without it.
    #[must_use]
    pub fn into_body(self) -> Bytes {
        self.body
    }

    /// Bytes of the whole message.
    #[must_use]
    pub fn len(&self) -> usize {
        self.head_len + self.body.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The message in one piece.
    #[must_use]
    pub fn joined(self) -> Bytes {
        if self.head_len == 0 {
            return self.body;
        }
        let mut message = BytesMut::with_capacity(self.len());
        message.extend_from_slice(self.head());
        message.extend_from_slice(&self.body);
        message.freeze()
    }
}

impl From<frame::Frame> for Outgoing {
    fn from(frame: frame::Frame) -> Self {
        Self {
            head: [0; HEAD],
            head_len: 0,
            body: frame.encode(),
        }
    }
}

/// The sending direction.
#[derive(Debug)]
pub(crate) struct SendHalf {
    keep: Keep,
    /// Written, not sent on this link: bytes from `next` on.
    fresh: VecDeque<Piece>,
    /// Sent, not acknowledged: the bytes before `next`.
    kept: VecDeque<Bytes>,
    /// The last of them, when they are too small to be worth a piece each.
    kept_tail: BytesMut,
    /// Bytes held in `fresh`.
    fresh_len: u64,
    /// Bytes held in `kept` and `kept_tail`.
    kept_len: u64,
    next: u64,
    end: u64,
    /// Everything below was acknowledged.
    consumed: u64,
    limit: u64,
    finish: Finish,
}

/// Who can send the bytes again when the link is lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Keep {
    /// The other end of the way: a relay forgets what it has passed on.
    Nothing,
    /// This end: until they are acknowledged.
    Unacknowledged,
}

/// How far the end of the direction has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Finish {
    Open,
    /// A relay that began in the middle: perhaps the peer has seen the end on another link.
    Unsure,
    Asked,
    /// Sent on another link; the peer may have seen it.
    Again,
    Sent,
    Acknowledged,
}

#[derive(Debug)]
enum Piece {
    /// More may be added to it.
    Growing(BytesMut),
    Whole(Bytes),
}

/// Bytes to send: what is read into it goes out from where it lies.
#[derive(Debug)]
pub struct SendBuffer {
    bytes: BytesMut,
    limit: usize,
}

impl SendBuffer {
    /// Takes a buffer, for so many bytes and no more.
    #[must_use]
    pub fn new(bytes: BytesMut, limit: usize) -> Self {
        Self { bytes, limit }
    }

    /// The buffer.
    #[must_use]
    pub fn into_inner(self) -> BytesMut {
        self.bytes
    }

    /// Where bytes are read to.
    pub fn space(&mut self) -> bytes::buf::Limit<&mut BytesMut> {
        let left = self.limit.saturating_sub(self.len());
        (&mut self.bytes).limit(left)
    }

    /// Bytes in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl SendHalf {
    /// Nothing written yet; the peer lets us send up to `limit`.
    pub(crate) fn new(keep: Keep, limit: u64) -> Self {
        Self {
            keep,
            fresh: VecDeque::new(),
            kept: VecDeque::new(),
            kept_tail: BytesMut::new(),
            fresh_len: 0,
            kept_len: 0,
            next: 0,
            end: 0,
            consumed: 0,
            limit,
            finish: Finish::Open,
        }
    }

    /// A relay's half that begins in the middle, as RESUME and RESUMED say.
    pub(crate) fn midway(offset: u64, consumed: u64, limit: u64) -> Result<Self, Violation> {
        if consumed > offset + 1 {
            return Err(Violation::protocol("acknowledged more than was received"));
        }
        let finish = if consumed > offset {
            Finish::Acknowledged
        } else {
            Finish::Unsure
        };
        Ok(Self {
            next: offset,
            end: offset,
            consumed: consumed.min(offset),
            finish,
            ..Self::new(Keep::Nothing, limit)
        })
    }

    /// How many bytes the application may write now: as far as the credit goes, and a little more so that the next
    /// credit finds something to send.
    pub(crate) fn room(&self, cap: u64) -> u64 {
        let window = (self.limit - self.consumed.min(self.limit))
            .clamp(INITIAL_CREDIT, cap.max(INITIAL_CREDIT));
        (self.consumed + window).saturating_sub(self.end)
    }

    /// Bytes this half holds.
    pub(crate) fn held(&self) -> u64 {
        self.fresh_len + self.kept_len
    }

    /// Those of them that count against the link's budget.
    pub(crate) fn beyond(&self) -> u64 {
        self.held().saturating_sub(INITIAL_CREDIT)
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.finish, Finish::Open | Finish::Unsure)
    }

    pub(crate) fn is_acknowledged(&self) -> bool {
        self.finish == Finish::Acknowledged
    }

    /// The offset of the next byte that goes out.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// What the peer has taken, the end included.
    pub(crate) fn consumed(&self) -> u64 {
        if self.is_acknowledged() {
            self.end + 1
        } else {
            self.consumed
        }
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Appends bytes. What is too small for a frame of its own is joined with what came before it.
    pub(crate) fn write(&mut self, mut data: &[u8]) {
        if self.finish == Finish::Unsure {
            self.finish = Finish::Open;
        }
        self.end += data.len() as u64;
        self.fresh_len += data.len() as u64;
        while !data.is_empty() {
            let room = match self.fresh.back() {
                Some(Piece::Growing(piece)) => MAX_DATA.saturating_sub(piece.len()),
                _ => 0,
            };
            if room == 0 {
                let piece = BytesMut::with_capacity(data.len().min(MAX_DATA));
                self.fresh.push_back(Piece::Growing(piece));
                continue;
            }
            let (now, later) = data.split_at(room.min(data.len()));
            if let Some(Piece::Growing(piece)) = self.fresh.back_mut() {
                piece.extend_from_slice(now);
            }
            data = later;
        }
    }

    /// Appends bytes without copying them, when they are many.
    pub(crate) fn write_bytes(&mut self, data: Bytes) {
        if data.len() < SLICE_MIN || data.len() > MAX_DATA {
            self.write(&data);
            return;
        }
        if self.finish == Finish::Unsure {
            self.finish = Finish::Open;
        }
        self.end += data.len() as u64;
        self.fresh_len += data.len() as u64;
        self.fresh.push_back(Piece::Whole(data));
    }

    /// Appends a buffer, which is left empty. A large one goes out in its own memory, unless most of that is empty.
    pub(crate) fn write_buffer(&mut self, buffer: &mut SendBuffer) {
        if buffer.len() < buffer.bytes.capacity() / 2 {
            self.write(&buffer.bytes);
            buffer.bytes.clear();
        } else {
            self.write_bytes(std::mem::take(&mut buffer.bytes).freeze());
        }
    }

    /// No bytes follow.
    pub(crate) fn finish(&mut self) {
        self.finish = match self.finish {
            Finish::Open => Finish::Asked,
            Finish::Unsure => Finish::Again,
            later => later,
        };
    }

    /// Whether there is something to send that may be sent.
    pub(crate) fn is_ready(&self) -> bool {
        (self.next < self.end && self.next < self.limit) || self.fin_is_due()
    }

    fn fin_is_due(&self) -> bool {
        matches!(self.finish, Finish::Asked | Finish::Again) && self.next == self.end
    }

    /// The next message, and how many bytes of data are in it: DATA with at most `max` bytes, or FIN.
    pub(crate) fn transmit(&mut self, stream: StreamId, max: usize) -> Option<(Outgoing, usize)> {
        let credit = usize::try_from(self.limit.saturating_sub(self.next)).unwrap_or(usize::MAX);
        let max = max.min(credit).min(MAX_DATA);
        if max > 0 && !self.fresh.is_empty() {
            return self.transmit_data(stream, max);
        }
        if self.fin_is_due() {
            self.finish = Finish::Sent;
            let offset = self.end;
            return Some((frame::Frame::Fin { stream, offset }.into(), 0));
        }
        None
    }

    fn transmit_data(&mut self, stream: StreamId, max: usize) -> Option<(Outgoing, usize)> {
        let mut head = [0; HEAD];
        let mut rest = &mut head[..];
        frame::data_header(&mut rest, stream, self.next);
        let head_len = HEAD - rest.len();
        let mut body = match self.fresh.pop_front()? {
            Piece::Growing(piece) => piece.freeze(),
            Piece::Whole(piece) => piece,
        };
        if body.len() > max {
            let later = body.split_off(max);
            self.fresh.push_front(Piece::Whole(later));
        }
        let len = body.len();
        self.next += len as u64;
        self.fresh_len -= len as u64;
        if self.keep == Keep::Unacknowledged {
            self.retain(body.clone());
        }
        let message = Outgoing {
            head,
            head_len,
            body,
        };
        Some((message, len))
    }

    /// Large pieces are kept where they are; small ones are copied together, so that what is kept for a thousand
    /// keystrokes is not a thousand buffers.
    fn retain(&mut self, data: Bytes) {
        self.kept_len += data.len() as u64;
        if data.len() >= SLICE_MIN {
            self.seal_tail();
            self.kept.push_back(data);
        } else {
            self.kept_tail.extend_from_slice(&data);
            if self.kept_tail.len() >= CHUNK {
                self.seal_tail();
            }
        }
    }

    fn seal_tail(&mut self) {
        if !self.kept_tail.is_empty() {
            self.kept
                .push_back(std::mem::take(&mut self.kept_tail).freeze());
        }
    }

    /// The peer's application has taken everything below `consumed` and grants credit up to `limit`.
    /// Large pieces that are held no longer are added to `spent`.
    pub(crate) fn acknowledge(
        &mut self,
        consumed: u64,
        limit: u64,
        spent: &mut VecDeque<Bytes>,
    ) -> Result<(), Violation> {
        if limit < self.limit {
            return Err(Violation::flow_control("credit shrank"));
        }
        self.acknowledge_only(consumed, spent)?;
        self.limit = limit;
        Ok(())
    }

    fn acknowledge_only(
        &mut self,
        consumed: u64,
        spent: &mut VecDeque<Bytes>,
    ) -> Result<(), Violation> {
        let seen = matches!(
            self.finish,
            Finish::Unsure | Finish::Again | Finish::Sent | Finish::Acknowledged
        );
        let finished = seen && self.next == self.end;
        if finished && consumed == self.end + 1 {
            self.finish = Finish::Acknowledged;
        } else if consumed > self.next {
            return Err(Violation::flow_control("acknowledged what was not sent"));
        } else if consumed < self.consumed() {
            return Err(Violation::flow_control("acknowledgement went back"));
        }
        self.release(consumed.min(self.end), spent);
        Ok(())
    }

    fn release(&mut self, to: u64, spent: &mut VecDeque<Bytes>) {
        let mut less = to - self.consumed;
        self.consumed = to;
        if self.keep == Keep::Nothing {
            return;
        }
        self.kept_len -= less;
        while less > 0 {
            let Some(front) = self.kept.front_mut() else {
                break;
            };
            if front.len() as u64 > less {
                front.advance(usize::try_from(less).unwrap_or(front.len()));
                return;
            }
            less -= front.len() as u64;
            let front = self.kept.pop_front();
            if spent.len() < SPENT {
                spent.extend(front);
            }
        }
        if less >= self.kept_tail.len() as u64 {
            self.kept_tail = BytesMut::new();
        } else {
            self.kept_tail
                .advance(usize::try_from(less).unwrap_or_default());
        }
    }

    /// The link is gone: from now on everything not acknowledged is to be sent again, until [`resume`](Self::resume)
    /// says from where.
    pub(crate) fn rewind(&mut self) {
        self.seal_tail();
        while let Some(piece) = self.kept.pop_back() {
            self.fresh.push_front(Piece::Whole(piece));
        }
        self.fresh_len += std::mem::take(&mut self.kept_len);
        self.next = self.consumed;
        self.limit = self.next;
        if self.finish == Finish::Sent {
            self.finish = Finish::Again;
        }
    }

    /// The peer has received everything below `offset` and taken everything below `consumed`. Call after
    /// [`rewind`](Self::rewind).
    pub(crate) fn resume(
        &mut self,
        offset: u64,
        consumed: u64,
        limit: u64,
    ) -> Result<(), Violation> {
        if offset < self.consumed || offset > self.end {
            return Err(Violation::protocol(
                "resumed at an offset that was never reached",
            ));
        }
        if consumed > offset + 1 || consumed < self.consumed() {
            return Err(Violation::protocol(
                "resumed with an impossible acknowledgement",
            ));
        }
        if consumed == offset + 1 {
            if self.is_open() || offset != self.end {
                return Err(Violation::protocol(
                    "resumed after an end that was not written",
                ));
            }
            self.finish = Finish::Acknowledged;
        }
        // Bytes the peer has received but not taken are kept: it may lose this link too.
        let mut skip = offset - self.next;
        while skip > 0 {
            let Some(piece) = self.fresh.pop_front() else {
                break;
            };
            let mut data = match piece {
                Piece::Growing(piece) => piece.freeze(),
                Piece::Whole(data) => data,
            };
            let now = data.split_to(data.len().min(usize::try_from(skip).unwrap_or(usize::MAX)));
            skip -= now.len() as u64;
            self.fresh_len -= now.len() as u64;
            self.kept_len += now.len() as u64;
            self.kept.push_back(now);
            if !data.is_empty() {
                self.fresh.push_front(Piece::Whole(data));
            }
        }
        self.next = offset;
        self.limit = limit;
        self.release(consumed.min(self.end), &mut VecDeque::new());
        Ok(())
    }

    /// Why the direction stands where it does, for a stream that is over: nothing is held any more.
    pub(crate) fn clear(&mut self) {
        self.fresh = VecDeque::new();
        self.kept = VecDeque::new();
        self.kept_tail = BytesMut::new();
        self.fresh_len = 0;
        self.kept_len = 0;
    }
}

impl Violation {
    fn flow_control(text: &'static str) -> Self {
        Self {
            code: ResetCode::FlowControl,
            text,
        }
    }
}
