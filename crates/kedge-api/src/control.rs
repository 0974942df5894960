//! What an agent says of itself on its control socket, to root on its own machine.
//!
//! * `GET /v1/status` → [`AgentStatus`]; with `?wait=connected` when it is connected, or ten minutes later as it is then.
//! * `POST /v1/reload` → [`Reloaded`] when the configuration has been read again, or 409 and a [`Status`](crate::Status)
//!   with the reason why the old one stays.
//! * `POST /v1/joined` → [`AgentStatus`] after the agent has looked whether it has joined meanwhile; 409 when it is
//!   another server already.

use serde::{Deserialize, Serialize};

use crate::names::{HubUrl, ServerName};
use crate::time::Time;

/// Where an agent's control socket is, unless its configuration says otherwise.
pub const SOCKET: &str = "/run/kedge-agent/control.sock";

/// Path of an agent's status.
pub const STATUS_PATH: &str = "/v1/status";

/// The same, answered when the agent is connected.
pub const WAIT_PATH: &str = "/v1/status?wait=connected";

/// Path that has the configuration read again.
pub const RELOAD_PATH: &str = "/v1/reload";

/// Path by which `kedge-agent join` tells that it has joined.
pub const JOINED_PATH: &str = "/v1/joined";

/// What an agent is doing.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentStatus {
    /// The server's name; `null` before it has one.
    pub name: Option<ServerName>,
    /// The hub's URL; `null` before it has one.
    pub hub: Option<HubUrl>,
    /// What it is doing.
    pub state: AgentState,
    /// Since when.
    pub since: Time,
    /// Sessions that are open.
    pub sessions: u64,
    /// Where sessions go: `tcp:127.0.0.1:22`.
    pub target: String,
    /// The agent's version.
    pub version: String,
    /// What it waits for and why, or what is wrong, in words; `null` when there is nothing to say.
    pub reason: Option<String>,
}

/// What an agent is doing.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum AgentState {
    /// There is a link to the hub.
    Connected,
    /// It is on its way to the hub.
    Connecting,
    /// It stops; sessions may finish.
    Draining,
    /// It asks the hub of its configuration to take it on.
    Joining,
    /// Nobody has told it which hub is its own.
    NotJoined,
    /// What a newer agent does.
    #[serde(other)]
    Unknown,
}

impl AgentState {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Connecting => "connecting",
            Self::Draining => "draining",
            Self::Joining => "joining",
            Self::NotJoined => "not-joined",
            Self::Unknown => "unknown",
        }
    }
}

/// What came of reading the configuration again.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reloaded {
    /// The keys that differ and take effect at the next start only.
    #[serde(default)]
    pub restart: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_is_fixed() {
        let status = AgentStatus {
            name: Some("web01".parse().unwrap()),
            hub: Some("https://hub.example:8443".parse().unwrap()),
            state: AgentState::NotJoined,
            since: "2026-01-31T12:00:00Z".parse().unwrap(),
            sessions: 2,
            target: "tcp:127.0.0.1:22".to_owned(),
            version: "0.1.0".to_owned(),
            reason: None,
        };
        let value = serde_json::to_value(&status).unwrap();
        assert_eq!(
            value,
            serde_json::json!({
                "name": "web01", "hub": "https://hub.example:8443", "state": "not-joined",
                "since": "2026-01-31T12:00:00Z", "sessions": 2, "target": "tcp:127.0.0.1:22",
                "version": "0.1.0", "reason": null,
            })
        );
        assert_eq!(
            serde_json::from_value::<AgentStatus>(value).unwrap(),
            status
        );
    }

    #[test]
    fn words_and_wire_agree_and_a_newer_word_is_unknown() {
        for state in [
            AgentState::Connected,
            AgentState::Connecting,
            AgentState::Draining,
            AgentState::Joining,
            AgentState::NotJoined,
        ] {
            let word = serde_json::to_value(state).unwrap();
            assert_eq!(word, state.as_str());
        }
        let newer: AgentState = serde_json::from_str("\"dreaming\"").unwrap();
        assert_eq!(newer, AgentState::Unknown);
    }
}
