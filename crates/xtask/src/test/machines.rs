//! Machine tests: the scripts of `nixos-tests/scripts` on machines with a real systemd, made here.
//!
//! The machines are `nixos-tests/driver`'s. Here is what they are made of: a Debian, this repository's packages, a
//! Kubernetes API server and an OpenID provider.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kedge_testkit::process::{as_pid, descendants, is_alive, kill_each};
use kedge_testkit::{kube, machine, provider, wait};
use rustix::process::{Signal, kill_process_group};

use super::orphans;
use super::tally::Tally;
use crate::builder::{Step, Workspace};
use crate::{deb, defaults, packages, tools};

const GROUP: &str = "machines";

/// What the machines' Debian has besides its essential packages.
const INSTALLED: &[&str] = &[
    "ca-certificates",
    "curl",
    "dbus",
    "iproute2",
    "libpam-systemd",
    "openssh-server",
    "procps",
    "python3",
    "systemd",
    "systemd-sysv",
];

/// What is written into it. A change of this file, or of the list above, makes another image.
const PREPARED: &[(&str, &str)] = &[
    // Filled at the first boot, each machine's own.
    ("etc/machine-id", ""),
    // A machine that lives for a minute need not survive a power cut of its host.
    ("etc/dpkg/dpkg.cfg.d/tests", "force-unsafe-io\n"),
    // What is shown when a script fails: kept over a crash, and nothing of it left out.
    (
        "etc/systemd/journald.conf.d/tests.conf",
        "[Journal]\nStorage=persistent\nSyncIntervalSec=1\nRateLimitIntervalSec=0\n",
    ),
];

/// Revisions of the packages that are built, and of which: all to install, one to upgrade to.
const REVISIONS: &[(u32, Option<&str>)] = &[(1, None), (2, Some("kedge-agent"))];

/// Builds what the machines are made of, and runs the scripts.
pub(crate) fn run(workspace: &Workspace, only: &str, tally: &mut Tally) -> Result<()> {
    let suite = match missing() {
        Ok(suite) => suite,
        Err(reason) => {
            tally.skipped(GROUP, "all of them", &reason);
            return Ok(());
        }
    };
    packages::ensure_for_machines()?;
    tools::ensure_built(workspace)?;
    let image = image(&suite)?;
    println!("machines: building the programs and their packages");
    let bins = workspace.programs()?;
    let folder = workspace.target.join("machines");
    let built = folder.join("packages");
    for &(revision, only) in REVISIONS {
        let out = built.join(revision.to_string());
        let _ = fs::remove_dir_all(&out);
        let wanted = deb::Wanted {
            bins: bins.clone(),
            out,
            revision,
            only,
            fast: true,
        };
        deb::build(workspace, &wanted)?;
    }
    let logs = folder.join("logs");
    let _ = fs::remove_dir_all(&logs);
    let driver = Driver {
        folder: workspace.root.join("nixos-tests/driver"),
        image,
        packages: built,
        logs,
        kubernetes: kube::programs()?,
        provider: provider::folder()?,
        program: workspace
            .root
            .join("crates/kedge-testkit/oidc-provider/provider.mjs"),
        node: fs::canonicalize(machine::find_program("node").context("Node is not installed")?)?,
    };
    if KILLED.contains(only) {
        let start = Instant::now();
        match killed(&driver) {
            Ok(()) => tally.passed(GROUP, KILLED, start.elapsed()),
            Err(error) => tally.failed(GROUP, KILLED, &format!("{error:#}")),
        }
        if only == KILLED {
            return Ok(());
        }
    }
    drive(driver.command(only), tally)
}

/// What the driver is started with.
#[derive(Debug)]
struct Driver {
    folder: PathBuf,
    image: PathBuf,
    packages: PathBuf,
    logs: PathBuf,
    kubernetes: PathBuf,
    provider: PathBuf,
    program: PathBuf,
    node: PathBuf,
}

impl Driver {
    /// Runs the scripts whose names contain `only`.
    fn command(&self, only: &str) -> Command {
        let mut command = Command::new("python3");
        // No file of its own beside the sources.
        command.arg("-B").arg(&self.folder);
        for (flag, path) in [
            ("--image", &self.image),
            ("--packages", &self.packages),
            ("--logs", &self.logs),
            ("--kubernetes", &self.kubernetes),
            ("--provider", &self.provider),
            ("--provider-program", &self.program),
            ("--node", &self.node),
        ] {
            command.arg(flag).arg(path);
        }
        command.args(["--only", only]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0);
        command
    }
}

/// A driver that is killed cannot clean up. Its machines end all the same, and the next one removes its folder.
fn killed(driver: &Driver) -> Result<()> {
    let mut child = orphans::spawn(&mut driver.command(SHORTEST)).context("start the driver")?;
    let is_machine = |pid: &u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.trim() == "systemd-nspawn"
    };
    let begun = wait::until_true("a machine to start", defaults::MACHINES, || {
        Ok(descendants(child.id()).iter().any(is_machine))
    });
    let family = descendants(child.id());
    child.kill()?;
    child.wait()?;
    let named = format!("kedge-machines-{}-", child.id());
    orphans::forget(child.id());
    begun?;
    let ended = wait::until_true("its machines to end", defaults::PRINT, || {
        // Who has lost their parent is this process's child by now.
        orphans::end_all();
        Ok(!family.iter().any(|pid| is_alive(*pid)))
    });
    kill_each(&family);
    ended?;
    let left = || -> Result<bool> {
        let mut entries = fs::read_dir(SCRATCH)?.flatten();
        Ok(entries.any(|entry| entry.file_name().to_string_lossy().starts_with(&named)))
    };
    ensure!(left()?, "it made no folder that could be left");
    let mut next = driver.command("none of them");
    next.stdout(Stdio::null()).stderr(Stdio::null());
    let _ = Step::new(next).quietly(defaults::PRINT);
    ensure!(!left()?, "the next one left {SCRATCH}/{named}*");
    Ok(())
}

/// Why there can be no machines here; else the name of the Debian that they are.
fn missing() -> std::result::Result<String, String> {
    if !machine::am_root() {
        return Err("machines need root".to_owned());
    }
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    suite(&release)
        .ok_or_else(|| "the packages of this project are Debian's, and this is none".to_owned())
}

/// The code name of a Debian, which the machines are too: what is built here must run there.
fn suite(release: &str) -> Option<String> {
    let value = |key: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.trim_matches('"').to_owned())
    };
    (value("ID=")? == "debian")
        .then(|| value("VERSION_CODENAME="))
        .flatten()
}

/// The root of a Debian in the user's cache, made once for each list of packages.
fn image(suite: &str) -> Result<PathBuf> {
    let cache = provider::folder()?;
    let cache = cache
        .parent()
        .and_then(Path::parent)
        .context("a cache has a folder")?
        .join("machines");
    let folder = cache.join(format!("{suite}-{:016x}", key()));
    if folder.is_dir() {
        return Ok(folder);
    }
    println!(
        "Making a Debian {suite} in {}; this is done once, and takes a minute or two.",
        folder.display()
    );
    fs::create_dir_all(&cache).with_context(|| format!("make {}", cache.display()))?;
    // Beside its place, and then renamed: two at once do no harm, and half an image is never taken for one.
    let making = tempfile::tempdir_in(&cache)?;
    let root = making.path().join("root");
    let mut command = Command::new("mmdebstrap");
    command
        .args(["--quiet", "--variant=minbase"])
        .arg(format!("--include={}", INSTALLED.join(",")))
        .arg(suite)
        .arg(&root);
    Step::new(command).quietly(defaults::MACHINE_IMAGE)?;
    for (path, content) in PREPARED {
        let path = root.join(path);
        fs::create_dir_all(path.parent().context("a file has a folder")?)?;
        fs::write(path, content)?;
    }
    if let Err(error) = fs::rename(&root, &folder) {
        ensure!(
            folder.is_dir(),
            "move the image to {}: {error}",
            folder.display()
        );
    }
    Ok(folder)
}

/// FNV-1a of what the image is made of: it names a folder, and vouches for nothing.
fn key() -> u64 {
    let files = PREPARED
        .iter()
        .flat_map(|(path, content)| [*path, *content]);
    INSTALLED
        .iter()
        .copied()
        .chain(files)
        .flat_map(|text| text.bytes().chain([0]))
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

/// Runs the driver and counts what it says. It cleans up after itself when it is told to stop.
fn drive(mut command: Command, tally: &mut Tally) -> Result<()> {
    let mut child = orphans::spawn(&mut command).context("start the driver of the machines")?;
    let stdout = child.stdout.take().context("stdout is piped")?;
    let (send, lines) = std::sync::mpsc::sync_channel::<String>(LINES);
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    let mut counted = Counted::default();
    let ended = wait::until("the machine tests to end", defaults::MACHINES, || {
        for line in lines.try_iter() {
            counted.take(&line, tally);
        }
        Ok(child.try_wait()?)
    });
    if ended.is_err() {
        stop(&mut child)?;
    }
    orphans::forget(child.id());
    for line in lines.iter() {
        counted.take(&line, tally);
    }
    let _ = reader.join();
    counted.flush(tally);
    let status = ended?;
    ensure!(
        status.success() || counted.failed,
        "the driver of the machines ended with {status}"
    );
    Ok(())
}

/// Asks the driver to stop, so that it can clean up; kills it when it does not. What it leaves then is the next run's.
fn stop(child: &mut Child) -> Result<()> {
    let group = as_pid(child.id())?;
    let _ = kill_process_group(group, Signal::TERM);
    for _ in 0..STOP_STEPS {
        if child.try_wait()?.is_some() {
            return Ok(());
        }
        std::thread::sleep(STOP_STEP);
    }
    let _ = kill_process_group(group, Signal::KILL);
    child.wait()?;
    Ok(())
}

/// What the driver said so far.
#[derive(Debug, Default)]
struct Counted {
    /// A script that failed, with what is known about it.
    failing: Option<(String, String)>,
    failed: bool,
}

impl Counted {
    fn take(&mut self, line: &str, tally: &mut Tally) {
        if let Some(detail) = line.strip_prefix("    ") {
            if let Some((_, details)) = &mut self.failing {
                details.push_str(detail);
                details.push('\n');
            }
            return;
        }
        self.flush(tally);
        let mut words = line.split_whitespace();
        let (outcome, name) = (words.next(), words.next().unwrap_or_default());
        let seconds = words
            .next()
            .and_then(|word| word.parse().ok())
            .unwrap_or_default();
        match outcome {
            Some("ok") => tally.passed(GROUP, name, Duration::from_secs_f64(seconds)),
            Some("FAILED") => self.failing = Some((name.to_owned(), String::new())),
            _ => println!("{line}"),
        }
    }

    fn flush(&mut self, tally: &mut Tally) {
        if let Some((name, details)) = self.failing.take() {
            self.failed = true;
            tally.failed(GROUP, &name, &details);
        }
    }
}

/// The test that is not a script.
const KILLED: &str = "killed";

/// A script that begins like all others, and does least.
const SHORTEST: &str = "hardening";

/// Where the driver keeps the machines' disks.
const SCRATCH: &str = "/var/tmp";

/// Lines that are read ahead of what is counted; the driver waits when there are more.
const LINES: usize = 1024;

/// How long the driver may take to clean up: machines are cut off, and their disks removed.
const STOP_STEPS: u32 = 300;
const STOP_STEP: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_the_debian_that_builds_for_them() {
        let debian = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_CODENAME=bookworm\n";
        assert_eq!(suite(debian).as_deref(), Some("bookworm"));
        assert_eq!(
            suite("ID=\"debian\"\nVERSION_CODENAME=\"trixie\"\n").as_deref(),
            Some("trixie")
        );
        for other in ["", "ID=nixos\nVERSION_CODENAME=yarara\n", "ID=debian\n"] {
            assert_eq!(suite(other), None, "{other}");
        }
    }

    #[test]
    fn what_the_driver_says_is_counted() {
        let mut tally = Tally::default();
        let mut counted = Counted::default();
        for line in [
            "ok a 1.5",
            "FAILED b 2.0",
            "    Traceback",
            "",
            "    more",
            "ok c 0.1",
        ] {
            counted.take(line, &mut tally);
        }
        counted.flush(&mut tally);
        assert!(counted.failed && !tally.is_good());
    }
}
