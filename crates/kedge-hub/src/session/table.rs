//! The sessions that live.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
};

use kedge_api::{Principal, SessionId, rest::SessionInfo};

use super::quota::{Full, Quota, Ticket};
use crate::sync::locked;

/// The sessions that live, and how many may. Clones share the table.
#[derive(Clone)]
pub struct Sessions {
    quota: Quota,
    live: Live,
}

type Live = Arc<Mutex<BTreeMap<SessionId, Entry>>>;

struct Entry {
    info: SessionInfo,
    bytes: Box<dyn Fn() -> (u64, u64) + Send + Sync>,
}

/// A place in the table; dropping it gives it back.
pub struct Place {
    live: Live,
    id: SessionId,
    ticket: Ticket,
}

impl Sessions {
    /// An empty table for `limit` sessions, `per_owner` of them of one person.
    #[must_use]
    pub fn new(limit: u32, per_owner: u32) -> Self {
        Self {
            quota: Quota::new(limit, per_owner),
            live: Arc::default(),
        }
    }

    /// Takes a place for a session of `principal`.
    ///
    /// # Errors
    /// [`Full`] when a limit is reached.
    pub fn enter(&self, id: SessionId, principal: &Principal) -> Result<Place, Full> {
        Ok(Place {
            ticket: self.quota.take(principal)?,
            live: Arc::clone(&self.live),
            id,
        })
    }

    /// Those that are open now, in the order they began.
    #[must_use]
    pub fn list(&self) -> Vec<SessionInfo> {
        let live = locked(&self.live);
        let mut items: Vec<_> = live
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

    /// How many sessions `principal` has.
    #[must_use]
    pub fn of(&self, principal: &Principal) -> u32 {
        self.quota.admitted(principal)
    }

    /// How many places are taken, by those too that are about to open.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.quota.count()
    }
}

impl Place {
    /// Counts the session among its person's, unless they have `limit` already.
    ///
    /// # Errors
    /// How many there are.
    pub fn admit(&mut self, limit: Option<u32>) -> Result<(), u32> {
        self.ticket.admit(limit)
    }

    /// How many sessions its person had before this one.
    #[must_use]
    pub fn older(&self) -> u32 {
        self.ticket.older()
    }

    /// The session is open: it shows in the list from now on. `bytes` says what has passed so far.
    pub fn open(&self, info: SessionInfo, bytes: impl Fn() -> (u64, u64) + Send + Sync + 'static) {
        let bytes = Box::new(bytes);
        locked(&self.live).insert(self.id.clone(), Entry { info, bytes });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let entry = locked(&self.live).remove(&self.id);
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

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
