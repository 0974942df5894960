//! Unit, property and documentation tests: each test binary in a process of its own, with a deadline.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kedge_testkit::process::{as_pid, descendants, kill_each};
use kedge_testkit::wait;
use rustix::process::{Signal, kill_process_group};

use super::orphans;
use super::tally::{Report, Tally};
use crate::builder::{Built, DEMO, Workspace, cargo, compile, drain};
use crate::{defaults, interrupt, tools};

const GROUP: &str = "unit";

/// How one run of a test binary ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Everything it printed.
    pub(crate) output: String,
    /// Whether it ended with success.
    pub(crate) success: bool,
    /// Whether it had to be killed.
    pub(crate) killed: bool,
    /// How long it took.
    pub(crate) took: Duration,
}

/// Builds and runs them.
pub(crate) fn run(workspace: &Workspace, only: &str, tally: &mut Tally) -> Result<()> {
    println!("unit: building the tests");
    let mut command = cargo();
    command.current_dir(&workspace.root);
    command.args([
        "test",
        "--locked",
        "--workspace",
        "--exclude",
        "kedge-e2e",
        "--lib",
        "--bins",
        "--tests",
        "--features",
        DEMO,
        "--no-run",
    ]);
    let mut tests = compile(command)?;
    tests.retain(|built| built.test);
    // Without them those tests fail that need an API server, and say so; the others are worth running.
    if let Err(error) = tools::ensure_built(workspace) {
        tally.failed(
            GROUP,
            "etcd, kube-apiserver and kubectl",
            &format!("{error:#}"),
        );
    }
    tests.sort_by(|a, b| (&a.package, &a.kind, &a.target).cmp(&(&b.package, &b.kind, &b.target)));
    for built in &tests {
        interrupt::check()?;
        one(built, only, tally)?;
    }
    documentation(workspace, only, tally)
}

fn one(built: &Built, only: &str, tally: &mut Tally) -> Result<()> {
    let name = format!("{} {} {}", built.package, built.kind, built.target);
    let mut command = Command::new(&built.path);
    command
        .current_dir(&built.folder)
        .env("CARGO_MANIFEST_DIR", &built.folder)
        // A snapshot that differs is a failure, not a new file in the repository.
        .env("INSTA_UPDATE", "no")
        .arg(only);
    let outcome = run_harness(command, defaults::UNIT)?;
    judge(GROUP, &name, &outcome, tally);
    Ok(())
}

fn documentation(workspace: &Workspace, only: &str, tally: &mut Tally) -> Result<()> {
    let mut command = cargo();
    command.current_dir(&workspace.root);
    command.args([
        "test",
        "--locked",
        "--workspace",
        "--doc",
        "--no-fail-fast",
        "--",
        only,
    ]);
    let outcome = run_harness(command, defaults::DOC)?;
    judge(GROUP, "documentation", &outcome, tally);
    Ok(())
}

/// Tells the tally what a test harness printed.
pub(crate) fn judge(group: &str, name: &str, outcome: &Outcome, tally: &mut Tally) {
    let report = Report::read(&outcome.output);
    // Tests that are the other half of another test are ignored by themselves, and run by that one.
    for ignored in report
        .ignored
        .iter()
        .filter(|ignored| !ignored.contains(", started by "))
    {
        tally.skipped(group, name, ignored);
    }
    for failed in &report.failed {
        tally.failed(group, &format!("{name} {failed}"), "");
    }
    if outcome.killed {
        tally.failed(
            group,
            name,
            &format!(
                "killed after {} s\n{}",
                outcome.took.as_secs(),
                outcome.output
            ),
        );
    } else if !outcome.success {
        let what = if report.failed.is_empty() {
            "the process failed"
        } else {
            "its output"
        };
        if report.failed.is_empty() {
            tally.failed(group, name, what);
        }
        for line in outcome.output.lines() {
            println!("      | {line}");
        }
    }
    if report.passed > 0 {
        tally.many_passed(group, name, report.passed, outcome.took);
    }
}

/// Runs a test harness in a process group of its own; kills the group and what descends from it at the deadline.
pub(crate) fn run_harness(mut command: Command, limit: Duration) -> Result<Outcome> {
    let start = Instant::now();
    let (reader, writer) = std::io::pipe().context("make a pipe")?;
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .process_group(0);
    let mut child = orphans::spawn(&mut command).with_context(|| format!("start {command:?}"))?;
    // The command keeps the writing ends open, and the reader would never see the end.
    drop(command);
    let output = drain(reader);
    let ended = wait::until("the tests to end", limit, || Ok(child.try_wait()?));
    let killed = ended.is_err();
    if killed {
        let family = descendants(child.id());
        let _ = kill_process_group(as_pid(child.id())?, Signal::KILL);
        kill_each(&family);
        let _ = child.wait();
    }
    orphans::forget(child.id());
    // Whatever a killed or careless test left alive would keep the pipe open.
    let waited = wait::until_true("the end of the output", Duration::from_secs(2), || {
        Ok(output.is_finished())
    });
    if waited.is_err() {
        orphans::end_all();
    }
    let output = output.join().unwrap_or_default();
    Ok(Outcome {
        output,
        success: matches!(ended, Ok(status) if status.success()),
        killed,
        took: start.elapsed(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kedge_testkit::process::is_alive;

    fn shell(script: &str, limit: Duration) -> Outcome {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        run_harness(command, limit).unwrap()
    }

    #[test]
    fn output_of_both_kinds_and_the_status_are_kept() {
        let outcome = shell("echo out; echo err >&2; exit 3", defaults::PRINT);
        assert!(outcome.output.contains("out") && outcome.output.contains("err"));
        assert!(!outcome.success && !outcome.killed);
    }

    #[test]
    fn what_hangs_is_killed_with_all_it_started() {
        let outcome = shell(
            "sleep 1000 & echo child $!; sleep 1000",
            Duration::from_secs(1),
        );
        assert!(outcome.killed && !outcome.success);
        let (_, child) = outcome.output.trim().rsplit_once(' ').unwrap();
        let child = child.parse().unwrap();
        wait::until_true("the child to be gone", defaults::PRINT, || {
            Ok(!is_alive(child))
        })
        .unwrap();
    }
}
