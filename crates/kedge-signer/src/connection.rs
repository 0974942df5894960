//! One connection of one ssh: what it is bound to, and what is answered on it.

use kedge_api::{Fingerprint, HostKey, HostKeys, Login};

use crate::algorithm::{KeyAlgorithm, SignatureAlgorithm};
use crate::event::{BoundBy, Event, Reason, Refusal, Signed, SshSessionId};
use crate::private::PrivateKey;
use crate::protocol::{self, Request, SessionBind};
use crate::userauth::{self, UserAuth};
use crate::verify;

/// What a session allows: the hub's decision, made before any request.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// As whom the person logs in.
    pub login: &'a Login,
    /// The host keys that are pinned for the server.
    pub host_keys: &'a HostKeys,
    /// What to do when a client does not say for which server it asks.
    pub unbound: Unbound,
}

/// Whether clients may ask for a signature that nothing ties to the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unbound {
    /// They may: OpenSSH before 8.9 cannot say it. Whoever holds the agent socket can then log in as this login at every
    /// server that accepts the key.
    Allow,
    /// They may not.
    #[default]
    Refuse,
}

/// What to send back, and what to write down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The reply as one frame, with its length.
    pub reply: Vec<u8>,
    /// For the audit log: each signature, and each refusal.
    pub event: Option<Event>,
}

/// The state of one connection of a client to its agent.
#[derive(Debug, Default)]
pub struct Connection {
    binding: Binding,
}

#[derive(Debug, Default)]
enum Binding {
    #[default]
    None,
    /// A binding was tried and refused.
    Spoiled,
    To {
        host_key: HostKey,
        session: SshSessionId,
    },
}

/// What a request names, for the audit log.
#[derive(Default)]
struct Named {
    ssh_session: Option<SshSessionId>,
    host_key: Option<Fingerprint>,
}

impl Connection {
    /// One that is not bound yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One request (without its length): the reply to send, and what the audit log must know.
    ///
    /// It signs at most once, with `key`, and only what `terms` allow. RSA takes some milliseconds of the processor.
    pub fn answer(&mut self, request: &[u8], key: &PrivateKey, terms: &Terms<'_>) -> Answer {
        let refused = |reply: Vec<u8>, reason: Reason, named: Named| Answer {
            reply,
            event: Some(Event::Refused(Refusal {
                key: key.public().fingerprint(),
                reason,
                ssh_session: named.ssh_session,
                host_key: named.host_key,
            })),
        };
        let nothing = Named::default();
        match Request::decode(request) {
            Err(_) => refused(protocol::failure(), Reason::Malformed, nothing),
            Ok(Request::Bind(bind)) => match self.bind(&bind, terms) {
                Ok(()) => Answer {
                    reply: protocol::success(),
                    event: None,
                },
                Err(reason) => {
                    let named = Named {
                        ssh_session: SshSessionId::new(bind.session_id),
                        host_key: Some(Fingerprint::of(bind.host_key)),
                    };
                    refused(protocol::extension_failure(), reason, named)
                }
            },
            Ok(Request::Extension { .. }) => {
                refused(protocol::failure(), Reason::UnknownExtension, nothing)
            }
            Ok(Request::Identities) => Answer {
                reply: protocol::identities(&[(key.public().blob(), COMMENT)]),
                event: None,
            },
            Ok(Request::Sign {
                key_blob,
                data,
                flags,
            }) => match self.sign(key_blob, data, flags, key, terms) {
                Ok((signature, signed)) => Answer {
                    reply: protocol::signature(&signature),
                    event: Some(Event::Signed(signed)),
                },
                Err(reason) => refused(protocol::failure(), reason, self.named(data)),
            },
            Ok(Request::Unknown(_)) => {
                refused(protocol::failure(), Reason::UnsupportedRequest, nothing)
            }
        }
    }

    /// `session-bind@openssh.com`. A binding that is refused spoils the connection; one that comes after another that
    /// holds leaves that as it is, as OpenSSH's agent does.
    fn bind(&mut self, bind: &SessionBind<'_>, terms: &Terms<'_>) -> Result<(), Reason> {
        if !matches!(self.binding, Binding::None) {
            return Err(Reason::SecondBinding);
        }
        match checked(bind, terms) {
            Ok(binding) => {
                self.binding = binding;
                Ok(())
            }
            Err(reason) => {
                self.binding = Binding::Spoiled;
                Err(reason)
            }
        }
    }

    fn sign(
        &self,
        key_blob: &[u8],
        data: &[u8],
        flags: u32,
        key: &PrivateKey,
        terms: &Terms<'_>,
    ) -> Result<(Vec<u8>, Signed), Reason> {
        if matches!(self.binding, Binding::Spoiled) {
            return Err(Reason::Spoiled);
        }
        if key_blob != key.public().blob() {
            return Err(Reason::OtherKey);
        }
        let auth = userauth::parse(data)?;
        let algorithm = algorithm(key.public().algorithm(), flags)?;
        if auth.algorithm != algorithm.as_str().as_bytes() {
            return Err(Reason::AlgorithmMismatch);
        }
        if auth.key != key_blob {
            return Err(Reason::KeyMismatch);
        }
        if auth.user != terms.login.as_str().as_bytes() {
            return Err(Reason::OtherLogin);
        }
        let (bound_by, host_key) = self.bound(&auth, terms)?;
        let signature = key
            .sign(algorithm, data)
            .map_err(|_| Reason::SigningFailed)?;
        let signed = Signed {
            key: key.public().fingerprint(),
            algorithm,
            ssh_session: auth.session,
            host_key,
            bound_by,
        };
        Ok((signature, signed))
    }

    /// What ties an authentication to the server.
    ///
    /// A binding of the connection is enough: the host key itself has vouched for the session id. So is a pinned host key
    /// in the data: sshd takes such a signature only when the key is its own (PROTOCOL §3.1), so that it is worth
    /// nothing at another server. Where both are there, they must agree.
    fn bound(
        &self,
        auth: &UserAuth<'_>,
        terms: &Terms<'_>,
    ) -> Result<(BoundBy, Option<Fingerprint>), Reason> {
        let named = match auth.host_key {
            Some(blob) => Some(pinned(blob, terms.host_keys).ok_or(Reason::OtherHostKey)?),
            None => None,
        };
        match &self.binding {
            Binding::Spoiled => Err(Reason::Spoiled),
            Binding::To { session, .. } if *session != auth.session => Err(Reason::OtherSession),
            Binding::To { host_key, .. } if named.is_some_and(|named| named != host_key) => {
                Err(Reason::HostKeyMismatch)
            }
            // The pinned keys may be others by now.
            Binding::To { host_key, .. } if !terms.host_keys.contains(host_key) => {
                Err(Reason::OtherHostKey)
            }
            Binding::To { host_key, .. } => {
                Ok((BoundBy::SessionBind, Some(host_key.fingerprint())))
            }
            Binding::None => match (named, terms.unbound) {
                (Some(host_key), _) => Ok((BoundBy::HostBound, Some(host_key.fingerprint()))),
                (None, Unbound::Allow) => Ok((BoundBy::Nothing, None)),
                (None, Unbound::Refuse) => Err(Reason::Unbound),
            },
        }
    }

    fn named(&self, data: &[u8]) -> Named {
        let claimed = userauth::parse(data).ok().and_then(|auth| auth.host_key);
        let bound = match &self.binding {
            Binding::To { host_key, .. } => Some(host_key.fingerprint()),
            Binding::None | Binding::Spoiled => None,
        };
        Named {
            ssh_session: userauth::session_of(data),
            host_key: claimed.map(Fingerprint::of).or(bound),
        }
    }
}

fn checked(bind: &SessionBind<'_>, terms: &Terms<'_>) -> Result<Binding, Reason> {
    if bind.is_forwarding {
        return Err(Reason::Forwarded);
    }
    let session = SshSessionId::new(bind.session_id).ok_or(Reason::BadSessionId)?;
    // Certificates are never pinned, so none passes.
    let host_key = pinned(bind.host_key, terms.host_keys).ok_or(Reason::OtherHostKey)?;
    verify::verify(host_key.blob(), bind.signature, bind.session_id)
        .map_err(|_| Reason::BadBindSignature)?;
    Ok(Binding::To {
        host_key: host_key.clone(),
        session,
    })
}

fn pinned<'k>(blob: &[u8], host_keys: &'k HostKeys) -> Option<&'k HostKey> {
    host_keys.iter().find(|key| key.blob() == blob)
}

/// What a key signs with when asked with these flags (draft-ietf-sshm-ssh-agent, SSH_AGENTC_SIGN_REQUEST).
fn algorithm(key: KeyAlgorithm, flags: u32) -> Result<SignatureAlgorithm, Reason> {
    match (key, flags) {
        (KeyAlgorithm::EcdsaP256, 0) => Ok(SignatureAlgorithm::EcdsaP256),
        (KeyAlgorithm::EcdsaP384, 0) => Ok(SignatureAlgorithm::EcdsaP384),
        (KeyAlgorithm::EcdsaP521, 0) => Ok(SignatureAlgorithm::EcdsaP521),
        (KeyAlgorithm::Ed25519, 0) => Ok(SignatureAlgorithm::Ed25519),
        (KeyAlgorithm::Rsa, SSH_AGENT_RSA_SHA2_256) => Ok(SignatureAlgorithm::RsaSha256),
        (KeyAlgorithm::Rsa, SSH_AGENT_RSA_SHA2_512) => Ok(SignatureAlgorithm::RsaSha512),
        (KeyAlgorithm::Rsa, 0) => Err(Reason::Sha1),
        _ => Err(Reason::BadFlags),
    }
}

/// How clients show the key to people.
const COMMENT: &str = "kedge";

const SSH_AGENT_RSA_SHA2_256: u32 = 2;
const SSH_AGENT_RSA_SHA2_512: u32 = 4;
