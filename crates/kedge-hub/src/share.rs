//! What one source address may have at once of something there is only so much of.
//!
//! A source is known while somebody of it has or waits for a part, and forgotten with the last of them, so that what is
//! remembered is bounded by the connections there are.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex},
};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use crate::{rate::Source as _, sync::locked};

/// The sources that have or want parts now.
#[derive(Debug)]
pub(crate) struct Shares {
    each: usize,
    table: Mutex<BTreeMap<IpAddr, Wanted>>,
}

#[derive(Debug)]
struct Wanted {
    parts: Arc<Semaphore>,
    by: usize,
}

/// What one source may have, for one that wants a part of it.
#[derive(Debug)]
pub(crate) struct Share {
    shares: Arc<Shares>,
    source: IpAddr,
    parts: Arc<Semaphore>,
}

/// One of the parts of a source, until it is dropped.
#[derive(Debug)]
pub(crate) struct Part {
    _permit: OwnedSemaphorePermit,
    _share: Share,
}

impl Shares {
    /// Each source has one in `divisor` of `whole`, and one at least.
    pub(crate) fn new(whole: usize, divisor: usize) -> Arc<Self> {
        Arc::new(Self {
            each: (whole / divisor).max(1),
            table: Mutex::default(),
        })
    }

    /// What `source` may have; an IPv6 host has its whole network.
    pub(crate) fn of(self: &Arc<Self>, source: IpAddr) -> Share {
        let source = source.counted_as();
        let mut table = locked(&self.table);
        let wanted = table.entry(source).or_insert_with(|| Wanted {
            parts: Arc::new(Semaphore::new(self.each)),
            by: 0,
        });
        wanted.by += 1;
        Share {
            shares: Arc::clone(self),
            source,
            parts: Arc::clone(&wanted.parts),
        }
    }

    #[cfg(test)]
    pub(crate) fn sources(&self) -> usize {
        locked(&self.table).len()
    }
}

impl Share {
    /// One part, or none when the source has all that it may.
    pub(crate) fn take(self) -> Option<Part> {
        let permit = Arc::clone(&self.parts).try_acquire_owned().ok()?;
        Some(Part {
            _permit: permit,
            _share: self,
        })
    }

    /// One part, in its turn.
    ///
    /// # Errors
    /// Never, because nobody closes what it waits for.
    ///
    /// # Cancel safety
    /// When dropped, the place in the queue is lost and nothing else.
    pub(crate) async fn wait(self) -> Result<Part, AcquireError> {
        let permit = Arc::clone(&self.parts).acquire_owned().await?;
        Ok(Part {
            _permit: permit,
            _share: self,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut table = locked(&self.shares.table);
        if let Some(wanted) = table.get_mut(&self.source) {
            wanted.by -= 1;
            if wanted.by == 0 {
                table.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_its_share_and_is_forgotten_with_the_last_part() {
        let shares = Shares::new(8, 4);
        let take = |address: &str| shares.of(address.parse().unwrap()).take();
        let first = take("2001:db8::1").unwrap();
        let second = take("2001:db8::2").unwrap();
        assert!(take("2001:db8::3").is_none(), "one network, one share");
        let other = take("2001:db8:0:1::1").unwrap();
        let mapped = (
            take("192.0.2.1").unwrap(),
            take("::ffff:192.0.2.1").unwrap(),
        );
        assert!(take("192.0.2.1").is_none(), "one address, however written");
        assert_eq!(shares.sources(), 3);
        drop(first);
        let again = take("2001:db8::3").unwrap();
        drop((again, second, other, mapped));
        assert_eq!(shares.sources(), 0);
    }

    #[test]
    fn a_share_is_never_nothing() {
        let shares = Shares::new(1, 4);
        assert!(shares.of(IpAddr::from([192, 0, 2, 1])).take().is_some());
    }
}
