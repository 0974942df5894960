//! Joining: once, whole or not at all, and again when the answer was lost.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use kedge_agent::identity::StateDir;
use kedge_agent::join::{Join, JoinError, Joined, announcement, join};
use kedge_api::{Labels, Status, StatusReason};
use kedge_service::Failure;
use kedge_tunnel::CertificatePin;
use support::{Enrolling, Hub, host_keys};

struct Server {
    folder: tempfile::TempDir,
    patterns: Vec<String>,
}

impl Server {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (_, patterns) = host_keys(folder.path());
        Self { folder, patterns }
    }

    fn state(&self) -> StateDir {
        StateDir::new(&self.folder.path().join("state"))
    }

    fn join(&self, hub: &Hub) -> Join {
        let mut labels = Labels::default();
        labels.insert("role".parse().unwrap(), "web".parse().unwrap());
        Join {
            hub: hub.url(),
            token: hub.token.reveal().parse().unwrap(),
            name: Some("web01".parse().unwrap()),
            labels,
            pin: hub.pin,
            ca_file: None,
            state: self.state(),
            host_keys: self.patterns.clone(),
        }
    }

    /// What is in the state folder, with modes.
    fn files(&self) -> Vec<(PathBuf, u32)> {
        let Ok(entries) = std::fs::read_dir(self.state().path()) else {
            return Vec::new();
        };
        let mut files: Vec<_> = entries
            .map(|entry| {
                let path = entry.unwrap().path();
                let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
                (path.file_name().unwrap().into(), mode)
            })
            .collect();
        files.sort();
        files
    }
}

fn shown(failure: &Failure) -> String {
    let mut out = Vec::new();
    failure.write(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[tokio::test]
async fn an_agent_joins_and_has_two_files_of_its_own() {
    let (hub, server) = (Hub::with_tls().await, Server::new());
    let joined = join(&server.join(&hub)).await.unwrap();
    assert_eq!(
        announcement(&joined),
        format!("joined main ({}) as web01", hub.url())
    );
    let expected = [("agent.key", 0o600), ("identity.json", 0o600)];
    assert_eq!(
        server.files(),
        expected.map(|(name, mode)| (PathBuf::from(name), mode))
    );
    let identity = server.state().identity().unwrap().unwrap();
    assert_eq!(identity.hub_id, hub.id);
    assert_eq!(identity.pin, hub.pin.map(|pin| pin.to_string()));
    hub.seen(|ledger| {
        let enrolment = &ledger.enrolments[0];
        assert_eq!(
            enrolment.public_key,
            server.state().key().unwrap().public_key()
        );
        assert_eq!(enrolment.host_keys.len(), 1);
        assert_eq!(enrolment.labels.value("role").unwrap().as_str(), "web");
        assert_eq!(enrolment.version.as_str(), kedge_agent::VERSION);
        assert!(
            !serde_json::to_string(enrolment).unwrap().contains("kjt_"),
            "the token stays in its header"
        );
    });
}

#[tokio::test]
async fn a_second_join_is_the_same_or_refused() {
    let (hub, server) = (Hub::plain().await, Server::new());
    join(&server.join(&hub)).await.unwrap();
    let again = join(&server.join(&hub)).await.unwrap();
    assert!(matches!(again, Joined::Already(_)), "{again:?}");
    let nameless = Join {
        name: None,
        ..server.join(&hub)
    };
    assert!(matches!(join(&nameless).await.unwrap(), Joined::Already(_)));
    let renamed = Join {
        name: Some("web02".parse().unwrap()),
        ..server.join(&hub)
    };
    assert!(matches!(join(&renamed).await, Err(JoinError::Elsewhere(_))));
    let moved = Join {
        hub: "https://other.example".parse().unwrap(),
        ..server.join(&hub)
    };
    let error = join(&moved).await.unwrap_err();
    let text = shown(&error.failure());
    assert!(
        text.starts_with(&format!(
            "error: this agent has joined {} as web01 already\nhint: ",
            hub.url()
        )),
        "{text}"
    );
    assert_eq!(hub.seen(|ledger| ledger.enrolments.len()), 1);
}

#[tokio::test]
async fn an_agent_whose_server_was_deleted_joins_again_with_its_key() {
    let (hub, server) = (Hub::plain().await, Server::new());
    join(&server.join(&hub)).await.unwrap();
    let key = server.state().key().unwrap().public_key();
    hub.change(|ledger| {
        ledger.servers.clear();
        ledger.report_status = Some(http::StatusCode::UNAUTHORIZED);
    });
    // The token is used up: that is no success, although the agent had joined once.
    let failure = join(&server.join(&hub)).await.unwrap_err().failure();
    assert!(shown(&failure).contains("used up"), "{}", shown(&failure));
    hub.change(|ledger| ledger.uses = 1);
    let joined = join(&server.join(&hub)).await.unwrap();
    assert!(matches!(joined, Joined::Now(_)), "{joined:?}");
    assert_eq!(server.state().key().unwrap().public_key(), key);
    hub.seen(|ledger| assert_eq!(ledger.servers.values().collect::<Vec<_>>(), [&key]));
}

#[tokio::test]
async fn an_agent_that_has_joined_says_so_without_a_hub_that_answers() {
    let (hub, server) = (Hub::plain().await, Server::new());
    let again = server.join(&hub);
    join(&again).await.unwrap();
    drop(hub);
    let joined = join(&again).await.unwrap();
    assert!(matches!(joined, Joined::Already(_)), "{joined:?}");
}

#[tokio::test]
async fn a_hub_with_another_certificate_is_refused_before_it_hears_anything() {
    let (hub, server) = (Hub::with_tls().await, Server::new());
    let wrong = Join {
        pin: Some(CertificatePin::of(b"another")),
        ..server.join(&hub)
    };
    let error = join(&wrong).await.unwrap_err();
    let text = shown(&error.failure());
    assert!(
        text.contains(&format!("shows the certificate {}", hub.pin.unwrap())),
        "{text}"
    );
    // Without a pin the system's roots decide, and the hint says which pin to compare.
    let unpinned = Join {
        pin: None,
        ..server.join(&hub)
    };
    let text = shown(&join(&unpinned).await.unwrap_err().failure());
    assert!(
        text.contains(&format!("--pin {}", hub.pin.unwrap())),
        "{text}"
    );
    assert_eq!(hub.seen(|ledger| ledger.enrolments.len()), 0);
    assert_eq!(server.files(), [], "nothing was written");
}

#[tokio::test]
async fn a_lost_answer_can_be_made_up_for_although_the_token_is_used() {
    let (hub, server) = (Hub::plain().await, Server::new());
    hub.change(|ledger| ledger.enrolling = Enrolling::LosesItsAnswer);
    let error = join(&server.join(&hub)).await.unwrap_err();
    let text = shown(&error.failure());
    assert!(
        text.contains("hint: the hub may have taken this agent on all the same: run"),
        "{text}"
    );
    assert_eq!(
        server.files(),
        [(PathBuf::from("agent.key"), 0o600)],
        "it has not joined"
    );
    hub.change(|ledger| ledger.enrolling = Enrolling::Good);
    let joined = join(&server.join(&hub)).await.unwrap();
    assert!(matches!(joined, Joined::Now(_)), "{joined:?}");
    hub.seen(|ledger| {
        assert_eq!(ledger.uses, 0, "one use was enough");
        assert_eq!(
            ledger.enrolments[0].public_key,
            ledger.enrolments[1].public_key
        );
        assert_eq!(
            ledger.reports.len(),
            1,
            "its own key told the hub who it is"
        );
    });
}

#[tokio::test]
async fn a_used_token_is_refused_with_exit_code_5_and_leaves_no_identity() {
    let (hub, server) = (Hub::plain().await, Server::new());
    hub.change(|ledger| ledger.uses = 0);
    // Also when the key is already there: it is not known to the hub.
    for _ in 0..2 {
        let failure = join(&server.join(&hub)).await.unwrap_err().failure();
        let text = shown(&failure);
        let expected = format!(
            "error: cannot join {} as web01: the hub refused: join token unknown or used up (401)\n\
             hint: ask for a new join token",
            hub.url()
        );
        assert!(text.starts_with(&expected), "{text}");
        assert_eq!(failure, failure.clone().code(5));
        assert_eq!(server.files(), [(PathBuf::from("agent.key"), 0o600)]);
    }
}

#[tokio::test]
async fn a_name_that_another_agent_has_is_refused() {
    let (hub, first, second) = (Hub::plain().await, Server::new(), Server::new());
    hub.change(|ledger| ledger.uses = 2);
    join(&first.join(&hub)).await.unwrap();
    let text = shown(&join(&second.join(&hub)).await.unwrap_err().failure());
    assert!(
        text.contains("hint: another agent is web01: choose another --name"),
        "{text}"
    );
    assert!(second.state().identity().unwrap().is_none());
}

#[tokio::test]
async fn an_answer_about_somebody_else_is_not_believed() {
    let (hub, server) = (Hub::plain().await, Server::new());
    hub.change(|ledger| ledger.enrolling = Enrolling::WrongName);
    let error = join(&server.join(&hub)).await.unwrap_err();
    assert!(matches!(error, JoinError::WrongAnswer { .. }), "{error:?}");
    assert!(server.state().identity().unwrap().is_none());
}

#[tokio::test]
async fn a_hubs_words_cannot_draw_on_the_terminal() {
    let (hub, server) = (Hub::plain().await, Server::new());
    let status = Status::new(StatusReason::Forbidden, "\u{1b}[2J\nroot# \u{202e}");
    hub.change(|ledger| ledger.enrolling = Enrolling::Refuses(status));
    let text = shown(&join(&server.join(&hub)).await.unwrap_err().failure());
    assert!(
        !text.contains('\u{1b}') && !text.contains('\u{202e}'),
        "{text:?}"
    );
    assert_eq!(text.lines().count(), 2, "{text:?}");
}

#[tokio::test]
async fn a_server_without_host_keys_does_not_join() {
    let (hub, server) = (Hub::plain().await, Server::new());
    let keyless = Join {
        host_keys: vec!["/nonexistent/*.pub".to_owned()],
        ..server.join(&hub)
    };
    let text = shown(&join(&keyless).await.unwrap_err().failure());
    assert!(
        text.contains("no host key in /nonexistent/*.pub\nhint: "),
        "{text}"
    );
    assert_eq!(server.files(), []);
}

#[tokio::test]
async fn what_is_no_hub_is_named() {
    let (mut hub, server) = (Hub::plain().await, Server::new());
    let (address, request) = (hub.address, server.join(&hub));
    hub.crash().await;
    let text = shown(&join(&request).await.unwrap_err().failure());
    let expected = format!("error: cannot reach http://{address}: cannot connect to {address}: ");
    assert!(text.starts_with(&expected), "{text}");
    assert!(!Path::new(&server.state().key_path()).exists());
}
