//! `--token-command`: a program of the person's that prints a token.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use secrecy::SecretString;
use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use zeroize::Zeroizing;

use super::text::{self, TokenTextError};
use crate::defaults;

/// Why a command gave no token.
#[derive(Debug, Error)]
pub enum CommandError {
    /// It cannot be run, or read from.
    #[error("the token command cannot be run")]
    Run(#[source] std::io::Error),
    /// It failed.
    #[error("the token command ended with {}", words(*status))]
    Status {
        /// How it ended.
        status: ExitStatus,
    },
    /// It printed something else.
    #[error("the token command printed no token")]
    Text(#[source] TokenTextError),
    /// It goes on and on.
    #[error("the token command did not end within {} s", after.as_secs())]
    Timeout {
        /// How long it had.
        after: Duration,
    },
}

/// Runs the command and takes the token it prints. Its standard error is ours, so that it can say what
/// it wants; its standard input is empty, since ours may belong to `ssh`.
///
/// # Errors
///
/// [`CommandError`]
///
/// # Cancel safety
///
/// The command is ended.
pub(super) async fn run(command: &str) -> Result<SecretString, CommandError> {
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .map_err(CommandError::Run)?;
    let after = defaults::TOKEN_COMMAND_TIME;
    let talk = async {
        let mut printed = Zeroizing::new(Vec::with_capacity(defaults::TOKEN_BYTES + 2));
        if let Some(pipe) = child.stdout.take() {
            let limit = u64::try_from(defaults::TOKEN_BYTES + 2).unwrap_or(u64::MAX);
            // Dropped at the limit: a command that prints for ever gets SIGPIPE.
            pipe.take(limit)
                .read_to_end(&mut printed)
                .await
                .map_err(CommandError::Run)?;
        }
        if printed.len() > defaults::TOKEN_BYTES + 1 {
            return Err(CommandError::Text(TokenTextError::TooLong));
        }
        let status = child.wait().await.map_err(CommandError::Run)?;
        if !status.success() {
            return Err(CommandError::Status { status });
        }
        text::token(printed.trim_ascii()).map_err(CommandError::Text)
    };
    tokio::time::timeout(after, talk)
        .await
        .unwrap_or(Err(CommandError::Timeout { after }))
}

fn words(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    async fn said(command: &str) -> String {
        match run(command).await {
            Ok(token) => token.expose_secret().to_owned(),
            Err(error) => kedge_service::report::chain(&error),
        }
    }

    #[tokio::test]
    async fn a_command_prints_a_token_or_says_why_not() {
        assert_eq!(said("printf 'kpt_x\\n'").await, "kpt_x");
        assert_eq!(
            said("exit 3").await,
            "the token command ended with exit status 3"
        );
        assert_eq!(
            said("kill -9 $$").await,
            "the token command ended with signal 9"
        );
        assert_eq!(
            said("true").await,
            "the token command printed no token: the token is empty"
        );
        assert!(said("echo two words").await.contains("odd characters"));
        assert!(said("yes").await.contains("longer than"));
        // It reads nothing of ours.
        assert_eq!(said("cat; echo t").await, "t");
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_that_goes_on_is_ended() {
        assert_eq!(
            said("exec sleep 1000").await,
            "the token command did not end within 30 s"
        );
    }
}
