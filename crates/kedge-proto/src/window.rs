//! How much a receiver lets its sender run ahead: windows that follow the bandwidth-delay product, within a budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::defaults::{CREDIT_FRACTION, CREDIT_STEP_CAP, INITIAL_CREDIT};

/// What the links of a process may promise together, beside what each may promise by itself. Clones share it.
///
/// When it is used up no window grows any more, and new streams get the least there is, 64 KiB. What was promised is
/// never taken back; it comes back as windows shrink and streams end.
#[derive(Clone, Debug)]
pub struct SharedBudget(Arc<Purse>);

#[derive(Debug)]
struct Purse {
    cap: u64,
    used: AtomicU64,
}

impl SharedBudget {
    /// So many bytes.
    #[must_use]
    pub fn new(cap: u64) -> Self {
        let used = AtomicU64::new(0);
        Self(Arc::new(Purse { cap, used }))
    }

    /// How many of them are promised.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.0.used.load(Ordering::Relaxed)
    }

    /// How many there are.
    #[must_use]
    pub fn cap(&self) -> u64 {
        self.0.cap
    }

    fn reserve(&self, more: u64) -> bool {
        let grow = |used: u64| (more <= self.0.cap.saturating_sub(used)).then(|| used + more);
        self.0
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow)
            .is_ok()
    }

    fn release(&self, less: u64) {
        let shrink = |used: u64| Some(used.saturating_sub(less));
        // Never an error: the closure always has a value.
        let _ = self
            .0
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, shrink);
    }
}

/// What the streams of a link may promise together beyond [`INITIAL_CREDIT`] each.
#[derive(Debug)]
pub(crate) struct Budget {
    cap: u64,
    used: u64,
    shared: Option<SharedBudget>,
}

impl Budget {
    pub(crate) const fn new(cap: u64, shared: Option<SharedBudget>) -> Self {
        Self {
            cap,
            used: 0,
            shared,
        }
    }

    pub(crate) fn used(&self) -> u64 {
        self.used
    }

    fn reserve(&mut self, more: u64) -> bool {
        let granted = more <= self.cap.saturating_sub(self.used)
            && self.shared.as_ref().is_none_or(|all| all.reserve(more));
        if granted {
            self.used += more;
        }
        granted
    }

    fn release(&mut self, less: u64) {
        let less = less.min(self.used);
        self.used -= less;
        if let Some(all) = &self.shared {
            all.release(less);
        }
    }
}

impl Drop for Budget {
    /// What a link has promised is promised no longer once the link is gone.
    fn drop(&mut self) {
        self.release(self.used);
    }
}

/// The window of one direction of one stream.
#[derive(Debug)]
pub(crate) struct Window {
    size: u64,
    reserved: u64,
    initial: u64,
    cap: u64,
    /// An update went out at this time when the sender could not go beyond this offset: a byte from beyond it has made
    /// the round trip.
    probe: Option<(u64, Instant)>,
    /// The shortest round trip seen, from this end to the sender and back over all links.
    round_trip: Option<Duration>,
    epoch: Option<(u64, Instant)>,
    taken_at_tick: u64,
}

impl Window {
    /// The least every stream gets, with nothing reserved.
    pub(crate) const fn minimal() -> Self {
        Self {
            size: INITIAL_CREDIT,
            reserved: 0,
            initial: INITIAL_CREDIT,
            cap: INITIAL_CREDIT,
            probe: None,
            round_trip: None,
            epoch: None,
            taken_at_tick: 0,
        }
    }

    /// Opens the window to `initial`, or leaves it at the minimum when the budget is used up.
    pub(crate) fn widen(&mut self, initial: u64, cap: u64, budget: &mut Budget) {
        self.cap = cap.max(self.size);
        self.initial = initial.clamp(self.size, self.cap);
        let _ = self.grow_to(self.initial, budget);
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of the budget that it has.
    pub(crate) fn reserved(&self) -> u64 {
        self.reserved
    }

    /// Credit is worth a frame when it has grown by this much.
    pub(crate) fn step(&self) -> u64 {
        (self.size / CREDIT_FRACTION).clamp(1, CREDIT_STEP_CAP)
    }

    /// An update of the limit from `before` goes out.
    pub(crate) fn granted(&mut self, before: u64, now: Instant) {
        self.probe.get_or_insert((before, now));
    }

    /// Bytes up to `received` have come in.
    pub(crate) fn arrived(&mut self, received: u64, now: Instant) {
        if let Some((_, at)) = self.probe.take_if(|(offset, _)| received > *offset) {
            let sample = now.saturating_duration_since(at);
            self.round_trip = Some(self.round_trip.map_or(sample, |known| known.min(sample)));
        }
    }

    /// Bytes up to `taken` have left. When a whole window did so within two round trips, it was the window that held
    /// the sender back: it doubles. Twice, because at once would never be reached by a sender that fills it exactly.
    pub(crate) fn taken(&mut self, taken: u64, now: Instant, budget: &mut Budget) {
        let (offset, at) = *self.epoch.get_or_insert((taken, now));
        if taken.saturating_sub(offset) < self.size {
            return;
        }
        self.epoch = Some((taken, now));
        let limited = self
            .round_trip
            .is_some_and(|rtt| now.saturating_duration_since(at) <= 2 * rtt);
        if limited && self.size < self.cap {
            let _ = self.grow_to((self.size * 2).min(self.cap), budget);
        }
    }

    /// Once per PING: a window that was not used since shrinks, and what is no longer promised goes back. `promised` is
    /// what the sender may still send or has sent and nobody has taken.
    pub(crate) fn tick(&mut self, taken: u64, promised: u64, budget: &mut Budget) {
        if taken.saturating_sub(self.taken_at_tick) < self.size / 2 {
            self.size = (self.size / 2).max(self.initial).min(self.size);
            self.epoch = None;
        }
        self.taken_at_tick = taken;
        let needed = self.size.max(promised).saturating_sub(INITIAL_CREDIT);
        if needed < self.reserved {
            budget.release(self.reserved - needed);
            self.reserved = needed;
        }
    }

    /// The stream is over.
    pub(crate) fn close(&mut self, budget: &mut Budget) {
        budget.release(std::mem::take(&mut self.reserved));
    }

    /// A new link is a new way: what was measured no longer holds, what was reserved belongs to the old link's budget.
    pub(crate) fn detach(&mut self, budget: &mut Budget) {
        self.close(budget);
        *self = Self {
            taken_at_tick: self.taken_at_tick,
            ..Self::minimal()
        };
    }

    fn grow_to(&mut self, size: u64, budget: &mut Budget) -> bool {
        let needed = size.saturating_sub(INITIAL_CREDIT);
        let granted = needed <= self.reserved || budget.reserve(needed - self.reserved);
        if granted {
            self.reserved = self.reserved.max(needed);
            self.size = self.size.max(size);
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;
    const MIB: u64 = 1024 * KIB;

    /// A sender that is only held back by the window, over a path with this round trip.
    fn run(window: &mut Window, budget: &mut Budget, rtt: Duration, rate: u64, rounds: u32) {
        let mut now = Instant::now();
        let (mut limit, mut offset) = (INITIAL_CREDIT, 0);
        for _ in 0..rounds {
            window.granted(limit, now);
            limit = offset + window.size();
            let bytes = window.size();
            now += rtt.max(Duration::from_secs_f64(bytes as f64 / rate as f64));
            offset += bytes;
            window.arrived(offset, now);
            window.taken(offset, now, budget);
        }
    }

    #[test]
    fn a_long_fast_path_gets_the_largest_window() {
        let mut budget = Budget::new(32 * MIB, None);
        let mut window = Window::minimal();
        window.widen(MIB, 4 * MIB, &mut budget);
        run(
            &mut window,
            &mut budget,
            Duration::from_millis(50),
            1000 * MIB,
            10,
        );
        assert_eq!(window.size(), 4 * MIB);
        assert_eq!(budget.used(), 4 * MIB - INITIAL_CREDIT);
    }

    #[test]
    fn a_path_that_needs_little_keeps_little() {
        let mut budget = Budget::new(32 * MIB, None);
        let mut window = Window::minimal();
        window.widen(MIB, 16 * MIB, &mut budget);
        // 12.5 MiB/s at 20 ms: 256 KiB are under way, a window of 1 MiB takes 80 ms.
        window.round_trip = Some(Duration::from_millis(20));
        run(
            &mut window,
            &mut budget,
            Duration::from_millis(20),
            12_800 * KIB,
            20,
        );
        assert_eq!(window.size(), MIB);
    }

    #[test]
    fn growth_stops_at_the_budget_and_new_windows_stay_minimal() {
        let mut budget = Budget::new(2 * MIB, None);
        let mut first = Window::minimal();
        first.widen(MIB, 16 * MIB, &mut budget);
        run(
            &mut first,
            &mut budget,
            Duration::from_millis(50),
            1000 * MIB,
            10,
        );
        assert_eq!(first.size(), 2 * MIB);
        let mut second = Window::minimal();
        second.widen(MIB, 16 * MIB, &mut budget);
        assert_eq!(second.size(), INITIAL_CREDIT);
        assert!(budget.used() <= 2 * MIB);
        first.close(&mut budget);
        assert_eq!(budget.used(), 0);
        second.close(&mut budget);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn what_all_links_may_promise_bounds_each() {
        let all = SharedBudget::new(3 * MIB);
        let mut one = Budget::new(32 * MIB, Some(all.clone()));
        let mut other = Budget::new(32 * MIB, Some(all.clone()));
        let widened = |budget: &mut Budget, size| {
            let mut window = Window::minimal();
            window.widen(size, size, budget);
            window
        };
        let mut large = widened(&mut one, 2 * MIB);
        let small = widened(&mut other, 2 * MIB);
        assert_eq!((large.size(), small.size()), (2 * MIB, INITIAL_CREDIT));
        let fitting = widened(&mut other, MIB);
        assert_eq!(fitting.size(), MIB);
        assert_eq!(all.used(), 3 * MIB - 2 * INITIAL_CREDIT);
        large.close(&mut one);
        assert_eq!(all.used(), MIB - INITIAL_CREDIT);
        drop(other);
        assert_eq!(all.used(), 0, "a link that is gone promises nothing");
    }

    #[test]
    fn an_idle_window_shrinks_but_keeps_what_it_promised() {
        let mut budget = Budget::new(32 * MIB, None);
        let mut window = Window::minimal();
        window.widen(MIB, 4 * MIB, &mut budget);
        run(
            &mut window,
            &mut budget,
            Duration::from_millis(50),
            1000 * MIB,
            10,
        );
        let taken = 100 * MIB;
        window.tick(taken, 4 * MIB, &mut budget);
        window.tick(taken, 4 * MIB, &mut budget);
        window.tick(taken, 4 * MIB, &mut budget);
        assert_eq!(window.size(), MIB);
        assert_eq!(budget.used(), 4 * MIB - INITIAL_CREDIT);
        window.tick(taken, MIB, &mut budget);
        assert_eq!(budget.used(), MIB - INITIAL_CREDIT);
    }
}
