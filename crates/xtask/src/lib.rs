//! Developer commands: `cargo xtask demo`, `test`, `bench`, `deb`, `generate`, `bless`, `image`, `tools`.
//!
//! It builds and runs what is in this repository, and what it starts ends with it: children live in process groups of
//! their own and are ended by id, on success, on failure, on Ctrl-C and on SIGTERM.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a developer reads this on a terminal"
)]

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

mod bench;
mod bless;
mod builder;
mod cluster;
mod deb;
mod defaults;
mod demo;
mod generate;
mod image;
mod interrupt;
mod network_namespace;
mod owner;
mod packages;
mod test;
mod tools;

/// Developer commands of kedge.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Commands {
    /// Measure the tunnel against what people would use instead.
    Bench(bench::Arguments),
    /// Refresh the goldens and the generated files.
    Bless,
    /// What `cargo xtask test cluster` starts in namespaces of its own.
    #[command(hide = true)]
    ClusterInside(cluster::Inside),
    /// Build the Debian packages of agent, hub and command line.
    Deb(deb::Arguments),
    /// Start a hub, an agent and a scratch sshd, and go the whole way with the system's ssh.
    Demo(demo::Arguments),
    /// Write docs/reference, docs/man and manifests/base/crd from the programs themselves.
    Generate,
    /// Put the hub into a container image, without a container engine.
    Image(image::Arguments),
    /// Run everything, or only some groups.
    Test(test::Arguments),
    /// Build etcd, kube-apiserver and kubectl for the tests, once, into the user's cache.
    Tools,
}

/// Parses the command line and runs it.
#[must_use]
pub fn main() -> ExitCode {
    let commands = Commands::parse();
    match run(commands) {
        Ok(code) => code,
        Err(error) if interrupt::happened() => {
            eprintln!("interrupted: {error:#}");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(commands: Commands) -> Result<ExitCode> {
    interrupt::watch()?;
    match commands {
        Commands::Bench(arguments) => bench::run(&arguments),
        Commands::Bless => bless::run(),
        Commands::ClusterInside(arguments) => cluster::run_inside(&arguments),
        Commands::Deb(arguments) => deb::run(&arguments),
        Commands::Demo(arguments) => demo::run(&arguments),
        Commands::Generate => generate::run(),
        Commands::Image(arguments) => image::run(&arguments),
        Commands::Test(arguments) => test::run(&arguments),
        Commands::Tools => tools::run(),
    }
}
