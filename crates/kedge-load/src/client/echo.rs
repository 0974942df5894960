//! `echo`: what a keystroke waits for, alone or beside streams that carry as much as they can.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::step::within;
use super::{Direction, Opened, Stream, Way};
use crate::defaults;
use crate::line::Times;
use crate::order::{self, Order};

/// What goes on beside the echo.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beside {
    /// How many streams.
    pub(super) streams: u32,
    /// Which way their bytes go.
    pub(super) direction: Direction,
}

pub(super) async fn run(way: &Way, count: u32, size: usize, beside: Beside) -> Result<Value> {
    ensure!(count > 0 && size > 0, "nothing echoes nothing");
    let opened = way.open().await?;
    let mut stream = opened.ready_stream().await?;
    let order = Order::Echo.to_bytes();
    within("the order of an echo", stream.write_all(&order)).await?;
    let moved = Arc::new(AtomicU64::new(0));
    // Dropped with this function, and its streams with it.
    let mut bulk = start(&opened, beside, &moved).await?;
    let mut bytes = order::pattern(size);
    for _ in 0..defaults::WARM_UP {
        once(&mut stream, &mut bytes).await?;
    }
    let mut times = Times::default();
    let (begun, before) = (Instant::now(), moved.load(Ordering::Relaxed));
    for _ in 0..count {
        let sent = Instant::now();
        once(&mut stream, &mut bytes).await?;
        times.add(sent.elapsed());
    }
    let seconds = begun.elapsed().as_secs_f64();
    let bulk_bytes = moved.load(Ordering::Relaxed) - before;
    if let Some(ended) = bulk.try_join_next() {
        ended?.context("a stream beside it broke off")?;
    }
    drop(bulk);
    within("the end of an echo", stream.shutdown()).await?;
    opened.close().await;
    Ok(json!({
        "count": count,
        "p50_us": times.micros(50),
        "p99_us": times.micros(99),
        "max_us": times.micros(100),
        "bulk_bytes": bulk_bytes,
        "seconds": seconds,
    }))
}

async fn once(stream: &mut Stream, bytes: &mut [u8]) -> Result<()> {
    let back = async {
        stream.write_all(bytes).await?;
        stream.read_exact(bytes).await
    };
    within("an echo", back).await.map(drop)
}

/// Starts streams without an end, and waits until all of them flow.
async fn start(
    opened: &Opened,
    beside: Beside,
    moved: &Arc<AtomicU64>,
) -> Result<JoinSet<io::Result<()>>> {
    let mut bulk = JoinSet::new();
    // One word of each stream.
    let (flowing, mut flows) = mpsc::channel(beside.streams.max(1).try_into()?);
    for _ in 0..beside.streams {
        let stream = opened.ready_stream().await?;
        let meter = Meter {
            moved: Arc::clone(moved),
            own: 0,
            flowing: Some(flowing.clone()),
        };
        match beside.direction {
            Direction::Down => bulk.spawn(down(stream, meter)),
            Direction::Up => bulk.spawn(up(stream, meter)),
        };
    }
    drop(flowing);
    for _ in 0..beside.streams {
        let flows = async { flows.recv().await.context("it ended") };
        within("a stream beside an echo", flows).await?;
    }
    Ok(bulk)
}

/// Counts what a stream carries, and says once that it flows.
struct Meter {
    moved: Arc<AtomicU64>,
    own: u64,
    flowing: Option<mpsc::Sender<()>>,
}

impl Meter {
    fn add(&mut self, bytes: usize) {
        self.own += bytes as u64;
        self.moved.fetch_add(bytes as u64, Ordering::Relaxed);
        if self.own >= defaults::FLOWING_BYTES
            && let Some(flowing) = self.flowing.take()
        {
            // There is room for one word of each.
            let _ = flowing.try_send(());
        }
    }
}

async fn down(mut stream: Stream, mut meter: Meter) -> io::Result<()> {
    stream
        .write_all(&Order::Download(u64::MAX).to_bytes())
        .await?;
    let mut buffer = vec![0; defaults::BUFFER];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => meter.add(read),
        }
    }
}

async fn up(mut stream: Stream, mut meter: Meter) -> io::Result<()> {
    stream
        .write_all(&Order::Upload(u64::MAX).to_bytes())
        .await?;
    let sent = order::seamless(defaults::BUFFER);
    loop {
        meter.add(stream.write(&sent).await?);
    }
}
