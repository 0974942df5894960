//! Completions, man pages and reference pages, made from the definition of the command line.

use std::fmt::Write as _;
use std::fs;

use kedge_service::{Failure, reference};

use crate::app::App;
use crate::cli::{self, CompletionArgs, ManArgs, ReferenceArgs, ReferencePage};
use crate::config::{Config, HubConfig};
use crate::exit::Exit;
use crate::failure::failure;

/// Runs `kedge completion`.
///
/// # Errors
///
/// When standard output is closed.
pub fn completion(app: &mut App<'_>, arguments: &CompletionArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut cli::definition(),
        "kedge",
        &mut script,
    );
    app.print(&String::from_utf8_lossy(&script))
}

/// Runs `kedge man`.
///
/// # Errors
///
/// When the folder cannot be written.
pub fn man(arguments: &ManArgs) -> Result<(), Failure> {
    let wrong = |error: std::io::Error| {
        let text = format!(
            "cannot write man pages to {}: {error}",
            arguments.folder.display()
        );
        failure(Exit::Failure, text)
    };
    fs::create_dir_all(&arguments.folder).map_err(wrong)?;
    clap_mangen::generate_to(cli::definition(), &arguments.folder).map_err(wrong)
}

/// Runs `kedge reference`.
///
/// # Errors
///
/// When standard output is closed.
pub fn print_reference(app: &mut App<'_>, arguments: &ReferenceArgs) -> Result<(), Failure> {
    let text = match arguments.page {
        ReferencePage::Cli => cli_page(),
        ReferencePage::Config => config_page(),
    };
    app.print(&text)
}

/// `docs/reference/config.toml.md`
#[must_use]
pub fn config_page() -> String {
    let page = reference::markdown(
        "config.toml",
        "The hubs a person uses: `$XDG_CONFIG_HOME/kedge/config.toml`, by default\n\
         `~/.config/kedge/config.toml`. `kedge login` writes it and keeps your comments; it can be\n\
         written by hand as well. An unknown key is refused with its line and the nearest right name.",
        &schemars::schema_for!(Config),
    );
    // The keys of a table whose name is the person's choice.
    let hub = reference::markdown("", "", &schemars::schema_for!(HubConfig));
    let hub = hub.split_once("| key").map_or("", |(_, table)| table);
    format!("{}\n\n## `[hubs.NAME]`\n\n| key{hub}", page.trim_end())
}

/// `docs/reference/cli.md`
#[must_use]
pub fn cli_page() -> String {
    let mut definition = cli::definition();
    definition.build();
    let mut page = String::from(CLI_HEAD);
    commands(&mut page, &definition, "kedge");
    page.push_str(CLI_GLOBALS);
    arguments(
        &mut page,
        definition.get_arguments().filter(|a| a.is_global_set()),
    );
    page.push_str("\n## Exit codes\n\n| code | meaning |\n|---|---|\n");
    for (exit, meaning) in Exit::ALL {
        let _ = writeln!(page, "| {} | {meaning} |", exit.code());
    }
    page.push_str(CLI_FOOT);
    page
}

fn commands(page: &mut String, command: &clap::Command, path: &str) {
    for child in command
        .get_subcommands()
        .filter(|c| !c.is_hide_set() && c.get_name() != "help")
    {
        let path = format!("{path} {}", child.get_name());
        let about = child
            .get_about()
            .map(ToString::to_string)
            .unwrap_or_default();
        let _ = write!(page, "\n## {path}\n\n{about}.\n");
        let is_command = child.get_subcommands().next().is_none()
            || child.is_args_conflicts_with_subcommands_set();
        if is_command {
            let usage = child.clone().render_usage().to_string();
            let usage = usage.trim_start_matches("Usage: ");
            let _ = write!(page, "\n```\n{usage}\n```\n");
            let own = child
                .get_arguments()
                .filter(|a| !a.is_global_set() && a.get_id() != "help");
            arguments(page, own);
            if let Some(text) = child.get_after_help() {
                let text = text.to_string();
                let (words, examples) = text.split_once("Examples:\n").unwrap_or((&text, ""));
                if !words.trim().is_empty() {
                    let _ = write!(page, "\n{}\n", words.trim());
                }
                let examples: Vec<_> = examples.lines().map(str::trim_start).collect();
                let _ = write!(page, "\n```sh\n{}\n```\n", examples.join("\n").trim_end());
            }
        }
        commands(page, child, &path);
    }
}

fn arguments<'a>(page: &mut String, arguments: impl Iterator<Item = &'a clap::Arg>) {
    let mut heading = "\n| argument | meaning |\n|---|---|\n";
    for argument in arguments.filter(|argument| !argument.is_hide_set()) {
        page.push_str(heading);
        heading = "";
        let help = argument
            .get_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        let values = argument.get_possible_values();
        let named = argument.get_action().takes_values();
        let value = argument
            .get_value_names()
            .and_then(<[_]>::first)
            .filter(|_| named);
        let value = value.map(ToString::to_string).unwrap_or_default();
        let mut name = String::new();
        if let Some(short) = argument.get_short() {
            let _ = write!(name, "-{short}, ");
        }
        match argument.get_long() {
            Some(long) if value.is_empty() => drop(write!(name, "--{long}")),
            Some(long) => drop(write!(name, "--{long} {value}")),
            None => name.push_str(&value),
        }
        let _ = write!(page, "| `{name}` | {}", help.replace('|', "\\|"));
        let shown: Vec<_> = values
            .iter()
            .filter(|_| named)
            .map(|value| format!("`{}`", value.get_name()))
            .collect();
        if !shown.is_empty() {
            let _ = write!(page, "; one of {}", shown.join(", "));
        }
        if let [default] = argument.get_default_values() {
            let _ = write!(page, " [default: {}]", default.to_string_lossy());
        }
        page.push_str(" |\n");
    }
}

const CLI_HEAD: &str = "\
# kedge

<!-- Made by `cargo xtask generate` from the program's own definition. -->

The command line of people who use servers behind a hub, and of those who run it. Every command has
`--help`; errors are one line `error: …` and, where something can be done, one line `hint: …` on
standard error.
";

const CLI_GLOBALS: &str = "\n## Options of every command\n";

const CLI_FOOT: &str = "
`kedge ssh` becomes `ssh`, so its exit status, standard input, output and error are `ssh`'s own.
When a reader closes standard output (`kedge get servers | head -1`), the status is 141, as if by
SIGPIPE.

## Files

| file | mode | what |
|---|---|---|
| `~/.config/kedge/config.toml` | 0600 | the hubs; see [config.toml](config.toml.md) |
| `~/.config/kedge/ssh_config` | 0600 | written by `kedge ssh-config --write`; see [ssh-config](ssh-config.md) |
| `~/.local/state/kedge/hubs/NAME/credentials.json` | 0600 | the login at a hub: a person's tokens, or where a workload's come from |
| `~/.local/state/kedge/hubs/NAME/credentials.lock` | 0600 | held while the login is renewed or replaced |
| `~/.local/state/kedge/hubs/NAME/token` | 0600 | the login as versions before kept it; read while there is no `credentials.json` |
| `~/.local/state/kedge/hubs/NAME/access/` | 0700 | the hub's last answers: host keys good for 30 s, logins for 10 min |
| `~/.local/state/kedge/hubs/NAME/logins.ssh_config` | 0600 | the mapped logins that plain `ssh` reads |

## How a login stays good

| way in | before each use |
|---|---|
| at an issuer | the ID token is renewed a minute before its end (one that lives for less than two minutes at half its life), by one process while the others wait; with an issuer out of reach it serves until its end |
| `--token-file` | the file is read: a mode that lets others in, or another owner than you and root, is refused; a symbolic link is followed |
| `--token-command` | what was printed serves until a minute before its `exp`; then `sh -c` runs the command again, for at most 30 s; a token without `exp` is not kept |
| a static token (`kpt_…`) | it was copied at the login, and stays as it is |

An issuer that refuses to renew a login ends it: exit code 4, and `kedge login NAME` is what helps. When the
hub does not take a token that has not ended, another is had once. When a login is no good and this machine's
clock differs from the hub's by two minutes or more, the error says so.

## Environment

| variable | what |
|---|---|
| `XDG_CONFIG_HOME`, `XDG_STATE_HOME` | where `~/.config` and `~/.local/state` are |
| `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY` | the HTTP proxy on the way to a hub, also in small letters |
| `BROWSER` | what opens the page to log in: commands separated by `:`, `%s` in each stands for the URL |
| `DISPLAY`, `WAYLAND_DISPLAY`, `SSH_CONNECTION` | whether a browser would be seen; without a display, or over SSH, a code is shown |
| `NO_COLOR` | nothing to do: no output has colours |

No secret is ever read from the environment or from an option's value.
";
