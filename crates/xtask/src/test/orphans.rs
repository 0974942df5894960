//! A test that is killed cannot end what it started. Its children become ours, and we end them.

use std::collections::BTreeSet;
use std::process::{Child, Command};
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use kedge_testkit::process::{as_pid, descendants, kill_each};
use rustix::process::{WaitOptions, getpid, set_child_subreaper, waitpid};

/// Children that this process started and will itself wait for.
static OURS: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// From now on, descendants whose parent died become children of this process.
pub(crate) fn adopt() -> Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Starts a child that [`end_all`] leaves alone until [`forget`].
pub(crate) fn spawn(command: &mut Command) -> std::io::Result<Child> {
    // The lock is held over the start, so that no child is taken for an orphan before its id is known.
    let mut ours = OURS.lock().unwrap_or_else(PoisonError::into_inner);
    let child = command.spawn()?;
    ours.insert(child.id());
    Ok(child)
}

/// A child that was started elsewhere in this process: [`end_all`] leaves it alone until [`forget`].
pub(crate) fn spare(pid: u32) {
    OURS.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(pid);
}

/// A child has been waited for.
pub(crate) fn forget(pid: u32) {
    OURS.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .remove(&pid);
}

/// Ends every child of this process that it did not start itself: what tests left behind.
pub(crate) fn end_all() {
    let ours = OURS.lock().unwrap_or_else(PoisonError::into_inner);
    let me = std::process::id();
    for pid in descendants(me) {
        let parent_is_me = kedge_testkit::process::parent_of(pid) == Some(me);
        if !parent_is_me || ours.contains(&pid) {
            continue;
        }
        let mut family = descendants(pid);
        family.push(pid);
        kill_each(&family);
        if let Ok(pid) = as_pid(pid) {
            let _ = waitpid(Some(pid), WaitOptions::empty());
        }
    }
}
