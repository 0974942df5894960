//! One agent at a time in a state folder.
//!
//! Two agents with one identity would replace each other's link at the hub for ever, and cut the
//! sessions of it each time. The lock is the kernel's: it ends with the process, however that ends, and
//! a file that a crash left behind locks nobody out.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

use crate::defaults;
use crate::identity::StateDir;

/// The sole use of a state folder. Dropping it gives the folder back.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

/// Why a state folder cannot be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another agent runs with it.
    #[error("{} is in use by another kedge-agent{}", folder.display(), naming(*process))]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// That agent's process, when its number could be read.
        process: Option<u32>,
    },
    /// The lock's file cannot be made or locked.
    #[error("cannot lock {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
}

impl LockError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::InUse { .. } => Some(
                "one agent is enough for a server; a second one needs a state-dir, and a name, of its \
                 own"
                .to_owned(),
            ),
            Self::Io { .. } => None,
        }
    }
}

impl StateLock {
    /// Takes the folder, at once or not at all.
    ///
    /// # Errors
    ///
    /// [`LockError`]
    pub fn take(state: &StateDir) -> Result<Self, LockError> {
        let path = state.lock_path();
        let failed = |source| LockError::Io {
            path: path.clone(),
            source,
        };
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path);
        let mut file = match opened {
            // Where nothing can be written, the folder itself is what is locked.
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                File::open(state.path()).map_err(failed)?
            }
            opened => opened.map_err(failed)?,
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(LockError::InUse {
                    folder: state.path().to_owned(),
                    process: holder(&mut file),
                });
            }
            Err(error) => return Err(failed(error.into())),
        }
        // The number only helps the person who meets the lock; it is the kernel that holds it.
        let _ = note_holder(&mut file);
        Ok(Self { _file: file })
    }
}

fn note_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    let limit = defaults::PROCESS_NUMBER_BYTES;
    file.take(limit).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn naming(process: Option<u32>) -> String {
    process.map_or_else(String::new, |process| format!(" (pid {process})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_agent_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(folder.path());
        // What a crashed agent left behind locks nobody out.
        std::fs::write(state.lock_path(), "4294967295\nand more\n").unwrap();
        let lock = StateLock::take(&state).unwrap();
        let error = StateLock::take(&state).unwrap_err();
        let expected = format!(
            "{} is in use by another kedge-agent (pid {})",
            folder.path().display(),
            std::process::id()
        );
        assert_eq!(error.to_string(), expected);
        assert!(error.hint().unwrap().contains("state-dir"));
        std::fs::write(state.lock_path(), "no number").unwrap();
        let error = StateLock::take(&state).unwrap_err();
        assert!(
            error.to_string().ends_with("another kedge-agent"),
            "{error}"
        );
        drop(lock);
        StateLock::take(&state).unwrap();
    }
}
