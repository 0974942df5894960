//! What must not outlive this process, even when nobody drops it: a value in a static never is, and a test may be
//! killed.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};

use anyhow::{Context, Result};

use crate::machine;
use crate::process::Daemon;

/// Starts a daemon that the kernel kills when this process ends, by `setpriv --pdeathsig`.
///
/// # Errors
///
/// When it cannot be started.
pub(super) fn spawn(name: &str, command: &Command, logs: &Path) -> Result<Daemon> {
    let setpriv = machine::find_program("setpriv").context("setpriv of util-linux is missing")?;
    let mut leashed = Command::new(setpriv);
    leashed
        .args(["--pdeathsig", "KILL", "--"])
        .arg(command.get_program())
        .args(command.get_args());
    let (name, logs) = (name.to_owned(), logs.to_owned());
    // The signal comes when the *thread* ends that started the process (prctl(2)), and each test is a thread.
    in_keeper(move || Daemon::spawn(&name, leashed, &logs))?
}

/// Runs something in a thread that lives as long as the process.
fn in_keeper<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    type Job = Box<dyn FnOnce() + Send>;
    static KEEPER: OnceLock<SyncSender<Job>> = OnceLock::new();
    let keeper = KEEPER.get_or_init(|| {
        // One job at a time: who brings the next one waits.
        let (sender, jobs) = sync_channel::<Job>(0);
        std::thread::spawn(move || jobs.into_iter().for_each(|job| job()));
        sender
    });
    let (answer, answered) = sync_channel(1);
    let job: Job = Box::new(move || {
        let _ = answer.send(work());
    });
    keeper.send(job).ok().context("the thread is gone")?;
    answered.recv().context("the thread panicked")
}

/// A folder that is removed when this value is dropped, or when the process ends: by a shell that waits for that.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    remover: Child,
}

impl Scratch {
    /// A new folder with a short path, mode 0700.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub(super) fn new() -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("kedge-kube-")
            .tempdir()
            .context("make a scratch folder")?;
        let remover = Command::new("sh")
            .args(["-c", REMOVE, "remove"])
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C in a terminal is for the tests, and not for what cleans up after them.
            .process_group(0)
            .spawn()
            .context("start sh")?;
        Ok(Self {
            path: folder.keep(),
            remover,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The process that removes it.
    pub(super) fn pid(&self) -> u32 {
        self.remover.id()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.remover.stdin = None;
        let _ = self.remover.wait();
    }
}

/// Reads until nobody can write any more, then removes the folder; what is killed at the same moment may still write.
const REMOVE: &str =
    r#"cat; for again in 1 2 3 4 5 6 7 8 9; do rm -rf -- "$1" && exit; sleep 0.2; done"#;
