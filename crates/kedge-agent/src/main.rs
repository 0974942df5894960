//! Entry point.

use std::process::ExitCode;

use clap::Parser;
use kedge_agent::cli::{self, Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::CheckConfig => cli::check_config(cli.config.as_deref()),
        Command::Join(arguments) => cli::join(cli.config.as_deref(), *arguments),
        Command::Man => cli::man(),
        Command::Reference => cli::reference(),
        Command::Run => cli::run(cli.config.as_deref()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.exit(),
    }
}
