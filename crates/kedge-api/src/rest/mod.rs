//! The bodies of the hub's REST API that are no objects.

mod explain;
mod history;
mod sessions;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::explain::{AssumedFact, Explanation, ExplanationRequest, FactOrigin, Verdict};
pub use self::history::{
    History, HistoryEvent, HistoryRecord, Replay, ReplayChange, ReplayRequest,
};
pub use self::sessions::{SessionInfo, SessionLink, SessionList, SessionState};
use crate::assertion::AgentPublicKey;
use crate::names::{
    Fingerprint, Group, HostKeys, HubId, HubName, Issuer, IssuerUrl, Labels, Line, Login,
    ServerName, Subject, Suffix,
};
use crate::policy::HubRights;
use crate::principal::AuthMethod;
use crate::resources::{Server, ServerPhase};
use crate::time::Time;

/// `GET /.well-known/kedge`: what a hub tells everybody about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Discovery {
    /// The hub's id: the audience of agents' assertions.
    pub id: HubId,
    /// What people call it.
    pub name: HubName,
    /// Its version.
    pub version: Line,
    /// The tunnel protocols it speaks, oldest first.
    pub protocols: Vec<String>,
    /// How people authenticate.
    pub authentication: Authentication,
    /// What follows a server's name in `ssh web01.SUFFIX`.
    pub suffix: Suffix,
    /// `sha256:…` of its certificate, when it made that itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_pin: Option<String>,
}

/// How people authenticate at a hub.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Authentication {
    /// The ways in; none means that people are refused.
    pub methods: Vec<AuthMethod>,
    /// Where people log in with OpenID Connect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issuers: Vec<IssuerInfo>,
}

/// An issuer at which people log in, and how. Nothing here is secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IssuerInfo {
    /// What people call it.
    pub name: Line,
    /// What it calls itself; its discovery document is below.
    pub issuer: IssuerUrl,
    /// Who asks.
    pub client_id: String,
    /// What is asked for; `openid` always is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// What some issuers call a secret, and give to every installed program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_client_secret: Option<String>,
    /// The authorities that vouch for its certificate, in PEM, where they are not the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_authorities: Option<String>,
    /// What else to put into the authorization request; none of [`OWN_PARAMETERS`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub authorization_parameters: BTreeMap<String, String>,
    /// The ports of 127.0.0.1 that it may send the browser back to, in the order they are tried; none means any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redirect_ports: Vec<u16>,
    /// Audiences that the hub accepts besides `client_id`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub audiences: BTreeSet<String>,
    /// Authorized parties that the hub accepts besides `client_id`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub authorized_parties: BTreeSet<String>,
}

/// Parameters of the authorization request that the login sets itself, or that would stand in for those: they make it
/// this login, and no other.
pub const OWN_PARAMETERS: [&str; 12] = [
    "client_id",
    "client_secret",
    "code_challenge",
    "code_challenge_method",
    "nonce",
    "redirect_uri",
    "request",
    "request_uri",
    "response_mode",
    "response_type",
    "scope",
    "state",
];

/// `POST …/enrollments`: an agent asks to become a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Enrollment {
    /// The server's name.
    pub name: ServerName,
    /// The agent's public key.
    pub public_key: AgentPublicKey,
    /// The labels it asks for; those of its join token win.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// The host keys of its sshd, to be pinned.
    #[serde(default)]
    pub host_keys: HostKeys,
    /// The operating system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<Line>,
    /// The processor architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<Line>,
    /// The agent's version.
    pub version: Line,
    /// The assertion that proves possession of the key, bound to the join token
    /// (see [`crate::assertion`]).
    pub proof: String,
}

/// The answer to an [`Enrollment`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Enrolled {
    /// The server, as stored.
    pub server: Server,
    /// Whose it is now.
    pub hub: HubIdentity,
}

/// A hub by id and name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HubIdentity {
    /// The audience of assertions.
    pub id: HubId,
    /// What people call it.
    pub name: HubName,
}

/// `POST …/servers/NAME/agentreport`: what an agent says of its server, at each start and when the
/// host keys change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentReport {
    /// The host keys its sshd has now.
    #[serde(default)]
    pub host_keys: HostKeys,
    /// The operating system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<Line>,
    /// The processor architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<Line>,
    /// The agent's version.
    pub version: Line,
}

/// `POST …/servers/NAME/hostkeys`: an operator accepts host keys that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostKeyAcceptance {
    /// The fingerprints of all keys to trust from now on; each must be among the observed ones.
    pub accept: BTreeSet<Fingerprint>,
}

/// `GET …/whoami`: what the hub makes of the caller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WhoAmI {
    /// Who vouches for them.
    pub issuer: Issuer,
    /// Who they are to the issuer.
    pub subject: Subject,
    /// What policies call them.
    pub user: Subject,
    /// The groups they are in.
    #[serde(default)]
    pub groups: BTreeSet<Group>,
    /// What else the issuer says.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, serde_json::Value>,
    /// How they proved it.
    pub method: AuthMethod,
    /// The login their claims give, where a server does not set another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
    /// Why there is no login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_error: Option<String>,
    /// What they may do at the hub itself: `admin`, or nothing.
    #[serde(default)]
    pub permissions: Vec<String>,
    /// What policies let them do at the hub itself.
    #[serde(default)]
    pub hub_rights: HubRights,
    /// When they proved who they are to the issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authenticated_at: Option<Time>,
    /// When what they showed ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
}

/// `GET …/servers/NAME/access`: what a client needs to start `ssh`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerAccess {
    /// The server.
    pub server: ServerName,
    /// The unix user to log in as.
    pub login: Login,
    /// The host keys to trust, and no others.
    pub host_keys: HostKeys,
    /// Whether it is there.
    pub phase: ServerPhase,
    /// Of the key that the hub signs with there. Absent where people come with their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub injected_key: Option<Fingerprint>,
}
