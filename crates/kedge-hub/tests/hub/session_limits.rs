//! How long sessions last and how many there are: by token, by policy, by the clock.

use std::time::Duration;

use http::StatusCode;
use kedge_proto::{RefuseCode, ResetCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::harness::{Hub, Peer, SOON, eventually};
use crate::issuers::{hub_with, issuer, settled, table};
use crate::sessions::{opened, refusal, reset_with_words};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// A policy that lets `alice` in as herself, under these constraints.
fn alice(constraints: &Value) -> Value {
    json!({
        "subjects": {"users": ["alice"]}, "servers": {"names": ["*"]}, "logins": ["{login}"],
        "constraints": constraints,
    })
}

async fn rewrite(hub: &Hub, name: &str, constraints: &Value) {
    let path = format!("/accesspolicies/{name}");
    let mut policy = hub.get("admin", &path).await.expect(StatusCode::OK).json();
    policy["spec"] = alice(constraints);
    hub.put("admin", &path, policy).await.expect(StatusCode::OK);
}

async fn echo(session: &mut kedge_tunnel::TunnelStream) {
    session.write_all(b"x").await.unwrap();
    let read = timeout(SOON, session.read_u8()).await.unwrap();
    assert_eq!(read.unwrap(), b'x');
}

#[tokio::test]
async fn a_session_may_outlive_its_token_and_nothing_new_begins_with_it() {
    let issuer = issuer();
    let (hub, _serving) = hub_with(&table(&issuer, "corp", "")).await;
    hub.let_alice_in().await;
    let token = issuer.id_token("alice").unwrap();
    let person = hub.try_connect(&token).await.unwrap();
    let mut session = opened(&person).await;
    hub.pass(2 * HOUR);
    // Whatever makes the hub look at it again.
    hub.policy("another", alice(&json!({}))).await;
    let (code, words) = refusal(&mut person.open("web01", None)).await;
    assert_eq!(code, RefuseCode::Unauthenticated, "{words}");
    assert!(words.contains("log in again"), "{words}");
    hub.whoami(&token).await.expect(StatusCode::UNAUTHORIZED);
    echo(&mut session).await;
}

#[tokio::test]
async fn a_session_ends_when_its_tokens_grace_does() {
    let issuer = issuer();
    let extra = table(&issuer, "corp", "") + "[session]\ntoken-grace-seconds = 600\n";
    let (hub, _serving) = hub_with(&extra).await;
    hub.let_alice_in().await;
    let token = issuer.id_token("alice").unwrap();
    let person = hub.try_connect(&token).await.unwrap();
    let mut session = opened(&person).await;
    let fixed = hub.connect("alice").await;
    let mut of_the_configuration = opened(&fixed).await;
    for session in hub.app.sessions.list(|_| true) {
        let ends = session.issuer.as_str() == issuer.url();
        assert_eq!(session.until.is_some(), ends, "{session:?}");
    }

    hub.pass(HOUR + Duration::from_secs(500));
    echo(&mut session).await;
    hub.pass(Duration::from_secs(101));
    let (code, words) = reset_with_words(&mut session).await;
    assert_eq!(code, ResetCode::MaxAge);
    assert!(words.contains("log in again"), "{words}");
    assert_eq!(
        hub.audit.first("session.closed").await["how"],
        "login-expired"
    );
    echo(&mut of_the_configuration).await;
}

#[tokio::test]
async fn of_fifty_sessions_asked_for_at_once_as_many_begin_as_the_policy_says() {
    let issuer = issuer();
    let (hub, _serving) = hub_with(&table(&issuer, "corp", "")).await;
    hub.policy("few", alice(&json!({"maxSessions": 5}))).await;
    // Over several links, which do not make it more.
    let mut links: Vec<Peer> = Vec::new();
    for _ in 0..5 {
        let token = issuer.id_token("alice").unwrap();
        links.push(hub.try_connect(&token).await.unwrap());
    }
    let asked = links
        .iter()
        .flat_map(|link| (0..10).map(|_| link.open("web01", None)));
    let answered = futures_util::future::join_all(asked.map(|mut stream| async {
        let answer = timeout(SOON, stream.opened()).await.unwrap();
        (stream, answer)
    }))
    .await;
    let (mut open, refused): (Vec<_>, Vec<_>) =
        answered.into_iter().partition(|(_, answer)| answer.is_ok());
    assert_eq!((open.len(), refused.len()), (5, 45));
    for event in hub.audit.events("session.refused") {
        assert_eq!(event["code"], "too-many-streams", "{event:?}");
    }

    // One that ends makes room for one.
    drop(open.pop());
    eventually("a place", async || {
        let mut stream = links[0].open("web01", None);
        let answer = timeout(SOON, stream.opened()).await.unwrap();
        let began = answer.is_ok();
        began.then(|| open.push((stream, answer)))
    })
    .await;
    let (code, words) = refusal(&mut links[1].open("web01", None)).await;
    assert_eq!(code, RefuseCode::TooManyStreams);
    assert!(words.contains("as many sessions as you may"), "{words}");

    // A policy that allows fewer keeps the oldest.
    rewrite(&hub, "few", &json!({"maxSessions": 2})).await;
    eventually("the youngest to end", async || {
        (hub.app.sessions.list(|_| true).len() == 2).then_some(())
    })
    .await;
    let left: Vec<_> = hub.app.sessions.list(|_| true);
    let first: Vec<_> = hub.audit.events("session.opened");
    for session in left {
        let place = first
            .iter()
            .position(|event| event["session"] == session.id.as_str());
        assert!(place.unwrap() < 5, "the one that came later went");
    }
}

#[tokio::test]
async fn a_session_ends_with_the_hours_of_its_policy() {
    let hub = hub_with("").await;
    let (hub, _serving) = hub;
    let at = |ahead: i64| {
        let then = hub.now().timestamp().as_second() + ahead;
        let minutes = then.div_euclid(60).rem_euclid(24 * 60);
        format!("{:02}:{:02}", minutes / 60, minutes % 60)
    };
    let days = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let window = json!({
        "days": days, "from": at(-3600), "to": at(3600), "timeZone": "UTC",
    });
    let hours = json!({ "timeWindows": [window] });
    hub.policy("in-hours", alice(&hours)).await;
    let person = hub.connect("alice").await;
    let mut session = opened(&person).await;
    hub.pass(HOUR / 2);
    echo(&mut session).await;
    hub.pass(HOUR);
    let (code, words) = reset_with_words(&mut session).await;
    assert_eq!(code, ResetCode::Revoked);
    assert!(words.contains("at this time"), "{words}");
    assert_eq!(hub.audit.first("session.closed").await["how"], "revoked");
    let (code, words) = refusal(&mut person.open("web01", None)).await;
    assert_eq!(code, RefuseCode::Denied, "she may know that it is there");
    assert!(words.contains("at this time"), "{words}");
}

#[tokio::test]
async fn how_fresh_a_login_must_be_is_asked_when_a_session_begins() {
    let issuer = issuer();
    let (hub, _serving) = hub_with(&table(&issuer, "corp", "")).await;
    hub.policy("fresh", alice(&json!({"maxAuthAge": "1h"})))
        .await;
    let now = hub.now().timestamp().as_second();
    let stale = issuer
        .id_token_with("alice", &json!({ "auth_time": now - 7200 }))
        .unwrap();
    let unsaid = issuer
        .id_token_with("alice", &json!({ "auth_time": null }))
        .unwrap();
    for token in [&stale, &unsaid] {
        let person = hub.try_connect(token).await.unwrap();
        let (code, words) = refusal(&mut person.open("web01", None)).await;
        assert_eq!(code, RefuseCode::Denied);
        assert!(
            words.contains("kedge login HUB --reauthenticate"),
            "{words}"
        );
        assert!(!words.contains("fresh:"), "no policy is named: {words}");
    }
    let person = hub
        .try_connect(&issuer.id_token("alice").unwrap())
        .await
        .unwrap();
    let mut session = opened(&person).await;
    hub.pass(2 * HOUR);
    // A look at all sessions, which ends another one and leaves this one alone.
    let spec = json!({
        "subjects": {"users": ["bob"]}, "servers": {"names": ["*"]}, "logins": ["{login}"],
    });
    hub.policy("bob", spec).await;
    let bob = hub.connect("bob").await;
    let mut of_bob = opened(&bob).await;
    hub.delete("admin", "/accesspolicies/bob")
        .await
        .expect(StatusCode::OK);
    assert_eq!(reset_with_words(&mut of_bob).await.0, ResetCode::Revoked);
    echo(&mut session).await;
}

#[tokio::test]
async fn a_new_session_costs_no_request_to_the_issuer() {
    let issuer = issuer();
    let (hub, _serving) = hub_with(&table(&issuer, "corp", "")).await;
    hub.let_alice_in().await;
    settled(&hub).await;
    let before = issuer.requests();
    for _ in 0..10 {
        let token = issuer.id_token("alice").unwrap();
        let person = hub.try_connect(&token).await.unwrap();
        let _first = opened(&person).await;
        let _second = opened(&person).await;
        hub.whoami(&token).await.expect(StatusCode::OK);
    }
    assert_eq!(issuer.requests(), before);
    assert_eq!(issuer.requests_to("/jwks"), 1);
}
