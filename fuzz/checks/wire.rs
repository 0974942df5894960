//! What must hold for whatever comes over a WebSocket, however it is cut: it is understood as tungstenite understands it,
//! and little memory is held for it. Shared by the fuzz target and the tests of the tunnel.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::StreamExt;
use kedge_proto::defaults::MAX_FRAME;
use kedge_tunnel::{Wire, WireError};
use tokio::io::{AsyncRead, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

/// The first byte says who reads, and with the second where the rest, which is what comes, is cut.
pub(crate) fn wire(input: &[u8]) {
    let [first, second, bytes @ ..] = input else {
        return;
    };
    let role = match first & 1 {
        0 => Role::Client,
        _ => Role::Server,
    };
    let cut = match usize::from(first >> 1) {
        0 => usize::MAX,
        cut => cut,
    };
    let other = usize::from(*second).pow(2) + 1;
    runtime().block_on(compare(bytes, &[cut, other], role));
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
}

/// A connection on which this comes, a piece at a time, and then the end.
pub(crate) struct Pieces(VecDeque<Vec<u8>>);

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(mut piece) = self.0.pop_front() {
            let rest = piece.split_off(piece.len().min(buffer.remaining()));
            buffer.put_slice(&piece);
            if !rest.is_empty() {
                self.0.push_front(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// How a conversation ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Closed,
    Oversized,
    Protocol,
    Text,
}

pub(crate) fn connection(bytes: &[u8], cuts: &[usize]) -> tokio::io::Join<Pieces, tokio::io::Sink> {
    let mut pieces = VecDeque::new();
    let mut rest = bytes;
    for cut in cuts.iter().cycle() {
        let (piece, later) = rest.split_at((*cut).min(rest.len()));
        pieces.push_back(piece.to_vec());
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    pieces.retain(|piece| !piece.is_empty());
    tokio::io::join(Pieces(pieces), tokio::io::sink())
}

async fn ours(bytes: &[u8], cuts: &[usize], role: Role) -> (Vec<Message>, End) {
    let mut wire = Wire::new(connection(bytes, cuts), role, &[]);
    let mut messages = Vec::new();
    loop {
        let next = wire.next().await;
        // A message in fragments is collected in memory that grows by doubling.
        assert!(wire.held() <= 2 * MAX_FRAME + 1024, "{}", wire.held());
        let end = match next {
            Some(Ok(message)) => {
                let last = message.is_close();
                messages.push(message);
                if !last {
                    continue;
                }
                End::Closed
            }
            None | Some(Err(WireError::Closed)) => End::Closed,
            Some(Err(WireError::Oversized)) => End::Oversized,
            Some(Err(WireError::Protocol(_))) => End::Protocol,
            Some(Err(WireError::Text)) => End::Text,
            Some(Err(error)) => panic!("{error}"),
        };
        return (messages, end);
    }
}

async fn theirs(bytes: &[u8], role: Role) -> (Vec<Message>, End) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_FRAME))
        .max_frame_size(Some(MAX_FRAME));
    let connection = connection(bytes, &[usize::MAX]);
    let mut socket = WebSocketStream::from_raw_socket(connection, role, Some(config)).await;
    let mut messages = Vec::new();
    loop {
        let end = match socket.next().await {
            Some(Ok(Message::Text(_))) | Some(Err(Error::Utf8(_))) => End::Text,
            Some(Ok(message)) => {
                let last = message.is_close();
                messages.push(message);
                if !last {
                    continue;
                }
                End::Closed
            }
            None => End::Closed,
            Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))) => End::Closed,
            Some(Err(Error::Capacity(_))) => End::Oversized,
            Some(Err(Error::Protocol(_))) => End::Protocol,
            Some(Err(error)) => panic!("{error}"),
        };
        return (messages, end);
    }
}

/// Reads the same with both.
///
/// # Panics
/// When they differ in more than how early they refuse.
pub(crate) async fn compare(bytes: &[u8], cuts: &[usize], role: Role) {
    let (our_messages, our_end) = ours(bytes, cuts, role).await;
    let (their_messages, their_end) = theirs(bytes, role).await;
    match (our_end, their_end) {
        // As soon as a text begins, whatever stands between its fragments.
        (End::Text, _) => assert!(their_messages.starts_with(&our_messages)),
        // As soon as the beginning of a frame says so; its payload never came.
        (End::Oversized | End::Protocol, End::Closed) => assert_eq!(our_messages, their_messages),
        _ => assert_eq!((our_messages, our_end), (their_messages, their_end)),
    }
}
