//! Who may do what at the hub itself, asked over real HTTP.

use http::{Method, StatusCode};
use kedge_api::resources::{HubResource, HubRole, Verb};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::harness::{API, Hub, policy};
use crate::issuers::{issuer, table};
use crate::watches::Watch;

/// A request that is answered otherwise to those who may not do it.
struct Attempt {
    verb: Verb,
    resource: HubResource,
    method: Method,
    path: &'static str,
    body: Option<Value>,
    /// What somebody gets who may.
    allowed: Check,
    /// What somebody gets who may not.
    refused: Check,
}

#[derive(Clone, Copy, Debug)]
enum Check {
    /// This code.
    Code(u16),
    /// A list without anything in it.
    Empty,
    /// A list with something in it.
    Filled,
}

/// One for every verb that a resource has. What is allowed ends in a conflict or finds nothing, so that it can be
/// repeated for everybody.
fn attempts() -> Vec<Attempt> {
    let server = json!({
        "apiVersion": "kedge.dev/v1alpha1", "kind": "Server",
        "metadata": {"name": "web01", "resourceVersion": "1"}, "spec": {},
    });
    let stale_policy = {
        let mut stale = policy("some", allow("nobody"));
        stale["metadata"]["resourceVersion"] = json!("1");
        stale
    };
    let token = json!({
        "apiVersion": "kedge.dev/v1alpha1", "kind": "JoinToken", "metadata": {}, "spec": {"uses": 0},
    });
    let question = json!({ "user": "carol", "server": "web01" });
    let keys = json!({ "accept": [] });
    let get = |verb, resource, path, allowed, refused| Attempt {
        verb,
        resource,
        method: Method::GET,
        path,
        body: None,
        allowed,
        refused,
    };
    let change = |verb, resource, method, path, body, allowed| Attempt {
        verb,
        resource,
        method,
        path,
        body,
        allowed: Check::Code(allowed),
        refused: Check::Code(403),
    };
    use Check::{Code, Empty, Filled};
    use HubResource::{AccessPolicies, Explanations, History, JoinTokens, Servers, Sessions};
    let (ok, gone, no) = (Code(200), Code(404), Code(403));
    let future = "?watch=1&resourceVersion=999999999";
    let policies_watch: &'static str = Box::leak(format!("/accesspolicies{future}").into());
    let tokens_watch: &'static str = Box::leak(format!("/jointokens{future}").into());
    vec![
        get(Verb::Get, Servers, "/servers/web01", ok, gone),
        get(Verb::List, Servers, "/servers", Filled, Empty),
        change(
            Verb::Create,
            Servers,
            Method::POST,
            "/servers",
            Some(server.clone()),
            409,
        ),
        change(
            Verb::Update,
            Servers,
            Method::PUT,
            "/servers/web01",
            Some(server),
            422,
        ),
        change(
            Verb::Update,
            Servers,
            Method::POST,
            "/servers/web01/hostkeys",
            Some(keys),
            409,
        ),
        change(
            Verb::Delete,
            Servers,
            Method::DELETE,
            "/servers/ghost",
            None,
            404,
        ),
        get(Verb::Get, AccessPolicies, "/accesspolicies/some", ok, no),
        get(Verb::List, AccessPolicies, "/accesspolicies", Filled, no),
        get(Verb::Watch, AccessPolicies, policies_watch, Code(410), no),
        change(
            Verb::Create,
            AccessPolicies,
            Method::POST,
            "/accesspolicies",
            Some(policy("some", allow("nobody"))),
            409,
        ),
        change(
            Verb::Update,
            AccessPolicies,
            Method::PUT,
            "/accesspolicies/some",
            Some(stale_policy),
            409,
        ),
        change(
            Verb::Delete,
            AccessPolicies,
            Method::DELETE,
            "/accesspolicies/ghost",
            None,
            404,
        ),
        get(Verb::Get, JoinTokens, "/jointokens/ghost", gone, no),
        get(Verb::List, JoinTokens, "/jointokens", Filled, no),
        get(Verb::Watch, JoinTokens, tokens_watch, Code(410), no),
        change(
            Verb::Create,
            JoinTokens,
            Method::POST,
            "/jointokens",
            Some(token),
            422,
        ),
        change(
            Verb::Delete,
            JoinTokens,
            Method::DELETE,
            "/jointokens/ghost",
            None,
            404,
        ),
        get(Verb::List, Sessions, "/sessions", ok, Empty),
        get(Verb::List, History, "/history", ok, no),
        change(
            Verb::Create,
            Explanations,
            Method::POST,
            "/explanations",
            Some(question),
            200,
        ),
    ]
}

fn allow(user: &str) -> Value {
    json!({ "subjects": {"users": [user]}, "servers": {"names": ["*"]}, "logins": ["{login}"] })
}

fn rule(verb: &str, resource: &str) -> Value {
    json!({ "rules": [{"verbs": [verb], "resources": [resource]}] })
}

/// Gives `alice` these rights, and no others.
async fn grant(hub: &Hub, hub_section: Value) {
    let reply = hub.delete("admin", "/accesspolicies/rights").await;
    assert!(matches!(reply.status.as_u16(), 200 | 404));
    if !hub_section.is_null() {
        let spec = json!({ "subjects": {"users": ["alice"]}, "hub": hub_section });
        hub.policy("rights", spec).await;
    }
}

async fn ready() -> Hub {
    let hub = Hub::start().await;
    hub.agent("web01").await;
    hub.policy("some", allow("nobody")).await;
    hub
}

/// Asks for everything, and compares with what is expected.
async fn check(hub: &Hub, who: &str, case: &str, expected: impl Fn(Verb, HubResource) -> bool) {
    for attempt in attempts() {
        let (verb, resource) = (attempt.verb, attempt.resource);
        let path = format!("{API}{}", attempt.path);
        let reply = hub
            .ask(who, attempt.method.clone(), &path, attempt.body.clone())
            .await;
        let wanted = if expected(verb, resource) {
            attempt.allowed
        } else {
            attempt.refused
        };
        let said = String::from_utf8_lossy(&reply.body).into_owned();
        let what = format!(
            "{case}: {who} {verb} {resource} at {}: {said}",
            attempt.path
        );
        match wanted {
            Check::Code(code) => assert_eq!(reply.status.as_u16(), code, "{what}"),
            Check::Empty => assert_eq!(reply.json()["items"], json!([]), "{what}"),
            Check::Filled => assert_ne!(reply.json()["items"], json!([]), "{what}"),
        }
        if reply.status == StatusCode::FORBIDDEN {
            reply.error("Forbidden");
        }
    }
}

#[tokio::test]
async fn the_matrix_of_verbs_resources_and_roles_holds() {
    let hub = ready().await;
    check(&hub, "admin", "bootstrap", |_, _| true).await;
    check(&hub, "alice", "nothing", |_, _| false).await;
    for role in HubRole::ALL {
        grant(&hub, json!({ "roles": [role.as_str()] })).await;
        check(&hub, "alice", role.as_str(), |verb, resource| {
            role.covers(verb, resource)
        })
        .await;
        check(&hub, "bob", "another's role", |_, _| false).await;
    }
    grant(&hub, rule("*", "*")).await;
    check(&hub, "alice", "every rule", |_, _| true).await;
    for resource in HubResource::ALL {
        grant(&hub, rule("*", resource.as_str())).await;
        let expected = |_, asked| asked == *resource;
        check(&hub, "alice", resource.as_str(), expected).await;
    }
    for verb in Verb::ALL {
        grant(&hub, rule(verb.as_str(), "*")).await;
        let expected = |asked, _| asked == *verb;
        check(&hub, "alice", verb.as_str(), expected).await;
    }
}

#[tokio::test]
async fn one_right_is_one_right() {
    let hub = ready().await;
    let mut pairs: Vec<_> = attempts().iter().map(|a| (a.verb, a.resource)).collect();
    pairs.sort_unstable();
    pairs.dedup();
    for (verb, resource) in pairs {
        grant(&hub, rule(verb.as_str(), resource.as_str())).await;
        let case = format!("only {verb} {resource}");
        check(&hub, "alice", &case, |v, r| (v, r) == (verb, resource)).await;
    }
}

#[tokio::test]
async fn names_narrow_a_right() {
    let hub = ready().await;
    for name in ["mine", "other"] {
        hub.policy(name, allow("nobody")).await;
    }
    grant(
        &hub,
        json!({ "rules": [{"verbs": ["*"], "resources": ["accesspolicies"], "resourceNames": ["mine"]}] }),
    )
    .await;
    let mut mine = hub
        .get("alice", "/accesspolicies/mine")
        .await
        .expect(StatusCode::OK)
        .json();
    mine["spec"]["logins"] = json!(["deploy"]);
    hub.put("alice", "/accesspolicies/mine", mine)
        .await
        .expect(StatusCode::OK);
    for path in [
        "/accesspolicies",
        "/accesspolicies/other",
        "/accesspolicies/ghost",
    ] {
        hub.get("alice", path).await.error("Forbidden");
    }
    hub.delete("alice", "/accesspolicies/other")
        .await
        .error("Forbidden");
    hub.delete("alice", "/accesspolicies/mine")
        .await
        .expect(StatusCode::OK);
    hub.post("alice", "/accesspolicies", policy("new", allow("nobody")))
        .await
        .error("Forbidden");
    hub.post("alice", "/accesspolicies", policy("mine", allow("nobody")))
        .await
        .expect(StatusCode::CREATED);
}

#[tokio::test]
async fn who_writes_policies_writes_no_rights() {
    let hub = ready().await;
    let rights = json!({ "subjects": {"users": ["alice"]}, "hub": {"roles": ["admin"]} });
    let denial =
        json!({ "effect": "Deny", "subjects": {"users": ["admin"]}, "hub": rule("*", "*") });
    grant(&hub, rule("*", "accesspolicies")).await;

    for (name, spec) in [("escalation", &rights), ("lock-out", &denial)] {
        let body = policy(name, spec.clone());
        let reply = hub.post("alice", "/accesspolicies", body).await;
        let status = reply.error("Forbidden");
        assert!(status.message.contains("spec.hub"), "{}", status.message);
        let event = hub.audit.events("object.refused").pop().unwrap();
        assert_eq!(
            [
                &event["subject"],
                &event["verb"],
                &event["kind"],
                &event["name"]
            ],
            ["alice", "create", "accesspolicy", name]
        );
    }
    // What it is turned into counts, and what it was.
    hub.post("alice", "/accesspolicies", policy("plain", allow("alice")))
        .await
        .expect(StatusCode::CREATED);
    let mut plain = hub.get("alice", "/accesspolicies/plain").await.json();
    plain["spec"]["hub"] = rights["hub"].clone();
    hub.put("alice", "/accesspolicies/plain", plain)
        .await
        .error("Forbidden");
    let mut own = hub.get("alice", "/accesspolicies/rights").await.json();
    own["spec"] = allow("alice");
    hub.put("alice", "/accesspolicies/rights", own.clone())
        .await
        .error("Forbidden");
    hub.delete("alice", "/accesspolicies/rights")
        .await
        .error("Forbidden");
    assert_eq!(hub.audit.events("object.refused").len(), 5);
    // A version that was not read is not what was looked at.
    let mut ahead = hub.get("alice", "/accesspolicies/plain").await.json();
    let version = ahead["metadata"]["resourceVersion"].as_str().unwrap();
    let next = version.parse::<u64>().unwrap() + 1;
    ahead["metadata"]["resourceVersion"] = json!(next.to_string());
    hub.put("alice", "/accesspolicies/plain", ahead)
        .await
        .error("Conflict");
    hub.get("alice", "/servers/web01")
        .await
        .expect(StatusCode::OK);
    hub.get("alice", "/jointokens").await.error("Forbidden");

    // The role of administrator may, and only as long as nothing denies it a part.
    grant(&hub, json!({ "roles": ["admin"] })).await;
    hub.post(
        "alice",
        "/accesspolicies",
        policy("viewers", {
            json!({ "subjects": {"users": ["bob"]}, "hub": {"roles": ["viewer"]} })
        }),
    )
    .await
    .expect(StatusCode::CREATED);
    hub.policy(
        "no-tokens",
        json!({ "effect": "Deny", "subjects": {"users": ["alice"]}, "hub": rule("*", "jointokens") }),
    )
    .await;
    hub.get("alice", "/jointokens").await.error("Forbidden");
    hub.delete("alice", "/accesspolicies/no-tokens")
        .await
        .error("Forbidden");
    hub.post("alice", "/accesspolicies", policy("escalation", rights))
        .await
        .error("Forbidden");
}

#[tokio::test]
async fn a_denial_takes_rights_and_never_those_of_the_configuration() {
    let hub = ready().await;
    grant(&hub, json!({ "roles": ["viewer"] })).await;
    let deny = json!({
        "effect": "Deny", "subjects": {"users": ["*"]},
        "hub": {"roles": ["admin"]},
    });
    hub.policy("nobody-may-anything", deny).await;
    check(&hub, "alice", "denied", |_, _| false).await;
    check(&hub, "admin", "denied", |_, _| true).await;
    let me = hub.get("admin", "/whoami").await.json();
    assert_eq!(me["hubRights"]["roles"], json!(["admin"]), "{me}");
    hub.delete("admin", "/accesspolicies/nobody-may-anything")
        .await
        .expect(StatusCode::OK);
    check(&hub, "alice", "viewer again", |v, r| {
        HubRole::Viewer.covers(v, r)
    })
    .await;
    let me = hub.get("alice", "/whoami").await.json();
    assert_eq!(me["hubRights"]["roles"], json!(["viewer"]), "{me}");
    let me = hub.get("bob", "/whoami").await.json();
    assert_eq!(me["hubRights"], json!({"roles": [], "rules": []}), "{me}");
}

#[tokio::test]
async fn an_ordinary_person_sees_the_servers_they_may_reach_and_nothing_else() {
    let hub = ready().await;
    hub.agent("db01").await;
    let names = async |who: &str| {
        let list = hub.get(who, "/servers").await.expect(StatusCode::OK).json();
        let items = list["items"].as_array().unwrap().clone();
        let name = |item: &Value| item["metadata"]["name"].as_str().unwrap().to_owned();
        items.iter().map(name).collect::<Vec<_>>()
    };
    hub.policy(
        "bob-db",
        json!({ "subjects": {"users": ["bob"]}, "servers": {"names": ["db01"]}, "logins": ["{login}"] }),
    )
    .await;
    assert_eq!(names("bob").await, ["db01"]);
    assert_eq!(names("alice").await, [""; 0]);
    hub.get("bob", "/servers/db01").await.expect(StatusCode::OK);
    let hidden = hub.get("bob", "/servers/web01").await.error("NotFound");
    let absent = hub.get("bob", "/servers/ghost1").await.error("NotFound");
    assert_eq!(hidden.message.replace("web01", "ghost1"), absent.message);
    // To get one by its name is no right to list.
    grant(&hub, json!({ "rules": [{"verbs": ["get"], "resources": ["servers"], "resourceNames": ["web01"]}] })).await;
    assert_eq!(names("alice").await, [""; 0]);
    hub.get("alice", "/servers/web01")
        .await
        .expect(StatusCode::OK);
    hub.get("alice", "/servers/db01").await.error("NotFound");
    // A refused look is no audit event; a refused change is one.
    assert!(hub.audit.events("object.refused").is_empty());
    hub.delete("bob", "/servers/db01").await.error("Forbidden");
    assert_eq!(hub.audit.events("object.refused").len(), 1);
}

#[tokio::test]
async fn a_watch_of_everything_ends_with_the_right_to_it() {
    let hub = ready().await;
    grant(&hub, rule("watch", "servers")).await;
    let settled = async || {
        let mut epoch = hub.app.epoch.subscribe();
        let _ = timeout(std::time::Duration::from_secs(1), epoch.changed()).await;
    };
    settled().await;
    let mut watch = Watch::open(&hub, "alice", "/servers?watch=1").await;
    watch.expect("ADDED", "web01").await;
    // What changes nothing of it does not end it.
    hub.policy("unrelated", allow("nobody")).await;
    settled().await;
    hub.agent("db01").await;
    watch.expect("ADDED", "db01").await;
    hub.delete("admin", "/accesspolicies/rights")
        .await
        .expect(StatusCode::OK);
    loop {
        let event = watch.next().await.expect("the watch ended without a word");
        if event["type"] == "ERROR" {
            assert_eq!(event["object"]["reason"], "Expired", "{event}");
            break;
        }
    }
    assert_eq!(watch.next().await, None);
    let mut watch = Watch::open(&hub, "alice", "/servers?watch=1").await;
    hub.let_alice_in().await;
    let event = watch.next().await.unwrap();
    assert_eq!(event["object"]["reason"], "Expired", "{event}");
}

#[tokio::test]
async fn a_watch_ends_with_the_token_that_began_it() {
    let issuer = issuer();
    let hub = Hub::with(&table(&issuer, "corp", "")).await;
    hub.policy(
        "rights",
        json!({ "subjects": {"users": ["alice"]}, "hub": {"roles": ["viewer"]} }),
    )
    .await;
    let mut epoch = hub.app.epoch.subscribe();
    let _ = timeout(std::time::Duration::from_secs(1), epoch.changed()).await;
    let token = issuer.id_token("alice").unwrap();
    let mut watches = [
        Watch::open_as(&hub, &token, "/servers?watch=1").await,
        Watch::open_as(&hub, &token, "/accesspolicies?watch=1").await,
    ];
    hub.pass(std::time::Duration::from_secs(2 * 60 * 60));
    for watch in &mut watches {
        loop {
            let event = watch.next().await.expect("the watch ended without a word");
            if event["type"] == "ERROR" {
                assert_eq!(event["object"]["reason"], "Expired", "{event}");
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_right_that_ends_ends_its_watch() {
    let hub = ready().await;
    let end = hub
        .now()
        .saturating_add(std::time::Duration::from_secs(60 * 60));
    let spec = json!({
        "subjects": {"users": ["alice"]}, "hub": {"roles": ["viewer"]},
        "constraints": {"notAfter": end.to_string()},
    });
    hub.policy("rights", spec).await;
    let mut epoch = hub.app.epoch.subscribe();
    let _ = timeout(std::time::Duration::from_secs(1), epoch.changed()).await;
    let mut watch = Watch::open(&hub, "alice", "/accesspolicies?watch=1").await;
    watch.expect("ADDED", "rights").await;
    watch.expect("ADDED", "some").await;
    hub.pass(std::time::Duration::from_secs(60 * 60 + 1));
    let event = watch.next().await.unwrap();
    assert_eq!(event["object"]["reason"], "Expired", "{event}");
    hub.get("alice", "/accesspolicies").await.error("Forbidden");
}
