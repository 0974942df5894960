//! Tokens that somebody else makes: in a file, on standard input, from a command.

use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use kedge_api::text::Printable;
use kedge_service::Failure;
use kedge_service::report::chain;
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::app::{App, block_on};
use crate::cli::LoginArgs;
use crate::credentials::{self, CredentialError, FileToken, StaticToken, Stored};
use crate::defaults;
use crate::exit::Exit;
use crate::failure::{IntoFailure, failure, token_file_hint, usage};

/// A token, and how it is had the next time.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) stored: Stored,
    pub(super) token: SecretString,
}

/// The token that the command line names; none for a login at an issuer.
///
/// # Errors
///
/// What cannot be read, is somebody else's, or is no token.
pub(super) fn given(app: &mut App<'_>, arguments: &LoginArgs) -> Result<Option<Given>, Failure> {
    match (&arguments.token_file, &arguments.token_command) {
        (Some(path), _) if path == Path::new("-") => from_input(app).map(Some),
        (Some(path), _) => from_file(path, &arguments.hub).map(Some),
        (None, Some(command)) => from_command(command).map(Some),
        (None, None) => Ok(None),
    }
}

fn from_input(app: &mut App<'_>) -> Result<Given, Failure> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(defaults::TOKEN_BYTES + 2));
    let limit = u64::try_from(defaults::TOKEN_BYTES).unwrap_or(u64::MAX);
    app.terminal
        .input
        .take(limit.saturating_add(2))
        .read_to_end(&mut bytes)
        .map_err(|error| failure(Exit::Failure, format!("cannot read the token: {error}")))?;
    let token =
        credentials::token_from(bytes.trim_ascii_end()).map_err(|e| usage(e.to_string()))?;
    Ok(kept(token))
}

/// A hub's own static token is copied, as is what cannot be read again. Any other is read again each
/// time, since whoever made it renews it: Kubernetes, a CI job's runner, a daemon.
fn from_file(path: &Path, hub: &str) -> Result<Given, Failure> {
    let file = FileToken {
        path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
    };
    let token = credentials::read_file(&file).map_err(|error| match error {
        CredentialError::TokenFile(error) => {
            let failed = failure(Exit::Failure, chain(&error));
            match token_file_hint(&error, &Printable::new(hub).to_string()) {
                Some(hint) => failed.hint(hint),
                None => failed,
            }
        }
        CredentialError::TokenText { source, .. } => {
            usage(source.to_string()).hint("the file holds the token and nothing else")
        }
        other => failure(Exit::Failure, chain(&other)),
    })?;
    if credentials::is_static(&token) || !can_be_read_again(&file.path) {
        return Ok(kept(token));
    }
    let stored = Stored::File(file);
    Ok(Given { stored, token })
}

fn from_command(command: &str) -> Result<Given, Failure> {
    let token = block_on(async {
        credentials::run_command(command)
            .await
            .map_err(IntoFailure::into_failure)
    })?;
    let stored = credentials::of_command(command, &token);
    Ok(Given { stored, token })
}

fn kept(token: SecretString) -> Given {
    let stored = Stored::Static(StaticToken {
        token: token.clone(),
    });
    Given { stored, token }
}

/// A pipe (`<(pass show kedge)`) is empty the next time, and a descriptor of this process is closed.
fn can_be_read_again(path: &PathBuf) -> bool {
    let is_pipe = std::fs::metadata(path).is_ok_and(|file| file.file_type().is_fifo());
    !is_pipe && !path.starts_with("/dev") && !path.starts_with("/proc")
}
