//! Which assertions have been seen, until they would be refused for their age anyway.
//!
//! Bounded: when it is full of nonces that still matter, newcomers are turned away for a moment. The alternative,
//! to forget one early, would let a recorded assertion pass a second time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use aws_lc_rs::digest;
use jiff::Timestamp;

use crate::sync::locked;

/// The memory of nonces.
#[derive(Debug)]
pub struct ReplayCache {
    capacity: usize,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    nonces: BTreeMap<[u8; 32], Timestamp>,
    by_expiry: BTreeSet<(Timestamp, [u8; 32])>,
}

/// Why an assertion's nonce is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// Too many assertions are alive; the agent tries again.
    #[error("too many assertions are being remembered")]
    Full,
    /// It was used before.
    #[error("the assertion was used before")]
    Replayed,
}

impl ReplayCache {
    /// A memory of at most `capacity` nonces.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            seen: Mutex::default(),
        }
    }

    /// Uses `nonce` of `issuer`, which is refused for its age after `expires`.
    ///
    /// # Errors
    /// [`ReplayError::Replayed`] when it was used before, [`ReplayError::Full`] when there is no room to remember it.
    pub fn spend(
        &self,
        issuer: &str,
        nonce: &str,
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<(), ReplayError> {
        let key = key(issuer, nonce);
        let mut seen = locked(&self.seen);
        while let Some(&(expiry, old)) = seen.by_expiry.first() {
            if expiry > now {
                break;
            }
            seen.by_expiry.pop_first();
            seen.nonces.remove(&old);
        }
        if seen.nonces.contains_key(&key) {
            return Err(ReplayError::Replayed);
        }
        if seen.nonces.len() >= self.capacity {
            return Err(ReplayError::Full);
        }
        seen.nonces.insert(key, expires);
        seen.by_expiry.insert((expires, key));
        Ok(())
    }
}

/// A fixed size whatever the peer wrote, and no two pairs that spell the same bytes.
fn key(issuer: &str, nonce: &str) -> [u8; 32] {
    let mut hasher = digest::Context::new(&digest::SHA256);
    hasher.update(&(issuer.len() as u64).to_be_bytes());
    hasher.update(issuer.as_bytes());
    hasher.update(nonce.as_bytes());
    let mut key = [0; 32];
    key.copy_from_slice(hasher.finish().as_ref());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_nonce_passes_once_while_its_assertion_lives() {
        let cache = ReplayCache::new(8);
        cache.spend("web01", "n", at(60), at(0)).unwrap();
        assert_eq!(
            cache.spend("web01", "n", at(60), at(59)),
            Err(ReplayError::Replayed)
        );
        cache.spend("web02", "n", at(60), at(1)).unwrap();
    }

    #[test]
    fn a_name_and_a_nonce_cannot_be_shifted_into_another_pair() {
        let cache = ReplayCache::new(8);
        cache.spend("web0", "1n", at(60), at(0)).unwrap();
        cache.spend("web01", "n", at(60), at(0)).unwrap();
    }

    #[test]
    fn a_full_memory_refuses_rather_than_forgets_and_heals_with_time() {
        let cache = ReplayCache::new(2);
        cache.spend("a", "1", at(60), at(0)).unwrap();
        cache.spend("a", "2", at(30), at(0)).unwrap();
        assert_eq!(cache.spend("a", "3", at(60), at(0)), Err(ReplayError::Full));
        assert_eq!(
            cache.spend("a", "1", at(60), at(0)),
            Err(ReplayError::Replayed)
        );
        cache.spend("a", "3", at(90), at(30)).unwrap();
        assert_eq!(
            cache.spend("a", "1", at(60), at(31)),
            Err(ReplayError::Replayed)
        );
        let seen = locked(&cache.seen);
        assert_eq!(seen.nonces.len(), seen.by_expiry.len());
    }
}
