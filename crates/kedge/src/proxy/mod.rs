//! `kedge proxy`: one SSH connection carried to the hub, over standard input and output.
//!
//! ```text
//!  ssh ──stdin──►┐                 ┌── OPEN, DATA ──►
//!                ├── stream ── link                    hub
//!  ssh ◄─stdout──┘                 └◄── OPENED, DATA ──
//! ```
//!
//! - OPEN is sent with the first bytes; nobody waits for OPENED.
//! - What `ssh` will ask of the hub next, and is not remembered any more, is asked while this dials.
//! - The end of standard input is a FIN; a FIN from the server closes standard output.
//! - Beside the stream, the session's keys are offered to `ssh` on a socket ([`crate::identity_agent`]).
//! - `ssh` sends SIGHUP when it is done: what it wrote last is still passed on, for a moment.
//! - Anything that goes wrong is one `error:` line, one `hint:` line, and exit code 255.

mod stdio;

use std::ffi::OsStr;
use std::io::Write as _;

use http::{HeaderMap, header};
use kedge_api::text::Printable;
use kedge_api::{CONNECT_PATH, Login, random};
use kedge_service::Failure;
use kedge_tunnel::{
    AttributeId, Attributes, CloseReason, Link, LinkConfig, LinkEnd, OpenRequest, RefuseCode,
    ResetCode, ResumeSecret, Side, SpliceEnd, StreamError, StreamKey, Target, splice,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::access::Beside;
use crate::app::{App, block_on};
use crate::cli::ProxyArgs;
use crate::defaults;
use crate::exit::Exit;
use crate::failure::{IntoFailure, failure};
use crate::hub::Hub;
use crate::identity_agent::{Destination, Offer, SocketPath};
use crate::names::{self, Place};
use crate::ssh::run::check_port;
use stdio::Stdio;

/// Runs the command.
///
/// # Errors
///
/// Whatever ended the connection but its two ends; always with exit code 255.
pub fn run(app: &App<'_>, arguments: &ProxyArgs) -> Result<(), Failure> {
    carry(app, arguments).map_err(|failed| failed.code(Exit::Ssh.code()))
}

fn carry(app: &App<'_>, arguments: &ProxyArgs) -> Result<(), Failure> {
    if arguments.refuse {
        let text = "the host or user name has characters that no server or login has";
        return Err(failure(Exit::Ssh, text).hint("kedge get servers lists the names"));
    }
    let name = arguments.name.clone().unwrap_or_default();
    let place = app.place(&name.to_string_lossy())?;
    let login = match &arguments.login {
        Some(text) => names::login(text).map_err(IntoFailure::into_failure)?,
        None => None,
    };
    if let Some(port) = &arguments.port {
        check_port(port)?;
    }
    let hub = app.client(place.hub_name, place.hub)?;
    let request = open_request(&place, login.as_ref())?;
    let beside = Beside::new(app, &place, login.as_ref());
    let offer = offer(app, arguments, &name);
    let carried = connect_and_carry(&hub, &place, request, beside, offer);
    block_on(carried).inspect_err(|_| {
        // Whatever was remembered of the server may be why: the next try asks the hub.
        app.state(place.hub_name).forget_server(&place.server);
    })
}

async fn connect_and_carry(
    hub: &Hub,
    place: &Place<'_>,
    request: OpenRequest,
    beside: Option<Beside>,
    offer: Option<Offer>,
) -> Result<(), Failure> {
    let mut stop = Stop::new()?;
    let dialled = hub
        .authorized(async |authorization| {
            let asking = async {
                if let Some(beside) = &beside {
                    beside.ask(hub, authorization.clone()).await;
                }
                Ok(())
            };
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, authorization.clone())]);
            let dialling = hub.dialer().websocket(CONNECT_PATH, headers);
            tokio::select! {
                // Two connections at once take as long as one. That its answer is there before `ssh` hears
                // of the server saves `kedge known-hosts` a connection of its own.
                both = async { tokio::try_join!(dialling, asking) } => match both {
                    Ok((dialled, ())) => Ok(Some(dialled)),
                    Err(error) => Err(hub.refused_dial(error)),
                },
                // `ssh` gave up (ConnectTimeout) or was ended: nobody waits for us any more. Renewing
                // the login is not broken off for that, since others need what it brings.
                () = stop.asked() => Ok(None),
            }
        })
        .await;
    let socket = match dialled.map_err(IntoFailure::into_failure)? {
        Some((socket, _)) => socket,
        None => return Ok(()),
    };

    let (link, driver) = Link::new(socket, Side::Client, LinkConfig::default());
    let mut driving = JoinSet::new();
    driving.spawn(driver.run());
    let session = request.key;
    let outcome = {
        // First the stream, so that the hub knows the session when it is asked for its key.
        let mut carrying = std::pin::pin!(carry_stream(&link, place, request, &mut stop));
        let offering = async {
            if let Some(offer) = &offer
                && let Err(error) = offer.serve(link.clone(), session).await
            {
                let text = Printable::new(&kedge_service::report::chain(&error)).to_string();
                // The session may do without; a person who needs the key is to know why it is not offered. Nobody is
                // left to tell when standard error is closed.
                let _ = writeln!(
                    std::io::stderr(),
                    "warning: cannot offer keys to ssh: {text}"
                );
            }
            std::future::pending::<std::convert::Infallible>().await
        };
        tokio::select! {
            biased;
            outcome = &mut carrying => outcome,
            never = offering => match never {},
        }
    };
    link.close(CloseReason::Finished);
    // Dropping the set ends the driver when the hub does not answer the close.
    let _ = timeout(defaults::CLOSE_TIME, driving.join_next()).await;
    outcome
}

async fn carry_stream(
    link: &Link,
    place: &Place<'_>,
    request: OpenRequest,
    stop: &mut Stop,
) -> Result<(), Failure> {
    let stream = match link.open(request) {
        Ok(stream) => stream,
        Err(closed) => return Err(ended(place, &StreamError::Link(closed.0))),
    };
    let io = Stdio::open().map_err(|error| {
        failure(
            Exit::Ssh,
            format!("cannot use standard input and output: {error}"),
        )
    })?;
    let mut carried = std::pin::pin!(splice(stream, io, ResetCode::Cancelled));
    let spliced = tokio::select! {
        spliced = &mut carried => spliced,
        () = stop.asked() => match timeout(defaults::PARTING_TIME, carried).await {
            Ok(spliced) => spliced,
            // The server has more to say than anybody wants to hear.
            Err(_) => return Ok(()),
        },
    };
    match spliced.end {
        SpliceEnd::Finished => Ok(()),
        SpliceEnd::Stream(error) => Err(ended(place, &error)),
        // `ssh` went while the server still talked: its business.
        SpliceEnd::Io(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        SpliceEnd::Io(_) if stop.was_asked => Ok(()),
        SpliceEnd::Io(error) => Err(failure(
            Exit::Ssh,
            format!("cannot pass on the connection to ssh: {error}"),
        )),
        _ => Ok(()),
    }
}

/// The socket on which this session's keys are offered; none when `ssh` was not told of one.
fn offer(app: &App<'_>, arguments: &ProxyArgs, host: &OsStr) -> Option<Offer> {
    let folder = arguments.agent_folder.as_deref()?;
    let login = arguments.login.as_deref()?;
    let socket = SocketPath::new(
        folder,
        Destination {
            host: host.to_str()?,
            port: defaults::SSH_PORT,
            login: login.to_str()?,
        },
    );
    Some(Offer {
        socket,
        own: app.own_agent(),
    })
}

fn open_request(place: &Place<'_>, login: Option<&Login>) -> Result<OpenRequest, Failure> {
    let random_failed = |error: random::RandomError| failure(Exit::Ssh, error.to_string());
    let secret = ResumeSecret::new(random::bytes().map_err(random_failed)?);
    let mut attributes = Attributes::new();
    let server = place.server.to_string();
    let mut added = attributes.insert(AttributeId::SERVER, server.into_bytes());
    if let Some(login) = login {
        added = added
            .and_then(|()| attributes.insert(AttributeId::LOGIN, login.to_string().into_bytes()));
    }
    added.map_err(|error| failure(Exit::Ssh, error.to_string()))?;
    Ok(OpenRequest {
        target: Target::ssh(),
        key: StreamKey(random::bytes().map_err(random_failed)?),
        resume: secret.hash(),
        attributes,
    })
}

/// The peer's words, or what its code means when it gave none.
fn words(code: &impl ToString, text: &str) -> String {
    if text.is_empty() {
        code.to_string()
    } else {
        text.to_owned()
    }
}

/// What ended a session, for the person at the terminal.
fn ended(place: &Place<'_>, error: &StreamError) -> Failure {
    let server = &place.server;
    match error {
        StreamError::Refused { code, text } => {
            let why = words(code, text);
            let failed = failure(
                Exit::Ssh,
                format!("cannot connect to `{server}`: {}", Printable::new(&why)),
            );
            match refusal_hint(*code, place) {
                Some(hint) => failed.hint(hint),
                None => failed,
            }
        }
        StreamError::Reset {
            code: code @ ResetCode::Killed,
            text,
        } => {
            let why = words(code, text);
            let text = format!("the session to `{server}` was {}", Printable::new(&why));
            failure(Exit::Ssh, text)
        }
        StreamError::Reset { code, text } => {
            let why = words(code, text);
            let failed = failure(
                Exit::Ssh,
                format!(
                    "the session to `{server}` was ended: {}",
                    Printable::new(&why)
                ),
            );
            match reset_hint(*code, place) {
                Some(hint) => failed.hint(hint),
                None => failed,
            }
        }
        StreamError::Link(end) => {
            let text = format!(
                "the connection to hub `{}` ended: {}",
                place.hub_name,
                Printable::new(&end.to_string())
            );
            let failed = failure(Exit::Ssh, text);
            match end {
                LinkEnd::Revoked => failed.hint("kedge whoami"),
                _ => failed,
            }
        }
        other => failure(Exit::Ssh, Printable::new(&other.to_string()).to_string()),
    }
}

fn refusal_hint(code: RefuseCode, place: &Place<'_>) -> Option<String> {
    let (server, hub) = (&place.server, place.hub_name);
    Some(match code {
        RefuseCode::CredentialsUnavailable => {
            format!("kedge describe server {server} shows its condition CredentialsResolved")
        }
        RefuseCode::Denied => "kedge whoami shows who the hub takes you for".to_owned(),
        RefuseCode::Draining => "try again in a moment: the hub is restarting".to_owned(),
        RefuseCode::HostKeyChanged => {
            format!(
                "an administrator compares and accepts the keys: kedge accept-host-keys {server}"
            )
        }
        RefuseCode::NotFound => "kedge get servers lists what you may reach".to_owned(),
        RefuseCode::Offline => {
            format!("kedge describe server {server} shows when its agent was last there")
        }
        RefuseCode::TargetUnreachable => format!("is sshd running on {server}?"),
        RefuseCode::TooManyStreams => "end other sessions, or try again later".to_owned(),
        RefuseCode::Unauthenticated => format!("kedge login {hub}"),
        _ => return None,
    })
}

fn reset_hint(code: ResetCode, place: &Place<'_>) -> Option<String> {
    let server = &place.server;
    Some(match code {
        ResetCode::LinkLost => {
            format!("kedge describe server {server} shows whether its agent is connected")
        }
        ResetCode::MaxAge => "the policy that allows it limits how long a session lasts".to_owned(),
        ResetCode::Revoked => "kedge whoami shows who the hub takes you for".to_owned(),
        ResetCode::ShuttingDown => "try again in a moment".to_owned(),
        ResetCode::TargetReset | ResetCode::TargetSilent => format!("is sshd well on {server}?"),
        _ => return None,
    })
}

/// Whoever started us wants an end.
struct Stop {
    hangup: tokio::signal::unix::Signal,
    interrupt: Option<tokio::signal::unix::Signal>,
    terminate: tokio::signal::unix::Signal,
    was_asked: bool,
}

impl Stop {
    fn new() -> Result<Self, Failure> {
        crate::credentials::leave_signals_alone();
        let listen = |kind| {
            signal(kind)
                .map_err(|error| failure(Exit::Ssh, format!("cannot listen for signals: {error}")))
        };
        // Ctrl-C at a terminal reaches us as well as `ssh`. It is for `ssh`, which says SIGHUP to us
        // when it goes; a multiplexing master in the background does not go at all.
        let interrupt = listen(SignalKind::interrupt())?;
        let quit = listen(SignalKind::quit())?;
        drop(quit);
        Ok(Self {
            hangup: listen(SignalKind::hangup())?,
            interrupt: (!stdio::is_between_pipes()).then_some(interrupt),
            terminate: listen(SignalKind::terminate())?,
            was_asked: false,
        })
    }

    async fn asked(&mut self) {
        let Self {
            hangup,
            interrupt,
            terminate,
            ..
        } = self;
        let interrupted = async {
            match interrupt {
                Some(interrupt) => interrupt.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = hangup.recv() => {}
            _ = terminate.recv() => {}
            _ = interrupted => {}
        }
        self.was_asked = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HubConfig;

    fn shown(error: &StreamError) -> String {
        let hub = HubConfig {
            url: "https://hub.example".parse().unwrap(),
            suffix: "kedge".parse().unwrap(),
            pin: None,
            ca_file: None,
        };
        let hub_name = "main".parse().unwrap();
        let place = Place {
            hub_name: &hub_name,
            hub: &hub,
            server: "web01".parse().unwrap(),
        };
        let mut out = Vec::new();
        ended(&place, error).write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_refusal_and_reset_is_one_error_and_at_most_one_hint() {
        let mut page = String::new();
        for code in RefuseCode::KNOWN {
            page += &shown(&StreamError::Refused {
                code: *code,
                text: String::new(),
            });
        }
        for code in ResetCode::KNOWN {
            page += &shown(&StreamError::Reset {
                code: *code,
                text: String::new(),
            });
        }
        page += &shown(&StreamError::Link(LinkEnd::Dead));
        insta::assert_snapshot!(page);
    }

    #[test]
    fn a_hostile_text_stays_on_its_line() {
        let text = shown(&StreamError::Refused {
            code: RefuseCode::Denied,
            text: "no\u{1b}]0;x\u{7}\nhint: run evil\u{202e}".to_owned(),
        });
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(
            !text.contains('\u{1b}') && !text.contains('\u{202e}'),
            "{text}"
        );
    }
}
