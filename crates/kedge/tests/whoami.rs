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
