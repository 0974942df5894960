//! How a benchmark is asked for its figures: it is set up once, then measured round by round.

use std::collections::BTreeSet;

use anyhow::Result;

use super::row::{Measured, Row};
use super::stage::Stage;
use crate::interrupt;

/// Something that feeds one row or several.
pub(crate) trait Bench {
    /// The rows it feeds, in the order of the report.
    fn rows(&self) -> Vec<Row>;

    /// Why it cannot be measured on this machine: a program is not installed, or root is needed.
    fn missing(&self) -> Option<String> {
        None
    }

    /// Starts what it needs. What it started ends when the value is dropped.
    ///
    /// # Errors
    ///
    /// When something does not start.
    fn set_up(&self, stage: &Stage, wanted: &Wanted) -> Result<Box<dyn Running>>;
}

/// A [`Bench`] that is set up.
pub(crate) trait Running {
    /// One round: each wanted row once, ours and theirs one after the other.
    ///
    /// # Errors
    ///
    /// When a figure cannot be had.
    fn measure(&mut self, stage: &Stage, round: &Round) -> Result<Vec<Measured>>;
}

/// Which rows were asked for. A bench may leave the others out of its answers, or measure them in passing.
#[derive(Clone, Debug)]
pub(crate) struct Wanted(BTreeSet<&'static str>);

impl Wanted {
    /// These.
    pub(crate) fn new(names: impl IntoIterator<Item = &'static str>) -> Self {
        Self(names.into_iter().collect())
    }

    /// Whether a row is among them.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// Whether one of several is.
    pub(crate) fn any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.has(name))
    }
}

/// One round of several.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    /// From 0.
    pub(crate) number: usize,
    /// What is asked for.
    pub(crate) wanted: Wanted,
    /// How much time there is.
    pub(crate) pace: Pace,
}

impl Round {
    /// Measures both sides, one right after the other: ours first in even rounds, theirs first in odd ones, so that
    /// neither always finds the machine as the other left it.
    pub(crate) fn both<T>(&self, mut measure: impl FnMut(Side) -> Result<T>) -> Result<Both<T>> {
        let mut run = |side| {
            interrupt::check()?;
            measure(side)
        };
        if self.number.is_multiple_of(2) {
            let ours = run(Side::Ours)?;
            let theirs = run(Side::Theirs)?;
            Ok(Both { ours, theirs })
        } else {
            let theirs = run(Side::Theirs)?;
            let ours = run(Side::Ours)?;
            Ok(Both { ours, theirs })
        }
    }
}

/// Who is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Side {
    /// kedge.
    Ours,
    /// What kedge is compared with.
    Theirs,
}

/// Both sides of a round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Both<T> {
    /// kedge's.
    pub(crate) ours: T,
    /// The counterpart's.
    pub(crate) theirs: T,
}

/// How much time a run takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pace {
    /// As many rounds as the marks want.
    Full,
    /// Fewer, for a first look.
    Quick,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_the_sides_alternates() {
        let order = |number| {
            let round = Round {
                number,
                wanted: Wanted::new(["a"]),
                pace: Pace::Full,
            };
            let mut seen = Vec::new();
            let both = round
                .both(|side| {
                    seen.push(side);
                    Ok(side)
                })
                .unwrap();
            assert_eq!((both.ours, both.theirs), (Side::Ours, Side::Theirs));
            seen
        };
        assert_eq!(order(0), [Side::Ours, Side::Theirs]);
        assert_eq!(order(1), [Side::Theirs, Side::Ours]);
        assert_eq!(order(2), [Side::Ours, Side::Theirs]);
    }
}
