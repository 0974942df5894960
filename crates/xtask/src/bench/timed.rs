//! How long a command takes, to the microsecond: nobody looks at it while it runs.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use kedge_testkit::process::{as_pid, descendants, describe, kill_each};
use rustix::process::{Signal, kill_process_group};

use crate::interrupt;

/// Bytes of a command's complaints that are kept for messages.
const COMPLAINTS: u64 = 16 * 1024;

/// Between two looks at whether somebody pressed Ctrl-C. The command's time is taken by somebody else.
const LOOK: Duration = Duration::from_millis(50);

/// Runs a command whose standard input and output are set, and answers how long it took to succeed. What it started
/// (a `ProxyCommand`) has ended too when this returns, but does not count.
///
/// # Errors
///
/// When it fails, or does not end within `limit` or before Ctrl-C: then it is killed.
pub(crate) fn timed(mut command: Command, limit: Duration) -> Result<Duration> {
    let described = describe(&command);
    command.stderr(Stdio::piped()).process_group(0);
    let start = Instant::now();
    let child = command
        .spawn()
        .with_context(|| format!("start `{described}`"))?;
    let pid = child.id();
    let ended = watch(child, start);
    let deadline = start + limit;
    let end = loop {
        match ended.recv_timeout(LOOK) {
            Ok(end) => break end?,
            Err(RecvTimeoutError::Timeout)
                if interrupt::happened() || Instant::now() > deadline =>
            {
                end(pid);
                interrupt::check()?;
                bail!("`{described}` took longer than {} s", limit.as_secs());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("nobody waits for `{described}`"),
        }
    };
    ensure!(
        end.status.success(),
        "`{described}` ended with {}: {}",
        end.status,
        String::from_utf8_lossy(&end.complaints).trim()
    );
    Ok(end.took)
}

struct End {
    status: ExitStatus,
    took: Duration,
    complaints: Vec<u8>,
}

/// Waits for a child in a thread of its own, which wakes the moment it ends.
fn watch(mut child: Child, start: Instant) -> Receiver<Result<End>> {
    let (tell, ended) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let waited = child.wait();
        let took = start.elapsed();
        let mut complaints = Vec::new();
        if let Some(pipe) = child.stderr.take() {
            // Also the wait for those who share the pipe.
            let _ = pipe.take(COMPLAINTS).read_to_end(&mut complaints);
        }
        let end = waited.context("wait for a command").map(|status| End {
            status,
            took,
            complaints,
        });
        // Nobody listens any more once the time was up.
        let _ = tell.send(end);
    });
    ended
}

fn end(pid: u32) {
    let family = descendants(pid);
    if let Ok(group) = as_pid(pid) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    kill_each(&family);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", script])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    #[test]
    fn a_command_is_timed() {
        assert!(timed(shell("exit 0"), Duration::from_secs(30)).is_ok());
    }

    #[test]
    fn a_failure_is_said_in_the_commands_words() {
        let error = timed(shell("echo no route >&2; exit 7"), Duration::from_secs(30)).unwrap_err();
        let said = format!("{error:#}");
        assert!(said.contains("no route") && said.contains('7'), "{said}");
    }

    #[test]
    fn what_takes_too_long_is_killed_with_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let script = format!("sleep 600 & echo $! >{}; wait", file.display());
        let error = timed(shell(&script), Duration::from_millis(300)).unwrap_err();
        assert!(error.to_string().contains("longer than"), "{error:#}");
        // On a machine so slow that the shell had not come that far, there is nobody left to look for.
        let Ok(Ok(pid)) = std::fs::read_to_string(&file).map(|pid| pid.trim().parse()) else {
            return;
        };
        kedge_testkit::wait::until_true("its child to end", Duration::from_secs(20), || {
            Ok(!kedge_testkit::process::is_alive(pid))
        })
        .unwrap();
    }
}
