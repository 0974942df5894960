//! What names a stream: its id on one link, its key across links, the secret that resumes it, the target it asks for.

use std::fmt;
use std::str::FromStr;

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::defaults::MAX_TARGET;
use crate::varint;

/// Which side of the WebSocket this is. It decides the parity of the stream ids: clients open even ones, servers odd.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Side {
    /// Sent the upgrade request.
    Client,
    /// Answered 101.
    Server,
}

impl Side {
    /// The other one.
    #[must_use]
    pub const fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    /// The first id this side opens.
    #[must_use]
    pub const fn first_stream(self) -> StreamId {
        match self {
            Self::Client => StreamId(0),
            Self::Server => StreamId(1),
        }
    }
}

/// Names a stream on one link. Never reused there; means nothing on another link.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct StreamId(pub(crate) u64);

impl StreamId {
    /// Checks the range of a varint.
    #[must_use]
    pub const fn new(value: u64) -> Option<Self> {
        if value <= varint::MAX {
            Some(Self(value))
        } else {
            None
        }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }

    /// The side that opened it.
    #[must_use]
    pub const fn opener(self) -> Side {
        if self.0 & 1 == 0 {
            Side::Client
        } else {
            Side::Server
        }
    }

    /// The next id of the same side; `None` when a link has used up all 2^61 of them.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        Self::new(self.0 + 2)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names a stream across links: 16 random bytes made by the client that opened it. Not a secret.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct StreamKey(pub [u8; 16]);

impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.0)
    }
}

/// SHA-256 of the [`ResumeSecret`] that will next prove who may resume a stream.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct ResumeHash(pub [u8; 32]);

impl ResumeHash {
    /// Whether `proof` is the secret this is the hash of; compared in constant time.
    #[must_use]
    pub fn admits(&self, proof: &ResumeSecret) -> bool {
        self.0.ct_eq(&proof.hash().0).into()
    }
}

impl fmt::Debug for ResumeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.0)
    }
}

/// 32 random bytes, shown once to resume a stream. Zeroised on drop, never printed.
#[derive(Clone)]
pub struct ResumeSecret([u8; 32]);

impl ResumeSecret {
    /// Takes over 32 bytes from a cryptographic random source.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What OPEN and RESUME carry ahead of the secret.
    #[must_use]
    pub fn hash(&self) -> ResumeHash {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.0);
        let mut hash = [0; 32];
        hash.iter_mut()
            .zip(digest.as_ref())
            .for_each(|(to, from)| *to = *from);
        ResumeHash(hash)
    }

    /// The bytes for the RESUME frame.
    pub(crate) const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Drop for ResumeSecret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for ResumeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResumeSecret(…)")
    }
}

impl PartialEq for ResumeSecret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for ResumeSecret {}

/// What kind of thing a stream asks for. `ssh` is the sshd of the server named by the attributes, `ssh-agent` the hub's
/// signer for a session beside it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Target(String);

impl Target {
    /// The sshd of a server.
    #[must_use]
    pub fn ssh() -> Self {
        Self("ssh".to_owned())
    }

    /// The hub's signer, which speaks the ssh-agent protocol.
    #[must_use]
    pub fn ssh_agent() -> Self {
        Self("ssh-agent".to_owned())
    }

    /// As written on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Target {
    type Err = BadTarget;

    /// # Errors
    /// Anything but 1 to 64 characters of `a-z 0-9 - . /`, beginning with a letter.
    fn from_str(text: &str) -> Result<Self, BadTarget> {
        let first = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        let rest = text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-./".contains(&b));
        if first && rest && text.len() <= MAX_TARGET {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadTarget)
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A target that no kedge would write.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a target is 1 to {MAX_TARGET} characters of a-z 0-9 - . / and begins with a letter")]
pub struct BadTarget;

fn hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        let secret = ResumeSecret::new([7; 32]);
        assert_eq!(format!("{secret:?}"), "ResumeSecret(…)");
    }

    #[test]
    fn only_the_right_secret_is_admitted() {
        let hash = ResumeSecret::new([7; 32]).hash();
        assert!(hash.admits(&ResumeSecret::new([7; 32])));
        assert!(!hash.admits(&ResumeSecret::new([8; 32])));
    }

    #[test]
    fn targets_hold_no_surprises() {
        for good in ["ssh", "pod/exec", "git-2.0"] {
            assert_eq!(good.parse::<Target>().unwrap().as_str(), good);
        }
        let long = "a".repeat(MAX_TARGET + 1);
        for bad in [
            "",
            "SSH",
            "-ssh",
            "../ssh",
            "s sh",
            "s\nsh",
            "ｓsh",
            "s\u{202e}",
            long.as_str(),
        ] {
            assert_eq!(bad.parse::<Target>(), Err(BadTarget), "{bad:?}");
        }
    }

    #[test]
    fn sides_take_turns() {
        assert_eq!(Side::Client.first_stream().opener(), Side::Client);
        assert_eq!(
            Side::Server.first_stream().next().unwrap().opener(),
            Side::Server
        );
        assert_eq!(StreamId(varint::MAX).next(), None);
    }
}
