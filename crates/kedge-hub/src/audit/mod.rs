//! The audit log: who did what, and who was not let.
//!
//! Events go to the target `kedge::audit`, one line each, with these fields:
//!
//! | field | in | meaning |
//! |---|---|---|
//! | `event` | all | what happened: the name of one of [`KINDS`] |
//! | `message_id` | all | its id, by which the journal finds all of the kind |
//! | `session` | session.* | the session's id |
//! | `issuer`, `subject`, `user`, `method` | all with a person | who, what policies call them, and how they proved it |
//! | `server`, `login`, `permission` | session.* | where, as whom, to do what |
//! | `policy` | session.opened, session.closed | what allowed it |
//! | `from` | all | the source address |
//! | `code`, `reason` | *.refused | why not, for programs and for people |
//! | `fingerprint`, `host_key` | signature.* | the key that signs; the server's host key that the signature is good for |
//! | `ssh_session`, `algorithm`, `bound_by` | signature.* | the SSH session's id, and how the request was tied to the server |
//! | `owner_issuer`, `owner_subject`, `owner_user` | session.killed | whose session it was, where the others say who ended it |
//! | `bytes_up`, `bytes_down`, `duration_ms`, `how` | session.closed | what passed, how long, how it ended |
//!
//! Everything that somebody else chose is escaped and cut ([`Printable`]): a name cannot forge a line.

use std::{net::IpAddr, time::Duration};

use kedge_api::{
    Login, ObjectName, Permission, Principal, ServerName, SessionId, rest::SessionInfo,
    text::Printable,
};
use tracing::info;

mod kinds;

pub use kinds::*;

/// The target of every audit event.
pub const TARGET: &str = kedge_service::logging::AUDIT_TARGET;

/// Writes an event that a person caused: who they are stands the same way in all of them.
macro_rules! by_person {
    ($actor:expr, $event:expr, { $($field:tt)* }, $words:literal) => {
        info!(
            target: TARGET,
            event = $event.name,
            message_id = $event.id,
            issuer = %Printable::new($actor.principal.issuer.as_str()),
            subject = %Printable::new($actor.principal.subject.as_str()),
            user = %Printable::new($actor.principal.user.as_str()),
            method = %$actor.principal.method,
            from = %$actor.from,
            $($field)*
            $words
        )
    };
}

/// Writes an event about a session that was allowed: its facts stand the same way in all of them.
macro_rules! about_session {
    ($actor:expr, $event:expr, $facts:expr, { $($field:tt)* }, $words:literal) => {
        by_person!($actor, $event, {
            session = %$facts.id,
            policy = %$facts.policy,
            server = %$facts.server,
            login = %$facts.login,
            permission = %$facts.permission,
            $($field)*
        }, $words)
    };
}

/// Who did it.
#[derive(Clone, Copy, Debug)]
pub struct Actor<'a> {
    /// The person.
    pub principal: &'a Principal,
    /// Where they come from.
    pub from: IpAddr,
}

/// A session that was allowed.
#[derive(Clone, Debug)]
pub struct SessionFacts {
    /// Its id.
    pub id: SessionId,
    /// Where.
    pub server: ServerName,
    /// As whom.
    pub login: Login,
    /// To do what.
    pub permission: Permission,
    /// What allowed it.
    pub policy: ObjectName,
}

/// What passed through a session, and how it ended.
#[derive(Clone, Debug)]
pub struct Ending<'a> {
    /// Bytes towards the server.
    pub up: u64,
    /// Bytes from the server.
    pub down: u64,
    /// How long.
    pub duration: Duration,
    /// How it ended, for programs.
    pub how: &'static str,
    /// And in words; as hostile as the peer who chose them.
    pub detail: &'a str,
}

/// What somebody asked for when a session was refused; as hostile as they are.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The session's id, when it got that far.
    pub id: Option<&'a SessionId>,
    /// Where.
    pub server: &'a str,
    /// As whom; empty when they left it to the hub.
    pub login: &'a str,
    /// The kind of target.
    pub permission: &'a str,
}

/// A session began.
pub fn session_opened(actor: Actor<'_>, facts: &SessionFacts) {
    about_session!(actor, SESSION_OPENED, facts, {}, "session opened");
}

/// A session ended.
pub fn session_closed(actor: Actor<'_>, facts: &SessionFacts, ending: &Ending<'_>) {
    about_session!(actor, SESSION_CLOSED, facts, {
        bytes_up = ending.up,
        bytes_down = ending.down,
        duration_ms = u64::try_from(ending.duration.as_millis()).unwrap_or(u64::MAX),
        how = ending.how,
        reason = %Printable::new(ending.detail),
    }, "session closed");
}

/// Somebody ended a session: their own, or one of somebody else.
pub fn session_killed(actor: Actor<'_>, session: &SessionInfo) {
    by_person!(actor, SESSION_KILLED, {
        session = %session.id,
        server = %session.server,
        login = %session.login,
        permission = %session.permission,
        owner_issuer = %Printable::new(session.issuer.as_str()),
        owner_subject = %Printable::new(session.subject.as_str()),
        owner_user = %Printable::new(session.user.as_str()),
    }, "session killed");
}

/// A session was refused, here or by the agent.
pub fn session_refused(actor: Actor<'_>, asked: Asked<'_>, code: &'static str, reason: &str) {
    by_person!(actor, SESSION_REFUSED, {
        session = %asked.id.map(SessionId::as_str).unwrap_or_default(),
        server = %Printable::new(asked.server),
        login = %Printable::new(asked.login),
        permission = %Printable::new(asked.permission),
        code,
        reason = %Printable::new(reason),
    }, "session refused");
}

/// A session that the hub signs for.
#[derive(Clone, Copy, Debug)]
pub struct Signing<'a> {
    /// Its id.
    pub id: &'a SessionId,
    /// Where.
    pub server: &'a ServerName,
    /// As whom.
    pub login: &'a Login,
}

/// What a signature is good for.
#[derive(Clone, Copy, Debug)]
pub struct SignedFor<'a> {
    /// Of the key that signed.
    pub fingerprint: &'a str,
    /// The SSH session's id, in hexadecimal digits.
    pub ssh_session: &'a str,
    /// Of the server's host key.
    pub host_key: &'a str,
    /// The algorithm of the signature.
    pub algorithm: &'a str,
    /// What ties it to the server.
    pub bound_by: &'a str,
}

/// The hub signed with a server's key.
pub fn signature_made(actor: Actor<'_>, signing: Signing<'_>, signed: SignedFor<'_>) {
    by_person!(actor, SIGNATURE_MADE, {
        session = %signing.id,
        server = %signing.server,
        login = %signing.login,
        fingerprint = signed.fingerprint,
        ssh_session = signed.ssh_session,
        host_key = signed.host_key,
        algorithm = signed.algorithm,
        bound_by = signed.bound_by,
    }, "signed");
}

/// The hub was asked for a signature, or for the key, and did not give it.
pub fn signature_refused(
    actor: Actor<'_>,
    signing: Signing<'_>,
    fingerprint: &str,
    code: &'static str,
    reason: &str,
) {
    by_person!(actor, SIGNATURE_REFUSED, {
        session = %signing.id,
        server = %signing.server,
        login = %signing.login,
        fingerprint,
        code,
        reason = %Printable::new(reason),
    }, "signature refused");
}

/// A person or an agent did not prove who they are.
pub fn authentication_refused(caller: &'static str, from: IpAddr, path: &str, reason: &str) {
    info!(
        target: TARGET,
        event = AUTHENTICATION_REFUSED.name,
        message_id = AUTHENTICATION_REFUSED.id,
        caller,
        from = %from,
        path = %Printable::new(path),
        reason = %Printable::new(reason),
        "authentication refused"
    );
}

/// An agent became a server.
pub fn enrolled(server: &ServerName, token: &str, from: IpAddr) {
    info!(
        target: TARGET,
        event = ENROLMENT_ACCEPTED.name,
        message_id = ENROLMENT_ACCEPTED.id,
        server = %server,
        token = %Printable::new(token),
        from = %from,
        "agent enrolled"
    );
}

/// An agent did not become a server.
pub fn enrolment_refused(server: &str, token: &str, from: IpAddr, reason: &str) {
    info!(
        target: TARGET,
        event = ENROLMENT_REFUSED.name,
        message_id = ENROLMENT_REFUSED.id,
        server = %Printable::new(server),
        token = %Printable::new(token),
        from = %from,
        reason = %Printable::new(reason),
        "enrolment refused"
    );
}

/// What was done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// It was made.
    Created,
    /// It was taken away.
    Deleted,
    /// It was changed.
    Updated,
}

/// An administrator changed what the hub holds.
pub fn object_changed(actor: Actor<'_>, verb: Verb, kind: &'static str, name: &str) {
    let event = match verb {
        Verb::Created => OBJECT_CREATED,
        Verb::Deleted => OBJECT_DELETED,
        Verb::Updated => OBJECT_UPDATED,
    };
    by_person!(actor, event, {
        kind,
        name = %Printable::new(name),
    }, "object changed");
}

/// Somebody tried to change what they may not.
pub fn write_refused(
    actor: Actor<'_>,
    verb: kedge_api::resources::Verb,
    kind: &'static str,
    name: &str,
    reason: &str,
) {
    by_person!(actor, OBJECT_REFUSED, {
        verb = verb.as_str(),
        kind,
        name = %Printable::new(name),
        reason = %Printable::new(reason),
    }, "change refused");
}

/// An agent reported host keys that nobody accepted.
pub fn host_keys_changed(server: &ServerName, from: IpAddr, fingerprints: &str) {
    info!(
        target: TARGET,
        event = HOST_KEYS_CHANGED.name,
        message_id = HOST_KEYS_CHANGED.id,
        server = %server,
        fingerprints = %Printable::new(fingerprints),
        from = %from,
        "host keys changed; sessions are blocked until an operator accepts them"
    );
}

/// An operator accepted host keys.
pub fn host_keys_accepted(actor: Actor<'_>, server: &ServerName, fingerprints: &str) {
    by_person!(actor, HOST_KEYS_ACCEPTED, {
        server = %server,
        fingerprints = %Printable::new(fingerprints),
    }, "host keys accepted");
}
