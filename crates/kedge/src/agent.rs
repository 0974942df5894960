//! `kedge agent`: what the agent of this machine is doing. It asks the agent's control socket; no hub is asked.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use kedge_api::control::{AgentState, AgentStatus, RELOAD_PATH, Reloaded, STATUS_PATH, WAIT_PATH};
use kedge_api::text::Printable;
use kedge_api::{Status, Time};
use kedge_service::control::{CallError, call};
use kedge_service::{Failure, report};
use serde::de::DeserializeOwned;

use crate::app::{App, block_on};
use crate::cli::{AgentCommand, AgentReloadArgs, AgentStatusArgs, AgentWaitArgs};
use crate::defaults;
use crate::exit::Exit;
use crate::failure::failure;
use crate::objects::print;
use crate::{tokens, words};

/// Runs the command.
///
/// # Errors
///
/// No agent, or one that may not be asked, or that says no.
pub fn run(app: &mut App<'_>, command: &AgentCommand) -> Result<(), Failure> {
    match command {
        AgentCommand::Reload(arguments) => reload(app, arguments),
        AgentCommand::Status(arguments) => status(app, arguments),
        AgentCommand::Wait(arguments) => wait(app, arguments),
    }
}

fn status(app: &mut App<'_>, arguments: &AgentStatusArgs) -> Result<(), Failure> {
    let socket = Socket::new(&arguments.socket.socket, "status");
    let status: AgentStatus =
        block_on(socket.ask(Method::GET, STATUS_PATH, defaults::AGENT_ANSWER_TIME))?;
    match arguments.output {
        Some(format) => {
            let value = serde_json::to_value(&status).unwrap_or_default();
            app.print(&print::data(format, &value)?)
        }
        None => {
            let page = page(&status, app.now().into());
            app.print(&page)
        }
    }
}

fn reload(app: &mut App<'_>, arguments: &AgentReloadArgs) -> Result<(), Failure> {
    let socket = Socket::new(&arguments.socket.socket, "reload");
    let done: Reloaded =
        block_on(socket.ask(Method::POST, RELOAD_PATH, defaults::AGENT_ANSWER_TIME))?;
    app.say("configuration reloaded")?;
    if !done.restart.is_empty() {
        let keys = done.restart.join(", ");
        app.note(&format!(
            "note: these keys take effect at the next start: {}",
            Printable::new(&keys)
        ));
    }
    Ok(())
}

fn wait(app: &mut App<'_>, arguments: &AgentWaitArgs) -> Result<(), Failure> {
    let limit = tokens::lifetime(&arguments.timeout)?;
    let socket = Socket::new(&arguments.socket.socket, "wait --connected");
    let status = block_on(socket.until_connected(limit))?;
    app.say(&match (status.name, status.hub) {
        (Some(name), Some(hub)) => format!("connected to {hub} as {name}"),
        _ => "connected".to_owned(),
    })
}

/// An agent's control socket, and the command that asks it.
struct Socket<'a> {
    path: &'a Path,
    command: &'static str,
}

impl<'a> Socket<'a> {
    fn new(path: &'a Path, command: &'static str) -> Self {
        Self { path, command }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        limit: Duration,
    ) -> Result<T, Failure> {
        let answer = call(self.path, method, target, limit).await;
        self.read(&answer.map_err(|error| self.unanswered(&error))?)
    }

    /// Waits for a link, for `limit` in all.
    async fn until_connected(&self, limit: Duration) -> Result<AgentStatus, Failure> {
        let begun = Instant::now();
        loop {
            let left = limit.saturating_sub(begun.elapsed());
            let status: AgentStatus = match call(self.path, Method::GET, WAIT_PATH, left).await {
                Ok(answer) => self.read(&answer)?,
                Err(CallError::Late { .. }) => return Err(self.not_in_time(limit).await),
                Err(error) => return Err(self.unanswered(&error)),
            };
            match status.state {
                AgentState::Connected => return Ok(status),
                AgentState::Draining => {
                    let text = "the agent is stopping";
                    return Err(failure(Exit::NotFound, text).hint("systemctl status kedge-agent"));
                }
                // An answer is not held for ever: ask again.
                _ => {}
            }
        }
    }

    /// The agent's own words for what keeps it.
    async fn not_in_time(&self, limit: Duration) -> Failure {
        let now = self
            .ask::<AgentStatus>(Method::GET, STATUS_PATH, defaults::AGENT_ANSWER_TIME)
            .await;
        let why = match now {
            Ok(status) => {
                let reason = status.reason.map(|reason| format!(": {reason}"));
                format!(
                    "it is {}{}",
                    status.state.as_str(),
                    reason.unwrap_or_default()
                )
            }
            Err(failed) => return failed,
        };
        let limit = words::span(limit);
        failure(
            Exit::NotFound,
            format!(
                "the agent is not connected after {limit}: {}",
                Printable::new(&why)
            ),
        )
        .hint("journalctl -u kedge-agent")
    }

    fn read<T: DeserializeOwned>(&self, answer: &Response<Bytes>) -> Result<T, Failure> {
        if answer.status().is_success() {
            return serde_json::from_slice(answer.body()).map_err(|error| {
                let text = format!(
                    "{} does not answer as an agent does: {error}",
                    self.path.display()
                );
                failure(Exit::Failure, text)
            });
        }
        let said = match serde_json::from_slice::<Status>(answer.body()) {
            Ok(status) => status.message,
            Err(_) => String::from_utf8_lossy(answer.body()).trim().to_owned(),
        };
        let said = Printable::new(&said);
        Err(match answer.status() {
            StatusCode::CONFLICT => {
                let text = format!("the old configuration stays: {said}");
                failure(Exit::Failure, text).hint("kedge-agent check-config")
            }
            StatusCode::FORBIDDEN => self.for_root(format!("the agent refused: {said}")),
            status => failure(
                Exit::Failure,
                format!("the agent refused: {said} ({status})"),
            ),
        })
    }

    fn unanswered(&self, error: &CallError) -> Failure {
        let text = report::chain(error);
        match error.connect() {
            Some(io::ErrorKind::NotFound) => {
                let text = format!("there is no agent's socket {}", self.path.display());
                failure(Exit::NotFound, text).hint("systemctl status kedge-agent.socket")
            }
            Some(io::ErrorKind::ConnectionRefused) => {
                let text = format!("no agent listens on {}", self.path.display());
                failure(Exit::NotFound, text).hint("systemctl status kedge-agent")
            }
            Some(io::ErrorKind::PermissionDenied) => self.for_root(text),
            _ => failure(Exit::Failure, text),
        }
    }

    fn for_root(&self, text: String) -> Failure {
        failure(Exit::Denied, text).hint(format!("sudo kedge agent {}", self.command))
    }
}

/// What people see.
fn page(status: &AgentStatus, now: Time) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &str| {
        let value = if value.is_empty() { "<none>" } else { value };
        let _ = writeln!(text, "{:<11}{}", format!("{key}:"), Printable::new(value));
    };
    line(
        "Server",
        status.name.as_ref().map_or("", |name| name.as_str()),
    );
    let hub = status.hub.as_ref().map(ToString::to_string);
    line("Hub", &hub.unwrap_or_default());
    line("State", status.state.as_str());
    if let Some(reason) = &status.reason {
        line("Reason", reason);
    }
    let since = status.since;
    line("Since", &format!("{} ({since})", words::ago(since, now)));
    line("Sessions", &status.sessions.to_string());
    line("Target", &status.target);
    line("Version", &status.version);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_lines() {
        let mut status = AgentStatus {
            name: Some("web01".parse().unwrap()),
            hub: Some("https://hub.example:8443".parse().unwrap()),
            state: AgentState::Connecting,
            since: "2026-01-31T12:00:00Z".parse().unwrap(),
            sessions: 2,
            target: "tcp:127.0.0.1:22".to_owned(),
            version: "0.1.0".to_owned(),
            reason: Some("connection refused, again in 8 s".to_owned()),
        };
        let now = "2026-01-31T12:05:00Z".parse().unwrap();
        insta::assert_snapshot!(page(&status, now), @r"
        Server:    web01
        Hub:       https://hub.example:8443
        State:     connecting
        Reason:    connection refused, again in 8 s
        Since:     5 min ago (2026-01-31T12:00:00Z)
        Sessions:  2
        Target:    tcp:127.0.0.1:22
        Version:   0.1.0
        ");
        (status.name, status.hub) = (None, None);
        status.reason = Some("a\u{1b}[2Jb\nc".to_owned());
        let text = page(&status, now);
        assert!(
            text.contains("Server:    <none>\nHub:       <none>\n"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 8, "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
