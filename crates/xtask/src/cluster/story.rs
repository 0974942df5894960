//! What the hub must do on the node, from the image to the last session.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, ensure};
use kedge_testkit::agent::{Agent, AgentOptions, tcp};
use kedge_testkit::person::Person;
use kedge_testkit::run;
use kedge_testkit::sshd::{Sshd, SshdOptions};
use kedge_testkit::{defaults as limits, stack, wait};
use serde_json::{Value, json};

use super::Inside;
use super::inside::step;
use super::network::{BALANCED, HUB, outside};
use super::node::{Node, ctr, import};
use super::operator::{self, Prepared};
use crate::image::{self, Reference};
use crate::{defaults, interrupt};

/// The server that joins.
const SERVER: &str = "web01";

/// Tells it.
///
/// # Errors
///
/// What did not hold.
pub(super) fn tell(arguments: &Inside, node: &Node) -> Result<()> {
    let dir = arguments.dir.as_path();
    let file = dir.join("kedge-hub.tar");
    let image = image::hub(&arguments.bins, &Reference::of_the_hub(), None)?;
    let written = image.write(&file)?;
    import(&file)?;
    let there = run::run(ctr(&["images", "list"]))?.success()?.out();
    ensure!(
        there.contains(&written.digest.to_string()),
        "{} is not among\n{there}",
        written.digest
    );
    step("containerd has the hub's image.");

    let prepared = operator::prepare(node, dir, &arguments.bins, &arguments.manifests)?;
    let overlay = prepared.overlay.display().to_string();
    let applied = node.kubectl(&["apply", "--kustomize", &overlay])?;
    ensure!(
        applied.contains("deployment.apps/kedge-hub created"),
        "{applied}"
    );
    operator::rolled_out(node)?;
    step("The hub's probes say that it is ready.");
    let first = pod(node)?;
    confined(node, &first)?;
    owned(&prepared)?;
    step("It runs as the manifests say: unprivileged, without capabilities, on its volume.");
    operator::balance(node)?;
    outside(|| {
        // kube-proxy hears of the address, and then sets its rules.
        wait::until_true("the hub's Service to be open", limits::SOON, || {
            let address = (BALANCED, 443).into();
            Ok(TcpStream::connect_timeout(&address, limits::SOON).is_ok())
        })
    })?;
    let mut site = outside(|| Site::new(arguments, &prepared))?;
    step("People outside are logged in, and an agent has joined.");
    operator::give_key(node, SERVER, &site.sshd.user_key())?;
    outside(|| site.session())?;
    step("A session went through, with a key from a Secret.");
    interrupt::check()?;

    node.kubectl(&[
        "--namespace=kedge",
        "rollout",
        "restart",
        "deployment/kedge-hub",
    ])?;
    operator::rolled_out(node)?;
    let second = pod(node)?;
    ensure!(
        uid(&first)? != uid(&second)?,
        "it is the same pod: {second}"
    );
    outside(|| {
        site.agent.connected(2)?;
        site.session()?;
        site.remembers(2)
    })?;
    step("The Deployment was rolled; the agent came back, and so did sessions and their history.");
    let logged = node.kubectl(&["--namespace=kedge", "logs", "deployment/kedge-hub"])?;
    ensure!(
        logged.contains("alice"),
        "no word of the session:\n{logged}"
    );
    // Nothing that is kept from a hub by the manifests was in its way, and no probe ever failed for long.
    let restarts = second.pointer("/status/containerStatuses/0/restartCount");
    ensure!(restarts == Some(&json!(0)), "it was started anew: {second}");
    outside(|| site.agent.stop().map(drop))
}

/// The one pod of the hub.
fn pod(node: &Node) -> Result<Value> {
    let mut last = Value::Null;
    let waited = wait::until("one pod of the hub", defaults::CLUSTER_STEP, || {
        let words = ["--namespace=kedge", "get", "pods", "--output=json"];
        last = serde_json::from_str(&node.kubectl(&words)?)?;
        match last
            .pointer("/items")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
        {
            Some([one]) => Ok(Some(one.clone())),
            _ => Ok(None),
        }
    });
    waited.with_context(|| format!("there are {last}"))
}

fn uid(pod: &Value) -> Result<&str> {
    let uid = pod.pointer("/metadata/uid").and_then(Value::as_str);
    uid.context("a pod has a uid")
}

/// What the kernel says of the hub's process.
fn confined(node: &Node, pod: &Value) -> Result<()> {
    let id = pod.pointer("/status/containerStatuses/0/containerID");
    let id = id.and_then(Value::as_str).unwrap_or_default();
    let id = id
        .strip_prefix("containerd://")
        .context("a container has an id")?;
    let tasks = run::run(ctr(&["task", "list"]))?.success()?.out();
    let line = tasks.lines().find(|line| line.starts_with(id));
    let pid = line.and_then(|line| line.split_whitespace().nth(1));
    let pid = pid.with_context(|| format!("{id} is not among\n{tasks}"))?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    for (name, wanted) in [
        ("Uid", "65532 65532 65532 65532"),
        ("Gid", "65532 65532 65532 65532"),
        ("CapPrm", "0000000000000000"),
        ("CapEff", "0000000000000000"),
        ("CapBnd", "0000000000000000"),
        ("NoNewPrivs", "1"),
        // A filter of system calls: the runtime's own.
        ("Seccomp", "2"),
    ] {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let found: Vec<&str> = line.unwrap_or_default().split_whitespace().collect();
        ensure!(
            found.join(" ") == wanted,
            "{name} is not {wanted}:\n{status}"
        );
    }
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
    let root = mounts
        .lines()
        .find(|line| line.split(' ').nth(4) == Some("/"));
    let is_read_only = root.and_then(|line| line.split(' ').nth(5));
    let is_read_only =
        is_read_only.is_some_and(|options| options.split(',').any(|one| one == "ro"));
    ensure!(is_read_only, "its root can be written to: {root:?}");
    let names = [
        "--namespace=kedge",
        "get",
        "events",
        "--output=jsonpath={.items[*].reason}",
    ];
    let events = node.kubectl(&names)?;
    ensure!(!events.contains("BackOff"), "{events}");
    Ok(())
}

/// The kubelet gave the volume to the hub's group, and the hub keeps its history there.
fn owned(prepared: &Prepared) -> Result<()> {
    let volume = fs::metadata(&prepared.volume)?;
    ensure!(
        volume.gid() == defaults::IMAGE_USER && volume.mode() & 0o2070 == 0o2070,
        "the volume is of the group {} with the mode {:o}",
        volume.gid(),
        volume.mode()
    );
    let files: Vec<_> = fs::read_dir(&prepared.volume)?.flatten().collect();
    ensure!(!files.is_empty(), "there is no history on the volume");
    for file in files {
        let found = file.metadata()?;
        ensure!(
            found.uid() == defaults::IMAGE_USER && found.mode() & 0o007 == 0,
            "{} is of {} with the mode {:o}",
            file.path().display(),
            found.uid(),
            found.mode()
        );
    }
    Ok(())
}

/// Everybody outside of the cluster.
struct Site {
    admin: Person,
    alice: Person,
    agent: Agent,
    sshd: Sshd,
}

impl Site {
    /// An administrator and alice, who log in; an sshd, and an agent that joins.
    fn new(arguments: &Inside, prepared: &Prepared) -> Result<Self> {
        let (dir, bins, logs) = (
            arguments.dir.join("outside"),
            arguments.bins.as_path(),
            arguments.logs.as_path(),
        );
        let url = format!("https://{HUB}");
        let person = |name: &str, token: &str| -> Result<Person> {
            let person = Person::new(&dir.join(name), bins, None)?;
            let file = person.home().join("token");
            fs::write(&file, token)?;
            fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
            let mut login = person.kedge_command(&["login", url.as_str(), "--token-file"]);
            login.arg(&file).arg("--ca-file").arg(&prepared.certificate);
            run::run(login)?.success()?;
            person.install_ssh_config()?;
            Ok(person)
        };
        let (admin, alice) = (
            person("admin", &prepared.admin)?,
            person("alice", &prepared.alice)?,
        );
        let sshd = Sshd::start(&SshdOptions {
            dir: &dir.join("sshd"),
            logs,
            name: "sshd",
            extra: "",
        })?;
        let mut agent = Agent::new(AgentOptions {
            dir: dir.join("agent"),
            logs: logs.to_owned(),
            bins: bins.to_owned(),
            name: SERVER.to_owned(),
            hub: url,
            pin: None,
            ca_file: Some(prepared.certificate.clone()),
            target: tcp(sshd.address()),
            host_keys: sshd.host_keys(),
            labels: Vec::new(),
            extra: String::new(),
            environment: Vec::new(),
        })?;
        agent.join(&admin.join_token(&[])?)?.success()?;
        agent.start()?;
        stack::phase(&admin, SERVER, "Online", limits::SOON)?;
        admin.apply(&Person::policy("developers", &["alice"])?)?;
        Ok(Self {
            admin,
            alice,
            agent,
            sshd,
        })
    }

    /// Alice, who has no key at all, works on the server.
    fn session(&self) -> Result<()> {
        stack::phase(&self.admin, SERVER, "Online", limits::SOON)?;
        let words = [SERVER, "--", "echo through the cluster; exit 3"];
        let ran = self.alice.kedge_ssh(&words)?.exits(3)?;
        ensure!(ran.out() == "through the cluster\n", "{ran}");
        Ok(())
    }

    /// The hub's history has this many sessions of hers.
    fn remembers(&self, sessions: usize) -> Result<()> {
        let file = self.admin.home().join("nobody.yaml");
        let mut policy = Person::policy("nobody-any-more", &["alice"])?;
        if let Some(spec) = policy.get_mut("spec").and_then(Value::as_object_mut) {
            spec.insert("effect".to_owned(), json!("Deny"));
        }
        fs::write(&file, policy.to_string())?;
        let path = file.display().to_string();
        let words = ["explain", "--since", "1d", "--with", path.as_str()];
        let mut said = String::new();
        let waited = wait::until_true("the sessions in the history", limits::SOON, || {
            let ran = self.admin.kedge(&words)?;
            ensure!(matches!(ran.code(), Some(0 | 1)), "{ran}");
            said = ran.out();
            Ok(said.lines().filter(|line| line.contains("alice")).count() >= sessions)
        });
        waited.with_context(|| format!("it has\n{said}"))
    }
}
