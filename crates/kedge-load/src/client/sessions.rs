//! `sessions`: new links with a stream each, as fast as they go, held until the last one is open.

use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::open::first_byte;
use super::{Opened, Prepared, Stream, Way};
use crate::line;

pub(super) async fn run(way: &Way, count: u32, parallel: u32) -> Result<Value> {
    ensure!(parallel > 0, "nobody opens nothing");
    let prepared: Result<Vec<Prepared>> = (0..count).map(|_| way.prepare()).collect();
    let mut waiting = prepared?.into_iter();
    let mut opening = JoinSet::new();
    let (mut held, mut failed) = (Vec::new(), 0);
    let begun = Instant::now();
    for prepared in waiting.by_ref().take(parallel.try_into()?) {
        opening.spawn(one(prepared));
    }
    while let Some(opened) = opening.join_next().await {
        match opened? {
            Ok(session) => held.push(session),
            Err(error) => {
                if failed == 0 {
                    line::complain(&error);
                }
                failed += 1;
            }
        }
        if let Some(prepared) = waiting.next() {
            opening.spawn(one(prepared));
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let said = json!({ "opened": held.len(), "failed": failed, "seconds": seconds });
    let mut closing = JoinSet::new();
    for (opened, stream) in held {
        drop(stream);
        closing.spawn(opened.close());
    }
    closing.join_all().await;
    Ok(said)
}

async fn one(prepared: Prepared) -> Result<(Opened, Stream)> {
    let opened = prepared.open().await?;
    let stream = first_byte(&opened).await?;
    Ok((opened, stream))
}
