//! Two ways to one target: through kedge, and through two hops of a plain copy.
//!
//! ```text
//!           ┌─ TLS ─► hub ◄─ TLS ─ agent ─┐
//!  client ──┤                             ├──► target
//!           └─► relay ────► relay ────────┘
//! ```

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use super::measure::Side;
use super::stage::{Route, Server, Stage, cpu, number, tcp_words};

/// What the plain way is called in a row.
pub(crate) const TWO_HOP_COPY: &str = "two-hop copy";

/// Bytes of a MiB.
pub(crate) const MIB: f64 = 1024.0 * 1024.0;

/// MiB of the transfer that tells how much fits into a sample.
const TRIAL_MIB: u64 = 32;

/// Seconds that a sample of the faster way takes: long beside a start of a process and a clock tick of 10 ms.
const SAMPLE_SECONDS: f64 = 1.0;

/// The most MiB of a sample, for machines of tomorrow.
const SAMPLE_MIB_MOST: f64 = 16.0 * 1024.0;

/// Both ways. Dropped in this order.
#[derive(Debug)]
pub(crate) struct Ways {
    /// Through kedge.
    pub(crate) route: Route,
    /// The two hops, the near one first.
    pub(crate) relays: [Server; 2],
    /// Where both lead.
    _target: Server,
}

impl Ways {
    /// Starts both.
    pub(crate) fn start(stage: &Stage) -> Result<Self> {
        let target = stage.serve(&["target"])?;
        let far = stage.serve(&["relay", "--to", &target.address().to_string()])?;
        let near = stage.serve(&["relay", "--to", &far.address().to_string()])?;
        let route = stage.route(target.address())?;
        Ok(Self {
            route,
            relays: [near, far],
            _target: target,
        })
    }

    /// Runs the client one way or the other.
    pub(crate) fn client(&self, stage: &Stage, side: Side, work: &[&str]) -> Result<Value> {
        let mut words = match side {
            Side::Ours => self.route.words()?,
            Side::Theirs => tcp_words(self.relays[0].address()),
        };
        words.extend(work.iter().map(|&word| word.to_owned()));
        stage.load(&words)
    }

    /// Carries bytes, and says how fast.
    pub(crate) fn bulk(&self, stage: &Stage, side: Side, bulk: &Bulk) -> Result<f64> {
        let words = bulk.words();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        rate(&self.client(stage, side, &words)?)
    }

    /// How many MiB make a sample of about a second for whichever of these is faster.
    pub(crate) fn sample_mib(&self, stage: &Stage, sides: &[Side]) -> Result<u64> {
        let trial = Bulk {
            direction: "down",
            streams: 1,
            mib: TRIAL_MIB,
        };
        let mut fastest = 0.0_f64;
        for side in sides {
            fastest = fastest.max(self.bulk(stage, *side, &trial)?);
        }
        Ok(sample_mib(fastest))
    }

    /// Processor time so far: of hub and agent, or of the two relays.
    pub(crate) fn cpu(&mut self, side: Side) -> Result<(Duration, Duration)> {
        match side {
            Side::Ours => self.route.cpu(),
            Side::Theirs => Ok((cpu(self.relays[0].pid())?, cpu(self.relays[1].pid())?)),
        }
    }
}

/// A transfer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bulk {
    /// `down` or `up`, as the loading program says.
    pub(crate) direction: &'static str,
    /// Streams that share it.
    pub(crate) streams: u32,
    /// How much, over all streams.
    pub(crate) mib: u64,
}

impl Bulk {
    /// The words of the loading program's client.
    pub(crate) fn words(&self) -> Vec<String> {
        let bytes = self.mib.saturating_mul(1024 * 1024);
        [
            "bulk",
            "--direction",
            self.direction,
            "--streams",
            &self.streams.to_string(),
            "--bytes",
            &bytes.to_string(),
        ]
        .map(str::to_owned)
        .to_vec()
    }
}

/// MiB/s of an answer with bytes and seconds.
///
/// # Errors
///
/// When they are missing.
pub(crate) fn rate(answer: &Value) -> Result<f64> {
    Ok(number(answer, "bytes")? / MIB / number(answer, "seconds")?)
}

/// How many MiB make a sample at this many MiB/s: a multiple of sixteen, so that sixteen streams share it evenly.
pub(crate) fn sample_mib(rate: f64) -> u64 {
    let mib = (rate * SAMPLE_SECONDS).clamp(16.0, SAMPLE_MIB_MOST);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped between two small numbers above zero"
    )]
    let sixteenths = (mib / 16.0) as u64;
    sixteenths.saturating_mul(16)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn samples_are_shared_evenly() {
        assert_eq!(sample_mib(800.0), 800);
        assert_eq!(sample_mib(807.9), 800);
        assert_eq!(sample_mib(0.5), 16);
        assert_eq!(sample_mib(f64::INFINITY), 16 * 1024);
    }

    #[test]
    fn rates_are_per_second() {
        let rate = rate(&json!({ "bytes": 3 * 1024 * 1024, "seconds": 2.0 })).unwrap();
        assert!((rate - 1.5).abs() < 1e-9);
        assert!(super::rate(&json!({ "bytes": 1 })).is_err());
    }
}
