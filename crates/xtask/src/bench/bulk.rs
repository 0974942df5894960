//! Throughput of one stream and of sixteen, and the processor time it takes hub and agent.

use anyhow::Result;

use super::measure::{Bench, Round, Running, Side, Wanted};
use super::row::{Against, Measured, Row, Sample, Unit};
use super::stage::Stage;
use super::ways::{self, TWO_HOP_COPY, Ways};

const AGAINST: Against = Against::Counterpart(TWO_HOP_COPY);

/// The transfers: the row of the throughput, the direction, the streams, and the rows of the processor time: of hub and
/// agent together, of the hub, of the agent.
const TRANSFERS: &[(&str, &str, u32, [&str; 3])] = &[
    (
        "bulk-down-1",
        "down",
        1,
        ["cpu-down", "cpu-hub-down", "cpu-agent-down"],
    ),
    (
        "bulk-up-1",
        "up",
        1,
        ["cpu-up", "cpu-hub-up", "cpu-agent-up"],
    ),
    ("bulk-down-16", "down", 16, NO_CPU),
    ("bulk-up-16", "up", 16, NO_CPU),
];

/// Not measured.
const NO_CPU: [&str; 3] = [""; 3];

/// MiB of a GiB.
const GIB: f64 = 1024.0;

/// The bench.
#[derive(Debug)]
pub(crate) struct Bulk;

impl Bench for Bulk {
    fn rows(&self) -> Vec<Row> {
        let bulk = |name| Row::higher(name, AGAINST, Unit::MibPerSecond).marks(0.55, 0.70);
        let cpu = |name| Row::lower(name, AGAINST, Unit::CpuSecondsPerGib).marks(2.0, 1.6);
        let alone = |name| Row::lower(name, Against::Nothing, Unit::CpuSecondsPerGib);
        let both = TRANSFERS.iter().filter(|transfer| transfer.3 != NO_CPU);
        let throughput = TRANSFERS.iter().map(|transfer| bulk(transfer.0));
        let together = both.clone().map(|transfer| cpu(transfer.3[0]));
        let single = both.flat_map(|transfer| [alone(transfer.3[1]), alone(transfer.3[2])]);
        throughput.chain(together).chain(single).collect()
    }

    fn set_up(&self, stage: &Stage, _: &Wanted) -> Result<Box<dyn Running>> {
        let ways = Ways::start(stage)?;
        let mib = ways.sample_mib(stage)?;
        Ok(Box::new(Run { ways, mib }))
    }
}

struct Run {
    ways: Ways,
    mib: u64,
}

/// What one transfer took.
#[derive(Clone, Copy)]
struct Taken {
    rate: f64,
    /// CPU s/GiB of the hub or the near relay, and of the agent or the far one.
    cpu: [f64; 2],
}

impl Running for Run {
    fn measure(&mut self, stage: &Stage, round: &Round) -> Result<Vec<Measured>> {
        let mut measured = Vec::new();
        for &(row, direction, streams, cpu) in TRANSFERS {
            if !round.wanted.has(row) && !round.wanted.any(&cpu) {
                continue;
            }
            let bulk = ways::Bulk {
                direction,
                streams,
                mib: self.mib,
            };
            let both = round.both(|side| self.transfer(stage, side, &bulk))?;
            let (ours, theirs) = (both.ours, both.theirs);
            measured.push(Measured::new(row, Sample::pair(ours.rate, theirs.rate)));
            if cpu != NO_CPU {
                let sum = |taken: Taken| taken.cpu.iter().sum();
                let [together, hub, agent] = cpu;
                measured.push(Measured::new(
                    together,
                    Sample::pair(sum(ours), sum(theirs)),
                ));
                measured.push(Measured::new(hub, Sample::alone(ours.cpu[0])));
                measured.push(Measured::new(agent, Sample::alone(ours.cpu[1])));
            }
        }
        Ok(measured)
    }
}

impl Run {
    fn transfer(&mut self, stage: &Stage, side: Side, bulk: &ways::Bulk) -> Result<Taken> {
        let before = self.ways.cpu(side)?;
        let rate = self.ways.bulk(stage, side, bulk)?;
        let after = self.ways.cpu(side)?;
        #[expect(
            clippy::cast_precision_loss,
            reason = "a sample's MiB are far below 2^52"
        )]
        let gib = bulk.mib as f64 / GIB;
        let spent = [
            after.0.saturating_sub(before.0),
            after.1.saturating_sub(before.1),
        ];
        Ok(Taken {
            rate,
            cpu: spent.map(|spent| spent.as_secs_f64() / gib),
        })
    }
}
