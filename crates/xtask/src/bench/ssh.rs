//! Plain OpenSSH through kedge, with the configuration that `kedge ssh-config` generates, against the same OpenSSH by
//! other ways: whole commands, timed from their start to their end, as a person waits for them.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use super::figures::median;
use super::measure::{Bench, Pace, Round, Running, Side, Wanted};
use super::openssh::{Way, Ways, quiet, zeros};
use super::others::Program;
use super::row::{Against, Measured, Row, Sample, Unit};
use super::stage::Stage;
use super::timed::timed;

/// Bytes that are copied: 1 GiB, so that the key exchange (0.2 s) is little beside.
const BULK: u64 = 1024 * MIB;

/// Bytes that are copied for a first look.
const BULK_QUICK: u64 = 512 * MIB;

/// Copying those, on a slow machine.
const BULK_LIMIT: Duration = Duration::from_secs(300);

/// How often `ssh NAME true` is run each way for one sample: their median is taken after about 2 s.
const RUNS: usize = 10;

/// The same for a first look.
const RUNS_QUICK: usize = 6;

/// One `ssh NAME true`, on a slow machine.
const RUN_LIMIT: Duration = Duration::from_secs(60);

const MIB: u64 = 1024 * 1024;

/// What kedge is compared with, and the names of the rows.
#[derive(Clone, Copy, Debug)]
struct Comparison {
    way: Way,
    words: &'static str,
    down: &'static str,
    up: &'static str,
    whole: &'static str,
}

/// Milliseconds that kedge adds to a direct session.
const ADDED: &str = "ssh-true-added";

/// Milliseconds that kedge adds to a session whose `ProxyCommand` only copies. The stricter of the two: on a
/// connection of its own `ssh` waits twice for a delayed acknowledgement (40 ms each, where the kernel delays them),
/// because it sends small packets one after the other without `TCP_NODELAY`; over a pipe it does not.
const ADDED_TO_COPY: &str = "ssh-true-added-socat";

/// All comparisons.
const COMPARISONS: [Comparison; 7] = [
    Comparison {
        way: Way::Direct,
        words: "direct ssh",
        down: "ssh-cat-down",
        up: "ssh-cat-up",
        whole: "ssh-true",
    },
    Comparison {
        way: Way::ProxyJump,
        words: "ProxyJump via a local sshd",
        down: "ssh-cat-down-proxyjump",
        up: "ssh-cat-up-proxyjump",
        whole: "ssh-true-proxyjump",
    },
    Comparison {
        way: Way::Through(Program::Wstunnel),
        words: "wstunnel",
        down: "ssh-cat-down-wstunnel",
        up: "ssh-cat-up-wstunnel",
        whole: "ssh-true-wstunnel",
    },
    Comparison {
        way: Way::Through(Program::Chisel),
        words: "chisel",
        down: "ssh-cat-down-chisel",
        up: "ssh-cat-up-chisel",
        whole: "ssh-true-chisel",
    },
    Comparison {
        way: Way::Through(Program::Frp),
        words: "frp",
        down: "ssh-cat-down-frp",
        up: "ssh-cat-up-frp",
        whole: "ssh-true-frp",
    },
    Comparison {
        way: Way::Through(Program::Rathole),
        words: "rathole",
        down: "ssh-cat-down-rathole",
        up: "ssh-cat-up-rathole",
        whole: "ssh-true-rathole",
    },
    Comparison {
        way: Way::Through(Program::Socat),
        words: "socat, which only copies",
        down: "ssh-cat-down-socat",
        up: "ssh-cat-up-socat",
        whole: "ssh-true-socat",
    },
];

/// One bench for each comparison: each program may be missing by itself.
pub(crate) fn benches() -> Vec<Box<dyn Bench>> {
    let boxed = |one| -> Box<dyn Bench> { Box::new(one) };
    COMPARISONS.into_iter().map(boxed).collect()
}

impl Bench for Comparison {
    fn rows(&self) -> Vec<Row> {
        let against = Against::Counterpart(self.words);
        let [down, up] =
            [self.down, self.up].map(|name| Row::higher(name, against, Unit::MibPerSecond));
        let whole = Row::lower(self.whole, against, Unit::Milliseconds);
        match self.way {
            Way::Direct => {
                let added = Row::lower(ADDED, Against::Nothing, Unit::Milliseconds);
                vec![
                    down.marks(0.5, 0.8),
                    up.marks(0.5, 0.8),
                    whole,
                    added.marks(25.0, 10.0),
                ]
            }
            Way::ProxyJump => vec![down.marks(1.0, 1.5), up.marks(1.0, 1.5), whole],
            Way::Through(Program::Socat) => {
                let added = Row::lower(ADDED_TO_COPY, Against::Nothing, Unit::Milliseconds);
                vec![down, up, whole, added.marks(25.0, 10.0)]
            }
            Way::Through(Program::Wstunnel) => vec![down.aim(1.0), up.aim(1.0), whole],
            Way::Through(_) => vec![down, up, whole],
        }
    }

    fn missing(&self) -> Option<String> {
        match self.way {
            Way::Direct | Way::ProxyJump => None,
            Way::Through(program) => program.missing(),
        }
    }

    fn set_up(&self, stage: &Stage, _wanted: &Wanted) -> Result<Box<dyn Running>> {
        Ok(Box::new(Set {
            what: *self,
            ways: Ways::open(stage, self.way)?,
            dir: stage.subdir("zeros")?,
        }))
    }
}

struct Set {
    what: Comparison,
    ways: Ways,
    /// Where what is copied lies.
    dir: PathBuf,
}

/// Which way the bytes go.
#[derive(Clone, Copy, Debug)]
enum Direction {
    Down,
    Up,
}

impl Running for Set {
    fn measure(&mut self, _stage: &Stage, round: &Round) -> Result<Vec<Measured>> {
        let mut found = Vec::new();
        let bulk = [
            (self.what.down, Direction::Down),
            (self.what.up, Direction::Up),
        ];
        for (row, direction) in bulk.into_iter().filter(|(row, _)| round.wanted.has(row)) {
            let both = round.both(|side| self.cat(side, direction, round.pace))?;
            found.push(Measured::new(row, Sample::pair(both.ours, both.theirs)));
        }
        let added = match self.what.way {
            Way::Direct => Some(ADDED),
            Way::Through(Program::Socat) => Some(ADDED_TO_COPY),
            Way::ProxyJump | Way::Through(_) => None,
        };
        let rows = added.into_iter().chain([self.what.whole]);
        if rows.into_iter().any(|row| round.wanted.has(row)) {
            let (ours, theirs) = self.whole(round)?;
            found.push(Measured::new(self.what.whole, Sample::pair(ours, theirs)));
            let more = Sample::alone(ours - theirs);
            found.extend(added.map(|row| Measured::new(row, more)));
        }
        Ok(found)
    }
}

impl Set {
    /// MiB/s of a copy.
    fn cat(&self, side: Side, direction: Direction, pace: Pace) -> Result<f64> {
        let bytes = match pace {
            Pace::Full => BULK,
            Pace::Quick => BULK_QUICK,
        };
        let file = zeros(self.dir.join(bytes.to_string()), bytes)?;
        let command = match direction {
            Direction::Down => quiet(self.ways.ssh(side, &format!("cat '{}'", file.display()))),
            Direction::Up => {
                let mut command = quiet(self.ways.ssh(side, "cat >/dev/null"));
                command.stdin(File::open(&file).context("open what is sent")?);
                command
            }
        };
        let took = timed(command, BULK_LIMIT)?;
        let mib = u32::try_from(bytes / MIB).context("MiB of a copy")?;
        Ok(f64::from(mib) / took.as_secs_f64())
    }

    /// The medians of `ssh NAME true` both ways, taken in turn.
    fn whole(&self, round: &Round) -> Result<(f64, f64)> {
        let runs = match round.pace {
            Pace::Full => RUNS,
            Pace::Quick => RUNS_QUICK,
        };
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            let both = round.both(|side| {
                let took = timed(quiet(self.ways.ssh(side, "true")), RUN_LIMIT)?;
                Ok(took.as_secs_f64() * 1000.0)
            })?;
            ours.push(both.ours);
            theirs.push(both.theirs);
        }
        let median = |list: Vec<f64>| median(list).context("a median of nothing");
        Ok((median(ours)?, median(theirs)?))
    }
}
