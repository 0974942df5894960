//! The words of `kedge explain` and `kedge policy`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::DataFormat;

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
