//! A running agent between a hub and a target, both in this process: what it carries, what it
//! refuses and why, how it comes back, how it stops.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::StatusCode;
use kedge_agent::agent::{Agent, Surroundings};
use kedge_agent::config::AgentConfig;
use kedge_agent::identity::StateDir;
use kedge_agent::join::{Join, join};
use kedge_agent::metrics::{AgentMetrics, DialLabels, DialResult};
use kedge_agent::reload::Reloader;
use kedge_api::Labels;
use kedge_service::{Notifier, Shutdown, Source, Stage, StopReport, Tasks};
use kedge_tunnel::{
    AttributeId, Attributes, CloseReason, Link, LinkEnd, OpenRequest, RefuseCode, ResetCode,
    ResumeHash, StreamError, StreamKey, Target, TunnelStream,
};
use support::{HOST_KEY, Hub, OTHER_HOST_KEY, host_keys, soon, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;

#[tokio::test]
async fn a_session_carries_every_byte_and_both_ends() {
    let mut test = Test::start("").await;
    let link = test.hub.link().await;
    let mut stream = open(&link, Target::ssh());
    let (mut target, _) = soon(test.target.accept()).await.unwrap();
    // sshd speaks first.
    target.write_all(b"SSH-2.0-test\r\n").await.unwrap();
    let mut banner = [0; 14];
    soon(stream.read_exact(&mut banner)).await.unwrap();
    assert_eq!(&banner, b"SSH-2.0-test\r\n");
    // The person has said all; the server goes on talking: half-close, each way for itself.
    let upward: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let downward: Vec<u8> = (0..2_000_000_u32).map(|n| (n % 241) as u8).collect();
    let (mut from_hub, mut to_hub) = stream.split();
    let send = async {
        to_hub.write_all(&upward).await.unwrap();
        to_hub.shutdown().await.unwrap();
    };
    let serve = async {
        let mut heard = Vec::new();
        target.read_to_end(&mut heard).await.unwrap();
        assert!(heard == upward, "every byte arrived in order");
        target.write_all(&downward).await.unwrap();
        target.shutdown().await.unwrap();
    };
    let receive = async {
        let mut heard = Vec::new();
        from_hub.read_to_end(&mut heard).await.unwrap();
        assert!(heard == downward, "every byte arrived in order");
    };
    soon(async { tokio::join!(send, serve, receive) }).await;
    until("the session ends", || test.shutdown.sessions().count() == 0).await;
}

#[tokio::test]
async fn the_hub_hears_the_host_keys_before_the_link_stands() {
    let mut test = Test::start("").await;
    test.hub.link().await;
    test.hub.seen(|ledger| {
        let keys: Vec<_> = ledger.reports[0]
            .host_keys
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(keys, [HOST_KEY.rsplit_once(' ').unwrap().0]);
    });
}

#[tokio::test]
async fn nothing_but_the_target_can_be_reached() {
    let mut test = Test::start("").await;
    let link = test.hub.link().await;
    for name in ["git", "tcp/10.0.0.1", "ssh2"] {
        let (code, text) = refused(open(&link, name.parse().unwrap())).await;
        assert_eq!(code, RefuseCode::BadRequest, "{name}");
        assert_eq!(text, "this agent serves nothing but ssh");
    }
    // Attributes that name another place are words for the log, no more.
    let attributes = Attributes::new()
        .with(AttributeId::SERVER, "10.0.0.1")
        .unwrap()
        .with(AttributeId::SUBJECT, "\u{1b}[2J\nroot")
        .unwrap()
        .with(AttributeId(77), "tcp:10.0.0.1:22")
        .unwrap();
    let stream = open_with(&link, Target::ssh(), attributes);
    soon(test.target.accept()).await.unwrap();
    drop(stream);
}

#[tokio::test]
async fn a_target_that_is_not_there_is_refused_with_its_reason() {
    let mut test = Test::start("").await;
    let link = test.hub.link().await;
    let address = test.target.local_addr().unwrap();
    drop(std::mem::replace(&mut test.target, any_port().await));
    let (code, text) = refused(open(&link, Target::ssh())).await;
    assert_eq!(code, RefuseCode::TargetUnreachable);
    assert_eq!(
        text,
        format!("tcp:{address}: connection refused; is sshd running?")
    );
    // A Unix socket says what it lacks; then it is there, and the next session finds it.
    let path = test.folder.path().join("sshd.sock");
    test.reload(&format!("target = \"unix:{}\"", path.display()));
    let (code, text) = refused(open(&link, Target::ssh())).await;
    assert_eq!(code, RefuseCode::TargetUnreachable);
    assert!(
        text.ends_with("no such socket; is sshd's socket unit active?"),
        "{text}"
    );
    let socket = UnixListener::bind(&path).unwrap();
    let mut stream = open(&link, Target::ssh());
    let (mut target, _) = soon(socket.accept()).await.unwrap();
    target.write_all(b"hello").await.unwrap();
    let mut heard = [0; 5];
    soon(stream.read_exact(&mut heard)).await.unwrap();
}

#[tokio::test]
async fn an_sshd_that_says_nothing_ends_in_a_reason() {
    let mut test = Test::start("").await;
    let link = test.hub.link().await;
    let stream = open(&link, Target::ssh());
    let (_target, _) = soon(test.target.accept()).await.unwrap();
    tokio::time::pause();
    let (code, text) = reset(stream).await;
    assert_eq!(code, ResetCode::TargetSilent);
    let address = test.target.local_addr().unwrap();
    let expected = format!("tcp:{address}: it accepted the connection and said nothing for 15 s");
    assert_eq!(text, expected);
}

#[tokio::test]
async fn an_sshd_that_hangs_up_first_ends_in_a_reason() {
    let mut test = Test::start("").await;
    let link = test.hub.link().await;
    let stream = open(&link, Target::ssh());
    drop(soon(test.target.accept()).await.unwrap());
    let (code, text) = reset(stream).await;
    assert_eq!(code, ResetCode::TargetReset);
    assert!(
        text.contains("it closed the connection before it said anything"),
        "{text}"
    );
}

#[tokio::test]
async fn a_person_who_is_gone_is_gone_for_sshd_too() {
    let mut test = Test::start("").await;
    let link = test.hub.link().await;
    let stream = open(&link, Target::ssh());
    let (mut target, _) = soon(test.target.accept()).await.unwrap();
    target.write_all(b"SSH-2.0-test\r\n").await.unwrap();
    drop(stream);
    // The end of the connection, by whatever name.
    let _ = soon(target.read(&mut [0; 8])).await;
    until("the session ends", || test.shutdown.sessions().count() == 0).await;
}

#[tokio::test]
async fn one_session_too_many_is_refused_and_the_others_go_on() {
    let mut test = Test::start("[limits]\nmax-sessions = 2\n").await;
    let link = test.hub.link().await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let stream = open(&link, Target::ssh());
        held.push((stream, soon(test.target.accept()).await.unwrap().0));
    }
    let (code, text) = refused(open(&link, Target::ssh())).await;
    assert_eq!(code, RefuseCode::TooManyStreams);
    assert_eq!(
        text,
        "the server has 2 sessions, as many as its agent allows"
    );
    let (stream, target) = &mut held[0];
    target.write_all(b"still here").await.unwrap();
    soon(stream.read_exact(&mut [0; 10])).await.unwrap();
    held.clear();
    until("the sessions end", || test.shutdown.sessions().count() == 0).await;
    let _stream = open(&link, Target::ssh());
    soon(test.target.accept()).await.unwrap();
}

#[tokio::test]
async fn a_hub_that_went_away_is_dialled_again() {
    let mut test = Test::start("").await;
    for _ in 0..3 {
        let link = test.hub.link().await;
        link.close(CloseReason::ShuttingDown);
        soon(link.closed()).await;
    }
    test.hub.link().await;
    assert!(
        test.hub.seen(|ledger| ledger.reports.len()) >= 4,
        "each dial begins with a report"
    );
}

#[tokio::test]
async fn a_crashed_hub_takes_its_sessions_and_nothing_else() {
    let mut test = Test::start("").await;
    let link = test.hub.link().await;
    let _stream = open(&link, Target::ssh());
    let (mut target, _) = soon(test.target.accept()).await.unwrap();
    target.write_all(b"SSH-2.0-test\r\n").await.unwrap();
    test.hub.crash().await;
    let _ = soon(target.read(&mut [0; 8])).await;
    until("the session ends", || test.shutdown.sessions().count() == 0).await;
    assert_eq!(test.shutdown.stage(), Stage::Running);
}

#[tokio::test]
async fn after_goaway_a_new_link_comes_while_the_old_session_goes_on() {
    let mut test = Test::start("").await;
    let old = test.hub.link().await;
    let mut stream = open(&old, Target::ssh());
    let (mut target, _) = soon(test.target.accept()).await.unwrap();
    old.goaway(Duration::ZERO);
    let new = test.hub.link().await;
    target.write_all(b"over the old link").await.unwrap();
    soon(stream.read_exact(&mut [0; 17])).await.unwrap();
    drop(open(&new, Target::ssh()));
    // With its last session the old link ends, by the agent's hand.
    stream.shutdown().await.unwrap();
    target.shutdown().await.unwrap();
    soon(stream.read(&mut [0; 1])).await.unwrap();
    drop((stream, target));
    assert_eq!(soon(old.closed()).await, LinkEnd::PeerClosed);
}

#[tokio::test]
async fn a_stop_tells_the_hub_at_once_and_lets_sessions_finish() {
    let mut test = Test::start("[limits]\ndrain-seconds = 600\n").await;
    let link = test.hub.link().await;
    let mut stream = open(&link, Target::ssh());
    let (mut target, _) = soon(test.target.accept()).await.unwrap();
    test.shutdown.begin();
    soon(link.received_goaway()).await;
    let (code, _) = refused(open(&link, Target::ssh())).await;
    assert_eq!(code, RefuseCode::Draining);
    target.write_all(b"last words").await.unwrap();
    target.shutdown().await.unwrap();
    let mut heard = Vec::new();
    soon(stream.read_to_end(&mut heard)).await.unwrap();
    assert_eq!(heard, b"last words");
    stream.shutdown().await.unwrap();
    drop(stream);
    assert_eq!(soon(link.closed()).await, LinkEnd::PeerClosed);
    let report = soon(test.running).await.unwrap();
    assert_eq!(
        report,
        StopReport {
            cut_sessions: 0,
            left_tasks: 0
        }
    );
}

#[tokio::test]
async fn a_stop_cuts_what_does_not_finish_with_a_reason() {
    let mut test = Test::start("[limits]\ndrain-seconds = 0\n").await;
    let link = test.hub.link().await;
    let stream = open(&link, Target::ssh());
    let (mut target, _) = soon(test.target.accept()).await.unwrap();
    target.write_all(b"SSH-2.0-test\r\n").await.unwrap();
    test.shutdown.begin();
    let (code, text) = reset(stream).await;
    assert_eq!(
        (code, text.as_str()),
        (ResetCode::ShuttingDown, "the agent is stopping")
    );
    let report = soon(test.running).await.unwrap();
    assert_eq!(
        report,
        StopReport {
            cut_sessions: 1,
            left_tasks: 0
        }
    );
}

#[tokio::test]
async fn an_agent_without_sessions_stops_at_once() {
    let mut test = Test::start("[limits]\ndrain-seconds = 600\n").await;
    let link = test.hub.link().await;
    until("the agent knows it", || test.metrics.connected.get() == 1).await;
    test.shutdown.begin();
    assert_eq!(soon(link.closed()).await, LinkEnd::PeerClosed);
    assert_eq!(soon(test.running).await.unwrap().left_tasks, 0);
}

#[tokio::test]
async fn a_hub_that_went_deaf_does_not_hold_up_a_stop() {
    let mut test = Test::start("").await;
    let link = test.hub.link().await;
    until("the agent knows it", || test.metrics.connected.get() == 1).await;
    test.hub.change(|ledger| ledger.deaf = true);
    link.close(CloseReason::ShuttingDown);
    let dials = DialLabels {
        result: DialResult::connected,
    };
    let dials = test.metrics.dials.get_or_create_owned(&dials);
    until("there is another link", || dials.get() == 2).await;
    test.shutdown.begin();
    let report = soon(test.running).await.unwrap();
    assert_eq!(
        report,
        StopReport {
            cut_sessions: 0,
            left_tasks: 0
        }
    );
}

#[tokio::test]
async fn a_reload_changes_the_target_and_drops_no_session() {
    let mut test = Test::start("").await;
    let link = test.hub.link().await;
    let mut old_stream = open(&link, Target::ssh());
    let (mut old_target, _) = soon(test.target.accept()).await.unwrap();
    let new_target = any_port().await;
    test.reload(&format!(
        "target = \"tcp:{}\"",
        new_target.local_addr().unwrap()
    ));
    let mut new_stream = open(&link, Target::ssh());
    let (mut connection, _) = soon(new_target.accept()).await.unwrap();
    connection.write_all(b"new").await.unwrap();
    soon(new_stream.read_exact(&mut [0; 3])).await.unwrap();
    old_target.write_all(b"old").await.unwrap();
    soon(old_stream.read_exact(&mut [0; 3])).await.unwrap();
    // A configuration that cannot be read changes nothing.
    test.reload("target = \"tcp:10.0.0.1:22\"");
    let _stream = open(&link, Target::ssh());
    soon(new_target.accept()).await.unwrap();
}

#[tokio::test]
async fn changed_host_keys_are_reported_within_a_minute_and_block_nothing_here() {
    let mut test = Test::start("").await;
    let link = test.hub.link().await;
    until("the agent knows it", || test.metrics.connected.get() == 1).await;
    test.hub
        .change(|ledger| ledger.report_status = Some(StatusCode::CONFLICT));
    std::fs::write(&test.host_key, OTHER_HOST_KEY).unwrap();
    let reports = test.hub.seen(|ledger| ledger.reports.len());
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::time::resume();
    until("the change is reported", || {
        test.hub.seen(|ledger| ledger.reports.len()) > reports
    })
    .await;
    let keys = test
        .hub
        .seen(|ledger| ledger.reports.last().unwrap().host_keys.clone());
    assert_eq!(
        keys.iter().next().unwrap().to_string(),
        OTHER_HOST_KEY.rsplit_once(' ').unwrap().0
    );
    // Blocked at the hub, the agent still keeps its link and dials when it is lost.
    link.close(CloseReason::Finished);
    test.hub.link().await;
}

#[tokio::test]
async fn a_hub_that_knows_the_agent_no_more_is_asked_with_growing_pauses() {
    let mut test = Test::start("").await;
    let link = test.hub.link().await;
    test.hub.change(|ledger| ledger.servers.clear());
    link.close(CloseReason::Revoked);
    soon(link.closed()).await;
    let refused = DialLabels {
        result: DialResult::refused,
    };
    let refused = test.metrics.dials.get_or_create_owned(&refused);
    until("it goes on trying", || refused.get() >= 3).await;
    assert_eq!(test.shutdown.stage(), Stage::Running);
    assert!(test.hub.links.try_recv().is_err());
}

#[tokio::test]
async fn many_sessions_leave_nothing_behind() {
    let mut test = Test::start("").await;
    let link = test.hub.link().await;
    let round = async |count: usize| {
        for _ in 0..count {
            let mut stream = open(&link, Target::ssh());
            let (mut target, _) = soon(test.target.accept()).await.unwrap();
            target.write_all(b"SSH-2.0-test\r\n").await.unwrap();
            soon(stream.read_exact(&mut [0; 14])).await.unwrap();
            stream.shutdown().await.unwrap();
            target.shutdown().await.unwrap();
            soon(stream.read(&mut [0; 1])).await.unwrap();
        }
        until("the sessions end", || test.shutdown.sessions().count() == 0).await;
        until("the streams are forgotten", || link.stats().streams == 0).await;
    };
    round(10).await;
    let (tasks, descriptors) = (test.shutdown.tasks().count(), descriptors());
    round(300).await;
    assert_eq!(test.shutdown.tasks().count(), tasks);
    // Other tests of this process open and close theirs meanwhile; a leak would be 300.
    assert!(self::descriptors() < descriptors + 100, "descriptors leak");
    assert_eq!(link.stats().buffered, 0);
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

struct Test {
    folder: tempfile::TempDir,
    host_key: PathBuf,
    hub: Hub,
    /// The sshd, as far as the agent can tell.
    target: TcpListener,
    settings: String,
    reloader: Reloader,
    metrics: AgentMetrics,
    shutdown: Shutdown,
    running: JoinHandle<StopReport>,
}

impl Test {
    /// A hub, a target, and an agent that has joined and runs with `extra` in its configuration.
    async fn start(extra: &str) -> Self {
        let hub = Hub::with_tls().await;
        let folder = tempfile::tempdir().unwrap();
        let (host_key, patterns) = host_keys(folder.path());
        let target = any_port().await;
        let state = folder.path().join("state");
        let request = Join {
            hub: hub.url(),
            token: hub.token.reveal().parse().unwrap(),
            name: Some("web01".parse().unwrap()),
            labels: Labels::default(),
            pin: hub.pin,
            ca_file: None,
            state: StateDir::new(&state),
            host_keys: patterns.clone(),
        };
        join(&request).await.unwrap();
        let settings = format!(
            "state-dir = \"{}\"\nhost-keys = [\"{}\"]\n",
            state.display(),
            patterns.join("\", \"")
        );
        let target_line = format!("target = \"tcp:{}\"\n", target.local_addr().unwrap());
        let config = parse(&format!("{settings}{target_line}{extra}"));
        let shutdown = Shutdown::new();
        let around = Surroundings {
            admin: None,
            config: None,
            log: None,
            notifier: Notifier::from_environment(),
            shutdown: shutdown.clone(),
        };
        let agent = Agent::build(config.unwrap(), around).unwrap();
        let (reloader, metrics) = (agent.reloader(), agent.metrics());
        let running = Tasks::new().spawn("agent", agent.run());
        Self {
            folder,
            host_key,
            hub,
            target,
            settings,
            reloader,
            metrics,
            shutdown,
            running,
        }
    }

    fn reload(&self, line: &str) {
        // Some of these are meant to fail.
        let _ = self
            .reloader
            .reload(parse(&format!("{}{line}\n", self.settings)));
    }
}

fn parse(text: &str) -> Result<AgentConfig, kedge_service::ConfigError> {
    AgentConfig::parse(&Source::from_text(Path::new("agent.toml"), text))
}

async fn any_port() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

fn open(link: &Link, target: Target) -> TunnelStream {
    open_with(link, target, Attributes::new())
}

fn open_with(link: &Link, target: Target, attributes: Attributes) -> TunnelStream {
    let key = StreamKey(kedge_api::random::bytes().unwrap());
    let resume = ResumeHash(kedge_api::random::bytes().unwrap());
    link.open(OpenRequest {
        target,
        key,
        resume,
        attributes,
    })
    .unwrap()
}

async fn refused(mut stream: TunnelStream) -> (RefuseCode, String) {
    match soon(stream.opened()).await {
        Err(StreamError::Refused { code, text }) => (code, text),
        other => panic!("not refused: {other:?}"),
    }
}

async fn reset(mut stream: TunnelStream) -> (ResetCode, String) {
    let mut rest = Vec::new();
    let error = soon(stream.read_to_end(&mut rest)).await.unwrap_err();
    match error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<StreamError>())
    {
        Some(StreamError::Reset { code, text }) => (*code, text.clone()),
        other => panic!("not reset: {other:?}"),
    }
}
