//! The command line's shape and its help. Man pages, completions and the reference page come from it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use kedge_api::{HubName, LabelSelector, ServerName, Suffix};

use crate::config::Pin;

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

/// `kedge login`
#[derive(Args, Debug)]
pub struct LoginArgs {
    /// The hub: https://host[:port], or the name of one in the configuration
    #[arg(value_name = "HUB")]
    pub hub: String,
    /// Log in with a code that is entered on another device
    #[arg(long, conflicts_with_all = ["token_file", "token_command"])]
    pub device: bool,
    /// The issuer to log in at, by its name or URL, where the hub has several
    #[arg(long, value_name = "NAME", conflicts_with_all = ["token_file", "token_command"])]
    pub issuer: Option<String>,
    /// Prove anew who you are, also when the browser is still logged in
    #[arg(long, conflicts_with_all = ["token_file", "token_command"])]
    pub reauthenticate: bool,
    /// The file with a token, readable by you alone; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "token_command")]
    pub token_file: Option<PathBuf>,
    /// A command that prints a token, for `sh -c`
    #[arg(long, value_name = "COMMAND")]
    pub token_command: Option<String>,
    /// What to call the hub [default: as it calls itself]
    #[arg(long, value_name = "NAME")]
    pub name: Option<HubName>,
    /// What follows its servers' names [default: as it says]
    #[arg(long, value_name = "SUFFIX")]
    pub suffix: Option<Suffix>,
    /// The certificate to believe, `sha256:…`, as a self-signed hub prints at its start
    #[arg(long, value_name = "PIN", conflicts_with = "ca_file")]
    pub pin: Option<Pin>,
    /// PEM file with the roots to believe in place of the system's
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}

/// `kedge logout`
#[derive(Args, Debug)]
pub struct LogoutArgs {
    /// The hub, by its name in the configuration
    #[arg(value_name = "HUB")]
    pub name: Option<HubName>,
}

/// `kedge whoami`
#[derive(Args, Debug)]
pub struct WhoamiArgs {
    /// A server whose login to ask for, in place of all that you may reach; may be given several times
    #[arg(long, value_name = "NAME")]
    pub server: Vec<ServerName>,
    /// json or yaml, in place of a page for people
    #[arg(long, short, value_name = "FORMAT")]
    pub output: Option<DataFormat>,
}

/// `kedge ssh`
#[derive(Args, Debug)]
pub struct SshArgs {
    /// ssh's options, the server, and the remote command
    #[arg(
        value_name = "SSH ARGUMENTS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub words: Vec<OsString>,
}

/// `kedge proxy`
#[derive(Args, Debug)]
pub struct ProxyArgs {
    /// The server
    #[arg(value_name = "NAME", required_unless_present = "refuse")]
    pub name: Option<OsString>,
    /// The login that ssh will use
    #[arg(long, value_name = "LOGIN", allow_hyphen_values = true)]
    pub login: Option<OsString>,
    /// The port that ssh was asked for; only 22 can be had
    #[arg(long, value_name = "PORT", allow_hyphen_values = true)]
    pub port: Option<OsString>,
    /// Say that the name cannot be one, and fail: for names that must not reach a shell
    #[arg(long, hide = true)]
    pub refuse: bool,
}

/// `kedge known-hosts`
#[derive(Args, Debug)]
pub struct KnownHostsArgs {
    /// The login that ssh will use, when the hub must be asked
    #[arg(long, value_name = "LOGIN", allow_hyphen_values = true)]
    pub login: Option<OsString>,
    /// The host as ssh looks it up (`%H`)
    #[arg(value_name = "HOST")]
    pub host: OsString,
}

/// `kedge ssh-config`
#[derive(Args, Debug)]
pub struct SshConfigArgs {
    /// Install it: ~/.config/kedge/ssh_config, and one Include line in ~/.ssh/config
    #[arg(long)]
    pub write: bool,
    /// Show how the files differ from what would be installed
    #[arg(long)]
    pub diff: bool,
    /// Learn a server's login, for ssh to read next
    #[arg(long, hide = true, value_name = "NAME", conflicts_with_all = ["write", "diff"], allow_hyphen_values = true)]
    pub resolve: Option<OsString>,
}

/// `kedge get`
#[derive(Args, Debug)]
pub struct GetArgs {
    /// The kind and names: `servers`, `server web01`, `policy/developers`
    #[arg(value_name = "KIND[/NAME]", required = true, num_args = 1..)]
    pub objects: Vec<String>,
    /// How to print them
    #[arg(long, short, value_name = "FORMAT")]
    pub output: Option<OutputFormat>,
    /// Only those with these labels: `env=prod,tier in (web,db),!legacy`
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    pub selector: Option<LabelSelector>,
    /// Go on and print each change
    #[arg(long, short)]
    pub watch: bool,
    /// Leave the heading out
    #[arg(long)]
    pub no_headers: bool,
}

/// `kedge describe`
#[derive(Args, Debug)]
pub struct DescribeArgs {
    /// The kind and names: `server web01`, `policy/developers`
    #[arg(value_name = "KIND[/NAME]", required = true, num_args = 1..)]
    pub objects: Vec<String>,
    /// Only those with these labels
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    pub selector: Option<LabelSelector>,
}

/// `kedge apply`
#[derive(Args, Debug)]
pub struct ApplyArgs {
    /// YAML or JSON file with objects, or a folder of such files; `-` is standard input
    #[arg(long, short, value_name = "FILE", required = true)]
    pub filename: Vec<PathBuf>,
    /// How to print the outcome: json, yaml or name
    #[arg(long, short, value_name = "FORMAT")]
    pub output: Option<OutputFormat>,
}

/// `kedge delete`
#[derive(Args, Debug)]
pub struct DeleteArgs {
    /// The kind and names: `server web01`, `policy/developers`
    #[arg(value_name = "KIND[/NAME]", required_unless_present = "filename")]
    pub objects: Vec<String>,
    /// The objects in a file, or in the files of a folder; `-` is standard input
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["objects", "selector"])]
    pub filename: Vec<PathBuf>,
    /// All objects with these labels
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    pub selector: Option<LabelSelector>,
    /// Succeed when there is nothing to delete
    #[arg(long)]
    pub ignore_not_found: bool,
}

/// `kedge accept-host-keys`
#[derive(Args, Debug)]
pub struct AcceptHostKeysArgs {
    /// The server
    #[arg(value_name = "NAME")]
    pub server: ServerName,
    /// A new key to accept, without being asked; give it once for each key
    #[arg(long, value_name = "FINGERPRINT")]
    pub fingerprint: Vec<kedge_api::Fingerprint>,
}

/// `kedge explain`
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// The person, as policies call them
    #[arg(value_name = "USER", required_unless_present = "since")]
    pub user: Option<kedge_api::Subject>,
    /// What they want to do: ssh
    #[arg(value_name = "PERMISSION", required_unless_present = "since")]
    pub permission: Option<String>,
    /// The server, and the login that is asked for
    #[arg(value_name = "[LOGIN@]NAME", required_unless_present = "since")]
    pub target: Option<String>,
    /// When, as 2026-12-24T18:00:00Z [default: now]
    #[arg(long, value_name = "TIME", conflicts_with = "since")]
    pub at: Option<kedge_api::Time>,
    /// The address they come from
    #[arg(long, value_name = "ADDRESS", conflicts_with = "since")]
    pub source: Option<std::net::IpAddr>,
    /// The groups they are in, in place of those that are known; '' is none
    #[arg(
        long,
        value_name = "GROUP,…",
        value_delimiter = ',',
        conflicts_with = "since"
    )]
    pub groups: Option<Vec<String>>,
    /// A claim, in place of the one that is known; given several times with one KEY, it is a list
    #[arg(long, value_name = "KEY=TEXT", conflicts_with = "since")]
    pub claim: Vec<String>,
    /// Whose person it is, where not the hub's own issuer's
    #[arg(long, value_name = "URL", conflicts_with = "since")]
    pub issuer: Option<kedge_api::Issuer>,
    /// When they logged in at the issuer
    #[arg(long, value_name = "TIME", conflicts_with = "since")]
    pub authenticated_at: Option<kedge_api::Time>,
    /// Try policies out on what was since then: 7d, 12h, or a time
    #[arg(long, value_name = "TIME", conflicts_with = "user")]
    pub since: Option<String>,
    /// Policies to put in the place of the stored ones of the same name, or beside them
    #[arg(long, value_name = "FILE")]
    pub with: Vec<PathBuf>,
    /// A stored policy to leave out
    #[arg(long, value_name = "NAME")]
    pub without: Vec<kedge_api::ObjectName>,
    /// json or yaml, in place of a page for people
    #[arg(long, short, value_name = "FORMAT")]
    pub output: Option<DataFormat>,
}

/// `kedge policy`
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Check policies against a table of expectations, without a hub
    #[command(
        after_help = "The table lists policies (files, or in place), servers, people, and who is expected to reach what;\n\
        docs/policy.md has one. It is decided by the code that the hub decides by. Exits with 1 when an\n\
        expectation is not met.\n\n\
        Examples:\n  \
        kedge policy test policies_test.yaml"
    )]
    Test(PolicyTestArgs),
}

/// `kedge policy test`
#[derive(Args, Debug)]
pub struct PolicyTestArgs {
    /// YAML or JSON file with the table; `-` is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// json or yaml, in place of lines for people
    #[arg(long, short, value_name = "FORMAT")]
    pub output: Option<DataFormat>,
}

/// `kedge token`
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token, and print the command that joins a server with it
    #[command(
        after_help = "The token is shown this once; the hub keeps its hash only.\n\n\
        Examples:\n  \
        kedge token create --server web01\n  \
        kedge token create --ttl 24h --uses 20 --label env=prod"
    )]
    Create(TokenCreateArgs),
    /// List the tokens
    #[command(visible_alias = "ls", after_help = "Examples:\n  kedge token list")]
    List(TokenListArgs),
    /// Make a token worthless
    #[command(after_help = "Examples:\n  kedge token revoke q7k2m4xw3p")]
    Revoke(TokenRevokeArgs),
}

/// `kedge token create`
#[derive(Args, Debug)]
pub struct TokenCreateArgs {
    /// The only server name that may join with it
    #[arg(long, value_name = "NAME")]
    pub server: Option<ServerName>,
    /// A label that every server joined with it gets
    #[arg(long, value_name = "KEY=VALUE")]
    pub label: Vec<String>,
    /// How long it lives, such as 30m, 1h, 2d
    #[arg(long, value_name = "TIME", default_value = crate::defaults::TOKEN_TIME)]
    pub ttl: String,
    /// How many servers may join with it
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub uses: u32,
    /// json or yaml, in place of the command to run
    #[arg(long, short, value_name = "FORMAT")]
    pub output: Option<DataFormat>,
}

/// `kedge token list`
#[derive(Args, Debug)]
pub struct TokenListArgs {
    /// How to print them
    #[arg(long, short, value_name = "FORMAT")]
    pub output: Option<OutputFormat>,
}

/// `kedge token revoke`
#[derive(Args, Debug)]
pub struct TokenRevokeArgs {
    /// The tokens, by name
    #[arg(value_name = "TOKEN", required = true)]
    pub names: Vec<kedge_api::ObjectName>,
}

/// `kedge completion`
#[derive(Args, Debug)]
pub struct CompletionArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// `kedge man`
#[derive(Args, Debug)]
pub struct ManArgs {
    /// The folder
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

/// `kedge reference`
#[derive(Args, Debug)]
pub struct ReferenceArgs {
    /// The page: the command line, or config.toml
    #[arg(value_name = "PAGE", default_value = "cli")]
    pub page: ReferencePage,
}

/// A generated page.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum ReferencePage {
    /// docs/reference/cli.md
    Cli,
    /// docs/reference/config.toml.md
    Config,
}

/// How whole objects are printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum DataFormat {
    /// JSON
    Json,
    /// YAML
    Yaml,
}

/// How objects are printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum OutputFormat {
    /// JSON
    Json,
    /// KIND/NAME alone
    Name,
    /// A table with more columns
    Wide,
    /// YAML
    Yaml,
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
