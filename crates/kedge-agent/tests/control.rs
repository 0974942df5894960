//! The built agent and its control socket: what it says, when it begins, who makes the socket.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod support;

use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use http::Method;
use kedge_api::control::{AgentState, AgentStatus, RELOAD_PATH, Reloaded, STATUS_PATH, WAIT_PATH};
use kedge_service::Tasks;
use kedge_service::control::{CallError, call};
use rustix::process::{Pid, Signal, kill_process};
use support::{Hub, host_keys, soon, until};
use tokio::process::{Child, Command};

const NOT_JOINED: &str = "has not joined a hub: kedge-agent join HUB --token-file FILE";

#[tokio::test]
async fn an_agent_that_has_not_joined_is_ready_and_begins_when_it_has() {
    let mut hub = Hub::with_tls().await;
    let mut agent = Machine::new("");
    agent.start();
    let heard = agent.hears("READY=1").await;
    assert_eq!(heard, format!("READY=1\nSTATUS={NOT_JOINED}"));
    let status = agent.status().await;
    assert_eq!(status.state, AgentState::NotJoined);
    assert_eq!((status.name, status.hub), (None, None));
    assert_eq!(status.reason.as_deref(), Some(NOT_JOINED));
    assert_eq!(status.target, "tcp:127.0.0.1:22");
    // Whoever waits for it waits through the join as well.
    let path = agent.socket();
    let waiting = Tasks::new().spawn("waiting", async move {
        call(&path, Method::GET, WAIT_PATH, Duration::from_secs(20)).await
    });
    let joined = agent.join(&hub).await;
    assert_eq!(joined.1, "", "nothing to note");
    assert!(joined.0.starts_with("joined main ("), "{}", joined.0);
    let link = hub.link().await;
    let answer = waiting.await.unwrap().unwrap();
    let status: AgentStatus = serde_json::from_slice(answer.body()).unwrap();
    assert_eq!(status.state, AgentState::Connected);
    assert_eq!(status.name.unwrap(), "web01");
    assert_eq!((status.hub.unwrap(), status.reason), (hub.url(), None));
    let heard = agent.hears("connected to").await;
    let expected = format!("STATUS=connected to {} as web01, 0 sessions", hub.url());
    assert_eq!(heard, expected);
    drop(link);
    agent.end().await;
}

#[tokio::test]
async fn without_a_control_socket_the_identity_is_found_all_the_same() {
    let mut hub = Hub::with_tls().await;
    let mut agent = Machine::new("control-socket = \"off\"\n");
    agent.start();
    agent.hears("READY=1").await;
    assert!(!agent.socket().exists());
    assert_eq!(agent.join(&hub).await.1, "");
    hub.link().await;
    agent.end().await;
}

#[tokio::test]
async fn a_join_by_root_leaves_files_of_the_folders_owner() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let hub = Hub::with_tls().await;
    let agent = Machine::new("");
    let state = agent.folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o700)).unwrap();
    for path in [agent.folder.path(), &state] {
        std::os::unix::fs::chown(path, Some(4711), Some(4711)).unwrap();
    }
    agent.join(&hub).await;
    for name in ["agent.key", "identity.json"] {
        let made = std::fs::metadata(state.join(name)).unwrap();
        assert_eq!((made.uid(), made.gid()), (4711, 4711), "{name}");
        assert_eq!(made.mode() & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn an_agent_joins_by_itself_when_its_configuration_says_where() {
    let mut hub = Hub::with_tls().await;
    let table = format!(
        "[join]\nhub = \"{}\"\ntoken-file = \"credential:join-token\"\nname = \"web01\"\n\
         labels = {{ role = \"web\" }}\npin = \"{}\"\n",
        hub.url(),
        hub.pin.unwrap()
    );
    let mut agent = Machine::new(&table);
    // There is no token yet: it says so, is ready, and tries again.
    let credentials = agent.folder.path().join("credentials");
    std::fs::create_dir(&credentials).unwrap();
    agent.environment = Some(("CREDENTIALS_DIRECTORY", credentials.clone()));
    agent.start();
    let heard = agent.hears("READY=1").await;
    assert_eq!(heard, format!("READY=1\nSTATUS={NOT_JOINED}"));
    let heard = agent.hears("cannot read the join token").await;
    let expected = format!("STATUS=joining {} as web01: cannot read", hub.url());
    assert!(heard.starts_with(&expected), "{heard}");
    assert!(heard.contains(", again in "), "{heard}");
    let status = agent.status().await;
    assert_eq!(status.state, AgentState::Joining);
    std::fs::write(credentials.join("join-token"), hub.token.reveal()).unwrap();
    hub.link().await;
    hub.seen(|ledger| {
        assert_eq!(ledger.enrolments.len(), 1);
        assert_eq!(ledger.enrolments[0].name, "web01");
        assert_eq!(ledger.enrolments[0].labels.len(), 1);
    });
    agent.end().await;
    // The identity that is there wins, whatever the table says by now.
    let table = table.replace("web01", "web02");
    agent.configure(&table);
    agent.start();
    hub.link().await;
    assert_eq!(agent.status().await.name.unwrap(), "web01");
    hub.seen(|ledger| assert_eq!(ledger.enrolments.len(), 1));
    agent.end().await;
}

#[tokio::test]
async fn a_hub_that_refuses_to_take_it_on_is_not_asked_again_at_once() {
    let hub = Hub::with_tls().await;
    hub.change(|ledger| ledger.uses = 0);
    let mut agent = Machine::new("");
    let token = agent.token_file(&hub);
    agent.configure(&format!(
        "[join]\nhub = \"{}\"\ntoken-file = \"{token}\"\nname = \"web01\"\npin = \"{}\"\n",
        hub.url(),
        hub.pin.unwrap()
    ));
    agent.start();
    let heard = agent.hears("used up").await;
    let expected = format!(
        "STATUS=joining {} as web01: the hub refused: join token unknown or used up (401), again in 60 s",
        hub.url()
    );
    assert_eq!(heard, expected);
    // A reload is somebody's word that something has changed.
    agent.signal(Signal::HUP);
    until("it asks again", || {
        hub.seen(|ledger| ledger.enrolments.len() == 2)
    })
    .await;
    agent.end().await;
}

#[tokio::test]
async fn a_reload_by_the_socket_says_what_came_of_it() {
    let mut agent = Machine::new("");
    agent.start();
    agent.hears("READY=1").await;
    agent.configure("target = \"tcp:127.0.0.1:2222\"\n[admin]\nlisten = \"127.0.0.1:0\"\n");
    let (code, body) = agent.ask(Method::POST, RELOAD_PATH).await.unwrap();
    assert_eq!(code, 200, "{body}");
    let done: Reloaded = serde_json::from_str(&body).unwrap();
    assert_eq!(done.restart, ["admin.listen"]);
    assert_eq!(agent.status().await.target, "tcp:127.0.0.1:2222");
    agent.configure("targt = 1\n");
    let (code, body) = agent.ask(Method::POST, RELOAD_PATH).await.unwrap();
    assert_eq!(code, 409, "{body}");
    let reason: kedge_api::Status = serde_json::from_str(&body).unwrap();
    assert!(reason.message.contains("unknown key `targt`"), "{body}");
    assert!(
        agent
            .status()
            .await
            .reason
            .unwrap()
            .contains("the old configuration stays")
    );
    // Looking changes nothing.
    for (method, path, code) in [
        (Method::GET, RELOAD_PATH, 405),
        (Method::POST, STATUS_PATH, 405),
        (Method::GET, "/v1/status?wait=rain", 400),
        (Method::GET, "/", 404),
    ] {
        let answer = agent.ask(method, path).await.unwrap();
        assert_eq!(answer.0, code, "{path}: {}", answer.1);
    }
    agent.end().await;
}

#[tokio::test]
async fn the_service_managers_socket_is_used_and_left_in_place() {
    let mut agent = Machine::new("");
    let path = agent.socket();
    let listener: OwnedFd = UnixListener::bind(&path).unwrap().into();
    agent.activated = Some(listener.try_clone().unwrap());
    // Whoever connects before there is an agent is answered by the one that is started for them.
    let early = Tasks::new().spawn("early", {
        let path = path.clone();
        async move { call(&path, Method::GET, STATUS_PATH, Duration::from_secs(20)).await }
    });
    tokio::task::yield_now().await;
    agent.start();
    let answer = early.await.unwrap().unwrap();
    let status: AgentStatus = serde_json::from_slice(answer.body()).unwrap();
    assert_eq!(status.state, AgentState::NotJoined);
    agent.end().await;
    assert!(path.exists(), "it is the service manager's");
    drop(listener);
}

#[tokio::test]
async fn a_dead_agents_socket_is_replaced_and_a_living_ones_is_left_alone() {
    let mut first = Machine::new("");
    first.start();
    first.hears("READY=1").await;
    let mode = std::fs::metadata(first.socket()).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
    // A second agent with a state folder of its own works, without a socket, and says why.
    let mut second = Machine::new("");
    second.socket_of = Some(first.socket());
    second.configure("");
    second.start();
    second.hears("READY=1").await;
    let log = second.end().await;
    assert!(log.contains("belongs to a daemon that runs"), "{log}");
    assert_eq!(first.status().await.state, AgentState::NotJoined);
    first.signal(Signal::KILL);
    let _ = first.child.take().unwrap().wait().await;
    assert!(first.socket().exists(), "nobody has cleaned up");
    first.start();
    first.hears("READY=1").await;
    first.status().await;
    first.end().await;
    assert!(!first.socket().exists());
}

#[tokio::test]
async fn a_second_server_is_not_made_of_a_running_one() {
    let mut hub = Hub::with_tls().await;
    let mut agent = Machine::new("");
    agent.join(&hub).await;
    agent.start();
    hub.link().await;
    let identity = agent.folder.path().join("state/identity.json");
    let text = std::fs::read_to_string(&identity).unwrap();
    std::fs::write(&identity, text.replace("web01", "web02")).unwrap();
    let answer = agent.ask(Method::POST, "/v1/joined").await.unwrap();
    assert_eq!(answer.0, 409, "{}", answer.1);
    assert!(
        answer.1.contains("restart it to become web02"),
        "{}",
        answer.1
    );
    agent.end().await;
}

#[tokio::test]
async fn a_credential_without_a_service_manager_is_named_at_the_start_and_not_when_checking() {
    let agent = Machine::new("ca-file = \"credential:hub-ca\"\n");
    let run = agent.command("run").output().await.unwrap();
    assert_eq!(run.status.code(), Some(1));
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    for part in [
        "agent.toml:",
        "`ca-file`",
        "CREDENTIALS_DIRECTORY is not set",
        "LoadCredential=hub-ca:/PATH",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let checked = agent.command("check-config").output().await.unwrap();
    assert!(checked.status.success());
}

/// A machine with an agent on it: a configuration, a state folder, a service manager's socket.
struct Machine {
    folder: tempfile::TempDir,
    host_keys: Vec<String>,
    manager: UnixDatagram,
    environment: Option<(&'static str, PathBuf)>,
    activated: Option<OwnedFd>,
    socket_of: Option<PathBuf>,
    child: Option<Child>,
}

impl Machine {
    fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (_, host_keys) = host_keys(folder.path());
        let manager = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        manager.set_nonblocking(true).unwrap();
        let machine = Self {
            folder,
            host_keys,
            manager,
            environment: None,
            activated: None,
            socket_of: None,
            child: None,
        };
        machine.configure(config);
        machine
    }

    fn socket(&self) -> PathBuf {
        let own = || self.folder.path().join("control.sock");
        self.socket_of.clone().unwrap_or_else(own)
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("agent.toml")
    }

    fn configure(&self, more: &str) {
        let socket = match more.contains("control-socket") {
            true => String::new(),
            false => format!("control-socket = \"{}\"\n", self.socket().display()),
        };
        let text = format!(
            "state-dir = \"{}/state\"\nhost-keys = [\"{}\"]\n{socket}{more}",
            self.folder.path().display(),
            self.host_keys.join("\", \"")
        );
        std::fs::write(self.config(), text).unwrap();
    }

    fn command(&self, word: &str) -> Command {
        let program = env!("CARGO_BIN_EXE_kedge-agent");
        let mut command = match &self.activated {
            None => Command::new(program),
            // A shell knows its own number, and becomes the agent.
            Some(socket) => {
                let mut shell = Command::new("sh");
                let script = "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\"";
                shell.args(["-c", script, "sh", program]);
                shell.env("LISTEN_FDNAMES", "control");
                shell.stdin(Stdio::from(socket.try_clone().unwrap()));
                shell
            }
        };
        command.arg(word).arg("--config").arg(self.config());
        for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
            command.env_remove(name);
        }
        command.env_remove("CREDENTIALS_DIRECTORY");
        command.envs(self.environment.clone());
        command.kill_on_drop(true);
        command
    }

    fn start(&mut self) {
        let mut command = self.command("run");
        command.env("NOTIFY_SOCKET", self.folder.path().join("notify"));
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        self.child = Some(command.stderr(log).spawn().unwrap());
    }

    fn token_file(&self, hub: &Hub) -> String {
        let path = self.folder.path().join("token");
        std::fs::write(&path, hub.token.reveal()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    }

    /// What `kedge-agent join` prints, and what it notes.
    async fn join(&self, hub: &Hub) -> (String, String) {
        let mut command = self.command("join");
        command.arg(hub.url().to_string());
        command.args(["--name", "web01", "--token-file", &self.token_file(hub)]);
        command.args(["--pin", &hub.pin.unwrap().to_string()]);
        let output = soon(command.output()).await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{said:?}");
        said
    }

    /// The next message to the service manager that contains this.
    async fn hears(&self, words: &str) -> String {
        let mut heard = Vec::new();
        let listen = async {
            loop {
                let mut buffer = [0; 1024];
                match self.manager.recv(&mut buffer) {
                    Ok(length) => {
                        let said = String::from_utf8_lossy(&buffer[..length]).into_owned();
                        heard.push(said.trim_end().to_owned());
                        if said.contains(words) {
                            return;
                        }
                    }
                    Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
                }
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(20), listen).await;
        assert!(found.is_ok(), "{words} in {heard:?}\n{}", self.log());
        heard.pop().unwrap()
    }

    async fn ask(&self, method: Method, path: &str) -> Result<(u16, String), CallError> {
        let answer = call(&self.socket(), method, path, Duration::from_secs(20)).await?;
        let body = String::from_utf8_lossy(answer.body()).into_owned();
        Ok((answer.status().as_u16(), body))
    }

    async fn status(&self) -> AgentStatus {
        let (code, body) = self.ask(Method::GET, STATUS_PATH).await.unwrap();
        assert_eq!(code, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().unwrap().id().unwrap();
        kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
    }

    fn log(&self) -> String {
        read(&self.folder.path().join("log"))
    }

    /// An orderly end, and the log.
    async fn end(&mut self) -> String {
        self.signal(Signal::TERM);
        let status = soon(self.child.take().unwrap().wait()).await.unwrap();
        let log = self.log();
        assert!(status.success(), "{log}");
        log
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}
