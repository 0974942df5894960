//! `kedge ssh`: asks the hub how, then becomes `ssh`.
//!
//! Becomes: `execvp` replaces this process, so standard input, output, error, signals, terminal and
//! exit status are `ssh`'s own.

use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::process::Command;

use kedge_api::Login;
use kedge_api::text::Printable;
use kedge_service::Failure;
use kedge_service::report::chain;

use super::arguments::SshArguments;
use super::options::{CIPHERS, Callback, INJECTED, STRICT};
use crate::access::{self, AccessError, Mapped};
use crate::app::{App, block_on};
use crate::defaults;
use crate::exit::Exit;
use crate::failure::{IntoFailure, failure};
use crate::login;
use crate::names::{self, Place};

/// Becomes `ssh`. Returns only when that failed; the exit code is then 255 in any case.
pub fn run(app: &mut App<'_>, words: Vec<OsString>) -> Failure {
    let arguments = match plan(app, words) {
        Ok(arguments) => arguments,
        Err(failed) => return failed.code(Exit::Ssh.code()),
    };
    let error = Command::new("ssh").args(arguments).exec();
    failure(Exit::Ssh, format!("cannot run ssh: {error}")).hint("install OpenSSH's client")
}

/// The words that follow `ssh`.
///
/// # Errors
///
/// Words that `ssh` would not understand, a name that is none, or a hub that refuses.
pub fn plan(app: &mut App<'_>, words: Vec<OsString>) -> Result<Vec<OsString>, Failure> {
    let parsed = SshArguments::parse(words.iter().cloned()).map_err(|error| {
        failure(Exit::Ssh, Printable::new(&error.to_string()).to_string()).hint("kedge ssh --help")
    })?;
    let Some(destination) = &parsed.destination else {
        // `ssh -V` and `ssh -Q cipher` talk about ssh itself.
        if parsed.has('V') || parsed.has('Q') {
            return Ok(words);
        }
        return Err(failure(Exit::Ssh, "no server was named").hint("kedge get servers"));
    };
    refuse_detours(&parsed)?;
    let place = app.place(&destination.host.to_string_lossy())?;
    let asked = match parsed.login() {
        Some(text) => names::login(&text).map_err(IntoFailure::into_failure)?,
        None => None,
    };
    let learned = block_on(async { Ok(learn_login(app, &place, asked.as_ref()).await) })?;
    let (place, login) = match learned {
        Ok(login) => (place, login),
        Err(AccessError::Hub(error)) if error.needs_login() && can_ask(app, &parsed, &place) => {
            let why = chain(&error);
            let (name, hub) = (place.hub_name.clone(), place.hub.clone());
            app.note(&Printable::new(&why).to_string());
            login::again(app, &name, &hub)?;
            let place = app.place(&destination.host.to_string_lossy())?;
            let again = login::interruptible(async {
                let again = learn_login(app, &place, asked.as_ref()).await;
                again.map_err(AccessError::into_failure)
            });
            let login = block_on(again)?;
            (place, login)
        }
        Err(error) => return Err(error.into_failure()),
    };
    let folder = app.agent_folder();
    let callback = Callback::new(app.environment, &app.globals, folder.as_deref())
        .map_err(|error| failure(Exit::Ssh, error.to_string()))?;
    if login.injected && callback.agent().is_none() {
        let text = format!(
            "cannot offer the key of `{}` to ssh: the path of the folder for its socket is too long",
            place.server
        );
        return Err(
            failure(Exit::Ssh, text).hint("set XDG_RUNTIME_DIR to a folder with a short path")
        );
    }
    Ok(assemble(&parsed, &place, &login, &callback))
}

async fn learn_login(
    app: &App<'_>,
    place: &Place<'_>,
    asked: Option<&Login>,
) -> Result<Mapped, AccessError> {
    match asked {
        Some(login) => access::as_login(app, place, login).await,
        None => access::mapped(app, place, defaults::REQUEST_TIME).await,
    }
}

/// Whether somebody sits there who can log in now: Ansible and cron are to hear at once that nobody
/// is logged in.
fn can_ask(app: &App<'_>, parsed: &SshArguments, place: &Place<'_>) -> bool {
    let is_batch = parsed
        .keywords()
        .any(|(keyword, value)| keyword == "batchmode" && value.eq_ignore_ascii_case("yes"));
    app.terminal.interactive
        && std::io::stderr().is_terminal()
        && !is_batch
        && login::can_log_in_again(app, place)
}

/// Options that would lead around the hub, which a person should hear of rather than wonder about.
fn refuse_detours(parsed: &SshArguments) -> Result<(), Failure> {
    if parsed.has('J') {
        let text = "-J cannot be used with kedge ssh: the hub is the way in";
        return Err(failure(Exit::Ssh, text).hint(
            "to go on from a server: ssh -J NAME.SUFFIX HOST, after kedge ssh-config --write",
        ));
    }
    for (keyword, value) in parsed.keywords() {
        let meant = match keyword.as_str() {
            "proxycommand" | "proxyjump" => !value.eq_ignore_ascii_case("none"),
            "hostname" => true,
            _ => false,
        };
        if meant {
            let text = format!("-o {keyword} cannot be used with kedge ssh: the hub is the way in");
            return Err(failure(Exit::Ssh, text).hint("use ssh itself for other ways"));
        }
    }
    let port = parsed.value('p').map(OsStr::to_owned);
    let port = port.or_else(|| parsed.destination.as_ref()?.port.clone());
    let port = port.or_else(|| {
        parsed
            .keywords()
            .find(|(keyword, _)| keyword == "port")
            .map(|(_, value)| value.into())
    });
    match port {
        Some(port) => check_port(&port),
        None => Ok(()),
    }
}

/// Which sshd a session reaches is the agent's choice; another port would be ignored silently.
///
/// # Errors
///
/// For any port but 22.
pub fn check_port(port: &OsStr) -> Result<(), Failure> {
    let text = port.to_string_lossy();
    if text == defaults::SSH_PORT.to_string() || text.is_empty() {
        return Ok(());
    }
    let text = format!("port {} cannot be asked for", Printable::new(&text));
    Err(failure(Exit::Ssh, text)
        .hint("leave the port out; the server's agent.toml says which sshd it leads to"))
}

fn assemble(
    parsed: &SshArguments,
    place: &Place<'_>,
    mapped: &Mapped,
    callback: &Callback,
) -> Vec<OsString> {
    let hub = place.hub_name;
    let host = place.host();
    // Names and logins are types here that no shell can misread.
    let login = &mapped.login;
    let agent = callback.agent();
    let folder = agent.as_ref().map(|(_, folder)| format!("{folder} "));
    let folder = folder.unwrap_or_default();
    let proxy = callback.shell(hub, &format!("proxy --login='{login}' {folder}-- '{host}'"));
    let known_hosts = callback.direct(hub, &format!("known-hosts --login={login} -- {host}"));
    let mut words = Vec::new();
    let mut option = |keyword: &str, value: &str| {
        words.push(OsString::from("-o"));
        words.push(OsString::from(format!("{keyword}={value}")));
    };
    // First come, first served: what stands before the person's options cannot be changed by them.
    option("ProxyCommand", &proxy);
    option("KnownHostsCommand", &known_hosts);
    option("User", login.as_str());
    option("HostName", &host);
    option("Port", &defaults::SSH_PORT.to_string());
    let (injected, socket) = match (&agent, mapped.injected) {
        (Some((socket, _)), true) => (INJECTED, Some(socket)),
        _ => (&[][..], None),
    };
    let socket = socket.map(|socket| ("IdentityAgent", socket.as_str()));
    for (keyword, value) in STRICT.iter().chain(injected).copied().chain(socket) {
        option(keyword, value);
    }
    words.extend(parsed.option_words());
    let mut preference = |(keyword, value): (&str, &str)| {
        words.push(OsString::from("-o"));
        words.push(OsString::from(format!("{keyword}={value}")));
    };
    preference(CIPHERS);
    // Where the hub signs, ours counts, above; elsewhere a person may name an agent of their own.
    if let Some((socket, _)) = &agent
        && !mapped.injected
    {
        preference(("IdentityAgent", socket));
    }
    words.push(OsString::from("--"));
    words.push(OsString::from(host));
    words.extend(parsed.command.iter().cloned());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detour(line: &[&str]) -> Option<String> {
        let parsed = SshArguments::parse(line.iter().map(OsString::from)).unwrap();
        refuse_detours(&parsed).err().map(|failed| {
            let mut out = Vec::new();
            failed.write(&mut out).unwrap();
            String::from_utf8(out).unwrap()
        })
    }

    #[test]
    fn ways_around_the_hub_are_refused() {
        for line in [
            &["-J", "jump", "web01"][..],
            &["-oProxyCommand=nc", "web01"],
            &["-o", "proxyjump x", "web01"],
            &["-o", "HostName=10.0.0.1", "web01"],
            &["-p", "2222", "web01"],
            &["-oPort=2222", "web01"],
            &["ssh://web01:2222"],
        ] {
            assert!(
                detour(line).is_some_and(|text| text.contains("hint: ")),
                "{line:?}"
            );
        }
        for line in [
            &["-p22", "web01"][..],
            &["-o", "ProxyCommand=none", "web01"],
            &["-oStrictHostKeyChecking=no", "web01"],
            &["ssh://web01:22"],
        ] {
            assert_eq!(detour(line), None, "{line:?}");
        }
    }
}
