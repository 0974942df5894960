//! Who the people are: the roster from the configuration, and the one door every token passes.
//!
//! A later way to log in (OpenID Connect) becomes a second branch of [`Directory::authenticate`]; what comes out is
//! the same [`Authenticated`], and nobody behind it knows the difference.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, RwLock},
};

use kedge_api::{
    AuthMethod, Group, Issuer, LoginMapping, Principal, Standing, Subject, TokenHash,
};
use tokio::sync::watch;

use crate::{
    config::Roster,
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
#[derive(Clone, Debug, PartialEq, Eq)]
enum Credential {
    StaticToken(TokenHash),
}

/// Why a token is not accepted. The caller is told none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownToken {
    /// The configuration lists nobody.
    #[error("no people are configured")]
    NoPeople,
    /// Nobody has this token.
    #[error("nobody has this token")]
    Nobody,
}

/// The roster in use.
#[derive(Debug)]
pub struct Directory {
    roster: RwLock<Arc<Roster>>,
    version: watch::Sender<u64>,
}

impl Directory {
    /// A directory of these people.
    #[must_use]
    pub fn new(roster: Roster) -> Self {
        Self {
            roster: RwLock::new(Arc::new(roster)),
            version: watch::Sender::new(0),
        }
    }

    /// Whose token this is. Takes the same time whoever it is, and if nobody.
    ///
    /// # Errors
    /// When it is nobody's.
    pub fn authenticate(&self, token: &str) -> Result<Authenticated, UnknownToken> {
        let roster = self.roster();
        if roster.people.is_empty() {
            return Err(UnknownToken::NoPeople);
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
            .map(|person| admit(&roster, person))
            .ok_or(UnknownToken::Nobody)
    }

    /// The same person as they are now; `None` when what they showed is no longer accepted.
    #[must_use]
    pub fn refresh(&self, known: &Authenticated) -> Option<Authenticated> {
        let roster = self.roster();
        let Credential::StaticToken(hash) = &known.credential;
        let person = roster.people.iter().find(|person| {
            person.token.matches(hash) && person.subject == known.principal.subject
        })?;
        Some(admit(&roster, person))
    }

    /// How people become unix users.
    #[must_use]
    pub fn mapping(&self) -> LoginMapping {
        self.roster().mapping.clone()
    }

    /// Takes another roster. Who waits on [`Directory::changes`] is woken.
    pub fn replace(&self, roster: Roster) {
        *writing(&self.roster) = Arc::new(roster);
        self.version.send_modify(|version| *version += 1);
    }

    /// A receiver that sees every change of the roster.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// How many people there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.roster().people.len()
    }

    /// Whether there is nobody: then everybody is refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn roster(&self) -> Arc<Roster> {
        Arc::clone(&reading(&self.roster))
    }
}

fn admit(roster: &Roster, person: &Person) -> Authenticated {
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
    let role = if roster.admins.include(&principal) {
        Role::Admin
    } else {
        Role::Person
    };
    Authenticated {
        principal: Arc::new(principal),
        role,
        credential: Credential::StaticToken(person.token),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A person whose token is `token` and whose login is their name.
    pub(crate) fn person(subject: &str, token: &str, groups: &[&str]) -> Person {
        Person {
            subject: subject.parse().unwrap(),
            token: TokenHash::of(token),
            groups: groups.iter().map(|group| group.parse().unwrap()).collect(),
            claims: BTreeMap::from([("preferred_username".to_owned(), subject.into())]),
        }
    }

    fn roster() -> Roster {
        Roster {
            admins: crate::config::Admins {
                users: BTreeSet::from(["root-of-all".to_owned()]),
                groups: BTreeSet::from(["ops".to_owned()]),
                claims: BTreeMap::new(),
            },
            issuers: Vec::new(),
            people: vec![
                person("alice", "a", &["dev"]),
                person("olga", "o", &["ops"]),
                person("root-of-all", "r", &[]),
            ],
            mapping: LoginMapping::default(),
        }
    }

    #[test]
    fn a_token_is_its_owner_and_nobody_else() {
        let directory = Directory::new(roster());
        let alice = directory.authenticate("a").unwrap();
        assert_eq!(alice.principal.subject, "alice");
        assert_eq!(alice.role, Role::Person);
        assert_eq!(directory.authenticate("o").unwrap().role, Role::Admin);
        assert_eq!(directory.authenticate("r").unwrap().role, Role::Admin);
        for wrong in ["", "b", "aa", "A"] {
            assert_eq!(
                directory.authenticate(wrong).unwrap_err(),
                UnknownToken::Nobody
            );
        }
    }

    #[test]
    fn a_hub_without_people_refuses_people() {
        let directory = Directory::new(Roster::default());
        assert_eq!(
            directory.authenticate("a").unwrap_err(),
            UnknownToken::NoPeople
        );
    }

    #[test]
    fn who_is_removed_rotated_or_renamed_is_no_longer_who_they_were() {
        let directory = Directory::new(roster());
        let alice = directory.authenticate("a").unwrap();
        let changes = directory.changes();
        assert!(directory.refresh(&alice).is_some());

        let mut changed = roster();
        changed.people[0].groups.clear();
        directory.replace(changed);
        assert!(changes.has_changed().unwrap());
        assert!(
            directory
                .refresh(&alice)
                .unwrap()
                .principal
                .groups
                .is_empty(),
            "groups as they are now"
        );

        let mut rotated = roster();
        rotated.people[0].token = TokenHash::of("new");
        directory.replace(rotated);
        assert!(directory.refresh(&alice).is_none());

        let mut renamed = roster();
        renamed.people[0].subject = "mallory".parse().unwrap();
        directory.replace(renamed);
        assert!(directory.refresh(&alice).is_none());

        directory.replace(Roster::default());
        assert!(directory.refresh(&alice).is_none());
    }
}
