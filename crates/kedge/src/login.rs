//! `kedge login`, `logout` and `whoami`.
//!
//! A login is stored only after the hub has said whose it is, so that nothing half-done stays behind.

use std::fmt::Write as _;
use std::io::Read;
use std::path::Path;

use kedge_api::rest::WhoAmI;
use kedge_api::text::Printable;
use kedge_api::{HubName, HubUrl};
use kedge_service::Failure;
use kedge_service::files;
use kedge_tunnel::{CertificatePin, DialError};
use secrecy::{ExposeSecret, SecretString};

use crate::app::{App, block_on};
use crate::cli::{DataFormat, LoginArgs, LogoutArgs, WhoamiArgs};
use crate::config::{self, HubConfig, Pin};
use crate::exit::Exit;
use crate::failure::{IntoFailure, failure, usage};
use crate::hub::{Hub, HubError};
use crate::objects::print;
use crate::ssh_config::command as ssh_config;

/// Runs `kedge login`.
///
/// # Errors
///
/// No token, no hub, or a hub that does not know the token. Nothing is stored then.
pub fn login(app: &mut App<'_>, arguments: &LoginArgs) -> Result<(), Failure> {
    let known = known_hub(app, &arguments.hub).map(|(name, hub)| (name.clone(), hub.clone()));
    let url = match &known {
        Some((_, hub)) => hub.url.clone(),
        None => arguments
            .hub
            .parse::<HubUrl>()
            .map_err(IntoFailure::into_failure)?,
    };
    refuse_plain_text(&url)?;
    let token = read_token(app, arguments)?;
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
    let client = Hub::new(
        provisional,
        hub.url.clone(),
        hub.trust(),
        Some(token.clone()),
        app.environment.proxies.clone(),
    )
    .map_err(IntoFailure::into_failure)?;
    let (discovery, person) = block_on(async {
        let discovery = client
            .discover()
            .await
            .map_err(|e| not_trusted(e, arguments))?;
        let person = client
            .who_am_i()
            .await
            .map_err(|e| not_known(e, &hub.url))?;
        Ok((discovery, person))
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
    refuse_conflict(app, &name, &hub)?;
    app.state(&name)
        .save_token(&token)
        .map_err(IntoFailure::into_failure)?;
    config::save_hub(&app.config_file(), &name, &hub).map_err(IntoFailure::into_failure)?;
    app.config.hubs.insert(name.clone(), hub.clone());
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

/// Runs `kedge logout`.
///
/// # Errors
///
/// When a file stays that should go.
pub fn logout(app: &mut App<'_>, arguments: &LogoutArgs) -> Result<(), Failure> {
    let asked = arguments.name.as_ref().or(app.globals.hub.as_ref());
    let (name, _) = app.config.hub(asked).map_err(IntoFailure::into_failure)?;
    let name = name.clone();
    let had = app
        .state(&name)
        .forget()
        .map_err(IntoFailure::into_failure)?;
    match had {
        true => app.say(&format!("Logged out at hub `{name}`.")),
        false => app.say(&format!("There was no login at hub `{name}`.")),
    }
}

/// Runs `kedge whoami`.
///
/// # Errors
///
/// When the hub does not say.
pub fn whoami(app: &mut App<'_>, arguments: &WhoamiArgs) -> Result<(), Failure> {
    let client = app.default_client()?;
    let person = block_on(async { client.who_am_i().await.map_err(IntoFailure::into_failure) })?;
    match arguments.output {
        Some(format) => {
            let value = serde_json::to_value(&person).unwrap_or_default();
            let text = match format {
                DataFormat::Json => print::json(&value),
                DataFormat::Yaml => print::yaml(&value)?,
            };
            app.print(&text)
        }
        None => {
            let text = page(client.name(), &person);
            app.print(&text)
        }
    }
}

/// What `kedge whoami` shows.
fn page(hub: &HubName, person: &WhoAmI) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(text, "{:<13}{}", format!("{key}:"), Printable::new(value));
    };
    line("Hub", hub.as_str());
    line("Subject", person.subject.as_str());
    line("Issuer", person.issuer.as_str());
    line("Method", &person.method.to_string());
    let groups: Vec<_> = person.groups.iter().map(|group| group.as_str()).collect();
    line(
        "Groups",
        if groups.is_empty() {
            "<none>".into()
        } else {
            groups.join(", ")
        }
        .as_str(),
    );
    match (&person.login, &person.login_error) {
        (Some(login), _) => line("Login", login.as_str()),
        (None, Some(why)) => line("Login", &format!("<none>: {why}")),
        (None, None) => line("Login", "<none>"),
    }
    let permissions = person.permissions.join(", ");
    line(
        "Permissions",
        if permissions.is_empty() {
            "<none>"
        } else {
            &permissions
        },
    );
    if let Some(expires) = person.expires_at {
        line("Expires", &expires.to_string());
    }
    text
}

fn known_hub<'c>(app: &'c App<'_>, text: &str) -> Option<(&'c HubName, &'c HubConfig)> {
    if let Some(found) = app.config.hubs.get_key_value(text) {
        return Some(found);
    }
    // The same URL again is the same hub again.
    let url: HubUrl = text.parse().ok()?;
    app.config.hubs.iter().find(|(_, hub)| hub.url == url)
}

fn read_token(app: &mut App<'_>, arguments: &LoginArgs) -> Result<SecretString, Failure> {
    let Some(path) = &arguments.token_file else {
        return Err(usage("kedge login needs a token").hint(format!(
            "kedge login {} --token-file FILE",
            Printable::new(&arguments.hub)
        )));
    };
    let token = if path == Path::new("-") {
        let mut text = zeroize::Zeroizing::new(String::with_capacity(TOKEN_BYTES + 1));
        let limit = u64::try_from(TOKEN_BYTES).unwrap_or(u64::MAX);
        app.terminal
            .input
            .take(limit + 1)
            .read_to_string(&mut text)
            .map_err(|error| failure(Exit::Failure, format!("cannot read the token: {error}")))?;
        if text.len() > TOKEN_BYTES {
            return Err(usage(format!(
                "the token is longer than {TOKEN_BYTES} bytes"
            )));
        }
        SecretString::from(text.trim().to_owned())
    } else {
        files::read_secret(path).map_err(IntoFailure::into_failure)?
    };
    let text = token.expose_secret();
    if text.is_empty() {
        return Err(usage("the token is empty"));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(usage("the token has spaces or odd characters in it")
            .hint("the file holds the token and nothing else"));
    }
    Ok(token)
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
) -> (Option<Pin>, Option<std::path::PathBuf>) {
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
    let file = arguments.token_file.as_deref().unwrap_or(Path::new("FILE"));
    let text = format!(
        "no authority that this machine trusts vouches for the certificate of {url}; it shows {pin}"
    );
    failure(Exit::Failure, text).hint(format!(
        "compare it with the pin that kedge-hub prints at its start; only if they are the same: \
         kedge login {url} --token-file {} --pin {pin}",
        file.display()
    ))
}

fn not_known(error: HubError, url: &HubUrl) -> Failure {
    match error.reason() {
        Some(kedge_api::StatusReason::Unauthorized) => failure(
            Exit::LoginNeeded,
            format!("{url} does not know this token; nothing was stored"),
        )
        .hint("ask whoever runs the hub for a token"),
        _ => error.into_failure(),
    }
}

fn refuse_conflict(app: &App<'_>, name: &HubName, hub: &HubConfig) -> Result<(), Failure> {
    if let Some(other) = app.config.hubs.get(name)
        && other.url != hub.url
    {
        let text = format!("there is a hub `{name}` already, at {}", other.url);
        return Err(usage(text).hint("give this one another name with --name"));
    }
    if let Some(owner) = app.config.owner_of(&hub.suffix)
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

/// Bytes of a token: an ID token with many groups is a few KiB.
const TOKEN_BYTES: usize = 64 << 10;

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

    #[test]
    fn golden_untrusted() {
        let arguments = LoginArgs {
            hub: "https://hub.example".into(),
            token_file: Some("/home/a/my.token".into()),
            name: None,
            suffix: None,
            pin: None,
            ca_file: None,
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
