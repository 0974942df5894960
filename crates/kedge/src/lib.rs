//! The command line of kedge: what people type, and what their `ssh` calls.
//!
//! It is: a thin client of the hub's REST API ([`hub`], [`objects`], [`sessions`], [`tokens`], [`explain`]), the keeper of the
//! person's logins ([`login`], [`credentials`]), the words and files that make OpenSSH go through a hub ([`ssh`], [`ssh_config`], [`known_hosts`]), and the pipe between `ssh`
//! and the tunnel ([`proxy`]). On a server it asks the agent there ([`agent`]). It is not an SSH implementation: `ssh`, `scp` and `sftp` are the system's.
//!
//! ```text
//!  kedge ssh web01 ──exec──► ssh ──ProxyCommand──────► kedge proxy ════ hub
//!                             │ ──KnownHostsCommand──► kedge known-hosts
//!  ssh web01.kedge ──────────►│ ──Match exec─────────► kedge ssh-config --resolve
//! ```
//!
//! Everything that comes from a hub, a person or `ssh` is a checked type before it is used, and
//! printable before it is shown.

pub mod access;
pub mod advice;
pub mod agent;
pub mod app;
pub mod cli;
pub mod config;
pub mod credentials;
pub mod defaults;
pub mod environment;
pub mod exit;
pub mod explain;
pub mod failure;
pub mod generate;
pub mod host_keys;
pub mod hub;
pub mod identity_agent;
pub mod known_hosts;
pub mod login;
pub mod names;
pub mod objects;
pub mod policy;
pub mod proxy;
pub mod quoting;
pub mod sessions;
pub mod ssh;
pub mod ssh_config;
pub mod state;
pub mod tokens;
pub mod words;

use std::ffi::OsString;
use std::process::ExitCode;

use kedge_service::Failure;

use app::{App, Terminal};
use cli::Command;
use environment::Environment;
use exit::Exit;

/// Runs one command line. Returns the exit code, unless the process has become `ssh`.
pub fn run(words: Vec<OsString>, environment: &Environment, terminal: Terminal<'_>) -> ExitCode {
    let (ours, ssh_words) = cli::set_ssh_words_apart(words);
    let cli = match cli::parse(&ours) {
        Ok(cli) => cli,
        Err(error) => return refuse_line(&error, &ours, terminal),
    };
    let is_for_ssh = matches!(cli.command, Command::Ssh(_) | Command::Proxy(_));
    let Terminal {
        out,
        err,
        input,
        interactive,
    } = terminal;
    let terminal = Terminal {
        out: &mut *out,
        err: &mut *err,
        input,
        interactive,
    };
    let done = App::new(environment, cli.globals.clone(), terminal)
        .and_then(|mut app| dispatch(&mut app, cli.command, ssh_words));
    let flushed = out.flush().map_err(app::output_failed);
    match done.and(flushed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            let failed = if is_for_ssh {
                failed.code(Exit::Ssh.code())
            } else {
                failed
            };
            tell(&failed, err)
        }
    }
}

fn dispatch(app: &mut App<'_>, command: Command, ssh_words: Vec<OsString>) -> Result<(), Failure> {
    let works_without_hubs = matches!(
        command,
        Command::Agent(_)
            | Command::Completion(_)
            | Command::Login(_)
            | Command::Man(_)
            | Command::Policy(_)
            | Command::Reference(_)
    );
    if !works_without_hubs {
        app.require_named_config()?;
    }
    match command {
        Command::AcceptHostKeys(arguments) => host_keys::run(app, &arguments),
        Command::Agent(command) => agent::run(app, &command),
        Command::Apply(arguments) => objects::apply::run(app, &arguments),
        Command::Completion(arguments) => generate::completion(app, &arguments),
        Command::Delete(arguments) => objects::delete::run(app, &arguments),
        Command::Describe(arguments) => objects::describe::run(app, &arguments),
        Command::Explain(arguments) => explain::run(app, &arguments),
        Command::Get(arguments) => objects::get::run(app, &arguments),
        Command::KnownHosts(arguments) => known_hosts::run(app, &arguments),
        Command::Login(arguments) => login::run(app, &arguments),
        Command::Logout(arguments) => login::logout::run(app, &arguments),
        Command::Man(arguments) => generate::man(&arguments),
        Command::Policy(command) => policy::run(app, &command),
        Command::Proxy(arguments) => proxy::run(app, &arguments),
        Command::Reference(arguments) => generate::print_reference(app, &arguments),
        Command::Sessions(arguments) => sessions::run(app, &arguments),
        Command::Ssh(_) => Err(ssh::run::run(app, ssh_words)),
        Command::SshConfig(arguments) => ssh_config::command::run(app, &arguments),
        Command::Token(command) => tokens::run(app, &command),
        Command::Whoami(arguments) => login::whoami::run(app, &arguments),
    }
}

/// Help and version go to standard output; a line that makes no sense to standard error, in our form.
fn refuse_line(error: &clap::Error, words: &[OsString], terminal: Terminal<'_>) -> ExitCode {
    use clap::error::ErrorKind;
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            match terminal
                .out
                .write_all(text.as_bytes())
                .and_then(|()| terminal.out.flush())
            {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => tell(&app::output_failed(error), terminal.err),
            }
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = terminal.err.write_all(text.as_bytes());
            ExitCode::from(Exit::Usage.code())
        }
        _ => tell(&wrong_line(&text, words), terminal.err),
    }
}

/// clap's paragraphs as our one line and one hint.
fn wrong_line(text: &str, words: &[OsString]) -> Failure {
    let command = command_path(words);
    let exit = match command.as_str() {
        "kedge proxy" | "kedge ssh" => Exit::Ssh,
        _ => Exit::Usage,
    };
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut paragraphs = text.split("\n\n");
    let first = paragraphs.next().unwrap_or(text);
    let failed = failure::failure(exit, one_line(first.trim_start_matches("error: ")));
    let tip = paragraphs.find_map(|text| text.trim_start().strip_prefix("tip: "));
    match tip {
        Some(tip) => failed.hint(one_line(tip)),
        None => failed.hint(format!("{command} --help")),
    }
}

/// The command that is meant: as deep as the words lead.
fn command_path(words: &[OsString]) -> String {
    let definition = cli::definition();
    let mut command = &definition;
    let mut path = String::from("kedge");
    for word in words.iter().skip(1).filter_map(|word| word.to_str()) {
        if let Some(child) = command.find_subcommand(word) {
            path.push(' ');
            path.push_str(child.get_name());
            command = child;
        }
    }
    path
}

fn tell(failed: &Failure, err: &mut dyn std::io::Write) -> ExitCode {
    let unsaid = [
        app::broken_pipe(),
        explain::not_allowed(),
        ssh_config::command::silent(),
    ];
    if !unsaid.contains(failed) {
        // Nobody is left to tell when standard error is closed.
        let _ = failed.write(err);
    }
    failed.exit_code()
}
