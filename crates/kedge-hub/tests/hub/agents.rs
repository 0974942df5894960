//! Agents' tunnels: who may open one, which one counts, and how their coming and going shows.

use std::time::Duration;

use kedge_api::{AgentKey, ServerPhase, assertion};
use kedge_tunnel::{CloseReason, DialError, LinkEnd};
use serde_json::json;

use crate::harness::{Agent, Hub, eventually};

async fn refusal(hub: &Hub, token: &str) -> u16 {
    match hub.link(kedge_api::AGENT_PATH, token).await {
        Err(DialError::Refused { status, .. }) => status.as_u16(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("a tunnel was opened"),
    }
}

#[tokio::test]
async fn a_server_is_online_while_its_tunnel_is_up_and_offline_at_once_when_it_closes() {
    let hub = Hub::start().await;
    let agent = hub.agent("web01").await;
    assert_eq!(hub.server("web01").await.status.phase, ServerPhase::Pending);
    let peer = agent.dial(&hub).await;
    let server = hub.phase("web01", ServerPhase::Online).await;
    assert!(server.is_connected() && server.status.connected_since.is_some());
    assert_eq!(server.status.remote_address.unwrap().as_str(), "127.0.0.1");
    assert_eq!(server.status.protocol.unwrap().as_str(), "kedge.v1");
    peer.link.close(CloseReason::Finished);
    peer.end().await;
    let server = hub.phase("web01", ServerPhase::Offline).await;
    assert!(!server.is_connected() && server.status.last_seen.is_some());
}

#[tokio::test]
async fn a_broken_tunnel_shows() {
    let hub = Hub::start().await;
    let agent = hub.agent("web01").await;
    let peer = agent.dial(&hub).await;
    hub.phase("web01", ServerPhase::Online).await;
    peer.break_off();
    hub.phase("web01", ServerPhase::Offline).await;
}

#[tokio::test]
async fn the_newer_tunnel_counts_and_the_older_ones_end_does_not_hurt_it() {
    let hub = Hub::start().await;
    let agent = hub.agent("web01").await;
    let mut older = agent.dial(&hub).await;
    hub.phase("web01", ServerPhase::Online).await;
    for _ in 0..5 {
        let newer = agent.dial(&hub).await;
        assert_eq!(older.end().await, LinkEnd::Replaced);
        assert_eq!(hub.app.tunnels.len(), 1);
        older = newer;
    }
    hub.phase("web01", ServerPhase::Online).await;
    assert_eq!(hub.app.tunnels.len(), 1);
    older.break_off();
    hub.phase("web01", ServerPhase::Offline).await;
}

#[tokio::test]
async fn only_the_servers_own_key_opens_its_tunnel() {
    let hub = Hub::start().await;
    let agent = hub.agent("web01").await;
    hub.agent("web02").await;

    let mut impostor = Agent::new("web01");
    assert_eq!(
        refusal(&hub, &impostor.assertion(&hub)).await,
        401,
        "another key"
    );
    impostor.name = "nope".parse().unwrap();
    assert_eq!(
        refusal(&hub, &impostor.assertion(&hub)).await,
        401,
        "an unknown server"
    );
    let once = agent.assertion(&hub);
    let peer = hub.link(kedge_api::AGENT_PATH, &once).await.unwrap();
    assert_eq!(refusal(&hub, &once).await, 401, "used before");
    let recorded = agent.assertion(&hub);
    hub.pass(Duration::from_secs(600));
    assert_eq!(refusal(&hub, &recorded).await, 401, "expired");
    assert_eq!(
        refusal(&hub, hub.token("admin")).await,
        401,
        "a person's token"
    );
    assert_eq!(refusal(&hub, "garbage").await, 401);

    let other = Hub::start().await;
    assert_eq!(
        refusal(&hub, &agent.assertion(&other)).await,
        401,
        "for another hub"
    );
    let seed = AgentKey::from_seed(&[3; 32]).unwrap();
    let claims = assertion::Claims {
        server: "web01".parse().unwrap(),
        audience: hub.app.id.clone(),
        nonce: kedge_api::Nonce::from_bytes([1; 16]),
        enrol: None,
    };
    assert_eq!(
        refusal(&hub, &assertion::sign(&seed, &claims, hub.now())).await,
        401
    );
    assert!(hub.audit.events("authentication.refused").len() >= 6);
    drop(peer);
}

#[tokio::test]
async fn a_server_that_is_deleted_loses_its_tunnel_and_its_name_is_free() {
    let hub = Hub::start().await;
    let agent = hub.agent("web01").await;
    let peer = agent.dial(&hub).await;
    hub.phase("web01", ServerPhase::Online).await;
    hub.delete("admin", "/servers/web01")
        .await
        .expect(http::StatusCode::OK);
    assert_eq!(peer.end().await, LinkEnd::Revoked);
    assert_eq!(refusal(&hub, &agent.assertion(&hub)).await, 401);
    let heir = hub.agent("web01").await;
    let _peer = heir.dial(&hub).await;
    hub.phase("web01", ServerPhase::Online).await;
}

#[tokio::test]
async fn nobody_is_online_at_a_hub_that_was_just_started() {
    let hub = Hub::start().await;
    let agent = hub.agent("web01").await;
    hub.app
        .store
        .modify_status::<kedge_api::Server>("web01", |server| {
            // What a hub leaves that is killed while the agent is connected.
            server.status.phase = ServerPhase::Online;
            server.status.last_seen = Some(hub.now());
            kedge_api::meta::set_condition(
                &mut server.status.conditions,
                kedge_api::resources::CONNECTED,
                kedge_api::ConditionStatus::True,
                "TunnelUp",
                "",
                hub.now(),
            )
        })
        .await
        .unwrap();
    let hub = hub.restart().await;
    assert_eq!(hub.server("web01").await.status.phase, ServerPhase::Offline);
    let _peer = agent.dial(&hub).await;
    hub.phase("web01", ServerPhase::Online).await;
}

#[tokio::test]
async fn a_flapping_agent_does_not_turn_the_store_into_a_metrics_engine() {
    let hub = Hub::start().await;
    let agent = hub.agent("web01").await;
    for _ in 0..30 {
        let peer = agent.dial(&hub).await;
        peer.break_off();
        eventually("the tunnel to be gone", async || {
            hub.app.tunnels.is_empty().then_some(())
        })
        .await;
    }
    let version = hub
        .server("web01")
        .await
        .metadata
        .resource_version
        .unwrap()
        .value();
    assert!(
        version < 40,
        "{version} writes in all, sixty changes of state"
    );
}

#[tokio::test]
async fn agents_open_no_streams() {
    let hub = Hub::start().await;
    let agent = hub.agent("web01").await;
    hub.let_alice_in().await;
    let peer = agent.dial(&hub).await;
    let mut stream = peer.open("web01", None);
    let error = stream.opened().await.unwrap_err();
    assert!(
        error.to_string().contains("agents open no streams"),
        "{error}"
    );
    assert_eq!(
        hub.get("admin", "/sessions").await.json()["items"],
        json!([])
    );
}
