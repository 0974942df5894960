//! Two streams of two links, joined: what a hub does all day.

use std::fmt;

use kedge_proto::{RefuseCode, ResetCode};

use crate::stream::OpenError;

/// A pair of joined streams. It needs no task: the drivers of the two links move the bytes. Dropping it before its end
/// resets both.
#[derive(Debug)]
pub struct Relay;

impl Relay {
    /// Waits for the acceptor's answer.
    ///
    /// # Errors
    /// When the stream was refused, or ended before it was granted.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn opened(&self) -> Result<(), OpenError> {
        std::future::pending().await
    }

    /// Waits for the end.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn ended(&self) -> RelayEnd {
        std::future::pending().await
    }

    /// Ends both streams.
    pub fn reset(&self, _code: ResetCode, _text: &str) {}

    /// What has passed so far.
    #[must_use]
    pub fn bytes(&self) -> RelayBytes {
        RelayBytes::default()
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
