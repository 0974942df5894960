//! What processes hold once they have come to rest: buffers are given back a moment after the last byte.

use std::time::Instant;

use anyhow::Result;
use kedge_testkit::wait;

use super::stage::{Memory, memory};
use crate::defaults;

/// What a process has in memory when it has not changed for a while.
///
/// # Errors
///
/// When it is gone, or does not come to rest.
pub(crate) fn settled(pid: u32) -> Result<Memory> {
    let mut rest = Rest::new(memory(pid)?, Instant::now());
    wait::until("memory to come to rest", defaults::BENCH_SETTLE, || {
        Ok(rest.look(memory(pid)?, Instant::now()))
    })
}

/// The last change.
struct Rest {
    since: Instant,
    last: Memory,
}

impl Rest {
    fn new(last: Memory, since: Instant) -> Self {
        Self { since, last }
    }

    /// Answers what was seen when it has been much the same for long enough.
    fn look(&mut self, seen: Memory, now: Instant) -> Option<Memory> {
        if (seen.private_kib - self.last.private_kib).abs() > defaults::BENCH_SETTLED_KIB {
            *self = Self::new(seen, now);
        }
        let rested = now.saturating_duration_since(self.since) >= defaults::BENCH_SETTLED;
        rested.then_some(seen)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn holding(private_kib: f64) -> Memory {
        Memory {
            private_kib,
            share_kib: private_kib,
        }
    }

    #[test]
    fn rest_begins_anew_with_every_change() {
        let start = Instant::now();
        let after = |part: u32| start + defaults::BENCH_SETTLED / 4 * part;
        let mut rest = Rest::new(holding(1000.0), start);
        assert!(rest.look(holding(1000.0), after(2)).is_none());
        assert!(rest.look(holding(5000.0), after(3)).is_none(), "it grew");
        assert!(rest.look(holding(5010.0), after(5)).is_none());
        let rested = rest.look(holding(5010.0), after(7) + Duration::from_millis(1));
        assert!((rested.unwrap().private_kib - 5010.0).abs() < 1e-9);
    }

    #[test]
    fn a_slow_decline_is_no_rest() {
        let start = Instant::now();
        let mut rest = Rest::new(holding(9000.0), start);
        for step in 1..40_u32 {
            let now = start + defaults::BENCH_SETTLED / 4 * step;
            let kib = 9000.0 - f64::from(step) * defaults::BENCH_SETTLED_KIB * 0.6;
            assert!(rest.look(holding(kib), now).is_none(), "step {step}");
        }
    }
}
