//! The tokio, WebSocket and TLS shell around kedge-proto.

pub mod link;
pub mod relay;
pub mod splice;
pub mod stream;

pub use kedge_proto::{
    AttributeId, Attributes, LinkError, OpenFrame, RefuseCode, ResetCode, ResumeHash, ResumeSecret,
    SUBPROTOCOL, Side, StreamId, StreamKey, Target,
};
pub use link::{
    CloseReason, Incoming, Link, LinkClosed, LinkConfig, LinkDriver, LinkEnd, LinkStats,
    OpenRequest, websocket_config,
};
pub use relay::{Relay, RelayBytes, RelayEnd, RelayHow, RelayParty};
pub use splice::{SpliceEnd, Spliced, splice};
pub use stream::{OpenError, RecvHalf, SendHalf, StreamError, TunnelStream};
