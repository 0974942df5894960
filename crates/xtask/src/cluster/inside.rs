//! The first process inside: the machine that a node wants, and everything on it from its start to its end.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use kedge_testkit::process::describe;
use rustix::mount::{MountFlags, mount, mount_bind};

use super::node::Node;
use super::{Inside, network, story};

/// Goes the whole way.
pub(super) fn run(arguments: &Inside) -> Result<()> {
    ensure!(
        std::process::id() == 1,
        "this is a part of `cargo xtask test cluster`, and does nothing by itself"
    );
    furnish(&arguments.dir)?;
    network::wire()?;
    let node = Node::start(arguments)?;
    let told = story::tell(arguments, &node);
    if told.is_err() {
        node.write_down(&arguments.logs);
    }
    let ended = node.end();
    told.and(ended)
}

/// Folders that programs insist on, each over the machine's own: nobody else sees what is mounted here.
fn furnish(dir: &Path) -> Result<()> {
    mount("tmpfs", "/run", "tmpfs", MountFlags::empty(), c"mode=755").context("mount /run")?;
    for (folder, over) in [("lib", "/var/lib"), ("log", "/var/log")] {
        let folder = dir.join(folder);
        fs::create_dir(&folder)?;
        mount_bind(&folder, over).with_context(|| format!("mount {over}"))?;
    }
    let hosts = dir.join("hosts");
    let lines = format!(
        "127.0.0.1 localhost\n{} {}\n",
        network::BALANCED,
        network::HUB
    );
    fs::write(&hosts, lines)?;
    mount_bind(&hosts, "/etc/hosts").context("mount /etc/hosts")
}

/// Says what is done now.
pub(super) fn step(text: &str) {
    println!("cluster: {text}");
}

/// Runs a command to its end, or for as long as it may, also after Ctrl-C: this is what is done about Ctrl-C. Whoever
/// was asked to stop and does not is killed soon.
pub(super) fn last(
    mut command: std::process::Command,
    limit: std::time::Duration,
) -> Result<String> {
    use std::process::Stdio;
    let described = describe(&command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("start `{described}`"))?;
    let said = crate::builder::drain(child.stdout.take().context("stdout is piped")?);
    let until = std::time::Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if std::time::Instant::now() > until {
            let _ = child.kill();
            break child.wait()?;
        }
        std::thread::sleep(kedge_testkit::defaults::POLL);
    };
    ensure!(status.success(), "`{described}` ended with {status}");
    said.join().ok().context("reading what it says")
}
