//! Which server is reached over which link, now.
//!
//! ```text
//!  dial ── register(name) ─▶ generation 7 ── dial again ─▶ generation 8 (7 is told that it was replaced)
//!                                 │                              │
//!            7 dies: unregister(7) says Stale, nothing changes   8 dies: unregister(8) says Gone
//! ```
//!
//! A generation belongs to one registration for ever, so the death of an old link can never hurt the new one, in
//! whatever order the two are noticed.

use std::{collections::BTreeMap, sync::Mutex};

use crate::sync::locked;

/// Counts registrations; a later one is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(u64);

/// The live links by name. `L` is the link itself, so that the logic is tested without one.
#[derive(Debug)]
pub struct Registry<N, L> {
    table: Mutex<Table<N, L>>,
}

#[derive(Debug)]
struct Table<N, L> {
    next: u64,
    live: BTreeMap<N, (Generation, L)>,
}

/// What the death of a link meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It was the current one: the server is gone.
    Gone,
    /// A newer one had taken over, or it was removed: nothing changes.
    Stale,
}

impl<N: Ord + Clone, L: Clone> Registry<N, L> {
    /// Nobody is connected.
    #[must_use]
    pub fn new() -> Self {
        Self {
            table: Mutex::new(Table {
                next: 0,
                live: BTreeMap::new(),
            }),
        }
    }

    /// `link` is the way to `name` from now on. Gives back the one it replaces, for its caller to close.
    pub fn register(&self, name: N, link: L) -> (Generation, Option<L>) {
        let mut table = locked(&self.table);
        table.next += 1;
        let generation = Generation(table.next);
        let replaced = table
            .live
            .insert(name, (generation, link))
            .map(|(_, old)| old);
        (generation, replaced)
    }

    /// The link of `generation` died.
    pub fn unregister(&self, name: &N, generation: Generation) -> Departure {
        let mut table = locked(&self.table);
        match table.live.get(name) {
            Some((current, _)) if *current == generation => {
                table.live.remove(name);
                Departure::Gone
            }
            _ => Departure::Stale,
        }
    }

    /// Takes `name` out, whatever its generation; its link is the caller's to close.
    pub fn remove(&self, name: &N) -> Option<L> {
        locked(&self.table).live.remove(name).map(|(_, link)| link)
    }

    /// The way to `name`.
    #[must_use]
    pub fn link(&self, name: &N) -> Option<L> {
        locked(&self.table)
            .live
            .get(name)
            .map(|(_, link)| link.clone())
    }

    /// The way to `name` and the generation it belongs to.
    #[must_use]
    pub fn current(&self, name: &N) -> Option<(Generation, L)> {
        locked(&self.table).live.get(name).cloned()
    }

    /// Everybody who is connected, in the order of names.
    #[must_use]
    pub fn all(&self) -> Vec<(N, L)> {
        locked(&self.table)
            .live
            .iter()
            .map(|(name, (_, link))| (name.clone(), link.clone()))
            .collect()
    }

    /// How many are connected.
    #[must_use]
    pub fn len(&self) -> usize {
        locked(&self.table).live.len()
    }

    /// Whether nobody is connected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<N: Ord + Clone, L: Clone> Default for Registry<N, L> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_links_death_never_hurts_the_new_one() {
        let registry = Registry::new();
        let (old, replaced) = registry.register("web01", "first");
        assert_eq!(replaced, None);
        let (new, replaced) = registry.register("web01", "second");
        assert_eq!(replaced, Some("first"), "the caller closes it");
        assert!(new > old);
        assert_eq!(registry.unregister(&"web01", old), Departure::Stale);
        assert_eq!(registry.link(&"web01"), Some("second"));
        assert_eq!(registry.unregister(&"web01", new), Departure::Gone);
        assert_eq!(registry.link(&"web01"), None);
        assert_eq!(
            registry.unregister(&"web01", new),
            Departure::Stale,
            "a death counts once"
        );
    }

    #[test]
    fn a_name_that_comes_back_has_a_new_generation() {
        let registry = Registry::new();
        let (first, _) = registry.register("web01", 1);
        assert_eq!(registry.remove(&"web01"), Some(1));
        let (second, _) = registry.register("web01", 2);
        assert_ne!(first, second);
        assert_eq!(registry.unregister(&"web01", first), Departure::Stale);
        assert_eq!(registry.len(), 1);
    }

    #[test]
    fn names_do_not_touch_each_other() {
        let registry = Registry::new();
        let (one, _) = registry.register("a", 1);
        registry.register("b", 2);
        registry.unregister(&"a", one);
        assert_eq!(registry.all(), [("b", 2)]);
    }

    #[test]
    fn of_a_thousand_racing_registrations_exactly_one_stays() {
        let registry = Registry::new();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let registry = &registry;
                scope.spawn(move || {
                    for round in 0..125 {
                        let (generation, _) = registry.register("web01", (thread, round));
                        if round != 124 {
                            registry.unregister(&"web01", generation);
                        }
                    }
                });
            }
        });
        assert_eq!(registry.len(), 1);
    }
}
