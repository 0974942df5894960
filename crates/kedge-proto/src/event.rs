//! What a link has to tell to whoever drives it.

use std::time::Duration;

use bytes::Bytes;

use crate::attributes::Attributes;
use crate::codes::{RefuseCode, ResetCode};
use crate::ids::StreamId;
use crate::resume::Detached;

/// News of a link.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A stream that the peer had opened is about to end well. This is what remains of it: a [`Registry`] that keeps it
    /// can answer a peer that has lost the last words together with its link.
    ///
    /// [`Registry`]: crate::Registry
    Completed(StreamId, Box<Detached>),
    /// The peer's application has taken everything, the end included.
    Delivered(StreamId),
    /// The way to the other end broke; the stream is no longer on this link and may be resumed on another.
    Detached(StreamId, Box<Detached>, ResetCode),
    /// The stream is over; nothing more is known of it.
    Ended(StreamId, StreamEnd),
    /// The peer goes away and asks to be dialled again after this.
    Goaway(Duration),
    /// The peer asks for a stream: answer with `accept`, `refuse` or `accept_relay`.
    Incoming(StreamId),
    /// The peer granted the stream.
    Opened(StreamId, Attributes),
    /// There is something to read.
    Readable(StreamId),
    /// For the other half of a relay.
    Relay(StreamId, RelayEvent),
    /// The peer asks to go on with a detached stream: answer with `accept_resume`, `refuse` or `accept_relay`.
    Resume(StreamId),
    /// The stream goes on; what was not acknowledged is being sent again.
    Resumed(StreamId),
    /// A write that found no room will find some.
    Writable(StreamId),
}

/// How a stream of this end ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StreamEnd {
    /// Both directions, delivered.
    Finished,
    /// The peer did not want it.
    Refused {
        /// Why, for programs.
        code: RefuseCode,
        /// Why, for people.
        text: String,
    },
    /// Broken off by the peer, or by this side because the peer violated the protocol.
    Reset {
        /// Why, for programs.
        code: ResetCode,
        /// Why, for people.
        text: String,
    },
}

/// What one half of a relay tells the other, in the order it is to be applied.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum RelayEvent {
    /// Bytes, in order.
    Data(Bytes),
    /// The way beyond the other half broke, and it keeps the stream.
    Detached(ResetCode),
    /// No bytes follow.
    Fin,
    /// This half is done: both directions are delivered and acknowledged.
    Finished,
    /// The acceptor granted the stream.
    Opened {
        /// The credit it grants.
        limit: u64,
        /// What it has to say.
        attributes: Attributes,
    },
    /// The sending half has moved.
    Progress {
        /// Bytes that have left.
        forwarded: u64,
        /// What the far application has taken.
        consumed: u64,
        /// What the far end grants.
        limit: u64,
    },
    /// The acceptor did not want the stream.
    Refused {
        /// Why, for programs.
        code: RefuseCode,
        /// Why, for people.
        text: String,
    },
    /// Broken off.
    Reset {
        /// Why, for programs.
        code: ResetCode,
        /// Why, for people.
        text: String,
        /// Who did it.
        cause: ResetCause,
    },
    /// The stream goes on from here.
    Resumed {
        /// Bytes the acceptor has received.
        offset: u64,
        /// Bytes its application has taken.
        consumed: u64,
        /// The credit it grants.
        limit: u64,
    },
}

/// Who broke a relayed stream off.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ResetCause {
    /// The peer, with a RESET.
    Peer,
    /// This side, because the peer violated the protocol.
    Violation,
}
