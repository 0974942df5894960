//! One stream of a link.
//!
//! ```text
//!  open ─► Asked ──OPENED──► Open ──both directions acknowledged──► forgotten
//!            │                │ ▲
//!            └─REFUSED/RESET──┤ └──RESUMED── Resuming ◄── resume        Asking ──accept──► Open
//!                             ▼                                           │ ▲
//!                           Over ──RESET written──► forgotten  ◄──refuse──┘ └── OPEN or RESUME came
//! ```

use std::time::Instant;

use crate::frame::{Frame, OpenFrame, ResumeFrame};
use crate::ids::{ResumeHash, ResumeSecret, StreamKey, Target};
use crate::recv::RecvHalf;
use crate::schedule::Turn;
use crate::send::SendHalf;

/// Where a stream stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Phase {
    /// The peer asked and has no answer yet.
    Asking,
    /// We asked and have no answer yet.
    Asked,
    /// Granted.
    Open,
    /// Done for, but the peer does not know yet.
    Over,
    /// We asked to go on with it and have no answer yet.
    Resuming,
}

/// Who has the other side of a stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Part {
    /// An application of this process.
    End,
    /// A stream of another link.
    Relay,
}

/// What the peer asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Request {
    /// A new stream.
    Open(OpenFrame),
    /// An old one.
    Resume(ResumeFrame),
}

/// What a stream is, on whichever link.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Identity {
    pub(crate) key: StreamKey,
    /// What proves the right to resume it.
    pub(crate) resume: ResumeHash,
    /// What proved it the last time, until the peer shows that it has seen the answer: it has to show the same secret
    /// again when the link was lost before that.
    pub(crate) resumed_with: Option<ResumeHash>,
    pub(crate) target: Target,
}

impl Identity {
    pub(crate) fn new(key: StreamKey, resume: ResumeHash, target: Target) -> Self {
        Self {
            key,
            resume,
            resumed_with: None,
            target,
        }
    }

    /// Whether `proof` opens the stream to whoever shows it.
    pub(crate) fn admits(&self, proof: &ResumeSecret) -> bool {
        let again = self.resumed_with.is_some_and(|hash| hash.admits(proof));
        self.resume.admits(proof) | again
    }

    /// `proof` was shown; the next time it is the secret behind `next`.
    pub(crate) fn rotate(&mut self, proof: &ResumeSecret, next: ResumeHash) {
        self.resumed_with = Some(proof.hash());
        self.resume = next;
    }
}

#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) phase: Phase,
    pub(crate) part: Part,
    pub(crate) identity: Identity,
    pub(crate) send: SendHalf,
    pub(crate) recv: RecvHalf,
    /// Until it is answered.
    pub(crate) request: Option<Box<Request>>,
    /// OPEN, OPENED, RESUME or RESUMED: goes out before anything else of the stream.
    pub(crate) first: Option<Box<Frame>>,
    /// REFUSED, RESET or DETACHED: goes out after everything else; then the stream is forgotten.
    pub(crate) last: Option<Box<Frame>>,
    /// Waits in the queue of control frames.
    pub(crate) queued: bool,
    pub(crate) turn: Turn,
    /// A write found no room.
    pub(crate) starved: bool,
    /// The relay's other half does not know yet how far the sending half has come.
    pub(crate) moved: bool,
    /// The application has left; the stream is given up at this time.
    pub(crate) left: Option<Instant>,
}

impl Stream {
    pub(crate) fn new(
        phase: Phase,
        part: Part,
        identity: Identity,
        send: SendHalf,
        recv: RecvHalf,
    ) -> Self {
        Self {
            phase,
            part,
            identity,
            send,
            recv,
            request: None,
            first: None,
            last: None,
            queued: false,
            turn: Turn::default(),
            starved: false,
            moved: false,
            left: None,
        }
    }

    /// Whether stream data may go out.
    pub(crate) fn may_send(&self) -> bool {
        matches!(self.phase, Phase::Asked | Phase::Open)
            && self.first.is_none()
            && self.send.is_ready()
    }

    /// Whether a control frame waits.
    pub(crate) fn has_control(&self) -> bool {
        let credit = self.phase == Phase::Open && self.recv.is_due();
        self.first.is_some() || self.last.is_some() || credit
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.phase == Phase::Open
            && self.first.is_none()
            && self.send.is_acknowledged()
            && self.recv.is_acknowledged()
    }
}
