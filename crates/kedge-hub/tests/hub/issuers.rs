//! People of OpenID Connect issuers: who they are here, and what becomes of them when an issuer changes, goes or lies
//! silent.

use std::path::Path;

use http::StatusCode;
use kedge_api::ServerPhase;
use kedge_proto::{RefuseCode, ResetCode};
use kedge_store::MetaKey;
use kedge_testkit::issuer::{Issuer, IssuerOptions, IssuerPerson};
use kedge_tunnel::LinkEnd;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::harness::{Hub, SOON, Serving, configuration, eventually};
use crate::sessions::{opened, refusal, reset_with_words};

/// The table of an issuer that people call so.
pub(crate) fn table(issuer: &Issuer, name: &str, more: &str) -> String {
    format!(
        "[[issuers]]\nurl = \"{}\"\nclient-id = \"kedge\"\nname = \"{name}\"\n{more}\n",
        issuer.url()
    )
}

pub(crate) fn issuer() -> Issuer {
    Issuer::start(IssuerOptions::default()).unwrap()
}

/// A hub that believes this issuer and has a server that is there.
pub(crate) async fn hub_with(extra: &str) -> (Hub, Serving) {
    let hub = Hub::with(extra).await;
    let agent = hub.agent("web01").await;
    let serving = agent.serve(&hub).await;
    hub.phase("web01", ServerPhase::Online).await;
    (hub, serving)
}

/// Waits until the hub has the keys of every issuer.
pub(crate) async fn settled(hub: &Hub) {
    eventually("the issuers' keys", async || {
        hub.operators("/ready")
            .await
            .ends_with("\r\n\r\nready\n")
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn people_of_an_issuer_are_who_it_says_they_are() {
    let alice = IssuerPerson::new("alice.smith")
        .claim("sub", json!("f47ac10b"))
        .groups(&["dev", "kedge"]);
    let options = IssuerOptions {
        people: vec![alice],
        ..IssuerOptions::default()
    };
    let issuer = Issuer::start(options).unwrap();
    let rules = "user-claim = \"preferred_username\"\n[issuers.login]\nexceptions = { \"alice.smith\" = \"asmith\" }";
    let hub = Hub::with(&table(&issuer, "corp", rules)).await;
    let token = issuer.id_token("alice.smith").unwrap();
    let who = hub.whoami(&token).await.expect(StatusCode::OK).json();
    assert_eq!(who["issuer"], issuer.url());
    assert_eq!(who["subject"], "f47ac10b");
    assert_eq!(who["user"], "alice.smith");
    assert_eq!(who["groups"], json!(["dev", "kedge"]));
    assert_eq!(who["method"], "oidc");
    assert_eq!(who["login"], "asmith");
    assert_eq!(who["permissions"], json!([]));
    assert!(who["authenticatedAt"].is_string(), "{who}");
    assert!(who["expiresAt"].is_string(), "{who}");

    let discovery = hub
        .ask_with(None, http::Method::GET, "/.well-known/kedge", None)
        .await
        .json();
    let authentication = &discovery["authentication"];
    assert_eq!(authentication["methods"], json!(["oidc", "static-token"]));
    assert_eq!(authentication["issuers"][0]["name"], "corp");
    assert_eq!(authentication["issuers"][0]["issuer"], issuer.url());
    assert_eq!(authentication["issuers"][0]["clientId"], "kedge");
}

#[tokio::test]
async fn discovery_lists_those_that_people_log_in_at() {
    let extra = "[[issuers]]\nurl = \"https://token.actions.example\"\naudiences = [\"kedge\"]\n";
    let hub = Hub::with(extra).await;
    let discovery = hub
        .ask_with(None, http::Method::GET, "/.well-known/kedge", None)
        .await
        .json();
    let authentication = &discovery["authentication"];
    assert_eq!(authentication["methods"], json!(["oidc", "static-token"]));
    assert_eq!(authentication.get("issuers"), None, "{authentication}");
}

#[tokio::test]
async fn discovery_says_what_a_login_has_to_go_by() {
    let rules = "audiences = [\"https://hub.example\"]\nauthorized-parties = [\"gateway\"]\n\
                 redirect-ports = [8401, 8400]\nhome = true";
    let (one, other) = (issuer(), issuer());
    let tables = [
        table(&one, "corp", rules),
        table(&other, "partners", "home = false"),
    ];
    let hub = Hub::with(&tables.concat()).await;
    let discovery = hub
        .ask_with(None, http::Method::GET, "/.well-known/kedge", None)
        .await
        .json();
    let issuers = &discovery["authentication"]["issuers"];
    assert_eq!(issuers[0]["redirectPorts"], json!([8401, 8400]));
    // The client is among them without saying so.
    assert_eq!(issuers[0]["audiences"], json!(["https://hub.example"]));
    assert_eq!(issuers[0]["authorizedParties"], json!(["gateway"]));
    for key in ["redirectPorts", "audiences", "authorizedParties"] {
        assert_eq!(issuers[1].get(key), None, "{issuers}");
    }
}

#[tokio::test]
async fn an_issuer_that_is_down_at_the_start_stops_neither_the_hub_nor_others_and_is_back_without_a_restart()
 {
    let mut issuer = issuer();
    issuer.down();
    let hub = Hub::with(&table(&issuer, "corp", "")).await;
    let ready = hub.operators("/ready").await;
    assert!(ready.starts_with("HTTP/1.1 200 "), "{ready}");
    eventually("/ready to say so", async || {
        let ready = hub.operators("/ready").await;
        let says = ready.contains("\r\n\r\nready\nissuer corp: ") && ready.contains("efused");
        says.then_some(())
    })
    .await;
    hub.get("alice", "/whoami").await.expect(StatusCode::OK);

    // As often as it would take to be answered 429 for it: it is nobody's failure.
    let token = issuer.id_token("alice").unwrap();
    for _ in 0..kedge_hub::defaults::FAILURES_BURST + 10 {
        let reply = hub.whoami(&token).await;
        let status = reply.expect(StatusCode::SERVICE_UNAVAILABLE);
        assert!(status.headers.contains_key("retry-after"));
        let message = status.error("ServiceUnavailable").message;
        assert!(message.contains("the issuer `corp`"), "{message}");
    }
    assert!(hub.audit.events("authentication.refused").is_empty());
    hub.whoami("kpt_wrong")
        .await
        .expect(StatusCode::UNAUTHORIZED);
    let metrics = hub.operators("/metrics").await;
    for line in [
        "kedge_hub_issuers{state=\"unreachable\"} 1",
        "kedge_hub_token_verifications_total{result=\"unavailable\"} 70",
        "kedge_hub_authentications_total{caller=\"person\",result=\"unavailable\"} 70",
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }

    issuer.up().unwrap();
    eventually("the issuer to be believed", async || {
        (hub.whoami(&token).await.status == StatusCode::OK).then_some(())
    })
    .await;
    settled(&hub).await;
    let metrics = hub.operators("/metrics").await;
    assert!(metrics.contains("kedge_hub_issuers{state=\"working\"} 1"));
}

#[tokio::test]
async fn a_hub_that_starts_while_its_issuer_is_down_knows_its_people_by_the_keys_it_kept() {
    let mut issuer = issuer();
    let hub = Hub::with(&table(&issuer, "corp", "")).await;
    eventually("the keys to be kept", async || {
        hub.app.store.meta(MetaKey::IssuerKeys).await.unwrap()
    })
    .await;
    issuer.down();
    let hub = hub.restart().await;
    let token = issuer.id_token("alice").unwrap();
    hub.whoami(&token).await.expect(StatusCode::OK);
    eventually("/ready to say that they are old", async || {
        let ready = hub.operators("/ready").await;
        ready
            .contains("issuer corp: using its keys of")
            .then_some(())
    })
    .await;

    // Longer than anybody should believe them.
    hub.pass(40 * 60 * 60 * std::time::Duration::from_secs(1));
    let now = hub.now().timestamp().as_second();
    let claims = json!({ "iat": now, "exp": now + 3600 });
    let later = issuer.id_token_with("alice", &claims).unwrap();
    hub.whoami(&later)
        .await
        .expect(StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn keys_may_be_changed_at_any_time_and_what_the_old_ones_signed_ends_with_them() {
    let issuer = issuer();
    let hub = Hub::with(&table(&issuer, "corp", "")).await;
    let old = issuer.id_token("alice").unwrap();
    hub.whoami(&old).await.expect(StatusCode::OK);
    issuer.rotate().unwrap();
    let new = issuer.id_token("alice").unwrap();
    hub.whoami(&new).await.expect(StatusCode::OK);
    hub.whoami(&old).await.expect(StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn one_issuer_does_not_speak_for_the_people_of_another() {
    let (corp, other) = (issuer(), issuer());
    let extra = table(&corp, "corp", "home = true") + &table(&other, "other", "");
    let (hub, _serving) = hub_with(&extra).await;
    settled(&hub).await;
    hub.let_alice_in().await;

    // The same subject, groups and claims in both.
    let admin = |issuer: &Issuer| issuer.id_token("admin").unwrap();
    let who = hub.whoami(&admin(&corp)).await.expect(StatusCode::OK);
    assert_eq!(who.json()["permissions"], json!(["admin"]));
    let who = hub.whoami(&admin(&other)).await.expect(StatusCode::OK);
    assert_eq!(who.json()["permissions"], json!([]));

    let at_home = hub
        .try_connect(&corp.id_token("alice").unwrap())
        .await
        .unwrap();
    let _session = opened(&at_home).await;
    let stranger = hub
        .try_connect(&other.id_token("alice").unwrap())
        .await
        .unwrap();
    let (code, _) = refusal(&mut stranger.open("web01", None)).await;
    assert_eq!(code, RefuseCode::NotFound, "she may not even know of it");

    let spec = json!({
        "subjects": {"issuers": [other.url()], "users": ["alice"]},
        "servers": {"names": ["web01"]}, "logins": ["deploy"],
    });
    hub.policy("alice-of-the-other", spec).await;
    let mut session = stranger.open("web01", Some("deploy"));
    timeout(SOON, session.opened()).await.unwrap().unwrap();
    let mut session = at_home.open("web01", Some("deploy"));
    assert_eq!(refusal(&mut session).await.0, RefuseCode::Denied);
    let events = hub.audit.events("session.opened");
    assert_eq!(events[0]["issuer"], corp.url());
    assert_eq!(events[1]["issuer"], other.url());
    assert_eq!(events[1]["user"], "alice");
}

#[tokio::test]
async fn an_issuer_that_is_removed_takes_its_people_and_their_sessions_along() {
    let issuer = issuer();
    let (hub, _serving) = hub_with(&table(&issuer, "corp", "")).await;
    hub.let_alice_in().await;
    let token = issuer.id_token("alice").unwrap();
    let person = hub.try_connect(&token).await.unwrap();
    let mut session = opened(&person).await;
    let other = hub.connect("alice").await;
    let mut stays = opened(&other).await;

    let state = Path::new("/nonexistent");
    let people = [("admin", "ops"), ("alice", "dev")];
    // Rules that only accept more, and another mapping that gives the same login, end nothing.
    let more = "audiences = [\"ci\"]\n[issuers.login]\nexceptions = { \"alice\" = \"alice\" }";
    hub.reload(&configuration(
        state,
        &people,
        &table(&issuer, "corp", more),
    ));
    session.write_all(b"x").await.unwrap();
    assert_eq!(session.read_u8().await.unwrap(), b'x');

    let begun = tokio::time::Instant::now();
    hub.reload(&configuration(state, &people, ""));
    let (code, words) = reset_with_words(&mut session).await;
    assert_eq!(code, ResetCode::Revoked);
    assert!(words.contains("log in again"), "{words}");
    assert_eq!(person.end().await, LinkEnd::Revoked);
    assert!(begun.elapsed() < SOON);
    assert_eq!(hub.audit.first("session.closed").await["how"], "revoked");
    hub.whoami(&token).await.expect(StatusCode::UNAUTHORIZED);
    settled(&hub).await;
    stays.write_all(b"x").await.unwrap();
    assert_eq!(stays.read_u8().await.unwrap(), b'x');
}

#[tokio::test]
async fn people_are_judged_anew_when_the_rules_of_their_issuer_change() {
    let issuer = issuer();
    let (hub, _serving) = hub_with(&table(&issuer, "corp", "")).await;
    hub.let_alice_in().await;
    let state = Path::new("/nonexistent");
    let people = [("admin", "ops")];
    for (before, after) in [
        ("", "user-claim = \"email\""),
        ("", "home = false"),
        ("", "algorithms = [\"ES256\"]"),
        ("", "[issuers.login]\nclaim = \"nickname\""),
        ("audiences = [\"ci\"]", ""),
    ] {
        hub.reload(&configuration(
            state,
            &people,
            &table(&issuer, "corp", before),
        ));
        let token = issuer.id_token("alice").unwrap();
        let person = hub.try_connect(&token).await.unwrap();
        let mut session = opened(&person).await;
        hub.reload(&configuration(
            state,
            &people,
            &table(&issuer, "corp", after),
        ));
        let ended = timeout(SOON, session.read_u8()).await;
        assert!(ended.expect(after).is_err(), "{after}");
    }
}

#[tokio::test]
async fn an_issuer_with_an_authority_of_its_own_is_believed_with_its_file_and_only_then() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let certificate = file("cert.pem", made.cert.pem());
    let key = file("key.pem", made.signing_key.serialize_pem());
    let options = IssuerOptions {
        tls: Some((certificate.clone(), key)),
        ..IssuerOptions::default()
    };
    let issuer = Issuer::start(options).unwrap();
    assert!(issuer.url().starts_with("https://"));
    let token = issuer.id_token("alice").unwrap();

    let hub = Hub::with(&table(&issuer, "corp", "")).await;
    hub.whoami(&token)
        .await
        .expect(StatusCode::SERVICE_UNAVAILABLE);
    let ready = hub.operators("/ready").await;
    assert!(ready.contains("issuer corp: "), "{ready}");
    assert!(ready.contains("certificate"), "{ready}");

    // Read on SIGHUP as well.
    let more = format!("ca-file = \"{}\"", certificate.display());
    let with_file = configuration(
        Path::new("/nonexistent"),
        &[("admin", "ops")],
        &table(&issuer, "corp", &more),
    );
    hub.reload(&with_file);
    settled(&hub).await;
    hub.whoami(&token).await.expect(StatusCode::OK);
    let discovery = hub
        .ask_with(None, http::Method::GET, "/.well-known/kedge", None)
        .await
        .json();
    let told = &discovery["authentication"]["issuers"][0]["certificateAuthorities"];
    assert_eq!(told, &made.cert.pem());
}
