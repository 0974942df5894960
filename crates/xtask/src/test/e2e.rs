//! End-to-end tests: a process for each test, several at once, each with a deadline of its own.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use kedge_testkit::case::SKIPPED;
use kedge_testkit::kube::{self, Cluster};

use super::orphans;
use super::tally::{Report, Tally};
use super::unit::{Outcome, run_harness};
use crate::builder::{Step, Workspace, cargo, compile};
use crate::{defaults, interrupt, packages, tools};

const GROUP: &str = "e2e";

/// How the files are called whose tests need an API server. They share one.
const KUBERNETES: &str = "kubernetes";

/// Builds the programs and the tests, and runs them.
pub(crate) fn run(
    workspace: &Workspace,
    xtask: &Path,
    only: &str,
    tally: &mut Tally,
) -> Result<()> {
    packages::ensure_for_tests()?;
    tools::ensure_built(workspace)?;
    println!("e2e: building the programs and the tests");
    let bins = workspace.programs()?;
    let mut command = cargo();
    command.current_dir(&workspace.root);
    command.args([
        "test",
        "--locked",
        "--workspace",
        "--test",
        "e2e",
        "--no-run",
    ]);
    let built = compile(command)?;
    let tests = built
        .iter()
        .find(|built| built.test && built.target == "e2e")
        .context("no e2e tests were built")?;
    let mut runner = Runner {
        tests: tests.path.clone(),
        folder: tests.folder.clone(),
        bins,
        logs: workspace.target.join("e2e-logs"),
        xtask: xtask.to_owned(),
        cluster: None,
    };
    let names = runner.list()?;
    let chosen: VecDeque<String> = names
        .into_iter()
        .filter(|name| name.contains(only))
        .collect();
    ensure!(!chosen.is_empty(), "no test's name contains `{only}`");
    if chosen.iter().any(|name| name.starts_with(KUBERNETES)) {
        let cluster = Cluster::start().context("start the API server of the tests")?;
        cluster.pids().into_iter().for_each(orphans::spare);
        runner.cluster = Some(cluster);
    }
    let queue = Mutex::new(chosen);
    let shared = Mutex::new(tally);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = cores
        .saturating_mul(defaults::E2E_PER_CORE)
        .min(defaults::E2E_MOST);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(name) = next(&queue) {
                    let outcome = runner.one(&name);
                    judge(
                        &name,
                        outcome,
                        &mut shared.lock().unwrap_or_else(PoisonError::into_inner),
                    );
                }
            });
        }
    });
    if let Some(cluster) = runner.cluster.take() {
        let pids = cluster.pids();
        drop(cluster);
        pids.into_iter().for_each(orphans::forget);
    }
    orphans::end_all();
    Ok(())
}

fn next(queue: &Mutex<VecDeque<String>>) -> Option<String> {
    if interrupt::happened() {
        return None;
    }
    queue
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .pop_front()
}

fn judge(name: &str, outcome: Result<Outcome>, tally: &mut Tally) {
    match outcome {
        Err(error) => tally.failed(GROUP, name, &format!("{error:#}")),
        Ok(outcome) if outcome.killed => {
            let details = format!(
                "hung; killed after {} s\n{}",
                outcome.took.as_secs(),
                outcome.output
            );
            tally.failed(GROUP, name, &details);
        }
        Ok(outcome) if !outcome.success => tally.failed(GROUP, name, &outcome.output),
        Ok(outcome) if !Report::read(&outcome.output).ignored.is_empty() => {
            tally.skipped(GROUP, name, "it is marked as ignored");
        }
        Ok(outcome) => match outcome
            .output
            .lines()
            .find_map(|line| line.split_once(SKIPPED))
        {
            Some((_, reason)) => tally.skipped(GROUP, name, reason),
            None => tally.passed(GROUP, name, outcome.took),
        },
    }
}

/// How a test of the one binary is run.
struct Runner {
    tests: PathBuf,
    folder: PathBuf,
    bins: PathBuf,
    logs: PathBuf,
    xtask: PathBuf,
    cluster: Option<Cluster>,
}

impl Runner {
    fn list(&self) -> Result<Vec<String>> {
        let mut command = Command::new(&self.tests);
        command.args(["--list", "--format", "terse"]);
        let said = Step::new(command).quietly(defaults::PRINT)?.out();
        Ok(said
            .lines()
            .filter_map(|line| line.strip_suffix(": test"))
            .map(str::to_owned)
            .collect())
    }

    fn one(&self, name: &str) -> Result<Outcome> {
        let mut command = Command::new(&self.tests);
        command
            .args(["--exact", name, "--nocapture"])
            .current_dir(&self.folder);
        command
            .env("KEDGE_BIN_DIR", &self.bins)
            .env("KEDGE_E2E_LOGS", &self.logs);
        command
            .env("KEDGE_XTASK", &self.xtask)
            .env("RUST_BACKTRACE", "0");
        if let Some(cluster) = &self.cluster {
            command.env(kube::SHARED, cluster.folder());
        }
        run_harness(command, defaults::E2E)
    }
}
