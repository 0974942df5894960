//! One connection to the agent's socket, from its first message to its end.
//!
//! - A first message that binds a forwarded connection (`session-bind@openssh.com` with `is_forwarding`, which `-A`
//!   makes) gives the whole connection to the person's own agent, where there is one.
//! - Where people come with their own keys, so does any other first message.
//! - Else a binding is passed to the hub without waiting for what it says: a binding that does not hold is told by the
//!   refusal of the signature. Keys are what the hub said when the session began; a request for a signature waits for
//!   the hub.
//! - Anything else, and any failure, is SSH_AGENT_FAILURE: `ssh` then finds no key, and says so.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kedge_signer::protocol::{self, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::signer::{Known, Line, Signer};
use crate::defaults;

/// A process of this person that talks to the agent.
#[derive(Debug)]
pub(super) struct Conversation {
    peer: UnixStream,
    signer: Arc<Signer>,
    own: Option<PathBuf>,
    buffer: BytesMut,
    line: Option<Line>,
}

/// The extension by which a session that begins asks whoever listens to ask for the key anew (PROTOCOL.agent's form of a
/// vendor's name).
const REFRESH: &str = "refresh@kedge.dev";

/// A request of that extension, with its length.
pub(super) fn refresh_request() -> Vec<u8> {
    Request::Extension {
        name: REFRESH,
        contents: &[],
    }
    .encode()
}

impl Conversation {
    pub(super) fn new(peer: UnixStream, signer: Arc<Signer>, own: Option<PathBuf>) -> Self {
        Self {
            peer,
            signer,
            own,
            buffer: BytesMut::new(),
            line: None,
        }
    }

    /// Talks until the peer goes, or makes no sense.
    pub(super) async fn run(mut self) {
        // Whoever is cut off tries again or does without; there is nobody else to tell.
        let _ = self.talk().await;
    }

    async fn talk(&mut self) -> io::Result<()> {
        let Some(first) = self.next().await? else {
            return Ok(());
        };
        let decoded = Request::decode(&first);
        if let Ok(Request::Extension { name: REFRESH, .. }) = decoded {
            self.signer.forget();
            // Now, so that the answer is there when `ssh` asks.
            drop(self.signer.known().await);
            return Ok(());
        }
        let is_forwarded = matches!(&decoded, Ok(Request::Bind(bind)) if bind.is_forwarding);
        if is_forwarded {
            return self.pass_on(&first).await;
        }
        let known = self.signer.known().await;
        match known {
            Ok(Known::Own) => self.pass_on(&first).await,
            known => {
                let known = known.ok();
                let mut next = Some(first);
                while let Some(request) = next {
                    let reply = self.answer(known.as_ref(), &request).await;
                    self.peer.write_all(&reply).await?;
                    next = self.next().await?;
                }
                Ok(())
            }
        }
    }

    /// The reply to a request to the hub's signer, with its length.
    async fn answer(&mut self, known: Option<&Known>, request: &Bytes) -> Vec<u8> {
        let Some(Known::Injected(identities)) = known else {
            return protocol::failure();
        };
        let answered = match Request::decode(request) {
            Ok(Request::Identities) => Ok(protocol::frame(identities)),
            // One binding is granted unseen; the hub says of the second what the protocol says.
            Ok(Request::Bind(_)) if self.line.is_none() => {
                let told = async {
                    let mut line = self.signer.fresh_line().await?;
                    line.tell(&protocol::frame(request)).await?;
                    self.line = Some(line);
                    Ok(protocol::success())
                };
                timed(told).await
            }
            Ok(Request::Bind(_) | Request::Sign { .. }) => {
                let asked = async {
                    let line = match &mut self.line {
                        Some(line) => line,
                        empty => empty.insert(self.signer.fresh_line().await?),
                    };
                    let reply = line.ask(&protocol::frame(request)).await?;
                    Ok(protocol::frame(&reply))
                };
                timed(asked).await
            }
            Ok(_) | Err(_) => return protocol::failure(),
        };
        answered.unwrap_or_else(|_| {
            // Whatever was bound is lost with it.
            self.line = None;
            protocol::failure()
        })
    }

    /// Gives the connection to the person's own agent, if there is one.
    async fn pass_on(&mut self, first: &Bytes) -> io::Result<()> {
        let own = match &self.own {
            Some(path) => UnixStream::connect(path).await.ok(),
            None => None,
        };
        let Some(mut own) = own else {
            // An agent without anything in it, as far as the peer can tell.
            self.peer.write_all(&protocol::failure()).await?;
            while self.next().await?.is_some() {
                self.peer.write_all(&protocol::failure()).await?;
            }
            return Ok(());
        };
        own.write_all(&protocol::frame(first)).await?;
        own.write_all(&self.buffer).await?;
        copy_bidirectional(&mut self.peer, &mut own).await?;
        Ok(())
    }

    /// The next message without its length; none at the end.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let frame = protocol::take_frame(&mut self.buffer).map_err(io::Error::other)?;
            if frame.is_some() {
                return Ok(frame);
            }
            if self.peer.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }
}

async fn timed<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(defaults::AGENT_ANSWER, work).await?
}
