//! A thread that is somewhere else for a while.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Does something in a network namespace: what it starts runs there, and what it connects to is there.
///
/// # Errors
///
/// The action's, or that the calling thread cannot go there and back.
pub(crate) fn within<T>(namespace: &Path, action: impl FnOnce() -> Result<T>) -> Result<T> {
    let visit = Visit::to(namespace)?;
    let done = action();
    visit.leave()?;
    done
}

/// A thread away from home.
struct Visit {
    home: File,
    away: bool,
}

impl Visit {
    fn to(namespace: &Path) -> Result<Self> {
        let home = File::open("/proc/thread-self/ns/net").context("open this network namespace")?;
        let there =
            File::open(namespace).with_context(|| format!("open {}", namespace.display()))?;
        enter(&there).with_context(|| format!("enter {}", namespace.display()))?;
        Ok(Self { home, away: true })
    }

    fn leave(mut self) -> Result<()> {
        self.away = false;
        enter(&self.home).context("come back from a namespace")
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if self.away {
            // After a panic; the value is on its way out of the thread anyway.
            let _ = enter(&self.home);
        }
    }
}

fn enter(namespace: &File) -> Result<()> {
    Ok(move_into_link_name_space(
        namespace.as_fd(),
        Some(LinkNameSpaceType::Network),
    )?)
}
