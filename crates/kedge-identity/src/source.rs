//! One issuer's keys over time: when they are fetched, by whom, and what holds while they cannot be.
//!
//! ```text
//!            due, or a token needs it          ┌── Ok ──▶ keys replaced, due after Cache-Control
//!  resting ─────────────────────────▶ flight ──┤
//!     ▲     (one at a time, limited)           └── Err ─▶ keys kept until too old, due after a pause
//!     └──────────────────────────────────────────────────────────────┘
//! ```
//!
//! A flight belongs to all who wait for it, and to [`Verifier::run`](crate::Verifier::run) if that runs: one who
//! leaves does not end it for the others.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use kedge_api::Time;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;

use crate::defaults::{
    FUTURE_LEEWAY, KEYS_MAX_AGE, NO_KEYS_PAUSE, RESTORED_MAX_AGE, RETRY_MAX, RETRY_MIN,
    UNKNOWN_KEY_PAUSE, WAITING_MAX,
};
use crate::error::VerifyError;
use crate::fetch::{self, Fetched};
use crate::health::{IssuerHealth, IssuerState};
use crate::keys::{Fit, Key, KeySet};
use crate::rules::IssuerRules;
use crate::token::Token;

/// What all issuers' sources share.
pub(crate) struct Surroundings {
    pub(crate) clock: Box<dyn Fn() -> Time + Send + Sync>,
    /// Counts what [`Verifier::changes`](crate::Verifier::changes) tells about.
    pub(crate) version: watch::Sender<u64>,
    /// Wakes [`Verifier::run`](crate::Verifier::run): there is something to do.
    pub(crate) wake: Notify,
}

impl Surroundings {
    pub(crate) fn now(&self) -> Time {
        (self.clock)()
    }

    pub(crate) fn changed(&self) {
        self.version
            .send_modify(|version| *version = version.wrapping_add(1));
    }
}

/// One issuer under one set of rules.
pub(crate) struct Source {
    rules: IssuerRules,
    around: Arc<Surroundings>,
    state: Mutex<State>,
    /// Room for those who wait for keys: each of them has a token in its parts, which nobody has vouched for.
    waiting: Semaphore,
}

#[derive(Default)]
struct State {
    keys: Option<Arc<KeySet>>,
    /// When a fetch first succeeded since the last that failed; none before the first.
    working_since: Option<Time>,
    /// Why the last fetch failed, if it did.
    failure: Option<String>,
    /// How many failed in a row.
    failures: u32,
    /// When to fetch next; none is now.
    due: Option<Instant>,
    /// When a token last made us ask although there were keys, and although there were none.
    asked: Option<Instant>,
    asked_without_keys: Option<Instant>,
    flight: Option<Flight>,
    /// Whether somebody has taken the flight to see it through.
    adopted: bool,
}

/// A fetch that is under way. All of its clones drive it.
pub(crate) type Flight = Shared<BoxFuture<'static, ()>>;

impl Source {
    pub(crate) fn new(rules: IssuerRules, around: Arc<Surroundings>) -> Self {
        Self {
            rules,
            around,
            state: Mutex::default(),
            waiting: Semaphore::new(WAITING_MAX),
        }
    }

    /// The same issuer under other rules: with its keys, to be fetched again soon, since the way to it may be another.
    pub(crate) fn with_rules(&self, rules: IssuerRules) -> Self {
        let old = self.locked();
        let state = State {
            keys: old.keys.clone(),
            working_since: old.working_since,
            failure: old.failure.clone(),
            asked: old.asked,
            ..State::default()
        };
        drop(old);
        Self {
            rules,
            around: Arc::clone(&self.around),
            state: Mutex::new(state),
            waiting: Semaphore::new(WAITING_MAX),
        }
    }

    pub(crate) fn rules(&self) -> &IssuerRules {
        &self.rules
    }

    /// The keys, unless they are too old to be believed.
    pub(crate) fn keys(&self) -> Option<Arc<KeySet>> {
        let keys = self.locked().keys.clone()?;
        let age = self.around.now().saturating_since(keys.fetched_at());
        (age <= KEYS_MAX_AGE).then_some(keys)
    }

    /// The key that signed a token, after asking the issuer if need be and permitted.
    ///
    /// # Errors
    /// [`VerifyError::Unavailable`], [`VerifyError::Key`], [`VerifyError::Signature`].
    pub(crate) async fn signer(
        self: &Arc<Self>,
        token: &Token<'_>,
    ) -> Result<Arc<Key>, VerifyError> {
        let keys = match self.keys() {
            Some(keys) => keys,
            None => {
                if let Some(flight) = self.ask(Cause::NoKeys) {
                    self.wait(flight).await?;
                }
                self.keys().ok_or_else(|| self.unavailable())?
            }
        };
        let first = match self.judge(&keys, token) {
            Err(refusal) if refusal.newer_keys_may_help => refusal.error,
            verdict => return verdict.map_err(|refusal| refusal.error),
        };
        let Some(flight) = self.ask(Cause::UnknownKey) else {
            // Asked not long ago: with success, so the key is unknown; or in vain, so nobody knows.
            let in_vain = self.locked().failure.is_some();
            return Err(if in_vain { self.unavailable() } else { first });
        };
        self.wait(flight).await?;
        match self.keys() {
            Some(newer) if !Arc::ptr_eq(&newer, &keys) => {
                self.judge(&newer, token).map_err(|refusal| refusal.error)
            }
            _ => Err(self.unavailable()),
        }
    }

    /// Waits for a flight, unless too many do.
    async fn wait(&self, flight: Flight) -> Result<(), VerifyError> {
        let Ok(_place) = self.waiting.try_acquire() else {
            return Err(VerifyError::Unavailable {
                issuer: self.rules.url.clone(),
                cause: "too many wait for them".to_owned(),
            });
        };
        flight.await;
        Ok(())
    }

    /// A flight to wait for: the one that is under way, or a new one if this cause may start it now.
    pub(crate) fn ask(self: &Arc<Self>, cause: Cause) -> Option<Flight> {
        let mut state = self.locked();
        if let Some(flight) = &state.flight {
            return Some(flight.clone());
        }
        let now = Instant::now();
        let pause_over = |last: Option<Instant>, pause| last.is_none_or(|last| now - last >= pause);
        match cause {
            Cause::Due => {}
            Cause::NoKeys if pause_over(state.asked_without_keys, NO_KEYS_PAUSE) => {
                state.asked_without_keys = Some(now);
            }
            Cause::UnknownKey if pause_over(state.asked, UNKNOWN_KEY_PAUSE) => {
                state.asked = Some(now);
            }
            Cause::NoKeys | Cause::UnknownKey => return None,
        }
        let flight = self.fly();
        state.flight = Some(flight.clone());
        state.adopted = cause == Cause::Due;
        drop(state);
        if cause != Cause::Due {
            self.around.wake.notify_one();
        }
        Some(flight)
    }

    /// What there is to see through for whoever keeps the keys fresh: a flight that is due or that nobody has taken;
    /// else when the next is due.
    pub(crate) fn duty(self: &Arc<Self>) -> Duty {
        let mut state = self.locked();
        match &state.flight {
            Some(_) if state.adopted => return Duty::Taken,
            Some(flight) => {
                let flight = flight.clone();
                state.adopted = true;
                return Duty::Fly(flight);
            }
            None => {}
        }
        match state.due {
            Some(due) if due > Instant::now() => Duty::Rest(due),
            _ => {
                drop(state);
                self.ask(Cause::Due).map_or(Duty::Taken, Duty::Fly)
            }
        }
    }

    /// Whoever saw flights through is gone; the next one starts over.
    pub(crate) fn disown(&self) {
        self.locked().adopted = false;
    }

    /// Takes keys that were fetched before a restart, if they are young enough and there are none yet.
    pub(crate) fn restore(&self, keys: KeySet) -> bool {
        let now = self.around.now();
        let at = keys.fetched_at();
        let credible = now.saturating_since(at) <= RESTORED_MAX_AGE
            && at.saturating_since(now) <= FUTURE_LEEWAY;
        let mut state = self.locked();
        let wanted = credible && state.keys.is_none();
        if wanted {
            state.keys = Some(Arc::new(keys));
        }
        wanted
    }

    pub(crate) fn health(&self) -> IssuerHealth {
        let usable = self.keys();
        let state = self.locked();
        let cause = match (&state.failure, &state.keys) {
            (Some(cause), _) => cause.clone(),
            (None, Some(keys)) if usable.is_none() => {
                format!("those of {} are too old", keys.fetched_at())
            }
            (None, _) => "they have not been fetched yet".to_owned(),
        };
        let (standing, keys, skipped) = match (&usable, &state.failure, state.working_since) {
            (None, _, _) => (IssuerState::Unreachable { cause }, 0, 0),
            (Some(keys), None, Some(since)) => {
                (IssuerState::Working { since }, keys.len(), keys.skipped())
            }
            (Some(keys), _, _) => {
                let last = keys.fetched_at();
                (
                    IssuerState::Stale { last, cause },
                    keys.len(),
                    keys.skipped(),
                )
            }
        };
        IssuerHealth {
            issuer: self.rules.url.clone(),
            state: standing,
            keys,
            skipped,
        }
    }

    fn judge(&self, keys: &KeySet, token: &Token<'_>) -> Result<Arc<Key>, Refusal> {
        let unfit = |newer_keys_may_help| Refusal {
            error: VerifyError::Key {
                issuer: self.rules.url.clone(),
                kid: token.key_id_shown(),
                algorithm: token.algorithm,
            },
            newer_keys_may_help,
        };
        match keys.find(token.key_id.as_deref(), token.algorithm) {
            Fit::Key(key) if token.is_signed_by(&key) => Ok(key),
            // Without a `kid`, a wrong signature and a new key look the same.
            Fit::Key(_) => Err(Refusal {
                error: VerifyError::Signature,
                newer_keys_may_help: token.key_id.is_none(),
            }),
            Fit::Never => Err(unfit(false)),
            Fit::NotYet => Err(unfit(true)),
        }
    }

    fn fly(self: &Arc<Self>) -> Flight {
        let source = Arc::downgrade(self);
        let (http, url) = (self.rules.http.clone(), self.rules.url.clone());
        let around = Arc::clone(&self.around);
        async move {
            let fetched = fetch::keys(&http, &url, &*around.clock).await;
            // Nobody may want to know any more: the issuer is gone from the configuration.
            if let Some(source) = source.upgrade() {
                source.land(fetched);
            }
        }
        .boxed()
        .shared()
    }

    fn land(&self, fetched: Result<Fetched, String>) {
        let issuer = &self.rules.url;
        let now = Instant::now();
        let mut state = self.locked();
        state.flight = None;
        state.adopted = false;
        match fetched {
            Ok(Fetched { keys, good_for }) => {
                let same = state.keys.as_ref().is_some_and(|old| old.same_keys(&keys));
                if !same || state.failure.is_some() {
                    let (keys, skipped) = (keys.len(), keys.skipped());
                    tracing::info!(%issuer, keys, skipped, "have an issuer's keys");
                }
                if state.failure.is_some() || state.working_since.is_none() {
                    state.working_since = Some(keys.fetched_at());
                }
                state.keys = Some(Arc::new(keys));
                state.failure = None;
                state.failures = 0;
                state.due = Some(now + good_for);
            }
            Err(cause) => {
                if state.failure.as_ref() != Some(&cause) {
                    tracing::warn!(%issuer, cause, "cannot fetch an issuer's keys");
                }
                state.failure = Some(cause);
                state.failures = state.failures.saturating_add(1);
                state.due = Some(now + pause(state.failures));
            }
        }
        drop(state);
        self.around.changed();
    }

    fn unavailable(&self) -> VerifyError {
        let cause = match self.health().state {
            IssuerState::Stale { cause, .. } | IssuerState::Unreachable { cause } => cause,
            IssuerState::Working { .. } => "they have just changed".to_owned(),
        };
        VerifyError::Unavailable {
            issuer: self.rules.url.clone(),
            cause,
        }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // Nothing in the critical sections can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({})", self.rules.url)
    }
}

/// Why keys are fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It is time.
    Due,
    /// A token is to be verified, and there are no keys.
    NoKeys,
    /// A token is signed with a key that is not there.
    UnknownKey,
}

/// What there is to do for one issuer.
#[derive(Debug)]
pub(crate) enum Duty {
    /// See this through.
    Fly(Flight),
    /// Nothing before then.
    Rest(Instant),
    /// Somebody is at it.
    Taken,
}

struct Refusal {
    error: VerifyError,
    newer_keys_may_help: bool,
}

/// How long to wait after so many failures in a row: doubling, and never at the same moment as other hubs.
fn pause(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(DOUBLINGS_MAX);
    let longest = RETRY_MIN.saturating_mul(1 << doublings).min(RETRY_MAX);
    let share = kedge_api::random::bytes::<2>().map_or(u16::MAX, u16::from_le_bytes);
    longest / 2 + longest.mul_f64(f64::from(share) / f64::from(u16::MAX) / 2.0)
}

const DOUBLINGS_MAX: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_vary() {
        for failures in [1, 2, 3, 6, 7, 8, 100, u32::MAX] {
            let longest = RETRY_MIN
                .mul_f64(2_f64.powi(failures.min(30) as i32 - 1))
                .min(RETRY_MAX);
            for _ in 0..100 {
                let pause = pause(failures);
                assert!(
                    pause >= longest / 2 && pause <= longest,
                    "{failures}: {pause:?}"
                );
            }
        }
        let several: std::collections::BTreeSet<_> = (0..20).map(|_| pause(9)).collect();
        assert!(several.len() > 1);
    }
}
