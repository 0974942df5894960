//! How long to wait before the next dial.

use std::time::{Duration, Instant};

use crate::defaults::{BACKOFF_CAP, BACKOFF_FIRST, BACKOFF_HEALTHY};

/// Pauses between dials: 100 ms doubling to 30 s, each drawn anew from zero to that (full jitter), so that a thousand
/// agents that lost one hub do not come back at once.
#[derive(Clone, Debug)]
pub struct Backoff {
    ceiling: Duration,
    connected_at: Option<Instant>,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            ceiling: BACKOFF_FIRST,
            connected_at: None,
        }
    }
}

impl Backoff {
    /// A link stands.
    pub fn connected(&mut self, now: Instant) {
        self.connected_at = Some(now);
    }

    /// A dial failed or a link ended: how long to wait. `random` is a fresh uniform number.
    pub fn next(&mut self, now: Instant, random: u64) -> Duration {
        let connected_at = self.connected_at.take();
        if connected_at.is_some_and(|at| now.saturating_duration_since(at) >= BACKOFF_HEALTHY) {
            self.ceiling = BACKOFF_FIRST;
        }
        let pause = jitter(self.ceiling, random);
        self.ceiling = (self.ceiling * 2).min(BACKOFF_CAP);
        pause
    }

    /// A GOAWAY named a delay: it, and up to as much again, so that all who got it do not come back at once.
    #[must_use]
    pub fn after_goaway(reconnect_after: Duration, random: u64) -> Duration {
        let reconnect_after = reconnect_after.min(BACKOFF_CAP);
        reconnect_after + jitter(reconnect_after.max(BACKOFF_FIRST), random)
    }
}

/// From zero to `ceiling`.
fn jitter(ceiling: Duration, random: u64) -> Duration {
    let nanos = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX);
    let scaled = (u128::from(nanos) * u128::from(random)) >> 64;
    Duration::from_nanos(u64::try_from(scaled).unwrap_or(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ceilings_double_up_to_the_cap_and_start_over_after_a_healthy_minute() {
        let (mut backoff, start) = (Backoff::default(), Instant::now());
        let pauses: Vec<_> = (0..12)
            .map(|_| backoff.next(start, u64::MAX).as_millis())
            .collect();
        assert_eq!(
            pauses,
            [
                99, 199, 399, 799, 1599, 3199, 6399, 12799, 25599, 29999, 29999, 29999
            ]
        );
        backoff.connected(start);
        assert_eq!(
            backoff
                .next(start + Duration::from_secs(59), u64::MAX)
                .as_millis(),
            29999
        );
        backoff.connected(start);
        assert_eq!(
            backoff
                .next(start + Duration::from_secs(60), u64::MAX)
                .as_millis(),
            99
        );
    }

    proptest! {
        #[test]
        fn a_pause_is_never_longer_than_its_ceiling(randoms in prop::collection::vec(any::<u64>(), 1..20)) {
            let (mut backoff, now) = (Backoff::default(), Instant::now());
            for (round, random) in randoms.into_iter().enumerate() {
                let ceiling = BACKOFF_FIRST * 2_u32.pow(round.min(9) as u32);
                prop_assert!(backoff.next(now, random) <= ceiling.min(BACKOFF_CAP));
            }
        }

        #[test]
        fn goaway_is_obeyed_and_bounded(millis in any::<u32>(), random in any::<u64>()) {
            let asked = Duration::from_millis(millis.into());
            let pause = Backoff::after_goaway(asked, random);
            prop_assert!(pause >= asked.min(BACKOFF_CAP));
            prop_assert!(pause <= 2 * BACKOFF_CAP);
        }
    }
}
