//! How agents join, and how they do not.

use std::time::Duration;

use http::{Method, StatusCode};
use kedge_api::{JoinToken, Server};
use serde_json::json;

use crate::harness::{API, Agent, Hub};

async fn used(hub: &Hub, token: &kedge_api::JoinTokenSecret) -> (u32, usize) {
    let token = hub
        .app
        .store
        .get::<JoinToken>(token.name().as_str())
        .await
        .unwrap();
    (token.status.used, token.status.used_by.len())
}

#[tokio::test]
async fn a_token_is_shown_once_and_stored_as_its_hash() {
    let hub = Hub::start().await;
    let token = hub.join_token(json!({})).await;
    let stored = hub
        .get("admin", &format!("/jointokens/{}", token.name()))
        .await
        .expect(StatusCode::OK);
    assert_eq!(stored.json()["status"]["hash"], token.hash().to_string());
    assert!(!String::from_utf8_lossy(&stored.body).contains("kjt_"));
    let hour = stored.json()["spec"]["expiresAt"]
        .as_str()
        .unwrap()
        .parse::<kedge_api::Time>()
        .unwrap();
    assert!(hour.saturating_since(hub.now()) > Duration::from_secs(3500));
    let list = hub.get("admin", "/jointokens").await;
    assert!(!String::from_utf8_lossy(&list.body).contains("kjt_"));
    for expires in [
        hub.now(),
        hub.now()
            .saturating_add(Duration::from_secs(31 * 24 * 3600)),
    ] {
        let body = json!({
            "apiVersion": "kedge.dev/v1alpha1", "kind": "JoinToken", "metadata": {}, "spec": {"expiresAt": expires},
        });
        hub.post("admin", "/jointokens", body)
            .await
            .error("Invalid");
    }
}

#[tokio::test]
async fn an_agent_joins_and_is_a_server_with_pinned_keys() {
    let hub = Hub::start().await;
    let token = hub.join_token(json!({ "labels": {"env": "prod"} })).await;
    let agent = Agent::new("web01");
    let enrolled = agent
        .enrol(&hub, &token)
        .await
        .expect(StatusCode::CREATED)
        .json();
    assert_eq!(enrolled["hub"]["id"], hub.app.id.as_str());
    let server = hub.server("web01").await;
    assert_eq!(server.spec.agent_key, Some(agent.key.public_key()));
    assert_eq!(server.spec.host_keys, agent.host_keys);
    assert_eq!(
        server.metadata.labels.value("env").unwrap().as_str(),
        "prod"
    );
    assert_eq!(used(&hub, &token).await, (1, 1));
    assert_eq!(hub.audit.events("enrolment.accepted").len(), 1);
}

#[tokio::test]
async fn a_token_is_good_once_until_its_end_and_never_after_it_is_revoked() {
    let hub = Hub::start().await;
    let token = hub.join_token(json!({})).await;
    let first = Agent::new("web01");
    first.enrol(&hub, &token).await.expect(StatusCode::CREATED);
    let twice = Agent::new("web02")
        .enrol(&hub, &token)
        .await
        .error("Unauthorized");
    assert!(twice.message.contains("used already"), "{}", twice.message);
    assert!(
        hub.app
            .store
            .find::<Server>("web02")
            .await
            .unwrap()
            .is_none()
    );
    first.enrol(&hub, &token).await.expect(StatusCode::CREATED);
    assert_eq!(
        used(&hub, &token).await,
        (1, 1),
        "an answer that was lost is given again"
    );

    let late = hub.join_token(json!({})).await;
    hub.pass(Duration::from_secs(3601));
    let expired = Agent::new("web03")
        .enrol(&hub, &late)
        .await
        .error("Unauthorized");
    assert!(expired.message.contains("expired"), "{}", expired.message);

    let revoked = hub.join_token(json!({})).await;
    hub.delete("admin", &format!("/jointokens/{}", revoked.name()))
        .await
        .expect(StatusCode::OK);
    let gone = Agent::new("web04")
        .enrol(&hub, &revoked)
        .await
        .error("Unauthorized")
        .message;
    let guessed = format!("kjt_{}_{}", token.name(), "A".repeat(43));
    let agent = Agent::new("web05");
    let body = agent.enrollment(&hub, &token);
    let wrong = agent
        .enrol_with(&hub, &guessed, body)
        .await
        .error("Unauthorized")
        .message;
    assert_eq!(gone, wrong, "who guesses learns nothing");
}

#[tokio::test]
async fn of_many_agents_that_race_for_one_use_one_wins() {
    let hub = Hub::start().await;
    let token = hub.join_token(json!({})).await;
    let agents: Vec<_> = (0..8)
        .map(|number| Agent::new(&format!("web{number}")))
        .collect();
    let replies =
        futures_util::future::join_all(agents.iter().map(|agent| agent.enrol(&hub, &token))).await;
    let won = replies
        .iter()
        .filter(|reply| reply.status == StatusCode::CREATED)
        .count();
    assert_eq!(won, 1, "{replies:?}");
    assert_eq!(
        hub.get("admin", "/servers").await.json()["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(used(&hub, &token).await, (1, 1));
}

#[tokio::test]
async fn of_two_agents_that_race_for_one_name_one_wins_and_the_other_use_is_given_back() {
    let hub = Hub::start().await;
    let token = hub.join_token(json!({ "uses": 5 })).await;
    let agents: Vec<_> = (0..4).map(|_| Agent::new("web01")).collect();
    let replies =
        futures_util::future::join_all(agents.iter().map(|agent| agent.enrol(&hub, &token))).await;
    let won = replies
        .iter()
        .filter(|reply| reply.status == StatusCode::CREATED)
        .count();
    assert_eq!(won, 1, "{replies:?}");
    for reply in replies
        .iter()
        .filter(|reply| reply.status != StatusCode::CREATED)
    {
        reply.error("AlreadyExists");
    }
    assert_eq!(used(&hub, &token).await, (1, 1));
}

#[tokio::test]
async fn an_agent_that_asks_several_times_at_once_joins_once() {
    let hub = Hub::start().await;
    let token = hub.join_token(json!({ "uses": 5 })).await;
    let agent = Agent::new("web01");
    let asked = (0..4).map(|_| agent.enrol(&hub, &token));
    for reply in futures_util::future::join_all(asked).await {
        reply.expect(StatusCode::CREATED);
    }
    assert_eq!(used(&hub, &token).await, (1, 1));
}

#[tokio::test]
async fn a_name_of_another_key_is_refused_and_uses_nothing() {
    let hub = Hub::start().await;
    hub.agent("web01").await;
    let token = hub.join_token(json!({})).await;
    let status = Agent::new("web01")
        .enrol(&hub, &token)
        .await
        .error("AlreadyExists");
    assert!(status.message.contains("another key"), "{}", status.message);
    assert_eq!(used(&hub, &token).await, (0, 0));
    Agent::new("web02")
        .enrol(&hub, &token)
        .await
        .expect(StatusCode::CREATED);
}

#[tokio::test]
async fn a_token_for_one_name_is_for_no_other() {
    let hub = Hub::start().await;
    let token = hub.join_token(json!({ "serverName": "web01" })).await;
    Agent::new("web02")
        .enrol(&hub, &token)
        .await
        .error("Forbidden");
    assert_eq!(used(&hub, &token).await, (0, 0));
    Agent::new("web01")
        .enrol(&hub, &token)
        .await
        .expect(StatusCode::CREATED);
}

#[tokio::test]
async fn a_proof_is_bound_to_key_token_name_hub_and_moment() {
    let hub = Hub::start().await;
    let token = hub.join_token(json!({})).await;
    let agent = Agent::new("web01");
    let honest = agent.enrollment(&hub, &token);

    let mut stolen = honest.clone();
    stolen["publicKey"] = json!(Agent::new("x").key.public_key().to_string());
    agent
        .enrol_with(&hub, token.reveal(), stolen)
        .await
        .error("Unauthorized");
    let mut renamed = honest.clone();
    renamed["name"] = json!("web02");
    agent
        .enrol_with(&hub, token.reveal(), renamed)
        .await
        .error("Unauthorized");
    let other = hub.join_token(json!({})).await;
    agent
        .enrol_with(&hub, other.reveal(), honest.clone())
        .await
        .error("Unauthorized");
    let mut unknown = honest.clone();
    unknown["extra"] = json!(1);
    agent
        .enrol_with(&hub, token.reveal(), unknown)
        .await
        .error("Invalid");
    agent
        .enrol_with(&hub, token.reveal(), honest.clone())
        .await
        .expect(StatusCode::CREATED);
    agent
        .enrol_with(&hub, token.reveal(), honest.clone())
        .await
        .error("Unauthorized");
    hub.pass(Duration::from_secs(600));
    agent
        .enrol_with(&hub, token.reveal(), honest)
        .await
        .error("Unauthorized");
}

#[tokio::test]
async fn a_server_described_before_its_agent_came_keeps_what_was_written() {
    let hub = Hub::start().await;
    let body = json!({
        "apiVersion": "kedge.dev/v1alpha1", "kind": "Server",
        "metadata": {"name": "web01", "labels": {"team": "web"}}, "spec": {"sshUser": "ubuntu"},
    });
    hub.post("admin", "/servers", body)
        .await
        .expect(StatusCode::CREATED);
    hub.agent("web01").await;
    let server = hub.server("web01").await;
    assert_eq!(server.spec.ssh_user.unwrap().as_str(), "ubuntu");
    assert_eq!(
        server.metadata.labels.value("team").unwrap().as_str(),
        "web"
    );
    assert!(server.spec.agent_key.is_some());
}

#[tokio::test]
async fn a_use_that_a_killed_hub_left_reserved_is_given_back_at_its_next_start() {
    let hub = Hub::start().await;
    let token = hub.join_token(json!({})).await;
    hub.app
        .store
        .modify_status::<JoinToken>(token.name().as_str(), |token| {
            token.status.used = 1;
            kedge_api::meta::Changed::Yes
        })
        .await
        .unwrap();
    Agent::new("web01")
        .enrol(&hub, &token)
        .await
        .error("Unauthorized");
    let hub = hub.restart().await;
    assert_eq!(used(&hub, &token).await, (0, 0));
    Agent::new("web01")
        .enrol(&hub, &token)
        .await
        .expect(StatusCode::CREATED);
    let hub = hub.restart().await;
    assert_eq!(used(&hub, &token).await, (1, 1));
}

#[tokio::test]
async fn a_name_that_joins_again_after_it_was_deleted_uses_the_token_again() {
    let hub = Hub::start().await;
    let token = hub.join_token(json!({ "uses": 2 })).await;
    for _ in 0..2 {
        Agent::new("web01")
            .enrol(&hub, &token)
            .await
            .expect(StatusCode::CREATED);
        assert_eq!(hub.server("web01").await.metadata.name.as_str(), "web01");
        hub.delete("admin", "/servers/web01")
            .await
            .expect(StatusCode::OK);
    }
    assert_eq!(used(&hub, &token).await, (2, 2));
    let hub = hub.restart().await;
    assert_eq!(used(&hub, &token).await, (2, 2));
    Agent::new("web02")
        .enrol(&hub, &token)
        .await
        .error("Unauthorized");
}

#[tokio::test]
async fn an_agent_that_hangs_up_half_way_leaves_nothing_half_done() {
    let hub = Hub::start().await;
    for round in 0..20_u64 {
        let token = hub.join_token(json!({})).await;
        let agent = Agent::new(&format!("web{round}"));
        let hurried = agent.enrol(&hub, &token);
        let _ = tokio::time::timeout(Duration::from_micros(300 * round), hurried).await;
        let name = agent.name.clone();
        crate::harness::eventually("the enrolment to be whole or nothing", async || {
            let made = hub.app.store.find::<Server>(&name).await.unwrap().is_some();
            (used(&hub, &token).await == if made { (1, 1) } else { (0, 0) }).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn guessing_tokens_is_slowed_down() {
    let hub = Hub::start().await;
    let mut codes = Vec::new();
    for _ in 0..70 {
        let path = format!("{API}/enrollments");
        let bearer = format!("Bearer kjt_aaaaaaaaaa_{}", "A".repeat(43));
        codes.push(
            hub.ask_with(Some(&bearer), Method::POST, &path, Some(json!({})))
                .await,
        );
    }
    let last = codes.last().unwrap();
    last.error("TooManyRequests");
    assert!(last.headers.contains_key("retry-after"));
    for event in ["authentication.refused", "enrolment.refused"] {
        assert!(hub.audit.events(event).len() < 70, "{event}");
    }
    // Those who have one join from there all the same, also when another token is tried again and again.
    let spent = hub.join_token(json!({})).await;
    let from: std::net::IpAddr = [127, 0, 0, 1].into();
    let source = (from, spent.name().as_str().to_owned());
    while hub
        .app
        .enrolments
        .take(source.clone(), std::time::Instant::now())
        .is_ok()
    {}
    hub.agent("web01").await;
}

/// The uses of a token that are counted and have no server yet.
async fn reserved(hub: &Hub, token: &kedge_api::JoinTokenSecret, uses: u32) {
    hub.app
        .store
        .modify_status::<JoinToken>(token.name().as_str(), |token| {
            for _ in 0..uses {
                token.status.used += 1;
                token.status.last_use += 1;
                token.status.joining.push(token.status.last_use);
            }
            kedge_api::meta::Changed::Yes
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_token_of_a_fleet_counts_everybody_and_names_the_last() {
    const FLEET: u32 = 50;
    let hub = Hub::start().await;
    let token = hub.join_token(json!({ "uses": FLEET })).await;
    let agents: Vec<_> = (0..FLEET + 5)
        .map(|number| Agent::new(&format!("web{number}")))
        .collect();
    let replies =
        futures_util::future::join_all(agents.iter().map(|agent| agent.enrol(&hub, &token))).await;
    let joined = |status: StatusCode| replies.iter().filter(|r| r.status == status).count();
    assert_eq!(joined(StatusCode::CREATED), FLEET as usize);
    assert_eq!(joined(StatusCode::UNAUTHORIZED), 5);
    let check = async |hub: &Hub| {
        let name = token.name().as_str();
        let status = hub.app.store.get::<JoinToken>(name).await.unwrap().status;
        let last = kedge_hub::defaults::JOIN_TOKEN_NAMES;
        assert_eq!(status.used, FLEET);
        assert_eq!(status.used_by.len(), last);
        assert_eq!(status.used_earlier as usize, FLEET as usize - last);
        assert!(status.joining.is_empty());
        // Each of them says which token it came with, and with which of its uses.
        let mut uses = Vec::new();
        let servers = hub.get("admin", "/servers").await.json();
        for server in servers["items"].as_array().unwrap() {
            let notes = &server["metadata"]["annotations"];
            assert_eq!(notes["kedge.dev/join-token"], name);
            let number = notes["kedge.dev/join-use"].as_str().unwrap();
            uses.push(number.parse::<u32>().unwrap());
        }
        uses.sort_unstable();
        uses.dedup();
        assert_eq!(uses.len(), FLEET as usize);
    };
    check(&hub).await;
    check(&hub.restart().await).await;
}

#[tokio::test]
async fn a_hub_that_was_killed_settles_each_use_by_its_number() {
    let hub = Hub::start().await;
    let token = hub.join_token(json!({ "uses": 4 })).await;
    // Two that no server came of, and then one whose name was not written.
    reserved(&hub, &token, 2).await;
    Agent::new("web01")
        .enrol(&hub, &token)
        .await
        .expect(StatusCode::CREATED);
    hub.app
        .store
        .modify_status::<JoinToken>(token.name().as_str(), |token| {
            token.status.used_by.clear();
            token.status.joining.push(3);
            kedge_api::meta::Changed::Yes
        })
        .await
        .unwrap();
    assert_eq!(used(&hub, &token).await, (3, 0));
    let hub = hub.restart().await;
    assert_eq!(used(&hub, &token).await, (1, 1));
    for name in ["web02", "web03", "web04"] {
        Agent::new(name)
            .enrol(&hub, &token)
            .await
            .expect(StatusCode::CREATED);
    }
    Agent::new("web05")
        .enrol(&hub, &token)
        .await
        .error("Unauthorized");
    assert_eq!(used(&hub, &token).await, (4, 4));
}
