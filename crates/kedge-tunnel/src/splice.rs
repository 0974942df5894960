//! A stream joined with a local connection: what agents and `kedge proxy` do all day.

use std::io;

use kedge_proto::ResetCode;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::stream::{StreamError, TunnelStream};

/// Copies both ways until both directions have ended, each end passed on as a half-close, and the peer has taken
/// everything. When `io` fails the stream is reset with `on_failure`.
///
/// # Cancel safety
/// Dropping the future resets the stream.
pub async fn splice<I>(_stream: TunnelStream, _io: I, _on_failure: ResetCode) -> Spliced
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    std::future::pending().await
}

/// What a splice has done.
#[derive(Debug)]
pub struct Spliced {
    /// Bytes read from the local side and written to the stream.
    pub sent: u64,
    /// Bytes read from the stream and written to the local side.
    pub received: u64,
    /// How it ended.
    pub end: SpliceEnd,
}

/// How a splice ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum SpliceEnd {
    /// Both directions ended and were delivered.
    Finished,
    /// The local side failed.
    Io(io::Error),
    /// The stream failed.
    Stream(StreamError),
}
