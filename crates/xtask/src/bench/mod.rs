//! `cargo xtask bench`: the tunnel against what people would use instead, in one run on one machine.
//!
//! ```text
//!  words ─► choose ─► runner ─► Bench::set_up ─► Running::measure, round by round ─► figures ─► report
//!                                    │
//!                      stage: real daemons on loopback, and kedge-load
//! ```

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Args;

use crate::builder::Workspace;
use crate::packages;
use facts::Facts;
use measure::{Bench, Pace};
use progress::Progress;
use report::{Folder, Report};
use row::Row;
use stage::Stage;

mod bulk;
mod choose;
mod cores;
mod echo;
mod facts;
mod far;
mod figures;
mod fleet;
mod html;
mod injected;
mod leftovers;
mod limited;
mod measure;
mod netns;
mod openssh;
mod others;
mod progress;
mod report;
mod row;
mod runner;
mod scp;
mod servers_memory;
mod session;
mod sessions;
mod sessions_memory;
mod settle;
mod ssh;
mod stage;
mod stalled;
mod table;
mod timed;
mod tunnels_memory;
mod ways;

/// What the benchmark is asked for.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Rows or groups of them, such as `bulk-down-1`, `bulk` or `ssh-cat`; all when none is named.
    names: Vec<String>,
    /// Three rounds instead of five.
    #[arg(long)]
    quick: bool,
    /// Show the rows, what they are held against and their marks, and measure nothing.
    #[arg(long)]
    list: bool,
    /// Use the programs in this folder (kedge, kedge-hub, kedge-agent, kedge-load) instead of building them.
    #[arg(long, value_name = "FOLDER")]
    bins: Option<PathBuf>,
    /// Write report.json and report.html here instead of in target/bench.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Every bench there is, in the order of the report.
fn all() -> Vec<Box<dyn Bench>> {
    let mut benches: Vec<Box<dyn Bench>> = vec![Box::new(bulk::Bulk), Box::new(echo::Echo)];
    benches.extend(limited::benches());
    benches.push(Box::new(stalled::Stalled));
    benches.push(Box::new(session::Session));
    benches.push(Box::new(far::Far));
    benches.extend(ssh::benches());
    benches.push(Box::new(injected::Injected));
    benches.extend(scp::benches());
    benches.push(Box::new(tunnels_memory::TunnelsMemory));
    benches.push(Box::new(sessions_memory::SessionsMemory));
    benches.push(Box::new(servers_memory::ServersMemory));
    benches.push(Box::new(fleet::Reconnects));
    benches.push(Box::new(sessions::Sessions));
    benches.push(Box::new(cores::Cores));
    benches
}

/// Runs it.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let benches = all();
    let rows: Vec<Row> = benches.iter().flat_map(|bench| bench.rows()).collect();
    let names: Vec<&'static str> = rows.iter().map(|row| row.name).collect();
    let chosen = choose::choose(&names, &arguments.names)?;
    if arguments.list {
        show(&table::list(&benches, &chosen));
        return Ok(ExitCode::SUCCESS);
    }
    packages::ensure_for_bench()?;
    let workspace = Workspace::find()?;
    let (bins, load) = match &arguments.bins {
        Some(bins) => {
            let bins = std::path::absolute(bins)?;
            ensure!(bins.is_dir(), "there is no folder {}", bins.display());
            (bins.clone(), bins.join("kedge-load"))
        }
        None => {
            eprintln!("Building the release programs. The first time this takes some minutes.");
            (workspace.release()?, workspace.release_load()?)
        }
    };
    let pace = if arguments.quick {
        Pace::Quick
    } else {
        Pace::Full
    };
    let stage = Stage::new(&bins, &load)?;
    let out = arguments.out.clone();
    let out = Folder::new(&out.unwrap_or_else(|| workspace.target.join("bench")))?;
    let progress = Progress::new();
    let found = runner::run(&benches, &chosen, &stage, pace, &progress)?;
    let report = Report {
        facts: Facts::now(pace),
        lines: found.lines,
        absent: found.absent,
    };
    // First where nothing can go wrong any more: a full disk is not to cost what an hour has found.
    show(&table::table(&report));
    let page = out.write(&report)?;
    show(&format!("report: {}\n", page.display()));
    Ok(if report.failed() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// On standard output. Whoever has read enough (`| head`) is no reason to lose a report.
fn show(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn rows() -> Vec<Row> {
        all().iter().flat_map(|bench| bench.rows()).collect()
    }

    #[test]
    fn names_are_kebab_case_and_unlike_each_other() {
        let rows = rows();
        let names: BTreeSet<&str> = rows.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), rows.len());
        for name in names {
            assert!(!name.is_empty() && !name.starts_with('-') && !name.ends_with('-'));
            assert!(
                name.chars().all(|letter| letter.is_ascii_lowercase()
                    || letter.is_ascii_digit()
                    || letter == '-'),
                "{name}"
            );
        }
    }

    /// A row as docs/performance.md has it.
    fn line(row: &Row) -> String {
        let mark = |mark: Option<row::Mark>| mark.map(|mark| format!(" {mark}"));
        let against = row.against.words().map(|words| format!(" {words}"));
        format!(
            "| `{}` | {} |{} |{} |{} |",
            row.name,
            row.unit,
            against.unwrap_or_default(),
            mark(row.must).unwrap_or_default(),
            mark(row.aim).unwrap_or_default()
        )
    }

    #[test]
    fn the_page_has_these_rows_and_marks() {
        let page = include_str!("../../../../docs/performance.md");
        let (_, section) = page.split_once("\n## Rows and marks\n").unwrap();
        let (section, _) = section.split_once("\n## ").unwrap();
        let there: Vec<&str> = section
            .lines()
            .filter(|line| line.starts_with("| `"))
            .collect();
        let wanted: Vec<String> = rows().iter().map(line).collect();
        assert!(
            there == wanted,
            "docs/performance.md, Rows and marks, should have\n{}",
            wanted.join("\n")
        );
    }

    #[test]
    fn an_aim_is_no_easier_than_its_must() {
        for row in rows() {
            if let (Some(must), Some(aim)) = (row.must, row.aim) {
                assert_eq!(must.op, aim.op, "{}", row.name);
                assert!(must.holds(aim.value), "{}", row.name);
            }
        }
    }
}
