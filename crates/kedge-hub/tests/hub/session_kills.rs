//! Who sees which sessions, and who ends them.

use http::{Method, StatusCode};
use kedge_api::ServerPhase;
use kedge_proto::{RefuseCode, ResetCode};
use kedge_tunnel::{
    AttributeId, Attributes, OpenRequest, ResumeHash, StreamError, StreamKey, Target, TunnelStream,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::harness::{API, Hub, Peer, SOON, Serving, eventually};
use crate::sessions::{opened, reset_with_words};

const NOBODYS: &str = "s-aaaaaaaaaaaaaaaaaaaaaaaaaa";

/// Alice and bob, each with a session.
struct Two {
    hub: Hub,
    alices: TunnelStream,
    bobs: TunnelStream,
    _people: [Peer; 2],
    _serving: Serving,
}

async fn two() -> Two {
    let hub = Hub::start().await;
    let agent = hub.agent("web01").await;
    let serving = agent.serve(&hub).await;
    hub.phase("web01", ServerPhase::Online).await;
    let spec = json!({
        "subjects": {"users": ["alice", "bob"]}, "servers": {"names": ["*"]}, "logins": ["{login}"],
    });
    hub.policy("both", spec).await;
    let people = [hub.connect("alice").await, hub.connect("bob").await];
    let (alices, bobs) = (opened(&people[0]).await, opened(&people[1]).await);
    eventually("both to be listed", async || {
        (seen(&hub, "admin").await.len() == 2).then_some(())
    })
    .await;
    Two {
        hub,
        alices,
        bobs,
        _people: people,
        _serving: serving,
    }
}

/// The sessions that somebody sees.
async fn seen(hub: &Hub, who: &str) -> Vec<Value> {
    let list = hub.get(who, "/sessions").await.expect(StatusCode::OK);
    list.json()["items"].as_array().unwrap().clone()
}

async fn users(hub: &Hub, who: &str) -> Vec<String> {
    let user = |one: &Value| one["user"].as_str().unwrap().to_owned();
    seen(hub, who).await.iter().map(user).collect()
}

async fn id_of(hub: &Hub, user: &str) -> String {
    let all = seen(hub, "admin").await;
    let one = all.iter().find(|one| one["user"] == user).unwrap();
    one["id"].as_str().unwrap().to_owned()
}

/// Gives bob these rights at the hub, and no others.
async fn grant(hub: &Hub, rules: Value) {
    let reply = hub.delete("admin", "/accesspolicies/rights").await;
    assert!(matches!(reply.status.as_u16(), 200 | 404));
    let spec = json!({ "subjects": {"users": ["bob"]}, "hub": {"rules": rules} });
    hub.policy("rights", spec).await;
}

async fn still_there(stream: &mut TunnelStream) {
    stream.write_all(b"x").await.unwrap();
    assert_eq!(
        timeout(SOON, stream.read_u8()).await.unwrap().unwrap(),
        b'x'
    );
}

#[tokio::test]
async fn people_see_their_own_sessions_and_all_with_the_right_to() {
    let two = two().await;
    let hub = &two.hub;
    assert_eq!(users(hub, "alice").await, ["alice"]);
    assert_eq!(users(hub, "bob").await, ["bob"]);
    assert_eq!(users(hub, "admin").await.len(), 2);
    let alices = id_of(hub, "alice").await;
    let other_rights = json!([
        {"verbs": ["get", "watch", "delete"], "resources": ["sessions"]},
        {"verbs": ["list"], "resources": ["history"]},
        {"verbs": ["list"], "resources": ["sessions"], "resourceNames": [alices]},
    ]);
    grant(hub, other_rights).await;
    assert_eq!(users(hub, "bob").await, ["bob"]);
    let list = json!([{"verbs": ["list"], "resources": ["sessions"]}]);
    grant(hub, list).await;
    assert_eq!(users(hub, "bob").await.len(), 2);
}

#[tokio::test]
async fn a_session_shows_the_links_that_carry_it_and_how_far_they_reach() {
    let two = two().await;
    let hub = &two.hub;
    let measured = eventually("round trips", async || {
        let all = seen(hub, "alice").await;
        let one = all.into_iter().next()?;
        let has = |link: &str| one[link]["rttMilliseconds"].is_u64();
        (has("client") && has("agent")).then_some(one)
    })
    .await;
    assert_eq!(measured["state"], "Attached");
    assert_eq!(measured["login"], "alice");
    for (link, sessions) in [("client", 1), ("agent", 2)] {
        let link = &measured[link];
        assert_eq!(link["remoteAddress"], "127.0.0.1");
        assert_eq!(link["sessions"], sessions, "{measured}");
        assert!(link["since"].as_str() <= measured["since"].as_str());
    }
    drop(two.bobs);
    eventually("the other session to be gone", async || {
        let all = seen(hub, "alice").await;
        (all[0]["agent"]["sessions"] == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_is_ended_hears_by_whom_and_so_do_the_agent_and_the_audit_log() {
    let hub = Hub::start().await;
    let agent = hub.agent("web01").await;
    let peer = agent.dial(&hub).await;
    hub.phase("web01", ServerPhase::Online).await;
    hub.let_alice_in().await;
    let person = hub.connect("alice").await;
    let mut stream = person.open("web01", None);
    let incoming = timeout(SOON, peer.link.accept()).await.unwrap().unwrap();
    let mut theirs = incoming.accept(Attributes::new());
    timeout(SOON, stream.opened()).await.unwrap().unwrap();
    stream.write_all(b"hello").await.unwrap();
    let mut hello = [0; 5];
    timeout(SOON, theirs.read_exact(&mut hello))
        .await
        .unwrap()
        .unwrap();
    let id = id_of(&hub, "alice").await;

    let reply = hub.delete("admin", &format!("/sessions/{id}")).await;
    let session = reply.expect(StatusCode::OK).json();
    // It is not there any more for whoever has the answer.
    assert_eq!(seen(&hub, "admin").await, [] as [Value; 0]);
    assert_eq!(session["id"], id.as_str());
    assert_eq!(
        (&session["bytesUp"], &session["user"]),
        (&json!(5), &json!("alice"))
    );
    let wanted = (ResetCode::Killed, "ended by admin".to_owned());
    assert_eq!(reset_with_words(&mut stream).await, wanted);
    assert_eq!(reset_with_words(&mut theirs).await, wanted);

    let closed = hub.audit.first("session.closed").await;
    let killed = hub.audit.events("session.killed");
    assert_eq!(killed.len(), 1);
    for (field, wanted) in [
        ("subject", "admin"),
        ("issuer", "static"),
        ("from", "127.0.0.1"),
        ("session", &id),
        ("server", "web01"),
        ("login", "alice"),
        ("owner_issuer", "static"),
        ("owner_subject", "alice"),
        ("owner_user", "alice"),
    ] {
        assert_eq!(killed[0][field], wanted, "{field}");
    }
    for (field, wanted) in [
        ("subject", "alice"),
        ("session", &id),
        ("how", "killed"),
        ("reason", "ended by admin"),
        ("bytes_up", "5"),
    ] {
        assert_eq!(closed[field], wanted, "{field}");
    }
    // The link stays, and whoever may open a session may open the next.
    let mut next = person.open("web01", None);
    let incoming = timeout(SOON, peer.link.accept()).await.unwrap().unwrap();
    let _theirs = incoming.accept(Attributes::new());
    timeout(SOON, next.opened()).await.unwrap().unwrap();
}

#[tokio::test]
async fn everybody_ends_their_own_and_nobody_learns_of_others() {
    let mut two = two().await;
    let hub = &two.hub;
    let (alices, bobs) = (id_of(hub, "alice").await, id_of(hub, "bob").await);
    let path = |id: &str| format!("/sessions/{id}");

    // What is there and what is not look alike.
    let answer = |reply: crate::harness::Reply, id: &str| {
        let status = reply.error("NotFound");
        let text = serde_json::to_string(&status).unwrap();
        text.replace(id, "ID")
    };
    let hidden = hub.delete("alice", &path(&bobs)).await;
    let absent = hub.delete("alice", &path(NOBODYS)).await;
    assert_eq!(answer(hidden, &bobs), answer(absent, NOBODYS));
    let absent = hub.delete("admin", &path(NOBODYS)).await;
    absent.error("NotFound");
    still_there(&mut two.bobs).await;
    let refused = hub.audit.first("object.refused").await;
    assert_eq!(
        (refused["kind"].as_str(), refused["name"].as_str()),
        ("session", bobs.as_str())
    );
    assert_eq!(hub.audit.events("object.refused").len(), 1);

    for no_id in ["web01", "s-1", "S-AAAA", "s-aaaaaaaaaaaaaaaaaaaaaaaaaa1"] {
        hub.delete("alice", &path(no_id)).await.error("BadRequest");
    }
    for method in [Method::GET, Method::PUT, Method::POST] {
        let path = format!("{API}{}", path(&alices));
        let reply = hub.ask("alice", method, &path, None).await;
        reply.expect(StatusCode::METHOD_NOT_ALLOWED);
    }

    let own = hub.delete("alice", &path(&alices)).await;
    own.expect(StatusCode::OK);
    let (code, words) = reset_with_words(&mut two.alices).await;
    assert_eq!(
        (code, words.as_str()),
        (ResetCode::Killed, "ended by alice")
    );
    hub.delete("alice", &path(&alices)).await.error("NotFound");
    assert_eq!(hub.audit.events("session.killed").len(), 1);
    still_there(&mut two.bobs).await;
}

#[tokio::test]
async fn ending_those_of_others_is_a_right_and_seeing_them_another() {
    let mut two = two().await;
    let hub = &two.hub;
    let alices = id_of(hub, "alice").await;
    let path = format!("/sessions/{alices}");
    let rule = |verb: &str| json!({"verbs": [verb], "resources": ["sessions"]});
    let named = |verb: &str, name: &str| json!({"verbs": [verb], "resources": ["sessions"], "resourceNames": [name]});
    for (rules, reason) in [
        (json!([rule("list")]), "Forbidden"),
        (json!([named("get", &alices)]), "Forbidden"),
        (
            json!([named("get", NOBODYS), named("delete", NOBODYS)]),
            "NotFound",
        ),
        (
            json!([{"verbs": ["delete"], "resources": ["servers"]}]),
            "NotFound",
        ),
    ] {
        grant(hub, rules).await;
        hub.delete("bob", &path).await.error(reason);
    }
    still_there(&mut two.alices).await;
    grant(hub, json!([named("delete", &alices)])).await;
    hub.delete("bob", &path).await.expect(StatusCode::OK);
    let (code, words) = reset_with_words(&mut two.alices).await;
    assert_eq!((code, words.as_str()), (ResetCode::Killed, "ended by bob"));
    // A right that is taken away does not take away what is one's own.
    let deny = json!({
        "effect": "Deny", "subjects": {"users": ["bob"]},
        "hub": {"rules": [{"verbs": ["*"], "resources": ["*"]}]},
    });
    hub.policy("no-rights", deny).await;
    let bobs = id_of(hub, "bob").await;
    let own = hub.delete("bob", &format!("/sessions/{bobs}")).await;
    own.expect(StatusCode::OK);
    assert_eq!(reset_with_words(&mut two.bobs).await.0, ResetCode::Killed);
}

#[tokio::test]
async fn of_many_who_end_one_session_one_does() {
    let two = two().await;
    let hub = &two.hub;
    let path = format!("/sessions/{}", id_of(hub, "alice").await);
    let replies = futures_util::future::join_all((0..8).map(|_| hub.delete("admin", &path))).await;
    let ended = replies
        .iter()
        .filter(|reply| reply.status == StatusCode::OK);
    assert_eq!(ended.count(), 1);
    hub.audit.first("session.closed").await;
    assert_eq!(hub.audit.events("session.killed").len(), 1);
}

/// With a session the hub stops signing for it.
#[tokio::test]
async fn the_signing_beside_a_session_ends_with_it() {
    let hub = Hub::with("secrets = { namespaces = [\"ssh-keys\"] }").await;
    let folder = hub.state().join("secrets/ssh-keys/web01");
    std::fs::create_dir_all(&folder).unwrap();
    kedge_testkit::sshd::keygen(&folder.join("ssh-privatekey"), "ed25519").unwrap();
    let agent = hub.agent("web01").await;
    let _serving = agent.serve(&hub).await;
    hub.phase("web01", ServerPhase::Online).await;
    let mut server = serde_json::to_value(hub.server("web01").await).unwrap();
    server["spec"]["sshKeySecretRef"] = json!({"namespace": "ssh-keys", "name": "web01"});
    let stored = hub.put("admin", "/servers/web01", server).await;
    stored.expect(StatusCode::OK);
    hub.let_alice_in().await;

    let person = hub.connect("alice").await;
    let key = StreamKey(kedge_api::random::bytes().unwrap());
    let server = Attributes::new()
        .with(AttributeId::SERVER, "web01".to_owned())
        .unwrap();
    let request = OpenRequest {
        target: Target::ssh(),
        key,
        resume: ResumeHash([0; 32]),
        attributes: server,
    };
    let mut session = person.link.open(request).unwrap();
    timeout(SOON, session.opened()).await.unwrap().unwrap();
    let beside = || {
        Attributes::new()
            .with(AttributeId::BESIDE, key.0.to_vec())
            .unwrap()
    };
    let mut signing = person.open_with(Target::ssh_agent(), beside());
    timeout(SOON, signing.opened()).await.unwrap().unwrap();
    // SSH_AGENTC_REQUEST_IDENTITIES: the one key is there.
    signing.write_all(&[0, 0, 0, 1, 11]).await.unwrap();
    let mut answer = [0; 9];
    timeout(SOON, signing.read_exact(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer[4..], [12, 0, 0, 0, 1]);

    let path = format!("/sessions/{}", id_of(&hub, "alice").await);
    hub.delete("alice", &path).await.expect(StatusCode::OK);
    assert_eq!(reset_with_words(&mut session).await.0, ResetCode::Killed);
    let rest = async {
        let mut rest = Vec::new();
        signing.read_to_end(&mut rest).await.unwrap_err()
    };
    let error = timeout(SOON, rest).await.unwrap();
    let reset = error.get_ref().and_then(|source| source.downcast_ref());
    assert!(
        matches!(
            reset,
            Some(StreamError::Reset {
                code: ResetCode::Revoked,
                ..
            })
        ),
        "{error}"
    );
    // And it does not begin anew.
    let mut late = person.open_with(Target::ssh_agent(), beside());
    let refused = timeout(SOON, late.opened()).await.unwrap();
    assert!(
        matches!(
            refused,
            Err(StreamError::Refused {
                code: RefuseCode::BadRequest,
                ..
            })
        ),
        "{refused:?}"
    );
}
