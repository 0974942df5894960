//! `cargo xtask test`: everything, or some groups, with one closing line.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::builder::Workspace;
use crate::interrupt;

mod cluster;
mod e2e;
mod lint;
mod machines;
pub(crate) mod nix;
mod orphans;
mod tally;
mod unit;

use tally::Tally;

/// What the tests are asked for.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The groups to run; all of them but `cluster` when none is named.
    #[arg(value_enum)]
    groups: Vec<Group>,
    /// Only tests whose name contains this.
    #[arg(long, value_name = "PART")]
    only: Option<String>,
}

/// The groups, in the order they run: what fails fastest first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, ValueEnum)]
enum Group {
    /// Format, clippy, cargo deny, generated files.
    Lint,
    /// The flake, the NixOS modules and what they make of the units, without nixpkgs.
    Nix,
    /// Unit, property and documentation tests.
    Unit,
    /// The built programs with real ssh, scp, sftp, rsync and sshd.
    E2e,
    /// Whole machines with a real systemd: units, packages, logins. Needs root, and Debian.
    Machines,
    /// The hub's image on a real node of Kubernetes. Builds that with Go, once: only when it is asked for.
    Cluster,
}

impl Group {
    /// Those that run when none is named.
    const USUAL: &[Self] = &[Self::Lint, Self::Nix, Self::Unit, Self::E2e, Self::Machines];
}

/// Runs the groups and prints the closing line.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let start = Instant::now();
    let workspace = Workspace::find()?;
    orphans::adopt()?;
    // Asked for now: building the tests replaces the file, and the system then calls it deleted.
    let xtask = std::env::current_exe()?;
    let mut groups = arguments.groups.clone();
    if groups.is_empty() {
        groups = Group::USUAL.to_vec();
    }
    groups.sort_unstable();
    groups.dedup();
    let only = arguments.only.as_deref().unwrap_or_default();
    let mut tally = Tally::default();
    for group in groups {
        interrupt::check()?;
        let (name, outcome) = match group {
            Group::Lint => ("lint", lint::run(&workspace, only, &mut tally)),
            Group::Nix => ("nix", nix::run(&workspace, only, &mut tally)),
            Group::Unit => ("unit", unit::run(&workspace, only, &mut tally)),
            Group::E2e => ("e2e", e2e::run(&workspace, &xtask, only, &mut tally)),
            Group::Machines => ("machines", machines::run(&workspace, only, &mut tally)),
            Group::Cluster => (
                "cluster",
                cluster::run(&workspace, &xtask, only, &mut tally),
            ),
        };
        if let Err(error) = outcome {
            interrupt::check()?;
            // What stops a whole group, such as code that does not compile, must not hide the other groups.
            tally.failed(name, "the whole group", &format!("{error:#}"));
        }
    }
    if arguments.groups.is_empty() {
        println!("\nnot part of this: {}", cluster::HINT);
    }
    tally.close(start.elapsed());
    Ok(if tally.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
