//! Logging in anew: what a person hears who is not asked who they are, or gives up waiting.
#![cfg(test)]

mod common;

use std::time::Duration;

use anyhow::{Context, Result};
use common::{FakeHub, Person};
use kedge_testkit::browser::Browser;
use kedge_testkit::issuer::{Issuer, IssuerOptions};
use kedge_testkit::run::{Live, Ran};
use kedge_testkit::wait;
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(30);

/// `kedge login --device` with more options, up to where the code is entered.
fn with_a_code(person: &Person, options: &[&str]) -> Result<Ran> {
    let run = person.kedge([&["login", "main", "--device"], options].concat());
    let live = Live::start(run.command)?;
    let url = wait::until("a code", PATIENCE, || {
        let said = live.err();
        let rest = said.split("or open ").nth(1);
        Ok(rest.and_then(|rest| Some(rest.split_once('\n')?.0.to_owned())))
    })?;
    Browser::new("alice").open(&url)?;
    live.finish(PATIENCE)
}

#[test]
fn an_old_proof_is_no_new_one_with_a_code_either() -> Result<()> {
    let hub = FakeHub::start()?;
    let issuer = Issuer::start(IssuerOptions::default())?;
    let person = Person::logged_in(&hub, &issuer, "alice")?;
    let before = person.stored()?;
    hub.state().person = json!({"authenticatedAt": "2026-01-01T00:00:00Z"});
    with_a_code(&person, &["--reauthenticate"])?
        .exits(1)?
        .says(&[
            "did not ask anew who you are, and shows a proof of 2026-01-01T00:00:00Z; nothing was stored",
            "hint: log out at the issuer in the browser",
        ])?;
    assert_eq!(person.stored()?, before);
    // Whoever asks for no new one takes the old one.
    with_a_code(&person, &[])?.success()?;
    assert_ne!(person.stored()?, before);
    hub.state().person = json!({"authenticatedAt": "2999-01-01T00:00:00Z"});
    with_a_code(&person, &["--reauthenticate"])?.success()?;
    Ok(())
}

#[test]
fn whoever_stops_waiting_reads_why_on_a_line_of_its_own() -> Result<()> {
    let hub = FakeHub::start()?;
    let issuer = Issuer::start(IssuerOptions::default())?;
    hub.trust(&[("corp", &issuer)]);
    let person = Person::new()?;
    let line = format!("{} login {} --device", common::kedge().display(), hub.url());
    let mut command = std::process::Command::new("script");
    command.args(["-qec", &line, "/dev/null"]);
    let mut live = Live::start(person.run(command).env("TERM", "xterm").command)?;
    live.expect("\rWaiting for you; the code is good for ", PATIENCE)?;
    live.send("\u{3}")?;
    let ran = live.wait(PATIENCE)?.exits(130)?;
    let out = ran.out();
    let (_, said) = out
        .rsplit_once("the code is good for ")
        .context("a line that is drawn again and again")?;
    let (drawn, said) = said.split_once("error: ").context("an error")?;
    assert!(drawn.ends_with(" \r"), "{drawn:?}");
    assert!(said.starts_with("the login was interrupted"), "{said:?}");
    Ok(())
}

#[test]
fn a_hub_with_a_thousand_issuers_gets_one_line() -> Result<()> {
    let hub = FakeHub::start()?;
    hub.state().issuers = (0..1000)
        .map(|number| {
            let url = format!("https://id{number}.example");
            json!({"name": format!("id{number}"), "issuer": url, "clientId": "kedge", "scopes": []})
        })
        .collect();
    let person = Person::new()?;
    let ran = person.kedge(["login", &hub.url()]).run()?.exits(2)?;
    let said = ran.err();
    assert!(
        said.contains("(id0, id1, ") && said.contains(", id9, and 990 more)"),
        "{said}"
    );
    assert!(said.len() < 500, "{said}");
    Ok(())
}
