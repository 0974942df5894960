//! Objects in Kubernetes' shape, and who sees which.

use http::{Method, StatusCode};
use serde_json::json;

use crate::harness::{API, Hub, policy};

fn allow(users: &[&str], servers: &[&str]) -> serde_json::Value {
    json!({ "subjects": {"users": users}, "servers": {"names": servers}, "logins": ["{login}"] })
}

#[tokio::test]
async fn a_policy_is_made_read_changed_listed_and_removed() {
    let hub = Hub::start().await;
    let made = hub
        .post(
            "admin",
            "/accesspolicies",
            policy("p", allow(&["alice"], &["*"])),
        )
        .await;
    let mut object = made.expect(StatusCode::CREATED).json();
    assert_eq!(object["metadata"]["generation"], 1);
    assert!(
        object["metadata"]["uid"].is_string()
            && object["metadata"]["creationTimestamp"].is_string()
    );

    object["spec"]["logins"] = json!(["deploy"]);
    let changed = hub
        .put("admin", "/accesspolicies/p", object.clone())
        .await
        .expect(StatusCode::OK)
        .json();
    assert_eq!(changed["metadata"]["generation"], 2);
    hub.put("admin", "/accesspolicies/p", object)
        .await
        .error("Conflict");

    let list = hub
        .get("admin", "/accesspolicies")
        .await
        .expect(StatusCode::OK)
        .json();
    assert_eq!(list["kind"], "AccessPolicyList");
    assert_eq!(list["items"][0]["spec"]["logins"][0], "deploy");
    hub.post(
        "admin",
        "/accesspolicies",
        policy("p", allow(&["bob"], &["*"])),
    )
    .await
    .error("AlreadyExists");
    hub.delete("admin", "/accesspolicies/p")
        .await
        .expect(StatusCode::OK);
    hub.get("admin", "/accesspolicies/p")
        .await
        .error("NotFound");
    hub.delete("admin", "/accesspolicies/p")
        .await
        .error("NotFound");
}

#[tokio::test]
async fn bad_writes_name_the_field() {
    let hub = Hub::start().await;
    let mut unknown = policy("p", allow(&["alice"], &["*"]));
    unknown["spec"]["constraints"] = json!({ "maxSesionSeconds": 3 });
    let status = hub
        .post("admin", "/accesspolicies", unknown)
        .await
        .error("Invalid");
    assert!(
        status.message.contains("spec.constraints"),
        "{}",
        status.message
    );
    assert!(
        status.message.contains("maxSesionSeconds"),
        "{}",
        status.message
    );

    let nobody = policy("p", allow(&[], &["*"]));
    let status = hub
        .post("admin", "/accesspolicies", nobody)
        .await
        .error("Invalid");
    assert_eq!(status.details.unwrap().causes[0].field, "spec.subjects");

    let path = format!("{API}/accesspolicies");
    let bearer = format!("Bearer {}", hub.token("admin"));
    let reply = hub
        .ask_with(Some(&bearer), Method::POST, &path, Some(json!("no object")))
        .await;
    reply.error("BadRequest");
    let mut elsewhere = policy("q", allow(&["alice"], &["*"]));
    hub.post("admin", "/accesspolicies", elsewhere.clone())
        .await
        .expect(StatusCode::CREATED);
    elsewhere["metadata"]["name"] = json!("r");
    hub.put("admin", "/accesspolicies/q", elsewhere)
        .await
        .error("BadRequest");
}

#[tokio::test]
async fn methods_that_are_not_offered_and_paths_that_are_not_there_say_so() {
    let hub = Hub::start().await;
    let path = format!("{API}/accesspolicies/p");
    hub.ask("admin", Method::PATCH, &path, Some(json!({})))
        .await
        .error("MethodNotAllowed");
    hub.ask(
        "admin",
        Method::PUT,
        &format!("{API}/jointokens/aaaaaaaaaa"),
        Some(json!({})),
    )
    .await
    .error("MethodNotAllowed");
    hub.ask("admin", Method::GET, "/nothing", None)
        .await
        .error("NotFound");
    hub.ask("admin", Method::GET, &format!("{API}/pods"), None)
        .await
        .error("NotFound");
    for name in [
        "-oProxyCommand=x",
        "..%2Fx",
        "a%0Ab",
        "%ff",
        "UPPER",
        &"x".repeat(300),
    ] {
        let reply = hub.get("admin", &format!("/servers/{name}")).await;
        reply.error("BadRequest");
    }
}

#[tokio::test]
async fn people_see_the_servers_they_may_reach_and_change_nothing() {
    let hub = Hub::start().await;
    for name in ["db01", "web01"] {
        hub.agent(name).await;
    }
    hub.policy("p", allow(&["alice"], &["web01"])).await;

    let seen = hub
        .get("alice", "/servers")
        .await
        .expect(StatusCode::OK)
        .json();
    assert_eq!(seen["items"].as_array().unwrap().len(), 1);
    assert_eq!(seen["items"][0]["metadata"]["name"], "web01");
    hub.get("alice", "/servers/web01")
        .await
        .expect(StatusCode::OK);
    let hidden = hub
        .get("alice", "/servers/db01")
        .await
        .error("NotFound")
        .message;
    let absent = hub
        .get("alice", "/servers/nope")
        .await
        .error("NotFound")
        .message;
    assert_eq!(
        hidden.replace("db01", "X"),
        absent.replace("nope", "X"),
        "the same words for both"
    );
    assert_eq!(
        hub.get("admin", "/servers").await.json()["items"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(
        hub.get("bob", "/servers").await.json()["items"]
            .as_array()
            .unwrap()
            .len(),
        0
    );

    for (method, path) in [
        (Method::GET, "/accesspolicies"),
        (Method::GET, "/accesspolicies/p"),
        (Method::GET, "/jointokens"),
        (Method::POST, "/accesspolicies"),
        (Method::POST, "/jointokens"),
        (Method::POST, "/servers"),
        (Method::POST, "/servers/web01/hostkeys"),
        (Method::PUT, "/servers/web01"),
        (Method::DELETE, "/servers/web01"),
        (Method::DELETE, "/accesspolicies/p"),
    ] {
        let reply = hub
            .ask(
                "alice",
                method.clone(),
                &format!("{API}{path}"),
                Some(json!({})),
            )
            .await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{method} {path}");
        reply.error("Forbidden");
    }
    hub.get("alice", "/servers/web01")
        .await
        .expect(StatusCode::OK);
}

#[tokio::test]
async fn labels_select() {
    let hub = Hub::start().await;
    for (name, env) in [("a", "prod"), ("b", "test")] {
        hub.agent(name).await;
        let mut server = hub.get("admin", &format!("/servers/{name}")).await.json();
        server["metadata"]["labels"] = json!({ "env": env });
        hub.put("admin", &format!("/servers/{name}"), server)
            .await
            .expect(StatusCode::OK);
    }
    let names = async |selector: &str| {
        let list = hub
            .get("admin", &format!("/servers?labelSelector={selector}"))
            .await
            .expect(StatusCode::OK)
            .json();
        let items = list["items"].as_array().unwrap();
        items
            .iter()
            .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names("env%3Dprod").await, ["a"]);
    assert_eq!(names("env%20in%20(prod,test)").await, ["a", "b"]);
    assert_eq!(names("!env").await, Vec::<String>::new());
    hub.get("admin", "/servers?labelSelector=a%3D%3D%3Db")
        .await
        .error("BadRequest");
    hub.get("admin", "/servers?fieldSelector=x%3Dy")
        .await
        .error("BadRequest");
}

#[tokio::test]
async fn what_only_the_hub_may_say_cannot_be_written() {
    let hub = Hub::start().await;
    hub.agent("web01").await;
    let mut server = hub.get("admin", "/servers/web01").await.json();
    server["status"]["phase"] = json!("Online");
    let stored = hub
        .put("admin", "/servers/web01", server.clone())
        .await
        .expect(StatusCode::OK)
        .json();
    assert_eq!(stored["status"]["phase"], "Pending");
    server["spec"]["agentKey"] = json!("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    let status = hub
        .put("admin", "/servers/web01", server)
        .await
        .error("Invalid");
    assert_eq!(status.details.unwrap().causes[0].field, "spec.agentKey");
}

#[tokio::test]
async fn whoami_and_discovery_say_who_is_who() {
    let hub = Hub::start().await;
    let me = hub
        .get("alice", "/whoami")
        .await
        .expect(StatusCode::OK)
        .json();
    assert_eq!(
        (me["subject"].as_str(), me["login"].as_str()),
        (Some("alice"), Some("alice"))
    );
    assert_eq!(me["permissions"], json!([]));
    assert_eq!(
        hub.get("admin", "/whoami").await.json()["permissions"],
        json!(["admin"])
    );
    let discovery = hub
        .ask_with(None, Method::GET, "/.well-known/kedge", None)
        .await
        .expect(StatusCode::OK)
        .json();
    assert_eq!(discovery["id"], hub.app.id.as_str());
    assert_eq!(discovery["protocols"], json!(["kedge.v1"]));
    assert_eq!(
        discovery["authentication"]["methods"],
        json!(["static-token"])
    );
}

#[tokio::test]
async fn the_way_to_a_server_is_told_to_whom_may_go_it() {
    let hub = Hub::start().await;
    let agent = hub.agent("web01").await;
    hub.let_alice_in().await;
    let access = hub
        .get("alice", "/servers/web01/access")
        .await
        .expect(StatusCode::OK)
        .json();
    assert_eq!(access["login"], "alice");
    assert_eq!(
        access["hostKeys"],
        serde_json::to_value(&agent.host_keys).unwrap()
    );
    let asked = hub
        .get("alice", "/servers/web01/access?login=root")
        .await
        .error("Forbidden");
    assert!(
        asked
            .message
            .contains("no policy allows you to reach web01 as root"),
        "{}",
        asked.message
    );
    hub.get("alice", "/servers/web01/access?login=-x")
        .await
        .error("BadRequest");
    let denied = hub
        .get("bob", "/servers/web01/access")
        .await
        .error("NotFound")
        .message;
    let absent = hub
        .get("bob", "/servers/nope/access")
        .await
        .error("NotFound")
        .message;
    assert_eq!(denied.replace("web01", "X"), absent.replace("nope", "X"));
    hub.get("admin", "/servers/web01/access")
        .await
        .error("Forbidden");
    assert_eq!(
        hub.audit.events("session.refused").len(),
        5 - 1,
        "each refusal is written down, a bad name is none"
    );
}
