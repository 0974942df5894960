//! The words of `kedge ssh`, and of what OpenSSH runs for it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

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
    /// The folder of the socket on which keys are offered to ssh (its IdentityAgent, without the %C)
    #[arg(long, value_name = "FOLDER")]
    pub agent_folder: Option<PathBuf>,
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
