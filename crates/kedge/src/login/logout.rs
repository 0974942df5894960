//! `kedge logout`.

use kedge_service::Failure;

use crate::app::{App, block_on};
use crate::cli::LogoutArgs;
use crate::exit::Exit;
use crate::failure::{IntoFailure, failure};

/// Runs the command.
///
/// # Errors
///
/// When a file stays that should go.
pub fn run(app: &mut App<'_>, arguments: &LogoutArgs) -> Result<(), Failure> {
    let asked = arguments.name.as_ref().or(app.globals.hub.as_ref());
    let (name, _) = app.config.hub(asked).map_err(IntoFailure::into_failure)?;
    let name = name.clone();
    let state = app.state(&name);
    state.create().map_err(IntoFailure::into_failure)?;
    let credentials = app.credentials(&name);
    let had = block_on(async {
        // A login that is being renewed just now would come back.
        let held = credentials
            .lock()
            .await
            .map_err(|error| failure(Exit::Failure, error.to_string()))?;
        let had = state.forget().map_err(IntoFailure::into_failure)?;
        drop(held);
        Ok(had)
    })?;
    match had {
        true => app.say(&format!("Logged out at hub `{name}`.")),
        false => app.say(&format!("There was no login at hub `{name}`.")),
    }
}
