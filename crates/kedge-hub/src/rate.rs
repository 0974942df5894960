//! Token buckets per source, in a table that cannot grow.
//!
//! * A source is a person, or an IPv4 address, or the /64 of an IPv6 one: a host owns its /64, so finer would be no
//!   limit.
//! * Each source has a bucket of `burst` tries that refills by one per `refill`.
//! * The table holds at most `capacity` sources. When it is full, buckets that have refilled are forgotten (they say
//!   nothing); when none has, newcomers share one bucket, so that a flood from many addresses limits itself and
//!   never evicts the memory of an attacker.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::Mutex,
    time::{Duration, Instant},
};

use crate::sync::locked;

/// How often one source may do something.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Tries that may come at once.
    pub burst: u32,
    /// Time after which one more try is allowed.
    pub refill: Duration,
}

/// Who is limited.
pub trait Source: Ord {
    /// What it counts as: the same for all that share a bucket.
    #[must_use]
    fn counted_as(self) -> Self;
}

impl Source for IpAddr {
    fn counted_as(self) -> Self {
        key(self)
    }
}

/// What is done from an address with a join token: its name.
impl Source for (IpAddr, String) {
    fn counted_as(self) -> Self {
        (key(self.0), self.1)
    }
}

/// A person: issuer and subject.
impl Source for (String, String) {
    fn counted_as(self) -> Self {
        self
    }
}

/// A rate limit per source.
#[derive(Debug)]
pub struct RateLimiter<S = IpAddr> {
    rate: Rate,
    capacity: usize,
    table: Mutex<Table<S>>,
}

#[derive(Debug)]
struct Table<S> {
    sources: BTreeMap<S, Bucket>,
    crowd: Option<Bucket>,
}

/// What is left of a source's tries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    /// The moment at which the bucket is full again: one number says it all.
    full_at: Instant,
}

impl<S: Source> RateLimiter<S> {
    /// A limiter that remembers at most `capacity` sources.
    #[must_use]
    pub fn new(rate: Rate, capacity: usize) -> Self {
        Self {
            rate,
            capacity,
            table: Mutex::new(Table {
                sources: BTreeMap::new(),
                crowd: None,
            }),
        }
    }

    /// Uses one try of `source`.
    ///
    /// # Errors
    /// The time until the next try, when there is none left.
    pub fn take(&self, source: S, now: Instant) -> Result<(), Duration> {
        let source = source.counted_as();
        let mut table = locked(&self.table);
        if !table.sources.contains_key(&source) && table.sources.len() >= self.capacity {
            table.sources.retain(|_, bucket| !bucket.is_full(now));
        }
        if table.sources.contains_key(&source) || table.sources.len() < self.capacity {
            let bucket = self.rate.left(table.sources.get(&source).copied(), now)?;
            table.sources.insert(source, bucket);
        } else {
            let bucket = self.rate.left(table.crowd, now)?;
            table.crowd = Some(bucket);
        }
        Ok(())
    }
}

impl Bucket {
    /// Whether it is full again, so that forgetting it changes nothing.
    pub(crate) fn is_full(self, now: Instant) -> bool {
        self.full_at <= now
    }
}

impl Rate {
    /// The bucket after one more try, or the time until there is one.
    pub(crate) fn left(self, bucket: Option<Bucket>, now: Instant) -> Result<Bucket, Duration> {
        let full_at = bucket.map_or(now, |bucket| bucket.full_at.max(now)) + self.refill;
        let span = self.refill * self.burst;
        let owed = full_at.saturating_duration_since(now);
        if owed > span {
            Err(owed - span)
        } else {
            Ok(Bucket { full_at })
        }
    }

    /// The bucket after something that was done without asking: at worst it is empty.
    pub(crate) fn spent(self, bucket: Option<Bucket>, now: Instant) -> Bucket {
        let full_at = bucket.map_or(now, |bucket| bucket.full_at.max(now)) + self.refill;
        Bucket {
            full_at: full_at.min(now + self.refill * self.burst),
        }
    }
}

fn key(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        burst: 3,
        refill: Duration::from_secs(10),
    };

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_burst_passes_then_one_per_refill() {
        let limiter = RateLimiter::new(RATE, 8);
        let now = Instant::now();
        let source = address("192.0.2.1");
        for _ in 0..3 {
            limiter.take(source, now).unwrap();
        }
        assert_eq!(limiter.take(source, now), Err(Duration::from_secs(10)));
        limiter.take(source, now + Duration::from_secs(10)).unwrap();
        assert!(limiter.take(source, now + Duration::from_secs(10)).is_err());
        limiter
            .take(source, now + Duration::from_secs(600))
            .unwrap();
    }

    #[test]
    fn what_nobody_asked_for_counts_and_makes_no_debt() {
        let now = Instant::now();
        let mut bucket = None;
        for _ in 0..10 {
            bucket = Some(RATE.spent(bucket, now));
        }
        let wait = RATE.left(bucket, now).unwrap_err();
        assert_eq!(wait, Duration::from_secs(10));
        assert!(RATE.left(bucket, now + wait).is_ok());
    }

    #[test]
    fn one_source_never_costs_another_its_tries() {
        let limiter = RateLimiter::new(RATE, 8);
        let now = Instant::now();
        while limiter.take(address("192.0.2.1"), now).is_ok() {}
        limiter.take(address("192.0.2.2"), now).unwrap();
    }

    #[test]
    fn an_ipv6_host_cannot_hop_within_its_own_network() {
        let limiter = RateLimiter::new(RATE, 8);
        let now = Instant::now();
        for host in ["2001:db8::1", "2001:db8::2", "2001:db8::ffff:1"] {
            limiter.take(address(host), now).unwrap();
        }
        assert!(limiter.take(address("2001:db8::4"), now).is_err());
        limiter.take(address("2001:db8:0:1::1"), now).unwrap();
    }

    #[test]
    fn a_mapped_ipv4_address_is_the_ipv4_address() {
        let limiter = RateLimiter::new(RATE, 8);
        let now = Instant::now();
        while limiter.take(address("192.0.2.1"), now).is_ok() {}
        assert!(limiter.take(address("::ffff:192.0.2.1"), now).is_err());
    }

    #[test]
    fn a_flood_of_addresses_neither_grows_the_table_nor_frees_an_attacker() {
        let limiter = RateLimiter::new(RATE, 4);
        let now = Instant::now();
        let attacker = address("192.0.2.1");
        while limiter.take(attacker, now).is_ok() {}
        let mut passed = 0;
        for host in 0..200u8 {
            if limiter
                .take(IpAddr::from([198, 51, 100, host]), now)
                .is_ok()
            {
                passed += 1;
            }
        }
        assert_eq!(
            passed,
            3 + 3,
            "three that found room, and one crowd's burst"
        );
        assert_eq!(locked(&limiter.table).sources.len(), 4);
        assert!(limiter.take(attacker, now).is_err(), "still remembered");
        let later = now + Duration::from_secs(60);
        limiter.take(address("203.0.113.1"), later).unwrap();
        assert_eq!(
            locked(&limiter.table).sources.len(),
            1,
            "what has refilled is forgotten"
        );
    }
}
