//! `bulk`: as many bytes as asked for, over one stream or several.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use super::step::{give, take, within};
use super::{Direction, Stream, Way};
use crate::defaults;
use crate::order::{self, Order};

pub(super) async fn run(
    way: &Way,
    direction: Direction,
    streams: u32,
    bytes: u64,
) -> Result<Value> {
    ensure!(streams > 0, "no stream carries nothing");
    let opened = way.open().await?;
    let mut ready = Vec::new();
    for _ in 0..streams {
        ready.push(opened.ready_stream().await?);
    }
    let sent = Arc::new(order::seamless(defaults::BUFFER));
    let mut moving = JoinSet::new();
    let begun = Instant::now();
    for (number, mut stream) in (0..).zip(ready) {
        let sent = Arc::clone(&sent);
        let share = share(bytes, streams, number);
        moving.spawn(async move {
            match direction {
                Direction::Down => download(&mut stream, share).await,
                Direction::Up => upload(&mut stream, &sent, share).await,
            }
            .map(|()| stream)
        });
    }
    let mut done = Vec::new();
    while let Some(moved) = moving.join_next().await {
        done.push(moved??);
    }
    let seconds = begun.elapsed().as_secs_f64();
    for mut stream in done {
        within("the end of a stream", stream.shutdown()).await?;
    }
    opened.close().await;
    Ok(json!({ "seconds": seconds, "bytes": bytes }))
}

/// What stream `number` of `streams` has of `bytes`: the first ones carry what cannot be divided.
fn share(bytes: u64, streams: u32, number: u32) -> u64 {
    let streams = u64::from(streams);
    bytes / streams + u64::from(u64::from(number) < bytes % streams)
}

/// Orders so many bytes and reads them.
pub(super) async fn download(stream: &mut Stream, bytes: u64) -> Result<()> {
    let order = Order::Download(bytes).to_bytes();
    within("the order of a download", stream.write_all(&order)).await?;
    take("a download", stream, bytes).await
}

/// Sends so many bytes and waits until the target has them all.
async fn upload(stream: &mut Stream, sent: &[u8], bytes: u64) -> Result<()> {
    let order = Order::Upload(bytes).to_bytes();
    within("the order of an upload", stream.write_all(&order)).await?;
    give("an upload", stream, sent, bytes).await?;
    let mut taken = [0; 8];
    within("the receipt of an upload", stream.read_exact(&mut taken)).await?;
    let taken = u64::from_be_bytes(taken);
    ensure!(
        taken == bytes,
        "the target took {taken} bytes of an upload of {bytes}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_even_and_whole() {
        for (bytes, streams) in [(0, 3), (2, 3), (10, 3), (u64::MAX, 16)] {
            let shares: Vec<u64> = (0..streams).map(|n| share(bytes, streams, n)).collect();
            assert_eq!(shares.iter().sum::<u64>(), bytes);
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
        }
    }
}
