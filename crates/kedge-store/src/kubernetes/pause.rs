//! Pauses that do not come together: many hubs that lost one API server must not ask for it at one moment.

use std::time::Duration;

use kedge_api::random;

/// Pauses between attempts: each up to twice as long as the one before, none longer than a bound, full jitter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pauses {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Pauses {
    /// The first pause is at most `first`, and none is longer than `longest`.
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
        }
    }

    /// How long to wait now.
    pub(super) fn next(&mut self) -> Duration {
        let pause = jittered(self.next);
        self.next = self.next.saturating_mul(2).min(self.longest);
        pause
    }

    /// It went well: the next pause is a short one again.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }
}

/// Some part of `longest`, any as likely as another.
pub(super) fn jittered(longest: Duration) -> Duration {
    longest.mul_f64(fraction())
}

/// `about`, a fifth more or less.
pub(super) fn around(about: Duration) -> Duration {
    about.mul_f64(0.8 + 0.4 * fraction())
}

/// A whole number of the range, any as likely as another.
pub(super) fn among(range: std::ops::RangeInclusive<u64>) -> u64 {
    let (low, high) = range.into_inner();
    let width = high.saturating_sub(low).saturating_add(1);
    low.saturating_add(number().checked_rem(width).unwrap_or_default())
}

/// From 0 to 1.
fn fraction() -> f64 {
    f64::from(number() as u32) / f64::from(u32::MAX)
}

/// A system without randomness still works, in step with others.
fn number() -> u64 {
    random::bytes().map_or(u64::MAX / 2, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_begin_anew() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(1));
        let mut pauses = Pauses::new(first, longest);
        assert!(pauses.next() <= first);
        for _ in 0..20 {
            assert!(pauses.next() <= longest);
        }
        assert_eq!(pauses.next, longest);
        pauses.reset();
        assert!(pauses.next() <= first);
    }

    #[test]
    fn jitter_is_spread_over_all_of_its_range() {
        let drawn: Vec<_> = (0..200).map(|_| jittered(Duration::from_secs(1))).collect();
        assert!(
            drawn
                .iter()
                .any(|pause| *pause < Duration::from_millis(300))
        );
        assert!(
            drawn
                .iter()
                .any(|pause| *pause > Duration::from_millis(700))
        );
        for _ in 0..200 {
            let pause = around(Duration::from_secs(1));
            assert!((800..=1200).contains(&pause.as_millis()), "{pause:?}");
            assert!((3..=5).contains(&among(3..=5)));
        }
        assert_eq!(among(7..=7), 7);
    }
}
