//! `hold` and `beside`: streams that stay, idle or full.

use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::io::{self, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::step::{give, take, within};
use super::{Opened, Stream, Way, bulk};
use crate::order::{self, Order};
use crate::{defaults, line};

/// What is held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    /// Streams.
    pub(super) streams: u32,
    /// Links that carry them, by turns.
    pub(super) links: u32,
    /// Servers that they go to, by turns; `None` goes to the one server.
    pub(super) servers: Option<u32>,
    /// What they have carried.
    pub(super) carried: Carried,
}

/// What streams have carried before they are held.
#[derive(Clone, Copy, Debug)]
pub(super) enum Carried {
    /// So many bytes there and back.
    EachWay(u64),
    /// As much as fits between a target that sends and a client that does not read.
    Stalled,
}

/// Opens streams, says when they are ready, and holds them until standard input ends.
pub(super) async fn hold(way: &Way, held: Held) -> Result<()> {
    ensure!(held.links > 0, "no link carries nothing");
    let mut links = Vec::new();
    for _ in 0..held.links {
        links.push(way.open().await?);
    }
    let mut streams = Vec::new();
    for (number, opened) in (0..held.streams).zip(links.iter().cycle()) {
        let server = held.servers.map(|servers| number % servers.max(1));
        let mut stream = opened.stream_to(server).await?;
        stream.read_banner().await?;
        streams.push(stream);
    }
    let streams = match held.carried {
        Carried::EachWay(bytes) => each_way(streams, bytes).await?,
        Carried::Stalled => {
            stall(&mut streams).await?;
            settled(&links, &streams).await?;
            streams
        }
    };
    line::say(&json!({ "ready": true }))?;
    io::copy(&mut io::stdin(), &mut io::sink())
        .await
        .context("cannot read standard input")?;
    drop(streams);
    for opened in links {
        opened.close().await;
    }
    Ok(())
}

/// One download beside streams that nobody reads.
pub(super) async fn beside(way: &Way, stalled: u32, bytes: u64) -> Result<Value> {
    let opened = way.open().await?;
    let mut streams = Vec::new();
    for _ in 0..stalled {
        streams.push(opened.ready_stream().await?);
    }
    stall(&mut streams).await?;
    let opened = [opened];
    settled(&opened, &streams).await?;
    let [opened] = opened;
    let mut active = opened.ready_stream().await?;
    let begun = Instant::now();
    bulk::download(&mut active, bytes).await?;
    let seconds = begun.elapsed().as_secs_f64();
    drop(streams);
    opened.close().await;
    Ok(json!({ "seconds": seconds, "bytes": bytes }))
}

/// Orders more on each stream than anybody will read.
async fn stall(streams: &mut [Stream]) -> Result<()> {
    for stream in streams {
        let order = Order::Download(u64::MAX).to_bytes();
        within(
            "the order of a stream that nobody reads",
            stream.write_all(&order),
        )
        .await?;
    }
    Ok(())
}

/// Waits until nothing more comes in.
async fn settled(links: &[Opened], streams: &[Stream]) -> Result<()> {
    let begun = Instant::now();
    let (mut last, mut since) = (None, begun);
    while since.elapsed() < defaults::SETTLED_TIME {
        let mut come = links.iter().map(Opened::received).sum::<u64>();
        for stream in streams {
            come += stream.unread()?;
        }
        if last != Some(come) {
            (last, since) = (Some(come), Instant::now());
        }
        if begun.elapsed() > defaults::SETTLING_TIME {
            let streams = streams.len();
            bail!("{streams} streams that nobody reads take more and more: {last:?} bytes so far");
        }
        sleep(defaults::SETTLING_LOOK).await;
    }
    Ok(())
}

/// Sends so many bytes over each stream, and takes them back meanwhile.
async fn each_way(streams: Vec<Stream>, bytes: u64) -> Result<Vec<Stream>> {
    let mut carrying = JoinSet::new();
    let (mut waiting, mut done) = (streams.into_iter(), Vec::new());
    for stream in waiting.by_ref().take(defaults::CARRYING) {
        carrying.spawn(there_and_back(stream, bytes));
    }
    while let Some(carried) = carrying.join_next().await {
        done.push(carried??);
        if let Some(stream) = waiting.next() {
            carrying.spawn(there_and_back(stream, bytes));
        }
    }
    Ok(done)
}

async fn there_and_back(mut stream: Stream, bytes: u64) -> Result<Stream> {
    let order = Order::Echo.to_bytes();
    within("the order of an echo", stream.write_all(&order)).await?;
    if bytes > 0 {
        let (mut back, mut there) = io::split(stream);
        let sent = order::seamless(defaults::BUFFER);
        tokio::try_join!(
            give("the way there", &mut there, &sent, bytes),
            take("the way back", &mut back, bytes)
        )?;
        stream = back.unsplit(there);
    }
    Ok(stream)
}
