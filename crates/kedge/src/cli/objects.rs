//! The words of the commands about objects, and how these are printed.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use kedge_api::{LabelSelector, ServerName};

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
