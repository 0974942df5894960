//! The command line's shape and its help. Man pages, completions and the reference page come from it.

mod agent;
mod login;
mod objects;
mod pages;
mod policy;
mod sessions;
mod ssh;
mod token;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use kedge_api::HubName;

pub use agent::{AgentCommand, AgentReloadArgs, AgentSocket, AgentStatusArgs, AgentWaitArgs};
pub use login::{LoginArgs, LogoutArgs, WhoamiArgs};
pub use objects::{
    AcceptHostKeysArgs, ApplyArgs, DataFormat, DeleteArgs, DescribeArgs, GetArgs, OutputFormat,
};
pub use pages::{CompletionArgs, ManArgs, ReferenceArgs, ReferencePage};
pub use policy::{ExplainArgs, PolicyCommand, PolicyTestArgs};
pub use sessions::{SessionsArgs, SessionsCommand, SessionsKillArgs};
pub use ssh::{KnownHostsArgs, ProxyArgs, SshArgs, SshConfigArgs};
pub use token::{TokenCommand, TokenCreateArgs, TokenListArgs, TokenRevokeArgs};

/// SSH to any server, through one hub, with the OpenSSH that is installed.
///
/// Log in once at a hub; then `kedge ssh NAME`, or, after `kedge ssh-config --write`, plain
/// `ssh NAME.SUFFIX`, `scp`, `sftp`, `rsync`, `git` and Ansible.
#[derive(Debug, Parser)]
#[command(
    name = "kedge",
    version,
    after_help = "Examples:\n  \
        kedge login https://hub.example\n  \
        kedge get servers\n  \
        kedge ssh web01\n  \
        kedge ssh-config --write && ssh web01.kedge",
    max_term_width = 100,
    propagate_version = false,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// As much of [`Cli`] as `ssh` needs, which starts this program several times for one session: a definition
/// of all commands takes longer to make than what is done here.
#[derive(Debug, Parser)]
#[command(name = "kedge", subcommand_required = true)]
struct FromSsh {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: SshCommand,
}

/// The commands that stand in a configuration of `ssh`.
#[derive(Debug, Subcommand)]
enum SshCommand {
    KnownHosts(KnownHostsArgs),
    Proxy(ProxyArgs),
    SshConfig(SshConfigArgs),
}

impl From<FromSsh> for Cli {
    fn from(FromSsh { globals, command }: FromSsh) -> Self {
        let command = match command {
            SshCommand::KnownHosts(arguments) => Command::KnownHosts(arguments),
            SshCommand::Proxy(arguments) => Command::Proxy(arguments),
            SshCommand::SshConfig(arguments) => Command::SshConfig(arguments),
        };
        Self { globals, command }
    }
}

/// Options of every command.
#[derive(Args, Clone, Debug, Default)]
pub struct Globals {
    /// The hub meant, by its name in the configuration [default: `default-hub` there]
    #[arg(
        id = "global_hub",
        long = "hub",
        global = true,
        value_name = "NAME",
        help_heading = "Global options"
    )]
    pub hub: Option<HubName>,
    /// The configuration [default: ~/.config/kedge/config.toml]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Global options"
    )]
    pub config: Option<PathBuf>,
    /// Where logins are kept [default: ~/.local/state/kedge]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        help_heading = "Global options"
    )]
    pub state_dir: Option<PathBuf>,
}

/// What `kedge` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Log in at a hub and remember it
    #[command(
        after_help = "The browser opens at the issuer that the hub names; where there is none to be seen, a code is\n\
        shown that is entered on any other device. $BROWSER says which browser, as elsewhere. The login\n\
        is renewed by itself for as long as the issuer allows.\n\n\
        Programs log in with a token that somebody else makes. A token file is read again at each use,\n\
        and may be a link; it must be yours or root's, and readable by you alone. A hub's own static\n\
        token (kpt_…) is copied. A token command is run by `sh -c` when a token is needed, and what it\n\
        prints serves until a minute before its end.\n\n\
        Examples:\n  \
        kedge login https://hub.example\n  \
        kedge login https://hub.example --device\n  \
        kedge login main                                              # again\n  \
        kedge login main --issuer partners --reauthenticate\n  \
        kedge login https://10.0.0.5:8443 --pin sha256:…              # self-signed\n  \
        kedge login https://hub.example --token-file /run/secrets/token\n  \
        kedge login https://hub.example --token-command 'pass show kedge'\n  \
        kedge login https://hub.example --token-command \\\n    \
        'cat /var/run/secrets/kedge/token'                          # in a pod"
    )]
    Login(LoginArgs),
    /// Forget the login at a hub
    #[command(
        after_help = "Its files are removed. Then the issuer of the login, where there is one, is asked to revoke the\n\
        refresh token, so that a copy of it is worth nothing either. An issuer that does not do so within\n\
        5 seconds is named with the reason; the login is forgotten all the same.\n\n\
        Examples:\n  \
        kedge logout\n  \
        kedge logout main"
    )]
    Logout(LogoutArgs),
    /// Show who the hub takes you for
    #[command(after_help = "Examples:\n  \
        kedge whoami\n  \
        kedge whoami --server web01\n  \
        kedge whoami -o json")]
    Whoami(WhoamiArgs),
    /// Open an SSH session to a server with the system's ssh
    #[command(
        override_usage = "kedge ssh [OPTIONS] [SSH OPTIONS] [LOGIN@]NAME [COMMAND]…",
        after_help = "All of ssh's own options are passed on, as in `ssh -L 8080:localhost:80 -N web01.kedge`.\n\
        NAME is a server's name, with or without its hub's suffix. The exit status is the remote\n\
        command's; 255 means that kedge or ssh failed, with the reason on standard error.\n\n\
        Examples:\n  \
        kedge ssh web01\n  \
        kedge ssh deploy@web01 systemctl status nginx\n  \
        kedge ssh -N -L 5432:localhost:5432 db01\n  \
        tar c . | kedge ssh web01 tar x"
    )]
    Ssh(SshArgs),
    /// Carry one SSH connection over standard input and output (ssh's ProxyCommand)
    #[command(
        after_help = "`kedge ssh-config` writes this line, and the ones about host keys that belong to it.\n\n\
        Examples:\n  \
        ssh -o ProxyCommand='kedge proxy web01' web01"
    )]
    Proxy(ProxyArgs),
    /// Print a server's pinned host keys (ssh's KnownHostsCommand)
    #[command(after_help = "Examples:\n  kedge known-hosts web01.kedge")]
    KnownHosts(KnownHostsArgs),
    /// Print or install the configuration for plain ssh, scp, rsync, git and Ansible
    #[command(after_help = "Examples:\n  \
        kedge ssh-config                  # look at it\n  \
        kedge ssh-config --write --diff   # install it, and show what changed\n  \
        ssh web01.kedge")]
    SshConfig(SshConfigArgs),
    /// Show objects: servers, accesspolicies, jointokens, sessions
    #[command(after_help = "Examples:\n  \
        kedge get servers\n  \
        kedge get servers -l env=prod -o wide\n  \
        kedge get server web01 -o yaml\n  \
        kedge get servers --watch")]
    Get(GetArgs),
    /// Show the sessions that live, and end them
    #[command(
        after_help = "You see your own; whoever has the right to `list` `sessions` sees everybody's. RTT is the last\n\
        measured round trip from the person over the hub to the server's agent. With --watch, a session\n\
        is printed when it begins, when its state changes, and, with the state Ended, when it is over.\n\n\
        Examples:\n  \
        kedge sessions\n  \
        kedge sessions --watch\n  \
        kedge sessions -o json\n  \
        kedge sessions kill s-4qz7"
    )]
    Sessions(SessionsArgs),
    /// Show objects in full, for people
    #[command(
        after_help = "Examples:\n  kedge describe server web01\n  kedge describe policy/developers"
    )]
    Describe(DescribeArgs),
    /// Create or change objects from files
    #[command(
        after_help = "What a file does not mention stays as it is; a field that is null is removed.\n\
        A file with a resourceVersion, as `kedge get -o yaml` prints it, changes that version only.\n\n\
        Examples:\n  \
        kedge apply -f policy.yaml\n  \
        kedge get server web01 -o yaml | sed 's/env: test/env: prod/' | kedge apply -f -"
    )]
    Apply(ApplyArgs),
    /// Delete objects
    #[command(after_help = "Examples:\n  \
        kedge delete server web01\n  \
        kedge delete policy/developers policy/guests\n  \
        kedge delete servers -l env=test\n  \
        kedge delete -f policy.yaml")]
    Delete(DeleteArgs),
    /// Accept host keys of a server that changed
    #[command(
        after_help = "Without --fingerprint it shows the old and the new keys, and asks. Compare them with what the\n\
        server itself says: ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub\n\n\
        Examples:\n  \
        kedge accept-host-keys web01\n  \
        kedge accept-host-keys web01 --fingerprint SHA256:…"
    )]
    AcceptHostKeys(AcceptHostKeysArgs),
    /// Say why somebody may reach a server, or may not, and try policies out on what was
    #[command(
        override_usage = "kedge explain [OPTIONS] USER PERMISSION [LOGIN@]NAME\n       \
        kedge explain --since TIME --with FILE… [--without NAME…] [-o FORMAT]",
        after_help = "The hub asks its policies by the code that decides. What is not given it takes from what it knows of\n\
        the person: its configuration, or their last session; the answer says which is which. Everybody\n\
        may ask about themselves, and administrators about everybody. Exits with 5 when they may not.\n\n\
        With --since, it tries policies out on the sessions that were, and lists those that would have\n\
        been refused, and the refusals that would have been sessions. Nothing is changed by it.\n\n\
        Examples:\n  \
        kedge explain alice ssh web01\n  \
        kedge explain alice ssh deploy@web01 --at 2026-12-24T18:00:00Z --source 203.0.113.9\n  \
        kedge explain newcomer ssh web01 --groups dev,ops --claim preferred_username=newcomer\n  \
        kedge explain --since 7d --with new-policy.yaml\n  \
        kedge explain --since 7d --without contractors"
    )]
    Explain(ExplainArgs),
    /// Test policies
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Make, list and revoke the tokens with which servers join
    #[command(subcommand)]
    Token(TokenCommand),
    /// Look after the agent that makes this machine a server
    #[command(subcommand)]
    Agent(AgentCommand),
    /// Print a shell's completion script
    #[command(after_help = "Examples:\n  \
        kedge completion bash > ~/.local/share/bash-completion/completions/kedge\n  \
        kedge completion zsh > ~/.zfunc/_kedge\n  \
        kedge completion fish > ~/.config/fish/completions/kedge.fish")]
    Completion(CompletionArgs),
    /// Write the man pages into a folder
    #[command(hide = true)]
    Man(ManArgs),
    /// Print the reference page of the command line
    #[command(hide = true)]
    Reference(ReferenceArgs),
}

/// The command line of a program, with the words of `kedge ssh` set apart.
///
/// They are `ssh`'s, not ours: `-V`, `--` and the rest must reach it as they were typed.
#[must_use]
pub fn set_ssh_words_apart(words: Vec<OsString>) -> (Vec<OsString>, Vec<OsString>) {
    let valued = ["--hub", "--config", "--state-dir"];
    let mut index = 1;
    let mut is_ssh = false;
    while let Some(word) = words.get(index) {
        if valued.iter().any(|option| word == option) {
            index += 2;
        } else if word.to_str().is_some_and(|text| {
            valued.iter().any(|option| {
                text.strip_prefix(option)
                    .is_some_and(|rest| rest.starts_with('='))
            }) || (is_ssh && matches!(text, "-h" | "--help"))
        }) {
            index += 1;
        } else if word == "ssh" && !is_ssh {
            is_ssh = true;
            index += 1;
        } else {
            break;
        }
    }
    let mut ours = words;
    let theirs = if is_ssh && index < ours.len() {
        ours.split_off(index)
    } else {
        Vec::new()
    };
    (ours, theirs)
}

/// Reads a command line.
///
/// # Errors
///
/// What clap says of words that make no sense, and of those that ask for help.
pub fn parse(words: &[OsString]) -> Result<Cli, clap::Error> {
    // What the smaller definition takes, the whole one takes in the same way; what is wrong, only the
    // whole one can say.
    if let Ok(ours) = FromSsh::try_parse_from(words) {
        return Ok(ours.into());
    }
    let matches = definition()
        .color(clap::ColorChoice::Never)
        .try_get_matches_from(words)?;
    Cli::from_arg_matches(&matches)
}

/// The definition, for what is generated from it.
#[must_use]
pub fn definition() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apart(line: &str) -> (String, String) {
        let words = line.split(' ').map(OsString::from).collect();
        let (ours, theirs) = set_ssh_words_apart(words);
        let text = |words: &[OsString]| {
            words
                .iter()
                .map(|word| word.to_string_lossy())
                .collect::<Vec<_>>()
                .join(" ")
        };
        (text(&ours), text(&theirs))
    }

    #[test]
    fn the_definition_is_sound() {
        definition().debug_assert();
    }

    #[test]
    fn the_smaller_definition_reads_as_the_whole_one_does() {
        let mut taken = 0;
        for line in LINES {
            let words: Vec<_> = line.split(' ').map(OsString::from).collect();
            let whole = Cli::try_parse_from(&words);
            if let Ok(smaller) = FromSsh::try_parse_from(&words) {
                taken += 1;
                let (smaller, whole) = (Cli::from(smaller), whole.unwrap());
                assert_eq!(format!("{smaller:?}"), format!("{whole:?}"), "{line}");
            }
            // What is said of a mistake, and of a wish for help, is the whole one's.
            let said = |parsed: Result<Cli, clap::Error>| match parsed {
                Ok(cli) => format!("{cli:?}"),
                Err(error) => error.render().to_string(),
            };
            let whole = definition()
                .color(clap::ColorChoice::Never)
                .try_get_matches_from(&words)
                .and_then(|matches| Cli::from_arg_matches(&matches));
            assert_eq!(said(parse(&words)), said(whole), "{line}");
        }
        assert_eq!(
            taken,
            LINES.len() - NOT_FOR_SSH,
            "the others are for the whole one"
        );
    }

    /// Whatever `ssh` puts into a line: nothing that the smaller definition takes means something else, or nothing, to
    /// the whole one.
    #[test]
    fn no_words_at_all_are_read_otherwise_by_the_smaller_definition() {
        use std::os::unix::ffi::OsStringExt;
        let mut words: Vec<OsString> = WORDS.iter().map(OsString::from).collect();
        words.push(OsString::from_vec(b"\xff--login".to_vec()));
        let (mut taken, mut refused) = (0, 0);
        for first in ["", "proxy", "known-hosts", "ssh-config"] {
            for number in 0..words.len().pow(3) {
                let mut line = vec![OsString::from("kedge")];
                line.extend((!first.is_empty()).then(|| first.into()));
                let nth = |power| words[number / words.len().pow(power) % words.len()].clone();
                line.extend((0..3).map(nth));
                let Ok(smaller) = FromSsh::try_parse_from(&line) else {
                    refused += 1;
                    continue;
                };
                taken += 1;
                let whole = Cli::try_parse_from(&line);
                let whole = whole.unwrap_or_else(|error| panic!("{line:?}: {error}"));
                assert_eq!(
                    format!("{:?}", Cli::from(smaller)),
                    format!("{whole:?}"),
                    "{line:?}"
                );
            }
        }
        assert!(taken > 100 && refused > 100, "{taken} and {refused}");
    }

    const WORDS: &[&str] = &[
        "",
        "-",
        "--",
        "--help",
        "--hub",
        "--hub=a",
        "--login",
        "--lo",
        "--refuse",
        "--resolve=-V",
        "-V",
        "help",
        "proxy",
        "web01",
    ];

    /// How many of [`LINES`] the smaller definition does not take.
    const NOT_FOR_SSH: usize = 16;

    const LINES: &[&str] = &[
        "/bin/kedge --config /a/b.toml --state-dir /s --hub main ssh-config --resolve=web01.kedge",
        "kedge --hub main proxy --login=alice --port=22 -- web01.kedge",
        "kedge --hub main proxy --login= --port=22 -- -oProxyCommand=x",
        "kedge --hub main proxy --refuse",
        "kedge --hub main known-hosts --login=-x -- [web01.kedge]:2222",
        "kedge known-hosts web01 --hub=lab",
        "kedge proxy web01",
        "kedge proxy web01 --hub lab --config c",
        "kedge ssh-config",
        "kedge ssh-config --write --diff",
        "kedge ssh-config --resolve -x",
        "kedge --hub proxy known-hosts known-hosts",
        // Mistakes, help, and other commands.
        "kedge",
        "kedge proxy",
        "kedge proxy --hub /// web01",
        "kedge proxy a b",
        "kedge proxy --help",
        "kedge proxyy web01",
        "kedge known-hosts",
        "kedge ssh-config --resolve=x --write",
        "kedge --version",
        "kedge help proxy",
        "kedge -h",
        "kedge --hub proxy get servers",
        "kedge get servers",
        "kedge ssh",
        "kedge ssh proxy",
        "kedge whoami --server proxy",
    ];

    #[test]
    fn words_of_ssh_stay_whole() {
        for (line, ours, theirs) in [
            ("kedge ssh web01", "kedge ssh", "web01"),
            (
                "kedge ssh -tt web01 -- ls -la",
                "kedge ssh",
                "-tt web01 -- ls -la",
            ),
            (
                "kedge ssh -- web01 --hub x",
                "kedge ssh",
                "-- web01 --hub x",
            ),
            ("kedge ssh --hub lab -V", "kedge ssh --hub lab", "-V"),
            (
                "kedge --hub=lab ssh -L 1:x:2 web01",
                "kedge --hub=lab ssh",
                "-L 1:x:2 web01",
            ),
            ("kedge --config f ssh ssh", "kedge --config f ssh", "ssh"),
            ("kedge ssh --help", "kedge ssh --help", ""),
            ("kedge ssh web01 --help", "kedge ssh", "web01 --help"),
            ("kedge get ssh", "kedge get ssh", ""),
            (
                "kedge --hub ssh get servers",
                "kedge --hub ssh get servers",
                "",
            ),
            ("kedge ssh", "kedge ssh", ""),
        ] {
            assert_eq!(apart(line), (ours.to_owned(), theirs.to_owned()), "{line}");
        }
    }
}
