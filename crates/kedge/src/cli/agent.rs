//! The words of `kedge agent`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::DataFormat;

/// `kedge agent`
#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// Show what the agent of this machine is doing
    #[command(
        after_help = "Where systemd holds the agent's control socket, asking starts an agent that is stopped.\n\n\
        Examples:\n  \
        sudo kedge agent status\n  \
        sudo kedge agent status -o json"
    )]
    Status(AgentStatusArgs),
    /// Have the agent of this machine read its configuration again
    #[command(
        after_help = "It comes back when that is done. Sessions go on. A configuration that cannot be read changes\n\
        nothing, and the reason is told.\n\n\
        Examples:\n  \
        sudo kedge agent reload"
    )]
    Reload(AgentReloadArgs),
    /// Wait until the agent of this machine is as it should be
    #[command(
        after_help = "Exits with 6 when the time is up, and says what the agent waits for itself.\n\n\
        Examples:\n  \
        sudo kedge agent wait --connected\n  \
        sudo kedge agent wait --connected --timeout 5m"
    )]
    Wait(AgentWaitArgs),
}

/// Where the agent is.
#[derive(Args, Clone, Debug)]
pub struct AgentSocket {
    /// The agent's control socket
    #[arg(long, value_name = "PATH", default_value = kedge_api::control::SOCKET)]
    pub socket: PathBuf,
}

/// `kedge agent status`
#[derive(Args, Debug)]
pub struct AgentStatusArgs {
    /// Where the agent is.
    #[command(flatten)]
    pub socket: AgentSocket,
    /// json or yaml, in place of lines for people
    #[arg(long, short, value_name = "FORMAT")]
    pub output: Option<DataFormat>,
}

/// `kedge agent reload`
#[derive(Args, Debug)]
pub struct AgentReloadArgs {
    /// Where the agent is.
    #[command(flatten)]
    pub socket: AgentSocket,
}

/// `kedge agent wait`
#[derive(Args, Debug)]
pub struct AgentWaitArgs {
    /// Where the agent is.
    #[command(flatten)]
    pub socket: AgentSocket,
    /// Until it is connected to its hub
    #[arg(long, required = true)]
    pub connected: bool,
    /// How long at most, such as 30s, 5m
    #[arg(long, value_name = "TIME", default_value = crate::defaults::AGENT_WAIT_TIME)]
    pub timeout: String,
}
