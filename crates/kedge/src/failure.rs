//! How each error reaches the person: what to do about it, and with which exit code.

use kedge_api::{AccessPolicy, HubName, JoinToken, NameError, Resource, Status, StatusReason};
use kedge_service::files::FileError;
use kedge_service::report::chain;
use kedge_service::{ConfigError, Failure};
use kedge_tunnel::DialError;

use crate::advice::Advice;
use crate::config::{ChangeError, HubChoiceError};
use crate::credentials::{CommandError, CredentialError, Kind, LockError, StoreError};
use crate::exit::Exit;
use crate::hub::HubError;
use crate::names::PlaceError;
use crate::quoting::quoted;

/// Turns an error into what is printed, and how the program ends.
pub trait IntoFailure {
    /// The failure.
    fn into_failure(self) -> Failure;
}

/// A failure in plain words.
pub fn failure(exit: Exit, text: impl Into<String>) -> Failure {
    Failure::new(text).code(exit.code())
}

/// A mistake on the command line.
pub fn usage(text: impl Into<String>) -> Failure {
    failure(Exit::Usage, text)
}

impl IntoFailure for Failure {
    fn into_failure(self) -> Failure {
        self
    }
}

impl IntoFailure for ConfigError {
    fn into_failure(self) -> Failure {
        failure(Exit::Usage, chain(&self))
    }
}

impl IntoFailure for ChangeError {
    fn into_failure(self) -> Failure {
        failure(Exit::Failure, chain(&self))
    }
}

impl IntoFailure for FileError {
    fn into_failure(self) -> Failure {
        let failed = failure(Exit::Failure, chain(&self));
        match self.hint() {
            Some(hint) => failed.hint(hint),
            None => failed,
        }
    }
}

impl IntoFailure for NameError {
    fn into_failure(self) -> Failure {
        usage(self.to_string())
    }
}

impl IntoFailure for HubChoiceError {
    fn into_failure(self) -> Failure {
        let failed = failure(Exit::Usage, self.to_string());
        match self {
            Self::Ambiguous { .. } => failed.hint("name one with --hub NAME"),
            Self::None => failed
                .code(Exit::LoginNeeded.code())
                .hint("kedge login HUB"),
            Self::Unknown { .. } => failed,
        }
    }
}

impl IntoFailure for CommandError {
    fn into_failure(self) -> Failure {
        failure(Exit::Failure, chain(&self))
    }
}

impl IntoFailure for PlaceError {
    fn into_failure(self) -> Failure {
        let text = chain(&self);
        match self {
            Self::Hub {
                source: HubChoiceError::None,
                ..
            } => HubChoiceError::None.into_failure(),
            Self::Hub {
                source: HubChoiceError::Ambiguous { .. },
                ..
            } => usage(text).hint("add the hub's suffix to the name, or --hub NAME"),
            Self::Hub { .. } | Self::Name(_) => usage(text),
        }
    }
}

impl IntoFailure for HubError {
    fn into_failure(self) -> Failure {
        let text = chain(&self);
        match &self {
            Self::Credentials {
                hub,
                advice,
                source,
            } => credential_failure(text, hub, advice, source),
            Self::NotLoggedIn { advice, .. } => {
                failure(Exit::LoginNeeded, text).hint(advice.command.clone())
            }
            Self::NotTaken {
                hub, advice, kind, ..
            } => failure(Exit::LoginNeeded, text).hint(match kind {
                Kind::Command => {
                    format!("the token command of `kedge login {hub}` must print another token")
                }
                Kind::File => {
                    format!("the token file of `kedge login {hub}` must hold another token")
                }
                Kind::Oidc | Kind::Static => advice.command.clone(),
            }),
            Self::Refused { hub, status } => {
                let failed = failure(exit_for(&status.reason), &text);
                match status.reason {
                    StatusReason::Unauthorized => failed.hint(format!("kedge login {hub}")),
                    StatusReason::Forbidden => {
                        failed.hint("kedge whoami shows who the hub takes you for")
                    }
                    StatusReason::NotFound => failed.hint(where_else(status)),
                    StatusReason::TooManyRequests => {
                        let wait = status.details.as_ref().and_then(|d| d.retry_after_seconds);
                        failed.hint(match wait {
                            Some(seconds) => format!("try again in {seconds} s"),
                            None => "try again later".to_owned(),
                        })
                    }
                    _ => failed,
                }
            }
            Self::Dial { source, .. } => dial_hint(failure(Exit::Failure, text), source),
            _ => failure(Exit::Failure, text),
        }
    }
}

/// What helps when there is a login and no token to be had of it.
fn credential_failure(
    text: String,
    hub: &HubName,
    advice: &Advice,
    error: &CredentialError,
) -> Failure {
    let exit = match error.needs_login() {
        true => Exit::LoginNeeded,
        false => Exit::Failure,
    };
    let failed = failure(exit, text);
    match error {
        CredentialError::Ended { .. }
        | CredentialError::Missing
        | CredentialError::Rejected { .. }
        | CredentialError::Unusable { .. }
        | CredentialError::Store(StoreError::Format { .. }) => failed.hint(advice.command.clone()),
        CredentialError::Lock(LockError::Late { .. }) => failed.hint("end it, or try again"),
        CredentialError::Issuer { source, .. } => dial_hint(failed, source),
        CredentialError::Room(_) => failed.hint("free some space; the login is kept"),
        CredentialError::Save(_) => {
            failed.hint(format!("free some space, then: {}", advice.command))
        }
        // A login takes the place of whatever stands there, unless it is a folder.
        CredentialError::Store(StoreError::File(
            FileError::NotAFile { .. } | FileError::TooLong { .. },
        )) => failed.hint(advice.command.clone()),
        CredentialError::Store(StoreError::File(error))
        | CredentialError::Lock(LockError::File(error)) => with_hint(failed, error.hint()),
        CredentialError::TokenFile(error) => {
            with_hint(failed, token_file_hint(error, hub.as_str()))
        }
        CredentialError::TokenText { .. } => {
            failed.hint("the file holds the token and nothing else")
        }
        CredentialError::Unavailable { .. } => {
            failed.hint("try again when it answers; the login is kept")
        }
        CredentialError::Command(_) => failed,
    }
}

/// What to do about a token file that is no good.
#[must_use]
pub fn token_file_hint(error: &FileError, hub: &str) -> Option<String> {
    match error {
        // Kubernetes mounts a service account's token with mode 0644, in a container of its own.
        FileError::Exposed { path, .. } => {
            let path = quoted(&path.display().to_string());
            let command = quoted(&format!("cat {path}"));
            Some(format!(
                "chmod 600 {path}; or, where somebody else makes the file and nobody else is on the \
                 machine: kedge login {hub} --token-command {command}"
            ))
        }
        other => other.hint(),
    }
}

fn with_hint(failed: Failure, hint: Option<String>) -> Failure {
    match hint {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}

/// What lists the names that there are.
fn where_else(status: &Status) -> &'static str {
    let details = status.details.as_ref();
    match details.and_then(|details| details.kind.as_deref()) {
        Some(AccessPolicy::PLURAL) => "kedge get accesspolicies lists what there is",
        Some("sessions") => "kedge sessions lists those that live",
        Some(JoinToken::PLURAL) => "kedge token list shows what there is",
        _ => "kedge get servers lists what you may reach",
    }
}

/// The exit code for a hub's refusal.
#[must_use]
pub fn exit_for(reason: &StatusReason) -> Exit {
    match reason {
        StatusReason::Forbidden => Exit::Denied,
        StatusReason::NotFound | StatusReason::Gone => Exit::NotFound,
        StatusReason::Unauthorized => Exit::LoginNeeded,
        _ => Exit::Failure,
    }
}

/// Adds the dialler's own advice.
#[must_use]
pub fn dial_hint(failed: Failure, error: &DialError) -> Failure {
    match error.hint() {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(error: HubError) -> (String, std::process::ExitCode) {
        let failure = error.into_failure();
        let mut out = Vec::new();
        failure.write(&mut out).unwrap();
        (String::from_utf8(out).unwrap(), failure.exit_code())
    }

    fn refused(reason: StatusReason, message: &str) -> HubError {
        HubError::Refused {
            hub: "main".parse().unwrap(),
            status: Box::new(Status::new(reason, message)),
        }
    }

    #[test]
    fn refusals_have_codes_and_hints() {
        let not_taken = |kind| HubError::NotTaken {
            hub: "main".parse().unwrap(),
            advice: Box::new(Advice::unknown(&"main".parse().unwrap())),
            kind,
            status: Box::new(Status::new(StatusReason::Unauthorized, "not authenticated")),
        };
        insta::assert_snapshot!(shown(not_taken(Kind::Oidc)).0, @r"
        error: hub `main` does not take the stored login: not authenticated
        hint: kedge login main
        ");
        insta::assert_snapshot!(shown(not_taken(Kind::File)).0, @r"
        error: hub `main` does not take the stored login: not authenticated
        hint: the token file of `kedge login main` must hold another token
        ");
        insta::assert_snapshot!(shown(refused(StatusReason::NotFound, "servers \"x\" not found")).0, @r#"
        error: servers "x" not found
        hint: kedge get servers lists what you may reach
        "#);
        let missing = HubError::Refused {
            hub: "main".parse().unwrap(),
            status: Box::new(Status::not_found::<JoinToken>("x")),
        };
        insta::assert_snapshot!(shown(missing).0, @r"
        error: jointoken `x` not found
        hint: kedge token list shows what there is
        ");
        for (reason, code) in [
            (StatusReason::Unauthorized, 4),
            (StatusReason::Forbidden, 5),
            (StatusReason::NotFound, 6),
            (StatusReason::Conflict, 1),
        ] {
            let (_, exit) = shown(refused(reason, "x"));
            assert_eq!(exit, std::process::ExitCode::from(code));
        }
    }

    #[test]
    fn a_hostile_hub_cannot_draw_on_the_terminal() {
        let (text, _) = shown(refused(
            StatusReason::Invalid,
            "a\u{1b}[2J\nerror: b\u{202e}",
        ));
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(
            !text.contains('\u{1b}') && !text.contains('\u{202e}'),
            "{text}"
        );
    }
}
