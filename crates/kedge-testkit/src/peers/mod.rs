//! Peers made by hand: TLS, HTTP/1.1, WebSocket and frames, done well or as badly as a test asks for.
//!
//! Everything blocks, with a deadline on every read and write. The WebSocket is written out here and not taken from a
//! library, because a library would refuse to send what must be refused.

mod agent;
mod certificate;
mod client;
mod http;
mod stream;
mod websocket;

pub use crate::reply::Reply;
pub use agent::FakeAgent;
pub use certificate::Certificate;
pub use client::{Client, open_frame};
pub use http::Request;
pub use stream::{Endpoint, Stream};
pub use websocket::{Mask, Message, Opcode, WebSocket};
