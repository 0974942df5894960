//! Commands that end by themselves, and commands that are talked to while they run. Both have a deadline.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Signal, kill_process, kill_process_group};

use crate::process::{as_pid, descendants, describe, kill_each};
use crate::reply::read_some;
use crate::{defaults, wait};

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    /// The command as typed.
    pub command: String,
    /// Its exit status.
    pub status: ExitStatus,
    /// Everything from its stdout.
    pub stdout: Vec<u8>,
    /// Everything from its stderr.
    pub stderr: Vec<u8>,
    /// How long it took.
    pub took: Duration,
}

impl Ran {
    /// Its exit code; none when a signal ended it.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// stdout as text.
    #[must_use]
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// stderr as text.
    #[must_use]
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// stdout as JSON.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.stdout).with_context(|| format!("not JSON: {self}"))
    }

    /// Requires exit status 0.
    ///
    /// # Errors
    ///
    /// With the command and its output otherwise.
    pub fn success(self) -> Result<Self> {
        self.exits(0)
    }

    /// Requires an exit status.
    ///
    /// # Errors
    ///
    /// With the command and its output when it was another.
    pub fn exits(self, code: i32) -> Result<Self> {
        ensure!(
            self.code() == Some(code),
            "wanted exit status {code}: {self}"
        );
        Ok(self)
    }

    /// Requires that stderr contains each of these.
    ///
    /// # Errors
    ///
    /// With the command and its output when one is missing.
    pub fn says(self, words: &[&str]) -> Result<Self> {
        for word in words {
            ensure!(
                self.err().contains(word),
                "wanted `{word}` on stderr: {self}"
            );
        }
        Ok(self)
    }

    /// Requires that neither stdout nor stderr contains a thing.
    ///
    /// # Errors
    ///
    /// With the command and its output when it is there.
    pub fn never_says(self, word: &str) -> Result<Self> {
        ensure!(
            !self.err().contains(word) && !self.out().contains(word),
            "did not want `{word}`: {self}"
        );
        Ok(self)
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            text.chars().take(20_000).collect::<String>()
        };
        write!(
            f,
            "`{}` ended with {} after {:?}",
            self.command, self.status, self.took
        )?;
        write!(
            f,
            "\n--- stdout\n{}\n--- stderr\n{}",
            shown(&self.stdout),
            shown(&self.stderr)
        )
    }
}

/// Runs a command with no input and the usual deadline.
///
/// # Errors
///
/// When it cannot be started or does not end in time (it is killed then).
pub fn run(command: Command) -> Result<Ran> {
    feed(command, Vec::new(), defaults::COMMAND)
}

/// Runs a command that reads `input`, for at most `limit`.
///
/// # Errors
///
/// As [`run`].
pub fn feed(command: Command, input: Vec<u8>, limit: Duration) -> Result<Ran> {
    let mut live = Live::start(command)?;
    let mut stdin = live.stdin.take();
    // A command may end without reading its input; that is for the test to judge by the status.
    let writer = std::thread::spawn(move || stdin.as_mut().map(|pipe| pipe.write_all(&input)));
    let ran = live.finish(limit);
    let _ = writer.join();
    ran
}

/// A command that is talked to while it runs. Dropping it kills it and what descends from it.
#[derive(Debug)]
pub struct Live {
    command: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Collected,
    stderr: Collected,
    start: Instant,
}

impl Live {
    /// Starts a command with pipes for stdin, stdout and stderr, in a process group of its own.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start(mut command: Command) -> Result<Self> {
        let described = describe(&command);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .with_context(|| format!("start `{described}`"))?;
        let stdout = Collected::from(child.stdout.take().context("stdout is piped")?);
        let stderr = Collected::from(child.stderr.take().context("stderr is piped")?);
        let stdin = child.stdin.take();
        Ok(Self {
            command: described,
            child,
            stdin,
            stdout,
            stderr,
            start: Instant::now(),
        })
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Types something.
    ///
    /// # Errors
    ///
    /// When stdin is closed.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        let stdin = self.stdin.as_mut().context("stdin was closed")?;
        stdin.write_all(bytes.as_ref())?;
        Ok(stdin.flush()?)
    }

    /// Ends its input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Waits until stdout contains `text`.
    ///
    /// # Errors
    ///
    /// When the time is up, with what was said instead.
    pub fn expect(&mut self, text: &str, limit: Duration) -> Result<()> {
        let waited = wait::until_true(
            &format!("`{text}` on stdout of `{}`", self.command),
            limit,
            || {
                let there = String::from_utf8_lossy(&self.stdout.so_far()).contains(text);
                if !there && self.child.try_wait()?.is_some() && self.stdout.is_complete() {
                    let late = String::from_utf8_lossy(&self.stdout.so_far()).contains(text);
                    ensure!(late, "it ended without");
                }
                Ok(there)
            },
        );
        waited.with_context(|| self.said())
    }

    /// What came on stdout so far.
    #[must_use]
    pub fn out(&self) -> Vec<u8> {
        self.stdout.so_far()
    }

    /// What came on stderr so far.
    #[must_use]
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr.so_far()).into_owned()
    }

    /// Whether it still runs.
    ///
    /// # Errors
    ///
    /// When the system refuses to say.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Sends a signal to the process alone.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(as_pid(self.child.id())?, signal)?)
    }

    /// Ends its input and waits for its end; kills it when the time is up.
    ///
    /// # Errors
    ///
    /// When the time is up, with what it said until then.
    pub fn finish(mut self, limit: Duration) -> Result<Ran> {
        self.stdin = None;
        self.wait(limit)
    }

    /// Waits for its end with its input left open; kills it when the time is up.
    ///
    /// # Errors
    ///
    /// When the time is up, with what it said until then.
    pub fn wait(mut self, limit: Duration) -> Result<Ran> {
        let ended = wait::until("its end", limit, || {
            let status = self.child.try_wait()?;
            Ok(status.filter(|_| self.stdout.is_complete() && self.stderr.is_complete()))
        });
        let status = match ended {
            Ok(status) => status,
            Err(error) => bail!("{error:#}: {}", self.said()),
        };
        Ok(Ran {
            command: self.command.clone(),
            status,
            stdout: self.stdout.so_far(),
            stderr: self.stderr.so_far(),
            took: self.start.elapsed(),
        })
    }

    fn said(&self) -> String {
        let out = String::from_utf8_lossy(&self.stdout.so_far())
            .chars()
            .take(4000)
            .collect::<String>();
        format!(
            "`{}` said\n--- stdout\n{out}\n--- stderr\n{}",
            self.command,
            self.err()
        )
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let family = descendants(self.child.id());
        if let Ok(pid) = as_pid(self.child.id()) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
        kill_each(&family);
        let _ = self.child.wait();
    }
}

/// What a pipe has brought so far.
#[derive(Debug)]
struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Collected {
    fn from(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&bytes);
        let reader = std::thread::spawn(move || {
            let mut chunk = vec![0; 64 * 1024];
            while let Ok(count) = read_some(&mut pipe, &mut chunk) {
                let Some(read) = chunk.get(..count).filter(|read| !read.is_empty()) else {
                    break;
                };
                into.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend_from_slice(read);
            }
        });
        Self { bytes, reader }
    }

    fn so_far(&self) -> Vec<u8> {
        self.bytes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn is_complete(&self) -> bool {
        self.reader.is_finished()
    }
}
