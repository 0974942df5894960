//! Watch streams: what happens, as it happens, to whom may see it.

use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::harness::{API, Hub, SOON, configuration, policy};

type Body = kedge_tunnel::ResponseBody<kedge_tunnel::HubStream>;

pub(crate) struct Watch {
    body: Body,
    buffer: Vec<u8>,
}

impl Watch {
    pub(crate) async fn open(hub: &Hub, who: &str, path: &str) -> Self {
        Self::open_as(hub, hub.token(who), path).await
    }

    pub(crate) async fn open_as(hub: &Hub, token: &str, path: &str) -> Self {
        let request = Request::builder()
            .method(Method::GET)
            .uri(format!("{API}{path}"))
            .header("authorization", format!("Bearer {token}"))
            .body(bytes::Bytes::new())
            .unwrap();
        let response = hub.dialer().request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        Self {
            body: response.into_body(),
            buffer: Vec::new(),
        }
    }

    /// The next event; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<_> = self.buffer.drain(..=end).collect();
                // Bookmarks come when the store pleases, and empty lines keep the connection.
                let event: Value = serde_json::from_slice(&line).unwrap_or_default();
                if !event.is_null() && event["type"] != "BOOKMARK" {
                    return Some(event);
                }
                continue;
            }
            let frame = timeout(SOON, self.body.frame()).await.expect("no event")?;
            self.buffer
                .extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
    }

    pub(crate) async fn expect(&mut self, kind: &str, name: &str) -> Value {
        let event = self.next().await.expect("the watch ended");
        assert_eq!(event["type"], kind, "{event}");
        assert_eq!(event["object"]["metadata"]["name"], name, "{event}");
        event
    }
}

fn allow(user: &str, server: &str) -> Value {
    json!({ "subjects": {"users": [user]}, "servers": {"names": [server]}, "logins": ["{login}"] })
}

#[tokio::test]
async fn a_watch_begins_with_what_is_there_and_goes_on_with_what_happens() {
    let hub = Hub::start().await;
    hub.policy("a", allow("alice", "*")).await;
    let mut watch = Watch::open(&hub, "admin", "/accesspolicies?watch=1").await;
    watch.expect("ADDED", "a").await;
    hub.policy("b", allow("alice", "*")).await;
    let added = watch.expect("ADDED", "b").await;
    let mut object = added["object"].clone();
    object["spec"]["logins"] = json!(["deploy"]);
    hub.put("admin", "/accesspolicies/b", object)
        .await
        .expect(StatusCode::OK);
    watch.expect("MODIFIED", "b").await;
    hub.delete("admin", "/accesspolicies/b")
        .await
        .expect(StatusCode::OK);
    watch.expect("DELETED", "b").await;
}

#[tokio::test]
async fn a_watch_from_a_version_misses_nothing_after_it() {
    let hub = Hub::start().await;
    let list = hub.get("admin", "/accesspolicies").await.json();
    let version = list["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .to_owned();
    hub.policy("a", allow("alice", "*")).await;
    hub.policy("b", allow("alice", "*")).await;
    let path = format!("/accesspolicies?watch=true&resourceVersion={version}");
    let mut watch = Watch::open(&hub, "admin", &path).await;
    // Version 0 is "whatever you have", and an empty store is at it; both begin with everything.
    watch.expect("ADDED", "a").await;
    watch.expect("ADDED", "b").await;
    let gone = hub
        .get("admin", "/accesspolicies?watch=1&resourceVersion=nonsense")
        .await;
    gone.error("BadRequest");
}

#[tokio::test]
async fn people_watch_what_they_may_reach_and_lose_it_with_their_policy() {
    let hub = Hub::start().await;
    hub.agent("db01").await;
    hub.agent("web01").await;
    hub.policy("p", allow("alice", "web01")).await;
    // The policy itself is a change that ends filtered watches; let it pass first.
    let mut epoch = hub.app.epoch.subscribe();
    let _ = timeout(std::time::Duration::from_secs(1), epoch.changed()).await;

    let mut watch = Watch::open(&hub, "alice", "/servers?watch=1").await;
    watch.expect("ADDED", "web01").await;
    for name in ["db01", "web01"] {
        let mut server = hub.get("admin", &format!("/servers/{name}")).await.json();
        server["metadata"]["annotations"] = json!({ "note": "x" });
        hub.put("admin", &format!("/servers/{name}"), server)
            .await
            .expect(StatusCode::OK);
    }
    watch.expect("MODIFIED", "web01").await;
    hub.delete("admin", "/accesspolicies/p")
        .await
        .expect(StatusCode::OK);
    let event = watch.next().await.expect("the watch ended without a word");
    assert_eq!(event["type"], "ERROR", "{event}");
    assert_eq!(event["object"]["reason"], "Expired", "{event}");
    assert_eq!(watch.next().await, None);
    hub.post("admin", "/accesspolicies", policy("x", allow("bob", "*")))
        .await
        .expect(StatusCode::CREATED);
}

#[tokio::test]
async fn what_goes_out_of_sight_is_told_without_what_it_has_become() {
    let hub = Hub::start().await;
    hub.agent("web01").await;
    let by_label = json!({
        "subjects": {"users": ["alice"]}, "servers": {"matchLabels": {"team": "red"}}, "logins": ["{login}"],
    });
    hub.policy("p", by_label).await;
    let label = async |labels: Value| {
        let mut server = hub.get("admin", "/servers/web01").await.json();
        server["metadata"]["labels"] = labels;
        hub.put("admin", "/servers/web01", server)
            .await
            .expect(StatusCode::OK);
    };
    let mut epoch = hub.app.epoch.subscribe();
    label(json!({ "team": "red" })).await;
    let _ = timeout(std::time::Duration::from_secs(1), epoch.changed()).await;
    for path in [
        "/servers?watch=1",
        "/servers?watch=1&labelSelector=team%3Dred",
    ] {
        let mut watch = Watch::open(&hub, "alice", path).await;
        watch.expect("ADDED", "web01").await;
        label(json!({ "team": "blue", "project": "unannounced" })).await;
        // The change that hides it ends the watch as well, soon after.
        while let Some(event) = watch.next().await {
            let text = event.to_string();
            assert!(!text.contains("unannounced"), "{text}");
            let object = &event["object"];
            assert!(object.pointer("/spec/agentKey").is_none(), "{text}");
            assert!(
                event["type"] == "DELETED" || event["type"] == "ERROR",
                "{text}"
            );
        }
        label(json!({ "team": "red" })).await;
        let _ = timeout(std::time::Duration::from_secs(1), epoch.changed()).await;
    }
}

#[tokio::test]
async fn an_administrator_who_is_none_any_more_sees_no_more() {
    let hub = Hub::start().await;
    let mut watch = Watch::open(&hub, "admin", "/jointokens?watch=1").await;
    hub.reload(&configuration(
        std::path::Path::new("/nonexistent"),
        &[("admin", "guests")],
        "",
    ));
    let event = watch.next().await.unwrap();
    assert_eq!(event["type"], "ERROR", "{event}");
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn watches_end_when_the_hub_stops_and_when_their_reader_goes() {
    let hub = Hub::start().await;
    let at_rest = async || {
        let its_own = [
            "admin",
            "history",
            "history-pruning",
            "https",
            "issuers",
            "presence",
            "watcher",
        ]
        .len();
        (hub.shutdown.tasks().count() == its_own).then_some(())
    };
    crate::harness::eventually("the hub's own tasks", at_rest).await;
    let watch = Watch::open(&hub, "admin", "/servers?watch=1").await;
    drop(watch);
    crate::harness::eventually("the watch to be gone", at_rest).await;
    let mut watch = Watch::open(&hub, "admin", "/servers?watch=1").await;
    hub.shutdown.begin();
    assert_eq!(watch.next().await, None);
    let report = timeout(SOON, hub.ended()).await.unwrap();
    assert_eq!(report.left_tasks, 0);
}
