//! Frames, streams and links of the kedge tunnel as pure state machines.
//!
//! No I/O, no clock, no randomness: bytes, [`std::time::Instant`]s and random numbers come in as arguments. The shell
//! that moves the bytes is `kedge-tunnel`; what the protocol looks like to others is written in `docs/protocol.md`.
//! Nothing here knows what a server, a person or a session is.
//!
//! ```text
//!   application                      application                 relay: two links in one process
//!   write │  ▲ read                 write │  ▲ read
//!    ┌────▼──┴────┐                  ┌────▼──┴────┐         ┌────────────┐  RelayEvent  ┌────────────┐
//!    │    Link    │ ═══ messages ═══ │    Link    │   ═══   │    Link    │ ◄──────────► │    Link    │  ═══
//!    └────────────┘                  └────────────┘         └────────────┘              └────────────┘
//!       ▲ now, PING, credit, whose turn it is
//! ```

pub mod attributes;
pub mod backoff;
pub mod codes;
pub mod defaults;
pub mod error;
pub mod event;
pub mod frame;
pub mod ids;
pub mod link;
mod liveness;
pub mod pace;
mod recv;
pub mod resume;
mod schedule;
mod send;
mod stream;
pub mod varint;
pub mod version;
mod window;

pub use attributes::{AttributeId, Attributes, AttributesFull};
pub use backoff::Backoff;
pub use codes::{RefuseCode, ResetCode};
pub use error::{DecodeError, LinkError};
pub use event::{Event, RelayEvent, ResetCause, StreamEnd};
pub use frame::{Frame, OpenFrame, ResumeFrame};
pub use ids::{BadTarget, ResumeHash, ResumeSecret, Side, StreamId, StreamKey, Target};
pub use link::{
    Dead, Holdings, Limits, Link, NoStream, OpenRequest, ResumeRequest, TooManyStreams, Write,
};
pub use pace::Pace;
pub use recv::Read;
pub use resume::{Detached, Registry};
pub use send::{Outgoing, SendBuffer};
pub use stream::Request;
pub use version::{Version, VersionError};
pub use window::SharedBudget;

/// The name of the protocol, as offered in `Sec-WebSocket-Protocol`.
pub const SUBPROTOCOL: &str = "kedge.v1";
