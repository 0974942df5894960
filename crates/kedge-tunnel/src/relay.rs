//! Two streams of two links, joined: what a hub does all day.
//!
//! Each half is a stream of its link's state machine. What happens to one is told to the other by the drivers of the
//! two links; there is no task and no buffer in between.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kedge_proto::{
    OpenFrame, OpenRequest, RefuseCode, RelayEvent, ResetCause, ResetCode, StreamId,
};
use tokio::sync::watch;

use crate::shared::{Shared, now};
use crate::stream::{OpenError, StreamError};

/// A pair of joined streams. It needs no task: the drivers of the two links move the bytes. Dropping it before its end
/// resets both.
#[derive(Debug)]
pub struct Relay {
    state: Arc<State>,
    halves: Vec<(Arc<Shared>, StreamId)>,
}

impl Relay {
    /// Waits for the acceptor's answer. A peer that is alive may take its time: bound it.
    ///
    /// # Errors
    /// When the stream was refused, or ended before it was granted.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn opened(&self) -> Result<(), OpenError> {
        let mut progress = self.state.progress.subscribe();
        let answered = |progress: &Progress| progress.opened || progress.how.is_some();
        match progress
            .wait_for(answered)
            .await
            .map(|progress| progress.clone())
        {
            Ok(Progress {
                opened: false,
                how: Some(how),
                ..
            }) => Err(how.into()),
            Ok(_) => Ok(()),
            // The sender lives as long as this handle.
            Err(_) => std::future::pending().await,
        }
    }

    /// Waits for the end.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn ended(&self) -> RelayEnd {
        let mut progress = self.state.progress.subscribe();
        match progress
            .wait_for(|progress| progress.how.is_some())
            .await
            .map(|p| p.how.clone())
        {
            Ok(Some(how)) => RelayEnd {
                bytes: self.bytes(),
                how,
            },
            // The sender lives as long as this handle.
            _ => std::future::pending().await,
        }
    }

    /// Ends both streams.
    pub fn reset(&self, code: ResetCode, text: &str) {
        let how = RelayHow::Reset {
            by: RelayParty::Relay,
            code,
            text: text.to_owned(),
        };
        if !self.state.end(how) {
            return;
        }
        for (shared, id) in &self.halves {
            cut(shared, *id, code, text);
        }
    }

    /// What has passed so far.
    #[must_use]
    pub fn bytes(&self) -> RelayBytes {
        RelayBytes {
            up: self.state.up.load(Ordering::Relaxed),
            down: self.state.down.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.reset(ResetCode::Cancelled, "the relay was dropped");
    }
}

/// Bytes that have passed a relay.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RelayBytes {
    /// From the opener to the acceptor.
    pub up: u64,
    /// From the acceptor to the opener.
    pub down: u64,
}

/// How a relay ended, and what had passed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RelayEnd {
    /// What had passed.
    pub bytes: RelayBytes,
    /// How.
    pub how: RelayHow,
}

/// How a relay ended.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum RelayHow {
    /// The acceptor's link ended.
    AcceptorLost,
    /// Both directions were delivered to their ends.
    Finished,
    /// The opener's link ended.
    OpenerLost,
    /// The acceptor did not want the stream.
    Refused {
        /// Why, for programs.
        code: RefuseCode,
        /// Why, for people.
        text: String,
    },
    /// Somebody broke it off.
    Reset {
        /// Who.
        by: RelayParty,
        /// Why, for programs.
        code: ResetCode,
        /// Why, for people.
        text: String,
    },
}

/// Who did something to a relay.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RelayParty {
    /// The end the stream was opened to.
    Acceptor,
    /// The end that opened the stream.
    Opener,
    /// This side.
    Relay,
}

impl fmt::Display for RelayParty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Acceptor => "acceptor",
            Self::Opener => "opener",
            Self::Relay => "relay",
        })
    }
}

impl From<RelayHow> for StreamError {
    fn from(how: RelayHow) -> Self {
        let lost = |text: &str| Self::Reset {
            code: ResetCode::LinkLost,
            text: text.to_owned(),
        };
        match how {
            RelayHow::AcceptorLost => lost("the link to the acceptor was lost"),
            RelayHow::Finished => lost("finished before it was granted"),
            RelayHow::OpenerLost => lost("the link to the opener was lost"),
            RelayHow::Refused { code, text } => Self::Refused { code, text },
            RelayHow::Reset { code, text, .. } => Self::Reset { code, text },
        }
    }
}

/// What the two halves of a relay and its handle share.
#[derive(Debug, Default)]
struct State {
    up: AtomicU64,
    down: AtomicU64,
    progress: watch::Sender<Progress>,
}

#[derive(Clone, Debug, Default)]
struct Progress {
    opened: bool,
    /// Halves whose both directions are delivered.
    finished: u8,
    how: Option<RelayHow>,
}

impl State {
    /// Says how it ended; only the first word counts.
    fn end(&self, how: RelayHow) -> bool {
        self.progress.send_if_modified(|progress| {
            let first = progress.how.is_none();
            progress.how.get_or_insert(how);
            first
        })
    }
}

/// One half of a relay, as the link that carries it knows it: who it is, and where the other half is.
#[derive(Clone, Debug)]
pub(crate) struct RelayHalf {
    party: RelayParty,
    other: Arc<Shared>,
    other_id: StreamId,
    state: Arc<State>,
}

impl RelayHalf {
    /// Tells the other half what happened to this one.
    pub(crate) fn apply(&self, event: RelayEvent) {
        match &event {
            RelayEvent::Progress { forwarded, .. } => {
                let passed = match self.party {
                    RelayParty::Opener => &self.state.down,
                    _ => &self.state.up,
                };
                passed.store(*forwarded, Ordering::Relaxed);
            }
            RelayEvent::Opened { .. } | RelayEvent::Resumed { .. } => {
                self.state
                    .progress
                    .send_modify(|progress| progress.opened = true);
            }
            RelayEvent::Refused { code, text } => {
                self.state.end(RelayHow::Refused {
                    code: *code,
                    text: text.clone(),
                });
            }
            RelayEvent::Reset { code, text, cause } => {
                let by = match cause {
                    ResetCause::Peer => self.party,
                    ResetCause::Violation => RelayParty::Relay,
                };
                self.state.end(RelayHow::Reset {
                    by,
                    code: *code,
                    text: text.clone(),
                });
            }
            RelayEvent::Detached(code) => {
                let text = "the way to the other end broke".to_owned();
                self.state.end(RelayHow::Reset {
                    by: self.party,
                    code: *code,
                    text,
                });
            }
            RelayEvent::Finished => {
                self.state.progress.send_modify(|progress| {
                    progress.finished += 1;
                    if progress.finished == 2 {
                        progress.how.get_or_insert(RelayHow::Finished);
                    }
                });
                return;
            }
            _ => {}
        }
        let last = matches!(
            event,
            RelayEvent::Detached(_) | RelayEvent::Refused { .. } | RelayEvent::Reset { .. }
        );
        self.other.with(|inner, wakes| {
            // When the other half is over already, whatever ended it is on its way here.
            let _ = inner.proto.relay(now(), self.other_id, event);
            if last {
                inner.relays.remove(&self.other_id);
            }
            inner.wake_driver(wakes);
        });
    }

    /// The link that carries this half has ended.
    pub(crate) fn link_lost(&self) {
        self.state.end(match self.party {
            RelayParty::Opener => RelayHow::OpenerLost,
            _ => RelayHow::AcceptorLost,
        });
        cut(
            &self.other,
            self.other_id,
            ResetCode::LinkLost,
            "the link to the other end was lost",
        );
    }
}

/// Joins the stream that `request` asks for with a new one on the link `to`.
pub(crate) fn join(
    from: &Arc<Shared>,
    request: &OpenFrame,
    to: &Arc<Shared>,
    open: OpenRequest,
) -> Relay {
    let state = Arc::new(State::default());
    let refuse = |code: RefuseCode, text: String, how: RelayHow| {
        from.with(|inner, wakes| {
            inner.forget_slot(request.stream);
            inner.proto.refuse(request.stream, code, &text);
            inner.wake_driver(wakes);
        });
        state.end(how);
        Relay {
            state: Arc::clone(&state),
            halves: Vec::new(),
        }
    };
    if Arc::ptr_eq(from, to) {
        let text = "a link cannot be relayed to itself".to_owned();
        let how = RelayHow::Refused {
            code: RefuseCode::Internal,
            text: text.clone(),
        };
        return refuse(RefuseCode::Internal, text, how);
    }
    // Both at once: the acceptor's answer must not arrive before the opener's half expects it. Always in the same order,
    // so that two joins in opposite directions cannot wait for each other.
    let (mut opener, mut acceptor) = if Arc::as_ptr(from) < Arc::as_ptr(to) {
        let opener = from.lock();
        (opener, to.lock())
    } else {
        let acceptor = to.lock();
        (from.lock(), acceptor)
    };
    if acceptor.end.is_some() {
        drop((opener, acceptor));
        let text = "the link to the acceptor was lost".to_owned();
        return refuse(RefuseCode::Offline, text, RelayHow::AcceptorLost);
    }
    let acceptor_id = match acceptor.proto.open_relay(open, request.limit) {
        Ok(id) => id,
        Err(error) => {
            drop((opener, acceptor));
            let (code, text) = (RefuseCode::TooManyStreams, error.to_string());
            return refuse(code, text.clone(), RelayHow::Refused { code, text });
        }
    };
    let mut wakes = crate::shared::Wakes::default();
    let known = opener
        .slot(request.stream)
        .and_then(|slot| slot.end.clone());
    opener.forget_slot(request.stream);
    if opener.proto.accept_relay(request.stream).is_err() {
        acceptor
            .proto
            .reset(acceptor_id, ResetCode::Cancelled, "the opener has left");
        acceptor.wake_driver(&mut wakes);
        let how = match (known, opener.end.is_some()) {
            (Some(kedge_proto::StreamEnd::Reset { code, text }), false) => RelayHow::Reset {
                by: RelayParty::Opener,
                code,
                text,
            },
            _ => RelayHow::OpenerLost,
        };
        drop((opener, acceptor));
        wakes.wake();
        state.end(how);
        return Relay {
            state,
            halves: Vec::new(),
        };
    }
    let half = |party, other: &Arc<Shared>, other_id| RelayHalf {
        party,
        other: Arc::clone(other),
        other_id,
        state: Arc::clone(&state),
    };
    opener
        .relays
        .insert(request.stream, half(RelayParty::Opener, to, acceptor_id));
    acceptor.relays.insert(
        acceptor_id,
        half(RelayParty::Acceptor, from, request.stream),
    );
    let news = opener.settle(&mut wakes);
    opener.wake_driver(&mut wakes);
    acceptor.wake_driver(&mut wakes);
    drop((opener, acceptor));
    from.publish(news);
    wakes.wake();
    let halves = vec![
        (Arc::clone(from), request.stream),
        (Arc::clone(to), acceptor_id),
    ];
    Relay { state, halves }
}

/// Resets one half, whose other one is gone.
fn cut(shared: &Arc<Shared>, id: StreamId, code: ResetCode, text: &str) {
    shared.with(|inner, wakes| {
        if inner.relays.remove(&id).is_some() {
            inner.proto.reset(id, code, text);
            inner.wake_driver(wakes);
        }
    });
}
