//! WebSocket by hand (RFC 6455), so that its rules can be broken.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::http::Request;
use super::stream::{Endpoint, Stream};
use crate::reply::{Reply, read_some};

/// Bytes of a message that are read at most.
const MOST: u64 = 1024 * 1024;

/// Whether a frame is masked, as every client's must be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mask {
    /// As the RFC says.
    Masked,
    /// As only servers may.
    Unmasked,
}

/// What a frame is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Opcode(pub u8);

impl Opcode {
    /// Bytes.
    pub const BINARY: Self = Self(2);
    /// The end.
    pub const CLOSE: Self = Self(8);
    /// Are you there?
    pub const PING: Self = Self(9);
    /// I am.
    pub const PONG: Self = Self(10);
    /// Text.
    pub const TEXT: Self = Self(1);
}

/// What came.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Message {
    /// A binary message.
    Binary(Vec<u8>),
    /// The WebSocket's close, with its code.
    Close(Option<u16>),
    /// The connection ended without one.
    Ended,
    /// Nothing within the time.
    Nothing,
}

/// A WebSocket to a hub.
#[derive(Debug)]
pub struct WebSocket {
    stream: Stream,
    pending: Vec<u8>,
}

impl WebSocket {
    /// Asks for a WebSocket.
    ///
    /// # Errors
    ///
    /// When there is no answer. A refusal is an answer.
    pub fn dial(endpoint: Endpoint, path: &str, token: &str) -> Result<Result<Self, Reply>> {
        Self::dial_with(
            endpoint,
            &Request::new("GET", path).bearer(token).upgrade("kedge.v1"),
        )
    }

    /// [`Self::dial`] with a request of one's own.
    ///
    /// # Errors
    ///
    /// As [`Self::dial`].
    pub fn dial_with(endpoint: Endpoint, request: &Request) -> Result<Result<Self, Reply>> {
        let (reply, stream) = request.exchange(endpoint)?;
        Ok(if reply.status == 101 {
            Ok(Self {
                stream,
                pending: Vec::new(),
            })
        } else {
            Err(reply)
        })
    }

    /// Sends a binary message.
    ///
    /// # Errors
    ///
    /// When the connection is gone, or takes nothing in time.
    pub fn send(&mut self, payload: &[u8]) -> Result<()> {
        self.send_frame(Opcode::BINARY, Mask::Masked, payload)
    }

    /// Sends one frame as asked.
    ///
    /// # Errors
    ///
    /// As [`Self::send`].
    pub fn send_frame(&mut self, opcode: Opcode, mask: Mask, payload: &[u8]) -> Result<()> {
        let mut frame = vec![0x80 | opcode.0];
        let masked: u8 = if mask == Mask::Masked { 0x80 } else { 0 };
        match payload.len() {
            short @ 0..126 => frame.push(masked | u8::try_from(short)?),
            medium @ 126..65_536 => {
                frame.push(masked | 126);
                frame.extend_from_slice(&u16::try_from(medium)?.to_be_bytes());
            }
            long => {
                frame.push(masked | 127);
                frame.extend_from_slice(&u64::try_from(long)?.to_be_bytes());
            }
        }
        let key = [0x37, 0xfa, 0x21, 0x3d];
        if mask == Mask::Masked {
            frame.extend_from_slice(&key);
            frame.extend(
                payload
                    .iter()
                    .zip(key.iter().cycle())
                    .map(|(byte, key)| byte ^ key),
            );
        } else {
            frame.extend_from_slice(payload);
        }
        self.send_raw(&frame)
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    ///
    /// As [`Self::send`].
    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes)?;
        Ok(self.stream.flush()?)
    }

    /// The next message; WebSocket pings are answered on the way.
    ///
    /// # Errors
    ///
    /// When what comes is no WebSocket.
    pub fn receive(&mut self, limit: Duration) -> Result<Message> {
        let start = std::time::Instant::now();
        loop {
            if let Some((opcode, payload)) = self.take_frame()? {
                match opcode {
                    Opcode::BINARY => return Ok(Message::Binary(payload)),
                    Opcode::CLOSE => {
                        let code = payload
                            .first_chunk::<2>()
                            .map(|code| u16::from_be_bytes(*code));
                        return Ok(Message::Close(code));
                    }
                    Opcode::PING => self.send_frame(Opcode::PONG, Mask::Masked, &payload)?,
                    Opcode::PONG => {}
                    Opcode(other) => bail!("a hub sends no opcode {other}"),
                }
                continue;
            }
            let left = limit.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Ok(Message::Nothing);
            }
            self.stream.patience(left)?;
            let mut chunk = vec![0; 64 * 1024];
            match read_some(&mut self.stream, &mut chunk) {
                Ok(0) => return Ok(Message::Ended),
                Ok(count) => self
                    .pending
                    .extend_from_slice(chunk.get(..count).unwrap_or_default()),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return Ok(Message::Nothing);
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::UnexpectedEof
                            | ErrorKind::ConnectionReset
                            | ErrorKind::BrokenPipe
                    ) =>
                {
                    return Ok(Message::Ended);
                }
                Err(error) => return Err(error).context("read a WebSocket"),
            }
        }
    }

    /// Reads on until the WebSocket ends, and answers its close code.
    ///
    /// # Errors
    ///
    /// When it does not end in time.
    pub fn ends(&mut self, limit: Duration) -> Result<Option<u16>> {
        let start = std::time::Instant::now();
        while start.elapsed() < limit {
            match self.receive(limit.saturating_sub(start.elapsed()))? {
                Message::Binary(_) => {}
                Message::Close(code) => return Ok(code),
                Message::Ended => return Ok(None),
                Message::Nothing => break,
            }
        }
        bail!("the WebSocket still lives after {} s", limit.as_secs())
    }

    /// The connection under it, for those who read nothing.
    #[must_use]
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    fn take_frame(&mut self) -> Result<Option<(Opcode, Vec<u8>)>> {
        let Some([first, second]) = self.pending.first_chunk::<2>().copied() else {
            return Ok(None);
        };
        ensure!(first & 0x80 != 0, "a hub does not fragment");
        ensure!(second & 0x80 == 0, "a hub does not mask");
        let rest = self.pending.get(2..).unwrap_or_default();
        let (length, head) = match second {
            126 => match rest.first_chunk::<2>() {
                Some(length) => (u64::from(u16::from_be_bytes(*length)), 4),
                None => return Ok(None),
            },
            127 => match rest.first_chunk::<8>() {
                Some(length) => (u64::from_be_bytes(*length), 10),
                None => return Ok(None),
            },
            short => (u64::from(short), 2),
        };
        ensure!(length <= MOST, "a message of {length} bytes");
        let end = usize::try_from(length)?.saturating_add(head);
        if self.pending.len() < end {
            return Ok(None);
        }
        let frame: Vec<u8> = self.pending.drain(..end).collect();
        Ok(Some((
            Opcode(first & 0x0f),
            frame.get(head..).unwrap_or_default().to_vec(),
        )))
    }
}
