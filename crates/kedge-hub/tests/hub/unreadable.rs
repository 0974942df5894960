//! A policy in the store that this version cannot read, as an older or a newer one may leave behind.

use http::{Method, StatusCode};
use kedge_api::{AccessPolicy, ServerPhase};
use kedge_store::{Kind, StoreError, Write};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{API, Hub, eventually, policy};
use crate::sessions::opened;

/// Puts it past all checks, as another version would have.
async fn put(hub: &Hub, spec: Value) {
    let kind = Kind::of::<AccessPolicy>();
    let written = hub
        .app
        .store
        .write(Write::Create(kind, policy("strange", spec)))
        .await;
    written.unwrap();
}

fn strange() -> Value {
    json!({
        "effect": "Deny", "subjects": {"users": ["*"]}, "servers": {"names": ["*"]}, "logins": ["*"],
        "constraints": {"moonPhase": "new"},
    })
}

#[tokio::test]
async fn nobody_is_let_in_and_administrators_can_remove_it() {
    let hub = Hub::start().await;
    hub.let_alice_in().await;
    hub.agent("web01").await;
    hub.get("alice", "/servers/web01/access")
        .await
        .expect(StatusCode::OK);
    put(&hub, strange()).await;

    // It may be the one that says no, so nothing is decided without it.
    for path in ["/servers/web01/access", "/servers", "/whoami", "/history"] {
        hub.get("alice", path)
            .await
            .expect(StatusCode::INTERNAL_SERVER_ERROR);
    }
    hub.delete("alice", "/accesspolicies/strange")
        .await
        .expect(StatusCode::INTERNAL_SERVER_ERROR);
    // Not for administrators either, where policies decide.
    hub.get("admin", "/servers/web01/access")
        .await
        .expect(StatusCode::INTERNAL_SERVER_ERROR);
    let question = json!({"user": "alice", "server": "web01"});
    hub.post("admin", "/explanations", question)
        .await
        .expect(StatusCode::INTERNAL_SERVER_ERROR);
    for path in ["/servers", "/whoami", "/history", "/sessions"] {
        hub.get("admin", path).await.expect(StatusCode::OK);
    }

    let last = hub
        .delete("admin", "/accesspolicies/strange")
        .await
        .expect(StatusCode::OK);
    assert_eq!(last.json()["metadata"]["name"], "strange");
    let event = hub.audit.first("object.deleted").await;
    assert_eq!(event["name"], "strange");
    hub.get("alice", "/servers/web01/access")
        .await
        .expect(StatusCode::OK);
}

#[tokio::test]
async fn a_hub_that_finds_one_at_its_start_can_be_repaired() {
    let hub = Hub::start().await;
    hub.let_alice_in().await;
    put(&hub, strange()).await;
    let hub = hub.restart().await;
    hub.get("alice", "/servers")
        .await
        .expect(StatusCode::INTERNAL_SERVER_ERROR);
    eventually("a line in /ready", async || {
        let notes = hub.app.readiness.notes();
        notes
            .iter()
            .any(|line| line.contains("`strange`"))
            .then_some(())
    })
    .await;
    let path = format!("{API}/accesspolicies/strange");
    hub.ask("admin", Method::DELETE, &path, None)
        .await
        .expect(StatusCode::OK);
    hub.get("alice", "/servers").await.expect(StatusCode::OK);
    eventually("nothing to note", async || {
        hub.app.readiness.notes().is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn changes_are_noticed_again_once_it_is_gone() {
    let hub = Hub::start().await;
    hub.let_alice_in().await;
    let agent = hub.agent("web01").await;
    let _serving = agent.serve(&hub).await;
    hub.phase("web01", ServerPhase::Online).await;
    let person = hub.connect("alice").await;
    let mut session = opened(&person).await;
    put(&hub, strange()).await;
    let unreadable = hub.app.policies.current(&*hub.app.store).await;
    assert!(matches!(unreadable, Err(StoreError::Unreadable { .. })));
    session.write_all(b"x").await.unwrap();
    assert_eq!(session.read_u8().await.unwrap(), b'x');

    hub.delete("admin", "/accesspolicies/strange")
        .await
        .expect(StatusCode::OK);
    hub.delete("admin", "/accesspolicies/alice-everywhere")
        .await
        .expect(StatusCode::OK);
    eventually("the session to end", async || {
        hub.app.sessions.list(|_| true).is_empty().then_some(())
    })
    .await;
}
