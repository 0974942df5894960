//! The text of the generated configuration.
//!
//! ```text
//!  Match host …, exec      learn the mapped login, then Include it     (plain `ssh web01.kedge`)
//!  Match host …, user …    go through the hub, trust its host keys
//!  Match host              what was left over has a name that must not reach a shell: refuse
//! ```
//!
//! `ssh` gives `ProxyCommand` and `Match exec` to a shell, with the host and user names put in as they
//! are (OpenSSH before 9.6 checks neither). They stand between single quotes here, which end at a `'`
//! and nowhere else; in fish also `\` means something there, and in csh `!`. So the blocks that hold
//! a name do not match a name with one of these three.

use std::fmt::Write as _;

use kedge_api::HubName;

use crate::config::{Config, HubConfig};
use crate::defaults;
use crate::ssh::options::{CIPHERS, Callback, STRICT, UnsafePath, plain};
use crate::state::HubState;

/// What may not be in a name that a shell gets between single quotes.
const NOT_QUOTABLE: &str = r"!*'*,!*\*,!*!*";

/// Renders the blocks of all hubs. `state` gives each hub's folder.
///
/// # Errors
///
/// [`UnsafePath`] when a folder's name could be read as something else.
pub fn render(
    config: &Config,
    callback: &Callback,
    state: impl Fn(&HubName) -> HubState,
) -> Result<String, UnsafePath> {
    let mut text = String::from(HEAD);
    for (name, hub) in &config.hubs {
        let logins = plain(&state(name).logins_file())?;
        block(&mut text, config, name, hub, callback, &logins);
    }
    if config.hubs.is_empty() {
        text.push_str("\n# No hub is configured: kedge login HUB\n");
    }
    Ok(text)
}

fn block(
    text: &mut String,
    config: &Config,
    name: &HubName,
    hub: &HubConfig,
    callback: &Callback,
    logins: &str,
) {
    let hosts = hosts(config, hub);
    let resolve = callback.shell(name, "ssh-config --resolve='%h'");
    let agent = callback.agent();
    let proxy = match &agent {
        Some((_, folder)) => format!("proxy --login='%r' --port='%p' {folder} -- '%h'"),
        None => "proxy --login='%r' --port='%p' -- '%h'".to_owned(),
    };
    let proxy = callback.shell(name, &proxy);
    let refuse = callback.shell(name, "proxy --refuse");
    let known_hosts = callback.direct(name, "known-hosts --login=%r -- %H");
    let mut line = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    line("");
    line(&format!(
        "# Hub {name}: {}, its servers are NAME.{}",
        hub.url, hub.suffix
    ));
    line(&format!(
        "Match host \"{hosts},{NOT_QUOTABLE}\" exec \"{resolve}\""
    ));
    line(&format!("    Include \"{logins}\""));
    line(&format!(
        "Match host \"{hosts},{NOT_QUOTABLE}\" user \"*,{NOT_QUOTABLE}\""
    ));
    line(&format!("    ProxyCommand {proxy}"));
    line(&format!("    KnownHostsCommand {known_hosts}"));
    if let Some((socket, _)) = &agent {
        line(&format!("    IdentityAgent \"{socket}\""));
    }
    for (keyword, value) in STRICT {
        line(&format!("    {keyword} {value}"));
    }
    line(&format!("    Port {}", defaults::SSH_PORT));
    line(&format!("    {} {}", CIPHERS.0, CIPHERS.1));
    line(&format!("Match host \"{hosts}\""));
    line(&format!("    ProxyCommand {refuse}"));
    line("    StrictHostKeyChecking yes");
}

/// The pattern for a hub's hosts: its suffix, but not the longer suffix of another.
fn hosts(config: &Config, hub: &HubConfig) -> String {
    let mut pattern = format!("*.{}", hub.suffix);
    for other in config.hubs.values() {
        let below = other.suffix.as_str().strip_suffix(hub.suffix.as_str());
        if below.is_some_and(|below| below.ends_with('.')) {
            let _ = write!(pattern, ",!*.{}", other.suffix);
        }
    }
    pattern
}

const HEAD: &str = "\
# For plain ssh, scp, sftp, rsync and git to servers behind kedge.
# Made by `kedge ssh-config --write`, which replaces it; put lines of your own elsewhere.
";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ffi::OsString;
    use std::path::Path;

    use kedge_tunnel::ProxyEnvironment;

    use super::*;
    use crate::cli::Globals;
    use crate::environment::Environment;

    fn config(hubs: &[(&str, &str, &str)]) -> Config {
        let hubs = hubs.iter().map(|(name, url, suffix)| {
            let hub = HubConfig {
                url: url.parse().unwrap(),
                suffix: suffix.parse().unwrap(),
                pin: None,
                ca_file: None,
            };
            (name.parse().unwrap(), hub)
        });
        Config {
            default_hub: None,
            own_agent: None,
            hubs: hubs.collect::<BTreeMap<_, _>>(),
        }
    }

    fn rendered(hubs: &[(&str, &str, &str)], globals: &Globals) -> String {
        let environment = Environment {
            home: "/home/a".into(),
            config_home: None,
            state_home: None,
            runtime_folder: None,
            own_agent: None,
            search_path: OsString::new(),
            program: "/usr/bin/kedge".into(),
            proxies: ProxyEnvironment::read(|_| None),
            desktop: crate::environment::Desktop::default(),
        };
        let folder = Path::new("/run/user/1000/kedge");
        let callback = Callback::new(&environment, globals, Some(folder)).unwrap();
        render(&config(hubs), &callback, |name| {
            HubState::new(Path::new("/home/a/.local/state/kedge"), name)
        })
        .unwrap()
    }

    #[test]
    fn golden_one_hub() {
        let text = rendered(
            &[("main", "https://hub.example", "kedge")],
            &Globals::default(),
        );
        insta::assert_snapshot!(text);
    }

    #[test]
    fn golden_two_hubs_one_suffix_below_the_other() {
        let globals = Globals {
            config: Some("/etc/a b/kedge.toml".into()),
            ..Globals::default()
        };
        let hubs = [
            ("main", "https://hub.example", "kedge"),
            ("eu", "https://eu.example:8443", "eu.kedge"),
        ];
        insta::assert_snapshot!(rendered(&hubs, &globals));
    }

    #[test]
    fn golden_no_hub() {
        insta::assert_snapshot!(rendered(&[], &Globals::default()));
    }

    #[test]
    fn a_suffix_that_only_ends_alike_is_another() {
        let text = rendered(
            &[("a", "https://a", "kedge"), ("b", "https://b", "mykedge")],
            &Globals::default(),
        );
        assert!(text.contains("Match host \"*.kedge,!*'*"), "{text}");
    }
}
