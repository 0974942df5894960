//! Format, clippy, cargo deny, generated files.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::tally::Tally;
use crate::builder::{DEMO, Step, Workspace, cargo};
use crate::{defaults, generate, interrupt};

const GROUP: &str = "lint";

/// Runs each check; one that fails does not stop the others.
pub(crate) fn run(workspace: &Workspace, only: &str, tally: &mut Tally) -> Result<()> {
    type Check = fn(&Workspace) -> Result<()>;
    let checks: &[(&str, Check)] = &[
        ("format", format),
        ("clippy", clippy),
        ("licences, bans and sources of dependencies", deny),
        ("generated files", generated),
    ];
    for (name, check) in checks.iter().filter(|(name, _)| name.contains(only)) {
        interrupt::check()?;
        let start = Instant::now();
        match check(workspace) {
            Ok(()) => tally.passed(GROUP, name, start.elapsed()),
            Err(error) => tally.failed(GROUP, name, &format!("{error:#}")),
        }
    }
    if "advisories".contains(only) {
        advisories(workspace, tally);
    }
    Ok(())
}

fn format(workspace: &Workspace) -> Result<()> {
    let mut command = cargo();
    command
        .current_dir(&workspace.root)
        .args(["fmt", "--all", "--check", "--", "-l"]);
    Step::new(command).quietly(defaults::BUILD).map(drop)
}

fn clippy(workspace: &Workspace) -> Result<()> {
    let mut command = cargo();
    command.current_dir(&workspace.root);
    command.args([
        "clippy",
        "--quiet",
        "--locked",
        "--workspace",
        "--all-targets",
        "--features",
        DEMO,
        "--",
        "-D",
        "warnings",
    ]);
    Step::new(command).quietly(defaults::BUILD).map(drop)
}

fn deny(workspace: &Workspace) -> Result<()> {
    let program = cargo_deny()?;
    for check in ["licenses", "bans", "sources"] {
        Step::new(deny_command(&program, workspace, &["check", check])).quietly(defaults::BUILD)?;
    }
    Ok(())
}

/// Known vulnerabilities. Their list is somebody else's repository: without it, this is skipped and says so.
fn advisories(workspace: &Workspace, tally: &mut Tally) {
    let name = "advisories";
    let start = Instant::now();
    let program = match cargo_deny() {
        Ok(program) => program,
        Err(error) => return tally.failed(GROUP, name, &format!("{error:#}")),
    };
    if let Err(error) =
        Step::new(deny_command(&program, workspace, &["fetch", "db"])).quietly(defaults::FETCH)
    {
        let said = format!("{error:#}");
        let cause = said
            .lines()
            .map(str::trim)
            .find(|line| line.starts_with("fatal: "));
        let reason = format!(
            "the advisory database cannot be had: {}",
            cause.unwrap_or("it was not fetched")
        );
        return tally.skipped(GROUP, name, &reason);
    }
    match Step::new(deny_command(&program, workspace, &["check", "advisories"]))
        .quietly(defaults::FETCH)
    {
        Ok(_) => tally.passed(GROUP, name, start.elapsed()),
        Err(error) => tally.failed(GROUP, name, &format!("{error:#}")),
    }
}

fn deny_command(program: &Path, workspace: &Workspace, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(&workspace.root)
        .args(["--color", "never", "--locked", "--workspace"])
        .args(words);
    command
}

/// The pinned cargo-deny, built once into the user's cache.
fn cargo_deny() -> Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let root = cache
        .or(home)
        .context("neither XDG_CACHE_HOME nor HOME is set")?;
    let root = root.join(format!("kedge/tools/cargo-deny-{}", defaults::CARGO_DENY));
    let program = root.join("bin/cargo-deny");
    if !program.is_file() {
        println!(
            "lint: installing cargo-deny {} into {}",
            defaults::CARGO_DENY,
            root.display()
        );
        let mut command = cargo();
        // Unoptimised: it is built more often than its speed matters.
        command
            .args(["install", "--quiet", "--locked", "--debug", "--root"])
            .arg(&root);
        command.arg(format!("cargo-deny@{}", defaults::CARGO_DENY));
        Step::new(command).quietly(defaults::INSTALL)?;
    }
    Ok(program)
}

fn generated(workspace: &Workspace) -> Result<()> {
    let bins = workspace.programs()?;
    let drift = generate::drift(&workspace.root, &bins)?;
    let list = drift
        .iter()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join("\n");
    ensure!(
        drift.is_empty(),
        "not as the programs print them; run `cargo xtask generate`:\n{list}"
    );
    Ok(())
}
