//! `kedge-agent join`: from a join token to a server of a hub.
//!
//! * Who is there? The hub's discovery document, over TLS that was pinned or vouched for.
//! * The key is made (or found) and synced to disk before the hub hears of it.
//! * One request enrols it, with a proof bound to token, key, name and hub.
//! * `identity.json` is written whole, last: what fails before leaves an agent that has not joined.
//!
//! When the answer to the request is lost, the next `join` finds its key and asks the hub whether
//! it knows it already; if so, it has joined, even when the token is used up by now. An agent that has
//! joined asks the same, and enrols again, with the key it has, when its server was deleted.

use std::path::PathBuf;

use http::StatusCode;
use kedge_api::rest::{Discovery, Enrollment};
use kedge_api::text::Printable;
use kedge_api::{AgentKey, HubUrl, JoinTokenSecret, Labels, Resource, ServerName, StatusReason};
use kedge_service::Failure;
use kedge_tunnel::{CertificatePin, Trust};
use thiserror::Error;

use crate::host_keys::{self, HostKeysError};
use crate::hub::{self, HubClient, HubError};
use crate::identity::{FoundKey, Identity, IdentityError, StateDir};
use crate::machine::{self, HostNameError};

/// What `join` needs to know.
#[derive(Debug)]
pub struct Join {
    /// The hub.
    pub hub: HubUrl,
    /// The secret that lets one agent in.
    pub token: JoinTokenSecret,
    /// The server's name; the machine's unless given.
    pub name: Option<ServerName>,
    /// The labels it asks for.
    pub labels: Labels,
    /// The pin of the hub's certificate.
    pub pin: Option<CertificatePin>,
    /// A file of roots to believe.
    pub ca_file: Option<PathBuf>,
    /// The folder for key and identity.
    pub state: StateDir,
    /// Where the public host keys are.
    pub host_keys: Vec<String>,
}

/// What came of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Joined {
    /// It had joined before, as the same server.
    Already(Identity),
    /// It has joined now.
    Now(Identity),
}

/// Why an agent did not join. Nothing was written but, perhaps, its key.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JoinError {
    /// It is another server, or of another hub, already.
    #[error("this agent has joined {} as {} already", .0.hub, .0.name)]
    Elsewhere(Box<Identity>),
    /// The hub was asked and said no, or could not be asked.
    #[error("cannot join {hub} as {name}")]
    Enrol {
        /// The hub.
        hub: HubUrl,
        /// The server.
        name: ServerName,
        /// Why.
        source: HubError,
    },
    /// There are no host keys to report.
    #[error("cannot report the host keys of this server")]
    HostKeys(#[source] HostKeysError),
    /// The machine's name is no server's name, and none was given.
    #[error("cannot choose a name for this server")]
    Name(#[source] HostNameError),
    /// The hub is not there, or not believed.
    #[error("cannot reach {hub}")]
    Reach {
        /// The hub.
        hub: HubUrl,
        /// Why.
        source: HubError,
    },
    /// The state folder cannot be used.
    #[error("cannot keep the agent's state")]
    State(#[from] IdentityError),
    /// The hub enrolled another server than was asked for.
    #[error("{hub} enrolled the server `{got}` where `{name}` was asked for")]
    WrongAnswer {
        /// The hub.
        hub: HubUrl,
        /// What was asked for.
        name: ServerName,
        /// What came back.
        got: String,
    },
}

impl JoinError {
    /// The error as the person at the terminal sees it.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let failure = Failure::from_error(self);
        let failure = match self.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        };
        match self {
            Self::Enrol { source, .. } if is_denial(source) => failure.code(5),
            _ => failure,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Elsewhere(_) => Some(
                "one agent is one server; to move it, stop it and remove its state folder first"
                    .to_owned(),
            ),
            Self::Enrol { source, name, .. } => enrol_hint(source, name),
            Self::HostKeys(error) => error.hint(),
            Self::Name(_) => Some("choose one: --name web01".to_owned()),
            Self::Reach { source, .. } => source.hint(),
            Self::State(error) => error.hint(),
            Self::WrongAnswer { .. } => None,
        }
    }
}

/// Joins.
///
/// # Cancel safety
///
/// Dropping it leaves the agent as if the answer had been lost: run it again.
///
/// # Errors
///
/// [`JoinError`]; then the agent has not joined.
pub async fn join(join: &Join) -> Result<Joined, JoinError> {
    if let Some(identity) = join.state.identity()? {
        let same = identity.hub == join.hub
            && join.name.as_ref().is_none_or(|name| *name == identity.name);
        // Without its key an identity is worth nothing, and `run` would say so much later.
        let key = join.state.key()?;
        if !same {
            return Err(JoinError::Elsewhere(Box::new(identity)));
        }
        if !is_forgotten(join, &identity, key).await? {
            return Ok(Joined::Already(identity));
        }
        return enrol(join, identity.name).await;
    }
    let name = match &join.name {
        Some(name) => name.clone(),
        None => machine::host_name().map_err(JoinError::Name)?,
    };
    enrol(join, name).await
}

/// Whether the hub says that it does not know this agent: its server was deleted there, and the token
/// may bring it back. A hub that cannot be asked has forgotten nothing as far as anybody knows.
async fn is_forgotten(join: &Join, identity: &Identity, key: AgentKey) -> Result<bool, JoinError> {
    let Ok(host_keys) = host_keys::read(&join.host_keys) else {
        return Ok(false);
    };
    let trust = identity.trust(&join.state)?;
    let Ok(dialer) = hub::dialer(&identity.hub, trust) else {
        return Ok(false);
    };
    let (name, id) = (identity.name.clone(), identity.hub_id.clone());
    let asked = HubClient::new(dialer, name, id, key)
        .report(host_keys)
        .await;
    Ok(asked.is_err_and(|error| error.status() == Some(StatusCode::UNAUTHORIZED)))
}

async fn enrol(join: &Join, name: ServerName) -> Result<Joined, JoinError> {
    let host_keys = host_keys::read(&join.host_keys).map_err(JoinError::HostKeys)?;
    let unreachable = |source| JoinError::Reach {
        hub: join.hub.clone(),
        source,
    };
    let dialer = hub::dialer(&join.hub, trust(join)).map_err(|e| unreachable(e.into()))?;
    let discovery = hub::discover(&dialer).await.map_err(unreachable)?;
    let FoundKey { key, existed } = join.state.key_or_new()?;
    let failed = |source| JoinError::Enrol {
        hub: join.hub.clone(),
        name: name.clone(),
        source,
    };
    let enrollment = Enrollment {
        name: name.clone(),
        public_key: key.public_key(),
        labels: join.labels.clone(),
        host_keys: host_keys.clone(),
        os: machine::operating_system(),
        arch: machine::architecture(),
        version: hub::version(),
        proof: hub::enrolment_proof(&key, &name, &discovery.id, &join.token).map_err(failed)?,
    };
    match hub::enrol(&dialer, &join.token, &enrollment).await {
        Ok(enrolled) => {
            let got = &enrolled.server.metadata().name;
            if *got != *name.as_str() || enrolled.hub.id != discovery.id {
                let got = Printable::new(got.as_str()).to_string();
                return Err(JoinError::WrongAnswer {
                    hub: join.hub.clone(),
                    name,
                    got,
                });
            }
        }
        Err(error) if existed && is_answer(&error) => {
            // This key may have been shown before, by a join whose answer was lost.
            let client = HubClient::new(dialer, name.clone(), discovery.id.clone(), key);
            client.report(host_keys).await.map_err(|_| failed(error))?;
        }
        Err(error) => return Err(failed(error)),
    }
    let identity = identity(join, name, discovery);
    join.state.write_identity(&identity)?;
    Ok(Joined::Now(identity))
}

fn trust(join: &Join) -> Trust {
    match (join.pin, &join.ca_file) {
        (Some(pin), _) => Trust::Pinned(vec![pin]),
        (None, Some(path)) => Trust::Roots(path.clone()),
        (None, None) => Trust::System,
    }
}

fn identity(join: &Join, name: ServerName, discovery: Discovery) -> Identity {
    Identity {
        name,
        hub: join.hub.clone(),
        hub_id: discovery.id,
        hub_name: discovery.name,
        pin: join.pin.map(|pin| pin.to_string()),
        ca_file: join.ca_file.clone(),
    }
}

/// Whether the hub has answered, so that what it did is known.
fn is_answer(error: &HubError) -> bool {
    error.status().is_some()
}

fn is_denial(error: &HubError) -> bool {
    matches!(
        error.status(),
        Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
    )
}

fn enrol_hint(error: &HubError, name: &ServerName) -> Option<String> {
    let HubError::Refused { status, reason, .. } = error else {
        return match error {
            HubError::Dial(dial) if dial.status().is_none() => Some(
                "the hub may have taken this agent on all the same: run the same command again"
                    .to_owned(),
            ),
            _ => error.hint(),
        };
    };
    let taken = reason
        .as_ref()
        .is_some_and(|status| status.reason == StatusReason::AlreadyExists);
    if taken || *status == StatusCode::CONFLICT {
        return Some(format!(
            "another agent is {name}: choose another --name, or `kedge delete server {name}` first"
        ));
    }
    match *status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Some(
            "ask for a new join token: `kedge token create`; and is this machine's clock right?"
                .to_owned(),
        ),
        StatusCode::TOO_MANY_REQUESTS => Some("wait a minute and run it again".to_owned()),
        _ => None,
    }
}

/// The one line for standard output.
#[must_use]
pub fn announcement(joined: &Joined) -> String {
    match joined {
        Joined::Already(identity) => {
            format!("{} has joined {} already", identity.name, identity.hub_name)
        }
        Joined::Now(identity) => {
            format!(
                "joined {} ({}) as {}",
                identity.hub_name, identity.hub, identity.name
            )
        }
    }
}
