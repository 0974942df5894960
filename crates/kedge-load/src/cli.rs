//! The words of the command line.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use tokio::runtime::Builder;

use crate::client::ClientArgs;
use crate::fleet::FleetArgs;
use crate::target::Target;
use crate::{client, defaults, delay, fleet, line, relay, server};

/// Programs that the benchmark drives kedge with.
#[derive(Debug, Parser)]
#[command(name = "kedge-load", version)]
pub struct Cli {
    /// Which program.
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Moves bytes, over a hub or over TCP, and says how long it took.
    Client(Box<ClientArgs>),
    /// Passes connections on to another address, and every byte so much later: a long link.
    Delay {
        /// Where connections go.
        #[arg(long, value_name = "ADDRESS")]
        to: SocketAddr,
        /// Milliseconds that a byte takes, there and back each.
        #[arg(long, value_name = "MS")]
        one_way_ms: u64,
        /// A connection takes a round trip to be there, as it does on a long link.
        #[arg(long)]
        handshake: bool,
        #[command(flatten)]
        listen: Listen,
    },
    /// Is thousands of agents that join a hub and stay connected.
    Fleet(Box<FleetArgs>),
    /// Copies connections to another address: one hop of what a tunnel is compared with.
    Relay {
        /// Where connections go.
        #[arg(long, value_name = "ADDRESS")]
        to: SocketAddr,
        #[command(flatten)]
        listen: Listen,
    },
    /// Serves in place of an sshd: sends, takes and echoes bytes as it is told.
    Target(Listen),
}

#[derive(Args, Clone, Copy, Debug)]
struct Listen {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

/// Runs the command, and says on standard error why it failed.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    match run_command(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            line::complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn run_command(command: Command) -> Result<()> {
    let threads = match &command {
        Command::Fleet(arguments) => arguments.threads().get(),
        _ => 1,
    };
    let mut builder = match threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    let runtime = builder
        .worker_threads(threads)
        .max_blocking_threads(defaults::BLOCKING_THREADS)
        .enable_all()
        .build()
        .context("cannot start")?;
    let done = runtime.block_on(async {
        match command {
            Command::Client(arguments) => client::run(*arguments).await,
            Command::Delay {
                to,
                one_way_ms,
                handshake,
                listen,
            } => {
                let line = delay::Line {
                    to,
                    one_way: Duration::from_millis(one_way_ms),
                    handshake: match handshake {
                        true => delay::Handshake::Delayed,
                        false => delay::Handshake::Local,
                    },
                };
                server::run(listen.listen, |stream| delay::serve(stream, line)).await
            }
            Command::Fleet(arguments) => fleet::run(*arguments).await,
            Command::Relay { to, listen } => {
                server::run(listen.listen, |stream| relay::serve(stream, to)).await
            }
            Command::Target(listen) => {
                let target = Target::default();
                server::run(listen.listen, |stream| target.clone().serve(stream)).await
            }
        }
    });
    // A thread that still reads standard input is not waited for.
    runtime.shutdown_background();
    done
}
