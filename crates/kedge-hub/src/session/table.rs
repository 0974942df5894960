//! The sessions that live.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
};

use kedge_api::{Principal, SessionId, rest::SessionInfo};
use tokio::sync::watch;

use super::quota::{Full, Quota, Ticket};
use crate::sync::locked;

/// The sessions that live, and how many may. Clones share the table.
#[derive(Clone)]
pub struct Sessions {
    quota: Quota,
    live: Live,
}

type Live = Arc<Mutex<BTreeMap<SessionId, Arc<Entry>>>>;

struct Entry {
    info: SessionInfo,
    refresh: Box<dyn Fn(&mut SessionInfo) + Send + Sync>,
    end: watch::Sender<Option<String>>,
}

impl Entry {
    fn now(&self) -> SessionInfo {
        let mut info = self.info.clone();
        (self.refresh)(&mut info);
        info
    }
}

/// A session that was taken out of the table, so that one alone ends it.
pub struct Taken(Arc<Entry>);

/// What somebody has a session do: to end.
#[derive(Debug)]
pub struct Orders(watch::Receiver<Option<String>>);

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

    /// Those that are open now and wanted, in the order they began.
    #[must_use]
    pub fn list(&self, wanted: impl Fn(&SessionInfo) -> bool) -> Vec<SessionInfo> {
        let entries: Vec<_> = {
            let live = locked(&self.live);
            let wanted = live.values().filter(|entry| wanted(&entry.info));
            wanted.map(Arc::clone).collect()
        };
        // Each asks two links for their numbers, and nobody who opens a session waits for that.
        let mut items: Vec<_> = entries.iter().map(|entry| entry.now()).collect();
        items.sort_by(|a, b| (a.since, &a.id).cmp(&(b.since, &b.id)));
        items
    }

    /// The one with this id, as it is now.
    #[must_use]
    pub fn find(&self, id: &SessionId) -> Option<SessionInfo> {
        let entry = locked(&self.live).get(id).map(Arc::clone);
        entry.map(|entry| entry.now())
    }

    /// Takes the one with this id out, to end it. Of several who want that, one gets it.
    #[must_use]
    pub fn take(&self, id: &SessionId) -> Option<Taken> {
        locked(&self.live).remove(id).map(Taken)
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

    /// The session is open: it shows in the list from now on. `refresh` fills in what changes while it lives. Whoever
    /// takes it out of the list gives the orders.
    pub fn open(
        &self,
        info: SessionInfo,
        refresh: impl Fn(&mut SessionInfo) + Send + Sync + 'static,
    ) -> Orders {
        let (end, orders) = watch::channel(None);
        let entry = Entry {
            info,
            refresh: Box::new(refresh),
            end,
        };
        locked(&self.live).insert(self.id.clone(), Arc::new(entry));
        Orders(orders)
    }
}

impl Taken {
    /// The session as it is now.
    #[must_use]
    pub fn info(&self) -> SessionInfo {
        self.0.now()
    }

    /// Has the session end, with these words for both its ends.
    pub fn end(self, words: String) {
        self.0.end.send_replace(Some(words));
    }
}

impl Orders {
    /// Waits until the session is to end; the words for both its ends.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn end(&mut self) -> String {
        let words = self.0.wait_for(Option::is_some).await;
        match words.ok().and_then(|words| words.clone()) {
            Some(words) => words,
            // Nobody is left who could say so.
            None => std::future::pending().await,
        }
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

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taken")
            .field("id", &self.0.info.id)
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
