//! The hub logs people in with a key from a Secret. Nobody has it, and nothing but logging in there can be done with it.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use kedge_testkit::process::{Daemon, descendants, kill_each};
use kedge_testkit::sshd::{self, Sshd};

use crate::prelude::*;

/// A stack whose sshd takes one key, which is in a Secret, and an alice who has none.
pub(crate) struct Injected {
    pub(crate) alice: Person,
    pub(crate) stack: Stack,
    secrets: PathBuf,
}

const SECRET: &str = "ssh-keys/web01";

impl Injected {
    fn start(t: &Case) -> Result<Self> {
        Self::with(t, "")
    }

    /// With more lines for `[secrets]`.
    fn with(t: &Case, more: &str) -> Result<Self> {
        let mut options = t.hub_options()?;
        options.extra = format!("[secrets]\nnamespaces = [\"ssh-keys\"]\n{more}");
        let stack = t.stack_with(options)?;
        let alice = t.stranger("keyless", None)?;
        alice.log_in(&stack.hub, &stack.hub.url(), "alice")?;
        let injected = Self {
            alice,
            secrets: stack.hub.state_dir().join("secrets"),
            stack,
        };
        injected.put(&fs::read(injected.stack.sshd.user_key())?)?;
        injected.refer(SERVER, json!({"namespace": "ssh-keys", "name": "web01"}))?;
        Ok(injected)
    }

    fn folder(&self) -> PathBuf {
        self.secrets.join(SECRET)
    }

    /// Has the Secret hold this.
    fn put(&self, content: &[u8]) -> Result<()> {
        fs::create_dir_all(self.folder())?;
        let (new, path) = (
            self.folder().join("new"),
            self.folder().join("ssh-privatekey"),
        );
        fs::write(&new, content)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
        Ok(fs::rename(new, path)?)
    }

    /// Says for which servers the Secret is.
    fn offer(&self, servers: &str) -> Result<()> {
        let folder = self.folder().join("..annotations/kedge.dev");
        fs::create_dir_all(&folder)?;
        Ok(fs::write(folder.join("servers"), servers)?)
    }

    /// Has a server refer to a Secret; null takes the reference away.
    fn refer(&self, server: &str, reference: Value) -> Result<()> {
        self.stack.admin.apply(&json!({
            "apiVersion": "kedge.dev/v1alpha1", "kind": "Server", "metadata": {"name": server},
            "spec": {"sshKeySecretRef": reference},
        }))
    }

    /// A new key that the sshd takes, and no other; its file.
    fn other_key(&self, t: &Case, kind: &str) -> Result<PathBuf> {
        let key = t.dir().join(t.unique(kind));
        sshd::keygen(&key, kind)?;
        let public = fs::read(key.with_extension("pub"))?;
        fs::write(self.stack.sshd.file("authorized_keys"), public)?;
        Ok(key)
    }

    /// Waits for what the server's condition says.
    fn condition(&self, wanted: &str) -> Result<Value> {
        let mut last = Value::Null;
        let found = wait::until("the condition", defaults::SOON, || {
            last = self.stack.admin.get("server", SERVER)?;
            let conditions = last["status"]["conditions"].as_array().cloned();
            let mut all = conditions.unwrap_or_default().into_iter();
            let there = all.find(|one| one["type"] == "CredentialsResolved");
            Ok(there.filter(|one| one["reason"] == wanted))
        });
        found.with_context(|| format!("no {wanted}: {last}"))
    }

    /// A session that stays, and the socket that it offers keys on.
    fn live(&self) -> Result<(Live, PathBuf)> {
        let host = self.stack.host();
        let mut live = Live::start(self.alice.openssh("ssh", &[&host, "echo here; cat"]))?;
        live.expect("here", defaults::SOON)?;
        Ok((live, self.socket()?))
    }

    fn socket(&self) -> Result<PathBuf> {
        let folder = agent_folder(&self.alice);
        for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
            let entry = entry?;
            if entry.file_type()?.is_socket() {
                return Ok(entry.path());
            }
        }
        bail!("no socket in {}", folder.display())
    }
}

fn agent_folder(person: &Person) -> PathBuf {
    person.home().join("run/kedge")
}

/// One message to an agent, and its answer without the length.
fn ask(agent: &mut UnixStream, payload: &[u8]) -> Result<Vec<u8>> {
    agent.set_read_timeout(Some(defaults::SOON))?;
    agent.write_all(&u32::try_from(payload.len())?.to_be_bytes())?;
    agent.write_all(payload)?;
    let mut length = [0; 4];
    agent.read_exact(&mut length)?;
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    agent.read_exact(&mut answer)?;
    Ok(answer)
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(bytes.len())
        .unwrap_or_default()
        .to_be_bytes()
        .to_vec();
    out.extend_from_slice(bytes);
    out
}

const FAILURE: &[u8] = &[5];

/// The one key that an agent names.
fn the_key(agent: &mut UnixStream) -> Result<Vec<u8>> {
    let answer = ask(agent, &[11])?;
    ensure!(answer[..5] == [12, 0, 0, 0, 1], "not one key: {answer:?}");
    let length = u32::from_be_bytes(answer[5..9].try_into()?) as usize;
    Ok(answer[9..9 + length].to_vec())
}

fn sign(agent: &mut UnixStream, key: &[u8], data: &[u8]) -> Result<Vec<u8>> {
    let mut request = vec![13];
    request.extend(string(key));
    request.extend(string(data));
    request.extend([0; 4]);
    ask(agent, &request)
}

/// What `ssh` wants signed to log somebody in with a key (RFC 4252 §7), in a session that nobody has heard of.
fn userauth(user: &str, key: &[u8]) -> Vec<u8> {
    let mut data = string(&noise(32));
    data.push(50);
    for part in [user.as_bytes(), b"ssh-connection", b"publickey"] {
        data.extend(string(part));
    }
    data.push(1);
    data.extend(string(b"ssh-ed25519"));
    data.extend(string(key));
    data
}

/// Somebody without a key uses a server as people do: shell, exec, scp, sftp, rsync, a forward.
pub(crate) fn every_tool(t: &Case, alice: &Person, host: &str) -> Result<()> {
    alice.kedge_ssh(&[SERVER, "exit 3"])?.exits(3)?;
    let said = run(alice.openssh("ssh", &[host, "echo $SSH_CONNECTION"]))?.success()?;
    ensure!(
        !said.out().trim().is_empty() && said.err().is_empty(),
        "{said}"
    );
    // A shell, by its standard input.
    let shell = alice.kedge_ssh_command(&[SERVER]);
    let ran = feed(shell, b"echo a shell; exit 4\n".to_vec(), defaults::COMMAND)?.exits(4)?;
    ensure!(ran.out().contains("a shell"), "{ran}");
    let bytes = noise(300_000);
    let here = t.write("here", &bytes)?.display().to_string();
    let there = t.dir().join("there").display().to_string();
    for protocol in ["-s", "-O"] {
        let words = ["-q", protocol, &here, &format!("{host}:{there}{protocol}")];
        run(alice.openssh("scp", &words))?.success()?;
        ensure!(fs::read(format!("{there}{protocol}"))? == bytes);
    }
    let batch = t.write("batch", format!("get {here} {there}.sftp\n"))?;
    let words = [
        "-b".to_owned(),
        batch.display().to_string(),
        host.to_owned(),
    ];
    run(alice.openssh("sftp", &words))?.success()?;
    ensure!(fs::read(format!("{there}.sftp"))? == bytes);
    let ssh = format!("ssh -F {}", alice.ssh_config().display());
    let mut rsync = alice.command("rsync");
    rsync.args(["-a", "-e", &ssh, &here, &format!("{host}:{there}.rsync")]);
    run(rsync)?.success()?;
    ensure!(fs::read(format!("{there}.rsync"))? == bytes);
    let target = Target::start(Manner::Bye)?;
    let port = machine::free_port()?;
    let forward = format!("127.0.0.1:{port}:{}", target.address());
    let _live = Live::start(alice.openssh("ssh", &["-N", "-L", &forward, host]))?;
    wait::until_true("the forwarded port to answer", defaults::SOON, || {
        let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else {
            return Ok(false);
        };
        stream.set_read_timeout(Some(defaults::SOON))?;
        let mut greeting = Vec::new();
        stream.read_to_end(&mut greeting)?;
        Ok(greeting == BANNER)
    })
}

#[test]
fn every_tool_gets_in_without_any_key() -> Result<()> {
    case(|t| {
        let mut injected = Injected::start(t)?;
        every_tool(t, &injected.alice, &injected.stack.host())?;
        // Each signature says who got in where, and by which key; and nothing is left of the sockets.
        let made = injected.stack.hub.audited("a signature", |event| {
            text(event, "event") == "signature.made"
        })?;
        for (field, wanted) in [("subject", "alice"), ("server", SERVER)] {
            ensure!(text(&made, field) == wanted, "{made}");
        }
        ensure!(text(&made, "fingerprint").starts_with("SHA256:"), "{made}");
        ensure!(text(&made, "host_key").starts_with("SHA256:"), "{made}");
        ensure!(text(&made, "ssh_session").len() >= 40, "{made}");
        let opened = injected.stack.hub.audit()?;
        ensure!(opened.iter().any(|event| {
            text(event, "event") == "session.opened"
                && text(event, "session") == text(&made, "session")
        }));
        injected.condition("KeyRead")?;
        // Also what a session left that was killed: the next one tidies up.
        injected.alice.kedge_ssh(&[SERVER, "true"])?.success()?;
        wait::until_true("nothing to be left", defaults::SOON, || {
            Ok(fs::read_dir(agent_folder(&injected.alice))?.count() == 0)
        })
    })
}

#[test]
fn every_kind_of_key_signs() -> Result<()> {
    case(|t| {
        let injected = Injected::start(t)?;
        for kind in ["ed25519", "ecdsa", "rsa"] {
            let key = injected.other_key(t, kind)?;
            injected.put(&fs::read(&key)?)?;
            injected.alice.kedge_ssh(&[SERVER, "true"])?.success()?;
        }
        Ok(())
    })
}

#[test]
fn a_rotated_key_counts_from_the_next_session_on() -> Result<()> {
    case(|t| {
        let injected = Injected::start(t)?;
        // A session from before stays, and so does its agent, which the next one asks.
        let (mut old, _) = injected.live()?;
        let key = injected.other_key(t, "ed25519")?;
        injected
            .alice
            .kedge_ssh(&[SERVER, "true"])?
            .exits(255)?
            .says(&["Permission denied"])?;
        injected.put(&fs::read(key)?)?;
        let host = injected.stack.host();
        run(injected.alice.openssh("ssh", &[&host, "true"]))?.success()?;
        injected.alice.kedge_ssh(&[SERVER, "true"])?.success()?;
        ensure!(old.is_running()?, "the older session ended");
        Ok(())
    })
}

#[test]
fn a_key_that_cannot_be_used_fails_loudly_and_nothing_else_is_tried() -> Result<()> {
    case(|t| {
        let mut injected = Injected::start(t)?;
        let host = injected.stack.host();
        // Somebody whose own key would do.
        let bob = t.stranger("bob-with-a-key", Some(&injected.stack.sshd))?;
        bob.log_in(&injected.stack.hub, &injected.stack.hub.url(), "alice")?;
        bob.kedge_ssh(&[SERVER, "true"])?.success()?;
        let accepted = injected.stack.sshd.accepted()?;
        let path = injected.folder().join("ssh-privatekey");
        let good = fs::read(&path)?;
        let locked = t.dir().join("locked");
        let mut keygen = Command::new("ssh-keygen");
        keygen
            .args(["-q", "-t", "ed25519", "-N", "a passphrase", "-f"])
            .arg(&locked);
        run(keygen)?.success()?;
        let public = fs::read(injected.stack.sshd.user_key().with_extension("pub"))?;
        for (content, reason, words) in [
            (None, "SecretKeyMissing", "ssh-privatekey"),
            (Some(Vec::new()), "KeyUnusable", "empty"),
            (Some(noise(400)), "KeyUnusable", ""),
            (Some(public), "KeyUnusable", "public"),
            (Some(fs::read(&locked)?), "KeyUnusable", "passphrase"),
        ] {
            match &content {
                Some(content) => injected.put(content)?,
                None => fs::remove_file(&path)?,
            }
            for person in [&injected.alice, &bob] {
                // Also those who remember as whom they come, and do not ask before they begin.
                let said = person.kedge_ssh(&[SERVER, "true"])?.exits(255)?;
                let said = said.says(&[SECRET, "ssh-privatekey", words])?;
                ensure!(said.err().contains("error: "), "{said}");
            }
            let said = run(bob.openssh("ssh", &[&host, "true"]))?.exits(255)?;
            said.says(&[SECRET])?;
            let condition = injected.condition(reason)?;
            ensure!(condition["status"] == "False", "{condition}");
            ensure!(
                condition["message"]
                    .as_str()
                    .is_some_and(|m| m.contains(SECRET)),
                "{condition}"
            );
            let token = injected.stack.hub.token("alice")?.to_owned();
            let path = format!("/apis/kedge.dev/v1alpha1/servers/{SERVER}/access");
            let answer = Request::new("GET", &path)
                .bearer(&token)
                .send(Endpoint::of(&injected.stack.hub))?;
            ensure!(answer.status == 502, "{answer:?}");
        }
        ensure!(
            injected.stack.sshd.accepted()? == accepted,
            "sshd was reached"
        );
        injected.stack.hub.audited("the refusal", |event| {
            text(event, "event") == "session.refused"
                && text(event, "code") == "credentials-unavailable"
        })?;
        injected.put(&good)?;
        injected.alice.kedge_ssh(&[SERVER, "true"])?.success()?;
        Ok(())
    })
}

#[test]
fn a_secret_that_is_gone_is_named_and_counts_again_when_it_is_back() -> Result<()> {
    case(|t| {
        let injected = Injected::start(t)?;
        let aside = injected.secrets.join("aside");
        fs::rename(injected.folder(), &aside)?;
        injected
            .alice
            .kedge_ssh(&[SERVER, "true"])?
            .exits(255)?
            .says(&[SECRET, "not found"])?;
        injected.condition("SecretNotFound")?;
        fs::rename(aside, injected.folder())?;
        injected.alice.kedge_ssh(&[SERVER, "true"])?.success()?;
        injected.condition("KeyRead")?;
        Ok(())
    })
}

#[test]
fn only_what_was_offered_to_a_server_is_used_there() -> Result<()> {
    case(|t| {
        let injected = Injected::with(t, "require-annotation = true\n")?;
        let refused = |reason: &str, words: &str| {
            injected
                .alice
                .kedge_ssh(&[SERVER, "true"])?
                .exits(255)?
                .says(&[SECRET, words])?;
            injected.condition(reason).map(drop)
        };
        refused("NotAnnotated", "kedge.dev/servers")?;
        injected.offer("db01, db02")?;
        refused("NotOffered", "does not offer it")?;
        injected.offer("role=web")?;
        refused("NotOffered", "does not offer it")?;
        injected.offer("=(!")?;
        refused("AnnotationUnreadable", "unreadable")?;
        for servers in ["web01", "db01 web01", "role!=db"] {
            injected.offer(servers)?;
            injected.alice.kedge_ssh(&[SERVER, "true"])?.success()?;
        }
        // Whoever may write servers still cannot use what is in a namespace that the hub does not list.
        let other = injected.secrets.join("other/web01");
        fs::create_dir_all(other.parent().context("a parent")?)?;
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(injected.folder()).arg(&other);
        run(copy)?.success()?;
        injected.refer(SERVER, json!({"namespace": "other", "name": "web01"}))?;
        injected
            .alice
            .kedge_ssh(&[SERVER, "true"])?
            .exits(255)?
            .says(&["other/web01", "secrets.namespaces"])?;
        Ok(())
    })
}

/// An ssh-agent of the person's own, with the sshd's user key in it.
fn own_agent(t: &Case, sshd: &Sshd) -> Result<(Daemon, String)> {
    let socket = t.dir().join(t.unique("own")).display().to_string();
    let mut agent = Command::new("ssh-agent");
    agent.args(["-D", "-a", &socket]);
    let daemon = Daemon::spawn("ssh-agent", agent, t.logs())?;
    wait::until_true("ssh-agent to listen", defaults::SOON, || {
        Ok(Path::new(&socket).exists())
    })?;
    let mut add = Command::new("ssh-add");
    add.arg("-q")
        .arg(sshd.user_key())
        .env("SSH_AUTH_SOCK", &socket);
    run(add)?.success()?;
    Ok((daemon, socket))
}

#[test]
fn one_configuration_serves_own_keys_and_injected_ones() -> Result<()> {
    case(|t| {
        let injected = Injected::start(t)?;
        let host = injected.stack.host();
        let (_agent, socket) = own_agent(t, &injected.stack.sshd)?;
        // As most people have it: whatever is in the agent may be offered.
        let generated = injected.alice.kedge(&["ssh-config"])?.success()?.out();
        fs::write(
            injected.alice.ssh_config(),
            format!("{generated}\nHost *\n  BatchMode yes\n"),
        )?;
        let ssh = |words: &[&str]| {
            let mut command = injected.alice.openssh("ssh", words);
            command.env("SSH_AUTH_SOCK", &socket);
            run(command)
        };
        // The server takes the injected key only: had the person's been offered, sshd would say so.
        let key = injected.other_key(t, "ed25519")?;
        injected.put(&fs::read(key)?)?;
        ssh(&[&host, "true"])?.success()?;
        let log = injected.stack.sshd.daemon().log()?;
        ensure!(!log.contains("Failed publickey"), "{log}");
        // What is forwarded is the person's own agent, and the signer is out of its reach.
        let forwarded = ssh(&["-A", &host, "ssh-add -l"])?.success()?;
        ensure!(forwarded.out().lines().count() == 1, "{forwarded}");
        let mine = run({
            let mut list = Command::new("ssh-add");
            list.arg("-l").env("SSH_AUTH_SOCK", &socket);
            list
        })?;
        ensure!(mine.out() == forwarded.out(), "{mine} {forwarded}");
        // With no agent of one's own there is nothing to forward.
        let none = run(injected.alice.openssh("ssh", &["-A", &host, "ssh-add -l"]))?;
        ensure!(none.code() != Some(0), "{none}");
        // The same configuration, once the server takes people's own keys.
        injected.refer(SERVER, Value::Null)?;
        fs::copy(
            injected.stack.sshd.user_key().with_extension("pub"),
            injected.stack.sshd.file("authorized_keys"),
        )?;
        // What the hub said of the server is remembered for a while; a login anew forgets it.
        injected
            .alice
            .log_in_with(
                &injected.stack.hub,
                &injected.stack.hub.url(),
                injected.stack.hub.token("alice")?,
            )?
            .success()?;
        ssh(&[&host, "true"])?.success()?;
        let mut kedge = injected.alice.kedge_ssh_command(&[SERVER, "true"]);
        kedge.env("SSH_AUTH_SOCK", &socket);
        run(kedge)?.success()?;
        Ok(())
    })
}

#[test]
fn the_agent_signs_nothing_but_a_login_to_its_server() -> Result<()> {
    case(|t| {
        let mut injected = Injected::start(t)?;
        let (_live, socket) = injected.live()?;
        let mut agent = UnixStream::connect(&socket)?;
        let key = the_key(&mut agent)?;
        let me = machine::me()?;
        let mut sshsig = b"SSHSIG".to_vec();
        for part in [&b"git"[..], b"", b"sha512", &noise(64)] {
            sshsig.extend(string(part));
        }
        for data in [
            Vec::new(),
            noise(32),
            noise(20_000),
            sshsig,
            // Of a session that nothing ties to this server, as whoever.
            userauth(&me, &key),
            userauth("root", &key),
        ] {
            ensure!(
                sign(&mut agent, &key, &data)? == FAILURE,
                "{} bytes were signed",
                data.len()
            );
        }
        // Nothing that changes an agent reaches the hub.
        for request in [
            &[17, 0, 0, 0, 0][..],
            &[18],
            &[19],
            &[22, 0, 0, 0, 0],
            &[200],
            &[27, 0, 0, 0, 1, b'x'],
        ] {
            let answer = ask(&mut agent, request)?;
            ensure!(
                answer == FAILURE || answer == [28],
                "{request:?}: {answer:?}"
            );
        }
        injected.stack.hub.audited("the refusals", |event| {
            text(event, "event") == "signature.refused" && text(event, "server") == SERVER
        })?;
        // ssh-keygen signs files with any agent; not with this one.
        let public = t.dir().join("public");
        fs::copy(
            injected.stack.sshd.user_key().with_extension("pub"),
            &public,
        )?;
        let file = t.write("file", "text")?;
        let mut keygen = Command::new("ssh-keygen");
        keygen
            .args(["-Y", "sign", "-n", "file", "-f"])
            .arg(&public)
            .arg(&file);
        keygen.env("SSH_AUTH_SOCK", &socket);
        ensure!(run(keygen)?.code() != Some(0), "a file was signed");
        // A message that is too long, or none, ends the conversation and nothing else.
        let mut flood = UnixStream::connect(&socket)?;
        flood.write_all(&[0xff; 64])?;
        let mut rest = Vec::new();
        let _ = flood.read_to_end(&mut rest);
        ensure!(rest.is_empty());
        the_key(&mut UnixStream::connect(&socket)?)?;
        Ok(())
    })
}

/// OpenSSH before 8.9 says neither to which server it speaks nor in which session.
#[test]
fn a_client_that_cannot_bind_gets_in_where_the_hub_allows_it() -> Result<()> {
    case(|t| {
        let mut injected = Injected::with(t, "allow-unbound-clients = true\n")?;
        let (_live, socket) = injected.live()?;
        let mut agent = UnixStream::connect(&socket)?;
        let key = the_key(&mut agent)?;
        let me = machine::me()?;
        let signed = sign(&mut agent, &key, &userauth(&me, &key))?;
        ensure!(signed.first() == Some(&14), "{signed:?}");
        injected.stack.hub.audited("the signature", |event| {
            text(event, "event") == "signature.made" && text(event, "bound_by") == "nothing"
        })?;
        // It is a login still, and this person's.
        for data in [userauth("somebody-else", &key), noise(64)] {
            ensure!(sign(&mut agent, &key, &data)? == FAILURE);
        }
        Ok(())
    })
}

#[test]
fn a_key_that_two_servers_take_is_used_at_the_one_that_one_may_reach() -> Result<()> {
    case(|t| {
        let injected = Injected::start(t)?;
        // Another server with the same Secret, and alice may not go there.
        let sshd = t.sshd()?;
        fs::copy(
            injected.stack.sshd.file("authorized_keys"),
            sshd.file("authorized_keys"),
        )?;
        let mut agent =
            t.joined_agent(&injected.stack.hub, &injected.stack.admin, "web02", &sshd)?;
        agent.start()?;
        injected.refer("web02", json!({"namespace": "ssh-keys", "name": "web01"}))?;
        let mut policy = Person::policy("everyone-tested", &["alice", "admin"])?;
        policy["spec"]["servers"]["names"] = json!([SERVER]);
        injected.stack.admin.apply(&policy)?;
        injected.alice.kedge_ssh(&["web02", "true"])?.exits(255)?;
        // She reaches its sshd by herself, and asks the agent of the session that she has.
        let (_live, socket) = injected.live()?;
        let direct = |sshd: &Sshd| {
            let known = t.write(&t.unique("known"), "")?;
            let keys = fs::read_to_string(sshd.file("ssh_host_ed25519_key.pub"))?;
            fs::write(
                &known,
                format!("[127.0.0.1]:{} {keys}", sshd.address().port()),
            )?;
            let mut ssh = Command::new("ssh");
            ssh.args([
                "-F",
                "none",
                "-o",
                "BatchMode=yes",
                "-o",
                "IdentityFile=none",
                "-o",
            ])
            .arg(format!("UserKnownHostsFile={}", known.display()))
            .args(["-o", "HostKeyAlgorithms=ssh-ed25519", "-o"])
            .arg(format!("IdentityAgent={}", socket.display()))
            .args([
                "-p",
                &sshd.address().port().to_string(),
                "127.0.0.1",
                "true",
            ]);
            run(ssh)
        };
        direct(&sshd)?.exits(255)?.says(&["Permission denied"])?;
        // At its own server the key is good, whichever way one came: that is what host keys prove.
        direct(&injected.stack.sshd)?.success()?;
        Ok(())
    })
}

#[test]
fn sessions_share_one_path_and_the_last_one_tidies_up() -> Result<()> {
    case(|t| {
        let injected = Injected::start(t)?;
        let host = injected.stack.host();
        // In the same second, by plain ssh.
        let mut many = Vec::new();
        for _ in 0..12 {
            many.push(Live::start(
                injected.alice.openssh("ssh", &[&host, "echo here; cat"]),
            )?);
        }
        for live in &mut many {
            live.expect("here", defaults::COMMAND)?;
        }
        let socket = injected.socket()?;
        the_key(&mut UnixStream::connect(&socket)?)?;
        // One after the other goes, some of them in the worst way: the path answers, and new sessions get in.
        let mut index = 0_usize;
        while let Some(live) = many.pop() {
            index += 1;
            match index % 3 {
                0 => drop(live.finish(defaults::SOON)?),
                1 => kill_each(&descendants(live.pid())),
                _ => drop(live),
            }
            if many.is_empty() {
                break;
            }
            wait::until_true("the path to answer", defaults::SOON, || {
                Ok(UnixStream::connect(&socket)
                    .map_err(anyhow::Error::from)
                    .and_then(|mut agent| the_key(&mut agent))
                    .is_ok())
            })?;
            if index.is_multiple_of(4) {
                run(injected.alice.openssh("ssh", &[&host, "true"]))?.success()?;
            }
        }
        // What a killed one left is in nobody's way.
        run(injected.alice.openssh("ssh", &[&host, "true"]))?.success()?;
        wait::until_true("nothing to be left", defaults::SOON, || {
            Ok(fs::read_dir(agent_folder(&injected.alice))?.count() == 0)
        })
    })
}

#[test]
fn a_policy_that_goes_takes_the_signer_along() -> Result<()> {
    case(|t| {
        let injected = Injected::start(t)?;
        let (live, socket) = injected.live()?;
        let mut agent = UnixStream::connect(&socket)?;
        the_key(&mut agent)?;
        injected
            .stack
            .admin
            .kedge(&["delete", "accesspolicy", "everyone-tested"])?
            .success()?;
        wait::until_true("the agent to know nothing any more", defaults::SOON, || {
            Ok(UnixStream::connect(&socket)
                .map_err(anyhow::Error::from)
                .and_then(|mut agent| the_key(&mut agent))
                .is_err())
        })?;
        live.wait(defaults::SOON)?.exits(255)?;
        Ok(())
    })
}
