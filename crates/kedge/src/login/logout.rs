//! `kedge logout`: the files go first, whatever becomes of the rest; then the issuer is told.

use kedge_identity::login::{LoginFlowError, RevokeError};
use kedge_service::Failure;
use kedge_service::report::{chain, escape};
use kedge_tunnel::{DialError, ProxyEnvironment};
use secrecy::SecretString;
use thiserror::Error;
use tokio::time::timeout;

use crate::app::{App, block_on};
use crate::cli::LogoutArgs;
use crate::credentials::{OidcLogin, Stored, issuer};
use crate::defaults;
use crate::exit::Exit;
use crate::failure::{IntoFailure, failure};

/// Why the issuer does not know of the logout.
#[derive(Debug, Error)]
enum Untold {
    #[error(transparent)]
    Asking(#[from] DialError),
    #[error(transparent)]
    Finding(#[from] LoginFlowError),
    #[error("no answer within {} s", defaults::REVOKE_TIME.as_secs())]
    Late,
    #[error(transparent)]
    Revoking(#[from] RevokeError),
}

/// Runs the command.
///
/// # Errors
///
/// When a file stays that should go. An issuer that cannot be told is no error: there is nothing left here to log out
/// of.
pub fn run(app: &mut App<'_>, arguments: &LogoutArgs) -> Result<(), Failure> {
    let asked = arguments.name.as_ref().or(app.globals.hub.as_ref());
    let (name, _) = app.config.hub(asked).map_err(IntoFailure::into_failure)?;
    let name = name.clone();
    let state = app.state(&name);
    state.create().map_err(IntoFailure::into_failure)?;
    let credentials = app.credentials(&name);
    let (had, stored) = block_on(async {
        // A login that is being renewed just now would come back.
        let held = credentials
            .lock()
            .await
            .map_err(|error| failure(Exit::Failure, error.to_string()))?;
        // What cannot be read goes all the same.
        let stored = state.store().load().ok().flatten();
        let had = state.forget().map_err(IntoFailure::into_failure)?;
        drop(held);
        Ok((had, stored))
    })?;
    let said = match had {
        true => app.say(&format!("Logged out at hub `{name}`.")),
        false => app.say(&format!("There was no login at hub `{name}`.")),
    };
    let told = match stored {
        Some(Stored::Oidc(login)) => tell(app, &login),
        _ => Ok(()),
    };
    said.and(told)
}

/// Has the issuer revoke the refresh token that is no longer here, or says that it does not.
fn tell(app: &mut App<'_>, login: &OidcLogin) -> Result<(), Failure> {
    let Some(refresh_token) = &login.refresh_token else {
        return Ok(());
    };
    let revoking = revoke(login, refresh_token, &app.environment.proxies);
    if let Some(untold) = block_on(async { Ok(revoking.await.err()) })? {
        app.note(&format!(
            "note: the issuer {} could not be told: {}",
            login.issuer.issuer,
            escape(&chain(&untold))
        ));
    }
    Ok(())
}

async fn revoke(
    login: &OidcLogin,
    refresh_token: &SecretString,
    proxies: &ProxyEnvironment,
) -> Result<(), Untold> {
    let client = issuer::client(&login.issuer, proxies)?;
    let revoking = async { Ok(client.discover().await?.revoke(refresh_token).await?) };
    let done = timeout(defaults::REVOKE_TIME, revoking).await;
    done.unwrap_or(Err(Untold::Late))
}
