//! The operators' page says what the program does, and nothing else.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

use std::collections::BTreeSet;
use std::path::Path;

use clap::CommandFactory;
use kedge_agent::cli::Cli;
use kedge_agent::metrics::AgentMetrics;

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/agent.md");
    std::fs::read_to_string(path).unwrap()
}

/// What stands in backquotes in the first column of the table under a heading.
fn first_column(page: &str, heading: &str) -> BTreeSet<String> {
    let (_, section) = page.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| "));
    let cells = rows.skip(1).filter_map(|row| row.split(" | ").next());
    cells
        .flat_map(|cell| cell.split(", "))
        .map(|name| name.replace('`', ""))
        .collect()
}

#[tokio::test]
async fn every_metric_is_on_the_page_and_none_else() {
    let text = AgentMetrics::new().registry.render();
    let named = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let known: BTreeSet<_> = named
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(first_column(&page(), "Metrics"), known);
}

#[test]
fn every_command_is_on_the_page_and_none_else() {
    let cli = Cli::command();
    let shown = cli
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    let known: BTreeSet<_> = shown.map(|command| command.get_name().to_owned()).collect();
    let written = first_column(&page(), "Commands");
    let written: BTreeSet<_> = written
        .iter()
        .map(|row| row.split(' ').nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(written, known);
}

#[test]
fn every_exit_code_of_the_help_is_on_the_page_and_none_else() {
    let help = Cli::command().render_long_help().to_string();
    let (_, codes) = help.split_once("Exit status:").unwrap();
    let known: BTreeSet<_> = codes
        .split([',', '\n'])
        .filter_map(|entry| entry.split_whitespace().next())
        .map(str::to_owned)
        .collect();
    assert_eq!(first_column(&page(), "Exit codes"), known);
}

#[test]
fn every_signal_is_on_the_page_and_none_else() {
    let known = ["SIGHUP", "SIGINT", "SIGTERM"].map(str::to_owned).into();
    assert_eq!(first_column(&page(), "Signals"), known);
}
