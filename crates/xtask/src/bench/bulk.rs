//! Throughput of one stream and of sixteen, and the processor time it takes hub and agent.

use anyhow::Result;

use super::measure::{Bench, Round, Running, Side, Wanted};
use super::row::{Against, Measured, Row, Sample, Unit};
use super::stage::Stage;
use super::ways::{self, TWO_HOP_COPY, Ways};

const AGAINST: Against = Against::Counterpart(TWO_HOP_COPY);

/// A transfer, and the rows it feeds.
#[derive(Clone, Copy)]
struct Transfer {
    /// The row of the throughput.
    row: &'static str,
    /// As the loading program says it.
    direction: &'static str,
    streams: u32,
    /// The row of the processor time of both hops, if it is looked at.
    cpu: Option<&'static str>,
}

const TRANSFERS: [Transfer; 4] = [
    Transfer {
        row: "bulk-down-1",
        direction: "down",
        streams: 1,
        cpu: Some("cpu-down"),
    },
    Transfer {
        row: "bulk-up-1",
        direction: "up",
        streams: 1,
        cpu: Some("cpu-up"),
    },
    Transfer {
        row: "bulk-down-16",
        direction: "down",
        streams: 16,
        cpu: None,
    },
    Transfer {
        row: "bulk-up-16",
        direction: "up",
        streams: 16,
        cpu: None,
    },
];

/// The rows of the hub's and the agent's share: the mean of down and up.
const SHARES: [&str; 2] = ["cpu-hub", "cpu-agent"];

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
        let throughput = TRANSFERS.iter().map(|transfer| bulk(transfer.row));
        let together = TRANSFERS.iter().filter_map(|transfer| transfer.cpu);
        let shares = SHARES.into_iter().map(alone);
        throughput.chain(together.map(cpu)).chain(shares).collect()
    }

    fn set_up(&self, stage: &Stage, _: &Wanted) -> Result<Box<dyn Running>> {
        let ways = Ways::start(stage)?;
        let mib = ways.sample_mib(stage, &[Side::Ours, Side::Theirs])?;
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
        let mut shares = Vec::new();
        for transfer in TRANSFERS {
            let cpu = transfer.cpu.filter(|cpu| {
                let wanted = &round.wanted;
                wanted.has(cpu) || wanted.any(&SHARES)
            });
            if !round.wanted.has(transfer.row) && cpu.is_none() {
                continue;
            }
            let bulk = ways::Bulk {
                direction: transfer.direction,
                streams: transfer.streams,
                mib: self.mib,
            };
            let both = round.both(|side| self.transfer(stage, side, &bulk))?;
            let (ours, theirs) = (both.ours, both.theirs);
            let rate = Sample::pair(ours.rate, theirs.rate);
            measured.push(Measured::new(transfer.row, rate));
            if let Some(cpu) = cpu {
                let sum = |taken: Taken| taken.cpu.iter().sum();
                let both = Sample::pair(sum(ours), sum(theirs));
                measured.push(Measured::new(cpu, both));
                shares.push(ours.cpu);
            }
        }
        if let [down, up] = shares.as_slice() {
            let mean = down
                .iter()
                .zip(up)
                .map(|(down, up)| f64::midpoint(*down, *up));
            let rows = SHARES.into_iter().zip(mean);
            measured.extend(rows.map(|(row, mean)| Measured::new(row, Sample::alone(mean))));
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
