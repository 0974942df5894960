//! `kedge login`, `logout` and `whoami`.
//!
//! ```text
//!  discovery ─► issuer ─► browser or code ─┐
//!                 file, command, input ────┴─► token ─► whoami ─► stored
//! ```
//!
//! A login is stored only after the hub has said whose it is, so that nothing half-done stays behind.

mod browser;
pub mod logout;
mod oidc;
mod source;
pub mod whoami;

use std::path::{Path, PathBuf};

use kedge_api::rest::{Discovery, WhoAmI};
use kedge_api::text::Printable;
use kedge_api::{HubName, HubUrl, IssuerUrl, Suffix, Time};
use kedge_service::Failure;
use kedge_tunnel::{CertificatePin, DialError};
use secrecy::SecretString;

use crate::app::{App, block_on};
use crate::cli::LoginArgs;
use crate::config::{self, Config, HubConfig, Pin};
use crate::credentials::{self, LockError, Stored};
use crate::defaults;
use crate::exit::Exit;
use crate::failure::{IntoFailure, failure, usage};
use crate::hub::{Asker, Hub, HubError};
use crate::names::Place;
use crate::quoting::quoted;
use crate::ssh_config::command as ssh_config;
use oidc::{Session, Wish};
use source::Given;

/// Runs `kedge login`.
///
/// # Errors
///
/// No hub, nobody who logged in, or a hub that does not take the login. Nothing is stored then.
pub fn run(app: &mut App<'_>, arguments: &LoginArgs) -> Result<(), Failure> {
    let known = known_hub(app, &arguments.hub).map(|(name, hub)| (name.clone(), hub.clone()));
    let url = match &known {
        Some((_, hub)) => hub.url.clone(),
        None => arguments
            .hub
            .parse::<HubUrl>()
            .map_err(IntoFailure::into_failure)?,
    };
    refuse_plain_text(&url)?;
    let given = source::given(app, arguments)?;
    let (pin, ca_file) = trust(arguments, known.as_ref().map(|(_, hub)| hub), &url);
    // Until the hub has said how it is called, errors call it by its host.
    let known_name = known.map(|(name, _)| name);
    let provisional = known_name.clone().or_else(|| arguments.name.clone());
    let provisional = provisional
        .or_else(|| host_as_name(&url))
        .unwrap_or_else(unnamed);
    let mut hub = HubConfig {
        url,
        suffix: unnamed_suffix(),
        pin,
        ca_file,
    };
    let client = app.client_as(&provisional, &hub, Asker::Nobody)?;
    let discovery = block_on(async {
        let discovery = client.discover().await;
        discovery.map_err(|error| not_trusted(error, arguments))
    })?;
    let name = arguments
        .name
        .clone()
        .or(known_name)
        .unwrap_or_else(|| discovery.name.clone());
    hub.suffix = arguments
        .suffix
        .clone()
        .or_else(|| app.config.hubs.get(&name).map(|known| known.suffix.clone()))
        .unwrap_or_else(|| discovery.suffix.clone());
    // Before anybody takes out a telephone for nothing.
    refuse_conflict(&app.config, &name, &hub)?;
    let wanted = Wanted {
        given,
        wish: Wish::new(arguments),
        hub: &arguments.hub,
        name: &name,
    };
    let (stored, person) = obtain(app, client, &discovery, wanted)?;
    store(app, &name, &hub, &stored)?;
    app.say(&format!(
        "Logged in at hub `{name}` ({}) as {}.",
        hub.url,
        Printable::new(person.subject.as_str())
    ))?;
    app.say(&format!("Its servers: kedge get servers --hub {name}"))?;
    match ssh_config::refresh(app)? {
        ssh_config::Refreshed::NotInstalled => app.say(&format!(
            "For plain `ssh NAME.{}`: kedge ssh-config --write",
            hub.suffix
        )),
        ssh_config::Refreshed::Installed => app.say(&format!("Plain ssh: ssh NAME.{}", hub.suffix)),
    }
}

/// Logs in again at a hub that is known, on the way to one of its servers. Says nothing on standard
/// output, which is the remote command's.
///
/// # Errors
///
/// As [`run`]; a hub that names no issuer cannot be logged in at like this.
pub fn again(app: &mut App<'_>, name: &HubName, hub: &HubConfig) -> Result<(), Failure> {
    let client = app.client_as(name, hub, Asker::Nobody)?;
    let discovery = block_on(async { client.discover().await.map_err(IntoFailure::into_failure) })?;
    let wanted = Wanted {
        given: None,
        wish: Wish::default(),
        hub: name.as_str(),
        name,
    };
    let (stored, person) = obtain(app, client, &discovery, wanted)?;
    store(app, name, hub, &stored)?;
    app.note(&format!(
        "Logged in at hub `{name}` as {}.",
        Printable::new(person.subject.as_str())
    ));
    Ok(())
}

/// Whether a login of this kind can be had again from the person at the terminal: a token that
/// somebody else makes cannot.
#[must_use]
pub fn can_log_in_again(app: &App<'_>, place: &Place<'_>) -> bool {
    match app.state(place.hub_name).store().load() {
        Ok(None | Some(Stored::Oidc(_))) | Err(_) => true,
        Ok(Some(Stored::Command(_) | Stored::File(_) | Stored::Static(_))) => false,
    }
}

/// What a login is to be.
struct Wanted<'a> {
    given: Option<Given>,
    wish: Wish,
    /// The hub as the person called it.
    hub: &'a str,
    /// Its name in the configuration.
    name: &'a HubName,
}

/// Gets a token, and has the hub say whose it is.
fn obtain(
    app: &mut App<'_>,
    client: Hub,
    discovery: &Discovery,
    wanted: Wanted<'_>,
) -> Result<(Stored, WhoAmI), Failure> {
    if let Some(Given { stored, token }) = wanted.given {
        let person = block_on(confirm(client, token, None))?;
        return Ok((stored, person));
    }
    let issuers = &discovery.authentication.issuers;
    let hub = Printable::new(wanted.hub).to_string();
    if issuers.is_empty() {
        let text = format!(
            "hub `{}` names no issuer to log in at: kedge login needs a token",
            wanted.name
        );
        return Err(usage(text).hint(format!("kedge login {hub} --token-file FILE")));
    }
    let last = last_issuer(app, wanted.name);
    let issuer = oidc::choose(app, issuers, &wanted.wish, last.as_ref(), &hub)?;
    let begun = app.now().into();
    block_on(interruptible(async {
        let tokens = oidc::run(app, &issuer, &wanted.wish, &client, &hub).await?;
        let token = tokens.id_token.clone();
        let name = issuer.name.as_str().to_owned();
        let login = credentials::logged_in(issuer, tokens);
        let person = confirm(client, token, Some(name)).await?;
        refuse_old_proof(&wanted.wish, &login.issuer.issuer, &person, begun)?;
        Ok((Stored::Oidc(Box::new(login)), person))
    }))
}

/// The device flow (RFC 8628) has no words for asking the person anew, so a browser that is still logged
/// in there hands on a proof of long ago.
fn refuse_old_proof(
    wish: &Wish,
    issuer: &IssuerUrl,
    person: &WhoAmI,
    begun: Time,
) -> Result<(), Failure> {
    let leeway = defaults::REAUTHENTICATION_LEEWAY;
    match person.authenticated_at {
        Some(at) if wish.session == Session::New && at.saturating_add(leeway) < begun => {
            let text = format!(
                "{issuer} did not ask anew who you are, and shows a proof of {at}; nothing was stored"
            );
            Err(failure(Exit::Failure, text)
                .hint("log out at the issuer in the browser, and log in again"))
        }
        _ => Ok(()),
    }
}

/// Asks the hub whose token it is.
async fn confirm(
    client: Hub,
    token: SecretString,
    issuer: Option<String>,
) -> Result<WhoAmI, Failure> {
    let client = client.with_token(token);
    let url = client.url().clone();
    let error = match client.who_am_i().await {
        Ok(person) => return Ok(person),
        Err(error) => error,
    };
    match (&error, issuer) {
        (HubError::NotTaken { advice, .. }, None) => Err(failure(
            Exit::LoginNeeded,
            format!("{url} does not know this token{advice}; nothing was stored"),
        )
        .hint("ask whoever runs the hub for a token")),
        (HubError::NotTaken { advice, .. }, Some(issuer)) => Err(failure(
            Exit::LoginNeeded,
            format!(
                "{url} does not take the login of its issuer `{}`{advice}; nothing was stored",
                Printable::new(&issuer)
            ),
        )
        .hint("the hub's log says why; ask whoever runs it")),
        _ => Err(error.into_failure()),
    }
}

/// Keeps a login and its hub, one process after the other.
fn store(
    app: &mut App<'_>,
    name: &HubName,
    hub: &HubConfig,
    stored: &Stored,
) -> Result<(), Failure> {
    let state = app.state(name);
    state.create().map_err(IntoFailure::into_failure)?;
    let file = app.config_file();
    let folder = config::folder(&file).map_err(IntoFailure::into_failure)?;
    let credentials = app.credentials(name);
    let config = block_on(async {
        let locked = |error: LockError| failure(Exit::Failure, error.to_string());
        let _config = credentials::hold(&folder).await.map_err(locked)?;
        // Somebody may have logged in elsewhere meanwhile.
        let config = Config::load(&file).map_err(IntoFailure::into_failure)?;
        refuse_conflict(&config, name, hub)?;
        let _login = credentials.lock().await.map_err(locked)?;
        let store = state.store();
        let room = store.reserve().map_err(no_room)?;
        if config.hubs.get(name) != Some(hub) || config.default_hub.is_none() {
            config::save_hub(&file, name, hub).map_err(IntoFailure::into_failure)?;
        }
        store
            .save(room, stored)
            .map_err(IntoFailure::into_failure)?;
        state.forget_answers().map_err(IntoFailure::into_failure)?;
        Ok(config)
    })?;
    app.config = config;
    app.config.hubs.insert(name.clone(), hub.clone());
    Ok(())
}

fn no_room(error: kedge_service::files::FileError) -> Failure {
    let failed = error.into_failure();
    failed.hint("free some space; nothing was stored")
}

/// Gives up at Ctrl-C. Once this was used, only what is done with it can be interrupted.
///
/// # Errors
///
/// That it was interrupted, and those of the work.
///
/// # Cancel safety
///
/// As the work's.
pub(crate) async fn interruptible<T>(
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    credentials::leave_signals_alone();
    tokio::select! {
        biased;
        done = work => done,
        _ = tokio::signal::ctrl_c() => {
            Err(failure(Exit::Interrupted, "the login was interrupted; nothing was stored"))
        }
    }
}

/// Where the person logged in the last time.
fn last_issuer(app: &App<'_>, name: &HubName) -> Option<IssuerUrl> {
    match app.state(name).store().load() {
        Ok(Some(Stored::Oidc(login))) => Some(login.issuer.issuer),
        _ => None,
    }
}

fn known_hub<'c>(app: &'c App<'_>, text: &str) -> Option<(&'c HubName, &'c HubConfig)> {
    if let Some(found) = app.config.hubs.get_key_value(text) {
        return Some(found);
    }
    // The same URL again is the same hub again.
    let url: HubUrl = text.parse().ok()?;
    app.config.hubs.iter().find(|(_, hub)| hub.url == url)
}

/// A token over plain HTTP is everybody's on the way; on this machine there is no way.
fn refuse_plain_text(url: &HubUrl) -> Result<(), Failure> {
    let host = url.host().trim_start_matches('[').trim_end_matches(']');
    let here = host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    if url.is_tls() || here {
        return Ok(());
    }
    let text = format!("{url} is plain HTTP: the token could be read on the way");
    Err(usage(text).hint("use the https:// URL that is served in front of the hub"))
}

fn trust(
    arguments: &LoginArgs,
    known: Option<&HubConfig>,
    url: &HubUrl,
) -> (Option<Pin>, Option<PathBuf>) {
    if arguments.pin.is_some() || arguments.ca_file.is_some() {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        return (arguments.pin, arguments.ca_file.as_deref().map(absolute));
    }
    match known {
        Some(hub) if hub.url == *url => (hub.pin, hub.ca_file.clone()),
        _ => (None, None),
    }
}

/// Says which certificate was shown, and with what to compare it.
fn not_trusted(error: HubError, arguments: &LoginArgs) -> Failure {
    if let HubError::Dial { url, source, .. } = &error {
        match source.as_ref() {
            DialError::Untrusted { pin, .. } => return untrusted(url, pin, arguments),
            DialError::PinMismatch { .. } => {
                let text = format!("{url} shows another certificate: {source}");
                return failure(Exit::Failure, text).hint(
                    "if the hub got a new certificate, compare this with the pin that kedge-hub \
                     prints at its start, and log in again with --pin",
                );
            }
            _ => {}
        }
    }
    error.into_failure()
}

fn untrusted(url: &HubUrl, pin: &CertificatePin, arguments: &LoginArgs) -> Failure {
    let text = format!(
        "no authority that this machine trusts vouches for the certificate of {url}; it shows {pin}"
    );
    failure(Exit::Failure, text).hint(format!(
        "compare it with the pin that kedge-hub prints at its start; only if they are the same: \
         kedge login {url}{} --pin {pin}",
        options(arguments)
    ))
}

/// The options of this login but for whom to trust, to be typed once more.
fn options(arguments: &LoginArgs) -> String {
    let text = |path: &PathBuf| path.display().to_string();
    let flags = [
        ("--device", arguments.device),
        ("--reauthenticate", arguments.reauthenticate),
    ];
    let values = [
        ("--issuer", arguments.issuer.clone()),
        ("--token-file", arguments.token_file.as_ref().map(text)),
        ("--token-command", arguments.token_command.clone()),
        ("--name", arguments.name.as_ref().map(HubName::to_string)),
        ("--suffix", arguments.suffix.as_ref().map(Suffix::to_string)),
    ];
    let flags = flags.into_iter().filter(|(_, given)| *given);
    let flags = flags.map(|(option, _)| format!(" {option}"));
    let values = values.into_iter().filter_map(|(option, value)| {
        let value = value?;
        Some(format!(" {option} {}", quoted(&value)))
    });
    flags.chain(values).collect()
}

fn refuse_conflict(config: &Config, name: &HubName, hub: &HubConfig) -> Result<(), Failure> {
    if let Some(other) = config.hubs.get(name)
        && other.url != hub.url
    {
        let text = format!("there is a hub `{name}` already, at {}", other.url);
        return Err(usage(text).hint("give this one another name with --name"));
    }
    if let Some(owner) = config.owner_of(&hub.suffix)
        && owner != name
    {
        let text = format!("hub `{owner}` has the suffix `{}` already", hub.suffix);
        return Err(usage(text).hint("give this one another suffix with --suffix"));
    }
    Ok(())
}

fn host_as_name(url: &HubUrl) -> Option<HubName> {
    url.host().split('.').next()?.parse().ok()
}

#[expect(clippy::expect_used, reason = "a constant that the tests parse")]
fn unnamed() -> HubName {
    "hub".parse().expect("a legal name")
}

#[expect(clippy::expect_used, reason = "a constant that the tests parse")]
fn unnamed_suffix() -> kedge_api::Suffix {
    "kedge".parse().expect("a legal suffix")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for url in [
            "http://127.0.0.1:8080",
            "http://[::1]:1",
            "http://localhost",
            "https://hub.example",
        ] {
            assert!(refuse_plain_text(&url.parse().unwrap()).is_ok(), "{url}");
        }
        for url in [
            "http://hub.example",
            "http://10.0.0.1",
            "http://localhost.evil.example",
        ] {
            assert!(refuse_plain_text(&url.parse().unwrap()).is_err(), "{url}");
        }
    }

    #[test]
    fn constants_are_legal() {
        assert_eq!(unnamed(), "hub");
        assert_eq!(unnamed_suffix(), "kedge");
    }

    fn arguments() -> LoginArgs {
        LoginArgs {
            hub: "https://hub.example".into(),
            device: false,
            issuer: None,
            reauthenticate: false,
            token_file: None,
            token_command: None,
            name: None,
            suffix: None,
            pin: None,
            ca_file: None,
        }
    }

    #[test]
    fn what_is_to_be_typed_again_is_what_was_typed() {
        assert_eq!(options(&arguments()), "");
        let person = LoginArgs {
            device: true,
            reauthenticate: true,
            issuer: Some("our partners".into()),
            name: Some("main".parse().unwrap()),
            suffix: Some("corp".parse().unwrap()),
            ..arguments()
        };
        assert_eq!(
            options(&person),
            " --device --reauthenticate --issuer 'our partners' --name main --suffix corp"
        );
        let program = LoginArgs {
            token_command: Some("pass show 'kedge'".into()),
            ..arguments()
        };
        assert_eq!(
            options(&program),
            format!(" --token-command {}", quoted("pass show 'kedge'"))
        );
    }

    #[test]
    fn golden_untrusted() {
        let arguments = LoginArgs {
            token_file: Some("/home/a/my.token".into()),
            ..arguments()
        };
        let mut out = Vec::new();
        untrusted(
            &"https://hub.example".parse().unwrap(),
            &CertificatePin::of(b"x"),
            &arguments,
        )
        .write(&mut out)
        .unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap());
    }
}
