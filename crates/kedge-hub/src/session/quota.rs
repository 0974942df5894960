//! How many of something there may be, in all and for one person.
//!
//! A place is taken before anything is decided, because deciding is what costs. What was decided well is then *admitted*,
//! in an order that stays: by it a policy that limits somebody's sessions keeps the oldest of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex},
};

use kedge_api::Principal;

use crate::sync::locked;

/// Who something counts against: issuer and subject together.
type Owner = (String, String);

/// A count with two limits. Clones share it.
#[derive(Clone)]
pub struct Quota(Arc<Mutex<Counts>>);

struct Counts {
    limit: u32,
    per_owner: u32,
    owners: BTreeMap<Owner, Held>,
    total: u32,
    admitted: u64,
}

/// What one person has.
#[derive(Default)]
struct Held {
    places: u32,
    /// The places that were admitted, by when.
    admitted: BTreeSet<u64>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The hub carries as many as it may.
    #[error("the hub carries as many as it may")]
    Hub,
    /// The person has as many as one may.
    #[error("you have as many as one person may")]
    Person,
}

/// One of those that may be; dropping it gives the place back.
#[derive(Debug)]
pub struct Ticket {
    quota: Quota,
    owner: Owner,
    order: Option<u64>,
}

impl Quota {
    /// Nothing yet, and at most `limit` in all and `per_owner` for one person.
    #[must_use]
    pub fn new(limit: u32, per_owner: u32) -> Self {
        Self(Arc::new(Mutex::new(Counts {
            limit,
            per_owner,
            owners: BTreeMap::new(),
            total: 0,
            admitted: 0,
        })))
    }

    /// Takes a place for `principal`.
    ///
    /// # Errors
    /// [`Full`] when a limit is reached.
    pub fn take(&self, principal: &Principal) -> Result<Ticket, Full> {
        let owner = owner(principal);
        let mut counts = locked(&self.0);
        if counts.total >= counts.limit {
            return Err(Full::Hub);
        }
        let per_owner = counts.per_owner;
        let places = counts.owners.get(&owner).map_or(0, |held| held.places);
        if places >= per_owner {
            return Err(Full::Person);
        }
        counts.owners.entry(owner.clone()).or_default().places += 1;
        counts.total += 1;
        Ok(Ticket {
            quota: self.clone(),
            owner,
            order: None,
        })
    }

    /// How many admitted places `principal` has.
    #[must_use]
    pub fn admitted(&self, principal: &Principal) -> u32 {
        let counts = locked(&self.0);
        let held = counts.owners.get(&owner(principal));
        held.map_or(0, |held| number(held.admitted.len()))
    }

    /// How many places are taken.
    #[must_use]
    pub fn count(&self) -> u32 {
        locked(&self.0).total
    }
}

impl Ticket {
    /// Admits it, unless its person has `limit` admitted ones already.
    ///
    /// # Errors
    /// How many there are.
    pub fn admit(&mut self, limit: Option<u32>) -> Result<(), u32> {
        let mut counts = locked(&self.quota.0);
        let order = counts.admitted;
        let held = counts.owners.entry(self.owner.clone()).or_default();
        let there = number(held.admitted.len());
        if limit.is_some_and(|limit| there >= limit) {
            return Err(there);
        }
        held.admitted.insert(order);
        counts.admitted += 1;
        self.order = Some(order);
        Ok(())
    }

    /// How many of its person's were admitted before it; before it is admitted itself, all of them.
    #[must_use]
    pub fn older(&self) -> u32 {
        let counts = locked(&self.quota.0);
        let Some(held) = counts.owners.get(&self.owner) else {
            return 0;
        };
        number(match self.order {
            Some(order) => held.admitted.range(..order).count(),
            None => held.admitted.len(),
        })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut counts = locked(&self.quota.0);
        counts.total = counts.total.saturating_sub(1);
        if let Some(held) = counts.owners.get_mut(&self.owner) {
            held.places = held.places.saturating_sub(1);
            if let Some(order) = self.order {
                held.admitted.remove(&order);
            }
            if held.places == 0 {
                counts.owners.remove(&self.owner);
            }
        }
    }
}

fn owner(principal: &Principal) -> Owner {
    (
        principal.issuer.as_str().to_owned(),
        principal.subject.as_str().to_owned(),
    )
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl fmt::Debug for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quota")
            .field("count", &self.count())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(name: &str) -> Principal {
        crate::people::tests::principal(name)
    }

    #[test]
    fn limits_hold_for_the_person_and_for_the_hub() {
        let quota = Quota::new(3, 2);
        let (alice, bob) = (principal("alice"), principal("bob"));
        let first = quota.take(&alice).unwrap();
        let _second = quota.take(&alice).unwrap();
        assert_eq!(quota.take(&alice).unwrap_err(), Full::Person);
        let _third = quota.take(&bob).unwrap();
        assert_eq!(quota.take(&bob).unwrap_err(), Full::Hub);
        drop(first);
        let _again = quota.take(&alice).unwrap();
        assert_eq!(quota.count(), 3);
    }

    #[test]
    fn a_thousand_that_came_and_went_leave_nothing_behind() {
        let quota = Quota::new(10, 10);
        let alice = principal("alice");
        for _ in 0..1000 {
            drop(quota.take(&alice).unwrap());
        }
        let counts = locked(&quota.0);
        assert_eq!((counts.total, counts.owners.len()), (0, 0));
    }

    #[test]
    fn of_many_that_ask_at_once_as_many_are_admitted_as_may_be_and_the_oldest_stay_the_oldest() {
        let quota = Quota::new(100, 100);
        let alice = principal("alice");
        let mut tickets: Vec<_> = (0..10).map(|_| quota.take(&alice).unwrap()).collect();
        let answers: Vec<_> = tickets.iter_mut().map(|t| t.admit(Some(3))).collect();
        assert_eq!(answers[..3], [Ok(()); 3]);
        assert_eq!(answers[3..], [Err(3); 7]);
        let older: Vec<_> = tickets.iter().map(Ticket::older).collect();
        assert_eq!(older, [0, 1, 2, 3, 3, 3, 3, 3, 3, 3]);

        // One goes, so there is room for one, which is the youngest then.
        drop(tickets.remove(0));
        assert_eq!(quota.admitted(&alice), 2);
        assert_eq!(tickets[5].admit(Some(3)), Ok(()));
        assert_eq!(
            [0, 1, 5].map(|at| tickets[at].older()),
            [0, 1, 2],
            "those that are left move up"
        );
        assert_eq!(quota.admitted(&principal("bob")), 0);
        drop(tickets);
        assert_eq!(quota.admitted(&alice), 0);
    }

    #[test]
    fn fifty_threads_at_once_get_no_more_places_than_there_are() {
        let quota = Quota::new(100, 100);
        let alice = principal("alice");
        let gate = std::sync::Barrier::new(50);
        let tickets: Vec<_> = std::thread::scope(|scope| {
            let ask = || {
                let mut ticket = quota.take(&alice).unwrap();
                gate.wait();
                ticket.admit(Some(5)).ok().map(|()| ticket)
            };
            let threads: Vec<_> = (0..50).map(|_| scope.spawn(ask)).collect();
            threads
                .into_iter()
                .filter_map(|t| t.join().unwrap())
                .collect()
        });
        assert_eq!(tickets.len(), 5);
        assert_eq!(quota.admitted(&alice), 5);
        assert_eq!(quota.count(), 5, "who was not admitted has no place");
        let mut order: Vec<_> = tickets.iter().map(Ticket::older).collect();
        order.sort_unstable();
        assert_eq!(order, [0, 1, 2, 3, 4]);
    }
}
