//! The sessions that live, and how many may.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
};

use kedge_api::{Principal, SessionId, rest::SessionInfo};

use crate::sync::locked;

/// Who a session counts against: issuer and subject together.
type Owner = (String, String);

/// The sessions that live. Clones share the table.
#[derive(Clone)]
pub struct Sessions(Arc<Mutex<Table>>);

struct Table {
    limit: u32,
    per_owner: u32,
    owners: BTreeMap<Owner, u32>,
    total: u32,
    live: BTreeMap<SessionId, Entry>,
}

struct Entry {
    info: SessionInfo,
    bytes: Box<dyn Fn() -> (u64, u64) + Send + Sync>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The hub carries as many sessions as it may.
    #[error("the hub carries as many sessions as it may")]
    Hub,
    /// The person has as many sessions as one may.
    #[error("you have as many sessions as one person may")]
    Person,
}

/// A place in the table; dropping it gives it back.
#[derive(Debug)]
pub struct Place {
    sessions: Sessions,
    id: SessionId,
    owner: Owner,
}

impl Sessions {
    /// An empty table with these limits.
    #[must_use]
    pub fn new(limit: u32, per_owner: u32) -> Self {
        Self(Arc::new(Mutex::new(Table {
            limit,
            per_owner,
            owners: BTreeMap::new(),
            total: 0,
            live: BTreeMap::new(),
        })))
    }

    /// Takes a place for a session of `principal`.
    ///
    /// # Errors
    /// [`Full`] when a limit is reached.
    pub fn enter(&self, id: SessionId, principal: &Principal) -> Result<Place, Full> {
        let owner = (
            principal.issuer.as_str().to_owned(),
            principal.subject.as_str().to_owned(),
        );
        let mut table = locked(&self.0);
        if table.total >= table.limit {
            return Err(Full::Hub);
        }
        let held = table.owners.get(&owner).copied().unwrap_or_default();
        if held >= table.per_owner {
            return Err(Full::Person);
        }
        table.owners.insert(owner.clone(), held + 1);
        table.total += 1;
        Ok(Place {
            sessions: self.clone(),
            id,
            owner,
        })
    }

    /// Those that are open now, in the order they began.
    #[must_use]
    pub fn list(&self) -> Vec<SessionInfo> {
        let table = locked(&self.0);
        let mut items: Vec<_> = table
            .live
            .values()
            .map(|entry| {
                let (up, down) = (entry.bytes)();
                SessionInfo {
                    bytes_up: up,
                    bytes_down: down,
                    ..entry.info.clone()
                }
            })
            .collect();
        items.sort_by(|a, b| (a.since, &a.id).cmp(&(b.since, &b.id)));
        items
    }

    /// How many places are taken.
    #[must_use]
    pub fn count(&self) -> u32 {
        locked(&self.0).total
    }
}

impl Place {
    /// The session is open: it shows in the list from now on. `bytes` says what has passed so far.
    pub fn open(&self, info: SessionInfo, bytes: impl Fn() -> (u64, u64) + Send + Sync + 'static) {
        locked(&self.sessions.0).live.insert(
            self.id.clone(),
            Entry {
                info,
                bytes: Box::new(bytes),
            },
        );
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let entry = {
            let mut table = locked(&self.sessions.0);
            table.total = table.total.saturating_sub(1);
            match table.owners.get_mut(&self.owner) {
                Some(held) if *held > 1 => *held -= 1,
                _ => {
                    table.owners.remove(&self.owner);
                }
            }
            table.live.remove(&self.id)
        };
        // What the entry holds may do work when it goes, so not under the lock.
        drop(entry);
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("count", &self.count())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::people::{Directory, tests::person};

    fn id(byte: u8) -> SessionId {
        SessionId::from_bytes([byte; 16])
    }

    fn principal(name: &str) -> Arc<Principal> {
        let roster = crate::config::Roster {
            people: vec![person(name, "t", &[])],
            ..Default::default()
        };
        Directory::new(roster).authenticate("t").unwrap().principal
    }

    #[test]
    fn limits_hold_for_the_person_and_for_the_hub() {
        let sessions = Sessions::new(3, 2);
        let (alice, bob) = (principal("alice"), principal("bob"));
        let first = sessions.enter(id(1), &alice).unwrap();
        let _second = sessions.enter(id(2), &alice).unwrap();
        assert_eq!(sessions.enter(id(3), &alice).unwrap_err(), Full::Person);
        let _third = sessions.enter(id(3), &bob).unwrap();
        assert_eq!(sessions.enter(id(4), &bob).unwrap_err(), Full::Hub);
        drop(first);
        let _again = sessions.enter(id(5), &alice).unwrap();
        assert_eq!(sessions.count(), 3);
    }

    #[test]
    fn a_thousand_sessions_leave_nothing_behind() {
        let sessions = Sessions::new(10, 10);
        let alice = principal("alice");
        for round in 0..1000_u32 {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&round.to_be_bytes());
            drop(
                sessions
                    .enter(SessionId::from_bytes(bytes), &alice)
                    .unwrap(),
            );
        }
        let table = locked(&sessions.0);
        assert_eq!(
            (table.total, table.owners.len(), table.live.len()),
            (0, 0, 0)
        );
    }
}
