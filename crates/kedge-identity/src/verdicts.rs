//! Verdicts that were given lately, so that a person's second request costs a hash.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use kedge_api::Time;

use crate::defaults::{LEEWAY, VERDICTS_MAX, VERDICTS_MAX_BYTES};
use crate::keys::Fingerprint;
use crate::source::Source;
use crate::verified::Verified;

/// SHA-256 of a token: what is kept of it.
pub(crate) type TokenDigest = [u8; 32];

/// The digest of a token.
pub(crate) fn digest_of(token: &str) -> TokenDigest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    bytes
}

/// A verdict, and what it rests on.
#[derive(Clone)]
pub(crate) struct Verdict {
    /// What was proved.
    pub(crate) verified: Arc<Verified>,
    /// The issuer, under the rules of that moment.
    pub(crate) source: Arc<Source>,
    /// The key that made the signature.
    pub(crate) key: Fingerprint,
    /// Bytes of the token.
    pub(crate) size: usize,
}

/// A bounded number of verdicts; the one that ends first goes first.
#[derive(Default)]
pub(crate) struct Verdicts {
    by_digest: HashMap<TokenDigest, (Verdict, u64)>,
    by_end: BTreeMap<(Time, u64), TokenDigest>,
    bytes: usize,
    next: u64,
}

impl Verdicts {
    /// The verdict about a token, unless the token has ended.
    pub(crate) fn find(&mut self, digest: &TokenDigest, now: Time) -> Option<Verdict> {
        let (verdict, _) = self.by_digest.get(digest)?;
        if verdict.verified.expires_at.saturating_add(LEEWAY) > now {
            return Some(verdict.clone());
        }
        self.forget(digest);
        None
    }

    /// Remembers a verdict, and forgets others if there are too many.
    pub(crate) fn remember(&mut self, digest: TokenDigest, verdict: Verdict) {
        self.forget(&digest);
        let end = verdict.verified.expires_at;
        self.bytes += verdict.size;
        self.by_end.insert((end, self.next), digest);
        self.by_digest.insert(digest, (verdict, self.next));
        self.next += 1;
        while self.by_digest.len() > VERDICTS_MAX || self.bytes > VERDICTS_MAX_BYTES {
            let Some((_, first)) = self.by_end.first_key_value() else {
                return;
            };
            let first = *first;
            self.forget(&first);
        }
    }

    /// Forgets the verdict about a token.
    pub(crate) fn forget(&mut self, digest: &TokenDigest) {
        if let Some((verdict, number)) = self.by_digest.remove(digest) {
            self.by_end.remove(&(verdict.verified.expires_at, number));
            self.bytes -= verdict.size;
        }
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        *self = Self {
            next: self.next,
            ..Self::default()
        };
    }
}

impl fmt::Debug for Verdicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verdicts({})", self.by_digest.len())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use futures_util::FutureExt;
    use tokio::sync::{Notify, watch};

    use super::*;
    use crate::http::HttpClient;
    use crate::rules::IssuerRules;
    use crate::source::Surroundings;

    #[test]
    fn there_are_never_too_many_and_the_one_that_ends_first_goes() {
        let (mut verdicts, source) = (Verdicts::default(), source());
        // Later ones end earlier, so it is not just the oldest that goes.
        for number in 0..VERDICTS_MAX + 10 {
            let end = 1_000_000 - number as i64;
            verdicts.remember(digest_of(&number.to_string()), verdict(&source, end, 1));
            assert!(verdicts.by_digest.len() <= VERDICTS_MAX);
        }
        let found = |verdicts: &mut Verdicts, number: usize| {
            verdicts
                .find(&digest_of(&number.to_string()), time(0))
                .is_some()
        };
        assert!(found(&mut verdicts, 0) && found(&mut verdicts, VERDICTS_MAX - 1));
        assert!(!found(&mut verdicts, VERDICTS_MAX + 9), "it ends first");
        assert_eq!(verdicts.by_end.len(), VERDICTS_MAX);
    }

    #[test]
    fn their_tokens_bytes_are_counted() {
        let (mut verdicts, source) = (Verdicts::default(), source());
        let large = VERDICTS_MAX_BYTES / 4;
        for number in 0..10_i64 {
            verdicts.remember(
                digest_of(&number.to_string()),
                verdict(&source, number, large),
            );
        }
        assert_eq!(verdicts.by_digest.len(), 4);
        // The same token again takes its own place.
        for _ in 0..10 {
            verdicts.remember(digest_of("9"), verdict(&source, 9, large));
        }
        assert_eq!((verdicts.by_digest.len(), verdicts.bytes), (4, 4 * large));
        verdicts.forget(&digest_of("9"));
        verdicts.forget(&digest_of("9"));
        assert_eq!((verdicts.by_end.len(), verdicts.bytes), (3, 3 * large));
        verdicts.clear();
        assert_eq!((verdicts.by_end.len(), verdicts.bytes), (0, 0));
    }

    #[test]
    fn what_has_ended_is_forgotten() {
        let (mut verdicts, source) = (Verdicts::default(), source());
        verdicts.remember(digest_of("a"), verdict(&source, 100, 1));
        assert!(verdicts.find(&digest_of("a"), time(159)).is_some());
        assert!(verdicts.find(&digest_of("a"), time(160)).is_none());
        assert!(verdicts.by_digest.is_empty() && verdicts.by_end.is_empty());
    }

    fn verdict(source: &Arc<Source>, end: i64, size: usize) -> Verdict {
        let alice: kedge_api::Subject = "alice".parse().unwrap();
        let verified = Verified {
            issuer: source.rules().url.clone(),
            subject: alice.clone(),
            user: alice,
            groups: BTreeSet::new(),
            claims: BTreeMap::new(),
            issued_at: time(0),
            expires_at: time(end),
            authenticated_at: None,
        };
        Verdict {
            verified: Arc::new(verified),
            source: Arc::clone(source),
            key: [0; 32],
            size,
        }
    }

    fn source() -> Arc<Source> {
        let rules = IssuerRules {
            url: "https://id.example".parse().unwrap(),
            audiences: BTreeSet::new(),
            authorized_parties: BTreeSet::new(),
            algorithms: Vec::new(),
            user_claim: "sub".to_owned(),
            groups_claim: "groups".to_owned(),
            http: HttpClient::new(|_, _| std::future::pending().boxed()),
        };
        let around = Surroundings {
            clock: Box::new(|| time(0)),
            version: watch::Sender::new(0),
            wake: Notify::new(),
        };
        Arc::new(Source::new(rules, Arc::new(around)))
    }

    fn time(seconds: i64) -> Time {
        jiff::Timestamp::from_second(seconds).unwrap().into()
    }
}
