//! The sessions that live: shown, watched, ended.

#![cfg(test)]

mod common;

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Result;
use common::{FakeHub, Person};
use rustix::process::Signal;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);

/// The session whose id begins like this.
fn id(beginning: &str) -> String {
    format!("s-{beginning:a<26}")
}

fn session(beginning: &str, user: &str) -> Value {
    let since = jiff::Timestamp::now() - Duration::from_secs(3 * 3600);
    json!({
        "id": id(beginning), "issuer": "static", "subject": format!("sub-{user}"), "user": user,
        "server": "web01", "login": "deploy", "permission": "ssh", "policy": "developers",
        "source": "203.0.113.9", "since": since.to_string(), "state": "Attached",
        "client": {"remoteAddress": "203.0.113.9", "since": since.to_string(), "sessions": 1, "rttMilliseconds": 30},
        "agent": {"remoteAddress": "203.0.113.7", "since": since.to_string(), "sessions": 2, "rttMilliseconds": 12},
        "bytesUp": 1234, "bytesDown": 20480,
    })
}

fn begin(hub: &FakeHub, session: Value) {
    let path = format!("sessions/{}", session["id"].as_str().unwrap());
    hub.state().objects.insert(path, session);
}

fn end(hub: &FakeHub, beginning: &str) {
    let path = format!("sessions/{}", id(beginning));
    hub.state().objects.remove(&path).unwrap();
}

fn site() -> Result<(FakeHub, Person)> {
    let hub = FakeHub::start()?;
    let person = Person::at(&hub)?;
    begin(&hub, session("abc", "alice"));
    let mut bob = session("abd", "bob\u{1b}[2J\u{202e}");
    bob["agent"] = json!({});
    begin(&hub, bob);
    hub.requests();
    Ok((hub, person))
}

#[test]
fn the_table_says_who_is_where_and_how_far_away() -> Result<()> {
    let (_hub, person) = site()?;
    let table = person.kedge(["sessions"]).run()?.success()?.out();
    insta::assert_snapshot!(table, @r"
    ID                             USER                   SERVER   LOGIN    AGE   STATE      UP       DOWN     RTT      FROM
    s-abcaaaaaaaaaaaaaaaaaaaaaaa   alice                  web01    deploy   3h    Attached   1234 B   20 KiB   42 ms    203.0.113.9
    s-abdaaaaaaaaaaaaaaaaaaaaaaa   bob\u{1b}[2J\u{202e}   web01    deploy   3h    Attached   1234 B   20 KiB   <none>   203.0.113.9
    ");
    for words in [&["get", "sessions"][..], &["get", "session"]] {
        assert_eq!(person.kedge(words).run()?.success()?.out(), table);
    }
    let wide = person.kedge(["sessions", "-o", "wide"]).run()?.success()?;
    for text in ["sub-alice", "developers", "30 ms", "12 ms", "203.0.113.7"] {
        assert!(wide.out().contains(text), "{wide}");
    }
    let names = person.kedge(["sessions", "-o", "name"]).run()?.success()?;
    let wanted = ["abc", "abd"].map(|one| format!("session.kedge.dev/{}\n", id(one)));
    assert_eq!(names.out(), wanted.concat());
    let list = person.kedge(["sessions", "-o", "json"]).run()?.success()?;
    assert_eq!(list.json()?["kind"], "SessionList");
    let bare = person
        .kedge(["sessions", "--no-headers"])
        .run()?
        .success()?;
    assert_eq!(bare.out().lines().count(), 2);
    Ok(())
}

#[test]
fn nobody_there_is_said_beside_the_output() -> Result<()> {
    let hub = FakeHub::start()?;
    let person = Person::at(&hub)?;
    let ran = person.kedge(["sessions"]).run()?.success()?;
    assert_eq!(
        (ran.out().as_str(), ran.err().as_str()),
        ("", "Nothing found at hub `main`.\n")
    );
    Ok(())
}

#[test]
fn kill_takes_the_beginning_of_an_id_and_says_whose_it_was() -> Result<()> {
    let (hub, person) = site()?;
    let ran = person
        .kedge(["sessions", "kill", "abc", "s-abc", &id("abd")])
        .run()?
        .success()?;
    let wanted = format!(
        "session.kedge.dev \"{}\" killed: alice as deploy on web01\n\
         session.kedge.dev \"{}\" killed: bob\\u{{1b}}[2J\\u{{202e}} as deploy on web01\n",
        id("abc"),
        id("abd")
    );
    assert_eq!((ran.out(), ran.err()), (wanted, String::new()));
    assert!(hub.state().objects.is_empty());
    Ok(())
}

#[test]
fn what_may_mean_several_ends_none() -> Result<()> {
    let (hub, person) = site()?;
    let ran = person
        .kedge(["sessions", "kill", "abc", "s-ab"])
        .run()?
        .exits(2)?;
    let wanted = format!(
        "error: `s-ab` is the beginning of 2 sessions: {}, {}\nhint: give more of the id\n",
        id("abc"),
        id("abd")
    );
    assert_eq!((ran.out(), ran.err()), (String::new(), wanted));
    for word in ["../x", "s-", "S-ABC", ""] {
        let ran = person.kedge(["sessions", "kill", word]).run()?.exits(2)?;
        assert!(ran.err().contains("is no session's id\nhint: "), "{ran}");
    }
    assert_eq!(hub.state().objects.len(), 2);
    Ok(())
}

#[test]
fn a_session_that_is_not_there_does_not_save_the_others() -> Result<()> {
    let (hub, person) = site()?;
    let ran = person
        .kedge(["sessions", "kill", "xyz", "abc"])
        .run()?
        .exits(6)?;
    assert!(ran.out().contains(&id("abc")), "{ran}");
    assert_eq!(
        ran.err(),
        "error: session `s-xyz` not found\nhint: kedge sessions lists those that live\n"
    );
    hub.requests();
    // A whole id is for the hub to know: whoever may end a session need not see it in a list.
    let ran = person
        .kedge(["sessions", "kill", &id("q")])
        .run()?
        .exits(6)?;
    assert!(ran.err().starts_with("error: "), "{ran}");
    let requests = hub.requests();
    assert!(
        requests.len() == 1 && requests[0].starts_with("DELETE "),
        "{requests:?}"
    );
    Ok(())
}

#[test]
fn a_watch_prints_those_that_begin_and_those_that_end() -> Result<()> {
    let (hub, person) = site()?;
    let mut watch = person.kedge(["sessions", "--watch"]).live()?;
    watch.expect("bob", SOON)?;
    begin(&hub, session("new", "carol"));
    watch.expect("carol", SOON)?;
    let mut detached = session("abc", "alice");
    detached["state"] = json!("Detached");
    begin(&hub, detached);
    watch.expect("Detached", SOON)?;
    end(&hub, "new");
    watch.expect("Ended", SOON)?;
    assert!(watch.is_running()?);
    watch.signal(Signal::INT)?;
    let ran = watch.wait(SOON)?;
    assert_eq!(ran.err(), "");
    let rows: Vec<_> = ran
        .out()
        .lines()
        .map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            assert_eq!(line.find(words[1]), Some(31), "the columns line up: {line}");
            format!("{} {}", words[0], words[5])
        })
        .collect();
    let row = |beginning: &str, state: &str| format!("{} {state}", id(beginning));
    assert_eq!(
        rows,
        [
            "ID STATE".to_owned(),
            row("abc", "Attached"),
            row("abd", "Attached"),
            row("new", "Attached"),
            row("abc", "Detached"),
            row("new", "Ended"),
        ]
    );
    Ok(())
}

#[test]
fn a_watch_ends_when_nobody_reads_it() -> Result<()> {
    let (_hub, person) = site()?;
    let mut command = person.kedge(["sessions", "--watch", "-o", "name"]).command;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line)?;
    assert!(line.starts_with("session.kedge.dev/s-abc"), "{line}");
    // Nothing happens from now on, and it ends all the same.
    drop(out);
    let status = kedge_testkit::wait::until("its end", SOON, || Ok(child.try_wait()?))?;
    assert_eq!(status.code(), Some(141));
    let said = std::io::read_to_string(child.stderr.take().unwrap())?;
    assert_eq!(said, "");
    Ok(())
}

#[test]
fn a_watch_outlives_a_hub_that_restarts_and_not_one_that_says_no() -> Result<()> {
    let (hub, person) = site()?;
    let mut watch = person.kedge(["sessions", "-w"]).live()?;
    watch.expect("alice", SOON)?;
    let away = json!({
        "kind": "Status", "status": "Failure", "code": 503, "reason": "ServiceUnavailable", "message": "the hub is going away",
    });
    let answer = |value: Value| hub.state().answers.insert("sessions".into(), vec![value]);
    answer(away);
    kedge_testkit::wait::until_true("the warning", SOON, || {
        Ok(watch.err() == "warning: the hub is going away; trying again\n")
    })?;
    answer(json!({ "items": [session("abc", "alice")] }));
    watch.expect("Ended", SOON)?;
    answer(json!({
        "kind": "Status", "status": "Failure", "code": 401, "reason": "Forbidden", "message": "no more",
    }));
    let ran = watch.wait(SOON)?;
    assert_eq!(ran.code(), Some(5), "{ran}");
    // Whoever begins with it is told at once.
    let ran = person.kedge(["sessions", "-w"]).run()?.exits(5)?;
    assert!(ran.err().starts_with("error: no more\n"), "{ran}");
    Ok(())
}
