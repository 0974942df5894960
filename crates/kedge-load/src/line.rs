//! What these programs say: one JSON object per line, on standard output.

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// Says one line, at once.
///
/// # Errors
///
/// When standard output is gone.
pub fn say(line: &Value) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}

/// Says on standard error what failed.
pub fn complain(error: &anyhow::Error) {
    // Nobody listens: there is nothing else to do about it.
    let _ = writeln!(io::stderr(), "error: {error:#}");
}

/// How long the same thing took, again and again.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// One more.
    pub fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// How often.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The time that `percent` of them do not exceed, in microseconds: the nearest rank, so one that was measured.
    #[must_use]
    pub fn micros(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted
            .get(rank - 1)
            .map_or(0.0, |time| time.as_secs_f64() * 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let mut times = Times::default();
        assert_eq!(times.micros(50), 0.0);
        for micros in [4, 1, 3, 2] {
            times.add(Duration::from_micros(micros));
        }
        let of = |percent| times.micros(percent).round();
        assert_eq!(
            [of(1), of(50), of(51), of(99), of(100)],
            [1.0, 2.0, 3.0, 4.0, 4.0]
        );
    }
}
