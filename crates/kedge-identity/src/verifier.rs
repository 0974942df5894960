//! The one judge of tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};

use kedge_api::{Group, IssuerUrl, Subject, Time};
use serde_json::Value;
use tokio::sync::watch;

use crate::error::VerifyError;
use crate::health::{IssuerHealth, IssuerState};
use crate::rules::IssuerRules;

/// What a token proved.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// Who vouches for it.
    pub issuer: IssuerUrl,
    /// Who it is to the issuer (`sub`).
    pub subject: Subject,
    /// What policies call them: the issuer's `user_claim`.
    pub user: Subject,
    /// Their groups: the issuer's `groups_claim`.
    pub groups: BTreeSet<Group>,
    /// What else the token says about them, bounded in number and size. Hostile text.
    pub claims: BTreeMap<String, Value>,
    /// When the token was made (`iat`).
    pub issued_at: Time,
    /// When it ends (`exp`).
    pub expires_at: Time,
    /// When they last proved to the issuer who they are (`auth_time`), if it says.
    pub authenticated_at: Option<Time>,
}

/// Judges tokens of the issuers that are configured, and keeps these issuers' keys.
pub struct Verifier {
    rules: RwLock<BTreeMap<IssuerUrl, IssuerRules>>,
    clock: Box<dyn Fn() -> Time + Send + Sync>,
    version: watch::Sender<u64>,
}

impl Verifier {
    /// A judge of these issuers' tokens. Nothing is fetched before [`Verifier::run`] or the first token.
    pub fn new(rules: Vec<IssuerRules>, clock: impl Fn() -> Time + Send + Sync + 'static) -> Self {
        let verifier = Self {
            rules: RwLock::default(),
            clock: Box::new(clock),
            version: watch::Sender::new(0),
        };
        verifier.replace(rules);
        verifier
    }

    /// Takes other issuers and other rules. Keys of an issuer that stays are kept, every verdict is dropped.
    pub fn replace(&self, rules: Vec<IssuerRules>) {
        let mut held = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        *held = rules
            .into_iter()
            .map(|rules| (rules.url.clone(), rules))
            .collect();
        drop(held);
        self.version.send_modify(|version| *version += 1);
    }

    /// Judges a token: an ID token, signed by its issuer, for us, now.
    ///
    /// # Errors
    /// [`VerifyError`], the first thing that is wrong.
    ///
    /// # Cancel safety
    /// Safe: a fetch of keys that others wait for goes on without this caller.
    #[expect(clippy::unused_async, reason = "fetches keys")]
    pub async fn verify(&self, token: &str) -> Result<Arc<Verified>, VerifyError> {
        let _ = (token, (self.clock)());
        Err(VerifyError::Malformed {
            problem: "no issuer is reached yet",
        })
    }

    /// Judges the token that answers a login: as [`Verifier::verify`], and its `nonce` is this one.
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
        let verified = self.verify(token).await?;
        let _ = nonce;
        Ok(verified)
    }

    /// Keeps the issuers' keys fresh until `stop`: fetches them at once, again when they grow old, and after a
    /// failure sooner.
    ///
    /// # Cancel safety
    /// Safe: dropping it is the same as `stop`.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        stop.await;
    }

    /// How it stands with each issuer's keys, in the order of their URLs.
    #[must_use]
    pub fn health(&self) -> Vec<IssuerHealth> {
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        rules
            .keys()
            .map(|issuer| IssuerHealth {
                issuer: issuer.clone(),
                state: IssuerState::Unreachable {
                    cause: "not fetched yet".into(),
                },
                keys: 0,
                skipped: 0,
            })
            .collect()
    }

    /// A receiver that sees every change of [`Verifier::health`], of keys and of rules.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}
