//! A WebSocket after its handshake (RFC 6455 §5): messages on a connection.
//!
//! The handshake, the types and the numbers are tungstenite's; the bytes are moved here, so that they are copied as
//! seldom as can be:
//!
//! - a payload is read to the memory in which it is handed on, and unmasked there;
//! - a message is written from the memory in which it came in; only a client copies it, to mask it;
//! - small messages leave together;
//! - buffers are taken when bytes come or go, and given back when there are none.
//!
//! Only binary messages are spoken. What tungstenite refuses is refused here, with the same error, but as early as it
//! is known.

mod mask;
mod reader;
mod writer;

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{Sink, Stream};
use kedge_proto::Outgoing;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use reader::Reader;
pub(crate) use reader::Received;
pub use tokio_tungstenite::tungstenite::protocol::Role;
use writer::Writer;

/// A WebSocket after its handshake.
pub struct Wire<S> {
    io: S,
    reader: Reader,
    writer: Writer,
    closing: Closing,
}

/// Who has said that nothing more comes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Closing {
    Both,
    Neither,
    Peer,
    Us,
}

/// Why a connection carries no more messages.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// It has ended.
    #[error("connection closed")]
    Closed,
    /// It broke.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A message is larger than any may be.
    #[error("a message is too long")]
    Oversized,
    /// The peer broke RFC 6455.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The peer sent text.
    #[error("a message is text")]
    Text,
}

impl<S> Wire<S> {
    /// Takes a connection whose handshake is over. `read` was read together with its end.
    #[must_use]
    pub fn new(io: S, role: Role, read: &[u8]) -> Self {
        Self {
            io,
            reader: Reader::new(role, read),
            writer: Writer::new(role),
            closing: Closing::Neither,
        }
    }

    /// The connection.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        &self.io
    }

    pub(crate) fn io(&mut self) -> &mut S {
        &mut self.io
    }

    /// Bytes of memory held for messages that come or go.
    #[must_use]
    pub fn held(&self) -> usize {
        self.reader.held() + self.writer.held()
    }

    /// Takes a message; there must be [room](Self::poll_room).
    pub(crate) fn put(&mut self, message: &Outgoing) -> Result<(), WireError> {
        self.check_open()?;
        let body = message.body().clone();
        self.writer
            .put(OpCode::Data(Data::Binary), message.head(), body)
    }

    /// Nothing follows a close, nor the answer to one (RFC 6455 §5.5.1).
    fn check_open(&self) -> Result<(), WireError> {
        match self.closing {
            Closing::Neither => Ok(()),
            _ => Err(ProtocolError::SendAfterClosing.into()),
        }
    }

    /// Says that nothing more comes. Only the first word counts.
    pub(crate) fn close(&mut self, frame: Option<CloseFrame>) {
        self.closing = match self.closing {
            Closing::Neither => Closing::Us,
            _ => return,
        };
        self.writer.control(Control::Close, close_payload(frame));
    }
}

impl<S> Wire<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// Waits until a message may be put.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        self.writer.poll_ready(&mut self.io, cx)
    }

    /// Waits until everything is on its way.
    pub(crate) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        self.writer.poll_flush(&mut self.io, cx)
    }

    /// The next thing that comes. Pings and closes are answered with what is written next.
    pub(crate) fn poll_received(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Received, WireError>> {
        if matches!(self.closing, Closing::Both | Closing::Peer) {
            return Poll::Ready(Err(WireError::Closed));
        }
        let Some(received) = ready!(self.reader.poll(&mut self.io, cx))? else {
            return Poll::Ready(Err(WireError::Closed));
        };
        match &received {
            Received::Close(frame) if self.closing == Closing::Neither => {
                self.closing = Closing::Peer;
                self.writer
                    .control(Control::Close, close_payload(frame.clone()));
            }
            Received::Close(_) => self.closing = Closing::Both,
            Received::Ping(payload) if self.closing == Closing::Neither => {
                self.writer.control(Control::Pong, payload.clone());
            }
            _ => {}
        }
        Poll::Ready(Ok(received))
    }
}

/// For whoever speaks WebSocket without a link. As with tungstenite, what answers pings goes out with the next flush.
impl<S> Stream for Wire<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    type Item = Result<Message, WireError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let received = match ready!(self.poll_received(cx)) {
            Ok(received) => received,
            Err(WireError::Closed) => return Poll::Ready(None),
            Err(error) => return Poll::Ready(Some(Err(error))),
        };
        Poll::Ready(Some(Ok(match received {
            Received::Close(frame) => Message::Close(frame),
            Received::Message(payload) => Message::Binary(payload),
            Received::Ping(payload) => Message::Ping(payload),
            Received::Pong(payload) => Message::Pong(payload),
        })))
    }
}

impl<S> Sink<Message> for Wire<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    type Error = WireError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        self.poll_room(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), WireError> {
        let (opcode, payload) = match message {
            Message::Binary(payload) => (OpCode::Data(Data::Binary), payload),
            Message::Close(frame) => {
                self.close(frame);
                return Ok(());
            }
            Message::Ping(payload) => (OpCode::Control(Control::Ping), payload),
            Message::Pong(payload) => (OpCode::Control(Control::Pong), payload),
            Message::Text(_) | Message::Frame(_) => return Err(WireError::Text),
        };
        self.check_open()?;
        self.writer.put(opcode, &[], payload)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        self.poll_sent(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        self.close(None);
        self.poll_sent(cx)
    }
}

impl<S> fmt::Debug for Wire<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire")
            .field("closing", &self.closing)
            .finish_non_exhaustive()
    }
}

fn close_payload(frame: Option<CloseFrame>) -> Bytes {
    let Some(CloseFrame { code, reason }) = frame else {
        return Bytes::new();
    };
    let mut payload = BytesMut::with_capacity(2 + reason.len());
    payload.put_u16(u16::from(code));
    payload.extend_from_slice(reason.as_bytes());
    payload.freeze()
}
