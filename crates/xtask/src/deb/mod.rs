//! `cargo xtask deb`: the Debian packages of agent, hub and command line.
//!
//! What is in them and what runs when they are installed is in `packaging/`; here it is put together. Two runs over the
//! same programs give the same bytes: every time is that of the commit, and every owner is root.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Args;
use kedge_testkit::machine;

use crate::builder::{Step, Workspace};
use crate::{defaults, interrupt, packages};

mod contents;
mod control;
mod stage;

/// How the packages are built.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The folder of ready programs `kedge`, `kedge-agent` and `kedge-hub`; release builds are made unless given.
    #[arg(long, value_name = "FOLDER")]
    bins: Option<PathBuf>,
    /// Where the packages go; `target/debian` unless given.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// The revision of the packaging, the last part of the version.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    revision: u32,
    /// Compress quickly rather than well.
    #[arg(long)]
    fast: bool,
}

/// Builds them and says where they are.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    packages::ensure_for_deb()?;
    let bins = match &arguments.bins {
        Some(bins) => bins
            .canonicalize()
            .with_context(|| format!("find {}", bins.display()))?,
        None => workspace.release()?,
    };
    let out = arguments
        .out
        .clone()
        .unwrap_or_else(|| workspace.target.join("debian"));
    let wanted = Wanted {
        bins,
        out,
        revision: arguments.revision,
        only: None,
        fast: arguments.fast,
    };
    for package in build(&workspace, &wanted)? {
        println!("{}", package.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// What packages are built of.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Where the programs are.
    pub(crate) bins: PathBuf,
    /// Where the packages go.
    pub(crate) out: PathBuf,
    /// The last part of their version.
    pub(crate) revision: u32,
    /// One of them; all unless given.
    pub(crate) only: Option<&'static str>,
    /// Quickly rather than small: for machines that live for a minute.
    pub(crate) fast: bool,
}

/// Builds the packages and answers their files.
///
/// # Errors
///
/// When a program or a tool is missing, or a tool fails; what was built until then stays.
pub(crate) fn build(workspace: &Workspace, wanted: &Wanted) -> Result<Vec<PathBuf>> {
    let common = Common {
        version: format!("{}-{}", env!("CARGO_PKG_VERSION"), wanted.revision),
        architecture: said("dpkg", &["--print-architecture"])?,
        epoch: epoch(workspace)?,
    };
    fs::create_dir_all(&wanted.out).with_context(|| format!("make {}", wanted.out.display()))?;
    let mut built = Vec::new();
    let is_wanted =
        |package: &&contents::Package| wanted.only.is_none_or(|only| only == package.name);
    for package in contents::PACKAGES.iter().filter(is_wanted) {
        interrupt::check()?;
        let context = || format!("build the package {}", package.name);
        built.push(one(workspace, wanted, &common, package).with_context(context)?);
    }
    Ok(built)
}

/// What all packages share.
#[derive(Debug)]
struct Common {
    version: String,
    architecture: String,
    /// Seconds since 1970 that every file is said to be from.
    epoch: u64,
}

fn one(
    workspace: &Workspace,
    wanted: &Wanted,
    common: &Common,
    package: &contents::Package,
) -> Result<PathBuf> {
    let folder = tempfile::tempdir()?;
    let mut stage = stage::Stage::new(&folder.path().join("root"), common.epoch)?;
    contents::fill(&mut stage, workspace, wanted, common, package)?;
    control::fill(&mut stage, workspace, common, package)?;
    stage.finish()?;
    let name = format!(
        "{}_{}_{}.deb",
        package.name, common.version, common.architecture
    );
    let file = wanted.out.join(&name);
    let mut command = Command::new("dpkg-deb");
    command
        .args(["--root-owner-group", "--uniform-compression"])
        .args(if wanted.fast {
            ["-Zgzip", "-z1"]
        } else {
            ["-Zxz", "-z6"]
        })
        .arg("--build")
        .arg(stage.root())
        .arg(&file)
        .env("SOURCE_DATE_EPOCH", common.epoch.to_string());
    Step::new(command).quietly(defaults::PACKAGE)?;
    ensure!(file.is_file(), "dpkg-deb made no {name}");
    Ok(file)
}

/// `SOURCE_DATE_EPOCH`, else when the last commit was made; a copy without a history is from 1970.
fn epoch(workspace: &Workspace) -> Result<u64> {
    if let Ok(given) = std::env::var("SOURCE_DATE_EPOCH") {
        return given
            .parse()
            .with_context(|| format!("SOURCE_DATE_EPOCH={given}"));
    }
    if machine::find_program("git").is_none() {
        return Ok(0);
    }
    let mut command = Command::new("git");
    command
        .args(["log", "-1", "--format=%ct"])
        .current_dir(&workspace.root);
    let said = Step::new(command).quietly(defaults::PRINT);
    Ok(said
        .ok()
        .and_then(|ran| ran.out().trim().parse().ok())
        .unwrap_or_default())
}

fn said(program: &str, words: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(words);
    let ran = Step::new(command).quietly(defaults::PRINT)?;
    Ok(ran.out().trim().to_owned())
}

#[cfg(test)]
mod tests;
