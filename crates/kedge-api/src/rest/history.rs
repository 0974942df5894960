//! What was: sessions that were opened and refused, and what other policies would have said to them.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::explain::Verdict;
use crate::login::{LoginOrigin, MappedLogin};
use crate::meta::Resource;
use crate::names::{Labels, Login, ObjectName, ServerName, SessionId};
use crate::policy::{self, AccessRequest, Action, Decision};
use crate::principal::Principal;
use crate::resources::{AccessPolicy, Permission, Server, ServerSpec};
use crate::time::Time;
use crate::wire_enum::wire_enum;

/// `GET …/history?since=TIME&limit=N&continue=TOKEN`: what was, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// One page.
    pub items: Vec<HistoryRecord>,
    /// Where the next page begins; absent on the last one.
    #[serde(default, rename = "continue", skip_serializing_if = "Option::is_none")]
    pub continue_token: Option<String>,
}

/// One session that was opened or refused, with what it was decided by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryRecord {
    /// When.
    pub at: Time,
    /// What came of it.
    pub event: HistoryEvent,
    /// The session's id, as in the audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Who.
    pub principal: Principal,
    /// Where.
    pub server: ServerName,
    /// The server's labels then; absent when there was no such server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_labels: Option<Labels>,
    /// The server's `spec.sshUser` then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_user: Option<Login>,
    /// The login that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_requested: Option<Login>,
    /// The login that was decided about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
    /// Where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<LoginOrigin>,
    /// To do what.
    pub permission: Permission,
    /// From where.
    pub source: IpAddr,
    /// How many sessions the person had then.
    #[serde(default)]
    pub sessions: u32,
    /// The policy that allowed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<ObjectName>,
    /// Why it was refused, in one word for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why it was refused, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

wire_enum! {
    /// What came of somebody's wish for a session.
    HistoryEvent {
        /// It was opened.
        Opened = "opened",
        /// It was refused.
        Refused = "refused",
    }
}

impl HistoryRecord {
    /// What these policies would have said. None where there was nothing to decide: no such server, or no login.
    #[must_use]
    pub fn judge<'p>(
        &self,
        policies: impl IntoIterator<Item = &'p AccessPolicy>,
    ) -> Option<Decision> {
        let mut server = Server::new(
            self.server.clone().into(),
            ServerSpec {
                ssh_user: self.ssh_user.clone(),
                ..ServerSpec::default()
            },
        );
        server.metadata.labels = self.server_labels.clone()?;
        let login = MappedLogin {
            login: self.login.clone()?,
            origin: self.origin?,
        };
        let request = AccessRequest {
            principal: &self.principal,
            action: Action::Session {
                server: &server,
                login: &login,
                permission: &self.permission,
            },
            source: Some(self.source),
            now: self.at,
            opened: None,
            sessions: self.sessions,
        };
        Some(policy::evaluate(policies, &request))
    }
}

/// `POST …/policyreplays`: what would other policies have said to the sessions of the history?
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReplayRequest {
    /// From when on.
    pub since: Time,
    /// Where to go on, from the answer before.
    #[serde(default, rename = "continue", skip_serializing_if = "Option::is_none")]
    pub continue_token: Option<String>,
    /// Policies to put in the place of the stored ones of the same name, or beside them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<AccessPolicy>,
    /// Stored policies to leave out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<ObjectName>,
}

/// The answer to a [`ReplayRequest`]: one page of the history.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replay {
    /// How many records were looked at.
    pub examined: u64,
    /// How many of them come out as they do with the stored policies.
    pub unchanged: u64,
    /// Those that come out otherwise, oldest first.
    #[serde(default)]
    pub changed: Vec<ReplayChange>,
    /// Where the next page begins; absent on the last one.
    #[serde(default, rename = "continue", skip_serializing_if = "Option::is_none")]
    pub continue_token: Option<String>,
}

/// One session that would have come out otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplayChange {
    /// What was.
    pub record: HistoryRecord,
    /// What the stored policies say to it.
    pub before: Verdict,
    /// What the others would have said.
    pub after: Verdict,
    /// The policy that would have allowed or denied it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<ObjectName>,
}
