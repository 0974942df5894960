//! The words of `kedge login`, `logout` and `whoami`.

use std::path::PathBuf;

use clap::Args;
use kedge_api::{HubName, ServerName, Suffix};

use super::DataFormat;
use crate::config::Pin;

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
