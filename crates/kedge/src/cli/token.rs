//! The words of `kedge token`.

use clap::{Args, Subcommand};
use kedge_api::ServerName;

use super::{DataFormat, OutputFormat};

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
