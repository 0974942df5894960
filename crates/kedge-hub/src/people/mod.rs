//! Who the people are: the roster from the configuration, the issuers it trusts, and the one door every token passes.
//!
//! ```text
//!            ┌─ looks like a JWT ─▶ Verifier (issuers' keys) ─▶ Verified ─┐
//!  token ────┤                                                           ├─▶ Authenticated { principal, role }
//!            └─ anything else ────▶ the list of static tokens ───────────┘
//! ```
//!
//! What comes out is the same for both, and nobody behind it knows the difference.

mod issuers;
mod lookup;

#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, RwLock},
};

use kedge_api::{
    AuthMethod, Group, Issuer, Line, LoginMapping, Principal, Standing, Subject, Time, TokenHash,
};
use kedge_identity::{Verified, Verifier, VerifyError, defaults::LEEWAY};
use tokio::{sync::watch, time::timeout};

pub use issuers::{restore, run};

use crate::{
    clock::Clock,
    config::{IssuerSettings, Roster},
    defaults,
    sync::{reading, writing},
};

/// One person with a static token.
#[derive(Clone, Debug, PartialEq)]
pub struct Person {
    /// Who it is.
    pub subject: Subject,
    /// Hash of their token.
    pub token: TokenHash,
    /// Groups.
    pub groups: BTreeSet<Group>,
    /// Claims.
    pub claims: BTreeMap<String, serde_json::Value>,
}

/// Somebody who has proved who they are, and with what.
#[derive(Clone, Debug)]
pub struct Authenticated {
    /// Who.
    pub principal: Arc<Principal>,
    /// What they may do besides what policies say.
    pub role: Role,
    credential: Credential,
}

/// What somebody may do besides what policies say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Read and change everything.
    Admin,
    /// What policies allow.
    Person,
}

/// With what somebody proved who they are: enough to ask later whether it still holds.
#[derive(Clone, Debug)]
enum Credential {
    /// A token of an issuer, as verified then, and the rules it was verified by.
    IdToken {
        verified: Arc<Verified>,
        rules: Arc<IssuerSettings>,
    },
    /// A token of the configuration.
    StaticToken(TokenHash),
}

/// Why a token is not accepted. The caller is told none of it, but for [`UnknownToken::Unavailable`].
#[derive(Debug, thiserror::Error)]
pub enum UnknownToken {
    /// The token does not hold.
    #[error(transparent)]
    Invalid(VerifyError),
    /// The configuration lists nobody.
    #[error("no people are configured")]
    NoPeople,
    /// Nobody has this token.
    #[error("nobody has this token")]
    Nobody,
    /// Whether it holds cannot be said now.
    #[error("the issuer's keys cannot be had: {cause}")]
    Unavailable {
        /// What people call the issuer, as far as it is known.
        issuer: Option<Line>,
        /// Why.
        cause: String,
    },
}

impl Authenticated {
    /// Whether what they showed has expired by now, so that nothing new may be begun with it.
    #[must_use]
    pub fn has_expired(&self, now: Time) -> bool {
        self.principal
            .expires_at
            .is_some_and(|end| end.saturating_add(LEEWAY) <= now)
    }
}

/// The roster in use, and the issuers' keys.
#[derive(Debug)]
pub struct Directory {
    roster: RwLock<Arc<Roster>>,
    verifier: Verifier,
    version: watch::Sender<u64>,
}

impl Directory {
    /// A directory of these people, and of those whom these issuers vouch for.
    #[must_use]
    pub fn new(roster: Roster, clock: Clock) -> Self {
        let rules = issuers::rules(&roster.issuers);
        Self {
            roster: RwLock::new(Arc::new(roster)),
            verifier: Verifier::new(rules, move || clock.now()),
            version: watch::Sender::new(0),
        }
    }

    /// Whose token this is. For static tokens it takes the same time whoever it is, and if nobody.
    ///
    /// # Errors
    /// When it is nobody's, or cannot be told now.
    ///
    /// # Cancel safety
    /// Safe: it changes nothing but what is known of the issuers' keys.
    pub async fn authenticate(&self, token: &str) -> Result<Authenticated, UnknownToken> {
        let roster = self.roster();
        if roster.is_empty() {
            return Err(UnknownToken::NoPeople);
        }
        if is_of_an_issuer(token) && !roster.issuers.is_empty() {
            return self.verify(token).await;
        }
        let hash = TokenHash::of(token);
        let mut found = None;
        // No early end: the place in the list must not show in the time.
        for person in &roster.people {
            if person.token.matches(&hash) {
                found = Some(person);
            }
        }
        found
            .map(|person| known(&roster, person))
            .ok_or(UnknownToken::Nobody)
    }

    async fn verify(&self, token: &str) -> Result<Authenticated, UnknownToken> {
        let verified = timeout(defaults::VERIFY_TIMEOUT, self.verifier.verify(token)).await;
        // Looked at after the verification: a reload meanwhile must not let people of a removed issuer in.
        let roster = self.roster();
        match verified {
            Ok(Ok(verified)) => roster
                .issuer(verified.issuer.as_str())
                .map(|rules| vouched(&roster, verified, rules))
                .ok_or(UnknownToken::Nobody),
            Ok(Err(VerifyError::Unavailable { issuer, cause })) => Err(UnknownToken::Unavailable {
                issuer: roster
                    .issuer(issuer.as_str())
                    .map(|issuer| issuer.name.clone()),
                cause,
            }),
            Ok(Err(error)) => Err(UnknownToken::Invalid(error)),
            Err(_) => Err(UnknownToken::Unavailable {
                issuer: None,
                cause: "no answer in time".to_owned(),
            }),
        }
    }

    /// The same person as they are now; `None` when what they showed is no longer accepted. Whether it has expired
    /// meanwhile is another question ([`Authenticated::has_expired`]).
    #[must_use]
    pub fn refresh(&self, known: &Authenticated) -> Option<Authenticated> {
        let roster = self.roster();
        match &known.credential {
            Credential::IdToken { verified, rules } => {
                let now = roster.issuer(verified.issuer.as_str())?;
                still_holds(rules, now).then(|| vouched(&roster, Arc::clone(verified), now))
            }
            Credential::StaticToken(hash) => {
                let person = roster.people.iter().find(|person| {
                    person.token.matches(hash) && person.subject == known.principal.subject
                })?;
                Some(self::known(&roster, person))
            }
        }
    }

    /// How the people of `issuer` become unix users; `None` for an issuer that is not trusted.
    #[must_use]
    pub fn mapping(&self, issuer: &Issuer) -> Option<Arc<LoginMapping>> {
        let roster = self.roster();
        if *issuer == Issuer::of_configuration() {
            return Some(Arc::clone(&roster.mapping));
        }
        roster
            .issuer(issuer.as_str())
            .map(|settings| Arc::clone(&settings.mapping))
    }

    /// Whether policies that name no issuer mean the people of `issuer`; `None` for one that is not trusted.
    #[must_use]
    pub fn standing(&self, issuer: &Issuer) -> Option<Standing> {
        let roster = self.roster();
        if *issuer == Issuer::of_configuration() {
            return Some(Standing::Home);
        }
        roster
            .issuer(issuer.as_str())
            .map(|settings| settings.standing)
    }

    /// Takes another roster. Who waits on [`Directory::changes`] is woken.
    pub fn replace(&self, roster: Roster) {
        // The rules first: a token that is verified by the old ones meets the new roster all the same.
        self.verifier.replace(issuers::rules(&roster.issuers));
        *writing(&self.roster) = Arc::new(roster);
        self.version.send_modify(|version| *version += 1);
    }

    /// A receiver that sees every change of the roster.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// The roster as it is now.
    #[must_use]
    pub fn roster(&self) -> Arc<Roster> {
        Arc::clone(&reading(&self.roster))
    }
}

impl Roster {
    /// Whether there is nobody: then everybody is refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.people.is_empty() && self.issuers.is_empty()
    }

    /// The issuer that calls itself exactly so.
    #[must_use]
    pub fn issuer(&self, url: &str) -> Option<&Arc<IssuerSettings>> {
        self.issuers.iter().find(|issuer| issuer.url == *url)
    }

    fn role(&self, principal: &Principal) -> Role {
        if self.admins.include(principal) {
            Role::Admin
        } else {
            Role::Person
        }
    }
}

/// Whether a token is for the issuers to judge, also when it is a bad one, such as one without a signature: static tokens
/// have no dots.
fn is_of_an_issuer(token: &str) -> bool {
    token.matches('.').count() == 2
}

/// Somebody whom the configuration knows.
fn known(roster: &Roster, person: &Person) -> Authenticated {
    let principal = Principal {
        issuer: Issuer::of_configuration(),
        subject: person.subject.clone(),
        user: person.subject.clone(),
        claims: person.claims.clone(),
        groups: person.groups.clone(),
        method: AuthMethod::StaticToken,
        standing: Standing::Home,
        authenticated_at: None,
        expires_at: None,
    };
    Authenticated {
        role: roster.role(&principal),
        principal: Arc::new(principal),
        credential: Credential::StaticToken(person.token),
    }
}

/// Somebody whom an issuer vouches for.
fn vouched(roster: &Roster, verified: Arc<Verified>, rules: &Arc<IssuerSettings>) -> Authenticated {
    let principal = Principal {
        issuer: verified.issuer.clone().into(),
        subject: verified.subject.clone(),
        user: verified.user.clone(),
        claims: verified.claims.clone(),
        groups: verified.groups.clone(),
        method: AuthMethod::Oidc,
        standing: rules.standing,
        authenticated_at: verified.authenticated_at,
        expires_at: Some(verified.expires_at),
    };
    Authenticated {
        role: roster.role(&principal),
        principal: Arc::new(principal),
        credential: Credential::IdToken {
            verified,
            rules: Arc::clone(rules),
        },
    }
}

/// Whether what was verified by some rules would be by those of now, without the token, which nobody keeps: what says
/// who somebody is must be the same, and what is accepted may only have become more.
fn still_holds(then: &Arc<IssuerSettings>, now: &Arc<IssuerSettings>) -> bool {
    Arc::ptr_eq(then, now)
        || (then.user_claim == now.user_claim
            && then.groups_claim == now.groups_claim
            && then.audiences.is_subset(&now.audiences)
            && then.authorized_parties.is_subset(&now.authorized_parties)
            && then
                .algorithms
                .iter()
                .all(|algorithm| now.algorithms.contains(algorithm)))
}
