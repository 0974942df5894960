//! What the hub says of a server: as whom to log in, and which host keys to trust.
//!
//! One `ssh` asks up to three times: for the login before it starts, for the host keys once or twice
//! in the key exchange. The hub is asked once; the answer is kept for a few seconds.

use std::time::Duration;

use kedge_api::{HostKeys, Login};
use kedge_service::Failure;

use crate::app::App;
use crate::defaults;
use crate::failure::IntoFailure;
use crate::hub::HubError;
use crate::names::Place;
use crate::state::RememberedAccess;

/// How fresh an answer must be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Freshness {
    /// From the hub, now.
    Asked,
    /// From the hub, or remembered from a few seconds ago.
    Recent,
}

/// What is needed to start `ssh`.
#[derive(Clone, Debug)]
pub struct Access {
    /// The unix user; `None` when another than the mapped one had been asked for when it was
    /// remembered, and none is needed now.
    pub login: Option<Login>,
    /// The host keys to trust.
    pub host_keys: HostKeys,
}

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

/// Learns the mapped login and the host keys. The hub may take so long to say; what a login takes to
/// be renewed is not cut off.
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
    freshness: Freshness,
    patience: Duration,
) -> Result<Access, AccessError> {
    let state = app.state(place.hub_name);
    if freshness == Freshness::Recent
        && let Some(RememberedAccess {
            login: Some(login),
            host_keys,
            ..
        }) = state.access(&place.server, app.now())
    {
        return Ok(Access {
            login: Some(login),
            host_keys,
        });
    }
    ask(app, place, None, patience).await
}

/// Learns the host keys, and whether this other login is allowed.
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
) -> Result<Access, AccessError> {
    ask(app, place, Some(login), defaults::REQUEST_TIME).await
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
    let state = app.state(place.hub_name);
    match state.access(&place.server, app.now()) {
        Some(access) => Ok(access.host_keys),
        None => Ok(ask(app, place, login, defaults::REQUEST_TIME)
            .await?
            .host_keys),
    }
}

async fn ask(
    app: &App<'_>,
    place: &Place<'_>,
    login: Option<&Login>,
    patience: Duration,
) -> Result<Access, AccessError> {
    let hub = app
        .client(place.hub_name, place.hub)
        .map_err(AccessError::Local)?;
    hub.prepare().await.map_err(AccessError::Hub)?;
    let said = tokio::time::timeout(patience, hub.access(&place.server, login))
        .await
        .unwrap_or_else(|_| {
            Err(HubError::Timeout {
                hub: place.hub_name.clone(),
                after: patience,
            })
        })
        .map_err(AccessError::Hub)?;
    let remembered = RememberedAccess {
        fetched: app.now().as_second(),
        login: login.is_none().then(|| said.login.clone()),
        host_keys: said.host_keys.clone(),
    };
    // Without a place to remember it, the hub is asked again: slower, and nothing worse.
    let _ = app
        .state(place.hub_name)
        .remember(&place.server, &remembered);
    Ok(Access {
        login: Some(said.login),
        host_keys: said.host_keys,
    })
}
