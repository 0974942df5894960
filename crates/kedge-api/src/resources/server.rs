//! `Server`: a machine reachable by SSH through an agent.
//!
//! ```text
//!              agent dials                     link lost or closed
//!   Pending ───────────────▶ Online ◀────────────────────────────▶ Offline
//!                              │  ▲             agent dials
//!     other host keys reported │  │ operator accepts them
//!                              ▼  │
//!                            Blocked
//! ```

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kind::resource;
use crate::assertion::AgentPublicKey;
use crate::meta::{Condition, FieldError};
use crate::names::{Fingerprint, HostKeys, Line, Login, SecretDataKey, ServerName};
use crate::secrets::{SecretRef, SshKeySource};
use crate::time::Time;
use crate::wire_enum::wire_enum;

resource! {
    /// A machine reachable by SSH through an agent.
    Server { spec: ServerSpec, status: ServerStatus }
    plural "servers", singular "server", short &["srv"],
    validate check, change check_change,
    columns crate::crd::server::COLUMNS, rules crate::crd::server::RULES
}

/// What is asked of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServerSpec {
    /// The public key of the agent that is this server. Set by enrolment, never changed through REST.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_key: Option<AgentPublicKey>,
    /// The host keys that are trusted: pinned at enrolment, changed only by an operator.
    #[serde(default, skip_serializing_if = "HostKeys::is_empty")]
    pub host_keys: HostKeys,
    /// The key of the Secret's data under which the private key is; `ssh-privatekey` when absent. Only with
    /// `sshKeySecretRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_key_secret_data_key: Option<SecretDataKey>,
    /// The Secret with the private key that logs everybody in here: read anew for each session, used by the hub alone.
    /// Absent: people use keys of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_key_secret_ref: Option<SecretRef>,
    /// The login everybody gets here, whatever their identity says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_user: Option<Login>,
}

impl ServerSpec {
    /// Where the private key is that sessions here log in with; `None` when people use keys of their own.
    #[must_use]
    pub fn ssh_key(&self) -> Option<SshKeySource> {
        let secret = self.ssh_key_secret_ref.clone()?;
        let key = self.ssh_key_secret_data_key.clone().unwrap_or_default();
        Some(SshKeySource { secret, key })
    }
}

/// What the hub knows of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerStatus {
    /// All in one word.
    #[serde(default)]
    pub phase: ServerPhase,
    /// When the agent was last heard of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Time>,
    /// Since when the agent's tunnel has been up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected_since: Option<Time>,
    /// The agent's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<Line>,
    /// The server's operating system, as the agent says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<Line>,
    /// The server's processor architecture, as the agent says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<Line>,
    /// The host keys the agent reported, while they differ from the pinned ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_host_keys: Option<HostKeys>,
    /// Of the pinned host key that OpenSSH prefers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_key_fingerprint: Option<Fingerprint>,
    /// The tunnel protocol spoken, `kedge.v1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Line>,
    /// Where the agent dials from, as the hub sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_address: Option<Line>,
    /// `Connected`, `CredentialsResolved`, `HostKeyVerified`, `Ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

wire_enum! {
    /// A server's state in one word.
    #[derive(Default)]
    ServerPhase {
        /// The agent reports host keys that nobody accepted: no session until an operator does.
        Blocked = "Blocked",
        /// The agent's tunnel is down.
        Offline = "Offline",
        /// The agent's tunnel is up.
        Online = "Online",
        /// The agent has never been connected.
        #[default]
        Pending = "Pending",
    }
}

impl Server {
    /// The server's name as its own type.
    #[must_use]
    pub fn name(&self) -> ServerName {
        self.metadata.name.clone().into()
    }

    /// Whether the agent's tunnel is up, as the `Connected` condition says.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.status
            .conditions
            .iter()
            .any(|c| c.kind == CONNECTED && c.status == crate::meta::ConditionStatus::True)
    }
}

/// Condition: the agent's tunnel is up.
pub const CONNECTED: &str = "Connected";
/// Condition: the private key that the spec refers to could be read when it was last needed. Absent without a reference.
pub const CREDENTIALS_RESOLVED: &str = "CredentialsResolved";
/// Condition: the reported host keys are the pinned ones.
pub const HOST_KEY_VERIFIED: &str = "HostKeyVerified";
/// Condition: a session can be opened.
pub const READY: &str = "Ready";

fn check(server: &Server, errors: &mut Vec<FieldError>) {
    let spec = &server.spec;
    if spec.ssh_key_secret_data_key.is_some() && spec.ssh_key_secret_ref.is_none() {
        let message = "means nothing without `spec.sshKeySecretRef`";
        errors.push(FieldError::new("spec.sshKeySecretDataKey", message));
    }
}

fn check_change(new: &Server, old: &Server, errors: &mut Vec<FieldError>) {
    if new.spec.agent_key != old.spec.agent_key {
        let message = "cannot be changed; delete the server and enrol its agent again";
        errors.push(FieldError::new("spec.agentKey", message));
    }
}
