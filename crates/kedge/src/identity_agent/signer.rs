//! The hub's signer as this session reaches it: streams on its link that speak the ssh-agent protocol.

use bytes::{Bytes, BytesMut};
use kedge_api::random;
use kedge_signer::protocol::{self, Reply};
use kedge_tunnel::{
    AttributeId, Attributes, Link, OpenRequest, RefuseCode, ResumeSecret, StreamError, StreamKey,
    Target, TunnelStream,
};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::defaults;

/// The signer of one session.
#[derive(Debug)]
pub(super) struct Signer {
    link: Link,
    session: StreamKey,
    known: Mutex<Remembered>,
    /// Counts how often somebody asked for the newest.
    wanted: AtomicU64,
}

#[derive(Debug, Default)]
struct Remembered {
    known: Option<Known>,
    /// What was wanted when it was asked for.
    at: u64,
    /// The stream that it was asked on: nothing is bound to it yet, so the first signature can use it.
    spare: Option<Line>,
}

/// How the server is reached.
#[derive(Clone, Debug)]
pub(super) enum Known {
    /// With this key, which the hub holds; a reply to REQUEST_IDENTITIES.
    Injected(Bytes),
    /// With people's own.
    Own,
}

/// One agent connection to the hub.
#[derive(Debug)]
pub(super) struct Line {
    stream: TunnelStream,
    buffer: BytesMut,
    /// Replies that are still to come and that nobody waits for.
    owed: usize,
}

impl Signer {
    pub(super) fn new(link: Link, session: StreamKey) -> Self {
        Self {
            link,
            session,
            known: Mutex::default(),
            wanted: AtomicU64::new(0),
        }
    }

    /// What is known before does not count any more.
    pub(super) fn forget(&self) {
        self.wanted.fetch_add(1, Ordering::Relaxed);
    }

    /// How the server is reached: as the hub said, or says now.
    ///
    /// # Cancel safety
    ///
    /// When dropped, the hub is asked again the next time.
    pub(super) async fn known(&self) -> io::Result<Known> {
        let mut remembered = self.known.lock().await;
        let wanted = self.wanted.load(Ordering::Relaxed);
        if remembered.at == wanted
            && let Some(known) = &remembered.known
        {
            return Ok(known.clone());
        }
        *remembered = Remembered::default();
        let mut line = self.line()?;
        let question = protocol::request_identities();
        let known = match timeout(defaults::AGENT_ANSWER, line.ask(&question)).await? {
            Ok(reply) => match Reply::decode(&reply) {
                Ok(Reply::Identities(_)) => {
                    remembered.spare = Some(line);
                    Known::Injected(reply)
                }
                _ => return Err(io::Error::other("the hub does not give the key")),
            },
            Err(error) if is_own(&error) => Known::Own,
            Err(error) => return Err(error),
        };
        remembered.known = Some(known.clone());
        remembered.at = wanted;
        Ok(known)
    }

    /// A connection to the signer to which nothing is bound yet.
    pub(super) async fn fresh_line(&self) -> io::Result<Line> {
        let spare = self.known.lock().await.spare.take();
        spare.map_or_else(|| self.line(), Ok)
    }

    fn line(&self) -> io::Result<Line> {
        let attributes = Attributes::new()
            .with(AttributeId::BESIDE, self.session.0.to_vec())
            .map_err(io::Error::other)?;
        let secret = ResumeSecret::new(random::bytes().map_err(io::Error::other)?);
        let request = OpenRequest {
            target: Target::ssh_agent(),
            key: StreamKey(random::bytes().map_err(io::Error::other)?),
            resume: secret.hash(),
            attributes,
        };
        let stream = self.link.open(request).map_err(io::Error::other)?;
        Ok(Line {
            stream,
            buffer: BytesMut::new(),
            owed: 0,
        })
    }
}

impl Line {
    /// Sends a request whose reply is like any other's that was granted; what comes is passed over later.
    pub(super) async fn tell(&mut self, framed: &[u8]) -> io::Result<()> {
        self.stream.write_all(framed).await?;
        self.owed = self.owed.saturating_add(1);
        Ok(())
    }

    /// Sends a request, and waits for its reply: without its length.
    pub(super) async fn ask(&mut self, framed: &[u8]) -> io::Result<Bytes> {
        self.stream.write_all(framed).await?;
        while self.owed > 0 {
            self.reply().await?;
            self.owed = self.owed.saturating_sub(1);
        }
        self.reply().await
    }

    async fn reply(&mut self) -> io::Result<Bytes> {
        loop {
            let frame = protocol::take_frame(&mut self.buffer).map_err(io::Error::other)?;
            if let Some(frame) = frame {
                return Ok(frame);
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Whether the hub says by this that it signs nothing for the server: there is nothing to sign with, or the hub is older
/// than signers.
fn is_own(error: &io::Error) -> bool {
    let refused = error
        .get_ref()
        .and_then(|source| source.downcast_ref::<StreamError>());
    matches!(
        refused,
        Some(StreamError::Refused {
            code: RefuseCode::NotFound | RefuseCode::BadRequest,
            ..
        })
    )
}
