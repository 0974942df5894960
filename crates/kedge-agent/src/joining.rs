//! An agent that has not joined: it waits for somebody to do that, or does it by itself.
//!
//! * `kedge-agent join` writes an identity and tells over the control socket; without one, the file is looked for.
//! * With `[join]` in its configuration the agent asks the hub itself, with growing pauses, for as long as it takes.
//! * An identity that is there wins over `[join]`.

use std::time::{Duration, Instant};

use http::StatusCode;
use kedge_proto::backoff::Backoff;
use kedge_service::paths::NoCredentials;
use kedge_service::{Stage, files, report};
use secrecy::ExposeSecret;
use thiserror::Error;
use tokio::time::sleep;

use crate::agent::{self, Shared};
use crate::config::{AgentConfig, JoinConfig};
use crate::hub::HubClient;
use crate::join::{self, Join, JoinError};
use crate::standing;
use crate::{brief, defaults};

/// The way to the hub, once the agent has joined; `None` when it is to stop before that.
///
/// # Cancel safety
///
/// As [`join::join`].
pub(crate) async fn joined(shared: &Shared) -> Option<HubClient> {
    let mut backoff = Backoff::default();
    let mut last = None;
    loop {
        let step = tokio::select! {
            biased;
            () = shared.shutdown.reached(Stage::StopAccepting) => return None,
            step = step(shared, &mut backoff) => step,
        };
        let pause = match step {
            Step::Joined(client) => return Some(*client),
            Step::Again(pause, reason) => {
                if reason.is_some() && reason != last {
                    tracing::warn!(reason, pause_s = pause.as_secs_f64(), "not joined");
                }
                last = reason;
                pause
            }
        };
        tokio::select! {
            biased;
            () = shared.shutdown.reached(Stage::StopAccepting) => return None,
            () = shared.nudge.notified() => backoff = Backoff::default(),
            () = sleep(pause) => {}
        }
    }
}

enum Step {
    /// It has an identity.
    Joined(Box<HubClient>),
    /// It has none. After the pause it looks again; why it has none, where that is more than that nobody did it.
    Again(Duration, Option<String>),
}

async fn step(shared: &Shared, backoff: &mut Backoff) -> Step {
    let settings = std::sync::Arc::clone(&shared.settings.borrow());
    match shared.state.identity() {
        Ok(Some(identity)) => {
            let begun = agent::begin(&settings, &identity, &shared.state, &shared.standing);
            match begun {
                Ok(client) => {
                    tracing::info!(
                        hub = identity.hub.to_string(),
                        server = identity.name.as_str(),
                        "this agent has joined"
                    );
                    return Step::Joined(Box::new(client));
                }
                Err(error) => return not_joined(shared, Some(report::chain(&error))),
            }
        }
        Ok(None) => {}
        Err(error) => return not_joined(shared, Some(report::chain(&error))),
    }
    let Some(table) = &settings.join else {
        return not_joined(shared, None);
    };
    let say = |reason| {
        let (hub, name) = (table.hub.clone(), table.name.clone());
        shared.standing.joining(hub, name, reason);
    };
    if shared.standing.state() != kedge_api::control::AgentState::Joining {
        say(None);
    }
    match attempt(&settings, table, shared).await {
        // What was written is read again, as after anybody else's join.
        Ok(()) => Step::Again(Duration::ZERO, None),
        Err(error) => {
            let random = || kedge_api::random::bytes().map_or(u64::MAX, u64::from_le_bytes);
            let usual = backoff.next(Instant::now(), random());
            let pause = match error.is_refusal() {
                true => usual.max(defaults::REFUSED_PAUSE),
                false => usual,
            };
            say(Some(standing::waiting(&error.brief(), pause)));
            Step::Again(pause, Some(report::chain(&error)))
        }
    }
}

fn not_joined(shared: &Shared, reason: Option<String>) -> Step {
    shared.standing.not_joined(reason.clone());
    Step::Again(defaults::IDENTITY_PERIOD, reason)
}

/// Why an attempt to join came to nothing.
#[derive(Debug, Error)]
enum AttemptError {
    #[error("cannot find a file of [join]")]
    Credentials(#[from] NoCredentials),
    #[error(transparent)]
    Join(#[from] JoinError),
    #[error("cannot read the join token")]
    Token(#[source] files::FileError),
    #[error("the file of `join.token-file` holds no join token")]
    TokenText(#[source] kedge_api::tokens::TokenError),
}

impl AttemptError {
    /// Whether the hub has answered that it does not want this agent, and will not in a minute either.
    fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Join(JoinError::Enrol { source, .. }) if matches!(
                source.status(),
                Some(StatusCode::CONFLICT | StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED)
            )
        )
    }

    /// In few words, beside the hub's name.
    fn brief(&self) -> String {
        match self {
            Self::Join(JoinError::Enrol { source, .. } | JoinError::Reach { source, .. }) => {
                brief::cause(source)
            }
            _ => report::chain(self),
        }
    }
}

async fn attempt(
    settings: &AgentConfig,
    table: &JoinConfig,
    shared: &Shared,
) -> Result<(), AttemptError> {
    let text = files::read_secret(&table.token_file.find()?).map_err(AttemptError::Token)?;
    let token = text.expose_secret().parse();
    let given = table.pin.is_some() || table.ca_file.is_some();
    let (pin, ca_file) = match given {
        true => (table.pin, &table.ca_file),
        false => (settings.pin, &settings.ca_file),
    };
    let join = Join {
        hub: table.hub.clone(),
        token: token.map_err(AttemptError::TokenText)?,
        name: table.name.clone(),
        labels: table.labels.clone(),
        pin: pin.map(|pin| pin.0),
        ca_file: match ca_file {
            Some(path) => Some(path.find()?),
            None => None,
        },
        state: shared.state.clone(),
        host_keys: settings.host_keys.clone(),
    };
    let joined = Box::pin(join::join(&join)).await?;
    tracing::info!("{}", join::announcement(&joined));
    Ok(())
}
