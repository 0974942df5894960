//! `cargo xtask test cluster`: the hub's image and manifests on a real node of Kubernetes.
//!
//! ```text
//!  cargo xtask test cluster
//!   └─ unshare: mounts, network and processes of its own
//!       └─ PID 1: cargo xtask cluster-inside
//!           ├─ etcd, kube-apiserver, kube-controller-manager, kube-scheduler
//!           ├─ containerd ── kubelet, kube-proxy ── pods
//!           └─ "outside", a network namespace beyond the node's: sshd, kedge-agent, people
//! ```
//!
//! When PID 1 ends, however it does, the kernel ends every process, and what they mounted and wired is gone with them.
//! What is left are files in one folder and control groups below one name; this process removes them, and the next run
//! does when this one was killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use kedge_testkit::process::{as_pid, descendants, parent_of};
use kedge_testkit::{machine, run, wait};
use rustix::process::{Signal, kill_process};

use crate::defaults;
use crate::owner::Owner;

mod control_groups;
mod inside;
mod network;
mod node;
mod operator;
mod story;

/// What the names of all that belongs to these tests begin with.
const PREFIX: &str = "kedge-cluster";

/// What the part that runs inside is told.
#[derive(Args, Debug)]
pub(crate) struct Inside {
    /// The folder for everything it writes, whose name is that of its control group, too.
    #[arg(long)]
    dir: PathBuf,
    /// The folder for logs, which stays.
    #[arg(long)]
    logs: PathBuf,
    /// Where kedge's programs are.
    #[arg(long)]
    bins: PathBuf,
    /// The manifests.
    #[arg(long)]
    manifests: PathBuf,
}

/// Runs what this process was started for by [`play`].
pub(crate) fn run_inside(arguments: &Inside) -> Result<ExitCode> {
    inside::run(arguments).map(|()| ExitCode::SUCCESS)
}

/// Why there can be no node for this user.
pub(crate) fn not_root() -> Option<String> {
    let reason = "it needs root, for namespaces, mounts and control groups";
    (!machine::am_root()).then(|| reason.to_owned())
}

/// Why there can be no node here, once the packages are installed.
pub(crate) fn missing() -> Option<String> {
    if let Some(reason) = not_root() {
        return Some(reason);
    }
    // Rules for packets, as kube-proxy makes them, in a network of their own.
    let mut tried = isolated(Path::new("nft"));
    tried.args(["add", "table", "ip", PREFIX]);
    match run::run(tried) {
        Ok(ran) if ran.code() == Some(0) => {}
        Ok(ran) => {
            let said = ran.err();
            let said = said.lines().next().unwrap_or_default();
            return Some(format!(
                "there can be no node of its own network here: {said}"
            ));
        }
        Err(error) => return Some(format!("there can be no node here: {error:#}")),
    }
    let refused = control_groups::refused(&Owner::me().new_name(PREFIX));
    refused.map(|error| format!("no control groups can be made here: {error:#}"))
}

/// Starts the node, has it do what is tested, and ends it.
///
/// # Errors
///
/// When something fails; it has been said what.
pub(crate) fn play(xtask: &Path, bins: &Path, manifests: &Path, logs: &Path) -> Result<()> {
    remove_leftovers();
    if logs.exists() {
        fs::remove_dir_all(logs).with_context(|| format!("remove {}", logs.display()))?;
    }
    fs::create_dir_all(logs).with_context(|| format!("make {}", logs.display()))?;
    let name = Owner::me().new_name(PREFIX);
    let dir = std::env::temp_dir().join(&name);
    fs::create_dir(&dir).with_context(|| format!("make {}", dir.display()))?;
    fs::create_dir(dir.join("tmp"))?;
    let mut command = isolated(xtask);
    command.arg("cluster-inside").arg("--dir").arg(&dir);
    command.arg("--logs").arg(logs).arg("--bins").arg(bins);
    command.arg("--manifests").arg(manifests);
    // In which the testkit makes its folders.
    command.env("TMPDIR", dir.join("tmp"));
    // The kubelet measures what pods use in a group that must be there.
    let played = control_groups::make(&name, "").and_then(|()| watched(command));
    control_groups::remove(&name);
    let removed = fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()));
    played?;
    removed?;
    let left = left(&name)?;
    ensure!(left.is_empty(), "it left {}", left.join(", "));
    Ok(())
}

/// A program in namespaces of its own, of which it is the first process. The kernel kills it when this thread ends, and
/// with it all others.
fn isolated(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--", "unshare"])
        .args(["--mount", "--propagation", "private", "--net", "--pid"])
        .args(["--fork", "--kill-child", "--mount-proc", "--"])
        .arg(program);
    command
}

/// Runs what is inside to its end; when the time is up or a signal came, has it end in order, and then ends it.
fn watched(mut command: Command) -> Result<()> {
    use std::os::unix::process::CommandExt;
    let mut child = command
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .context("start unshare")?;
    let ended = wait::until("the node to do it all", defaults::CLUSTER, || {
        Ok(child.try_wait()?)
    });
    if ended.is_err() {
        if let Some(pid) = first_inside(&child) {
            // It may have ended by itself just now.
            let _ = kill_process(as_pid(pid)?, Signal::TERM);
        }
        let limit = Instant::now() + defaults::CLUSTER_END;
        while child.try_wait()?.is_none() && Instant::now() < limit {
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = child.kill();
        let _ = child.wait();
    }
    let status = ended?;
    ensure!(status.success(), "what ran inside ended with {status}");
    Ok(())
}

/// The process that is the first one inside: unshare's only child.
fn first_inside(unshare: &Child) -> Option<u32> {
    let family = descendants(unshare.id());
    family
        .into_iter()
        .find(|pid| parent_of(*pid) == Some(unshare.id()))
}

/// What there is of a run, which should be nothing.
fn left(name: &str) -> Result<Vec<String>> {
    let mut left = Vec::new();
    for group in control_groups::of(name) {
        left.push(format!("the control group {}", group.display()));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    for line in mounts.lines().filter(|line| line.contains(name)) {
        left.push(format!("the mount {line}"));
    }
    for process in fs::read_dir("/proc")?.flatten() {
        let pid = process.file_name();
        if pid.to_str().is_some_and(|pid| pid.parse::<u32>().is_err()) {
            continue;
        }
        let says = |file: &str| {
            // By its arguments or by TMPDIR.
            let content = fs::read(process.path().join(file)).unwrap_or_default();
            content
                .windows(name.len())
                .any(|part| part == name.as_bytes())
        };
        if says("cmdline") || says("environ") {
            left.push(format!("the process {}", pid.display()));
        }
    }
    Ok(left)
}

/// Removes what runs left that were killed. Their processes ended with them.
fn remove_leftovers() {
    let is_left = |name: &str| Owner::of(PREFIX, name).is_some_and(Owner::is_gone);
    for name in control_groups::names() {
        if is_left(&name) {
            control_groups::remove(&name);
        }
    }
    let temporary = fs::read_dir(std::env::temp_dir());
    for entry in temporary.into_iter().flatten().flatten() {
        use std::os::unix::fs::MetadataExt;
        let name = entry.file_name();
        // The folder for temporary files is everybody's.
        let is_mine = entry.metadata().is_ok_and(|found| {
            found.is_dir() && found.uid() == rustix::process::geteuid().as_raw()
        });
        if is_mine && name.to_str().is_some_and(is_left) {
            // What cannot be removed is the next run's to try again.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_isolated_ends_with_whoever_started_it() {
        if missing().is_some() {
            // Not root, as most developers; the command itself says why.
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let mut command = isolated(Path::new("sh"));
        command
            .args(["-c", "echo $$ >\"$0\"; sleep 1000 & wait"])
            .arg(&file);
        let mut child = command.spawn().unwrap();
        wait::until_true("the file", Duration::from_secs(20), || Ok(file.exists())).unwrap();
        let family = descendants(child.id());
        assert_eq!(fs::read_to_string(&file).unwrap().trim(), "1");
        assert!(family.contains(&first_inside(&child).unwrap()));
        child.kill().unwrap();
        child.wait().unwrap();
        wait::until_true("all to end", Duration::from_secs(20), || {
            let lives = |pid: &u32| kedge_testkit::process::is_alive(*pid);
            Ok(!family.iter().any(lives))
        })
        .unwrap();
    }

    #[test]
    fn what_killed_runs_left_is_removed_and_nothing_else() {
        if missing().is_some() {
            return;
        }
        let (left, mine) = (Owner::gone().new_name(PREFIX), Owner::me().new_name(PREFIX));
        let folders = [&left, &mine].map(|name| std::env::temp_dir().join(name));
        for folder in &folders {
            fs::create_dir(folder).unwrap();
        }
        control_groups::make(&left, "a/b").unwrap();
        control_groups::make(&mine, "a").unwrap();
        remove_leftovers();
        let there = (
            folders.each_ref().map(|folder| folder.exists()),
            [&left, &mine].map(|name| !control_groups::of(name).is_empty()),
        );
        control_groups::remove(&mine);
        let _ = fs::remove_dir(&folders[1]);
        assert_eq!(there, ([false, true], [false, true]));
        assert!(control_groups::of(&mine).is_empty());
    }
}
