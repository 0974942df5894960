//! The end of a hub, in order.

use std::time::Duration;

use kedge_api::ServerPhase;
use kedge_proto::ResetCode;
use kedge_service::{Stage, StopReport};
use kedge_tunnel::{RefuseCode, StreamError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{Hub, SOON};

const CLEAN: StopReport = StopReport {
    cut_sessions: 0,
    left_tasks: 0,
};

#[tokio::test]
async fn an_idle_hub_stops_at_once_and_leaves_nothing() {
    let hub = Hub::start().await;
    let (report, _) = timeout(SOON, hub.stop()).await.unwrap();
    assert_eq!(report, CLEAN);
}

#[tokio::test]
async fn a_session_may_finish_while_the_hub_drains_and_nothing_new_begins() {
    let hub = Hub::with("shutdown = { drain-seconds = 60, goaway-spread-seconds = 3 }").await;
    let agent = hub.agent("web01").await;
    let serving = agent.serve(&hub).await;
    hub.phase("web01", ServerPhase::Online).await;
    hub.let_alice_in().await;
    let person = hub.connect("alice").await;
    let mut stream = person.open("web01", None);
    stream.opened().await.unwrap();

    hub.shutdown.begin();
    hub.shutdown.reached(Stage::Drain).await;
    let delay = timeout(SOON, serving.peer.link.received_goaway())
        .await
        .unwrap();
    assert!(delay <= Duration::from_secs(3), "{delay:?}");
    timeout(SOON, person.link.received_goaway()).await.unwrap();
    TcpStream::connect(hub.address).await.unwrap_err();
    match person.open("web01", None).opened().await {
        Err(StreamError::Refused { code, .. }) => assert_eq!(code, RefuseCode::Draining),
        other => panic!("{other:?}"),
    }
    stream.write_all(b"still here").await.unwrap();
    let mut echo = [0; 10];
    stream.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"still here");
    let mut ready = TcpStream::connect(hub.admin_address).await.unwrap();
    ready
        .write_all(b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    ready.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");

    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    drop(stream);
    let report = timeout(SOON, hub.ended()).await.unwrap();
    assert_eq!(report, CLEAN);
}

#[tokio::test]
async fn what_does_not_finish_is_cut_with_a_reason_and_written_down() {
    let hub = Hub::with("shutdown = { drain-seconds = 0 }").await;
    let agent = hub.agent("web01").await;
    let serving = agent.serve(&hub).await;
    hub.phase("web01", ServerPhase::Online).await;
    hub.let_alice_in().await;
    let person = hub.connect("alice").await;
    let mut stream = person.open("web01", None);
    stream.opened().await.unwrap();
    let audit = hub.audit.clone();
    let app = hub.app.clone();
    hub.shutdown.begin();
    let error = timeout(SOON, stream.read_u8()).await.unwrap().unwrap_err();
    let reason = error
        .get_ref()
        .and_then(|source| source.downcast_ref::<StreamError>())
        .cloned();
    assert!(
        matches!(
            reason,
            Some(StreamError::Reset {
                code: ResetCode::ShuttingDown,
                ..
            })
        ),
        "{reason:?}"
    );
    let report = timeout(SOON, hub.ended()).await.unwrap();
    assert_eq!(
        report,
        StopReport {
            cut_sessions: 1,
            left_tasks: 0
        }
    );
    assert_eq!(audit.first("session.closed").await["how"], "shutting-down");
    let server = app.store.get::<kedge_api::Server>("web01").await.unwrap();
    assert_eq!(
        server.status.phase,
        ServerPhase::Offline,
        "nobody is connected to a hub that is gone"
    );
    serving.peer.end().await;
    person.end().await;
}

#[tokio::test]
async fn peers_who_do_not_listen_hold_nothing_up() {
    let hub = Hub::with("shutdown = { drain-seconds = 0 }").await;
    let agent = hub.agent("web01").await;
    hub.let_alice_in().await;
    // Two WebSockets that nobody drives: whatever the hub sends is never read.
    let mut headers = http::HeaderMap::new();
    let bearer = format!("Bearer {}", agent.assertion(&hub));
    headers.insert("authorization", bearer.parse().unwrap());
    let dialer = hub.dialer();
    let _deaf_agent = dialer
        .websocket(kedge_api::AGENT_PATH, headers.clone())
        .await
        .unwrap();
    hub.phase("web01", ServerPhase::Online).await;
    let bearer = format!("Bearer {}", hub.token("alice"));
    headers.insert("authorization", bearer.parse().unwrap());
    let _deaf_person = dialer
        .websocket(kedge_api::CONNECT_PATH, headers)
        .await
        .unwrap();
    let app = hub.app.clone();
    let (report, _) = timeout(SOON, hub.stop()).await.unwrap();
    assert_eq!(report, CLEAN);
    let server = app.store.get::<kedge_api::Server>("web01").await.unwrap();
    assert_eq!(server.status.phase, ServerPhase::Offline);
}
