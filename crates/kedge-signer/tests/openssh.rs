//! The signer as real OpenSSH meets it: ssh logs in to sshd with a key it never sees, and gets nothing else signed.

#![cfg(test)]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bytes::BytesMut;
use kedge_api::{HostKeys, Login};
use kedge_signer::protocol::take_frame;
use kedge_signer::{BoundBy, Connection, Event, PrivateKey, Reason, Signed, Terms, Unbound};
use kedge_testkit::machine;
use kedge_testkit::run::{self, Ran};
use kedge_testkit::sshd::{Sshd, SshdOptions, keygen};
use tempfile::TempDir;

/// Keys of every kind and format log in at every kind of host key, bound in either way.
#[test]
fn every_key_logs_in() {
    let site = Site::new();
    for (kind, bits, format) in [
        ("ed25519", "256", "RFC4716"),
        ("ecdsa", "256", "RFC4716"),
        ("ecdsa", "384", "PKCS8"),
        ("ecdsa", "521", "PEM"),
        ("ecdsa", "521", "RFC4716"),
        ("rsa", "2048", "PEM"),
        ("rsa", "3072", "PKCS8"),
        ("rsa", "3072", "RFC4716"),
    ] {
        let agent = site.agent(&site.make_key(kind, bits, format));
        site.ssh(&agent, &["true"]).success().unwrap();
        let signed = agent.signed();
        assert_eq!(signed.len(), 1, "{kind} {bits} {format}");
        assert_eq!(signed[0].bound_by, BoundBy::SessionBind);
    }
    let agent = site.agent(&site.make_key("ed25519", "256", "RFC4716"));
    for host_key in [
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
        "rsa-sha2-256",
        "rsa-sha2-512",
    ] {
        for method in ["host-bound", "unbound"] {
            let algorithms = format!("HostKeyAlgorithms={host_key}");
            let method = format!("PubkeyAuthentication={method}");
            let options = ["-o", &algorithms, "-o", &method, "true"];
            site.ssh(&agent, &options).success().unwrap();
            let signed = agent.signed().pop().unwrap();
            let kind = host_key
                .replace("rsa-sha2-256", "ssh-rsa")
                .replace("rsa-sha2-512", "ssh-rsa");
            let fingerprint = site
                .host_keys
                .iter()
                .find(|key| key.algorithm().as_str() == kind)
                .unwrap()
                .fingerprint();
            assert_eq!(signed.host_key, Some(fingerprint), "{host_key}");
        }
    }
    assert_eq!(agent.refused(), []);
}

/// RSA signs with the hash that ssh asks for.
#[test]
fn rsa_signs_with_either_hash() {
    let site = Site::new();
    let agent = site.agent(&site.make_key("rsa", "2048", "RFC4716"));
    for algorithm in ["rsa-sha2-256", "rsa-sha2-512"] {
        let option = format!("PubkeyAcceptedAlgorithms={algorithm}");
        let ran = site.ssh(&agent, &["-o", &option, "true"]);
        ran.success().unwrap();
        let signed = agent.signed().pop().unwrap();
        assert_eq!(signed.algorithm.as_str(), algorithm);
    }
}

#[test]
fn another_server_and_another_login_get_nothing() {
    let site = Site::new();
    let agent = site.agent(&site.make_key("ed25519", "256", "RFC4716"));
    // A server that would take the key, and whose host key is not the pinned one.
    let other = Site::new();
    fs::copy(
        site.sshd.file("authorized_keys"),
        other.sshd.file("authorized_keys"),
    )
    .unwrap();
    other.ssh(&agent, &["true"]).exits(255).unwrap();
    assert_eq!(agent.refused(), [Reason::OtherHostKey, Reason::Spoiled]);
    site.ssh(&agent, &["-l", "nobody", "true"])
        .exits(255)
        .unwrap();
    assert_eq!(agent.refused().pop(), Some(Reason::OtherLogin));
    assert_eq!(agent.signed().len(), 0);
    site.ssh(&agent, &["true"]).success().unwrap();
}

/// Who is logged in at the server with a forwarded agent is somebody else than who logs in.
#[test]
fn a_forwarded_connection_gets_nothing() {
    let site = Site::new();
    let agent = site.agent(&site.make_key("ed25519", "256", "RFC4716"));
    let public = site.dir.path().join("injected.pub");
    fs::write(&public, agent.public.as_bytes()).unwrap();
    let remote = format!("ssh-add -T {}", public.display());
    let ran = site.ssh(&agent, &["-A", &remote]);
    assert_ne!(ran.code(), Some(0), "{ran}");
    assert_eq!(agent.signed().len(), 1);
    let refused = agent.refused();
    assert!(refused.contains(&Reason::Forwarded), "{refused:?}");
    assert!(refused.contains(&Reason::Spoiled), "{refused:?}");
}

#[test]
fn the_other_uses_of_an_agent_are_refused() {
    let site = Site::new();
    let agent = site.agent(&site.make_key("ed25519", "256", "RFC4716"));
    let public = site.dir.path().join("injected.pub");
    fs::write(&public, agent.public.as_bytes()).unwrap();
    let file = site.dir.path().join("file");
    fs::write(&file, "any text").unwrap();
    let other = site.make_key("ed25519", "256", "RFC4716");

    let list = agent.client("ssh-add", &["-L"]).success().unwrap().out();
    assert_eq!(list.trim(), format!("{} kedge", agent.public.trim()));
    let failed = |program: &str, arguments: &[&Path]| {
        let arguments: Vec<_> = arguments
            .iter()
            .map(|path| path.to_str().unwrap())
            .collect();
        let ran = agent.client(program, &arguments);
        assert_ne!(ran.code(), Some(0), "{ran}");
        agent.refused().pop().unwrap()
    };
    assert_eq!(
        failed("ssh-add", &[other.as_path()]),
        Reason::UnsupportedRequest
    );
    assert_eq!(
        failed("ssh-add", &[Path::new("-D")]),
        Reason::UnsupportedRequest
    );
    assert_eq!(
        failed("ssh-add", &[Path::new("-d"), public.as_path()]),
        Reason::UnsupportedRequest
    );
    assert_eq!(
        failed("ssh-add", &[Path::new("-T"), public.as_path()]),
        Reason::NotUserAuthentication
    );
    let sign = ["-Y", "sign", "-n", "file", "-f"].map(Path::new);
    let sign = [&sign[..], &[public.as_path(), file.as_path()]].concat();
    assert_eq!(failed("ssh-keygen", &sign), Reason::SshSig);
    assert_eq!(agent.signed().len(), 0);
}

/// A real sshd, the keys it is pinned with, and a folder for what people have.
struct Site {
    dir: TempDir,
    sshd: Sshd,
    host_keys: HostKeys,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = dir.path().join("server");
        fs::create_dir_all(&server).unwrap();
        let rsa = server.join("ssh_host_rsa_key");
        keygen(&rsa, "rsa").unwrap();
        let sshd = Sshd::start(&SshdOptions {
            dir: &server,
            logs: &dir.path().join("logs"),
            name: "sshd",
            extra: &format!("HostKey {}", rsa.display()),
        })
        .unwrap();
        let lines = ["ed25519", "ecdsa", "rsa"].map(|kind| {
            fs::read_to_string(sshd.file(&format!("ssh_host_{kind}_key.pub"))).unwrap()
        });
        let address = sshd.address();
        let known: String = lines
            .iter()
            .map(|line| format!("[{}]:{} {line}", address.ip(), address.port()))
            .collect();
        fs::write(dir.path().join("known_hosts"), known).unwrap();
        let host_keys = HostKeys::new(lines.iter().map(|line| line.parse().unwrap())).unwrap();
        Self {
            dir,
            sshd,
            host_keys,
        }
    }

    fn make_key(&self, kind: &str, bits: &str, format: &str) -> PathBuf {
        let path = self.dir.path().join(format!("{kind}-{bits}-{format}"));
        for file in [path.clone(), path.with_extension("pub")] {
            let _ = fs::remove_file(file);
        }
        let mut command = Command::new("ssh-keygen");
        command
            .args(["-q", "-t", kind, "-b", bits, "-m", format, "-N", "", "-f"])
            .arg(&path);
        run::run(command).unwrap().success().unwrap();
        path
    }

    /// An agent with that key, which the server takes from now on, and no other.
    fn agent(&self, key: &Path) -> Agent {
        let key = PrivateKey::parse(&fs::read(key).unwrap()).unwrap();
        let public = format!("{}\n", key.public());
        fs::write(self.sshd.file("authorized_keys"), &public).unwrap();
        let login = machine::me().unwrap().parse().unwrap();
        Agent::start(key, login, self.host_keys.clone())
    }

    fn ssh(&self, agent: &Agent, arguments: &[&str]) -> Ran {
        let address = self.sshd.address();
        let (options, remote) = arguments.split_at(arguments.len() - 1);
        let mut command = Command::new("ssh");
        command.args(["-F", "none", "-o", "BatchMode=yes"]);
        command.args(["-o", "StrictHostKeyChecking=yes", "-o", "IdentityFile=none"]);
        for (name, path) in [
            ("UserKnownHostsFile", self.dir.path().join("known_hosts")),
            ("IdentityAgent", agent.path()),
        ] {
            command.arg("-o").arg(format!("{name}={}", path.display()));
        }
        command.env_remove("SSH_AUTH_SOCK");
        command.args(options);
        command.args(["-p", &address.port().to_string(), &address.ip().to_string()]);
        command.args(remote);
        run::run(command).unwrap()
    }
}

/// A socket on which the signer answers, with one connection's state for each connection.
struct Agent {
    dir: TempDir,
    public: String,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    key: PrivateKey,
    login: Login,
    host_keys: HostKeys,
    events: Mutex<Vec<Event>>,
    ended: AtomicBool,
}

impl Agent {
    fn start(key: PrivateKey, login: Login, host_keys: HostKeys) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("agent")).unwrap();
        let public = key.public().to_string();
        let shared = Arc::new(Shared {
            key,
            login,
            host_keys,
            events: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        let accepting = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                std::thread::scope(|scope| {
                    for stream in listener.incoming() {
                        if shared.ended.load(Ordering::Relaxed) {
                            break;
                        }
                        let shared = &shared;
                        scope.spawn(move || shared.serve(stream.unwrap()));
                    }
                });
            }
        });
        Self {
            dir,
            public,
            shared,
            accepting: Some(accepting),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("agent")
    }

    /// Runs a program that talks to this agent.
    fn client(&self, program: &str, arguments: &[&str]) -> Ran {
        let mut command = Command::new(program);
        command.args(arguments).env("SSH_AUTH_SOCK", self.path());
        run::run(command).unwrap()
    }

    fn events(&self) -> Vec<Event> {
        self.shared.events.lock().unwrap().clone()
    }

    fn signed(&self) -> Vec<Signed> {
        let events = self.events().into_iter();
        events
            .filter_map(|event| match event {
                Event::Signed(signed) => Some(signed),
                Event::Refused(_) => None,
            })
            .collect()
    }

    fn refused(&self) -> Vec<Reason> {
        let events = self.events().into_iter();
        events
            .filter_map(|event| match event {
                Event::Refused(refusal) => Some(refusal.reason),
                Event::Signed(_) => None,
            })
            .collect()
    }
}

impl Shared {
    fn serve(&self, mut stream: UnixStream) {
        let mut connection = Connection::new();
        let mut received = BytesMut::new();
        let mut piece = [0; 4096];
        loop {
            while let Some(request) = take_frame(&mut received).unwrap() {
                let terms = Terms {
                    login: &self.login,
                    host_keys: &self.host_keys,
                    unbound: Unbound::Refuse,
                };
                let answer = connection.answer(&request, &self.key, &terms);
                self.events.lock().unwrap().extend(answer.event);
                if stream.write_all(&answer.reply).is_err() {
                    return;
                }
            }
            match stream.read(&mut piece) {
                Ok(0) | Err(_) => return,
                Ok(count) => received.extend_from_slice(&piece[..count]),
            }
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        let _ = UnixStream::connect(self.path());
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}
