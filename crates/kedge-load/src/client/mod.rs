//! `kedge-load client`: moves bytes to and from a [target](crate::target), and says how long it took.
//!
//! Over a hub it is one link, dialled as `kedge proxy` dials it, with streams on it; over TCP each stream is a
//! connection. One thread, as in `kedge proxy`.

mod bulk;
mod echo;
mod hold;
mod open;
mod sessions;
mod step;
mod stream;
mod way;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use kedge_api::{HubUrl, Login, ServerName};
use kedge_tunnel::CertificatePin;
use tokio::time::timeout;

pub use stream::Stream;
pub use way::{HubWay, Opened, Prepared, Way};

use crate::{defaults, line};

/// Which way to a target, and what to do there.
#[derive(Args, Debug)]
pub struct ClientArgs {
    /// Straight to this address.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "hub")]
    tcp: Option<SocketAddr>,
    /// Through the hub at this URL.
    #[arg(long, value_name = "URL", requires_all = ["pin", "token_file", "server"], required_unless_present = "tcp")]
    hub: Option<HubUrl>,
    /// The pin of the hub's certificate.
    #[arg(long, requires = "hub")]
    pin: Option<CertificatePin>,
    /// A file with a person's token.
    #[arg(long, value_name = "FILE", requires = "hub")]
    token_file: Option<PathBuf>,
    /// The server whose agent stands before the target.
    #[arg(long, value_name = "NAME", requires = "hub")]
    server: Option<ServerName>,
    /// The login to ask for; the one that the hub chooses unless given.
    #[arg(long, requires = "hub")]
    login: Option<Login>,
    /// What to do.
    #[command(subcommand)]
    work: Work,
}

#[derive(Debug, Subcommand)]
enum Work {
    /// Downloads so many bytes beside streams that nobody reads.
    Beside {
        /// Streams that nobody reads.
        #[arg(long)]
        stalled: u32,
        /// Bytes to download.
        #[arg(long)]
        bytes: u64,
    },
    /// Moves so many bytes over so many streams, and says the seconds from the order to the last byte.
    Bulk {
        /// Which way the bytes go.
        #[arg(long)]
        direction: Direction,
        /// Streams at once.
        #[arg(long, default_value_t = 1)]
        streams: u32,
        /// Bytes over all of them together.
        #[arg(long)]
        bytes: u64,
    },
    /// Dials and opens a stream, again and again, and says how long its first byte takes.
    Dial {
        /// How often.
        #[arg(long)]
        count: u32,
    },
    /// Sends a few bytes and waits until they are back, again and again.
    Echo {
        /// How often.
        #[arg(long)]
        count: u32,
        /// Bytes each time.
        #[arg(long, default_value_t = 1)]
        size: usize,
        /// Streams beside it that carry as much as they can.
        #[arg(long, default_value_t = 0)]
        bulk: u32,
        /// Which way their bytes go.
        #[arg(long, default_value = "down")]
        bulk_direction: Direction,
    },
    /// Opens streams, says when they are ready, and holds them until standard input ends.
    Hold {
        /// How many.
        #[arg(long)]
        streams: u32,
        /// Links that carry them, by turns.
        #[arg(long, default_value_t = 1)]
        links: u32,
        /// Bytes that each has carried there and back before.
        #[arg(long, value_name = "BYTES", default_value_t = 0)]
        each_way: u64,
        /// Order more on each than is ever read; ready when no more comes in.
        #[arg(long, conflicts_with = "each_way")]
        stalled: bool,
        /// Go to so many servers by turns, `NAME-0` and so on, in place of the one `--server NAME`: to a fleet.
        #[arg(long, value_name = "N")]
        servers: Option<u32>,
    },
    /// Opens streams on one link, one after the other, and says how long their first byte takes.
    Open {
        /// How many.
        #[arg(long)]
        count: u32,
    },
    /// Dials as often as asked for, with a stream each, as fast as it goes; all are held until the last is open.
    Sessions {
        /// How often.
        #[arg(long)]
        count: u32,
        /// Dials at once.
        #[arg(long, default_value_t = 16)]
        parallel: u32,
    },
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Direction {
    /// From the target to the client.
    Down,
    /// From the client to the target.
    Up,
}

/// Does the work and says what came of it.
///
/// # Errors
///
/// When the target is not reached, or the work takes longer than any that is worth measuring.
pub async fn run(arguments: ClientArgs) -> Result<()> {
    let way = arguments.way()?;
    timeout(defaults::WORK_TIME, work(&way, arguments.work))
        .await
        .context("it does not come to an end")?
}

async fn work(way: &Way, work: Work) -> Result<()> {
    let line = match work {
        Work::Beside { stalled, bytes } => hold::beside(way, stalled, bytes).await?,
        Work::Bulk {
            direction,
            streams,
            bytes,
        } => bulk::run(way, direction, streams, bytes).await?,
        Work::Dial { count } => open::dial(way, count).await?,
        Work::Echo {
            count,
            size,
            bulk,
            bulk_direction,
        } => {
            let beside = echo::Beside {
                streams: bulk,
                direction: bulk_direction,
            };
            echo::run(way, count, size, beside).await?
        }
        Work::Hold {
            streams,
            links,
            each_way,
            stalled,
            servers,
        } => {
            let held = hold::Held {
                streams,
                links,
                servers,
                carried: match stalled {
                    true => hold::Carried::Stalled,
                    false => hold::Carried::EachWay(each_way),
                },
            };
            return hold::hold(way, held).await;
        }
        Work::Open { count } => open::open(way, count).await?,
        Work::Sessions { count, parallel } => sessions::run(way, count, parallel).await?,
    };
    line::say(&line)
}

impl ClientArgs {
    fn way(&self) -> Result<Way> {
        if let Some(address) = self.tcp {
            return Ok(Way::Tcp(address));
        }
        let (Some(url), Some(pin), Some(file), Some(server)) =
            (&self.hub, self.pin, &self.token_file, &self.server)
        else {
            bail!("a hub needs --pin, --token-file and --server");
        };
        let (server, login) = (server.clone(), self.login.clone());
        let way = HubWay::new(url.clone(), pin, file, server, login)?;
        Ok(Way::Hub(Box::new(way)))
    }
}
