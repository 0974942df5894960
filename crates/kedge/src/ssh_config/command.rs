//! `kedge ssh-config`: prints, compares, installs, and answers `ssh`'s question about a login.

use std::ffi::OsStr;
use std::path::PathBuf;

use kedge_service::Failure;
use kedge_service::files;

use super::install::{self, Change};
use super::logins::Logins;
use super::{diff, render};
use crate::access::{self, AccessError};
use crate::app::{App, block_on};
use crate::cli::SshConfigArgs;
use crate::defaults;
use crate::exit::Exit;
use crate::failure::{IntoFailure, failure};
use crate::names::Place;
use crate::ssh::options::Callback;

/// Whether plain `ssh` knows of kedge.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refreshed {
    /// It does, and is up to date now.
    Installed,
    /// It does not.
    NotInstalled,
}

/// Runs the command.
///
/// # Errors
///
/// Paths that no configuration can hold, and files that cannot be read or written.
pub fn run(app: &mut App<'_>, arguments: &SshConfigArgs) -> Result<(), Failure> {
    if let Some(name) = &arguments.resolve {
        return resolve(app, name);
    }
    let text = rendered(app)?;
    if !arguments.write && !arguments.diff {
        return app.print(&text);
    }
    let changes = changes(app, &text)?;
    if arguments.diff {
        for change in &changes {
            app.print(&diff::unified(&change.path, &change.old, &change.new))?;
        }
    }
    if arguments.write {
        install(app, &changes)
    } else {
        Ok(())
    }
}

/// Brings the installed configuration up to date after the hubs changed; installs nothing.
///
/// # Errors
///
/// As [`run`].
pub fn refresh(app: &App<'_>) -> Result<Refreshed, Failure> {
    let path = own_file(app);
    if !path.exists() {
        return Ok(Refreshed::NotInstalled);
    }
    let change = install::own(&path, &rendered(app)?).map_err(IntoFailure::into_failure)?;
    change.write().map_err(IntoFailure::into_failure)?;
    Ok(Refreshed::Installed)
}

/// The generated text.
///
/// # Errors
///
/// Paths that no configuration can hold.
pub fn rendered(app: &App<'_>) -> Result<String, Failure> {
    let unsafe_path =
        |error: crate::ssh::options::UnsafePath| failure(Exit::Failure, error.to_string());
    let folder = app.agent_folder();
    let callback =
        Callback::new(app.environment, &app.globals, folder.as_deref()).map_err(unsafe_path)?;
    render::render(&app.config, &callback, |name| app.state(name)).map_err(unsafe_path)
}

fn changes(app: &App<'_>, text: &str) -> Result<[Change; 2], Failure> {
    let ours = own_file(app);
    crate::ssh::options::plain(&ours).map_err(|e| failure(Exit::Failure, e.to_string()))?;
    let home = &app.environment.home;
    let person = home.join(".ssh/config");
    let own = install::own(&ours, text).map_err(IntoFailure::into_failure)?;
    let person = install::person(&person, &ours, home).map_err(IntoFailure::into_failure)?;
    Ok([own, person])
}

fn install(app: &mut App<'_>, changes: &[Change; 2]) -> Result<(), Failure> {
    let [own, person] = changes;
    own.write().map_err(IntoFailure::into_failure)?;
    if let Err(error) = person.write() {
        // A file that is generated itself, by home-manager for one.
        return Err(error.into_failure().hint(format!(
            "put this line at its top yourself: {}",
            install::include_line(&own.path)
        )));
    }
    if !own.is_needed() && !person.is_needed() {
        return app.say("Nothing to change.");
    }
    if own.is_needed() {
        app.say(&format!("Wrote {}.", own.path.display()))?;
    }
    if person.is_needed() {
        app.say(&format!(
            "Added one Include line at the top of {}.",
            person.path.display()
        ))?;
    }
    Ok(())
}

fn own_file(app: &App<'_>) -> PathBuf {
    app.environment.config_folder().join("ssh_config")
}

/// Run by `ssh` (`Match exec`) before it reads the logins: learns this server's, and keeps it where
/// `ssh` looks next. Succeeds when there is a login to read.
///
/// Says nothing: whatever is wrong, `kedge proxy` says it a moment later, once.
fn resolve(app: &mut App<'_>, name: &OsStr) -> Result<(), Failure> {
    let place = app.place(&name.to_string_lossy()).map_err(|_| silent())?;
    let state = app.state(place.hub_name);
    let path = state.logins_file();
    let read = || {
        let bytes = files::read_kept(&path, LOGINS_BYTES).unwrap_or_default();
        Logins::parse(std::str::from_utf8(&bytes).unwrap_or_default())
    };
    let suffix = &place.hub.suffix;
    let known = read().login(&place.server, suffix).cloned();
    let answer = block_on(async { Ok(ask(app, &place, known.is_some()).await) })?;
    match answer {
        Ok(login) => {
            if known.as_ref() == Some(&login) {
                return Ok(());
            }
            let noted = state.locked(|| {
                let mut logins = read();
                if logins.note(&place.server, suffix, &login) {
                    files::write_whole(&path, defaults::PRIVATE_FILE, logins.render().as_bytes())?;
                }
                Ok(())
            });
            noted.and_then(|written| written).map_err(|_| silent())
        }
        // The hub is out of reach: what it said last serves, and the hub decides again anyway.
        Err(AccessError::Hub(error)) if error.reason().is_none() && known.is_some() => Ok(()),
        Err(_) => Err(silent()),
    }
}

async fn ask(
    app: &App<'_>,
    place: &Place<'_>,
    has_older: bool,
) -> Result<access::Mapped, AccessError> {
    let after = if has_older {
        defaults::RESOLVE_TIME
    } else {
        defaults::REQUEST_TIME
    };
    access::mapped(app, place, after).await
}

/// The failure that somebody else reports.
pub(crate) fn silent() -> Failure {
    failure(Exit::Failure, "kedge proxy says why")
}

/// Bytes of the file with the logins: every server's longest name and login, twice over.
const LOGINS_BYTES: u64 = 1 << 20;
