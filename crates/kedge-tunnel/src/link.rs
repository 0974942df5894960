//! A link: one WebSocket that carries streams, as a cheap handle and a driver.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub use crate::driver::LinkDriver;
use crate::relay::{Relay, join};
use crate::shared::{Shared, Slot, now};
use crate::stream::TunnelStream;
use crate::wire::Wire;
use kedge_proto::{Attributes, LinkError, OpenFrame, RefuseCode, ResetCode, Side, StreamEnd};
pub use kedge_proto::{Limits as LinkConfig, OpenRequest};
use tokio::io::{AsyncRead, AsyncWrite};

/// One end of a link. Clones are handles to the same link; it lives as long as its [`LinkDriver`] runs.
#[derive(Clone)]
pub struct Link {
    shared: Arc<Shared>,
}

impl Link {
    /// Takes a WebSocket that has agreed on `kedge.v1`. Nothing happens until the driver runs.
    #[must_use]
    pub fn new<S>(wire: Wire<S>, side: Side, config: LinkConfig) -> (Self, LinkDriver<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shared = Shared::new(side, config);
        (
            Self {
                shared: Arc::clone(&shared),
            },
            LinkDriver::new(wire, shared),
        )
    }

    /// Opens a stream. Returns at once; up to 64 KiB may be written before the peer has answered. When this
    /// side has as many streams open as it may, the stream is refused with
    /// [`RefuseCode::TooManyStreams`].
    ///
    /// # Errors
    /// When the link has ended. A refusal comes out of [`TunnelStream::opened`], reads and writes.
    pub fn open(&self, request: OpenRequest) -> Result<TunnelStream, LinkClosed> {
        self.shared.with(|inner, wakes| {
            if let Some(end) = &inner.end {
                return Err(LinkClosed(end.clone()));
            }
            match inner.proto.open(request) {
                Ok(id) => {
                    inner.wake_driver(wakes);
                    Ok(TunnelStream::new(&self.shared, inner, id, Slot::default()))
                }
                Err(error) => {
                    let text = error.to_string();
                    let end = StreamEnd::Refused {
                        code: RefuseCode::TooManyStreams,
                        text,
                    };
                    let slot = Slot {
                        end: Some(end),
                        ..Slot::default()
                    };
                    Ok(TunnelStream::new(&self.shared, inner, error.stream, slot))
                }
            }
        })
    }

    /// The next stream the peer wants to open; `None` when the link has ended.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn accept(&self) -> Option<Incoming> {
        let mut arrival = pin!(self.shared.arrivals.notified());
        loop {
            arrival.as_mut().enable();
            {
                let mut inner = self.shared.lock();
                if inner.end.is_some() {
                    return None;
                }
                while let Some(id) = inner.incoming.pop_front() {
                    if let Some(request) = inner.open_request(id).cloned() {
                        inner.add_slot(id, Slot::default());
                        return Some(Incoming {
                            request,
                            shared: Arc::clone(&self.shared),
                            answered: false,
                        });
                    }
                }
            }
            arrival.as_mut().await;
            arrival.set(self.shared.arrivals.notified());
        }
    }

    /// Asks the peer to dial again after `reconnect_after`. The link stays until it is closed.
    pub fn goaway(&self, reconnect_after: Duration) {
        self.shared.with(|inner, wakes| {
            if inner.end.is_none() {
                inner.proto.goaway(reconnect_after);
                inner.wake_driver(wakes);
            }
        });
    }

    /// Pends until the peer has sent GOAWAY.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn received_goaway(&self) -> Duration {
        let mut goaway = self.shared.goaway.subscribe();
        match goaway.wait_for(Option::is_some).await.map(|delay| *delay) {
            Ok(Some(delay)) => delay,
            // The sender lives as long as this handle.
            _ => std::future::pending().await,
        }
    }

    /// Ends the link in order: what is queued but stream data goes out, then the WebSocket closes. Streams that
    /// are still open are lost. Only the first reason counts.
    pub fn close(&self, reason: CloseReason) {
        self.shared.with(|inner, wakes| {
            inner.closing.get_or_insert(reason);
            inner.wake_driver(wakes);
        });
    }

    /// Pends until the link has ended.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn closed(&self) -> LinkEnd {
        let mut ended = self.shared.ended.subscribe();
        match ended.wait_for(Option::is_some).await.map(|end| end.clone()) {
            Ok(Some(end)) => end,
            // The sender lives as long as this handle.
            _ => std::future::pending().await,
        }
    }

    /// Round trip of the last PING, once there was one: up to 15 s old, and longer when nothing answers.
    #[must_use]
    pub fn rtt(&self) -> Option<Duration> {
        self.shared.lock().proto.rtt()
    }

    /// How many streams are joined with one of another link.
    #[must_use]
    pub fn relays(&self) -> usize {
        self.shared.lock().relays.len()
    }

    /// Numbers for metrics and logs. Looks at every stream.
    #[must_use]
    pub fn stats(&self) -> LinkStats {
        let inner = self.shared.lock();
        let holdings = inner.proto.holdings();
        LinkStats {
            rtt: inner.proto.rtt(),
            bytes_in: self.shared.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.shared.bytes_out.load(Ordering::Relaxed),
            streams: holdings.streams,
            buffered: holdings.sending + holdings.receiving,
            handles: inner.slots(),
            relays: inner.relays.len(),
            queued: holdings.queued + inner.outbox.len() + inner.incoming.len(),
            surplus: inner.proto.surplus(),
            wire: self.shared.wire.load(Ordering::Relaxed),
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
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
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    Protocol(LinkError),
    /// The peer says that this side broke the protocol.
    #[error("the peer ended the link: {reason:?} (WebSocket close code {code})")]
    Rejected {
        /// WebSocket close code.
        code: u16,
        /// In the peer's words.
        reason: String,
    },
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
    /// Streams whose handle somebody holds.
    pub handles: usize,
    /// Streams that are joined with one of another link.
    pub relays: usize,
    /// Entries that wait in queues of this side.
    pub queued: usize,
    /// Streams of the peer that were refused because the link carried as many as it may, since it began.
    pub surplus: u64,
    /// Bytes of memory that the WebSocket holds for messages that come or go.
    pub wire: usize,
}

/// A stream the peer wants to open. Dropping it refuses it with [`RefuseCode::Internal`].
#[derive(Debug)]
pub struct Incoming {
    request: OpenFrame,
    shared: Arc<Shared>,
    answered: bool,
}

impl Incoming {
    /// What it asks for.
    #[must_use]
    pub fn request(&self) -> &OpenFrame {
        &self.request
    }

    /// Grants it. When the peer has taken it back meanwhile, reads and writes will say so.
    #[must_use]
    pub fn accept(mut self, attributes: Attributes) -> TunnelStream {
        self.answered = true;
        let id = self.request.stream;
        self.shared.with(|inner, wakes| {
            let mut slot = Slot {
                opened: Some(Attributes::new()),
                ..Slot::default()
            };
            if inner.proto.accept(now(), id, attributes).is_err() && inner.end.is_none() {
                let known = inner.slot(id).and_then(|slot| slot.end.clone());
                slot.end = Some(known.unwrap_or_else(|| StreamEnd::Reset {
                    code: ResetCode::Cancelled,
                    text: "gone before it was granted".to_owned(),
                }));
            }
            inner.wake_driver(wakes);
            TunnelStream::new(&self.shared, inner, id, slot)
        })
    }

    /// Refuses it.
    pub fn refuse(mut self, code: RefuseCode, text: &str) {
        self.answer(code, text);
    }

    /// Passes it on: opens a stream on `to` and joins the two. Hubs only.
    #[must_use]
    pub fn relay(mut self, to: &Link, open: OpenRequest) -> Relay {
        self.answered = true;
        join(&self.shared, &self.request, &to.shared, open)
    }

    fn answer(&mut self, code: RefuseCode, text: &str) {
        if std::mem::replace(&mut self.answered, true) {
            return;
        }
        let id = self.request.stream;
        self.shared.with(|inner, wakes| {
            inner.forget_slot(id);
            inner.proto.refuse(id, code, text);
            inner.wake_driver(wakes);
        });
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.answer(RefuseCode::Internal, "nobody answered the request");
    }
}
