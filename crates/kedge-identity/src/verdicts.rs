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
