//! Sessions: who gets one, what it carries, and how it ends.

use http::StatusCode;
use kedge_api::ServerPhase;
use kedge_proto::{RefuseCode, ResetCode};
use kedge_tunnel::{
    AttributeId, Attributes, CloseReason, DialError, LinkEnd, StreamError, Target, TunnelStream,
};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::harness::{Hub, Peer, SOON, Serving, configuration, eventually};

struct Path {
    hub: Hub,
    serving: Serving,
}

async fn path_with(extra: &str) -> Path {
    let hub = Hub::with(extra).await;
    let agent = hub.agent("web01").await;
    let serving = agent.serve(&hub).await;
    hub.phase("web01", ServerPhase::Online).await;
    hub.let_alice_in().await;
    Path { hub, serving }
}

async fn path() -> Path {
    path_with("").await
}

pub(crate) async fn opened(person: &Peer) -> TunnelStream {
    let mut stream = person.open("web01", None);
    timeout(SOON, stream.opened()).await.unwrap().unwrap();
    stream
}

pub(crate) async fn refusal(stream: &mut TunnelStream) -> (RefuseCode, String) {
    match timeout(SOON, stream.opened()).await.unwrap() {
        Err(StreamError::Refused { code, text }) => (code, text),
        other => panic!("not refused: {other:?}"),
    }
}

/// Waits until the hub ends the stream, and says how.
async fn reset(stream: &mut TunnelStream) -> ResetCode {
    reset_with_words(stream).await.0
}

pub(crate) async fn reset_with_words(stream: &mut TunnelStream) -> (ResetCode, String) {
    let error = timeout(SOON, stream.read_u8())
        .await
        .expect("the session goes on")
        .unwrap_err();
    match error
        .get_ref()
        .and_then(|source| source.downcast_ref::<StreamError>())
    {
        Some(StreamError::Reset { code, text }) => (*code, text.clone()),
        other => panic!("not reset: {other:?}"),
    }
}

#[tokio::test]
async fn bytes_pass_both_ways_and_both_ends_are_written_down() {
    let Path { hub, serving } = path().await;
    let person = hub.connect("alice").await;
    let mut stream = opened(&person).await;
    let sent = vec![42; 300_000];
    let (mut from, mut to) = tokio::io::split(stream);
    let write = async {
        to.write_all(&sent).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let (read, ()) = tokio::join!(from.read_to_end(&mut received), write);
    read.unwrap();
    assert!(received == sent);
    stream = from.unsplit(to);
    drop(stream);

    let closed = hub.audit.first("session.closed").await;
    let opened = hub.audit.events("session.opened");
    assert_eq!(opened.len(), 1);
    for (field, wanted) in [
        ("issuer", "static"),
        ("subject", "alice"),
        ("method", "static-token"),
        ("policy", "alice-everywhere"),
        ("server", "web01"),
        ("login", "alice"),
        ("permission", "ssh"),
        ("from", "127.0.0.1"),
    ] {
        assert_eq!(opened[0][field], wanted);
        assert_eq!(closed[field], wanted);
    }
    assert_eq!(opened[0]["session"], closed["session"]);
    assert_eq!(
        (closed["bytes_up"].as_str(), closed["bytes_down"].as_str()),
        ("300000", "300000")
    );
    assert_eq!(closed["how"], "finished");
    drop(serving);
}

#[tokio::test]
async fn a_live_session_is_listed_and_gone_when_it_ended() {
    let Path {
        hub,
        serving: _serving,
    } = path().await;
    let person = hub.connect("alice").await;
    let mut stream = opened(&person).await;
    stream.write_all(b"hello").await.unwrap();
    let mut echo = [0; 5];
    stream.read_exact(&mut echo).await.unwrap();
    let list = hub
        .get("admin", "/sessions")
        .await
        .expect(StatusCode::OK)
        .json();
    let session = &list["items"][0];
    assert_eq!(
        (session["subject"].as_str(), session["server"].as_str()),
        (Some("alice"), Some("web01"))
    );
    assert_eq!(
        (session["bytesUp"].as_u64(), session["bytesDown"].as_u64()),
        (Some(5), Some(5))
    );
    drop(stream);
    eventually("the session to be gone", async || {
        let list = hub.get("admin", "/sessions").await.json();
        (list["items"] == json!([]) && hub.app.sessions.count() == 0).then_some(())
    })
    .await;
    assert_eq!(
        hub.audit.first("session.closed").await["how"],
        "reset-by-client"
    );
}

#[tokio::test]
async fn each_refusal_says_its_reason_and_is_written_down_once() {
    let Path {
        hub,
        serving: _serving,
    } = path().await;
    hub.agent("offline").await;
    let alice = hub.connect("alice").await;
    let bob = hub.connect("bob").await;
    let admin = hub.connect("admin").await;
    let name = |text: &str| {
        Attributes::new()
            .with(AttributeId::SERVER, text.to_owned())
            .unwrap()
    };
    let login = |text: &str| {
        name("web01")
            .with(AttributeId::LOGIN, text.to_owned())
            .unwrap()
    };
    let bytes = Attributes::new()
        .with(AttributeId::SERVER, vec![0xff, 0xfe])
        .unwrap();
    let pods: Target = "pods/exec".parse().unwrap();
    let ssh = Target::ssh;
    for (person, target, attributes, code, words) in [
        (
            &alice,
            ssh(),
            name("nope"),
            RefuseCode::NotFound,
            "there is no server nope that you may reach",
        ),
        (
            &alice,
            ssh(),
            name("offline"),
            RefuseCode::Offline,
            "offline is not connected",
        ),
        (
            &bob,
            ssh(),
            name("web01"),
            RefuseCode::NotFound,
            "there is no server web01 that you may reach",
        ),
        (
            &admin,
            ssh(),
            name("web01"),
            RefuseCode::Denied,
            "no policy allows you to reach web01 as admin",
        ),
        (&alice, ssh(), login("root"), RefuseCode::Denied, "as root"),
        (
            &alice,
            ssh(),
            login("-oProxyCommand=x"),
            RefuseCode::BadRequest,
            "login",
        ),
        (
            &alice,
            ssh(),
            name("-oProxyCommand=x"),
            RefuseCode::BadRequest,
            "server name",
        ),
        (
            &alice,
            ssh(),
            name("../x"),
            RefuseCode::BadRequest,
            "server name",
        ),
        (
            &alice,
            ssh(),
            name("a\nb\u{202e}"),
            RefuseCode::BadRequest,
            r"a\u{a}b\u{202e}",
        ),
        (
            &alice,
            ssh(),
            name(&"x".repeat(4096)),
            RefuseCode::BadRequest,
            "4096 bytes",
        ),
        (
            &alice,
            ssh(),
            Attributes::new(),
            RefuseCode::BadRequest,
            "names no server",
        ),
        (
            &alice,
            pods,
            name("web01"),
            RefuseCode::BadRequest,
            "no target `pods/exec`",
        ),
        (&alice, ssh(), bytes, RefuseCode::BadRequest, "no text"),
    ] {
        let mut stream = person.open_with(target, attributes);
        let before = hub.audit.events("session.refused").len();
        let (found, text) = refusal(&mut stream).await;
        assert_eq!(found, code, "{text}");
        assert!(text.contains(words), "{text}");
        let events = hub.audit.events("session.refused");
        assert_eq!(events.len(), before + 1);
        let event = events.last().unwrap();
        assert!(
            event
                .values()
                .all(|value| !value.chars().any(char::is_control)),
            "{event:?}"
        );
        assert!(
            event.values().all(|value| value.chars().count() <= 201),
            "{event:?}"
        );
    }
    assert!(hub.audit.events("session.opened").is_empty());
    assert_eq!(hub.app.sessions.count(), 0);
    let told = hub
        .audit
        .events("session.refused")
        .into_iter()
        .find(|event| event["subject"] == "bob")
        .unwrap();
    assert!(
        told["reason"].contains("alice-everywhere: the person is not among its subjects"),
        "{told:?}"
    );
    assert_eq!(told["code"], "denied", "the log keeps what is true");
}

#[tokio::test]
async fn a_server_that_may_not_be_seen_looks_like_one_that_does_not_exist() {
    let Path {
        hub,
        serving: _serving,
    } = path().await;
    hub.agent("offline").await;
    // What a policy said once, of whoever it is, makes nothing visible.
    let ended = json!({
        "subjects": {"users": ["bob"]}, "servers": {"names": ["web01"]}, "logins": ["{login}"],
        "constraints": {"notAfter": "2020-01-01T00:00:00Z"},
    });
    hub.policy("ended", ended).await;
    let bob = hub.connect("bob").await;
    let mut said = Vec::new();
    for server in ["absent", "web01", "offline"] {
        // A login that is mapped, one that is not, and one that only the server's own mapping could allow.
        for login in [None, Some("bob"), Some("root")] {
            let (code, text) = refusal(&mut bob.open(server, login)).await;
            let query = login.map(|login| format!("?login={login}"));
            let path = format!("/servers/{server}/access{}", query.unwrap_or_default());
            let access = hub.get("bob", &path).await;
            access.error("NotFound");
            let body = String::from_utf8(access.body.to_vec()).unwrap();
            said.push((
                code,
                text.replace(server, "X"),
                access.status,
                body.replace(server, "X"),
            ));
        }
    }
    said.dedup();
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0].0, RefuseCode::NotFound);
    let codes: Vec<_> = hub
        .audit
        .events("session.refused")
        .into_iter()
        .map(|event| (event["server"].clone(), event["code"].clone()))
        .collect();
    assert_eq!(codes.len(), 3 * 3 * 2);
    for (server, code) in codes {
        let truth = if server == "absent" {
            "not-found"
        } else {
            "denied"
        };
        assert_eq!(code, truth, "{server}");
    }
}

#[tokio::test]
async fn who_may_see_a_server_is_told_why_they_may_not_reach_it() {
    let Path {
        hub,
        serving: _serving,
    } = path().await;
    let spec = json!({
        "subjects": {"users": ["bob"]}, "servers": {"names": ["web01"]}, "logins": ["deploy"],
    });
    hub.policy("bob-deploys", spec).await;
    let bob = hub.connect("bob").await;
    let (code, text) = refusal(&mut bob.open("web01", None)).await;
    assert_eq!(code, RefuseCode::Denied, "{text}");
    assert!(text.contains("as bob"), "{text}");
    hub.get("bob", "/servers/web01/access")
        .await
        .error("Forbidden");
}

#[tokio::test]
async fn who_has_no_token_gets_no_websocket() {
    let Path {
        hub,
        serving: _serving,
    } = path().await;
    let other = Hub::start().await;
    let agent = crate::harness::Agent::new("web01");
    for token in [
        "",
        "garbage",
        "kpt_x",
        &agent.assertion(&other),
        &format!("{}x", hub.token("alice")),
    ] {
        match hub.try_connect(token).await {
            Err(DialError::Refused { status, .. }) => assert_eq!(status, StatusCode::UNAUTHORIZED),
            other => panic!("{:?}", other.map(|_| ())),
        }
    }
}

#[tokio::test]
async fn what_the_agent_refuses_is_a_refusal_with_its_reason() {
    let hub = Hub::start().await;
    let agent = hub.agent("web01").await;
    let peer = agent.dial(&hub).await;
    hub.phase("web01", ServerPhase::Online).await;
    hub.let_alice_in().await;
    let person = hub.connect("alice").await;
    let mut stream = person.open("web01", None);
    let incoming = peer.link.accept().await.unwrap();
    let open = incoming.request();
    assert_eq!(open.attributes.text(AttributeId::LOGIN), Some("alice"));
    assert_eq!(open.attributes.text(AttributeId::SUBJECT), Some("alice"));
    assert!(
        open.attributes
            .text(AttributeId::SESSION)
            .unwrap()
            .starts_with("s-")
    );
    incoming.refuse(RefuseCode::TargetUnreachable, "sshd is down\n");
    let (code, text) = refusal(&mut stream).await;
    assert_eq!(code, RefuseCode::TargetUnreachable);
    assert!(text.contains("sshd is down"), "{text}");
    let event = hub.audit.first("session.refused").await;
    assert_eq!(event["code"], "target-unreachable");
    assert_eq!(event["reason"], r"sshd is down\u{a}");
    eventually("the place to be free", async || {
        (hub.app.sessions.count() == 0).then_some(())
    })
    .await;
    assert!(hub.audit.events("session.closed").is_empty());
}

#[tokio::test]
async fn a_session_ends_when_its_policy_is_removed() {
    let Path {
        hub,
        serving: _serving,
    } = path().await;
    let person = hub.connect("alice").await;
    let mut stream = opened(&person).await;
    hub.delete("admin", "/accesspolicies/alice-everywhere")
        .await
        .expect(StatusCode::OK);
    assert_eq!(reset(&mut stream).await, ResetCode::Revoked);
    assert_eq!(hub.audit.first("session.closed").await["how"], "revoked");
}

#[tokio::test]
async fn a_session_that_another_policy_allows_goes_on() {
    let Path {
        hub,
        serving: _serving,
    } = path().await;
    let person = hub.connect("alice").await;
    let mut stream = opened(&person).await;
    let spec = json!({ "subjects": {"groups": ["dev"]}, "servers": {"names": ["web01"]}, "logins": ["{login}"] });
    hub.policy("devs", spec).await;
    hub.delete("admin", "/accesspolicies/alice-everywhere")
        .await
        .expect(StatusCode::OK);
    let mut epoch = hub.app.epoch.subscribe();
    timeout(SOON, epoch.changed()).await.unwrap().unwrap();
    stream.write_all(b"x").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'x');
    hub.delete("admin", "/accesspolicies/devs")
        .await
        .expect(StatusCode::OK);
    assert_eq!(reset(&mut stream).await, ResetCode::Revoked);
}

#[tokio::test]
async fn a_session_ends_when_its_server_is_another_one_or_gets_another_login() {
    let Path { hub, serving } = path().await;
    let person = hub.connect("alice").await;
    let mut stream = opened(&person).await;
    let mut server = hub.get("admin", "/servers/web01").await.json();
    server["spec"]["sshUser"] = json!("ubuntu");
    hub.put("admin", "/servers/web01", server)
        .await
        .expect(StatusCode::OK);
    assert_eq!(reset(&mut stream).await, ResetCode::Revoked);

    let mut stream = opened(&person).await;
    hub.delete("admin", "/servers/web01")
        .await
        .expect(StatusCode::OK);
    let (code, text) = reset_with_words(&mut stream).await;
    assert_eq!(code, ResetCode::Revoked, "{text}");
    assert_eq!(text, "the server was removed");
    let closed = eventually("the closing event", async || {
        hub.audit.events("session.closed").into_iter().nth(1)
    })
    .await;
    assert_eq!(closed["how"], "revoked");
    assert_eq!(closed["reason"], "the server was removed");
    assert_eq!(serving.peer.end().await, LinkEnd::Revoked);
}

#[tokio::test]
async fn a_person_who_is_removed_is_cut_off() {
    let Path {
        hub,
        serving: _serving,
    } = path().await;
    let person = hub.connect("alice").await;
    let mut stream = opened(&person).await;
    let state = std::path::Path::new("/nonexistent");
    hub.reload(&configuration(
        state,
        &[("alice", "dev"), ("admin", "ops")],
        "",
    ));
    stream.write_all(b"x").await.unwrap();
    assert_eq!(
        stream.read_u8().await.unwrap(),
        b'x',
        "alice stays while she is listed"
    );
    hub.reload(&configuration(state, &[("admin", "ops")], ""));
    assert_eq!(person.end().await, LinkEnd::Revoked);
    assert!(timeout(SOON, stream.read_u8()).await.unwrap().is_err());
    hub.audit.first("session.closed").await;
    assert!(hub.try_connect(hub.token("alice")).await.is_err());
}

#[tokio::test]
async fn a_session_lasts_as_long_as_policy_and_hub_say() {
    let Path {
        hub,
        serving: _serving,
    } = path_with("session = { max-age-seconds = 7200 }").await;
    let spec = json!({
        "subjects": {"users": ["bob"]}, "servers": {"names": ["*"]}, "logins": ["{login}"],
        "constraints": {"maxSession": "1s"},
    });
    hub.policy("bob-briefly", spec).await;
    let bob = hub.connect("bob").await;
    let mut stream = opened(&bob).await;
    let list = hub.get("admin", "/sessions").await.json();
    assert!(list["items"][0]["until"].is_string());
    assert_eq!(reset(&mut stream).await, ResetCode::MaxAge);
    assert_eq!(hub.audit.first("session.closed").await["how"], "max-age");
    let alice = hub.connect("alice").await;
    let _stream = opened(&alice).await;
    let list = hub.get("admin", "/sessions").await.json();
    assert!(list["items"][0]["until"].is_string(), "the hub's own limit");
}

#[tokio::test]
async fn limits_hold_and_places_come_back() {
    let Path {
        hub,
        serving: _serving,
    } = path_with("limits = { sessions = 3, sessions-per-person = 2 }").await;
    let person = hub.connect("alice").await;
    let first = opened(&person).await;
    let _second = opened(&person).await;
    let (code, text) = refusal(&mut person.open("web01", None)).await;
    assert_eq!(code, RefuseCode::TooManyStreams);
    assert!(text.contains("as one person may"), "{text}");
    drop(first);
    eventually("a place", async || {
        let mut stream = person.open("web01", None);
        timeout(SOON, stream.opened())
            .await
            .unwrap()
            .is_ok()
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_asks_too_often_waits_and_nobody_else_does() {
    let Path {
        hub,
        serving: _serving,
    } = path().await;
    // Over two links, which do not make it faster.
    let bobs = [hub.connect("bob").await, hub.connect("bob").await];
    let alice = hub.connect("alice").await;
    let bob = || ("static".to_owned(), "bob".to_owned());
    let now = std::time::Instant::now();
    while hub.app.openings.take(bob(), now).is_ok() {}
    let count = 10;
    let mut asked: Vec<_> = (0..count)
        .flat_map(|_| bobs.iter().map(|bob| bob.open("web01", None)))
        .collect();
    drop(opened(&alice).await);
    for stream in &mut asked {
        assert_eq!(refusal(stream).await.0, RefuseCode::NotFound);
    }
    let least = kedge_hub::defaults::OPENINGS_REFILL * (2 * count - 1);
    assert!(now.elapsed() >= least, "{:?}", now.elapsed());
}

#[tokio::test]
async fn whichever_end_dies_the_other_is_told() {
    let Path { hub, serving } = path().await;
    let person = hub.connect("alice").await;
    let mut stream = opened(&person).await;
    serving.peer.break_off();
    assert_eq!(reset(&mut stream).await, ResetCode::LinkLost);
    assert_eq!(hub.audit.first("session.closed").await["how"], "agent-lost");

    let Path {
        hub,
        serving: _serving,
    } = path().await;
    let person = hub.connect("alice").await;
    let _stream = opened(&person).await;
    person.break_off();
    assert_eq!(
        hub.audit.first("session.closed").await["how"],
        "client-lost"
    );
    eventually("the place to be free", async || {
        (hub.app.sessions.count() == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_dials_again_ends_the_sessions_of_its_older_tunnel_only() {
    let hub = Hub::start().await;
    let agent = hub.agent("web01").await;
    let _older = agent.serve(&hub).await;
    hub.phase("web01", ServerPhase::Online).await;
    hub.let_alice_in().await;
    let person = hub.connect("alice").await;
    let mut stream = opened(&person).await;
    let _newer = agent.serve(&hub).await;
    assert_eq!(reset(&mut stream).await, ResetCode::LinkLost);
    let mut stream = opened(&person).await;
    stream.write_all(b"x").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'x');
}

#[tokio::test]
async fn three_hundred_sessions_leave_nothing_behind() {
    let Path {
        hub,
        serving: _serving,
    } = path().await;
    let person = hub.connect("alice").await;
    let mut stream = opened(&person).await;
    stream.write_all(b"warm").await.unwrap();
    drop(stream);
    eventually("the first to be gone", async || {
        (hub.shutdown.sessions().count() == 0).then_some(())
    })
    .await;
    let tasks = hub.shutdown.tasks().count();
    for _ in 0..300 {
        let mut stream = opened(&person).await;
        stream.write_all(b"x").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    }
    eventually("all of them to be gone", async || {
        (hub.shutdown.sessions().count() == 0 && hub.app.sessions.count() == 0).then_some(())
    })
    .await;
    assert_eq!(hub.shutdown.tasks().count(), tasks);
    assert_eq!(hub.audit.events("session.opened").len(), 301);
    assert_eq!(hub.audit.events("session.closed").len(), 301);
    person.link.close(CloseReason::Finished);
}
