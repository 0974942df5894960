//! Logins that are renewed: by one process of many, in time, and never in a loop.
#![cfg(test)]

mod common;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use common::{FakeHub, Person, Takes};
use kedge_testkit::issuer::{Issuer, IssuerOptions, Misbehaviour, Refresh};
use kedge_testkit::run::Live;
use rustix::process::Signal;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

/// How often a process is started to be caught at something that takes milliseconds.
const TRIES: usize = 100;

fn issuer() -> Result<Issuer> {
    Issuer::start(IssuerOptions::default())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[test]
fn fifty_processes_make_one_refresh_request() -> Result<()> {
    let (hub, issuer) = (FakeHub::start()?, issuer()?);
    let person = Person::logged_in(&hub, &issuer, "alice")?;
    let before = person.stored()?;
    for (seconds, refreshes) in [(30, 1), (-3600, 2)] {
        person.expire(seconds)?;
        let running: Vec<_> = (0..50)
            .map(|_| Live::start(person.kedge(["get", "servers"]).command))
            .collect::<Result<_>>()?;
        for live in running {
            live.finish(PATIENCE)?.success()?;
        }
        assert_eq!(issuer.grants("refresh_token"), refreshes);
    }
    let after = person.stored()?;
    assert_ne!(
        before["refreshToken"], after["refreshToken"],
        "it was rotated"
    );
    assert_eq!(hub.shown().last(), Some(&text(&after["idToken"])));
    assert!(after.get("unavailable").is_none());
    Ok(())
}

#[test]
fn every_way_to_the_hub_renews_the_login() -> Result<()> {
    let (hub, issuer) = (FakeHub::start()?, issuer()?);
    let person = Person::logged_in(&hub, &issuer, "alice")?;
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1vdU5A0zNwWhb8nUcWDnNV0Yr+NJnWkzXVUJXOfLPs";
    hub.put("servers/web01", common::server("web01"));
    hub.state().host_keys = vec![key.to_owned()];
    for (count, (words, code)) in [
        (&["get", "servers"][..], 0),
        (&["ssh-config", "--resolve=web01"], 0),
        (&["known-hosts", "web01.kedge"], 0),
        (&["proxy", "web01"], 255),
    ]
    .into_iter()
    .enumerate()
    {
        person.expire(-5)?;
        let access = person.path(".local/state/kedge/hubs/main/access");
        let _ = fs::remove_dir_all(access);
        person.kedge(words).run()?.exits(code)?;
        assert_eq!(
            issuer.grants("refresh_token"),
            count as u64 + 1,
            "{words:?}"
        );
    }
    Ok(())
}

#[test]
fn a_revoked_login_ends_in_a_hint_and_not_in_a_loop() -> Result<()> {
    let (hub, issuer) = (FakeHub::start()?, issuer()?);
    let person = Person::logged_in(&hub, &issuer, "alice")?;
    issuer.revoke_all("alice");
    person.expire(-60)?;
    let ran = person.kedge(["get", "servers"]).run()?.exits(4)?;
    assert!(ran.err().contains("does not renew the login"), "{ran}");
    assert!(ran.err().ends_with("\nhint: kedge login main\n"), "{ran}");
    assert!(person.stored()?.get("refreshToken").is_none());
    assert!(hub.shown().is_empty(), "a dead token was shown");
    for (words, code) in [
        (&["get", "servers"][..], 4),
        (&["ssh", "web01"], 255),
        (&["proxy", "web01"], 255),
    ] {
        let ran = person.kedge(words).run()?.exits(code)?;
        assert!(
            ran.err().contains("the login ended 60 s ago")
                || ran.err().contains("the login ended 6"),
            "{ran}"
        );
        assert!(ran.err().ends_with("\nhint: kedge login main\n"), "{ran}");
    }
    assert_eq!(issuer.grants("refresh_token"), 1);
    // And that does it.
    person.log_in(&["login", "main"], "alice")?.success()?;
    person.kedge(["get", "servers"]).run()?.success()?;
    Ok(())
}

#[test]
fn an_issuer_without_refresh_tokens_is_not_asked_for_any() -> Result<()> {
    let hub = FakeHub::start()?;
    let issuer = Issuer::start(IssuerOptions {
        refresh: Refresh::Absent,
        ..IssuerOptions::default()
    })?;
    let person = Person::logged_in(&hub, &issuer, "alice")?;
    person.expire(30)?;
    person.kedge(["get", "servers"]).run()?.success()?;
    person.expire(-7200)?;
    let ran = person.kedge(["get", "servers"]).run()?.exits(4)?;
    assert_eq!(
        ran.err(),
        "error: cannot use the login at hub `main`: the login ended 2 h ago\n\
         hint: kedge login main\n"
    );
    assert_eq!(issuer.grants("refresh_token"), 0);
    Ok(())
}

#[test]
fn while_the_issuer_is_away_a_good_token_goes_on_and_a_dead_one_is_kept() -> Result<()> {
    let (hub, mut issuer) = (FakeHub::start()?, issuer()?);
    let person = Person::logged_in(&hub, &issuer, "alice")?;
    issuer.down();
    person.expire(30)?;
    person.kedge(["get", "servers"]).run()?.success()?;
    person.expire(-30)?;
    let ran = person.kedge(["get", "servers"]).run()?.exits(1)?;
    assert!(ran.err().contains("cannot renew it now"), "{ran}");
    assert!(ran.err().contains("the login is kept"), "{ran}");
    assert!(person.stored()?["refreshToken"].is_string());
    issuer.up()?;
    person.kedge(["get", "servers"]).run()?.success()?;
    assert!(person.stored()?.get("unavailable").is_none());
    Ok(())
}

#[test]
fn a_hub_that_refuses_a_good_token_is_asked_once_more_with_another() -> Result<()> {
    let (hub, issuer) = (FakeHub::start()?, issuer()?);
    let person = Person::logged_in(&hub, &issuer, "alice")?;
    let first = text(&person.stored()?["idToken"]);
    hub.state().takes = Takes::Others(first.clone());
    person.kedge(["get", "servers"]).run()?.success()?;
    let second = text(&person.stored()?["idToken"]);
    assert_eq!(hub.shown(), [first, second]);
    assert_eq!(issuer.grants("refresh_token"), 1);
    // One that takes none is asked twice, and the issuer once. (Signed in the same second, the same
    // claims make the same token.)
    issuer.skew(5);
    hub.state().takes = Takes::Nothing;
    let ran = person.kedge(["get", "servers"]).run()?.exits(4)?;
    assert_eq!(
        ran.err(),
        "error: hub `main` does not take the stored login: not authenticated\n\
         hint: kedge login main\n"
    );
    assert_eq!(hub.shown().len(), 2);
    assert_eq!(issuer.grants("refresh_token"), 2);
    Ok(())
}

#[test]
fn a_wrong_clock_is_said_to_be() -> Result<()> {
    let (hub, issuer) = (FakeHub::start()?, issuer()?);
    let person = Person::logged_in(&hub, &issuer, "alice")?;
    // Half a minute more than is said, which a slow machine may take for an answer.
    hub.state().ahead = Some(jiff::SignedDuration::from_secs(630));
    hub.state().takes = Takes::Nothing;
    for (words, code) in [(&["whoami"][..], 4), (&["proxy", "web01"], 255)] {
        person
            .kedge(words)
            .run()?
            .exits(code)?
            .says(&["(this machine's clock is 10 min behind the hub's)"])?;
    }
    person.change_stored(|stored| {
        stored
            .as_object_mut()
            .map(|fields| fields.remove("refreshToken"));
    })?;
    person.expire(-30)?;
    person.kedge(["whoami"]).run()?.exits(4)?.says(&[
        "this machine's clock is 10 min behind the hub's",
        "the login ended",
    ])?;
    Ok(())
}

#[test]
fn a_process_that_is_killed_while_renewing_leaves_the_login_readable() -> Result<()> {
    let (hub, issuer) = (FakeHub::start()?, issuer()?);
    let person = Person::logged_in(&hub, &issuer, "alice")?;
    person.expire(-30)?;
    let before = person.stored()?;
    issuer.misbehave(Misbehaviour::TokenSlow);
    let live = Live::start(person.kedge(["get", "servers"]).command)?;
    let folder = person
        .credentials()
        .parent()
        .context("a folder")?
        .to_owned();
    let staged = || -> Result<bool> {
        let mut names = fs::read_dir(&folder)?
            .flatten()
            .map(|entry| entry.file_name());
        Ok(names.any(|name| name.to_string_lossy().starts_with(".credentials-")))
    };
    kedge_testkit::wait::until_true("room on the disk", PATIENCE, staged)?;
    live.signal(Signal::KILL)?;
    live.finish(PATIENCE)?;
    assert_eq!(person.stored()?, before);
    issuer.behave();
    person.kedge(["get", "servers"]).run()?.success()?;
    assert!(!staged()?, "what the killed process left was not swept");
    Ok(())
}

#[test]
fn ctrl_c_waits_for_the_issuers_answer() -> Result<()> {
    let (hub, issuer) = (FakeHub::start()?, issuer()?);
    let person = Person::logged_in(&hub, &issuer, "alice")?;
    let folder = person
        .credentials()
        .parent()
        .context("a folder")?
        .to_owned();
    let is_renewing = || -> Result<bool> {
        let mut names = fs::read_dir(&folder)?
            .flatten()
            .map(|entry| entry.file_name());
        Ok(names.any(|name| name.to_string_lossy().starts_with(".credentials-")))
    };
    // One that was caught in the middle: stopped there, interrupted, and let go on.
    for _ in 0..TRIES {
        person.expire(-30)?;
        let before = (issuer.grants("refresh_token"), person.stored()?);
        let mut live = Live::start(person.kedge(["get", "servers"]).command)?;
        while !is_renewing()? && live.is_running()? {
            std::hint::spin_loop();
        }
        if live.signal(Signal::STOP).is_err() {
            continue;
        }
        let is_caught = is_renewing()?;
        live.signal(Signal::INT)?;
        live.signal(Signal::CONT)?;
        let ran = live.finish(PATIENCE)?;
        if is_caught {
            assert_eq!(ran.status.signal(), Some(2), "{ran}");
            assert_eq!(issuer.grants("refresh_token"), before.0 + 1, "{ran}");
            assert_ne!(person.stored()?["refreshToken"], before.1["refreshToken"]);
            person.kedge(["get", "servers"]).run()?.success()?;
            return Ok(());
        }
    }
    anyhow::bail!("no process was caught while it renewed the login")
}

#[test]
fn a_login_of_another_version_is_not_guessed_at() -> Result<()> {
    let hub = FakeHub::start()?;
    let person = Person::at(&hub)?;
    fs::write(
        person.credentials(),
        "{\"kind\":\"kerberos\",\"ticket\":\"s3cret\"}",
    )?;
    person
        .kedge(["get", "servers"])
        .run()?
        .exits(1)?
        .says(&[
            "does not hold a login that this version understands",
            "hint: kedge login main",
        ])?
        .never_says("s3cret")?;
    Ok(())
}

#[test]
fn the_token_of_an_older_version_still_logs_in() -> Result<()> {
    let hub = FakeHub::start()?;
    let person = Person::at(&hub)?;
    fs::remove_file(person.credentials())?;
    person.secret(".local/state/kedge/hubs/main/token", common::TOKEN)?;
    person.kedge(["get", "servers"]).run()?.success()?;
    Ok(())
}

/// A file system of 64 KiB, until it is dropped. Only root can have one.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn at(path: &std::path::Path) -> Result<Option<Self>> {
        fs::create_dir_all(path)?;
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=64k,mode=700", "kedge"])
            .arg(path);
        match mount.output() {
            Ok(done) if done.status.success() => Ok(Some(Self(path.to_owned()))),
            Ok(_) | Err(_) => Ok(None),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_loses_no_refresh_token() -> Result<()> {
    let (hub, issuer) = (FakeHub::start()?, issuer()?);
    hub.trust(&[("corp", &issuer)]);
    let person = Person::new()?;
    let folder = person.path(".local/state/kedge");
    let Some(_disk) = SmallDisk::at(&folder)? else {
        eprintln!("skipped: a small file system can be mounted by root only");
        return Ok(());
    };
    person.log_in(&["login", &hub.url()], "alice")?.success()?;
    person.expire(-30)?;
    let before = fs::read(person.credentials())?;
    let filler = folder.join("filler");
    let mut bytes = 64 << 10;
    while bytes > 0 && fs::write(&filler, vec![0_u8; bytes]).is_err() {
        bytes -= 4096;
    }
    let ran = person.kedge(["get", "servers"]).run()?.exits(1)?;
    assert!(ran.err().contains("make room for"), "{ran}");
    assert!(
        ran.err()
            .contains("hint: free some space; the login is kept"),
        "{ran}"
    );
    assert_eq!(fs::read(person.credentials())?, before);
    assert_eq!(issuer.grants("refresh_token"), 0);
    // Neither does a new login begin to be stored.
    let ran = person.log_in(&["login", "main"], "alice")?.exits(1)?;
    assert!(ran.err().contains("nothing was stored"), "{ran}");
    assert_eq!(fs::read(person.credentials())?, before);
    fs::remove_file(&filler)?;
    person.kedge(["get", "servers"]).run()?.success()?;
    assert_eq!(issuer.grants("refresh_token"), 1);
    Ok(())
}

#[test]
fn an_issuer_that_sends_another_persons_token_is_not_believed() -> Result<()> {
    let (hub, issuer) = (FakeHub::start()?, issuer()?);
    let person = Person::logged_in(&hub, &issuer, "alice")?;
    person.expire(-30)?;
    let other = json!({"sub": "bob"});
    issuer.misbehave(Misbehaviour::TokensWith(
        other.as_object().cloned().context("claims")?,
    ));
    let ran = person.kedge(["get", "servers"]).run()?.exits(4)?;
    assert!(ran.err().contains("another person"), "{ran}");
    assert!(hub.shown().is_empty());
    Ok(())
}
