//! `kedge token`: how servers get in.

use std::time::Duration;

use jiff::Timestamp;
use kedge_api::resources::IssuedJoinToken;
use kedge_api::text::Printable;
use kedge_api::{HubUrl, JoinToken, JoinTokenName, LabelKey, LabelValue, Resource, Time, random};
use kedge_service::Failure;

use crate::app::{App, block_on};
use crate::cli::{
    DataFormat, DeleteArgs, GetArgs, TokenCommand, TokenCreateArgs, TokenListArgs, TokenRevokeArgs,
};
use crate::defaults;
use crate::exit::Exit;
use crate::failure::{IntoFailure, failure, usage};
use crate::objects::{delete, get, print};

/// Runs the command.
///
/// # Errors
///
/// Whatever the hub refuses, and values that make no sense.
pub fn run(app: &mut App<'_>, command: &TokenCommand) -> Result<(), Failure> {
    match command {
        TokenCommand::Create(arguments) => create(app, arguments),
        TokenCommand::List(arguments) => list(app, arguments),
        TokenCommand::Revoke(arguments) => revoke(app, arguments),
    }
}

fn create(app: &mut App<'_>, arguments: &TokenCreateArgs) -> Result<(), Failure> {
    let token = requested(arguments, app.now())?;
    let body = serde_json::to_value(&token).unwrap_or_default();
    let (_, config) = app.chosen_hub()?;
    let (url, pin) = (config.url.clone(), config.pin);
    let (is_default_trust, ca_file) = (pin.is_none(), config.ca_file.clone());
    let hub = app.default_client()?;
    let (answer, pin) = block_on(async {
        let answer = hub
            .create(JoinToken::PLURAL, &body)
            .await
            .map_err(IntoFailure::into_failure)?;
        let pin = match pin {
            Some(pin) => Some(pin.0.to_string()),
            // A hub that made its own certificate says so; agents need its pin even when this
            // machine trusts it another way.
            None if is_default_trust && url.is_tls() => hub
                .discover()
                .await
                .ok()
                .and_then(|said| said.certificate_pin),
            None => None,
        };
        Ok((answer, pin))
    })?;
    let issued = IssuedJoinToken::from_json(&answer).map_err(|error| {
        failure(
            Exit::Failure,
            format!("the hub's answer cannot be read: {error}"),
        )
    })?;
    if let Some(format) = arguments.output {
        let value = issued.to_json().unwrap_or_default();
        let text = match format {
            DataFormat::Json => print::json(&value),
            DataFormat::Yaml => print::yaml(&value)?,
        };
        return app.print(&text);
    }
    let line = join_line(&url, &issued, pin.as_deref());
    app.say(&line)?;
    let spec = &issued.object.spec;
    let servers = if spec.uses == 1 {
        "1 server".to_owned()
    } else {
        format!("{} servers", spec.uses)
    };
    let until = spec
        .expires_at
        .map(|end| format!(" until {end}"))
        .unwrap_or_default();
    app.note(&format!(
        "Run this as root on the server. Good for {servers}{until}; shown this once."
    ));
    if pin.is_none()
        && let Some(file) = ca_file
    {
        app.note(&format!(
            "The server must trust {} too: --ca-file.",
            file.display()
        ));
    }
    Ok(())
}

fn list(app: &mut App<'_>, arguments: &TokenListArgs) -> Result<(), Failure> {
    let arguments = GetArgs {
        objects: vec![JoinToken::PLURAL.to_owned()],
        output: arguments.output,
        selector: None,
        watch: false,
        no_headers: false,
    };
    get::run(app, &arguments)
}

fn revoke(app: &mut App<'_>, arguments: &TokenRevokeArgs) -> Result<(), Failure> {
    let objects = arguments
        .names
        .iter()
        .map(|name| format!("{}/{name}", JoinToken::SINGULAR));
    let arguments = DeleteArgs {
        objects: objects.collect(),
        filename: Vec::new(),
        selector: None,
        ignore_not_found: false,
    };
    delete::run(app, &arguments)
}

fn requested(arguments: &TokenCreateArgs, now: Timestamp) -> Result<JoinToken, Failure> {
    let name = JoinTokenName::from_bytes(
        random::bytes().map_err(|error| failure(Exit::Failure, error.to_string()))?,
    );
    let mut token = JoinToken::new(name.into(), Default::default());
    token.spec.uses = arguments.uses;
    token.spec.server_name.clone_from(&arguments.server);
    let life = lifetime(&arguments.ttl)?;
    if arguments.ttl != defaults::TOKEN_TIME {
        // The hub fills in its own default by its own clock, which is the one that counts.
        // Times are whole seconds, cut off: one more, so that it is good for as long as was asked.
        let life = life.saturating_add(Duration::from_secs(1));
        token.spec.expires_at = Some(Time::from(now).saturating_add(life));
    }
    for label in &arguments.label {
        let (key, value) = label.split_once('=').ok_or_else(|| {
            usage(format!(
                "label `{}` is not KEY=VALUE",
                Printable::new(label)
            ))
        })?;
        let key: LabelKey = key.parse().map_err(IntoFailure::into_failure)?;
        let value: LabelValue = value.parse().map_err(IntoFailure::into_failure)?;
        token.spec.labels.insert(key, value);
    }
    Ok(token)
}

/// Reads `30m`, `1h30m`, `2d`.
///
/// # Errors
///
/// Anything else.
pub(crate) fn lifetime(text: &str) -> Result<Duration, Failure> {
    let wrong =
        || usage(format!("`{}` is no time", Printable::new(text))).hint("such as 30m, 1h30m or 2d");
    let mut seconds = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (digits, after) = rest.split_at(end);
        let unit = match after.chars().next() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 86_400,
            _ => return Err(wrong()),
        };
        let count: u64 = digits.parse().map_err(|_| wrong())?;
        seconds = count
            .checked_mul(unit)
            .and_then(|n| n.checked_add(seconds))
            .ok_or_else(wrong)?;
        rest = after.get(1..).unwrap_or_default();
    }
    if seconds == 0 {
        Err(wrong())
    } else {
        Ok(Duration::from_secs(seconds))
    }
}

/// The command that joins a server. Everything in it is of types that a shell cannot misread.
fn join_line(url: &HubUrl, issued: &IssuedJoinToken, pin: Option<&str>) -> String {
    let mut line = format!("kedge-agent join {url} --token {}", issued.secret.reveal());
    if let Some(name) = &issued.object.spec.server_name {
        line.push_str(&format!(" --name {name}"));
    }
    // The hub's word: only what is a pin goes onto a command line.
    if let Some(pin) = pin.and_then(|text| text.parse::<kedge_tunnel::CertificatePin>().ok()) {
        line.push_str(&format!(" --pin {pin}"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use kedge_api::JoinTokenSecret;

    #[test]
    fn lifetimes() {
        let seconds = |text: &str| lifetime(text).ok().map(|life| life.as_secs());
        assert_eq!(seconds("30m"), Some(1800));
        assert_eq!(seconds("1h30m"), Some(5400));
        assert_eq!(seconds("2d"), Some(172_800));
        for wrong in [
            "",
            "0s",
            "1",
            "h",
            "1y",
            "-1h",
            "1h ",
            "99999999999999999999h",
            "1.5h",
        ] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_join_line_is_whole() {
        let name = JoinTokenName::from_bytes([0; 10]);
        let secret = JoinTokenSecret::from_parts(name.clone(), &[7; 32]);
        let mut object = JoinToken::new(name.into(), Default::default());
        object.spec.server_name = Some("web01".parse().unwrap());
        let issued = IssuedJoinToken { object, secret };
        let url = "https://hub.example:8443".parse().unwrap();
        let pin = kedge_tunnel::CertificatePin::of(b"x").to_string();
        let line = join_line(&url, &issued, Some(&pin));
        let expected = format!(
            "kedge-agent join https://hub.example:8443 --token {} --name web01 --pin {pin}",
            issued.secret.reveal()
        );
        assert_eq!(line, expected);
        // What is no pin does not reach the command line.
        assert!(!join_line(&url, &issued, Some("x; rm -rf /")).contains("rm"));
    }
}
