//! From messages to bytes: small messages are written together, large ones from where they lie.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::AsyncWrite;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, OpCode};

use super::WireError;
use super::mask::{self, Masks};
use crate::buffers;

/// Bytes of small messages that wait for each other while there is more to write.
const BATCH: usize = 4 << 10;

/// Bytes from which a body is written from where it lies.
const LARGE: usize = 4 << 10;

/// Bytes that are masked at once: they are still in the processor's nearest cache then.
const MASKED: usize = 4 << 10;

/// Bytes of buffer that an idle link keeps.
const KEPT: usize = 512;

/// The writing direction.
#[derive(Debug)]
pub(super) struct Writer {
    role: Role,
    masks: Masks,
    out: BytesMut,
    /// Bytes of memory before `out`: written already.
    gone: usize,
    /// Follows `out`.
    body: Bytes,
    /// The memory that `body` is the rest of.
    whole: Bytes,
    /// A pong or a close, for which there was no room yet. One is enough: only the last ping is to be answered
    /// (RFC 6455 §5.5.3), and nothing follows a close.
    control: Option<(Control, Bytes)>,
    /// Written to what is below, which may hold it back.
    unflushed: bool,
}

impl Writer {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            masks: Masks::default(),
            out: BytesMut::new(),
            gone: 0,
            body: Bytes::new(),
            whole: Bytes::new(),
            control: None,
            unflushed: false,
        }
    }

    /// Bytes of memory held.
    pub(super) fn held(&self) -> usize {
        self.gone + self.out.capacity() + self.whole.len()
    }

    /// Sends a control frame as soon as there is room.
    pub(super) fn control(&mut self, kind: Control, payload: Bytes) {
        if !matches!(self.control, Some((Control::Close, _))) {
            self.control = Some((kind, payload));
        }
    }

    /// Waits until a message may be [put](Self::put).
    pub(super) fn poll_ready<W>(
        &mut self,
        io: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), WireError>>
    where
        W: AsyncWrite + Unpin,
    {
        if self.gone > 0 || self.out.len() >= BATCH || !self.body.is_empty() {
            ready!(self.poll_out(io, cx))?;
        }
        self.put_control()?;
        if self.unflushed {
            // What TLS holds back is as unsent as what is held here: what goes next is not decided before it is gone.
            ready!(Pin::new(&mut *io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes a message of two parts.
    pub(super) fn put(
        &mut self,
        opcode: OpCode,
        head: &[u8],
        body: Bytes,
    ) -> Result<(), WireError> {
        let mask = match self.role {
            Role::Server => None,
            Role::Client => Some(self.masks.next().ok_or_else(no_randomness)?),
        };
        let header = FrameHeader {
            opcode,
            mask,
            ..FrameHeader::default()
        };
        let len = head.len() + body.len();
        let direct = mask.is_none() && body.len() >= LARGE;
        let copied = if direct { head.len() } else { len };
        self.out.reserve(header.len(len as u64) + copied);
        header
            .format(len as u64, &mut (&mut self.out).writer())
            .map_err(|_| WireError::Oversized)?;
        match mask {
            None => self.out.extend_from_slice(head),
            Some(mask) => self.mask(head, mask, 0),
        }
        match mask {
            None if direct => {
                self.whole = body.clone();
                self.body = body;
            }
            None => self.out.extend_from_slice(&body),
            Some(mask) => self.mask(&body, mask, head.len()),
        }
        Ok(())
    }

    /// There is room: nothing large is being written.
    fn put_control(&mut self) -> Result<(), WireError> {
        match self.control.take() {
            Some((kind, payload)) => self.put(OpCode::Control(kind), &[], payload),
            None => Ok(()),
        }
    }

    fn mask(&mut self, bytes: &[u8], mask: [u8; 4], phase: usize) {
        let mut phase = phase;
        for bytes in bytes.chunks(MASKED) {
            let at = self.out.len();
            self.out.extend_from_slice(bytes);
            if let Some(bytes) = self.out.get_mut(at..) {
                mask::apply(bytes, mask, phase);
            }
            phase += bytes.len();
        }
    }

    /// Waits until everything is on its way, and lets go of the buffers.
    pub(super) fn poll_flush<W>(
        &mut self,
        io: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), WireError>>
    where
        W: AsyncWrite + Unpin,
    {
        ready!(self.poll_out(io, cx))?;
        self.put_control()?;
        ready!(self.poll_out(io, cx))?;
        if self.unflushed {
            ready!(Pin::new(&mut *io).poll_flush(cx))?;
            self.unflushed = false;
        }
        if self.out.capacity() > KEPT {
            self.out = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_out<W>(&mut self, io: &mut W, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        W: AsyncWrite + Unpin,
    {
        while !self.out.is_empty() || !self.body.is_empty() {
            let io = Pin::new(&mut *io);
            let written = if self.out.is_empty() {
                ready!(io.poll_write(cx, &self.body))?
            } else if self.body.is_empty() || !io.is_write_vectored() {
                ready!(io.poll_write(cx, &self.out))?
            } else {
                let both = [IoSlice::new(&self.out), IoSlice::new(&self.body)];
                ready!(io.poll_write_vectored(cx, &both))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            let first = written.min(self.out.len());
            self.out.advance(first);
            self.gone += first;
            if self.out.is_empty() {
                // The next message begins where the memory does.
                let _ = self.out.try_reclaim(self.gone);
                self.gone = 0;
            }
            self.body.advance((written - first).min(self.body.len()));
            if self.body.is_empty() && !self.whole.is_empty() {
                // Even an empty rest would keep the whole.
                self.body = Bytes::new();
                buffers::give(std::mem::take(&mut self.whole));
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn no_randomness() -> WireError {
    WireError::Io(io::Error::other("the system gives no randomness"))
}
