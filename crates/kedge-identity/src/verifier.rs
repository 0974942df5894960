//! The one judge of tokens.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use kedge_api::text::Printable;
use kedge_api::{IssuerUrl, Time};
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::claims;
use crate::defaults::{REFRESH_MAX, TOKEN_MAX_BYTES};
use crate::error::VerifyError;
use crate::health::IssuerHealth;
use crate::keys::KeySet;
use crate::rules::IssuerRules;
use crate::snapshot::{KeySnapshot, SavedKeys};
use crate::source::{Duty, Source, Surroundings};
use crate::token::Token;
use crate::verdicts::{TokenDigest, Verdict, Verdicts, digest_of};
use crate::verified::Verified;

/// Judges tokens of the issuers that are configured, and keeps these issuers' keys.
pub struct Verifier {
    around: Arc<Surroundings>,
    sources: RwLock<Arc<Sources>>,
    verdicts: Mutex<Verdicts>,
}

type Sources = BTreeMap<IssuerUrl, Arc<Source>>;

impl Verifier {
    /// A judge of these issuers' tokens. Nothing is fetched before [`Verifier::run`] or the first token.
    pub fn new(rules: Vec<IssuerRules>, clock: impl Fn() -> Time + Send + Sync + 'static) -> Self {
        let around = Surroundings {
            clock: Box::new(clock),
            version: watch::Sender::new(0),
            wake: Notify::new(),
        };
        let verifier = Self {
            around: Arc::new(around),
            sources: RwLock::default(),
            verdicts: Mutex::default(),
        };
        verifier.replace(rules);
        verifier
    }

    /// Takes other issuers and other rules; of two with the same URL the latter counts. Keys of an issuer that stays
    /// are kept and soon fetched again, every verdict is dropped.
    pub fn replace(&self, rules: Vec<IssuerRules>) {
        let mut held = self.sources.write().unwrap_or_else(PoisonError::into_inner);
        let sources = rules.into_iter().map(|rules| {
            let url = rules.url.clone();
            let source = match held.get(&url) {
                Some(old) => old.with_rules(rules),
                None => Source::new(rules, Arc::clone(&self.around)),
            };
            (url, Arc::new(source))
        });
        *held = Arc::new(sources.collect());
        drop(held);
        // One that is put in from here on rests on a source that is no longer held, and is not found.
        self.verdicts().clear();
        self.around.wake.notify_one();
        self.around.changed();
    }

    /// Judges a token: an ID token, signed by its issuer, for us, now. A verdict is remembered for as long as it
    /// holds, so most calls cost one hash.
    ///
    /// # Errors
    /// [`VerifyError`], the first thing that is wrong.
    ///
    /// # Cancel safety
    /// Safe: a fetch of keys that others wait for goes on without this caller.
    pub async fn verify(&self, token: &str) -> Result<Arc<Verified>, VerifyError> {
        check_length(token)?;
        let digest = digest_of(token);
        if let Some(verified) = self.recall(&digest) {
            return Ok(verified);
        }
        let verdict = self.judge(token, None).await?;
        let verified = Arc::clone(&verdict.verified);
        self.verdicts().remember(digest, verdict);
        Ok(verified)
    }

    /// Judges the token that answers a login: as [`Verifier::verify`], and its `nonce` is this one. Nothing is
    /// remembered.
    ///
    /// # Errors
    /// [`VerifyError`], the first thing that is wrong.
    ///
    /// # Cancel safety
    /// As [`Verifier::verify`].
    pub async fn verify_answer(
        &self,
        token: &str,
        nonce: &str,
    ) -> Result<Arc<Verified>, VerifyError> {
        check_length(token)?;
        Ok(self.judge(token, Some(nonce)).await?.verified)
    }

    /// Keeps the issuers' keys fresh until `stop`: fetches them at once, again when they grow old, and after a
    /// failure sooner. One call at a time.
    ///
    /// # Cancel safety
    /// Safe: dropping it is the same as `stop`.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let mut flights = FuturesUnordered::new();
        let _disown = Disown(self);
        loop {
            let mut next = Instant::now() + REFRESH_MAX;
            for source in self.sources().values() {
                match source.duty() {
                    Duty::Fly(flight) => flights.push(flight),
                    Duty::Rest(due) => next = next.min(due),
                    Duty::Taken => {}
                }
            }
            tokio::select! {
                () = &mut stop => return,
                Some(()) = flights.next(), if !flights.is_empty() => {}
                () = self.around.wake.notified() => {}
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    /// How it stands with each issuer's keys, in the order of their URLs.
    #[must_use]
    pub fn health(&self) -> Vec<IssuerHealth> {
        self.sources()
            .values()
            .map(|source| source.health())
            .collect()
    }

    /// A receiver that sees every change of [`Verifier::health`], of [`Verifier::snapshot`] and of the rules.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.around.version.subscribe()
    }

    /// The keys in use, to be given to [`Verifier::restore`] after a restart.
    #[must_use]
    pub fn snapshot(&self) -> KeySnapshot {
        let saved = |source: &Arc<Source>| {
            let keys = source.keys()?;
            Some(SavedKeys {
                issuer: source.rules().url.clone(),
                fetched_at: keys.fetched_at(),
                jwks: keys.document().clone(),
            })
        };
        KeySnapshot {
            issuers: self.sources().values().filter_map(saved).collect(),
        }
    }

    /// Takes keys from before a restart, for issuers that are configured and have none yet, if they are at most a day
    /// old. They hold until the issuer has been asked; what is unusable is left out. Returns how many issuers have
    /// keys by it.
    pub fn restore(&self, snapshot: KeySnapshot) -> usize {
        let sources = self.sources();
        let restored = snapshot.issuers.into_iter().filter(|saved| {
            let keys = KeySet::read(saved.jwks.clone(), saved.fetched_at);
            match (sources.get(&saved.issuer), keys) {
                (Some(source), Ok(keys)) => source.restore(keys),
                _ => false,
            }
        });
        let count = restored.count();
        self.around.changed();
        count
    }

    fn recall(&self, digest: &TokenDigest) -> Option<Arc<Verified>> {
        let verdict = self.verdicts().find(digest, self.around.now())?;
        let holds = self.holds(&verdict.source)
            && verdict
                .source
                .keys()
                .is_some_and(|keys| keys.contains(&verdict.key));
        if holds {
            return Some(verdict.verified);
        }
        self.verdicts().forget(digest);
        None
    }

    async fn judge(&self, text: &str, nonce: Option<&str>) -> Result<Verdict, VerifyError> {
        let token = Token::parse(text)?;
        loop {
            let source = self.source(&token)?;
            let verified = self.judge_claims(&token, &source, nonce)?;
            let key = source.signer(&token).await?;
            // The rules may have changed while the issuer was asked.
            if self.holds(&source) {
                return Ok(Verdict {
                    verified: Arc::new(verified),
                    key: *key.fingerprint(),
                    source,
                    size: text.len(),
                });
            }
        }
    }

    fn judge_claims(
        &self,
        token: &Token<'_>,
        source: &Source,
        nonce: Option<&str>,
    ) -> Result<Verified, VerifyError> {
        if !source.rules().algorithms.contains(&token.algorithm) {
            return Err(VerifyError::Algorithm {
                found: token.algorithm.to_string(),
            });
        }
        let verified = claims::judge(&token.claims, source.rules(), self.around.now())?;
        match (nonce, token.claims.get("nonce")) {
            (None, _) => Ok(verified),
            (Some(wanted), Some(Value::String(found))) if found == wanted => Ok(verified),
            (Some(_), _) => Err(VerifyError::Nonce),
        }
    }

    fn source(&self, token: &Token<'_>) -> Result<Arc<Source>, VerifyError> {
        let Some(Value::String(issuer)) = token.claims.get("iss") else {
            return Err(VerifyError::Claim {
                claim: "iss".to_owned(),
                problem: "is absent, or no text".to_owned(),
            });
        };
        let sources = self.sources();
        if let Some(source) = sources.get(issuer.as_str()) {
            return Ok(Arc::clone(source));
        }
        let bare = |text: &str| text.trim_end_matches('/').to_owned();
        let shown = Printable::new(issuer);
        let found = match sources
            .keys()
            .find(|url| bare(url.as_str()) == bare(issuer))
        {
            Some(url) => format!("`{shown}` (it differs from `{url}` by a slash at the end)"),
            None => format!("`{shown}`"),
        };
        Err(VerifyError::UnknownIssuer { found })
    }

    /// Whether an issuer is still configured, by these very rules.
    fn holds(&self, source: &Arc<Source>) -> bool {
        let sources = self.sources();
        let held = sources.get(&source.rules().url);
        held.is_some_and(|held| Arc::ptr_eq(held, source))
    }

    fn sources(&self) -> Arc<Sources> {
        Arc::clone(&self.sources.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn verdicts(&self) -> MutexGuard<'_, Verdicts> {
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("issuers", &self.sources().keys())
            .finish_non_exhaustive()
    }
}

/// Gives flights back when the one who sees them through ends.
struct Disown<'a>(&'a Verifier);

impl Drop for Disown<'_> {
    fn drop(&mut self) {
        for source in self.0.sources().values() {
            source.disown();
        }
    }
}

fn check_length(token: &str) -> Result<(), VerifyError> {
    if token.len() > TOKEN_MAX_BYTES {
        return Err(VerifyError::TooLong {
            found: token.len(),
            allowed: TOKEN_MAX_BYTES,
        });
    }
    Ok(())
}
