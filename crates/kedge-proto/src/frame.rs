//! The frames and their bytes. One frame is one binary WebSocket message: a type, then fields.
//!
//! - OPEN asks for a stream and brings the first credit; data may follow at once, up to 64 KiB.
//! - OPENED grants it, REFUSED does not.
//! - DATA carries bytes at an offset; FIN says where they end.
//! - `MAX_STREAM_DATA` says what was taken (`consumed`) and how far the sender may go (`limit`).
//! - RESET ends a stream both ways; what was under way is lost.
//! - DETACHED says that the way to the other end broke; RESUME and RESUMED join the stream again on another link.
//! - PING and PONG prove life; GOAWAY asks to dial again elsewhere.
//! - Types nobody knows are skipped.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::attributes::Attributes;
use crate::codes::{RefuseCode, ResetCode};
use crate::defaults::{MAX_DATA, MAX_FRAME, MAX_TARGET, MAX_TEXT};
use crate::error::DecodeError;
use crate::ids::{ResumeHash, ResumeSecret, StreamId, StreamKey, Target};
use crate::varint;

/// The numbers of the frame types.
pub mod frame_type {
    /// Are you there?
    pub const PING: u64 = 0x01;
    /// I am.
    pub const PONG: u64 = 0x02;
    /// Dial again elsewhere.
    pub const GOAWAY: u64 = 0x03;
    /// A new stream.
    pub const OPEN: u64 = 0x10;
    /// It is granted.
    pub const OPENED: u64 = 0x11;
    /// It is not.
    pub const REFUSED: u64 = 0x12;
    /// Bytes.
    pub const DATA: u64 = 0x13;
    /// Acknowledgement and credit.
    pub const MAX_STREAM_DATA: u64 = 0x14;
    /// The bytes end here.
    pub const FIN: u64 = 0x15;
    /// Both directions end now.
    pub const RESET: u64 = 0x16;
    /// The way to the other end broke.
    pub const DETACHED: u64 = 0x17;
    /// An old stream on a new link.
    pub const RESUME: u64 = 0x18;
    /// It is there.
    pub const RESUMED: u64 = 0x19;
}

/// One message.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Frame {
    /// Bytes of a stream.
    Data {
        /// Whose.
        stream: StreamId,
        /// Offset of the first byte.
        offset: u64,
        /// At least one byte, at most 64 KiB.
        bytes: Bytes,
    },
    /// The way to the other end broke; the stream is kept for a while.
    Detached {
        /// Which.
        stream: StreamId,
        /// Why.
        code: ResetCode,
    },
    /// No bytes follow `offset`.
    Fin {
        /// Whose.
        stream: StreamId,
        /// How many bytes there were in all.
        offset: u64,
    },
    /// The sender goes away.
    Goaway {
        /// Milliseconds the peer shall wait before it dials again.
        reconnect_after: u64,
    },
    /// What was taken, and how far the peer may send.
    MaxStreamData {
        /// Whose.
        stream: StreamId,
        /// Bytes the application has taken; one more than the final offset once it has taken the end as well.
        consumed: u64,
        /// The peer may send bytes below this offset.
        limit: u64,
    },
    /// A new stream.
    Open(OpenFrame),
    /// The stream is granted.
    Opened {
        /// Which.
        stream: StreamId,
        /// The opener may send bytes below this offset.
        limit: u64,
        /// What the acceptor has to say.
        attributes: Attributes,
    },
    /// Asks for a PONG.
    Ping(u64),
    /// Answers a PING with its number.
    Pong(u64),
    /// The stream is not granted.
    Refused {
        /// Which.
        stream: StreamId,
        /// Why, for programs.
        code: RefuseCode,
        /// Why, for people; at most 1 KiB.
        text: String,
    },
    /// Both directions end now.
    Reset {
        /// Which.
        stream: StreamId,
        /// Why, for programs.
        code: ResetCode,
        /// Why, for people; at most 1 KiB.
        text: String,
    },
    /// An old stream on a new link.
    Resume(ResumeFrame),
    /// The old stream is there.
    Resumed {
        /// Which.
        stream: StreamId,
        /// Bytes received so far: send from here.
        offset: u64,
        /// As in [`Frame::MaxStreamData`].
        consumed: u64,
        /// As in [`Frame::MaxStreamData`].
        limit: u64,
    },
    /// A type of a newer peer; skipped.
    Unknown(u64),
}

/// Asks for a new stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OpenFrame {
    /// Its id on this link.
    pub stream: StreamId,
    /// Its name across links.
    pub key: StreamKey,
    /// What will prove the right to resume it.
    pub resume: ResumeHash,
    /// The acceptor may send bytes below this offset.
    pub limit: u64,
    /// What is asked for.
    pub target: Target,
    /// Details.
    pub attributes: Attributes,
}

/// Asks to go on with a stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ResumeFrame {
    /// Its id on this link.
    pub stream: StreamId,
    /// Its name across links.
    pub key: StreamKey,
    /// Bytes received so far: send from here.
    pub offset: u64,
    /// As in [`Frame::MaxStreamData`].
    pub consumed: u64,
    /// As in [`Frame::MaxStreamData`].
    pub limit: u64,
    /// The secret whose hash was announced last.
    pub proof: ResumeSecret,
    /// What will prove the right the next time.
    pub next: ResumeHash,
    /// As in the OPEN.
    pub target: Target,
    /// As in the OPEN.
    pub attributes: Attributes,
}

impl Frame {
    /// Reads one message. The bytes of DATA are a slice of it, everything else is copied.
    ///
    /// # Errors
    /// Everything that is not exactly a frame. No prefix of a message is acted upon.
    pub fn decode(message: Bytes) -> Result<Self, DecodeError> {
        if message.len() > MAX_FRAME {
            return Err(DecodeError::TooLong {
                field: "frame",
                limit: MAX_FRAME,
            });
        }
        let mut input = message;
        let kind = number(&mut input, "frame type")?;
        let frame = match kind {
            frame_type::DATA => {
                let (stream, offset) = (stream(&mut input)?, number(&mut input, "offset")?);
                let bytes = std::mem::take(&mut input);
                if bytes.is_empty() {
                    return Err(DecodeError::BadField("DATA without bytes"));
                }
                if bytes.len() > MAX_DATA {
                    return Err(DecodeError::TooLong {
                        field: "data",
                        limit: MAX_DATA,
                    });
                }
                if offset > varint::MAX - bytes.len() as u64 {
                    return Err(DecodeError::BadField("offset"));
                }
                Self::Data {
                    stream,
                    offset,
                    bytes,
                }
            }
            frame_type::DETACHED => Self::Detached {
                stream: stream(&mut input)?,
                code: ResetCode::from_value(number(&mut input, "code")?),
            },
            frame_type::FIN => Self::Fin {
                stream: stream(&mut input)?,
                offset: number(&mut input, "final offset")?,
            },
            frame_type::GOAWAY => Self::Goaway {
                reconnect_after: number(&mut input, "reconnect delay")?,
            },
            frame_type::MAX_STREAM_DATA => Self::MaxStreamData {
                stream: stream(&mut input)?,
                consumed: number(&mut input, "consumed")?,
                limit: number(&mut input, "limit")?,
            },
            frame_type::OPEN => Self::Open(OpenFrame {
                stream: stream(&mut input)?,
                key: StreamKey(array(&mut input, "stream key")?),
                resume: ResumeHash(array(&mut input, "resume hash")?),
                limit: number(&mut input, "limit")?,
                target: target(&mut input)?,
                attributes: Attributes::decode(&mut input)?,
            }),
            frame_type::OPENED => Self::Opened {
                stream: stream(&mut input)?,
                limit: number(&mut input, "limit")?,
                attributes: Attributes::decode(&mut input)?,
            },
            frame_type::PING => Self::Ping(word(&mut input)?),
            frame_type::PONG => Self::Pong(word(&mut input)?),
            frame_type::REFUSED => Self::Refused {
                stream: stream(&mut input)?,
                code: RefuseCode::from_value(number(&mut input, "code")?),
                text: text(&mut input)?,
            },
            frame_type::RESET => Self::Reset {
                stream: stream(&mut input)?,
                code: ResetCode::from_value(number(&mut input, "code")?),
                text: text(&mut input)?,
            },
            frame_type::RESUME => Self::Resume(ResumeFrame {
                stream: stream(&mut input)?,
                key: StreamKey(array(&mut input, "stream key")?),
                offset: number(&mut input, "offset")?,
                consumed: number(&mut input, "consumed")?,
                limit: number(&mut input, "limit")?,
                proof: ResumeSecret::new(array(&mut input, "resume proof")?),
                next: ResumeHash(array(&mut input, "resume hash")?),
                target: target(&mut input)?,
                attributes: Attributes::decode(&mut input)?,
            }),
            frame_type::RESUMED => Self::Resumed {
                stream: stream(&mut input)?,
                offset: number(&mut input, "offset")?,
                consumed: number(&mut input, "consumed")?,
                limit: number(&mut input, "limit")?,
            },
            unknown => return Ok(Self::Unknown(unknown)),
        };
        if input.has_remaining() {
            Err(DecodeError::Trailing(input.remaining()))
        } else {
            Ok(frame)
        }
    }

    /// The bytes of the message.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.wire_len_hint());
        self.encode_into(&mut out);
        out.freeze()
    }

    /// Appends the bytes of the message.
    pub fn encode_into(&self, out: &mut impl BufMut) {
        match self {
            Self::Data {
                stream,
                offset,
                bytes,
            } => {
                data_header(out, *stream, *offset);
                out.put_slice(bytes);
            }
            Self::Detached { stream, code } => {
                numbers(out, &[frame_type::DETACHED, stream.0, code.value()])
            }
            Self::Fin { stream, offset } => numbers(out, &[frame_type::FIN, stream.0, *offset]),
            Self::Goaway { reconnect_after } => {
                numbers(out, &[frame_type::GOAWAY, *reconnect_after])
            }
            Self::MaxStreamData {
                stream,
                consumed,
                limit,
            } => {
                numbers(
                    out,
                    &[frame_type::MAX_STREAM_DATA, stream.0, *consumed, *limit],
                );
            }
            Self::Open(open) => {
                numbers(out, &[frame_type::OPEN, open.stream.0]);
                out.put_slice(&open.key.0);
                out.put_slice(&open.resume.0);
                varint::put(out, open.limit);
                put_target(out, &open.target);
                open.attributes.encode(out);
            }
            Self::Opened {
                stream,
                limit,
                attributes,
            } => {
                numbers(out, &[frame_type::OPENED, stream.0, *limit]);
                attributes.encode(out);
            }
            Self::Ping(word) => put_word(out, frame_type::PING, *word),
            Self::Pong(word) => put_word(out, frame_type::PONG, *word),
            Self::Refused { stream, code, text } => {
                numbers(out, &[frame_type::REFUSED, stream.0, code.value()]);
                out.put_slice(cut(text).as_bytes());
            }
            Self::Reset { stream, code, text } => {
                numbers(out, &[frame_type::RESET, stream.0, code.value()]);
                out.put_slice(cut(text).as_bytes());
            }
            Self::Resume(resume) => {
                numbers(out, &[frame_type::RESUME, resume.stream.0]);
                out.put_slice(&resume.key.0);
                numbers(out, &[resume.offset, resume.consumed, resume.limit]);
                out.put_slice(resume.proof.expose());
                out.put_slice(&resume.next.0);
                put_target(out, &resume.target);
                resume.attributes.encode(out);
            }
            Self::Resumed {
                stream,
                offset,
                consumed,
                limit,
            } => {
                numbers(
                    out,
                    &[frame_type::RESUMED, stream.0, *offset, *consumed, *limit],
                );
            }
            Self::Unknown(kind) => varint::put(out, *kind),
        }
    }

    /// The frame's name in capitals.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Data { .. } => "DATA",
            Self::Detached { .. } => "DETACHED",
            Self::Fin { .. } => "FIN",
            Self::Goaway { .. } => "GOAWAY",
            Self::MaxStreamData { .. } => "MAX_STREAM_DATA",
            Self::Open(_) => "OPEN",
            Self::Opened { .. } => "OPENED",
            Self::Ping(_) => "PING",
            Self::Pong(_) => "PONG",
            Self::Refused { .. } => "REFUSED",
            Self::Reset { .. } => "RESET",
            Self::Resume(_) => "RESUME",
            Self::Resumed { .. } => "RESUMED",
            Self::Unknown(_) => "a frame of unknown type",
        }
    }

    fn wire_len_hint(&self) -> usize {
        match self {
            Self::Data { bytes, .. } => 24 + bytes.len(),
            Self::Open(open) => 144 + open.attributes.wire_len(),
            Self::Opened { attributes, .. } => 24 + attributes.wire_len(),
            Self::Refused { text, .. } | Self::Reset { text, .. } => 24 + text.len(),
            Self::Resume(resume) => 192 + resume.attributes.wire_len(),
            _ => 40,
        }
    }
}

/// Appends what stands before the bytes of a DATA frame.
pub fn data_header(out: &mut impl BufMut, stream: StreamId, offset: u64) {
    numbers(out, &[frame_type::DATA, stream.0, offset]);
}

/// The longest beginning of `text` that fits into a frame.
#[must_use]
pub fn cut(text: &str) -> &str {
    let fits = (0..=MAX_TEXT.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    fits.and_then(|end| text.get(..end)).unwrap_or_default()
}

fn numbers(out: &mut impl BufMut, values: &[u64]) {
    values.iter().for_each(|value| varint::put(out, *value));
}

fn put_target(out: &mut impl BufMut, target: &Target) {
    varint::put(out, target.as_str().len() as u64);
    out.put_slice(target.as_str().as_bytes());
}

/// PING and PONG carry a fixed 64-bit number, so that any value can be echoed.
fn put_word(out: &mut impl BufMut, kind: u64, word: u64) {
    varint::put(out, kind);
    out.put_u64(word);
}

fn number(input: &mut Bytes, field: &'static str) -> Result<u64, DecodeError> {
    varint::take(input).ok_or(DecodeError::Truncated(field))
}

fn word(input: &mut Bytes) -> Result<u64, DecodeError> {
    input
        .try_get_u64()
        .map_err(|_| DecodeError::Truncated("number"))
}

fn stream(input: &mut Bytes) -> Result<StreamId, DecodeError> {
    number(input, "stream id").map(StreamId)
}

fn array<const N: usize>(input: &mut Bytes, field: &'static str) -> Result<[u8; N], DecodeError> {
    let mut array = [0; N];
    input
        .try_copy_to_slice(&mut array)
        .map_err(|_| DecodeError::Truncated(field))?;
    Ok(array)
}

fn target(input: &mut Bytes) -> Result<Target, DecodeError> {
    let len = number(input, "target")?;
    if len > MAX_TARGET as u64 {
        return Err(DecodeError::TooLong {
            field: "target",
            limit: MAX_TARGET,
        });
    }
    let len = usize::try_from(len)
        .ok()
        .filter(|len| *len <= input.len())
        .ok_or(DecodeError::Truncated("target"))?;
    let bytes = input.split_to(len);
    let text = std::str::from_utf8(&bytes).map_err(|_| DecodeError::BadField("target"))?;
    text.parse().map_err(|_| DecodeError::BadField("target"))
}

fn text(input: &mut Bytes) -> Result<String, DecodeError> {
    let bytes = std::mem::take(input);
    if bytes.len() > MAX_TEXT {
        return Err(DecodeError::TooLong {
            field: "text",
            limit: MAX_TEXT,
        });
    }
    String::from_utf8(bytes.to_vec()).map_err(|_| DecodeError::BadField("text"))
}
