//! The tokio, WebSocket and TLS shell around kedge-proto: reaching a hub, being reached, and moving the bytes of links.
//!
//! What a frame is and what may be sent when is `kedge-proto`'s; who may open what is the daemons'. Nothing here spawns a
//! task: a link comes with a [`LinkDriver`], a future that its owner runs.
//!
//! ```text
//!   TunnelStream ─┐                                      ┌─ Incoming ─► accept, refuse, relay
//!   TunnelStream ─┼─ Link (state machine, one mutex) ────┤
//!   Relay ────────┘          ▲                           └─ closed, received_goaway
//!                            │ next message / message came
//!                       LinkDriver ══ Wire ══ Dialer or PendingUpgrade
//! ```
//!
//! A link runs until it is closed from either side, the peer breaks the protocol or falls silent, the connection breaks,
//! or the driver is dropped; all its streams end with it, each with the reason.

mod buffers;
pub mod carrier;
pub mod defaults;
pub mod dial;
mod driver;
pub mod link;
pub mod proxy;
pub mod relay;
mod shared;
pub mod socket;
pub mod splice;
pub mod stream;
pub mod tls;
pub mod upgrade;
pub mod version;
pub mod web;
pub mod wire;

pub use carrier::{Carried, Carrier};
pub use dial::{DialError, DialStage, Dialer, DialerBuilder, Negotiated, ResponseBody, Timeouts};
pub use kedge_proto::{
    AttributeId, Attributes, LinkError, OpenFrame, RefuseCode, ResetCode, ResumeHash, ResumeSecret,
    SUBPROTOCOL, Side, StreamId, StreamKey, Target,
};
pub use link::{
    CloseReason, Incoming, Link, LinkClosed, LinkConfig, LinkDriver, LinkEnd, LinkStats,
    OpenRequest,
};
pub use proxy::{ProxyEnvironment, ProxyError, ProxyPolicy};
pub use relay::{Relay, RelayBytes, RelayEnd, RelayHow, RelayParty};
pub use socket::{HubStream, socket_options};
pub use splice::{SpliceEnd, Spliced, splice};
pub use stream::{OpenError, RecvHalf, Resetter, SendHalf, StreamError, TunnelStream};
pub use tls::{BadPin, CertificatePin, Trust, TrustError};
pub use upgrade::{PendingError, PendingUpgrade, UpgradeError, upgrade};
pub use version::{PROTOCOLS, PROTOCOLS_HEADER, VersionMismatch};
pub use web::WebClient;
pub use wire::{Wire, WireError};
