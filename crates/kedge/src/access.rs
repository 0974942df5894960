//! What the hub says of a server: as whom to log in, and which host keys to trust.
//!
//! One `ssh` asks up to three times: for the login before it starts, for the host keys once or twice
//! in the key exchange. The hub is asked once; the answer serves for a few seconds, its login for minutes.
//!
//! ```text
//!  first `ssh`       Match exec ── ask ──►              kedge proxy ══ dial ══►      known-hosts: remembered
//!  within minutes    Match exec: login remembered       kedge proxy ══ dial ══►      known-hosts: remembered
//!                                                                   └─ ask ──►
//! ```

use std::time::Duration;

use http::HeaderValue;
use jiff::Timestamp;
use kedge_api::rest::ServerAccess;
use kedge_api::{HostKeys, HubUrl, Login, ServerName};
use kedge_service::Failure;

use crate::app::App;
use crate::defaults;
use crate::failure::IntoFailure;
use crate::hub::{Hub, HubError};
use crate::names::Place;
use crate::state::{Answers, RememberedAccess};

/// Why there is no answer.
#[derive(Debug)]
pub enum AccessError {
    /// The hub, or the way to it.
    Hub(HubError),
    /// This machine.
    Local(Failure),
}

impl IntoFailure for AccessError {
    fn into_failure(self) -> Failure {
        match self {
            Self::Hub(error) => error.into_failure(),
            Self::Local(failure) => failure,
        }
    }
}

/// As whom to log in, and by whose key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mapped {
    /// As whom.
    pub login: Login,
    /// Whether the hub signs, so that no key of the person's is of use.
    pub injected: bool,
}

impl From<ServerAccess> for Mapped {
    fn from(access: ServerAccess) -> Self {
        Self {
            login: access.login,
            injected: access.injected_key.is_some(),
        }
    }
}

/// Learns the mapped login. The hub may take so long to say; what a login at the hub takes to be renewed
/// is not cut off.
///
/// One that was remembered for minutes serves only beside a token that is good: who must log in first is
/// to hear it before `ssh` begins.
///
/// # Errors
///
/// [`AccessError`]
///
/// # Cancel safety
///
/// Not to be cancelled, as the others here: see [`crate::credentials::Credentials::token`].
pub async fn mapped(
    app: &App<'_>,
    place: &Place<'_>,
    patience: Duration,
) -> Result<Mapped, AccessError> {
    if let Some(access) = remembered(app, place, defaults::MAPPED_TIME) {
        let is_recent = access.is_recent(app.now());
        if let Some(login) = access.login
            && (is_recent || app.credentials(place.hub_name).is_ready())
        {
            return Ok(Mapped {
                login,
                injected: access.injected,
            });
        }
    }
    Ok(ask(app, place, None, patience).await?.into())
}

/// Learns whether this other login is allowed, and the host keys on the way.
///
/// # Errors
///
/// [`AccessError`]
///
/// # Cancel safety
///
/// As [`mapped`].
pub async fn as_login(
    app: &App<'_>,
    place: &Place<'_>,
    login: &Login,
) -> Result<Mapped, AccessError> {
    let said = ask(app, place, Some(login), defaults::REQUEST_TIME).await?;
    Ok(said.into())
}

/// Learns the host keys only. The login matters when the hub must be asked: somebody may have no
/// business at a server but as `deploy`.
///
/// # Errors
///
/// [`AccessError`]
///
/// # Cancel safety
///
/// As [`mapped`].
pub async fn host_keys(
    app: &App<'_>,
    place: &Place<'_>,
    login: Option<&Login>,
) -> Result<HostKeys, AccessError> {
    match remembered(app, place, defaults::ACCESS_TIME) {
        Some(access) => Ok(access.host_keys),
        None => Ok(ask(app, place, login, defaults::REQUEST_TIME)
            .await?
            .host_keys),
    }
}

fn remembered(app: &App<'_>, place: &Place<'_>, within: Duration) -> Option<RememberedAccess> {
    let state = app.state(place.hub_name);
    state.access(&place.hub.url, &place.server, app.now(), within)
}

async fn ask(
    app: &App<'_>,
    place: &Place<'_>,
    login: Option<&Login>,
    patience: Duration,
) -> Result<ServerAccess, AccessError> {
    let hub = app
        .client(place.hub_name, place.hub)
        .map_err(AccessError::Local)?;
    // Without a place to remember it, the hub is asked again: slower, and nothing worse.
    let memory = Memory::new(app, place);
    hub.prepare().await.map_err(AccessError::Hub)?;
    let asked_at = Timestamp::now();
    let asked = tokio::time::timeout(patience, hub.access(&place.server, login));
    let said = asked
        .await
        .unwrap_or_else(|_| {
            Err(HubError::Timeout {
                hub: place.hub_name.clone(),
                after: patience,
            })
        })
        .map_err(AccessError::Hub)?;
    if let Some(memory) = memory {
        memory.keep(login, asked_at, &said);
    }
    Ok(said)
}

/// Where the answer to a question about a server goes. Made before the login is read with which it is asked: see
/// [`Answers`].
#[derive(Debug)]
struct Memory {
    answers: Answers,
    hub: HubUrl,
    server: ServerName,
}

impl Memory {
    fn new(app: &App<'_>, place: &Place<'_>) -> Option<Self> {
        Some(Self {
            answers: app.state(place.hub_name).answers().ok()?,
            hub: place.hub.url.clone(),
            server: place.server.clone(),
        })
    }

    fn keep(&self, asked: Option<&Login>, asked_at: Timestamp, said: &ServerAccess) {
        let access = RememberedAccess {
            hub: self.hub.clone(),
            fetched: asked_at.as_second(),
            login: asked.is_none().then(|| said.login.clone()),
            host_keys: said.host_keys.clone(),
            injected: said.injected_key.is_some(),
        };
        let _ = self.answers.remember(&self.server, &access);
    }
}

/// A question that `kedge proxy` puts to the hub while it dials: this `ssh` began with a login that was
/// remembered for longer than host keys are.
#[derive(Debug)]
pub struct Beside {
    memory: Memory,
    asked: Option<Login>,
}

impl Beside {
    /// What is to be asked, if anything. Where nothing is remembered at all, no `ssh` of ours needs it.
    #[must_use]
    pub fn new(app: &App<'_>, place: &Place<'_>, login: Option<&Login>) -> Option<Self> {
        let older = remembered(app, place, defaults::MAPPED_TIME)?;
        if older.is_recent(app.now()) {
            return None;
        }
        // Asked for without a name, a mapped login stays remembered as that.
        let asked = login.filter(|login| older.login.as_ref() != Some(login));
        Some(Self {
            memory: Memory::new(app, place)?,
            asked: asked.cloned(),
        })
    }

    /// Asks, and remembers what is said. Should it fail, `kedge known-hosts` asks again and says why.
    ///
    /// # Cancel safety
    ///
    /// What was remembered stays.
    pub async fn ask(&self, hub: &Hub, authorization: HeaderValue) {
        let (asked, asked_at) = (self.asked.as_ref(), Timestamp::now());
        let said = hub.access_beside(&self.memory.server, asked, authorization);
        if let Ok(Ok(said)) = tokio::time::timeout(defaults::RESOLVE_TIME, said).await {
            self.memory.keep(asked, asked_at, &said);
        }
    }
}
