//! Entry point.

use std::process::ExitCode;

use clap::Parser;
use kedge_load::cli::Cli;

fn main() -> ExitCode {
    kedge_load::cli::run(Cli::parse())
}
