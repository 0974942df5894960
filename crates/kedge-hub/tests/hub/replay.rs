//! Trying policies on the history: exactly the sessions that would have come out otherwise are named.

use http::StatusCode;
use kedge_api::ServerPhase;
use kedge_store::HistoryLine;
use kedge_testkit::issuer::{Issuer, IssuerOptions, IssuerPerson};
use serde_json::{Value, json};

use crate::harness::{Hub, PEOPLE, configuration, policy};
use crate::history::{path_with, records, session};
use crate::issuers::{hub_with, table};

const LONG_AGO: &str = "2020-01-01T00:00:00Z";

async fn replay(hub: &Hub, who: &str, question: Value) -> Value {
    hub.post(who, "/policyreplays", question)
        .await
        .expect(StatusCode::OK)
        .json()
}

/// Who wanted where, and how it would have changed.
fn changes(answer: &Value) -> Vec<[String; 4]> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let items = answer["changed"].as_array().unwrap();
    let change = |item: &Value| {
        [
            text(&item["record"]["principal"]["user"]),
            text(&item["record"]["server"]),
            text(&item["before"]),
            text(&item["after"]),
        ]
    };
    items.iter().map(change).collect()
}

fn words(lines: &[[&str; 4]]) -> Vec<[String; 4]> {
    lines.iter().map(|line| line.map(str::to_owned)).collect()
}

#[tokio::test]
async fn a_replay_finds_exactly_what_would_have_changed() {
    let (hub, _serving) = path_with("").await;
    let db = hub.agent("db01").await;
    let _db = db.serve(&hub).await;
    hub.phase("db01", ServerPhase::Online).await;
    for server in ["web01", "db01", "web01"] {
        assert!(session(&hub, "alice", server, None).await);
    }
    for login in [None, Some("root")] {
        assert!(!session(&hub, "bob", "web01", login).await);
    }
    assert!(!session(&hub, "alice", "ghost", None).await);
    records(&hub, 6).await;

    let deny = json!({
        "effect": "Deny", "subjects": {"users": ["*"]}, "servers": {"names": ["db01"]}, "logins": ["*"],
        "permissions": ["*"],
    });
    let question = json!({ "since": LONG_AGO, "policies": [policy("no-db", deny.clone())] });
    let answer = replay(&hub, "admin", question).await;
    assert_eq!(
        (&answer["examined"], &answer["unchanged"]),
        (&json!(6), &json!(5))
    );
    assert_eq!(
        changes(&answer),
        words(&[["alice", "db01", "allowed", "denied"]])
    );
    assert_eq!(answer["changed"][0]["policy"], "no-db");
    assert!(answer.get("continue").is_none());

    // Without the policy that allowed them.
    let question = json!({ "since": LONG_AGO, "remove": ["alice-everywhere"] });
    let answer = replay(&hub, "admin", question).await;
    let lost = |server| ["alice", server, "allowed", "no-policy"];
    assert_eq!(
        changes(&answer),
        words(&[lost("web01"), lost("db01"), lost("web01")])
    );

    // In the place of one of the same name; the login that was asked for counts.
    let for_bob = json!({
        "subjects": {"users": ["alice", "bob"]}, "servers": {"names": ["*"]}, "logins": ["{login}"],
    });
    let question = json!({ "since": LONG_AGO, "policies": [policy("alice-everywhere", for_bob)] });
    let answer = replay(&hub, "admin", question).await;
    assert_eq!(
        changes(&answer),
        words(&[["bob", "web01", "no-policy", "allowed"]])
    );

    // The stored policies are those of now: with the denial in force, it changes nothing any more.
    hub.policy("no-db", deny.clone()).await;
    let answer = replay(&hub, "admin", json!({ "since": LONG_AGO })).await;
    assert_eq!(
        (&answer["examined"], &answer["changed"]),
        (&json!(6), &json!([]))
    );
    let question = json!({ "since": LONG_AGO, "policies": [policy("no-db", deny)] });
    assert_eq!(changes(&replay(&hub, "admin", question).await), words(&[]));
    let later = json!({ "since": "2199-01-01T00:00:00Z" });
    assert_eq!(replay(&hub, "admin", later).await["examined"], 0);
    // Nothing was written.
    let list = hub.get("admin", "/accesspolicies").await.json();
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
}

/// Whoever tries a policy wants to know whom it will let in: by the configuration of now.
#[tokio::test]
async fn policies_are_tried_with_the_home_issuer_of_now() {
    let [corp, partner] = ["carol", "peter"].map(|name| {
        let people = vec![IssuerPerson::new(name).groups(&["dev"])];
        Issuer::start(IssuerOptions {
            people,
            ..IssuerOptions::default()
        })
        .unwrap()
    });
    let issuers = |at_home: &Issuer| {
        let [corp, partner] = [("corp", &corp), ("partner", &partner)].map(|(name, issuer)| {
            let home = issuer.url() == at_home.url();
            table(issuer, name, &format!("home = {home}"))
        });
        corp + &partner
    };
    let (hub, _serving) = hub_with(&issuers(&corp)).await;
    for (issuer, person) in [(&corp, "carol"), (&partner, "peter")] {
        let token = issuer.id_token(person).unwrap();
        let person = hub.try_connect(&token).await.unwrap();
        assert!(person.open("web01", None).opened().await.is_err());
    }
    records(&hub, 2).await;

    let developers = json!({ "subjects": {"groups": ["dev"]}, "servers": {"names": ["*"]}, "logins": ["{login}"] });
    let question = json!({ "since": LONG_AGO, "policies": [policy("developers", developers)] });
    let let_in = |user| words(&[[user, "web01", "no-policy", "allowed"]]);
    let answer = replay(&hub, "admin", question.clone()).await;
    assert_eq!(changes(&answer), let_in("carol"));
    let configured =
        |issuers: &str| configuration(std::path::Path::new("/nonexistent"), &PEOPLE, issuers);
    hub.reload(&configured(&issuers(&partner)));
    let answer = replay(&hub, "admin", question.clone()).await;
    assert_eq!(changes(&answer), let_in("peter"));
    // Nobody knows better of an issuer that has gone.
    hub.reload(&configured(&table(&partner, "partner", "home = true")));
    let answer = replay(&hub, "admin", question).await;
    let both = [let_in("carol"), let_in("peter")].concat();
    assert_eq!(changes(&answer), both);
}

#[tokio::test]
async fn what_cannot_be_tried_is_refused_with_its_reason() {
    let hub = Hub::start().await;
    let bad = policy(
        "bad",
        json!({ "subjects": {}, "servers": {"names": ["*"]}, "logins": ["{login}"] }),
    );
    let reply = hub
        .post(
            "admin",
            "/policyreplays",
            json!({ "since": LONG_AGO, "policies": [bad] }),
        )
        .await;
    let status = reply.error("Invalid");
    assert!(
        status.message.contains("spec.subjects"),
        "{}",
        status.message
    );
    for (question, code) in [
        (json!({}), 422),
        (json!({ "since": "soon" }), 422),
        (json!({ "since": LONG_AGO, "remove": ["ghost"] }), 400),
        (json!({ "since": LONG_AGO, "continue": "x" }), 400),
        (json!({ "since": LONG_AGO, "extra": 1 }), 422),
    ] {
        let reply = hub.post("admin", "/policyreplays", question.clone()).await;
        assert!(
            [code, 400].contains(&reply.status.as_u16()),
            "{question}: {}",
            String::from_utf8_lossy(&reply.body)
        );
    }
    // It takes both rights.
    let rule = |verb: &str, resource: &str| json!({ "subjects": {"users": ["alice"]}, "hub": {"rules": [{"verbs": [verb], "resources": [resource]}]} });
    for (name, spec) in [
        ("one", rule("create", "explanations")),
        ("two", rule("list", "history")),
    ] {
        let question = json!({ "since": LONG_AGO });
        let reply = hub.post("alice", "/policyreplays", question).await;
        reply.error("Forbidden");
        hub.policy(name, spec).await;
    }
    replay(&hub, "alice", json!({ "since": LONG_AGO })).await;
}

#[tokio::test]
async fn a_long_history_is_tried_in_pages_and_by_one_at_a_time() {
    let hub = Hub::start().await;
    hub.let_alice_in().await;
    let body = json!({
        "at": "2026-01-31T12:00:00Z", "event": "opened", "server": "web01", "serverLabels": {}, "permission": "ssh",
        "source": "192.0.2.1", "login": "alice", "origin": "claim",
        "principal": {
            "issuer": "static", "subject": "alice", "user": "alice", "method": "static-token", "standing": "home",
        },
    });
    let line = HistoryLine {
        at: "2026-01-31T12:00:00Z".parse().unwrap(),
        about: String::new(),
        body: body.to_string(),
    };
    let all = 10_050;
    for _ in 0..all / 50 {
        hub.app.store.append(vec![line.clone(); 50]).await.unwrap();
    }
    let mut question = json!({ "since": LONG_AGO, "remove": ["alice-everywhere"] });
    let (mut examined, mut changed, mut pages) = (0, 0, 0);
    loop {
        let answer = replay(&hub, "admin", question.clone()).await;
        let page = answer["examined"].as_u64().unwrap();
        assert!(page > 0 && page <= 10_000, "{page}");
        examined += page;
        changed += answer["changed"].as_array().unwrap().len();
        pages += 1;
        match &answer["continue"] {
            Value::Null => break,
            next => question["continue"] = next.clone(),
        }
    }
    assert_eq!((examined, changed), (all, usize::try_from(all).unwrap()));
    assert!(pages >= 2, "{pages}");

    let (mut served, mut sent_away) = (0, 0);
    while sent_away == 0 {
        let question = || json!({ "since": LONG_AGO });
        let replies = tokio::join!(
            hub.post("admin", "/policyreplays", question()),
            hub.post("admin", "/policyreplays", question()),
            hub.post("admin", "/policyreplays", question()),
        );
        for reply in [replies.0, replies.1, replies.2] {
            if reply.status == StatusCode::OK {
                served += 1;
            } else {
                reply.error("ServiceUnavailable");
                assert!(reply.headers.contains_key("retry-after"));
                sent_away += 1;
            }
        }
        assert!(served < 100, "nobody is ever sent away");
    }
    assert!(served > 0);
}
