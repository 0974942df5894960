//! Frames, streams and links of the kedge tunnel as pure state machines.
//!
//! No I/O, no clock, no randomness: bytes, [`std::time::Instant`]s and random numbers come in as arguments. The shell
//! that moves the bytes is `kedge-tunnel`; what the protocol looks like to others is written in `docs/protocol.md`.

pub mod attributes;
pub mod codes;
pub mod defaults;
pub mod error;
pub mod frame;
pub mod ids;
pub mod varint;

pub use attributes::{AttributeId, Attributes, AttributesFull};
pub use codes::{RefuseCode, ResetCode};
pub use error::{DecodeError, LinkError};
pub use frame::{Frame, OpenFrame, ResumeFrame};
pub use ids::{BadTarget, ResumeHash, ResumeSecret, Side, StreamId, StreamKey, Target};

/// The name of the protocol, as offered in `Sec-WebSocket-Protocol`.
pub const SUBPROTOCOL: &str = "kedge.v1";
