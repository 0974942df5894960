//! A keystroke and its echo, with nothing else on the way.

use anyhow::Result;

use super::measure::{Bench, Round, Running, Wanted};
use super::row::{Against, Measured, Row, Sample, Unit};
use super::stage::{Stage, number};
use super::ways::{TWO_HOP_COPY, Ways};

const AGAINST: Against = Against::Counterpart(TWO_HOP_COPY);

/// Keystrokes of a sample: fifty of them lie beyond the 99th percentile.
const KEYSTROKES: &str = "5000";

/// The bench.
#[derive(Debug)]
pub(crate) struct Echo;

impl Bench for Echo {
    fn rows(&self) -> Vec<Row> {
        ["echo-p50", "echo-p99"]
            .map(|name| Row::lower(name, AGAINST, Unit::Microseconds))
            .to_vec()
    }

    fn set_up(&self, stage: &Stage, _: &Wanted) -> Result<Box<dyn Running>> {
        Ok(Box::new(Run(Ways::start(stage)?)))
    }
}

struct Run(Ways);

impl Running for Run {
    fn measure(&mut self, stage: &Stage, round: &Round) -> Result<Vec<Measured>> {
        let work = ["echo", "--count", KEYSTROKES];
        let both = round.both(|side| self.0.client(stage, side, &work))?;
        [("echo-p50", "p50_us"), ("echo-p99", "p99_us")]
            .into_iter()
            .map(|(row, field)| {
                let sample = Sample::pair(number(&both.ours, field)?, number(&both.theirs, field)?);
                Ok(Measured::new(row, sample))
            })
            .collect()
    }
}
