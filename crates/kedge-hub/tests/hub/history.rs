//! What the hub remembers of sessions: all of them, in order, for as long as it should, and never at their cost.

use http::StatusCode;
use kedge_api::{Permission, ServerPhase, Time};
use kedge_hub::{
    history::{self, Wish},
    session::Ask,
};
use kedge_store::HistoryLine;
use kedge_tunnel::Attributes;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::harness::{Hub, SOON, Serving, eventually};

/// A hub where alice may reach web01, which is there.
pub(crate) async fn path_with(extra: &str) -> (Hub, Serving) {
    let hub = Hub::with(extra).await;
    let agent = hub.agent("web01").await;
    let serving = agent.serve(&hub).await;
    hub.phase("web01", ServerPhase::Online).await;
    hub.let_alice_in().await;
    (hub, serving)
}

/// A session there and back; whether there was one.
pub(crate) async fn session(hub: &Hub, who: &str, server: &str, login: Option<&str>) -> bool {
    let person = hub.connect(who).await;
    let mut stream = person.open(server, login);
    timeout(SOON, stream.opened()).await.unwrap().is_ok()
}

/// The history, once it has so many records.
pub(crate) async fn records(hub: &Hub, wanted: usize) -> Vec<Value> {
    eventually(&format!("{wanted} records"), async || {
        let reply = hub.get("admin", "/history?limit=1000").await;
        let items = reply.expect(StatusCode::OK).json()["items"].clone();
        let items = items.as_array().unwrap().clone();
        assert!(items.len() <= wanted, "{items:#?}");
        (items.len() == wanted).then_some(items)
    })
    .await
}

#[tokio::test]
async fn sessions_and_refusals_are_remembered_with_what_decided_them() {
    let (hub, _serving) = path_with("").await;
    let mut server = hub.get("admin", "/servers/web01").await.json();
    server["metadata"]["labels"] = json!({ "env": "prod" });
    hub.put("admin", "/servers/web01", server)
        .await
        .expect(StatusCode::OK);
    assert!(session(&hub, "alice", "web01", None).await);
    assert!(!session(&hub, "alice", "web01", Some("deploy")).await);
    assert!(!session(&hub, "bob", "web01", None).await);
    assert!(!session(&hub, "alice", "ghost", None).await);
    let records = records(&hub, 4).await;

    let opened = &records[0];
    assert_eq!(opened["event"], "opened", "{opened}");
    assert_eq!(opened["principal"]["subject"], "alice", "{opened}");
    assert_eq!(opened["principal"]["groups"], json!(["dev"]), "{opened}");
    let claims = json!({ "preferred_username": "alice" });
    assert_eq!(opened["principal"]["claims"], claims, "{opened}");
    assert_eq!(opened["server"], "web01", "{opened}");
    assert_eq!(opened["serverLabels"], json!({"env": "prod"}), "{opened}");
    assert_eq!(
        (&opened["login"], &opened["origin"]),
        (&json!("alice"), &json!("claim"))
    );
    assert_eq!(opened["policy"], "alice-everywhere", "{opened}");
    assert_eq!(opened["source"], "127.0.0.1", "{opened}");
    assert_eq!(opened["permission"], "ssh", "{opened}");
    assert_eq!(
        opened["session"],
        hub.audit.first("session.opened").await["session"].as_str()
    );

    let asked = &records[1];
    assert_eq!(
        (&asked["event"], &asked["code"]),
        (&json!("refused"), &json!("denied"))
    );
    assert_eq!(
        (&asked["loginRequested"], &asked["login"]),
        (&json!("deploy"), &json!("deploy"))
    );
    assert_eq!(asked["origin"], "requested", "{asked}");
    assert!(asked.get("policy").is_none(), "{asked}");
    // The truth is here, too, that bob was not told.
    assert_eq!(
        (&records[2]["principal"]["user"], &records[2]["code"]),
        (&json!("bob"), &json!("denied"))
    );
    let nowhere = &records[3];
    assert_eq!(
        (&nowhere["server"], &nowhere["code"]),
        (&json!("ghost"), &json!("not-found"))
    );
    assert!(nowhere.get("serverLabels").is_none() && nowhere.get("login").is_none());
}

#[tokio::test]
async fn the_history_is_read_in_pages_from_a_moment_on() {
    let hub = Hub::start().await;
    let now = hub.now();
    let line = |minutes: u64| HistoryLine {
        at: now.saturating_add(std::time::Duration::from_secs(60 * minutes)),
        about: String::new(),
        body: record(&format!("p{minutes}")).to_string(),
    };
    hub.app
        .store
        .append((0..25).map(line).collect())
        .await
        .unwrap();
    let users = |page: &Value| {
        let items = page["items"].as_array().unwrap();
        let user = |item: &Value| item["principal"]["user"].as_str().unwrap().to_owned();
        items.iter().map(user).collect::<Vec<_>>()
    };
    let mut seen = Vec::new();
    let mut path = "/history?limit=10".to_owned();
    for wanted in [10, 10, 5] {
        let page = hub.get("admin", &path).await.expect(StatusCode::OK).json();
        assert_eq!(users(&page).len(), wanted);
        seen.extend(users(&page));
        match page["continue"].as_str() {
            Some(next) => path = format!("/history?limit=10&continue={next}"),
            None => assert_eq!(wanted, 5),
        }
    }
    let all: Vec<_> = (0..25).map(|n| format!("p{n}")).collect();
    assert_eq!(seen, all);
    let since: Time = line(20).at;
    let page = hub
        .get("admin", &format!("/history?since={since}"))
        .await
        .json();
    assert_eq!(users(&page), all[20..]);
    for bad in [
        "/history?since=yesterday",
        "/history?limit=0",
        "/history?limit=-1",
        "/history?limit=many",
        "/history?continue=nonsense",
        "/history?continue=1-1-1",
    ] {
        hub.get("admin", bad).await.error("BadRequest");
    }
    // What another version wrote does not hide the rest.
    let strange = HistoryLine {
        body: "{\"at\":7}".to_owned(),
        ..line(30)
    };
    hub.app.store.append(vec![strange, line(31)]).await.unwrap();
    let page = hub
        .get("admin", "/history")
        .await
        .expect(StatusCode::OK)
        .json();
    assert_eq!(users(&page).len(), 26);
}

fn record(user: &str) -> Value {
    json!({
        "at": "2026-01-31T12:00:00Z", "event": "refused", "server": "web01", "permission": "ssh",
        "source": "192.0.2.1", "code": "denied",
        "principal": {
            "issuer": "static", "subject": user, "user": user, "method": "static-token", "standing": "home",
        },
    })
}

#[tokio::test]
async fn the_last_session_before_the_end_is_remembered() {
    let (hub, serving) = path_with("").await;
    let person = hub.connect("alice").await;
    let mut stream = person.open("web01", None);
    timeout(SOON, stream.opened()).await.unwrap().unwrap();
    // At once: the writer has hardly begun.
    let hub = hub.restart().await;
    drop((stream, person, serving));
    let records = records(&hub, 1).await;
    assert_eq!(records[0]["principal"]["user"], "alice");
    drop(hub);
}

/// What a hub that is killed leaves is what its files are at that moment.
#[tokio::test]
async fn what_is_remembered_survives_a_kill() {
    let (hub, serving) = path_with("").await;
    assert!(session(&hub, "alice", "web01", None).await);
    assert!(!session(&hub, "bob", "web01", None).await);
    let before = records(&hub, 2).await;
    let left = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let state = left.path().join("state");
    std::fs::create_dir(&state).unwrap();
    for entry in std::fs::read_dir(hub.state()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), state.join(entry.file_name())).unwrap();
    }
    drop(serving);
    hub.stop().await;
    let hub = Hub::at(left, "").await;
    assert_eq!(records(&hub, 2).await, before);
}

#[tokio::test]
async fn a_refusal_before_the_session_is_remembered_as_well() {
    let (hub, _serving) = path_with("").await;
    hub.get("alice", "/servers/web01/access?login=deploy")
        .await
        .error("Forbidden");
    hub.get("alice", "/servers/web01/access")
        .await
        .expect(StatusCode::OK);
    let records = records(&hub, 1).await;
    assert_eq!(
        (&records[0]["code"], &records[0]["loginRequested"]),
        (&json!("denied"), &json!("deploy"))
    );
    assert!(records[0].get("session").is_none(), "{}", records[0]);
}

#[tokio::test]
async fn a_full_disk_stops_no_session_and_loses_nothing_that_the_queue_can_hold() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let folder = std::sync::Arc::new(tempfile::TempDir::new_in(disk.0.path()).unwrap());
    let hub = Hub::at(folder, "").await;
    let agent = hub.agent("web01").await;
    let _serving = agent.serve(&hub).await;
    hub.phase("web01", ServerPhase::Online).await;
    hub.let_alice_in().await;
    let ballast = disk.0.path().join("ballast");
    let mut file = std::fs::File::create(&ballast).unwrap();
    while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    let large = |number: usize| {
        json!({
            "apiVersion": "kedge.dev/v1alpha1", "kind": "Server", "spec": {},
            "metadata": {"name": format!("large{number}"), "annotations": {"note": "x".repeat(60_000)}},
        })
    };
    let mut number = 0;
    let full = loop {
        number += 1;
        let reply = hub.post("admin", "/servers", large(number)).await;
        if reply.status != StatusCode::CREATED {
            break reply;
        }
    };
    full.error("ServiceUnavailable");
    // More than what is left of the write-ahead log, so that it is full for the history as well.
    let sessions = 60;
    for _ in 0..sessions {
        assert!(session(&hub, "alice", "web01", None).await);
    }
    std::fs::remove_file(&ballast).unwrap();
    drop(file);
    assert_eq!(records(&hub, sessions).await.len(), sessions);
    hub.stop().await;
}

/// A file system of two megabytes, unmounted on drop.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        use rustix::mount::{MountFlags, mount};
        let folder = tempfile::TempDir::new().unwrap();
        let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
        match mount("tmpfs", folder.path(), "tmpfs", flags, Some(c"size=2m")) {
            Ok(()) => Some(Self(folder)),
            Err(error) => {
                // Past libtest, which would swallow it.
                let reason = format!("kedge-testkit: skipped: cannot mount a tmpfs: {error}\n");
                std::io::Write::write_all(&mut std::io::stderr(), reason.as_bytes()).unwrap();
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        use rustix::mount::{UnmountFlags, unmount};
        if let Err(error) = unmount(self.0.path(), UnmountFlags::DETACH) {
            println!("cannot unmount {}: {error}", self.0.path().display());
        }
    }
}

#[tokio::test]
async fn what_is_too_old_or_too_much_is_forgotten() {
    let hub = Hub::with("history = { days = 2, records = 30 }").await;
    let now = hub.now().timestamp();
    let days = |days: i64| {
        let at = now.checked_sub(jiff::SignedDuration::from_hours(24 * days));
        HistoryLine {
            at: at.unwrap().into(),
            about: String::new(),
            body: record(&format!("d{days}")).to_string(),
        }
    };
    let mut lines = vec![days(9), days(3)];
    lines.extend((0..40).map(|_| days(1)));
    hub.app.store.append(lines).await.unwrap();
    let hub = hub.restart().await;
    eventually("the old ones to be gone", async || {
        let list = hub.get("admin", "/history").await.json();
        let items = list["items"].as_array().unwrap();
        let old = items.iter().any(|item| item["principal"]["user"] != "d1");
        (!old && items.len() == 30).then_some(())
    })
    .await;
}

#[tokio::test]
async fn with_no_room_for_records_none_is_kept() {
    let (hub, _serving) = path_with("history = { records = 0 }").await;
    assert!(session(&hub, "alice", "web01", None).await);
    hub.audit.first("session.opened").await;
    let (_, directory) = hub.stop().await;
    let hub = Hub::at(directory, "").await;
    assert_eq!(records(&hub, 0).await.len(), 0);
}

#[tokio::test]
async fn a_history_that_cannot_follow_is_counted_and_keeps_nobody_waiting() {
    let hub = Hub::start().await;
    // The writer is on this thread, so it writes nothing meanwhile.
    let room = kedge_hub::defaults::HISTORY_QUEUE;
    let each = kedge_hub::defaults::HISTORY_BURST as usize;
    for number in 0..room + 100 {
        refuse(&hub, &format!("person{}", number / each)).await;
    }
    counted(&hub, room, 100).await;
}

#[tokio::test]
async fn one_person_does_not_fill_the_history() {
    let hub = Hub::start().await;
    let burst = kedge_hub::defaults::HISTORY_BURST as usize;
    for _ in 0..burst {
        refuse(&hub, "mallory").await;
    }
    // Time passes here, and a little more is remembered for it: nothing that fills a disk.
    let begun = std::time::Instant::now();
    for _ in 0..burst {
        refuse(&hub, "mallory").await;
    }
    let more = begun.elapsed().as_secs() as usize + 1;
    refuse(&hub, "alice").await;
    let written = eventually("alice to be remembered", async || {
        let reply = hub.get("admin", "/history?limit=1000").await;
        let items = reply.expect(StatusCode::OK).json()["items"].clone();
        let items = items.as_array().unwrap().clone();
        let last = items.last()?["principal"]["user"] == "alice";
        last.then_some(items.len())
    })
    .await;
    let about_mallory = written - 1;
    assert!(
        (burst..=burst + more).contains(&about_mallory),
        "{about_mallory}"
    );
    counted(&hub, written, 2 * burst - about_mallory).await;
}

/// Has the hub remember that somebody was refused.
async fn refuse(hub: &Hub, person: &str) {
    let mut who = hub
        .app
        .people
        .authenticate(hub.token("alice"))
        .await
        .unwrap();
    let mut principal = kedge_api::Principal::clone(&who.principal);
    principal.subject = person.parse().unwrap();
    principal.user = person.parse().unwrap();
    who.principal = std::sync::Arc::new(principal);
    let ask = Ask {
        server: "web01".parse().unwrap(),
        login: None,
        permission: Permission::Ssh,
    };
    let wish = Wish {
        who: &who,
        from: [192, 0, 2, 1].into(),
        ask: &ask,
        id: None,
        sessions: 0,
    };
    history::refused(&hub.app, wish, "denied", "no").await;
}

/// Waits until so many records are written, and sees that so many were not.
async fn counted(hub: &Hub, written: usize, dropped: usize) {
    let line = |result: &str, count: usize| {
        format!("kedge_hub_history_records_total{{result=\"{result}\"}} {count}\n")
    };
    let numbers = eventually("all to be written", async || {
        let numbers = hub.operators("/metrics").await;
        numbers
            .contains(&line("written", written))
            .then_some(numbers)
    })
    .await;
    assert!(numbers.contains(&line("dropped", dropped)), "{numbers}");
}

#[tokio::test]
async fn somebody_who_asks_without_end_does_not_fill_the_audit_log() {
    let hub = Hub::start().await;
    let who = hub
        .app
        .people
        .authenticate(hub.token("alice"))
        .await
        .unwrap();
    let person = (
        who.principal.issuer.as_str().to_owned(),
        who.principal.subject.as_str().to_owned(),
    );
    let now = std::time::Instant::now;
    while hub.app.openings.take(person.clone(), now()).is_ok() {}
    let begun = now();
    for _ in 0..100 {
        hub.get("alice", "/servers/web01/access")
            .await
            .expect(StatusCode::NOT_FOUND);
    }
    let refill = kedge_hub::defaults::OPENINGS_REFILL.as_millis();
    let most = begun.elapsed().as_millis() / refill + 1;
    let noted = hub.audit.events("session.refused").len();
    assert!(noted as u128 <= most, "{noted} of {most}");
}

#[tokio::test]
async fn who_does_not_prove_themselves_is_not_in_the_history() {
    let (hub, _serving) = path_with("").await;
    for _ in 0..20 {
        assert!(hub.try_connect("kpt_nobody").await.is_err());
    }
    assert!(session(&hub, "alice", "web01", None).await);
    assert_eq!(records(&hub, 1).await[0]["principal"]["user"], "alice");
}

#[tokio::test]
async fn what_peers_say_is_printable() {
    let hub = Hub::start().await;
    let agent = hub.agent("web01").await;
    let peer = agent.dial(&hub).await;
    hub.phase("web01", ServerPhase::Online).await;
    hub.let_alice_in().await;
    let person = hub.connect("alice").await;
    let mut stream = person.open("web01", None);
    let incoming = timeout(SOON, peer.link.accept()).await.unwrap().unwrap();
    incoming.refuse(
        kedge_proto::RefuseCode::TargetUnreachable,
        "\u{1b}]0;pwned\u{7}\r\nfake line \u{202e}",
    );
    timeout(SOON, stream.opened()).await.unwrap().unwrap_err();
    // No name that is none gets into a record.
    let attributes = Attributes::new()
        .with(
            kedge_tunnel::AttributeId::SERVER,
            "web\u{1b}[31m".to_owned(),
        )
        .unwrap();
    let mut stream = person.open_with(kedge_tunnel::Target::ssh(), attributes);
    timeout(SOON, stream.opened()).await.unwrap().unwrap_err();
    let records = records(&hub, 1).await;
    let reason = records[0]["reason"].as_str().unwrap();
    assert!(reason.contains("pwned"), "{reason:?}");
    assert!(
        reason.chars().all(|c| !c.is_control() && c != '\u{202e}'),
        "{reason:?}"
    );
    let reply = hub.get("admin", "/history").await;
    assert!(reply.body.iter().all(|byte| *byte >= b' '));
}

#[tokio::test]
async fn somebody_about_whom_too_much_is_said_is_remembered_in_short() {
    let long = "x".repeat(40_000);
    let extra = format!(
        "[[people]]\nsubject = \"carol\"\ntoken-sha256 = \"{}\"\n\
         claims = {{ preferred_username = \"carol\", essay = \"{long}\" }}",
        kedge_api::TokenHash::of("carols-token")
    );
    let hub = Hub::with(&extra).await;
    let agent = hub.agent("web01").await;
    let _serving = agent.serve(&hub).await;
    hub.phase("web01", ServerPhase::Online).await;
    let person = hub.try_connect("carols-token").await.unwrap();
    let mut stream = person.open("web01", None);
    timeout(SOON, stream.opened()).await.unwrap().unwrap_err();
    let records = records(&hub, 1).await;
    let claims = json!({ "preferred_username": "carol" });
    assert_eq!(records[0]["principal"]["claims"], claims);
}
