//! One stream as the application sees it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use kedge_proto::{Attributes, RefuseCode, ResetCode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::link::LinkEnd;

/// A stream: reads, writes, `shutdown` for the end of what is written. Dropping it before both directions have ended
/// resets it.
#[derive(Debug)]
pub struct TunnelStream {
    recv: RecvHalf,
    send: SendHalf,
}

impl TunnelStream {
    /// Waits for the peer's answer; at once for a stream that was accepted here. May be asked again.
    ///
    /// # Errors
    /// When the stream was refused, reset or lost.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn opened(&mut self) -> Result<Attributes, OpenError> {
        std::future::pending().await
    }

    /// Waits until the peer's application has taken everything, the end included. Only comes true after `shutdown`.
    ///
    /// # Errors
    /// When the stream was refused, reset or lost before that.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn delivered(&mut self) -> Result<(), StreamError> {
        std::future::pending().await
    }

    /// Ends both directions now, and tells the peer why.
    pub fn reset(&self, _code: ResetCode, _text: &str) {}

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

/// What the peer writes.
#[derive(Debug)]
pub struct RecvHalf {}

impl AsyncRead for RecvHalf {
    fn poll_read(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        _buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

/// What the peer reads.
#[derive(Debug)]
pub struct SendHalf {}

impl AsyncWrite for SendHalf {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        _buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
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
