//! The built program: what it prints, where, and how it exits.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use kedge_tunnel::CertificatePin;
use rustix::process::{Pid, Signal, kill_process};

fn agent(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kedge-agent"));
    command.args(arguments).stdin(Stdio::null());
    for name in [
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
        "NOTIFY_SOCKET",
    ] {
        command.env_remove(name);
    }
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn file(folder: &Path, name: &str, mode: u32, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path.display().to_string()
}

const TOKEN: &str = "kjt_aaaaaaaaaa_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[test]
fn a_good_configuration_is_called_good() {
    let folder = tempfile::tempdir().unwrap();
    let config = file(
        folder.path(),
        "agent.toml",
        0o644,
        "target = \"tcp:127.0.0.1:2222\"\n",
    );
    let output = agent(&["check-config", "--config", &config]);
    assert!(output.status.success());
    let expected = b"the configuration is good; sessions go to tcp:127.0.0.1:2222\n";
    assert_eq!(output.stdout, expected);
}

#[test]
fn a_bad_configuration_is_refused_by_every_command_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let config = file(
        folder.path(),
        "agent.toml",
        0o644,
        "\ntagret = \"tcp:127.0.0.1:22\"\n",
    );
    for words in [
        &["check-config"][..],
        &["run"],
        &["join", "https://hub", "--token", TOKEN],
    ] {
        let output = agent(&[words, &["--config", &config]].concat());
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        let expected =
            format!("error: {config}:2:1: unknown key `tagret`; did you mean `target`?\n");
        assert_eq!(stderr(&output), expected, "{words:?}");
    }
    let output = agent(&["check-config", "--config", "/nonexistent/agent.toml"]);
    assert_eq!(
        stderr(&output),
        "error: cannot load the configuration: cannot read /nonexistent/agent.toml: \
         No such file or directory (os error 2)\n"
    );
}

#[test]
fn a_state_folder_that_cannot_be_made_is_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let text = "state-dir = \"/proc/nobody/state\"\n";
    let config = file(folder.path(), "agent.toml", 0o644, text);
    let output = agent(&["run", "--config", &config]);
    assert_eq!(output.status.code(), Some(1));
    let expected = "error: cannot keep the agent's state: cannot create the folder /proc/nobody/state: \
                    No such file or directory (os error 2)\n";
    assert_eq!(stderr(&output), expected);
}

#[test]
fn a_token_file_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = file(folder.path(), "agent.toml", 0o644, "");
    let token = file(folder.path(), "token", 0o644, TOKEN);
    let output = agent(&[
        "join",
        "https://hub",
        "--config",
        &config,
        "--token-file",
        &token,
    ]);
    assert_eq!(output.status.code(), Some(1));
    let expected = format!(
        "error: cannot read the join token: {token} holds a secret and has mode 0644: \
         others can read it\nhint: chmod 600 {token}\n"
    );
    assert_eq!(stderr(&output), expected);
}

#[test]
fn a_token_comes_from_standard_input_and_is_never_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let config = file(folder.path(), "agent.toml", 0o644, "");
    let mut child = command(&[
        "join",
        "https://hub",
        "--config",
        &config,
        "--token-file",
        "-",
    ])
    .stdin(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"kjt_not_a_token\n")
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let expected = "error: not a join token: expected `kjt_<name>_<43 characters>`\n\
                    hint: kedge token create\n";
    assert_eq!(stderr(&output), expected);
}

#[test]
fn wrong_usage_has_exit_code_2() {
    for words in [&["join"][..], &["join", "https://hub"], &["dance"], &[]] {
        assert_eq!(agent(words).status.code(), Some(2), "{words:?}");
    }
    let words = [
        "join",
        "https://hub",
        "--token",
        TOKEN,
        "--label",
        "a=1",
        "--label",
        "a=2",
    ];
    let output = agent(&words);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(stderr(&output), "error: the label a was given twice\n");
}

#[test]
fn a_join_without_a_token_is_told_both_ways_to_give_one() {
    let said = stderr(&agent(&["join", "https://hub"]));
    let expected = "<--token-file <FILE>|--token <TOKEN>>";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn a_second_agent_on_one_state_folder_ends_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(std::time::Duration::from_secs(20)))
        .unwrap();
    let first = Lonely::start(Some(&path));
    socket.recv(&mut [0; 1024]).unwrap();
    let config = first.folder.path().join("agent.toml").display().to_string();
    let state = first.folder.path().join("state").display().to_string();
    let second = agent(&["run", "--config", &config]);
    assert_eq!(second.status.code(), Some(1));
    let expected = format!(
        "error: {state} is in use by another kedge-agent (pid {})\nhint: one agent is enough",
        first.child.id()
    );
    let said = stderr(&second);
    assert!(said.contains(&expected), "{said}");
    // To join once more is no second agent.
    let again = agent(&[
        "join",
        "http://127.0.0.1:9",
        "--config",
        &config,
        "--token",
        TOKEN,
    ]);
    assert_eq!(
        String::from_utf8_lossy(&again.stdout),
        "web01 has joined main already\n",
        "{}",
        stderr(&again)
    );
    first.signal(Signal::TERM);
    first.end();
}

#[test]
fn a_state_folder_that_others_can_write_is_refused_by_join_and_run() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o777)).unwrap();
    let shown = state.display();
    let text = format!("state-dir = \"{shown}\"\n");
    let config = file(folder.path(), "agent.toml", 0o644, &text);
    for (words, doing) in [
        (&["run"][..], "cannot read who this agent is"),
        (
            &["join", "https://hub", "--token", TOKEN],
            "cannot keep the agent's state",
        ),
    ] {
        let output = agent(&[words, &["--config", &config]].concat());
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        let expected = format!(
            "error: {doing}: {shown} has mode 0777: others can write there\n\
             hint: chmod 0700 {shown}\n"
        );
        assert_eq!(stderr(&output), expected, "{words:?}");
    }
}

#[test]
fn a_hub_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ+dMkKPOVV8C8IY4sNbNN1eLBvHNBdHYlnLtoSsn6zF\n";
    let key = file(folder.path(), "ssh_host_ed25519_key.pub", 0o644, key);
    let state = folder.path().join("state");
    let text = format!(
        "state-dir = \"{}\"\nhost-keys = [\"{key}\"]\n",
        state.display()
    );
    let config = file(folder.path(), "agent.toml", 0o644, &text);
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let hub = format!("https://{closed}");
    let pin = CertificatePin::of(b"").to_string();
    let words = [
        "join", &hub, "--config", &config, "--token", TOKEN, "--name", "web01", "--pin", &pin,
    ];
    let output = agent(&words);
    assert_eq!(output.status.code(), Some(1));
    let expected = format!(
        "error: cannot reach {hub}: cannot connect to {closed}: {closed}: Connection refused (os error 111)\n"
    );
    assert_eq!(stderr(&output), expected);
    assert!(!state.exists(), "nothing was written");
}

#[test]
fn help_has_examples_and_hides_what_is_for_packagers() {
    let help = String::from_utf8(agent(&["--help"]).stdout).unwrap();
    for expected in ["Examples:", "check-config", "join", "run", "Exit status:"] {
        assert!(help.contains(expected), "{expected} in\n{help}");
    }
    assert!(!help.contains("reference"), "{help}");
    let help = String::from_utf8(agent(&["join", "--help"]).stdout).unwrap();
    assert!(
        help.contains("Examples:") && help.contains("--token-file"),
        "{help}"
    );
}

#[test]
fn manual_and_reference_are_made_by_the_program() {
    let man = String::from_utf8(agent(&["man"]).stdout).unwrap();
    assert!(man.contains(".TH kedge-agent 8"), "{man:.200}");
    for part in [
        ".SS check-config",
        ".SS join",
        ".SS run",
        ".SH EXAMPLES",
        ".SH EXIT STATUS",
        "token\\-file",
    ] {
        assert!(man.contains(part), "{part} in\n{man}");
    }
    let reference = String::from_utf8(agent(&["reference"]).stdout).unwrap();
    for line in [
        "# agent.toml",
        "## `[limits]`",
        "| `target` | string | `\"tcp:127.0.0.1:22\"` |",
    ] {
        assert!(reference.contains(line), "{line} in\n{reference}");
    }
}

/// A joined agent whose hub does not answer, running until a signal ends it.
struct Lonely {
    folder: tempfile::TempDir,
    child: Child,
}

impl Lonely {
    fn start(notify: Option<&Path>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let directory = kedge_agent::identity::StateDir::new(&state);
        directory.key_or_new().unwrap();
        let identity = format!(
            "{{\"name\":\"web01\",\"hub\":\"http://127.0.0.1:9\",\"hubId\":\"h-{}\",\"hubName\":\"main\"}}",
            "a".repeat(26)
        );
        file(&state, "identity.json", 0o600, &identity);
        let text = format!(
            "state-dir = \"{}\"\ncontrol-socket = \"{}/control.sock\"\n\
             [admin]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n",
            state.display(),
            folder.path().display()
        );
        let config = file(folder.path(), "agent.toml", 0o644, &text);
        let mut command = command(&["run", "--config", &config]);
        if let Some(notify) = notify {
            command.env("NOTIFY_SOCKET", notify);
        }
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        Self { folder, child }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The rest of its log, after its end.
    fn end(mut self) -> String {
        let mut log = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut log)
            .unwrap();
        assert!(self.child.wait().unwrap().success(), "{log}");
        log
    }
}

#[test]
fn an_agent_is_ready_before_its_hub_answers_and_tells_what_it_waits_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(std::time::Duration::from_secs(20)))
        .unwrap();
    let receive = || {
        let mut buffer = [0; 1024];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(buffer.get(..length).unwrap()).into_owned()
    };
    let agent = Lonely::start(Some(&path));
    let first = receive();
    assert!(
        first.starts_with("READY=1\nSTATUS=connecting to http://127.0.0.1:9 as web01"),
        "{first}"
    );
    let second = receive();
    assert!(
        second.starts_with(
            "STATUS=connecting to http://127.0.0.1:9 as web01: connection refused, again in "
        ),
        "{second}"
    );
    // A reload that fails leaves it running, and says so, until one succeeds. Each is over when it says READY.
    let path = agent.folder.path().join("agent.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    let reload = |text: &str| {
        std::fs::write(&path, text).unwrap();
        agent.signal(Signal::HUP);
        let mut said = receive();
        while !said.starts_with("RELOADING=1\nMONOTONIC_USEC=") {
            assert!(!said.contains("READY=1"), "{said}");
            said = receive();
        }
        receive()
    };
    let stale = reload("nonsense = 1\n");
    assert!(
        stale.starts_with("READY=1\nSTATUS=connecting to http://127.0.0.1:9 as web01: "),
        "{stale}"
    );
    assert!(stale.contains("; the old configuration stays: "), "{stale}");
    let fresh = reload(&good);
    assert!(
        fresh.starts_with("READY=1\n") && !fresh.contains("stays"),
        "{fresh}"
    );
    agent.signal(Signal::TERM);
    while !receive().starts_with("STOPPING=1") {}
    let log = agent.end();
    for message in [
        "agent started",
        "not connected",
        "cannot reload",
        "agent stopping",
        "agent stopped",
    ] {
        assert!(log.contains(message), "{message} in\n{log}");
    }
    assert!(
        log.lines()
            .all(|line| line.starts_with('{') && line.ends_with('}')),
        "{log}"
    );
}
