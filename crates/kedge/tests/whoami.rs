//! `kedge whoami` asks for explanations: a question about oneself is no attempt that was refused.

#![cfg(test)]

mod common;

use anyhow::Result;
use serde_json::{Value, json};

use common::{FakeHub, Person};

#[test]
fn logins_are_asked_for_as_questions_about_oneself() -> Result<()> {
    let hub = FakeHub::start()?;
    for name in ["db01", "web01"] {
        hub.put(&format!("servers/{name}"), common::server(name));
    }
    let person = Person::at(&hub)?;
    hub.requests();
    let said = person.kedge(["whoami"]).run()?.success()?.out();
    assert!(
        said.ends_with("\nSERVER   LOGIN\ndb01     alice\nweb01    alice\n"),
        "{said}"
    );
    let mut requests = hub.requests();
    requests.sort();
    let base = "/apis/kedge.dev/v1alpha1";
    let expected = [
        format!("GET {base}/servers"),
        format!("GET {base}/whoami"),
        format!("POST {base}/explanations"),
        format!("POST {base}/explanations"),
    ];
    assert_eq!(requests, expected);
    for question in &hub.state().questions {
        let server = &question["server"];
        let about = json!({
            "user": "alice@corp.example", "subject": "alice@corp.example", "issuer": "static", "server": server,
            "permission": "ssh",
        });
        assert_eq!(*question, about);
    }
    Ok(())
}

#[test]
fn whoever_has_no_login_at_a_server_is_told_why() -> Result<()> {
    let hub = FakeHub::start()?;
    let person = Person::at(&hub)?;
    let allow = |reason: Value| json!({"policy": "secret", "effect": "Allow", "matched": false, "reason": reason});
    let reach = "no policy allows you to reach web01 as alice";
    for (changes, why) in [
        (json!({"outcome": "no-policy"}), reach.to_owned()),
        (
            json!({"outcome": "no-policy", "trace": [allow(json!({"code": "server"}))]}),
            reach.to_owned(),
        ),
        (
            json!({"outcome": "no-policy", "trace": [
                allow(json!({"code": "server"})), allow(json!({"code": "time-window"})),
            ]}),
            format!("{reach}: it is outside of its hours (spec.constraints.timeWindows)"),
        ),
        (
            json!({"outcome": "denied", "policy": "secret"}),
            "you may not reach web01 as alice: a policy denies it".to_owned(),
        ),
        (
            json!({"outcome": "no-login", "login": null, "loginError": "your identity has no claim `upn`\u{1b}[2J"}),
            "your identity has no claim `upn`\\u{1b}[2J".to_owned(),
        ),
        (
            json!({"outcome": "a-newer-one"}),
            "no policy allows you to reach web01 as alice".to_owned(),
        ),
    ] {
        let mut answer = json!({"allowed": false, "at": "2026-01-31T12:00:00Z", "login": "alice"});
        for (key, value) in changes.as_object().unwrap() {
            answer[key] = value.clone();
        }
        hub.state()
            .answers
            .insert("explanations".to_owned(), vec![answer]);
        let ran = person.kedge(["whoami", "--server", "web01"]).run()?;
        let said = ran.success()?.out();
        let wanted = format!("\nSERVER   LOGIN\nweb01    <none>: {why}\n");
        assert!(said.ends_with(&wanted), "no {wanted:?} in {said}");
        assert!(!said.contains("secret"), "{said}");
    }
    Ok(())
}

#[test]
fn a_server_that_is_not_there_is_not_found_after_all_that_is_known() -> Result<()> {
    let hub = FakeHub::start()?;
    hub.put("servers/web01", common::server("web01"));
    let person = Person::at(&hub)?;
    let why = "servers \"nope\" not found, or you may not see it";
    let asked = ["whoami", "--server", "nope", "--server", "web01"];
    let ran = person.kedge(asked).run()?.exits(6)?;
    let wanted = format!("\nSERVER   LOGIN\nnope     <none>: {why}\nweb01    alice\n");
    assert!(ran.out().ends_with(&wanted), "{ran}");
    let expected = format!("error: {why}\nhint: kedge get servers lists what you may reach\n");
    assert_eq!(ran.err(), expected);
    let json = person
        .kedge(asked.into_iter().chain(["-o", "json"]))
        .run()?;
    let json = json.exits(6)?;
    assert_eq!(json.json()?["servers"][0]["error"], why);
    assert_eq!(json.json()?["servers"][1]["login"], "alice");
    Ok(())
}
