//! `cargo xtask bless`: takes what the programs say now as what they should say.

use std::process::ExitCode;

use anyhow::Result;

use crate::builder::{Step, Workspace, cargo};
use crate::test::nix;
use crate::{defaults, generate, tools};

/// Refreshes the snapshots of all tests and the generated files. Read the difference before committing it.
pub(crate) fn run() -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    tools::ensure_built(&workspace)?;
    let mut command = cargo();
    command.args([
        "test",
        "--locked",
        "--workspace",
        "--exclude",
        "kedge-e2e",
        "--no-fail-fast",
    ]);
    command
        .env("INSTA_UPDATE", "always")
        .env("INSTA_FORCE_PASS", "1");
    Step::new(command).shown(defaults::BUILD)?;
    nix::bless(&workspace)?;
    generate::run()
}
