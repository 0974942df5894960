//! A person's end of a tunnel, frame by frame.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use kedge_proto::{
    AttributeId, Attributes, Frame, OpenFrame, RefuseCode, ResetCode, ResumeHash, StreamId,
    StreamKey, Target,
};

use super::stream::Endpoint;
use super::websocket::{Message, WebSocket};
use crate::defaults;
use crate::reply::Reply;

/// Where people connect.
const PATH: &str = "/kedge/v1/connect";

/// A link with one stream, or none yet.
#[derive(Debug)]
pub struct Client {
    /// The WebSocket, for frames that no client would send.
    pub socket: WebSocket,
    /// The id of the stream.
    pub stream: StreamId,
    sent: u64,
    received: u64,
    limit: u64,
}

impl Client {
    /// Dials as a person.
    ///
    /// # Errors
    ///
    /// When there is no answer. A refusal is an answer.
    pub fn dial(endpoint: Endpoint, token: &str) -> Result<Result<Self, Reply>> {
        Ok(WebSocket::dial(endpoint, PATH, token)?.map(|socket| Self {
            socket,
            stream: kedge_proto::Side::Client.first_stream(),
            sent: 0,
            received: 0,
            limit: 0,
        }))
    }

    /// Dials as a person who must be let in.
    ///
    /// # Errors
    ///
    /// When the hub refuses.
    pub fn connect(endpoint: Endpoint, token: &str) -> Result<Self> {
        match Self::dial(endpoint, token)? {
            Ok(client) => Ok(client),
            Err(reply) => bail!("the hub refuses: {} {}", reply.status, reply.text()),
        }
    }

    /// Sends a frame.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    pub fn send(&mut self, frame: &Frame) -> Result<()> {
        self.socket.send(&frame.encode())
    }

    /// The next frame that is no PING (those are answered).
    ///
    /// # Errors
    ///
    /// When the link ends or the time is up.
    pub fn next(&mut self, limit: Duration) -> Result<Frame> {
        let start = Instant::now();
        loop {
            match self.socket.receive(limit.saturating_sub(start.elapsed()))? {
                Message::Binary(bytes) => match Frame::decode(bytes.into())? {
                    Frame::Ping(number) => self.send(&Frame::Pong(number))?,
                    frame => return Ok(frame),
                },
                Message::Close(code) => bail!("the hub closed the link: {code:?}"),
                Message::Ended => bail!("the link ended"),
                Message::Nothing => bail!("no frame within {} s", limit.as_secs()),
            }
        }
    }

    /// Opens a stream to a server and waits for the answer.
    ///
    /// # Errors
    ///
    /// When the link ends. A refusal is an answer.
    pub fn open(
        &mut self,
        server: &str,
        login: Option<&str>,
    ) -> Result<Result<(), (RefuseCode, String)>> {
        self.send(&open_frame(self.stream, server, login)?)?;
        loop {
            match self.next(defaults::COMMAND)? {
                Frame::Opened { limit, .. } => {
                    self.limit = limit;
                    return Ok(Ok(()));
                }
                Frame::Refused { code, text, .. } => return Ok(Err((code, text))),
                Frame::MaxStreamData { limit, .. } => self.limit = limit,
                other => bail!("an answer to OPEN is OPENED or REFUSED, not {other:?}"),
            }
        }
    }

    /// Opens a stream that must be granted.
    ///
    /// # Errors
    ///
    /// When it is refused.
    pub fn opened(&mut self, server: &str) -> Result<()> {
        match self.open(server, None)? {
            Ok(()) => Ok(()),
            Err((code, text)) => bail!("refused: {code:?} {text}"),
        }
    }

    /// Sends bytes of the stream within 64 KiB and the credit.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        for chunk in bytes.chunks(kedge_proto::defaults::MAX_DATA) {
            self.send(&Frame::Data {
                stream: self.stream,
                offset: self.sent,
                bytes: chunk.to_vec().into(),
            })?;
            self.sent = self.sent.saturating_add(chunk.len() as u64);
        }
        Ok(())
    }

    /// Ends the bytes of the stream.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    pub fn finish(&mut self) -> Result<()> {
        self.send(&Frame::Fin {
            stream: self.stream,
            offset: self.sent,
        })
    }

    /// Reads the stream until `count` bytes have come or it ends; gives credit back for all of them.
    ///
    /// # Errors
    ///
    /// When the stream is reset, the link ends or a frame breaks the rules.
    pub fn read(&mut self, count: usize) -> Result<Vec<u8>> {
        let mut read = Vec::new();
        while read.len() < count {
            match self.next(defaults::SOON)? {
                Frame::Data { offset, bytes, .. } => {
                    ensure!(
                        offset == self.received,
                        "a gap: {offset} after {}",
                        self.received
                    );
                    self.received = self.received.saturating_add(bytes.len() as u64);
                    read.extend_from_slice(&bytes);
                    self.credit(self.received)?;
                }
                Frame::Fin { offset, .. } => {
                    ensure!(
                        offset == self.received,
                        "FIN at {offset} after {}",
                        self.received
                    );
                    self.credit(self.received.saturating_add(1))?;
                    break;
                }
                Frame::MaxStreamData { limit, .. } => self.limit = limit,
                Frame::Reset { code, text, .. } => bail!("reset: {code:?} {text}"),
                _ => {}
            }
        }
        Ok(read)
    }

    /// Waits for a RESET of the stream.
    ///
    /// # Errors
    ///
    /// When something else ends it.
    pub fn reset(&mut self, limit: Duration) -> Result<(ResetCode, String)> {
        let start = Instant::now();
        while start.elapsed() < limit {
            if let Frame::Reset { code, text, .. } =
                self.next(limit.saturating_sub(start.elapsed()))?
            {
                return Ok((code, text));
            }
        }
        bail!("no RESET within {} s", limit.as_secs())
    }

    /// Bytes of the stream that were sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// How far the peer lets us send.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    fn credit(&mut self, consumed: u64) -> Result<()> {
        let limit = self
            .received
            .saturating_add(kedge_proto::defaults::INITIAL_WINDOW);
        self.send(&Frame::MaxStreamData {
            stream: self.stream,
            consumed,
            limit,
        })
    }
}

/// An OPEN as a person's client sends it.
///
/// # Errors
///
/// When the names are longer than a frame.
pub fn open_frame(stream: StreamId, server: &str, login: Option<&str>) -> Result<Frame> {
    let mut attributes = Attributes::new().with(AttributeId::SERVER, server.as_bytes().to_vec())?;
    if let Some(login) = login {
        attributes.insert(AttributeId::LOGIN, login.as_bytes().to_vec())?;
    }
    Ok(Frame::Open(OpenFrame {
        stream,
        key: StreamKey(kedge_api::random::bytes()?),
        resume: ResumeHash(kedge_api::random::bytes()?),
        limit: kedge_proto::defaults::INITIAL_WINDOW,
        target: "ssh".parse::<Target>()?,
        attributes,
    }))
}
