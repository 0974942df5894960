//! What a user's key signs to log in (RFC 4252 §7), and nothing else.
//!
//! ```text
//! string    session identifier
//! byte      SSH_MSG_USERAUTH_REQUEST
//! string    user name
//! string    "ssh-connection"
//! string    "publickey" | "publickey-hostbound-v00@openssh.com"
//! boolean   TRUE
//! string    signature algorithm
//! string    public key
//! string    server's host key, only with the second method (OpenSSH's PROTOCOL §3.1)
//! ```

use crate::event::{Reason, SshSessionId};
use crate::wire::Fields;

/// An authentication that somebody wants signed. Its fields are what they say, checked for nothing but their form.
#[derive(Debug)]
pub(crate) struct UserAuth<'a> {
    pub(crate) session: SshSessionId,
    pub(crate) user: &'a [u8],
    pub(crate) algorithm: &'a [u8],
    pub(crate) key: &'a [u8],
    /// The host key that the signature is good for; `None` with the plain method.
    pub(crate) host_key: Option<&'a [u8]>,
}

/// The session id that data begins with, for the audit log: also of data that is refused.
pub(crate) fn session_of(data: &[u8]) -> Option<SshSessionId> {
    SshSessionId::new(Fields::new(data).string().ok()?)
}

/// Reads all of the data, or says why it is nothing to sign.
pub(crate) fn parse(data: &[u8]) -> Result<UserAuth<'_>, Reason> {
    const NOT: Reason = Reason::NotUserAuthentication;
    if data.is_empty() {
        return Err(Reason::EmptyData);
    }
    if data.starts_with(SSHSIG) {
        return Err(Reason::SshSig);
    }
    let mut fields = Fields::new(data);
    let session = fields.string().map_err(|_| NOT)?;
    if fields.byte() != Ok(SSH_MSG_USERAUTH_REQUEST) {
        return Err(NOT);
    }
    let session = SshSessionId::new(session).ok_or(Reason::BadSessionId)?;
    let user = fields.string().map_err(|_| NOT)?;
    if fields.string().map_err(|_| NOT)? != SERVICE {
        return Err(Reason::OtherService);
    }
    let method = fields.string().map_err(|_| NOT)?;
    if method != PLAIN && method != HOST_BOUND {
        return Err(Reason::OtherMethod);
    }
    if fields.boolean() != Ok(true) {
        return Err(NOT);
    }
    let algorithm = fields.string().map_err(|_| NOT)?;
    let key = fields.string().map_err(|_| NOT)?;
    let host_key = match method == HOST_BOUND {
        true => Some(fields.string().map_err(|_| NOT)?),
        false => None,
    };
    fields.end().map_err(|_| Reason::TrailingBytes)?;
    Ok(UserAuth {
        session,
        user,
        algorithm,
        key,
        host_key,
    })
}

const SSH_MSG_USERAUTH_REQUEST: u8 = 50;
const SERVICE: &[u8] = b"ssh-connection";
const PLAIN: &[u8] = b"publickey";
const HOST_BOUND: &[u8] = b"publickey-hostbound-v00@openssh.com";
/// What OpenSSH puts before everything that is signed outside SSH's protocol (PROTOCOL.sshsig).
const SSHSIG: &[u8] = b"SSHSIG";
