//! A login at an issuer: in a browser, or with a code on another device.

use std::io::{BufRead, IsTerminal, Read, Write};

use kedge_api::IssuerUrl;
use kedge_api::rest::IssuerInfo;
use kedge_api::text::Printable;
use kedge_identity::login::{BrowserOptions, DeviceStep, LoginFlowError, Provider, TokenSet};
use kedge_service::Failure;
use kedge_service::report::chain;
use tokio::sync::mpsc;

use super::browser;
use crate::advice::login_command;
use crate::app::App;
use crate::cli::LoginArgs;
use crate::credentials::issuer;
use crate::defaults;
use crate::exit::Exit;
use crate::failure::{dial_hint, failure, usage};
use crate::hub::Hub;
use crate::words;

/// How a person wants to log in.
#[derive(Clone, Debug, Default)]
pub(super) struct Wish {
    /// `--device`
    pub(super) way: Way,
    /// `--issuer`
    pub(super) issuer: Option<String>,
    /// `--reauthenticate`
    pub(super) session: Session,
}

/// Where the person meets the issuer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Way {
    /// In a browser, where there is one to be seen; else with a code.
    #[default]
    Automatic,
    /// With a code on another device.
    Device,
}

/// Whether a session that the browser has with the issuer will do.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Session {
    /// It will: nobody is asked twice.
    #[default]
    Any,
    /// It will not: the person proves anew who they are.
    New,
}

impl Wish {
    /// What the command line says.
    pub(super) fn new(arguments: &LoginArgs) -> Self {
        let way = match arguments.device {
            true => Way::Device,
            false => Way::Automatic,
        };
        let session = match arguments.reauthenticate {
            true => Session::New,
            false => Session::Any,
        };
        let issuer = arguments.issuer.clone();
        Self {
            way,
            issuer,
            session,
        }
    }

    /// The command that begins such a login. A hub where nobody ever logged in has no name yet, so it is called as the
    /// person called it.
    fn command(&self, hub: &str) -> String {
        let command = login_command(hub, false);
        match &self.issuer {
            Some(issuer) => format!("{command} --issuer {}", Printable::new(issuer)),
            None => command,
        }
    }
}

/// The issuer to log in at: the one that is named, the only one, the one of the last login, or the one
/// that the person chooses when asked.
///
/// # Errors
///
/// None of that name; several, and nobody to ask.
pub(super) fn choose(
    app: &mut App<'_>,
    issuers: &[IssuerInfo],
    wish: &Wish,
    last: Option<&IssuerUrl>,
    hub: &str,
) -> Result<IssuerInfo, Failure> {
    let names = || {
        let names = issuers
            .iter()
            .map(|issuer| Printable::new(issuer.name.as_str()).to_string());
        listed(names.collect())
    };
    if let Some(asked) = &wish.issuer {
        return named(issuers, asked, hub)?.cloned().ok_or_else(|| {
            usage(format!(
                "the hub has no issuer `{}` (it has {})",
                Printable::new(asked),
                names()
            ))
        });
    }
    let known = last.and_then(|last| issuers.iter().find(|issuer| issuer.issuer == *last));
    match (issuers, known) {
        ([only], _) | (_, Some(only)) => return Ok(only.clone()),
        _ => {}
    }
    if !app.terminal.interactive {
        let text = format!("the hub has several issuers to log in at ({})", names());
        return Err(usage(text).hint(format!("kedge login {hub} --issuer NAME")));
    }
    for (index, issuer) in issuers.iter().enumerate() {
        app.note(&format!(
            "  {}  {} ({})",
            index + 1,
            Printable::new(issuer.name.as_str()),
            issuer.issuer
        ));
    }
    let _ = write!(app.terminal.err, "Log in at which one? ");
    let _ = app.terminal.err.flush();
    let mut answer = String::new();
    let read = app.terminal.input.take(ANSWER_BYTES).read_line(&mut answer);
    read.map_err(|error| failure(Exit::Failure, format!("cannot read the answer: {error}")))?;
    let answer = answer.trim();
    let numbered = answer
        .parse::<usize>()
        .ok()
        .and_then(|number| issuers.get(number.checked_sub(1)?));
    let chosen = match numbered {
        Some(issuer) => Some(issuer),
        None => named(issuers, answer, hub)?,
    };
    chosen.cloned().ok_or_else(|| {
        usage(format!("`{}` is none of them", Printable::new(answer)))
            .hint(format!("kedge login {hub} --issuer NAME"))
    })
}

/// The issuer of this URL or name. Whoever runs the hub chose the names, and two of them may be one.
fn named<'a>(
    issuers: &'a [IssuerInfo],
    text: &str,
    hub: &str,
) -> Result<Option<&'a IssuerInfo>, Failure> {
    if let Some(found) = issuers.iter().find(|issuer| issuer.issuer.as_str() == text) {
        return Ok(Some(found));
    }
    let mut found = issuers.iter().filter(|issuer| issuer.name.as_str() == text);
    let first = found.next();
    let others: Vec<_> = found.collect();
    if others.is_empty() {
        return Ok(first);
    }
    let urls = first.into_iter().chain(others);
    let text = format!(
        "the hub has several issuers `{}` ({})",
        Printable::new(text),
        listed(urls.map(|issuer| issuer.issuer.to_string()).collect())
    );
    Err(usage(text).hint(format!("kedge login {hub} --issuer URL")))
}

/// The first of them, and how many more there are.
fn listed(mut words: Vec<String>) -> String {
    let more = words.len().saturating_sub(defaults::ISSUERS_NAMED);
    if more > 0 {
        words.truncate(defaults::ISSUERS_NAMED);
        words.push(format!("and {more} more"));
    }
    words.join(", ")
}

/// Has the person log in at the issuer of a hub, which they called `called`.
///
/// # Errors
///
/// Whatever the issuer, the browser or the person did; nothing is kept then.
///
/// # Cancel safety
///
/// The flow is given up, and its port closed.
pub(super) async fn run(
    app: &mut App<'_>,
    issuer: &IssuerInfo,
    wish: &Wish,
    hub: &Hub,
    called: &str,
) -> Result<TokenSet, Failure> {
    let proxies = &app.environment.proxies;
    let client = issuer::client(issuer, proxies).map_err(|error| {
        let text = format!("cannot ask the issuer {}: {}", issuer.issuer, chain(&error));
        dial_hint(failure(Exit::Failure, text), &error)
    })?;
    let done = async {
        let provider = client.discover().await?;
        let can_show = app.environment.desktop.can_show();
        let uses_device = match wish.way {
            Way::Device => true,
            Way::Automatic => !can_show && provider.supports_device(),
        };
        match uses_device {
            true => with_device(app, &provider).await,
            false => with_browser(app, &provider, wish).await,
        }
    };
    match done.await {
        Ok(tokens) => Ok(tokens),
        Err(error) => Err(refused(issuer, &error, hub, &wish.command(called)).await),
    }
}

async fn with_browser(
    app: &mut App<'_>,
    provider: &Provider,
    wish: &Wish,
) -> Result<TokenSet, LoginFlowError> {
    let desktop = app.environment.desktop.clone();
    let options = BrowserOptions {
        reauthenticate: wish.session == Session::New,
        deadline: defaults::LOGIN_TIME,
    };
    provider
        .with_browser(options, |url| {
            let url = url.as_str();
            if desktop.can_show() {
                app.note("Log in in the browser that opens now. If none does, open this yourself:");
                app.note(&format!("  {url}"));
                browser::open(&desktop, url);
            } else {
                app.note("Open this in a browser on this machine to log in:");
                app.note(&format!("  {url}"));
            }
        })
        .await
}

async fn with_device(app: &mut App<'_>, provider: &Provider) -> Result<TokenSet, LoginFlowError> {
    let mut progress = Progress::new(app.terminal.err, std::io::stderr().is_terminal());
    let (steps, mut to_show) = mpsc::channel(defaults::DEVICE_STEPS);
    let mut flow = std::pin::pin!(provider.with_device(move |step| drop(steps.try_send(step))));
    loop {
        tokio::select! {
            biased;
            Some(step) = to_show.recv() => progress.show(&step),
            done = &mut flow => return done,
        }
    }
}

/// The line that says how long the code is still good, where there is a terminal to say it on. It goes
/// when this is dropped, also by Ctrl-C, so that what is said next has a line of its own.
struct Progress<'a> {
    err: &'a mut dyn Write,
    is_terminal: bool,
    is_shown: bool,
}

impl<'a> Progress<'a> {
    fn new(err: &'a mut dyn Write, is_terminal: bool) -> Self {
        Self {
            err,
            is_terminal,
            is_shown: false,
        }
    }

    fn show(&mut self, step: &DeviceStep) {
        // Nobody is left to tell when standard error is closed.
        match step {
            DeviceStep::Code {
                verification_uri,
                verification_uri_complete,
                user_code,
                ..
            } => {
                let _ = writeln!(
                    self.err,
                    "Open {} on any device and enter the code {}",
                    Printable::new(verification_uri.as_str()),
                    Printable::new(user_code)
                );
                if let Some(url) = verification_uri_complete {
                    let _ = writeln!(self.err, "or open {}", Printable::new(url.as_str()));
                }
            }
            DeviceStep::Waiting { remaining } if self.is_terminal => {
                let left = words::span(*remaining);
                let line = format!("Waiting for you; the code is good for {left}.");
                let _ = write!(self.err, "\r{line:<60}");
                let _ = self.err.flush();
                self.is_shown = true;
            }
            _ => {}
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(self.err, "\r{:<60}\r", "");
            let _ = self.err.flush();
        }
    }
}

/// What the issuer, the browser or the person did.
async fn refused(
    issuer: &IssuerInfo,
    error: &LoginFlowError,
    client: &Hub,
    command: &str,
) -> Failure {
    let advice = client.advice().await;
    let text = format!(
        "cannot log in at the issuer {}{advice}: {}",
        issuer.issuer,
        chain(error)
    );
    let failed = failure(Exit::Failure, text);
    match error {
        LoginFlowError::Deadline { .. } | LoginFlowError::Expired => failed.hint(command),
        LoginFlowError::NoDeviceFlow { .. } => failed.hint(format!("{command}, without --device")),
        LoginFlowError::PortsTaken { .. } => failed.hint(format!("{command} --device")),
        LoginFlowError::Unreachable(_) => failed.hint("try again when the issuer answers"),
        _ => failed,
    }
}

/// Bytes of an answer that chooses an issuer.
const ANSWER_BYTES: u64 = 1024;
