//! Who is who, without a network: the issuers' side is tested with a real issuer in `tests/hub`.

use super::*;
use crate::config::Admins;

/// A person whose token is `token` and whose login is their name.
pub(crate) fn person(subject: &str, token: &str, groups: &[&str]) -> Person {
    Person {
        subject: subject.parse().unwrap(),
        token: TokenHash::of(token),
        groups: groups.iter().map(|group| group.parse().unwrap()).collect(),
        claims: BTreeMap::from([("preferred_username".to_owned(), subject.into())]),
    }
}

/// Somebody whom the configuration knows.
pub(crate) fn principal(subject: &str) -> Principal {
    let known = known(&Roster::default(), &person(subject, "t", &[]));
    Principal::clone(&known.principal)
}

fn roster() -> Roster {
    Roster {
        admins: Admins {
            users: BTreeSet::from(["root-of-all".to_owned()]),
            groups: BTreeSet::from(["ops".to_owned()]),
            claims: BTreeMap::from([(
                "roles".to_owned(),
                BTreeSet::from(["kedge-admin".to_owned()]),
            )]),
        },
        people: vec![
            person("alice", "a", &["dev"]),
            person("olga", "o", &["ops"]),
            person("root-of-all", "r", &[]),
        ],
        ..Roster::default()
    }
}

fn directory(roster: Roster) -> Directory {
    Directory::new(roster, Clock::system())
}

#[tokio::test]
async fn a_token_is_its_owner_and_nobody_else() {
    let directory = directory(roster());
    let alice = directory.authenticate("a").await.unwrap();
    assert_eq!(alice.principal.subject, "alice");
    assert_eq!(alice.principal.user, "alice");
    assert_eq!(alice.role, Role::Person);
    assert!(!alice.has_expired(Clock::system().now()));
    assert_eq!(directory.authenticate("o").await.unwrap().role, Role::Admin);
    assert_eq!(directory.authenticate("r").await.unwrap().role, Role::Admin);
    for wrong in ["", "b", "aa", "A", "a.b.c"] {
        assert!(matches!(
            directory.authenticate(wrong).await.unwrap_err(),
            UnknownToken::Nobody
        ));
    }
}

#[tokio::test]
async fn a_hub_without_people_refuses_people() {
    let directory = directory(Roster::default());
    assert!(matches!(
        directory.authenticate("a").await.unwrap_err(),
        UnknownToken::NoPeople
    ));
}

#[tokio::test]
async fn who_is_removed_rotated_or_renamed_is_no_longer_who_they_were() {
    let directory = directory(roster());
    let alice = directory.authenticate("a").await.unwrap();
    let changes = directory.changes();
    assert!(directory.refresh(&alice).is_some());

    let mut changed = roster();
    changed.people[0].groups.clear();
    directory.replace(changed);
    assert!(changes.has_changed().unwrap());
    let refreshed = directory.refresh(&alice).unwrap();
    assert!(
        refreshed.principal.groups.is_empty(),
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

#[test]
fn an_administrator_by_claim_has_one_of_its_values_and_is_at_home() {
    let admins = roster().admins;
    let with = |roles: serde_json::Value, standing| {
        let mut principal = principal("alice");
        principal.claims.insert("roles".to_owned(), roles);
        principal.standing = standing;
        admins.include(&principal)
    };
    assert!(with("kedge-admin".into(), Standing::Home));
    assert!(with(vec!["x", "kedge-admin"].into(), Standing::Home));
    assert!(!with("kedge-admin".into(), Standing::Foreign));
    for other in ["", "KEDGE-ADMIN", "kedge-admin ", "kedge-administrators"] {
        assert!(!with(other.into(), Standing::Home), "{other}");
    }
    assert!(!with(
        serde_json::json!({"kedge-admin": true}),
        Standing::Home
    ));
    assert!(!with(serde_json::json!([["kedge-admin"]]), Standing::Home));

    let mut foreign = principal("root-of-all");
    foreign.standing = Standing::Foreign;
    foreign.groups.insert("ops".parse().unwrap());
    assert!(!admins.include(&foreign), "another issuer's namesake");
}
