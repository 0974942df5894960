//! Why somebody may reach a server: the question that is put, and what people see of the answer.

mod common;

use anyhow::Result;
use common::{FakeHub, Person};
use serde_json::{Value, json};

fn site(path: &str, answers: Vec<Value>) -> Result<(FakeHub, Person)> {
    let hub = FakeHub::start()?;
    let person = Person::at(&hub)?;
    hub.state().answers.insert(path.to_owned(), answers);
    Ok((hub, person))
}

fn question(hub: &FakeHub) -> Value {
    hub.state().questions.remove(0)
}

fn explanation() -> Value {
    json!({
        "allowed": false, "outcome": "no-policy", "at": "2026-01-01T12:00:00Z",
        "login": "deploy", "loginOrigin": "requested", "reviewAt": "2026-01-02T07:00:00Z",
        "trace": [
            {"policy": "ci", "effect": "Allow", "matched": false, "reason": {"code": "claim", "index": 1}},
            {"policy": "dev", "effect": "Allow", "matched": false, "reason": {"code": "time-window"}},
            {"policy": "freeze", "effect": "Deny", "matched": false, "reason": {"code": "of-a-newer-hub"}},
        ],
        "assumed": [
            {"fact": "user", "value": "alice", "origin": "given"},
            {"fact": "groups", "value": ["dev"], "origin": "configuration"},
            {"fact": "claims.evil\u{1b}[2J", "value": "x\u{202e}y\n", "origin": "token"},
        ],
    })
}

#[test]
fn the_answer_names_each_policy_and_the_condition_that_failed() -> Result<()> {
    let (_hub, person) = site("explanations", vec![explanation()])?;
    let ran = person
        .kedge(["explain", "alice", "ssh", "deploy@web01"])
        .run()?
        .exits(5)?;
    assert_eq!(ran.err(), "");
    insta::assert_snapshot!(ran.out());
    Ok(())
}

#[test]
fn every_outcome_is_a_sentence() -> Result<()> {
    let mut page = String::new();
    for outcome in [
        json!({"allowed": true, "outcome": "allowed", "policy": "dev", "login": "alice", "loginOrigin": "claim", "maxSession": "8h"}),
        json!({"allowed": false, "outcome": "denied", "policy": "freeze", "login": "root", "loginOrigin": "server-user"}),
        json!({"allowed": false, "outcome": "no-login", "loginError": "their identity has no claim `x\u{1b}`"}),
        json!({"allowed": false, "outcome": "of-a-newer-hub\u{202e}"}),
    ] {
        let mut answer = outcome;
        answer["at"] = json!("2026-01-01T12:00:00Z");
        let (_hub, person) = site("explanations", vec![answer])?;
        let ran = person.kedge(["explain", "alice", "ssh", "web01"]).run()?;
        assert_eq!(ran.err(), "");
        page += &format!("{}[{}]\n", ran.out(), ran.code().unwrap_or(-1));
    }
    insta::assert_snapshot!(page);
    Ok(())
}

#[test]
fn what_is_given_is_asked() -> Result<()> {
    let (hub, person) = site("explanations", vec![explanation()])?;
    person
        .kedge(["explain", "alice", "ssh", "web01.kedge"])
        .run()?
        .exits(5)?;
    let bare = json!({"user": "alice", "server": "web01", "permission": "ssh"});
    assert_eq!(question(&hub), bare);
    let json = person
        .kedge([
            "explain",
            "alice",
            "ssh",
            "deploy@web01",
            "--at",
            "2026-01-01T13:00:00+01:00",
            "--source",
            "2001:db8::1",
            "--groups",
            "dev,ops",
            "--claim",
            "amr=pwd",
            "--claim",
            "amr=mfa",
            "--claim",
            "department=it",
            "--issuer",
            "https://id.example/",
            "--authenticated-at",
            "2026-01-01T11:00:00Z",
            "-o",
            "json",
        ])
        .run()?
        .exits(5)?;
    assert_eq!(json.json()?["trace"][0]["reason"]["code"], "claim");
    let full = json!({
        "user": "alice", "issuer": "https://id.example/", "groups": ["dev", "ops"],
        "claims": {"amr": ["pwd", "mfa"], "department": "it"}, "server": "web01", "login": "deploy",
        "permission": "ssh", "at": "2026-01-01T12:00:00Z", "source": "2001:db8::1",
        "authenticatedAt": "2026-01-01T11:00:00Z",
    });
    assert_eq!(question(&hub), full);
    person
        .kedge(["explain", "alice", "ssh", "web01", "--groups", ""])
        .run()?
        .exits(5)?;
    assert_eq!(question(&hub)["groups"], json!([]));
    Ok(())
}

#[test]
fn nonsense_reaches_no_hub() -> Result<()> {
    let (hub, person) = site("explanations", vec![explanation()])?;
    for words in [
        &["explain"][..],
        &["explain", "alice"],
        &["explain", "alice", "ssh"],
        &["explain", "", "ssh", "web01"],
        &["explain", "alice", "ssh", "-oProxyCommand=x@web01"],
        &["explain", "alice", "ssh", "Alice@web01"],
        &["explain", "alice", "ssh", "../x"],
        &["explain", "alice", "ssh", "web01", "--at", "noon"],
        &["explain", "alice", "ssh", "web01", "--source", "web"],
        &["explain", "alice", "ssh", "web01", "--claim", "x"],
        &[
            "explain",
            "alice",
            "ssh",
            "web01",
            "--issuer",
            "http://id.example",
        ],
        &["explain", "alice", "ssh", "web01", "--since", "7d"],
        &["explain", "alice", "ssh", "web01", "--with", "x.yaml"],
        &["explain", "--since", "7d"],
        &["explain", "--since", "yesterday", "--without", "x"],
        &["explain", "--since", "7d", "--without", "../x"],
    ] {
        let ran = person.kedge(words).run()?.exits(2)?;
        assert!(ran.err().starts_with("error: "), "{words:?}: {}", ran.err());
    }
    assert_eq!(hub.requests(), Vec::<String>::new());
    Ok(())
}

#[test]
fn a_refusal_is_said() -> Result<()> {
    let status = json!({
        "kind": "Status", "code": 403, "reason": "Forbidden", "message": "only administrators ask about others",
    });
    let (_hub, person) = site("explanations", vec![status])?;
    let ran = person
        .kedge(["explain", "bob", "ssh", "web01"])
        .run()?
        .exits(5)?;
    insta::assert_snapshot!(ran.err(), @r"
    error: only administrators ask about others
    hint: kedge whoami shows who the hub takes you for
    ");
    Ok(())
}

fn change(user: &str, event: &str, before: &str, after: &str) -> Value {
    json!({
        "record": {
            "at": "2026-01-01T12:00:00Z", "event": event, "server": "web01", "serverLabels": {}, "login": "alice",
            "origin": "claim", "permission": "ssh", "source": "203.0.113.9",
            "code": if event == "refused" { json!("denied") } else { Value::Null },
            "principal": {
                "issuer": "static", "subject": user, "user": user, "method": "static-token", "standing": "home",
            },
        },
        "before": before, "after": after, "policy": "new",
    })
}

const POLICY: &str = "apiVersion: kedge.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: new}\n\
    spec: {subjects: {users: [alice]}, servers: {names: [web01]}, logins: [\"{login}\"]}\n";

#[test]
fn policies_are_tried_out_page_after_page() -> Result<()> {
    let first = json!({"examined": 100, "unchanged": 99, "changed": [change("alice", "opened", "allowed", "denied")], "continue": "a"});
    let last = json!({"examined": 7, "unchanged": 6, "changed": [change("bob", "refused", "no-policy", "allowed")]});
    let (hub, person) = site("policyreplays", vec![first.clone(), last.clone()])?;
    let file = person.secret("new.yaml", POLICY)?;
    let ran = person
        .kedge([
            "explain",
            "--since",
            "2026-01-01T00:00:00Z",
            "--with",
            &file,
            "--without",
            "old",
        ])
        .run()?
        .success()?;
    insta::assert_snapshot!(ran.out());
    let (one, two) = (question(&hub), question(&hub));
    assert_eq!(one["since"], "2026-01-01T00:00:00Z");
    assert_eq!(one["policies"][0]["metadata"]["name"], "new");
    assert_eq!(one["remove"], json!(["old"]));
    assert_eq!(one.get("continue"), None);
    assert_eq!(two["continue"], "a");
    assert_eq!(two["policies"], one["policies"]);

    hub.state()
        .answers
        .insert("policyreplays".into(), vec![first, last]);
    let ran = person
        .kedge(["explain", "--since", "7d", "--with", &file, "-o", "json"])
        .run()?
        .success()?;
    assert_eq!(ran.json()?["examined"], 107);
    assert_eq!(ran.json()?["changed"].as_array().map(Vec::len), Some(2));
    Ok(())
}

#[test]
fn a_replay_without_end_is_given_up() -> Result<()> {
    let page = json!({"examined": 0, "unchanged": 0, "changed": [], "continue": "a"});
    let (_hub, person) = site("policyreplays", vec![page])?;
    let ran = person
        .kedge(["explain", "--since", "7d", "--without", "old"])
        .run()?
        .exits(1)?;
    assert!(ran.err().contains("no end"), "{}", ran.err());
    Ok(())
}

#[test]
fn bad_policies_are_not_tried_out() -> Result<()> {
    let (hub, person) = site(
        "policyreplays",
        vec![json!({"examined": 0, "unchanged": 0})],
    )?;
    let bad = person.secret("bad.yaml", &POLICY.replace("[alice]", "[]"))?;
    let twice = person.secret("twice.yaml", &format!("{POLICY}---\n{POLICY}"))?;
    let server = "apiVersion: kedge.dev/v1alpha1\nkind: Server\nmetadata: {name: web01}\n";
    let server = person.secret("server.yaml", server)?;
    for (file, expected) in [
        (bad, "spec.subjects: names nobody"),
        (twice, "the policy new is given twice"),
        (server, "is no AccessPolicy"),
        ("/nonexistent/x.yaml".to_owned(), "/nonexistent/x.yaml"),
    ] {
        let ran = person
            .kedge(["explain", "--since", "7d", "--with", &file])
            .run()?;
        assert!(ran.err().contains(expected), "{}", ran.err());
        assert!(ran.code().unwrap_or(0) > 0);
    }
    assert_eq!(hub.requests(), Vec::<String>::new());
    Ok(())
}
