//! What a peer can do wrong, as types.

use crate::ids::StreamId;

/// A message that is no frame.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A field has a value that it must not have.
    #[error("{0} is malformed")]
    BadField(&'static str),
    /// One attribute id twice.
    #[error("attribute {0} appears twice")]
    DuplicateAttribute(u64),
    /// A field is larger than it may be.
    #[error("{field} is longer than {limit} bytes")]
    TooLong {
        /// Which.
        field: &'static str,
        /// The most it may have.
        limit: usize,
    },
    /// Bytes after the last field of a frame that has no extensions.
    #[error("{0} bytes after the last field")]
    Trailing(usize),
    /// The message ends within a field.
    #[error("message ends within {0}")]
    Truncated(&'static str),
}

/// Why a link must end: the peer broke the protocol in a way no single stream can answer for.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The peer provokes more answers than it takes.
    #[error("peer provokes more answers than it reads")]
    Flood,
    /// A message that is no frame.
    #[error("malformed frame: {0}")]
    Malformed(#[from] DecodeError),
    /// A message larger than any frame.
    #[error("message larger than {limit} bytes")]
    Oversized {
        /// The most a message may have.
        limit: usize,
    },
    /// OPEN or RESUME with an id of the wrong parity, or not above those before.
    #[error("stream {0} cannot be opened by the peer or was opened before")]
    StreamId(StreamId),
    /// A text message.
    #[error("text message on a link that carries binary frames")]
    Text,
    /// A frame that only an end which has opened the stream, or only one which has not, may send.
    #[error("{frame} for stream {stream} makes no sense from this side")]
    Unexpected {
        /// The frame's name in capitals.
        frame: &'static str,
        /// The stream it names.
        stream: StreamId,
    },
    /// A frame for a stream that was never opened.
    #[error("{frame} for stream {stream}, which was never opened")]
    UnknownStream {
        /// The frame's name in capitals.
        frame: &'static str,
        /// The stream it names.
        stream: StreamId,
    },
    /// The WebSocket itself was broken: unmasked client frames, reserved bits, bad fragments.
    #[error("WebSocket violated: {0}")]
    WebSocket(String),
}
