//! A link: one WebSocket that carries streams, as a cheap handle and a driver.

use std::time::Duration;

use kedge_proto::{
    Attributes, LinkError, OpenFrame, RefuseCode, ResumeHash, Side, StreamKey, Target,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::relay::Relay;
use crate::stream::TunnelStream;

/// The limits of a link.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LinkConfig {
    /// Streams that either side may have open at once.
    pub max_streams: u32,
    /// Bytes that all streams together may hold beyond their first 64 KiB each.
    pub budget: u64,
    /// Bytes a new stream may receive ahead of its reader.
    pub initial_window: u64,
    /// Bytes a stream's window may grow to.
    pub window_cap: u64,
    /// Time between two PINGs; a link is dead when two of them were not answered.
    pub ping_interval: Duration,
    /// Time a stream that nobody holds any more may take to deliver its last bytes without progress.
    pub linger: Duration,
}

impl Default for LinkConfig {
    fn default() -> Self {
        use kedge_proto::defaults;
        Self {
            max_streams: defaults::MAX_STREAMS,
            budget: defaults::LINK_BUDGET,
            initial_window: defaults::INITIAL_WINDOW,
            window_cap: defaults::WINDOW_CAP,
            ping_interval: defaults::PING_INTERVAL,
            linger: defaults::LINGER,
        }
    }
}

/// What a WebSocket that carries a link must be set to: small buffers, no write buffering, no unmasked frames.
#[must_use]
pub fn websocket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(4 * 1024)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * kedge_proto::defaults::MAX_FRAME)
        .max_message_size(Some(kedge_proto::defaults::MAX_FRAME))
        .max_frame_size(Some(kedge_proto::defaults::MAX_FRAME))
        .accept_unmasked_frames(false)
}

/// One end of a link. Clones are handles to the same link; it lives as long as its [`LinkDriver`] runs.
#[derive(Clone, Debug)]
pub struct Link;

impl Link {
    /// Takes a WebSocket that has agreed on `kedge.v1`. Nothing happens until the driver runs.
    #[must_use]
    pub fn new<S>(
        _ws: WebSocketStream<S>,
        _side: Side,
        _config: LinkConfig,
    ) -> (Self, LinkDriver<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        unimplemented!()
    }

    /// Opens a stream. Returns at once; up to 64 KiB may be written before the peer has answered.
    ///
    /// # Errors
    /// When the link has ended. A refusal comes out of [`TunnelStream::opened`], reads and writes.
    pub fn open(&self, _request: OpenRequest) -> Result<TunnelStream, LinkClosed> {
        unimplemented!()
    }

    /// The next stream the peer wants to open; `None` when the link has ended.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn accept(&self) -> Option<Incoming> {
        std::future::pending().await
    }

    /// Asks the peer to dial again after `reconnect_after`. The link stays until it is closed.
    pub fn goaway(&self, _reconnect_after: Duration) {}

    /// Pends until the peer has sent GOAWAY.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn received_goaway(&self) -> Duration {
        std::future::pending().await
    }

    /// Ends the link in order: what is queued but stream data goes out, then the WebSocket closes.
    pub fn close(&self, _reason: CloseReason) {}

    /// Pends until the link has ended.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn closed(&self) -> LinkEnd {
        std::future::pending().await
    }

    /// Numbers for metrics and logs.
    #[must_use]
    pub fn stats(&self) -> LinkStats {
        LinkStats::default()
    }
}

/// What a new stream asks for.
#[derive(Clone, Debug)]
pub struct OpenRequest {
    /// What kind of thing.
    pub target: Target,
    /// Its name across links.
    pub key: StreamKey,
    /// What will prove the right to resume it.
    pub resume: ResumeHash,
    /// Which one, as whom.
    pub attributes: Attributes,
}

/// The future that moves a link's bytes. Whoever made the link owns it; dropping it ends the link.
#[derive(Debug)]
pub struct LinkDriver<S> {
    _ws: std::marker::PhantomData<S>,
}

impl<S> LinkDriver<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    /// Runs the link to its end.
    ///
    /// # Cancel safety
    /// Dropping the future ends the link as if the connection had broken.
    pub async fn run(self) -> LinkEnd {
        std::future::pending().await
    }
}

/// Why this side closes a link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum CloseReason {
    /// Nothing more to do (WebSocket close code 1000).
    Finished,
    /// A newer link of the same agent took over (4001).
    Replaced,
    /// What allowed the link was taken back (4002).
    Revoked,
    /// This side shuts down (1001).
    ShuttingDown,
}

/// How a link ended.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkEnd {
    /// This side closed it.
    #[error("closed")]
    Closed,
    /// The peer was silent for too long.
    #[error("the peer does not answer")]
    Dead,
    /// The connection broke.
    #[error("connection lost: {0}")]
    Io(String),
    /// The peer closed it.
    #[error("closed by the peer")]
    PeerClosed,
    /// The peer says that this side broke the protocol.
    #[error("the peer ended the link: {reason} (WebSocket close code {code})")]
    Rejected {
        /// WebSocket close code.
        code: u16,
        /// In the peer's words.
        reason: String,
    },
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    Protocol(LinkError),
    /// A newer link took over.
    #[error("replaced by a newer link")]
    Replaced,
    /// What allowed the link was taken back.
    #[error("revoked")]
    Revoked,
}

/// The link has ended.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the link has ended: {0}")]
pub struct LinkClosed(pub LinkEnd);

/// Numbers of a link.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct LinkStats {
    /// Round trip of the last PING, once there was one.
    pub rtt: Option<Duration>,
    /// Bytes of messages received.
    pub bytes_in: u64,
    /// Bytes of messages sent.
    pub bytes_out: u64,
    /// Streams that are not forgotten yet.
    pub streams: usize,
    /// Bytes of stream data held by this side.
    pub buffered: u64,
}

/// A stream the peer wants to open. Dropping it refuses it with [`RefuseCode::Internal`].
#[derive(Debug)]
pub struct Incoming {
    request: OpenFrame,
}

impl Incoming {
    /// What it asks for.
    #[must_use]
    pub fn request(&self) -> &OpenFrame {
        &self.request
    }

    /// Grants it.
    #[must_use]
    pub fn accept(self, _attributes: Attributes) -> TunnelStream {
        unimplemented!()
    }

    /// Refuses it.
    pub fn refuse(self, _code: RefuseCode, _text: &str) {}

    /// Passes it on: opens a stream on `to` and joins the two. Hubs only.
    #[must_use]
    pub fn relay(self, _to: &Link, _open: OpenRequest) -> Relay {
        unimplemented!()
    }
}
