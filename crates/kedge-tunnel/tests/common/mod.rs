//! Links in one process.
#![allow(dead_code, reason = "each test file uses a part")]

use std::sync::atomic::{AtomicU64, Ordering};

use kedge_tunnel::{
    AttributeId, Attributes, Link, LinkConfig, LinkEnd, OpenRequest, ResumeSecret, Side, StreamKey,
    Target, Wire,
};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

/// The two ends of one link, and the tasks that drive them.
pub(crate) struct Pair {
    pub(crate) client: Link,
    pub(crate) server: Link,
    pub(crate) drivers: JoinSet<LinkEnd>,
}

/// A link through memory. What is between the ends holds 64 KiB.
pub(crate) async fn pair(config: LinkConfig) -> Pair {
    let (client, server) = tokio::io::duplex(64 * 1024);
    pair_over(client, server, config).await
}

pub(crate) async fn pair_over<C, S>(client: C, server: S, config: LinkConfig) -> Pair
where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut drivers = JoinSet::new();
    let client = websocket(client, Role::Client).await;
    let server = websocket(server, Role::Server).await;
    let (client, client_driver) = Link::new(client, Side::Client, config.clone());
    let (server, server_driver) = Link::new(server, Side::Server, config);
    drivers.spawn(client_driver.run());
    drivers.spawn(server_driver.run());
    Pair {
        client,
        server,
        drivers,
    }
}

#[allow(
    clippy::unused_async,
    reason = "as the peer's, which tungstenite makes"
)]
pub(crate) async fn websocket<S>(socket: S, role: Role) -> Wire<S> {
    Wire::new(socket, role, &[])
}

/// One end is a link, the other a WebSocket that says what it likes.
pub(crate) struct Against {
    pub(crate) link: Link,
    pub(crate) peer: WebSocketStream<DuplexStream>,
    pub(crate) drivers: JoinSet<LinkEnd>,
}

pub(crate) async fn link_against(side: Side, config: LinkConfig) -> Against {
    let (ours, theirs) = tokio::io::duplex(256 * 1024);
    let (role, peer_role) = match side {
        Side::Client => (Role::Client, Role::Server),
        Side::Server => (Role::Server, Role::Client),
    };
    let (link, driver) = Link::new(websocket(ours, role).await, side, config);
    let mut drivers = JoinSet::new();
    drivers.spawn(driver.run());
    let peer = WebSocketStream::from_raw_socket(theirs, peer_role, None).await;
    Against {
        link,
        peer,
        drivers,
    }
}

/// A request for a stream that nobody else asks for.
pub(crate) fn request() -> OpenRequest {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.to_be_bytes());
    OpenRequest {
        target: Target::ssh(),
        key: StreamKey(key),
        resume: ResumeSecret::new([7; 32]).hash(),
        attributes: Attributes::new()
            .with(AttributeId::SERVER, "web01")
            .unwrap(),
    }
}

/// Bytes that are wrong wherever they are out of place.
pub(crate) fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}
