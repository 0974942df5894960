//! The words of what prints completions, manual pages and reference pages.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use clap_complete::Shell;

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
