//! The policies, read once per change and not once per question.
//!
//! The store hands out snapshots that never change, so a snapshot that is the same allocation as last time is the
//! same policy, and what was parsed from it still holds. Every question still asks the store for what is there now:
//! a policy that was just written decides the next session.

use std::sync::{Arc, Mutex};

use kedge_api::{AccessPolicy, LabelSelector};
use kedge_store::{Kind, Snapshot, Store, StoreError};

use crate::sync::locked;

/// The policies as last read.
#[derive(Debug, Default)]
pub struct Policies {
    cached: Mutex<Arc<Vec<Entry>>>,
}

/// One policy.
#[derive(Clone, Debug)]
pub struct Entry {
    snapshot: Snapshot,
    policy: Arc<AccessPolicy>,
}

impl Entry {
    /// The policy itself.
    #[must_use]
    pub fn policy(&self) -> &AccessPolicy {
        &self.policy
    }
}

impl Policies {
    /// All policies there are now.
    ///
    /// # Errors
    /// When the store fails, or one of them cannot be read: it may be the one that would have said no, so nothing is
    /// decided without it.
    ///
    /// # Cancel safety
    /// Cancel safe: it only reads.
    pub async fn current(&self, store: &dyn Store) -> Result<Arc<Vec<Entry>>, StoreError> {
        let kind = Kind::of::<AccessPolicy>();
        let raw = store.read_all(kind, &LabelSelector::default()).await?;
        let cached = Arc::clone(&locked(&self.cached));
        let same = cached.len() == raw.items.len()
            && cached
                .iter()
                .zip(&raw.items)
                .all(|(entry, item)| entry.snapshot.is_same(item));
        if same {
            return Ok(cached);
        }
        // Both are sorted by name, so one pass finds what is still the same.
        let mut known = cached.iter().peekable();
        let mut fresh = Vec::with_capacity(raw.items.len());
        for snapshot in raw.items {
            let name = snapshot.name().unwrap_or_default();
            while known
                .next_if(|entry| entry.policy.metadata.name.as_str() < name.as_str())
                .is_some()
            {}
            let reused = known
                .next_if(|entry| entry.snapshot.is_same(&snapshot))
                .map(|entry| Arc::clone(&entry.policy));
            let policy = match reused {
                Some(policy) => policy,
                None => Arc::new(snapshot.read().map_err(|error| StoreError::Unreadable {
                    kind,
                    name,
                    cause: error.to_string(),
                })?),
            };
            fresh.push(Entry { snapshot, policy });
        }
        let fresh = Arc::new(fresh);
        *locked(&self.cached) = Arc::clone(&fresh);
        Ok(fresh)
    }
}
