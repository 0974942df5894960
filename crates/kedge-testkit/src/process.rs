//! Processes of a test: each in a process group of its own, ended by id, its output in a file.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::{defaults, wait};

/// A process that runs until it is told otherwise. Dropping it kills it, its group and what descends from it.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Option<Child>,
    pid: u32,
    log: PathBuf,
    log_start: u64,
    out: PathBuf,
}

impl Daemon {
    /// Starts `command` with stderr in `logs/NAME.log`, stdout in `logs/NAME.out` (both appended to) and no stdin.
    ///
    /// # Errors
    ///
    /// When the files cannot be made or the program cannot be run.
    pub fn spawn(name: &str, mut command: Command, logs: &Path) -> Result<Self> {
        fs::create_dir_all(logs).with_context(|| format!("make {}", logs.display()))?;
        let (log, out) = (
            logs.join(format!("{name}.log")),
            logs.join(format!("{name}.out")),
        );
        let stderr = append(&log)?;
        let log_start = stderr.metadata()?.len();
        let child = command
            .stdin(Stdio::null())
            .stdout(append(&out)?)
            .stderr(stderr)
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {name}: {}", describe(&command)))?;
        Ok(Self {
            name: name.to_owned(),
            pid: child.id(),
            child: Some(child),
            log,
            log_start,
            out,
        })
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Where its stderr goes.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// What it has written to stderr since this start.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn log(&self) -> Result<String> {
        let mut file =
            File::open(&self.log).with_context(|| format!("open {}", self.log.display()))?;
        file.seek(SeekFrom::Start(self.log_start))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// What it has written to stdout.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn stdout(&self) -> Result<String> {
        fs::read_to_string(&self.out).with_context(|| format!("read {}", self.out.display()))
    }

    /// The lines of the log that are JSON objects, in order.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn events(&self) -> Result<Vec<serde_json::Value>> {
        Ok(self
            .log()?
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect())
    }

    /// Waits for a log event that `wanted` accepts. Fails early when the process is gone.
    ///
    /// # Errors
    ///
    /// When the time is up or the process ended without it; both show the end of the log.
    pub fn event<T>(
        &mut self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&serde_json::Value) -> Option<T>,
    ) -> Result<T> {
        let found = wait::until(what, limit, || {
            let ended = self.exited()?;
            if let Some(found) = self.events()?.iter().find_map(&wanted) {
                return Ok(Some(found));
            }
            if let Some(status) = ended {
                bail!("{} ended ({status})", self.name);
            }
            Ok(None)
        });
        found.with_context(|| format!("{}'s log ends:\n{}", self.name, self.log_tail()))
    }

    /// The last lines of the log, for messages.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = self.log().unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines
            .get(lines.len().saturating_sub(15)..)
            .unwrap_or_default()
            .join("\n")
    }

    /// The exit status, when it has ended.
    ///
    /// # Errors
    ///
    /// When the system refuses to say.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        match &mut self.child {
            Some(child) => Ok(child.try_wait()?),
            None => Ok(None),
        }
    }

    /// Sends a signal to the process alone.
    ///
    /// # Errors
    ///
    /// When there is no such process any more.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(as_pid(self.pid)?, signal).with_context(|| format!("signal {}", self.name))
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    ///
    /// When the time is up; shows the end of the log.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        wait::until(&format!("{} to end", self.name), limit, || self.exited())
            .with_context(|| format!("{}'s log ends:\n{}", self.name, self.log_tail()))
    }

    /// SIGTERM, and the time to leave in order.
    ///
    /// # Errors
    ///
    /// When it does not leave in time.
    pub fn stop(mut self) -> Result<ExitStatus> {
        if self.exited()?.is_none() {
            self.signal(Signal::TERM)?;
        }
        self.wait(defaults::STOP)
    }

    /// SIGKILL to everything it started, and the wait for its end.
    pub fn kill(mut self) {
        self.end();
    }

    /// Lets it live on after this value; whoever reads the id ends it.
    #[must_use]
    pub fn leave(mut self) -> u32 {
        self.child = None;
        self.pid
    }

    fn end(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        let family = descendants(self.pid);
        if let Ok(pid) = as_pid(self.pid) {
            // Not reaped yet, so neither the id nor the group can belong to anybody else.
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let _ = child.kill();
        kill_each(&family);
        let _ = child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}

/// What descends from a process now, children first. A process may leave its group (sshd's children do), but not its
/// parents.
#[must_use]
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        if let Some(parent) = parent_of(id) {
            children.entry(parent).or_default().push(id);
        }
    }
    let mut found = Vec::new();
    let mut look_at = vec![pid];
    while let Some(next) = look_at.pop() {
        let below = children.get(&next).cloned().unwrap_or_default();
        found.extend(&below);
        look_at.extend(below);
    }
    found
}

/// Kills each process of a list by id; those already gone are fine.
pub fn kill_each(pids: &[u32]) {
    for pid in pids.iter().filter_map(|pid| as_pid(*pid).ok()) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Whether a process exists and is no zombie.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    stat_fields(pid).is_some_and(|fields| fields.first().is_some_and(|state| state != "Z"))
}

/// The time a process was started, in ticks since boot: with the id, it names a process for ever.
#[must_use]
pub fn started_at(pid: u32) -> Option<u64> {
    // proc(5): starttime is field 22; what follows the command's name begins with field 3.
    stat_fields(pid)?.get(19)?.parse().ok()
}

/// A process id as rustix wants it.
///
/// # Errors
///
/// For ids that no process can have.
pub fn as_pid(pid: u32) -> Result<Pid> {
    Pid::from_raw(i32::try_from(pid)?).context("process id 0")
}

/// A command as a person would type it.
#[must_use]
pub fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The parent of a process.
#[must_use]
pub fn parent_of(pid: u32) -> Option<u32> {
    stat_fields(pid)?.get(1)?.parse().ok()
}

/// The fields of `/proc/PID/stat` after the command's name, which may itself contain spaces and parentheses.
fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after) = stat.rsplit_once(')')?;
    Some(after.split_whitespace().map(str::to_owned).collect())
}

fn append(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("open {}", path.display()))
}
