//! What the audit log must know of a request.

use std::fmt;

use kedge_api::Fingerprint;

use crate::algorithm::SignatureAlgorithm;
use crate::defaults::{SESSION_ID_MAX, SESSION_ID_MIN};

/// What became of a request that was to be signed, or was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request was refused. Nothing was signed.
    Refused(Refusal),
    /// A signature was made.
    Signed(Signed),
}

/// A signature that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The key it was made with.
    pub key: Fingerprint,
    /// How.
    pub algorithm: SignatureAlgorithm,
    /// The ssh session it logs in to, and no other.
    pub ssh_session: SshSessionId,
    /// The server's host key; `None` only when nothing tied the request to one, which must have been allowed.
    pub host_key: Option<Fingerprint>,
    /// How it was known whose session this is.
    pub bound_by: BoundBy,
}

/// A request that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The key of this session.
    pub key: Fingerprint,
    /// Why.
    pub reason: Reason,
    /// The ssh session that the request named, if it did: somebody's claim.
    pub ssh_session: Option<SshSessionId>,
    /// The host key that the request named, or that the connection was bound to: as much a claim.
    pub host_key: Option<Fingerprint>,
}

/// How it is known that a signature is for the server that it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundBy {
    /// The server's host key stands in what was signed (`publickey-hostbound-v00@openssh.com`).
    HostBound,
    /// Nothing; clients that cannot say it are allowed.
    Nothing,
    /// The server's host key has signed the session id (`session-bind@openssh.com`).
    SessionBind,
}

impl BoundBy {
    /// One word, for the audit log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HostBound => "host-bound",
            Self::Nothing => "nothing",
            Self::SessionBind => "session-bind",
        }
    }
}

impl fmt::Display for BoundBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The id of an ssh session: the hash of its first key exchange (RFC 4253 §7.2). Displays as hex.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SshSessionId(Box<[u8]>);

impl SshSessionId {
    /// `None` unless it has the length of a hash that SSH uses: 20 to 64 bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (SESSION_ID_MIN..=SESSION_ID_MAX)
            .contains(&bytes.len())
            .then(|| Self(bytes.into()))
    }

    /// The bytes of the hash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for SshSessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SshSessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Makes the enum of reasons and its words, so that none is forgotten.
macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $word:literal,)+) => {
        /// Why a request was refused. Displays as one word.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* $variant,)+
        }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }
    };
}

reasons! {
    /// The signature algorithm in the data does not fit the key and the flags.
    AlgorithmMismatch = "algorithm-mismatch",
    /// The host key's signature over the session id does not hold, or is of a kind that is not taken.
    BadBindSignature = "bad-bind-signature",
    /// The flags do not fit the key.
    BadFlags = "bad-flags",
    /// A session id that is none of SSH's hashes.
    BadSessionId = "bad-session-id",
    /// There is nothing to sign.
    EmptyData = "empty-data",
    /// The connection is forwarded to the server: it is the user's own agent's, never the signer's.
    Forwarded = "forwarded",
    /// The host key in the data is not the one that the connection is bound to.
    HostKeyMismatch = "host-key-mismatch",
    /// The key in the data is not the one that is to sign.
    KeyMismatch = "key-mismatch",
    /// The message is not one of the protocol.
    Malformed = "malformed",
    /// The data is no SSH user authentication.
    NotUserAuthentication = "not-user-authentication",
    /// The host key is none that is pinned for this server.
    OtherHostKey = "other-host-key",
    /// Another key was asked for.
    OtherKey = "other-key",
    /// The login in the data is not that of this session.
    OtherLogin = "other-login",
    /// An authentication by another method than `publickey` and its host-bound form.
    OtherMethod = "other-method",
    /// An authentication for another service than `ssh-connection`.
    OtherService = "other-service",
    /// The data is for another ssh session than the connection is bound to.
    OtherSession = "other-session",
    /// The connection is bound already.
    SecondBinding = "second-binding",
    /// RSA with SHA-1.
    Sha1 = "sha1",
    /// The library of cryptography failed.
    SigningFailed = "signing-failed",
    /// A binding of the connection was refused; nothing is signed on it any more.
    Spoiled = "spoiled",
    /// A file or an e-mail, as `ssh-keygen -Y sign` signs them.
    SshSig = "sshsig",
    /// Bytes follow the authentication.
    TrailingBytes = "trailing-bytes",
    /// Nothing ties the request to the server.
    Unbound = "unbound",
    /// An extension that is not offered.
    UnknownExtension = "unknown-extension",
    /// A request that is not offered: adding, removing, locking keys, smartcards.
    UnsupportedRequest = "unsupported-request",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_is_one_word_of_its_own() {
        let words: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
        for word in words {
            assert!(
                word.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            );
        }
    }

    #[test]
    fn session_ids_are_hashes() {
        for length in [0, 19, 65, 1000] {
            assert_eq!(SshSessionId::new(&vec![1; length]), None);
        }
        for length in [20, 32, 48, 64] {
            assert!(SshSessionId::new(&vec![1; length]).is_some());
        }
        let id = SshSessionId::new(&[0xa0; 20]).unwrap();
        assert_eq!(id.to_string(), "a0".repeat(20));
    }
}
