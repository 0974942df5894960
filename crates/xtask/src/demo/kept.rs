//! The processes that `--keep` left, written down so that `--stop` ends exactly those.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kedge_testkit::process::{as_pid, descendants, is_alive, kill_each, started_at};
use kedge_testkit::{defaults, wait};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

/// A process by its id and the time it was started: the id alone may belong to somebody else by now.
#[derive(Debug)]
struct Process {
    pid: u32,
    started_at: u64,
}

/// The list of processes.
#[derive(Debug)]
pub(crate) struct Kept {
    processes: Vec<Process>,
}

impl Kept {
    /// Writes down what runs.
    pub(crate) fn write(dir: &Path, pids: &[u32]) -> Result<()> {
        let list: Vec<Value> = pids
            .iter()
            .map(|pid| json!({ "pid": pid, "startedAt": started_at(*pid) }))
            .collect();
        fs::write(file(dir), Value::from(list).to_string()).context("write the list of processes")
    }

    /// Whether anything of an earlier demo still runs.
    pub(crate) fn is_running(dir: &Path) -> Result<bool> {
        Ok(Self::read(dir)?.processes.iter().any(Process::is_ours))
    }

    /// Ends them in order; answers whether there was anything to end.
    pub(crate) fn end(dir: &Path) -> Result<bool> {
        let kept = Self::read(dir)?;
        let mut found = false;
        for process in kept.processes.iter().filter(|process| process.is_ours()) {
            found = true;
            let family = descendants(process.pid);
            kill_process(as_pid(process.pid)?, Signal::TERM)?;
            let left = wait::until_true("a part of the demo to end", defaults::STOP, || {
                Ok(!process.is_ours())
            });
            if left.is_err() {
                kill_process(as_pid(process.pid)?, Signal::KILL)?;
            }
            kill_each(&family);
        }
        Ok(found)
    }

    fn read(dir: &Path) -> Result<Self> {
        let text = match fs::read_to_string(file(dir)) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => "[]".to_owned(),
            Err(error) => return Err(error).context("read the list of processes"),
        };
        let list: Vec<Value> =
            serde_json::from_str(&text).context("the list of processes is no JSON")?;
        let processes = list.iter().filter_map(|one| {
            let pid = u32::try_from(one.get("pid")?.as_u64()?).ok()?;
            Some(Process {
                pid,
                started_at: one.get("startedAt")?.as_u64()?,
            })
        });
        Ok(Self {
            processes: processes.collect(),
        })
    }
}

impl Process {
    fn is_ours(&self) -> bool {
        is_alive(self.pid) && started_at(self.pid) == Some(self.started_at)
    }
}

fn file(dir: &Path) -> PathBuf {
    dir.join("processes.json")
}
