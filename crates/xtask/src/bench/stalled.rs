//! One stream that is read, beside streams that nobody reads.

use anyhow::Result;

use super::measure::{Bench, Round, Running, Side, Wanted};
use super::row::{Against, Measured, Row, Sample, Unit};
use super::stage::Stage;
use super::ways::{Ways, rate};

/// Streams that nobody reads.
pub(crate) const STALLED: &str = "32";

const NAME: &str = "stalled-active";

/// The bench.
#[derive(Debug)]
pub(crate) struct Stalled;

impl Bench for Stalled {
    fn rows(&self) -> Vec<Row> {
        let against = Against::Counterpart("the same stream alone");
        vec![Row::higher(NAME, against, Unit::MibPerSecond).marks(0.8, 0.95)]
    }

    fn set_up(&self, stage: &Stage, _: &Wanted) -> Result<Box<dyn Running>> {
        let ways = Ways::start(stage)?;
        let mib = ways.sample_mib(stage, &[Side::Ours])?;
        Ok(Box::new(Run { ways, mib }))
    }
}

struct Run {
    ways: Ways,
    mib: u64,
}

impl Running for Run {
    fn measure(&mut self, stage: &Stage, round: &Round) -> Result<Vec<Measured>> {
        let bytes = self.mib.saturating_mul(1024 * 1024).to_string();
        // Both go through kedge. What differs is the company.
        let both = round.both(|side| {
            let stalled = match side {
                Side::Ours => STALLED,
                Side::Theirs => "0",
            };
            let work = ["beside", "--stalled", stalled, "--bytes", &bytes];
            rate(&self.ways.client(stage, Side::Ours, &work)?)
        })?;
        Ok(vec![Measured::new(
            NAME,
            Sample::pair(both.ours, both.theirs),
        )])
    }
}
