//! What a row of the benchmark is: a name, what it is held against, its marks, and one round's figures.

use std::fmt;

/// One line of the report.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// In kebab case; the first word is its group.
    pub(crate) name: &'static str,
    /// What it is compared with.
    pub(crate) against: Against,
    /// What the figures count.
    pub(crate) unit: Unit,
    /// What must hold: for the ratio where there is a counterpart, else for our figure.
    pub(crate) must: Option<Mark>,
    /// What should hold.
    pub(crate) aim: Option<Mark>,
    /// Which way is good.
    pub(crate) better: Better,
}

impl Row {
    /// A row without marks, where more is better.
    pub(crate) const fn higher(name: &'static str, against: Against, unit: Unit) -> Self {
        Self {
            name,
            against,
            unit,
            must: None,
            aim: None,
            better: Better::Higher,
        }
    }

    /// A row without marks, where less is better.
    pub(crate) const fn lower(name: &'static str, against: Against, unit: Unit) -> Self {
        Self {
            name,
            against,
            unit,
            must: None,
            aim: None,
            better: Better::Lower,
        }
    }

    /// With what must hold and what should, in the direction that is good.
    pub(crate) const fn marks(self, must: f64, aim: f64) -> Self {
        self.must(must).aim(aim)
    }

    /// With what must hold.
    pub(crate) const fn must(mut self, value: f64) -> Self {
        self.must = Some(self.mark(value));
        self
    }

    /// With what should hold.
    pub(crate) const fn aim(mut self, value: f64) -> Self {
        self.aim = Some(self.mark(value));
        self
    }

    /// Its group: the first word of its name.
    pub(crate) fn group(&self) -> &'static str {
        self.name.split('-').next().unwrap_or(self.name)
    }

    const fn mark(&self, value: f64) -> Mark {
        let op = match self.better {
            Better::Higher => Op::AtLeast,
            Better::Lower => Op::AtMost,
        };
        Mark { op, value }
    }
}

/// What a row is compared with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Against {
    /// This, measured in the same rounds.
    Counterpart(&'static str),
    /// Nothing: the figure itself is judged.
    Nothing,
}

impl Against {
    /// Its words; none for nothing.
    pub(crate) fn words(self) -> Option<&'static str> {
        match self {
            Self::Counterpart(words) => Some(words),
            Self::Nothing => None,
        }
    }
}

/// Which way is good.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Better {
    /// Throughput.
    Higher,
    /// Time, memory.
    Lower,
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unit {
    /// Processor seconds for each GiB carried.
    CpuSecondsPerGib,
    /// 1,024 bytes.
    Kib,
    /// 1,048,576 bytes.
    Mib,
    /// Throughput.
    MibPerSecond,
    /// A thousandth of a millisecond.
    Microseconds,
    /// A thousandth of a second.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// New sessions in each second.
    SessionsPerSecond,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CpuSecondsPerGib => "CPU s/GiB",
            Self::Kib => "KiB",
            Self::Mib => "MiB",
            Self::MibPerSecond => "MiB/s",
            Self::Microseconds => "µs",
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
            Self::SessionsPerSecond => "sessions/s",
        })
    }
}

/// A bound that a figure keeps or misses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Mark {
    /// On which side.
    pub(crate) op: Op,
    /// Of what.
    pub(crate) value: f64,
}

impl Mark {
    /// Whether a figure keeps it.
    pub(crate) fn holds(self, figure: f64) -> bool {
        match self.op {
            Op::AtLeast => figure >= self.value,
            Op::AtMost => figure <= self.value,
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.op.sign(), self.value)
    }
}

/// The side of a [`Mark`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Op {
    /// `>=`
    AtLeast,
    /// `<=`
    AtMost,
}

impl Op {
    /// As the report writes it.
    pub(crate) const fn sign(self) -> &'static str {
        match self {
            Self::AtLeast => ">=",
            Self::AtMost => "<=",
        }
    }
}

/// What one round found for one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    /// Our figure.
    pub(crate) ours: f64,
    /// The counterpart's, where there is one.
    pub(crate) theirs: Option<f64>,
}

impl Sample {
    /// Ours alone.
    pub(crate) const fn alone(ours: f64) -> Self {
        Self { ours, theirs: None }
    }

    /// Ours and theirs.
    pub(crate) const fn pair(ours: f64, theirs: f64) -> Self {
        Self {
            ours,
            theirs: Some(theirs),
        }
    }

    /// What marks are held against: the ratio where there is a counterpart, else our figure.
    pub(crate) fn marked(&self) -> f64 {
        self.theirs.map_or(self.ours, |theirs| self.ours / theirs)
    }
}

/// One round's figure of the row with this name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Measured {
    /// [`Row::name`].
    pub(crate) row: &'static str,
    /// The figures.
    pub(crate) sample: Sample,
}

impl Measured {
    /// Of this row.
    pub(crate) const fn new(row: &'static str, sample: Sample) -> Self {
        Self { row, sample }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_point_in_the_good_direction() {
        let up = Row::higher("a-b", Against::Nothing, Unit::Mib).marks(0.5, 0.8);
        assert_eq!(up.group(), "a");
        assert!(up.must.unwrap().holds(0.5) && !up.must.unwrap().holds(0.499));
        assert_eq!(up.aim.unwrap().to_string(), ">= 0.8");
        let down = Row::lower("a", Against::Nothing, Unit::Mib).marks(2.0, 1.6);
        assert!(down.must.unwrap().holds(2.0) && !down.must.unwrap().holds(2.01));
        assert_eq!(down.must.unwrap().to_string(), "<= 2");
    }

    #[test]
    fn what_cannot_be_compared_holds_no_mark() {
        let mark = Mark {
            op: Op::AtMost,
            value: 1.0,
        };
        assert!(!mark.holds(Sample::pair(0.0, 0.0).marked()));
        assert!((Sample::pair(3.0, 2.0).marked() - 1.5).abs() < 1e-9);
        assert!((Sample::alone(3.0).marked() - 3.0).abs() < 1e-9);
    }
}
