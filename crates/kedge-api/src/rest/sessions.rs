//! The sessions that live.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::{Issuer, Line, Login, ObjectName, ServerName, SessionId, Subject};
use crate::resources::Permission;
use crate::time::Time;
use crate::wire_enum::wire_enum;

/// `GET …/sessions`: the sessions that live now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionList {
    /// In the order they began.
    pub items: Vec<SessionInfo>,
}

/// One session that lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionInfo {
    /// Its id, as in the audit.
    pub id: SessionId,
    /// Who vouches for the person.
    pub issuer: Issuer,
    /// The person.
    pub subject: Subject,
    /// What policies call the person.
    pub user: Subject,
    /// The server.
    pub server: ServerName,
    /// The unix user.
    pub login: Login,
    /// To do what.
    pub permission: Permission,
    /// The policy that allows it.
    pub policy: ObjectName,
    /// Where the person connects from.
    pub source: Line,
    /// When it began.
    pub since: Time,
    /// When it must end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// Whether both ends are there.
    pub state: SessionState,
    /// What carries it between the person and the hub.
    pub client: SessionLink,
    /// What carries it between the hub and the server's agent.
    pub agent: SessionLink,
    /// Bytes from the person to the server.
    pub bytes_up: u64,
    /// Bytes from the server to the person.
    pub bytes_down: u64,
}

wire_enum! {
    /// Whether both ends of a session are there.
    SessionState {
        /// They are.
        Attached = "Attached",
        /// The way to one of them broke; it is kept for a while, so that they can go on from there.
        Detached = "Detached",
    }
}

/// A link that carries a session, as the hub sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionLink {
    /// The address at its other end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_address: Option<Line>,
    /// When it began.
    pub since: Time,
    /// How many sessions it carries, this one included.
    pub sessions: u32,
    /// Its last round trip in milliseconds, 0 for less than half of one. Absent until the first was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_milliseconds: Option<u32>,
}
