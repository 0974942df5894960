//! The words of `kedge sessions`.

use clap::{Args, Subcommand};

use super::OutputFormat;

/// `kedge sessions`
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct SessionsArgs {
    /// What to do with them, in place of showing them.
    #[command(subcommand)]
    pub command: Option<SessionsCommand>,
    /// How to print them
    #[arg(long, short, value_name = "FORMAT")]
    pub output: Option<OutputFormat>,
    /// Go on and print those that begin, change their state, and end
    #[arg(long, short)]
    pub watch: bool,
    /// Leave the heading out
    #[arg(long)]
    pub no_headers: bool,
}

/// What can be done with sessions.
#[derive(Debug, Subcommand)]
pub enum SessionsCommand {
    /// End sessions at once
    #[command(
        after_help = "The beginning of an id is enough where no other session has it. Whoever is ended is told by whom,\n\
        and their `ssh` exits with 255. Everybody may end their own; to end others' is a right: `delete`\n\
        of `sessions`. Exits with 6 when there is no such session.\n\n\
        Examples:\n  \
        kedge sessions kill s-4qz7\n  \
        kedge sessions kill 4qz7 mb2a\n  \
        kedge sessions -o name | cut -d/ -f2 | xargs kedge sessions kill"
    )]
    Kill(SessionsKillArgs),
}

/// `kedge sessions kill`
#[derive(Args, Debug)]
pub struct SessionsKillArgs {
    /// The sessions, by id or its beginning
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<String>,
}
