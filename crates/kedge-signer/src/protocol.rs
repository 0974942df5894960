//! Messages of the ssh-agent protocol (draft-ietf-sshm-ssh-agent, OpenSSH's PROTOCOL.agent).
//!
//! - Client and agent send frames: a length of four bytes, and so many bytes of a message.
//! - A message is its type, one byte, and fields. Each request has one reply, in order.
//! - `REQUEST_IDENTITIES` → `IDENTITIES_ANSWER` (key, comment)*
//! - `SIGN_REQUEST` (key, data, flags) → `SIGN_RESPONSE` (signature)
//! - `EXTENSION` (name, …) → `SUCCESS`, or `EXTENSION_FAILURE` from an agent that knows the extension
//! - Whatever the agent does not do → `FAILURE`
//!
//! Reading is strict: every field has its length, and nothing follows the last. Nothing is copied, and nothing allocated
//! by what a length says.

use bytes::{Buf, Bytes, BytesMut};

use crate::defaults::MESSAGE_BYTES;
use crate::wire::{Fields, PutFields};

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct Malformed {
    problem: &'static str,
}

impl Malformed {
    pub(crate) const fn new(problem: &'static str) -> Self {
        Self { problem }
    }

    /// What is wrong.
    #[must_use]
    pub const fn problem(self) -> &'static str {
        self.problem
    }
}

/// A peer announces a longer message than there can be; nothing that follows can be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of {length} bytes, at most {MESSAGE_BYTES} allowed")]
pub struct FrameTooLong {
    /// What it announces, in bytes.
    pub length: usize,
}

/// Takes the next whole message off what has been received, without its length; `None` when more must come.
///
/// # Errors
/// [`FrameTooLong`] above 256 KiB, as OpenSSH's `AGENT_MAX_LEN`; the connection is over then.
pub fn take_frame(received: &mut BytesMut) -> Result<Option<Bytes>, FrameTooLong> {
    let Some(head) = received.first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_be_bytes(*head)).unwrap_or(usize::MAX);
    if length > MESSAGE_BYTES {
        return Err(FrameTooLong { length });
    }
    if received.len() < LENGTH_BYTES + length {
        return Ok(None);
    }
    received.advance(LENGTH_BYTES);
    Ok(Some(received.split_to(length).freeze()))
}

/// What a client asks of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request<'a> {
    /// `session-bind@openssh.com`: this connection is for that ssh session.
    Bind(SessionBind<'a>),
    /// Another extension.
    Extension {
        /// Its name.
        name: &'a str,
        /// What follows the name.
        contents: &'a [u8],
    },
    /// Which keys are there?
    Identities,
    /// A signature is wanted.
    Sign {
        /// The public key whose private half is to sign.
        key_blob: &'a [u8],
        /// What is to be signed.
        data: &'a [u8],
        /// 2 asks RSA for SHA-256, 4 for SHA-512.
        flags: u32,
    },
    /// Another request, by its number: adding, removing and locking keys, smartcards.
    Unknown(u8),
}

/// `session-bind@openssh.com` (PROTOCOL.agent §1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionBind<'a> {
    /// The server's public host key.
    pub host_key: &'a [u8],
    /// The session id, by the first key exchange.
    pub session_id: &'a [u8],
    /// The host key's signature over the session id.
    pub signature: &'a [u8],
    /// Whether the connection is forwarded to that server, rather than used to log in there.
    pub is_forwarding: bool,
}

impl<'a> Request<'a> {
    /// Reads one message, without its length.
    ///
    /// # Errors
    /// [`Malformed`] when it is empty, cut, or longer than its fields.
    pub fn decode(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(message);
        let request = match fields.byte()? {
            REQUEST_IDENTITIES => Self::Identities,
            SIGN_REQUEST => Self::Sign {
                key_blob: fields.string()?,
                data: fields.string()?,
                flags: fields.number()?,
            },
            EXTENSION => {
                let name = fields.string()?;
                if name == SESSION_BIND.as_bytes() {
                    Self::Bind(SessionBind {
                        host_key: fields.string()?,
                        session_id: fields.string()?,
                        signature: fields.string()?,
                        is_forwarding: fields.boolean()?,
                    })
                } else {
                    let name = std::str::from_utf8(name)
                        .map_err(|_| Malformed::new("the name of an extension is not text"))?;
                    return Ok(Self::Extension {
                        name,
                        contents: fields.rest(),
                    });
                }
            }
            number => return Ok(Self::Unknown(number)),
        };
        fields.end()?;
        Ok(request)
    }

    /// Writes it as one frame, with its length; an [`Unknown`](Self::Unknown) one without any field.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match *self {
            Self::Bind(bind) => {
                out.push(EXTENSION);
                out.put_string(SESSION_BIND.as_bytes());
                out.put_string(bind.host_key);
                out.put_string(bind.session_id);
                out.put_string(bind.signature);
                out.push(u8::from(bind.is_forwarding));
            }
            Self::Extension { name, contents } => {
                out.push(EXTENSION);
                out.put_string(name.as_bytes());
                out.extend_from_slice(contents);
            }
            Self::Identities => out.push(REQUEST_IDENTITIES),
            Self::Sign {
                key_blob,
                data,
                flags,
            } => {
                out.push(SIGN_REQUEST);
                out.put_string(key_blob);
                out.put_string(data);
                out.extend_from_slice(&flags.to_be_bytes());
            }
            Self::Unknown(number) => out.push(number),
        }
        frame(&out)
    }
}

/// The frame of a request for the list of keys.
#[must_use]
pub fn request_identities() -> Vec<u8> {
    Request::Identities.encode()
}

/// What an agent answers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply<'a> {
    /// The extension is known, and would not do.
    ExtensionFailure,
    /// It is not done.
    Failure,
    /// The keys that are there.
    Identities(Vec<Identity<'a>>),
    /// A signature, as SSH has it: `string algorithm`, `string bytes`.
    Signature(&'a [u8]),
    /// It is done.
    Success,
    /// Another answer, by its number.
    Unknown(u8),
}

/// One key of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity<'a> {
    /// The public key.
    pub blob: &'a [u8],
    /// What its owner calls it; any bytes.
    pub comment: &'a [u8],
}

impl<'a> Reply<'a> {
    /// Reads one message, without its length.
    ///
    /// # Errors
    /// [`Malformed`] when it is empty, cut, or longer than its fields.
    pub fn decode(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(message);
        let reply = match fields.byte()? {
            EXTENSION_FAILURE => Self::ExtensionFailure,
            FAILURE => Self::Failure,
            IDENTITIES_ANSWER => {
                let count = fields.number()?;
                // Grows by what is there: the count may be anything.
                let mut identities = Vec::new();
                for _ in 0..count {
                    identities.push(Identity {
                        blob: fields.string()?,
                        comment: fields.string()?,
                    });
                }
                Self::Identities(identities)
            }
            SIGN_RESPONSE => Self::Signature(fields.string()?),
            SUCCESS => Self::Success,
            number => return Ok(Self::Unknown(number)),
        };
        fields.end()?;
        Ok(reply)
    }
}

/// The frame of `FAILURE`.
#[must_use]
pub fn failure() -> Vec<u8> {
    frame(&[FAILURE])
}

/// The frame of `EXTENSION_FAILURE`: the extension is known, and would not do.
#[must_use]
pub fn extension_failure() -> Vec<u8> {
    frame(&[EXTENSION_FAILURE])
}

/// The frame of `SUCCESS`.
#[must_use]
pub fn success() -> Vec<u8> {
    frame(&[SUCCESS])
}

/// The frame of a list of keys, each with its comment.
#[must_use]
pub fn identities(keys: &[(&[u8], &str)]) -> Vec<u8> {
    let mut out = vec![IDENTITIES_ANSWER];
    let count = u32::try_from(keys.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&count.to_be_bytes());
    for (blob, comment) in keys {
        out.put_string(blob);
        out.put_string(comment.as_bytes());
    }
    frame(&out)
}

/// The frame of a signature.
pub(crate) fn signature(signature: &[u8]) -> Vec<u8> {
    let mut out = vec![SIGN_RESPONSE];
    out.put_string(signature);
    frame(&out)
}

/// A message with its length in front, as it travels.
#[must_use]
pub fn frame(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(LENGTH_BYTES + message.len());
    out.put_string(message);
    out
}

/// The name of the extension that binds a connection to an ssh session.
pub const SESSION_BIND: &str = "session-bind@openssh.com";

const LENGTH_BYTES: usize = 4;

const FAILURE: u8 = 5;
const SUCCESS: u8 = 6;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
const EXTENSION: u8 = 27;
const EXTENSION_FAILURE: u8 = 28;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_are_as_the_protocol_has_them() {
        assert_eq!(request_identities(), [0, 0, 0, 1, 11]);
        assert_eq!(failure(), [0, 0, 0, 1, 5]);
        assert_eq!(success(), [0, 0, 0, 1, 6]);
        assert_eq!(extension_failure(), [0, 0, 0, 1, 28]);
        assert_eq!(
            identities(&[(b"K", "c")]),
            [
                0, 0, 0, 15, 12, 0, 0, 0, 1, 0, 0, 0, 1, b'K', 0, 0, 0, 1, b'c'
            ]
        );
        let sign = Request::Sign {
            key_blob: b"K",
            data: b"D",
            flags: 4,
        };
        assert_eq!(
            sign.encode(),
            [
                0, 0, 0, 15, 13, 0, 0, 0, 1, b'K', 0, 0, 0, 1, b'D', 0, 0, 0, 4
            ]
        );
        let bind = Request::Bind(SessionBind {
            host_key: b"H",
            session_id: b"S",
            signature: b"G",
            is_forwarding: true,
        })
        .encode();
        assert_eq!(&bind[4..9], [27, 0, 0, 0, 24]);
        assert_eq!(&bind[9..33], SESSION_BIND.as_bytes());
        assert_eq!(
            &bind[33..],
            [0, 0, 0, 1, b'H', 0, 0, 0, 1, b'S', 0, 0, 0, 1, b'G', 1]
        );
    }

    #[test]
    fn requests_are_read_whole_or_not_at_all() {
        let requests = [
            Request::Identities,
            Request::Sign {
                key_blob: b"key",
                data: b"data",
                flags: 2,
            },
            Request::Bind(SessionBind {
                host_key: b"host",
                session_id: b"session",
                signature: b"signature",
                is_forwarding: false,
            }),
        ];
        for request in requests {
            let frame = request.encode();
            let message = &frame[4..];
            assert_eq!(Request::decode(message), Ok(request));
            for end in 0..message.len() {
                assert!(
                    Request::decode(&message[..end]).is_err(),
                    "{request:?} {end}"
                );
            }
            let longer = [message, b"\0"].concat();
            assert!(Request::decode(&longer).is_err(), "{request:?}");
        }
        let query = Request::Extension {
            name: "query",
            contents: b"any\0thing",
        };
        assert_eq!(Request::decode(&query.encode()[4..]), Ok(query));
        for (number, rest) in [
            (1, ""),
            (17, "key"),
            (19, ""),
            (22, "word"),
            (25, "x"),
            (255, ""),
        ] {
            let message = [&[number], rest.as_bytes()].concat();
            assert_eq!(Request::decode(&message), Ok(Request::Unknown(number)));
        }
    }

    #[test]
    fn hostile_lengths_cost_nothing() {
        // Four billion keys, of which not one is there.
        let message = [&[12, 0xff, 0xff, 0xff, 0xff][..], &[0; 8]].concat();
        assert!(Reply::decode(&message).is_err());
        for length in [0xffff_ffff_u32, 0x8000_0000, 256 * 1024] {
            let message = [&[13][..], &length.to_be_bytes(), b"key"].concat();
            assert!(Request::decode(&message).is_err());
        }
        let mut received = BytesMut::from(&[0xff, 0xff, 0xff, 0xff, 1][..]);
        let too_long = take_frame(&mut received).unwrap_err();
        assert_eq!(too_long.length, 0xffff_ffff);
        let mut received = BytesMut::from(&(256 * 1024_u32 + 1).to_be_bytes()[..]);
        assert!(take_frame(&mut received).is_err());
        let mut received = BytesMut::from(&(256 * 1024_u32).to_be_bytes()[..]);
        let before = received.capacity();
        assert_eq!(take_frame(&mut received), Ok(None));
        assert_eq!(received.capacity(), before);
    }

    #[test]
    fn replies_are_read() {
        let frame = identities(&[(b"one", "first"), (b"two", "")]);
        let Ok(Reply::Identities(list)) = Reply::decode(&frame[4..]) else {
            panic!("no list")
        };
        assert_eq!(list.len(), 2);
        assert_eq!(
            (list[0].blob, list[0].comment),
            (&b"one"[..], &b"first"[..])
        );
        assert_eq!(
            Reply::decode(&signature(b"s")[4..]),
            Ok(Reply::Signature(b"s"))
        );
        for (frame, reply) in [
            (failure(), Reply::Failure),
            (extension_failure(), Reply::ExtensionFailure),
            (success(), Reply::Success),
        ] {
            assert_eq!(Reply::decode(&frame[4..]), Ok(reply));
        }
        assert_eq!(Reply::decode(&[29, 1, 2]), Ok(Reply::Unknown(29)));
        assert!(Reply::decode(&[]).is_err());
        assert!(Reply::decode(&[6, 0]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Reply::decode(&bytes);
            if let Ok(request) = Request::decode(&bytes) {
                let again = request.encode();
                prop_assert_eq!(Request::decode(&again[4..]), Ok(request));
                if !matches!(request, Request::Unknown(_)) {
                    prop_assert_eq!(&again[4..], &bytes[..]);
                }
            }
        }

        #[test]
        fn frames_come_out_as_they_went_in(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..5),
            cut in 1_usize..20,
        ) {
            let sent: Vec<u8> = messages.iter().flat_map(|message| frame(message)).collect();
            let mut received = BytesMut::new();
            let mut taken = Vec::new();
            for piece in sent.chunks(cut) {
                received.extend_from_slice(piece);
                while let Some(message) = take_frame(&mut received).unwrap() {
                    taken.push(message.to_vec());
                }
            }
            prop_assert_eq!(taken, messages);
            prop_assert!(received.is_empty());
        }
    }
}
