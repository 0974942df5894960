//! How many of something there may be, in all and for one person.

use std::{
    collections::BTreeMap,
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
    owners: BTreeMap<Owner, u32>,
    total: u32,
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
        })))
    }

    /// Takes a place for `principal`.
    ///
    /// # Errors
    /// [`Full`] when a limit is reached.
    pub fn take(&self, principal: &Principal) -> Result<Ticket, Full> {
        let owner = (
            principal.issuer.as_str().to_owned(),
            principal.subject.as_str().to_owned(),
        );
        let mut counts = locked(&self.0);
        if counts.total >= counts.limit {
            return Err(Full::Hub);
        }
        let held = counts.owners.get(&owner).copied().unwrap_or_default();
        if held >= counts.per_owner {
            return Err(Full::Person);
        }
        counts.owners.insert(owner.clone(), held + 1);
        counts.total += 1;
        Ok(Ticket {
            quota: self.clone(),
            owner,
        })
    }

    /// How many places are taken.
    #[must_use]
    pub fn count(&self) -> u32 {
        locked(&self.0).total
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut counts = locked(&self.quota.0);
        counts.total = counts.total.saturating_sub(1);
        match counts.owners.get_mut(&self.owner) {
            Some(held) if *held > 1 => *held -= 1,
            _ => {
                counts.owners.remove(&self.owner);
            }
        }
    }
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
    use crate::people::{Directory, tests::person};

    fn principal(name: &str) -> Arc<Principal> {
        let roster = crate::config::Roster {
            people: vec![person(name, "t", &[])],
            ..Default::default()
        };
        Directory::new(roster).authenticate("t").unwrap().principal
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
}
