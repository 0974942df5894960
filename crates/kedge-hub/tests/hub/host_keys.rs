//! Host keys are pinned, and only an operator changes them.

use http::StatusCode;
use kedge_api::{ServerName, ServerPhase};
use serde_json::json;

use crate::harness::{Agent, Hub, host_keys};

fn accept(keys: &[u8]) -> serde_json::Value {
    let fingerprints: Vec<_> = host_keys(keys)
        .iter()
        .map(|key| key.fingerprint().to_string())
        .collect();
    json!({ "accept": fingerprints })
}

#[tokio::test]
async fn changed_host_keys_block_until_an_administrator_accepts_them() {
    let hub = Hub::start().await;
    hub.let_alice_in().await;
    let agent = hub.agent("web01").await;
    let _serving = agent.serve(&hub).await;
    hub.phase("web01", ServerPhase::Online).await;
    agent
        .report(&hub, &host_keys(&[1]))
        .await
        .expect(StatusCode::OK);

    agent
        .report(&hub, &host_keys(&[2, 3]))
        .await
        .error("Conflict");
    let server = hub.server("web01").await;
    assert_eq!(server.status.phase, ServerPhase::Blocked);
    assert_eq!(
        server.spec.host_keys,
        host_keys(&[1]),
        "an agent cannot change what is pinned"
    );
    let event = hub.audit.first("hostkeys.changed").await;
    assert!(event["fingerprints"].contains("SHA256:"), "{event:?}");
    agent
        .report(&hub, &host_keys(&[2, 3]))
        .await
        .error("Conflict");
    assert_eq!(
        hub.audit.events("hostkeys.changed").len(),
        1,
        "no news, no event"
    );

    let person = hub.connect("alice").await;
    let error = person.open("web01", None).opened().await.unwrap_err();
    assert!(error.to_string().contains("host key changed"), "{error}");
    let status = hub
        .get("alice", "/servers/web01/access")
        .await
        .error("Conflict");
    assert!(
        status.message.contains("host keys of web01 changed"),
        "{}",
        status.message
    );

    hub.post("alice", "/servers/web01/hostkeys", accept(&[2, 3]))
        .await
        .error("Forbidden");
    hub.post("admin", "/servers/web01/hostkeys", accept(&[9]))
        .await
        .error("Invalid");
    hub.post("admin", "/servers/web01/hostkeys", accept(&[]))
        .await
        .error("Invalid");
    hub.post("admin", "/servers/web01/hostkeys", accept(&[2]))
        .await
        .expect(StatusCode::OK);
    assert_eq!(
        hub.server("web01").await.status.phase,
        ServerPhase::Blocked,
        "one of the two is still a stranger"
    );
    hub.post("admin", "/servers/web01/hostkeys", accept(&[2, 3]))
        .await
        .expect(StatusCode::OK);
    assert_eq!(hub.server("web01").await.status.phase, ServerPhase::Online);
    assert_eq!(hub.audit.events("hostkeys.accepted").len(), 2);
    person.open("web01", None).opened().await.unwrap();
    hub.post("admin", "/servers/web01/hostkeys", accept(&[2, 3]))
        .await
        .error("Conflict");
}

#[tokio::test]
async fn keys_that_come_back_are_the_pinned_ones_again() {
    let hub = Hub::start().await;
    let agent = hub.agent("web01").await;
    let _peer = agent.dial(&hub).await;
    agent.report(&hub, &host_keys(&[2])).await.error("Conflict");
    agent.report(&hub, &host_keys(&[])).await.error("Conflict");
    agent
        .report(&hub, &host_keys(&[1]))
        .await
        .expect(StatusCode::OK);
    hub.phase("web01", ServerPhase::Online).await;
}

#[tokio::test]
async fn a_blocked_server_stays_blocked_over_a_restart() {
    let hub = Hub::start().await;
    let agent = hub.agent("web01").await;
    agent.report(&hub, &host_keys(&[2])).await.error("Conflict");
    let hub = hub.restart().await;
    assert_eq!(hub.server("web01").await.status.phase, ServerPhase::Blocked);
}

#[tokio::test]
async fn an_agent_speaks_for_its_own_server_only() {
    let hub = Hub::start().await;
    let agent = hub.agent("web01").await;
    hub.agent("web02").await;
    let other: ServerName = "web02".parse().unwrap();
    agent
        .report_as(&hub, &other, &host_keys(&[1]))
        .await
        .error("Forbidden");
    Agent::new("web02")
        .report(&hub, &host_keys(&[1]))
        .await
        .error("Unauthorized");
}

#[tokio::test]
async fn without_a_host_key_there_is_no_session_until_the_first_report() {
    let hub = Hub::start().await;
    hub.let_alice_in().await;
    let token = hub.join_token(json!({})).await;
    let mut agent = Agent::new("web01");
    agent.host_keys = host_keys(&[]);
    agent.enrol(&hub, &token).await.expect(StatusCode::CREATED);
    let _serving = agent.serve(&hub).await;
    let person = hub.connect("alice").await;
    let error = person.open("web01", None).opened().await.unwrap_err();
    assert!(
        error.to_string().contains("no host key of web01 is known"),
        "{error}"
    );
    agent
        .report(&hub, &host_keys(&[1]))
        .await
        .expect(StatusCode::OK);
    assert_eq!(hub.server("web01").await.spec.host_keys, host_keys(&[1]));
    person.open("web01", None).opened().await.unwrap();
}
