//! `open`, `dial` and `sessions`: the time until a new stream, or a new link, brings its first byte.

use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::step::within;
use super::{Opened, Stream, Way};
use crate::line::Times;
use crate::order::{BANNER, Order};

/// New streams, one after the other, on one link.
pub(super) async fn open(way: &Way, count: u32) -> Result<Value> {
    ensure!(count > 0, "nothing takes no time");
    let opened = way.open().await?;
    let mut times = Times::default();
    // The first stream warms up what later ones find warm, as in a link that is used.
    for number in 0..=count {
        let begun = Instant::now();
        let stream = first_byte(&opened).await?;
        if number > 0 {
            times.add(begun.elapsed());
        }
        end(stream).await?;
    }
    opened.close().await;
    Ok(said(&times))
}

/// New links, one after the other, each with a stream.
pub(super) async fn dial(way: &Way, count: u32) -> Result<Value> {
    ensure!(count > 0, "nothing takes no time");
    let mut times = Times::default();
    for _ in 0..count {
        // What a program does before it dials is not the hub's to answer for.
        let prepared = way.prepare()?;
        let begun = Instant::now();
        let opened = prepared.open().await?;
        let stream = first_byte(&opened).await?;
        times.add(begun.elapsed());
        end(stream).await?;
        opened.close().await;
    }
    Ok(said(&times))
}

fn said(times: &Times) -> Value {
    json!({
        "count": times.count(),
        "p50_us": times.micros(50),
        "p99_us": times.micros(99),
    })
}

/// Opens a stream, orders one byte with the first words, and waits for it.
pub(super) async fn first_byte(opened: &Opened) -> Result<Stream> {
    let come = async {
        let mut stream = opened.stream().await?;
        stream.write_all(&Order::Download(1).to_bytes()).await?;
        let mut answer = [0; BANNER.len() + 1];
        stream.read_exact(&mut answer).await?;
        ensure!(
            answer.starts_with(BANNER),
            "another target answers than kedge-load's"
        );
        Ok(stream)
    };
    within("the first byte of a new stream", come).await
}

/// Ends a stream whose answer has come, so that nothing of it is left for the next one to wait for.
async fn end(mut stream: Stream) -> Result<()> {
    let mut rest = [0; 1];
    let ending = async {
        stream.shutdown().await?;
        stream.read(&mut rest).await
    };
    let read = within("the end of a stream", ending).await?;
    ensure!(read == 0, "more came than was ordered");
    Ok(())
}
