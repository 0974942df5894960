//! Logging out: what was here is gone at once, and the issuer hears of it if it can.
#![cfg(test)]

mod common;

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Result;
use common::{FakeHub, Person};
use kedge_testkit::issuer::{Issuer, IssuerOptions, Misbehaviour};
use kedge_testkit::run::{Live, Ran};
use kedge_testkit::wait;
use serde_json::json;

/// More than an issuer is given to revoke a login, less than it is given for anything else.
const AT_ONCE: Duration = Duration::from_secs(9);

const PATIENCE: Duration = Duration::from_secs(30);

fn issuer() -> Result<Issuer> {
    Issuer::start(IssuerOptions::default())
}

/// Logs out although the issuer cannot be told; answers why.
fn untold(person: &Person, issuer: &Issuer) -> Result<String> {
    untold_by(&person.kedge(["logout"]).run()?.success()?, person, issuer)
}

fn untold_by(ran: &Ran, person: &Person, issuer: &Issuer) -> Result<String> {
    assert_eq!(ran.out(), "Logged out at hub `main`.\n");
    assert!(!person.credentials().exists());
    let start = format!("note: the issuer {} could not be told: ", issuer.url());
    let said = ran.err();
    let why = said
        .strip_prefix(&start)
        .and_then(|why| why.strip_suffix('\n'));
    let why = why.unwrap_or_else(|| panic!("{said}"));
    assert!(!why.contains(char::is_control), "{said}");
    Ok(why.to_owned())
}

#[test]
fn a_copy_of_the_login_is_worth_nothing_afterwards() -> Result<()> {
    let (hub, issuer) = (FakeHub::start()?, issuer()?);
    let person = Person::logged_in(&hub, &issuer, "alice")?;
    let copy = fs::read(person.credentials())?;
    let ran = person.kedge(["logout"]).run()?.success()?;
    assert_eq!(ran.out(), "Logged out at hub `main`.\n");
    assert_eq!(ran.err(), "");
    assert_eq!(issuer.requests_to("/revoke"), 1);
    assert!(
        hub.requests().is_empty(),
        "the hub has nothing to do with it"
    );
    person.secret(
        ".local/state/kedge/hubs/main/credentials.json",
        std::str::from_utf8(&copy)?,
    )?;
    person.expire(-5)?;
    let ran = person.kedge(["get", "servers"]).run()?.exits(4)?;
    assert!(ran.err().contains("does not renew the login"), "{ran}");
    Ok(())
}

#[test]
fn an_issuer_that_is_down_keeps_nobody_logged_in() -> Result<()> {
    let (hub, mut issuer) = (FakeHub::start()?, issuer()?);
    let person = Person::logged_in(&hub, &issuer, "alice")?;
    issuer.down();
    let why = untold(&person, &issuer)?;
    assert!(why.contains("/.well-known/openid-configuration"), "{why}");
    assert!(why.contains("refused"), "{why}");
    Ok(())
}

#[test]
fn an_issuer_that_is_silent_has_five_seconds() -> Result<()> {
    for (how, path) in [
        (
            Misbehaviour::DiscoverySlow,
            "/.well-known/openid-configuration",
        ),
        (Misbehaviour::RevocationSlow, "/revoke"),
    ] {
        let (hub, issuer) = (FakeHub::start()?, issuer()?);
        let person = Person::logged_in(&hub, &issuer, "alice")?;
        let before = issuer.requests_to(path);
        issuer.misbehave(how);
        let begun = Instant::now();
        let live = Live::start(person.kedge(["logout"]).command)?;
        wait::until_true("the issuer to be asked", PATIENCE, || {
            Ok(issuer.requests_to(path) > before)
        })?;
        assert!(!person.credentials().exists(), "it is asked first");
        let ran = live.finish(PATIENCE)?.success()?;
        assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
        assert_eq!(untold_by(&ran, &person, &issuer)?, "no answer within 5 s");
    }
    Ok(())
}

#[test]
fn an_issuer_that_does_not_revoke_is_named_with_its_reason() -> Result<()> {
    let issuer = issuer()?;
    let url = issuer.url();
    let document = json!({
        "issuer": url,
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"),
        "jwks_uri": format!("{url}/jwks"),
    });
    for (how, expected) in [
        (
            Misbehaviour::RevocationError("unsupported_token_type".to_owned()),
            format!("{url} revokes no refresh tokens"),
        ),
        (
            Misbehaviour::Discovery(document.to_string()),
            format!("{url} revokes no tokens"),
        ),
        (
            Misbehaviour::RevocationError("\u{1b}[2J\u{202e}".to_owned()),
            format!("{url} refused to revoke the login: \\u{{1b}}[2J\\u{{202e}}"),
        ),
    ] {
        let hub = FakeHub::start()?;
        let person = Person::logged_in(&hub, &issuer, "alice")?;
        issuer.misbehave(how);
        assert_eq!(untold(&person, &issuer)?, expected);
        issuer.behave();
    }
    Ok(())
}

#[test]
fn who_has_nothing_to_revoke_asks_nobody() -> Result<()> {
    let (hub, mut issuer) = (FakeHub::start()?, issuer()?);
    let person = Person::logged_in(&hub, &issuer, "alice")?;
    person.change_stored(|stored| {
        stored.as_object_mut().unwrap().remove("refreshToken");
    })?;
    issuer.down();
    for expected in [
        "Logged out at hub `main`.\n",
        "There was no login at hub `main`.\n",
    ] {
        let ran = person.kedge(["logout"]).run()?.success()?;
        assert_eq!((ran.out().as_str(), ran.err().as_str()), (expected, ""));
    }
    Ok(())
}

#[test]
fn a_login_that_cannot_be_read_goes_all_the_same() -> Result<()> {
    let (hub, issuer) = (FakeHub::start()?, issuer()?);
    let person = Person::logged_in(&hub, &issuer, "alice")?;
    fs::write(person.credentials(), "{\"kind\":")?;
    let ran = person.kedge(["logout"]).run()?.success()?;
    assert_eq!(ran.out(), "Logged out at hub `main`.\n");
    assert!(!person.credentials().exists());
    Ok(())
}
