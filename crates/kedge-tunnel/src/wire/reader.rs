//! From bytes to messages: each payload is read to the memory in which it is handed on.

use std::future::Future;
use std::io::Cursor;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kedge_proto::defaults::MAX_FRAME;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, FrameHeader, Utf8Bytes};

use super::{WireError, mask};
use crate::buffers;

/// Bytes that are read to find the beginning of a frame: it and a small frame come in one read.
const STAGE: usize = 256;

/// Bytes the payload of a control frame may have (RFC 6455 §5.5).
const CONTROL: u64 = 125;

/// Reads and frames after which other tasks have their turn: a message may come in as many fragments as the peer likes,
/// and an empty one costs it two bytes.
const STEPS: usize = 256;

/// What came.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Received {
    /// A close; answer it.
    Close(Option<CloseFrame>),
    Message(Bytes),
    Ping(Bytes),
    Pong(Bytes),
}

/// The reading direction.
#[derive(Debug)]
pub(super) struct Reader {
    role: Role,
    staged: BytesMut,
    frame: Option<Filling>,
    /// The beginning of a message in fragments.
    begun: Option<BytesMut>,
    /// The end has come, or what cannot be understood: what follows means nothing.
    over: bool,
}

/// A frame that comes in.
#[derive(Debug)]
struct Filling {
    opcode: OpCode,
    last: bool,
    mask: Option<[u8; 4]>,
    /// Bytes of the message before this frame.
    before: usize,
    left: usize,
    payload: BytesMut,
}

impl Reader {
    /// `read` was read together with the end of the handshake.
    pub(super) fn new(role: Role, read: &[u8]) -> Self {
        Self {
            role,
            staged: BytesMut::from(read),
            frame: None,
            begun: None,
            over: false,
        }
    }

    /// Bytes of memory held.
    pub(super) fn held(&self) -> usize {
        let frame = self.frame.as_ref().map_or(0, |f| f.payload.capacity());
        let begun = self.begun.as_ref().map_or(0, BytesMut::capacity);
        self.staged.capacity() + frame + begun
    }

    /// The next message; `None` at the end of the connection, and after an error.
    pub(super) fn poll<R>(
        &mut self,
        io: &mut R,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Received>, WireError>>
    where
        R: AsyncRead + Unpin,
    {
        if self.over {
            return Poll::Ready(Ok(None));
        }
        let received = ready!(self.poll_next(io, cx));
        if !matches!(received, Ok(Some(_))) {
            *self = Self {
                over: true,
                ..Self::new(self.role, &[])
            };
        }
        Poll::Ready(received)
    }

    fn poll_next<R>(
        &mut self,
        io: &mut R,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Received>, WireError>>
    where
        R: AsyncRead + Unpin,
    {
        for _ in 0..STEPS {
            let Some(frame) = &mut self.frame else {
                if !self.begin()? {
                    let room = STAGE.saturating_sub(self.staged.len());
                    if ready!(read(io, &mut self.staged, room, cx))? == 0 {
                        return Poll::Ready(Ok(None));
                    }
                }
                continue;
            };
            if !frame.take(&mut self.staged) {
                let at = frame.payload.len();
                let came = ready!(read(io, &mut frame.payload, frame.left, cx))?;
                if came == 0 {
                    return Poll::Ready(Ok(None));
                }
                frame.arrived(at, came);
                continue;
            }
            if let Some(frame) = self.frame.take()
                && let Some(received) = self.finish(frame)?
            {
                return Poll::Ready(Ok(Some(received)));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Finds the beginning of a frame in what was staged, and checks all that can be known by then. Says whether there
    /// was one.
    fn begin(&mut self) -> Result<bool, WireError> {
        let mut cursor = Cursor::new(&self.staged);
        let Some((header, len)) = FrameHeader::parse(&mut cursor).map_err(of_tungstenite)? else {
            return Ok(false);
        };
        let header_len = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
        let size = usize::try_from(len).unwrap_or(usize::MAX);
        if size > MAX_FRAME {
            return Err(WireError::Oversized);
        }
        match (self.role, header.mask) {
            (Role::Server, None) => return Err(ProtocolError::UnmaskedFrameFromClient.into()),
            (Role::Client, Some(_)) => return Err(ProtocolError::MaskedFrameFromServer.into()),
            _ => {}
        }
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(ProtocolError::NonZeroReservedBits.into());
        }
        let begun = match header.opcode {
            OpCode::Control(_) if !header.is_final => {
                return Err(ProtocolError::FragmentedControlFrame.into());
            }
            OpCode::Control(_) if len > CONTROL => {
                return Err(ProtocolError::ControlFrameTooBig.into());
            }
            OpCode::Control(_) => None,
            OpCode::Data(Data::Continue) => match self.begun.take() {
                None => return Err(ProtocolError::UnexpectedContinueFrame.into()),
                begun => begun,
            },
            OpCode::Data(data) if self.begun.is_some() => {
                return Err(ProtocolError::ExpectedFragment(data).into());
            }
            OpCode::Data(Data::Text) => return Err(WireError::Text),
            OpCode::Data(_) => None,
        };
        let payload = match begun {
            Some(begun) if begun.len() + size > MAX_FRAME => return Err(WireError::Oversized),
            Some(mut begun) => {
                begun.reserve(size);
                begun
            }
            None => buffers::take(size),
        };
        self.staged.advance(header_len);
        self.frame = Some(Filling {
            opcode: header.opcode,
            last: header.is_final,
            mask: header.mask,
            before: payload.len(),
            left: size,
            payload,
        });
        Ok(true)
    }

    /// A frame is there as a whole.
    fn finish(&mut self, frame: Filling) -> Result<Option<Received>, WireError> {
        if self.staged.is_empty() && self.staged.capacity() > STAGE {
            self.staged = BytesMut::new();
        }
        let last = frame.last;
        match frame.opcode {
            OpCode::Control(Control::Close) => closing(&frame.payload.freeze()).map(Some),
            OpCode::Control(Control::Ping) => Ok(Some(Received::Ping(frame.payload.freeze()))),
            OpCode::Control(_) => Ok(Some(Received::Pong(frame.payload.freeze()))),
            OpCode::Data(_) if last => Ok(Some(Received::Message(frame.payload.freeze()))),
            OpCode::Data(_) => {
                self.begun = Some(frame.payload);
                Ok(None)
            }
        }
    }
}

impl Filling {
    /// Takes what belongs to the frame. Says whether the frame is complete.
    fn take(&mut self, staged: &mut BytesMut) -> bool {
        let len = self.left.min(staged.len());
        if len > 0 {
            let at = self.payload.len();
            self.payload
                .extend_from_slice(staged.get(..len).unwrap_or_default());
            staged.advance(len);
            self.arrived(at, len);
        }
        self.left == 0
    }

    /// `came` bytes are there from `at` on.
    fn arrived(&mut self, at: usize, came: usize) {
        self.left = self.left.saturating_sub(came);
        if let (Some(mask), Some(new)) = (self.mask, self.payload.get_mut(at..)) {
            mask::apply(new, mask, at - self.before);
        }
    }
}

/// Reads at most `limit` bytes.
fn read<R>(
    io: &mut R,
    to: &mut BytesMut,
    limit: usize,
    cx: &mut Context<'_>,
) -> Poll<Result<usize, WireError>>
where
    R: AsyncRead + Unpin,
{
    to.reserve(limit);
    let mut space = to.limit(limit);
    let read = pin!(io.read_buf(&mut space));
    read.poll(cx).map_err(WireError::Io)
}

/// What a close says. A code that may not be sent is answered as RFC 6455 §7.4 wants it.
fn closing(payload: &Bytes) -> Result<Received, WireError> {
    let code = match (payload.first_chunk(), payload.is_empty()) {
        (None, true) => return Ok(Received::Close(None)),
        (None, false) => return Err(ProtocolError::InvalidCloseSequence.into()),
        (Some(code), _) => CloseCode::from(u16::from_be_bytes(*code)),
    };
    let reason = Utf8Bytes::try_from(payload.slice(2..)).map_err(|_| WireError::Text)?;
    let frame = if code.is_allowed() {
        CloseFrame { code, reason }
    } else {
        CloseFrame {
            code: CloseCode::Protocol,
            reason: Utf8Bytes::from_static("Protocol violation"),
        }
    };
    Ok(Received::Close(Some(frame)))
}

fn of_tungstenite(error: tungstenite::Error) -> WireError {
    match error {
        tungstenite::Error::Io(error) => WireError::Io(error),
        tungstenite::Error::Protocol(error) => WireError::Protocol(error),
        other => WireError::Io(std::io::Error::other(other)),
    }
}
