//! What can be checked of flake, modules and VM tests without nixpkgs: `nixos-tests/offline/check.py`, which prints what
//! the test harness of Rust prints. It needs neither network nor daemon, and keeps its store in a scratch folder.

use std::process::Command;

use anyhow::Result;

use super::tally::Tally;
use super::unit::{judge, run_harness};
use crate::builder::{Step, Workspace};
use crate::{defaults, packages};

const GROUP: &str = "nix";

/// Runs the checks; the programs look at each example's configuration as they do when a system is built.
pub(crate) fn run(workspace: &Workspace, only: &str, tally: &mut Tally) -> Result<()> {
    packages::ensure_for_nix()?;
    let programs = workspace.programs()?;
    let mut command = check(workspace);
    command.arg("--programs").arg(programs).arg(only);
    let outcome = run_harness(command, defaults::NIX)?;
    judge(GROUP, "offline", &outcome, tally);
    Ok(())
}

/// Takes what the modules make now as what they should make, and writes the reference of their options.
pub(crate) fn bless(workspace: &Workspace) -> Result<()> {
    packages::ensure_for_nix()?;
    let mut command = check(workspace);
    command.arg("--bless");
    Step::new(command).shown(defaults::NIX)
}

fn check(workspace: &Workspace) -> Command {
    let mut command = Command::new("python3");
    // Nothing is written beside the scripts.
    command.arg("-B").arg("nixos-tests/offline/check.py");
    command.current_dir(&workspace.root);
    command
}
