//! `kedge accept-host-keys`: an operator looks at host keys that changed, and accepts them or not.
//!
//! Only keys that were shown are accepted: the request names their fingerprints, so a report of the
//! agent that comes in between changes nothing.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use kedge_api::rest::HostKeyAcceptance;
use kedge_api::{Fingerprint, HostKeys, Server};
use kedge_service::Failure;

use crate::app::{App, block_on};
use crate::cli::AcceptHostKeysArgs;
use crate::exit::Exit;
use crate::failure::{IntoFailure, failure, usage};

/// Runs the command.
///
/// # Errors
///
/// Nothing to accept, a fingerprint that the agent did not report, a person who says no.
pub fn run(app: &mut App<'_>, arguments: &AcceptHostKeysArgs) -> Result<(), Failure> {
    let hub = app.default_client()?;
    let name = &arguments.server;
    let object = block_on(async {
        hub.fetch(&format!("servers/{name}"))
            .await
            .map_err(IntoFailure::into_failure)
    })?;
    let server: Server = serde_json::from_value(object).map_err(|error| {
        failure(
            Exit::Failure,
            format!("the hub's answer about `{name}` cannot be read: {error}"),
        )
    })?;
    let old = &server.spec.host_keys;
    let Some(new) = server
        .status
        .observed_host_keys
        .as_ref()
        .filter(|keys| !keys.is_empty())
    else {
        return app.say(&format!(
            "The host keys of `{name}` are the pinned ones: nothing to accept."
        ));
    };
    let accept = if arguments.fingerprint.is_empty() {
        let text = comparison(name.as_str(), old, new);
        app.print(&text)?;
        confirm(app, name.as_str(), new)?
    } else {
        named(&arguments.fingerprint, name.as_str(), new)?
    };
    let acceptance = HostKeyAcceptance { accept };
    block_on(async {
        hub.accept_host_keys(name, &acceptance)
            .await
            .map_err(IntoFailure::into_failure)
    })?;
    app.state(hub.name()).forget_server(name);
    let count = acceptance.accept.len();
    let keys = if count == 1 { "key" } else { "keys" };
    app.say(&format!("Accepted {count} {keys} of `{name}`."))
}

/// Old and new keys, one under the other, what is in both marked so.
fn comparison(name: &str, old: &HostKeys, new: &HostKeys) -> String {
    let mut text = format!("Host keys of `{name}`:\n");
    for key in old {
        let mark = if new.contains(key) { ' ' } else { '-' };
        let _ = writeln!(text, "  {mark} {} {}", key.fingerprint(), key.algorithm());
    }
    for key in new.iter().filter(|key| !old.contains(key)) {
        let _ = writeln!(text, "  + {} {}", key.fingerprint(), key.algorithm());
    }
    text
}

fn confirm(
    app: &mut App<'_>,
    name: &str,
    new: &HostKeys,
) -> Result<BTreeSet<Fingerprint>, Failure> {
    let all: BTreeSet<_> = new.iter().map(kedge_api::HostKey::fingerprint).collect();
    if !app.terminal.interactive {
        let flags: Vec<_> = all
            .iter()
            .map(|print| format!("--fingerprint {print}"))
            .collect();
        return Err(failure(
            Exit::Failure,
            "nobody is here to be asked; nothing was accepted",
        )
        .hint(format!("kedge accept-host-keys {name} {}", flags.join(" "))));
    }
    app.print(
        "Compare them with the server itself: ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub\n\
         Trust exactly the new keys from now on? Type yes: ",
    )?;
    let mut answer = String::new();
    let read = app.terminal.input.read_line(&mut answer);
    match read {
        Ok(_) if answer.trim() == "yes" => Ok(all),
        _ => Err(failure(Exit::Failure, "nothing was accepted")),
    }
}

fn named(
    asked: &[Fingerprint],
    name: &str,
    new: &HostKeys,
) -> Result<BTreeSet<Fingerprint>, Failure> {
    let known: BTreeSet<_> = new.iter().map(kedge_api::HostKey::fingerprint).collect();
    match asked.iter().find(|print| !known.contains(print)) {
        Some(unknown) => Err(
            usage(format!("`{name}` reports no host key {unknown}")).hint(format!(
                "kedge accept-host-keys {name} shows those it reports"
            )),
        ),
        None => Ok(asked.iter().copied().collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> HostKeys {
        use base64::Engine;
        let key = |byte: u8| {
            let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
            blob.extend([byte; 32]);
            let text = base64::engine::general_purpose::STANDARD.encode(blob);
            format!("ssh-ed25519 {text}").parse().unwrap()
        };
        HostKeys::new(bytes.iter().map(|byte| key(*byte))).unwrap()
    }

    #[test]
    fn old_and_new_are_told_apart() {
        insta::assert_snapshot!(comparison("web01", &keys(&[1, 2]), &keys(&[2, 3])));
    }

    #[test]
    fn only_reported_keys_can_be_named() {
        let new = keys(&[2, 3]);
        let print = |byte| keys(&[byte]).iter().next().unwrap().fingerprint();
        assert_eq!(
            named(&[print(2)], "web01", &new).unwrap(),
            BTreeSet::from([print(2)])
        );
        assert!(named(&[print(2), print(1)], "web01", &new).is_err());
    }
}
