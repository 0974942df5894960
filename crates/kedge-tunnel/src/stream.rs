//! One stream as the application sees it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use kedge_proto::{
    Attributes, NoStream, Read, RefuseCode, ResetCode, SendBuffer, StreamEnd, StreamId, Write,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::buffers;
use crate::defaults::{POOLED_FROM, SPLICE_BUFFER};
use crate::link::LinkEnd;
use crate::shared::{Inner, Shared, Slot, now};

/// A stream: reads, writes, `shutdown` for the end of what is written. Dropping it before both directions have ended
/// resets it; after that, what was written is still delivered.
#[derive(Debug)]
pub struct TunnelStream {
    recv: RecvHalf,
    send: SendHalf,
}

impl TunnelStream {
    /// The handle of a stream that the link knows, or that has ended before it began.
    pub(crate) fn new(shared: &Arc<Shared>, inner: &mut Inner, id: StreamId, slot: Slot) -> Self {
        inner.add_slot(id, Slot { handles: 2, ..slot });
        let handle = || Handle {
            shared: Arc::clone(shared),
            id,
        };
        Self {
            recv: RecvHalf { handle: handle() },
            send: SendHalf { handle: handle() },
        }
    }

    /// Waits for the peer's answer; at once, and without attributes, for a stream that was accepted here. May be asked
    /// again. A peer that is alive may take its time: bound it.
    ///
    /// # Errors
    /// When the stream was refused, reset or lost.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn opened(&mut self) -> Result<Attributes, OpenError> {
        self.send.handle.watch(|slot| slot.opened.clone()).await
    }

    /// Waits until the peer's application has taken everything, the end included. Only comes true after `shutdown`.
    ///
    /// # Errors
    /// When the stream was refused, reset or lost before that.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn delivered(&mut self) -> Result<(), StreamError> {
        let finished = |slot: &Slot| slot.delivered || slot.end == Some(StreamEnd::Finished);
        self.send
            .handle
            .watch(|slot| finished(slot).then_some(()))
            .await
    }

    /// Ends both directions now, and tells the peer why.
    pub fn reset(&self, code: ResetCode, text: &str) {
        self.send.reset(code, text);
    }

    /// A way to [`Self::reset`] the stream while somebody else reads and writes it.
    #[must_use]
    pub fn resetter(&self) -> Resetter {
        let Handle { shared, id } = &self.send.handle;
        Resetter {
            handle: Handle {
                shared: Arc::clone(shared),
                id: *id,
            },
        }
    }

    /// Parts the two directions. Dropping a half whose direction has not ended resets the stream: an end that nobody
    /// asked for must not look like one.
    #[must_use]
    pub fn split(self) -> (RecvHalf, SendHalf) {
        (self.recv, self.send)
    }
}

impl AsyncRead for TunnelStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.recv).poll_read(cx, buf)
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.send).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.send).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.send).poll_shutdown(cx)
    }
}

/// Resets a stream from beside. Dropping it does nothing.
#[derive(Debug)]
pub struct Resetter {
    handle: Handle,
}

impl Resetter {
    /// Ends both directions now, and tells the peer why; nothing when the stream has ended already.
    pub fn reset(&self, code: ResetCode, text: &str) {
        let Handle { shared, id } = &self.handle;
        shared.with(|inner, wakes| inner.reset(*id, code, text, wakes));
    }
}

/// What the peer writes.
#[derive(Debug)]
pub struct RecvHalf {
    handle: Handle,
}

impl AsyncRead for RecvHalf {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let read = ready!(self.handle.poll_read(cx, buf.remaining()))?;
        if let Some(bytes) = read {
            buf.put_slice(&bytes);
            buffers::give(bytes);
        }
        Poll::Ready(Ok(()))
    }
}

impl RecvHalf {
    /// The next bytes, in the piece in which they came; `None` at the end.
    pub(crate) fn poll_bytes(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamError>> {
        self.handle.poll_read(cx, usize::MAX)
    }
}

impl Drop for RecvHalf {
    fn drop(&mut self) {
        let Handle { shared, id } = &self.handle;
        shared.with(|inner, wakes| {
            if !inner.proto.release_reading(*id) {
                let text = "the other half was dropped";
                inner.reset(*id, ResetCode::Cancelled, text, wakes);
            }
            inner.wake_driver(wakes);
            self.handle.leave(inner);
        });
    }
}

/// What the peer reads.
#[derive(Debug)]
pub struct SendHalf {
    handle: Handle,
}

impl SendHalf {
    /// Ends both directions now, and tells the peer why.
    pub fn reset(&self, code: ResetCode, text: &str) {
        let Handle { shared, id } = &self.handle;
        shared.with(|inner, wakes| inner.reset(*id, code, text, wakes));
    }

    /// Waits until something can be written, and says how much.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, StreamError>> {
        let Handle { shared, id } = &self.handle;
        let mut inner = shared.lock();
        if let Some(failure) = inner.failure(*id) {
            return Poll::Ready(Err(failure));
        }
        let room = inner.proto.room(*id);
        if room > 0 {
            return Poll::Ready(Ok(room));
        }
        if let Some(slot) = inner.slot(*id) {
            slot.writer = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Writes all of a buffer that is not larger than there was room for.
    pub(crate) fn write_buffer(&mut self, buffer: &mut SendBuffer) -> Result<(), StreamError> {
        let Handle { shared, id } = &self.handle;
        shared.with(|inner, wakes| {
            if let Some(failure) = inner.failure(*id) {
                return Err(failure);
            }
            inner
                .proto
                .write_buffer(*id, buffer)
                .map_err(|_| StreamError::finished())?;
            inner.wake_driver(wakes);
            Ok(())
        })
    }

    /// As [`TunnelStream::delivered`].
    ///
    /// # Errors
    /// When the stream was refused, reset or lost before that.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn delivered(&mut self) -> Result<(), StreamError> {
        let finished = |slot: &Slot| slot.delivered || slot.end == Some(StreamEnd::Finished);
        self.handle.watch(|slot| finished(slot).then_some(())).await
    }
}

impl AsyncWrite for SendHalf {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Handle { shared, id } = &self.handle;
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        shared.with(|inner, wakes| {
            if let Some(failure) = inner.failure(*id) {
                return Poll::Ready(Err(failure.into()));
            }
            match put(inner, *id, buf) {
                Ok(Write::Accepted(len)) => {
                    inner.wake_driver(wakes);
                    Poll::Ready(Ok(len))
                }
                Ok(Write::Full) => {
                    if let Some(slot) = inner.slot(*id) {
                        slot.writer = Some(cx.waker().clone());
                    }
                    Poll::Pending
                }
                Ok(Write::Finished) | Err(_) => {
                    let text = "written after the end of the stream";
                    Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, text)))
                }
            }
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What was accepted goes out without being asked for.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Handle { shared, id } = &self.handle;
        shared.with(|inner, wakes| {
            if let Some(failure) = inner.failure(*id) {
                return Poll::Ready(Err(failure.into()));
            }
            // A stream that the link has forgotten is one that had finished.
            let _ = inner.proto.finish(*id);
            inner.wake_driver(wakes);
            Poll::Ready(Ok(()))
        })
    }
}

/// Writes what there is room for. What fills most of a frame goes through one of the thread's buffers, as in a splice.
fn put(inner: &mut Inner, id: StreamId, bytes: &[u8]) -> Result<Write, NoStream> {
    let len = bytes.len().min(SPLICE_BUFFER);
    if len >= POOLED_FROM {
        let len = len.min(inner.proto.room(id));
        if let Some(bytes) = bytes.get(..len).filter(|_| len >= POOLED_FROM) {
            let mut pooled = buffers::take(len);
            pooled.extend_from_slice(bytes);
            let mut buffer = SendBuffer::new(pooled, len);
            if inner.proto.write_buffer(id, &mut buffer).is_ok() {
                return Ok(Write::Accepted(len));
            }
        }
    }
    inner.proto.write(id, bytes)
}

impl Drop for SendHalf {
    fn drop(&mut self) {
        let Handle { shared, id } = &self.handle;
        shared.with(|inner, wakes| {
            if !inner.proto.release_writing(*id) {
                let text = "the other half was dropped";
                inner.reset(*id, ResetCode::Cancelled, text, wakes);
            }
            inner.wake_driver(wakes);
            self.handle.leave(inner);
        });
    }
}

/// Names a stream for one of its halves.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    id: StreamId,
}

impl Handle {
    /// Waits for news of the stream itself.
    async fn watch<T>(&mut self, news: impl Fn(&Slot) -> Option<T>) -> Result<T, StreamError> {
        poll_fn(|cx| {
            let mut inner = self.shared.lock();
            if let Some(news) = inner.slot(self.id).and_then(|slot| news(slot)) {
                return Poll::Ready(Ok(news));
            }
            if let Some(failure) = inner.failure(self.id) {
                return Poll::Ready(Err(failure));
            }
            if let Some(slot) = inner.slot(self.id) {
                slot.watcher = Some(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }

    fn poll_read(
        &self,
        cx: &mut Context<'_>,
        max: usize,
    ) -> Poll<Result<Option<Bytes>, StreamError>> {
        self.shared.with(|inner, wakes| {
            if let Some(failure) = inner.failure(self.id) {
                return Poll::Ready(Err(failure));
            }
            let read = match inner.proto.read(now(), self.id, max) {
                Ok(Read::Data(bytes)) => Poll::Ready(Ok(Some(bytes))),
                Ok(Read::Pending) => {
                    if let Some(slot) = inner.slot(self.id) {
                        slot.reader = Some(cx.waker().clone());
                    }
                    Poll::Pending
                }
                // An error here: finished, and forgotten by the link.
                Ok(Read::End) | Err(_) => Poll::Ready(Ok(None)),
            };
            if inner.proto.has_control() {
                inner.wake_driver(wakes);
            }
            read
        })
    }

    /// One half is gone. With the other, nobody is left to tell anything.
    fn leave(&self, inner: &mut Inner) {
        let left = inner.slot(self.id).map_or(0, |slot| {
            slot.handles = slot.handles.saturating_sub(1);
            slot.handles
        });
        if left == 0 {
            inner.forget_slot(self.id);
            inner.proto.release(now(), self.id);
        }
    }
}

/// Why a stream came to no good end. Errors of reads and writes carry one as their source.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The link ended.
    #[error("the tunnel broke: {0}")]
    Link(LinkEnd),
    /// The peer did not want it.
    #[error("refused: {code}: {text}")]
    Refused {
        /// Why, for programs.
        code: RefuseCode,
        /// Why, for people; as hostile as the peer.
        text: String,
    },
    /// It was broken off.
    #[error("reset: {code}: {text}")]
    Reset {
        /// Why, for programs.
        code: ResetCode,
        /// Why, for people; as hostile as the peer.
        text: String,
    },
}

impl StreamError {
    /// What a stream that was finished on this side says to whoever writes on.
    fn finished() -> Self {
        let text = "written after the end of the stream".to_owned();
        Self::Reset {
            code: ResetCode::Cancelled,
            text,
        }
    }
}

/// Why a stream was not granted.
pub type OpenError = StreamError;

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        let kind = match error {
            StreamError::Link(_) => io::ErrorKind::ConnectionAborted,
            StreamError::Refused { .. } => io::ErrorKind::ConnectionRefused,
            StreamError::Reset { .. } => io::ErrorKind::ConnectionReset,
        };
        Self::new(kind, error)
    }
}
