//! One process at a time per login: whoever holds the lock may ask the issuer for new tokens.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use kedge_service::files::FileError;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use thiserror::Error;

use crate::defaults;

/// The lock, until it is dropped. Ends with the process, however that ends.
#[derive(Debug)]
pub struct Held {
    // Closing it gives the lock back.
    _file: File,
}

/// Why the lock was not had.
#[derive(Debug, Error)]
pub enum LockError {
    /// Its file cannot be made.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another process keeps it.
    #[error("another kedge has been at the login for {} s", after.as_secs())]
    Late {
        /// How long was waited.
        after: Duration,
    },
}

/// Waits for the lock, which is a file of its own or a folder that is there.
///
/// # Errors
///
/// [`LockError`]
///
/// # Cancel safety
///
/// Nothing is held afterwards.
pub async fn hold(path: &Path) -> Result<Held, LockError> {
    let after = defaults::LOCK_TIME;
    let path = path.to_owned();
    // A thread waits where the system has no other way; it gives back what it gets too late.
    let waiting = tokio::task::spawn_blocking(move || wait(&path));
    match tokio::time::timeout(after, waiting).await {
        Ok(Ok(held)) => Ok(held?),
        Ok(Err(_)) | Err(_) => Err(LockError::Late { after }),
    }
}

fn wait(path: &Path) -> Result<Held, FileError> {
    let fail = |source| fail(path, source);
    loop {
        let file = open(path)?;
        match flock(&file, FlockOperation::LockExclusive) {
            // A file system without locks: at worst two ask for tokens, and one of them in vain.
            // (A folder cannot be locked over NFS, which says BADF.)
            Ok(()) | Err(Errno::BADF | Errno::INVAL | Errno::NOLCK | Errno::OPNOTSUPP) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(fail(error.into())),
        }
        // `kedge logout` removes the file while it holds the lock: then this is not the lock any more.
        let ours = file.metadata().map_err(fail)?;
        if std::fs::metadata(path).is_ok_and(|there| there.ino() == ours.ino()) {
            return Ok(Held { _file: file });
        }
    }
}

fn open(path: &Path) -> Result<File, FileError> {
    let opened = match std::fs::metadata(path) {
        Ok(there) if there.is_dir() => File::open(path),
        // To open a pipe would wait for somebody at its other end.
        Ok(there) if !there.is_file() => {
            return Err(FileError::NotAFile {
                path: path.to_owned(),
            });
        }
        Ok(_) | Err(_) => OpenOptions::new()
            .create(true)
            .append(true)
            .mode(defaults::PRIVATE_FILE)
            .open(path),
    };
    opened.map_err(|source| fail(path, source))
}

fn fail(path: &Path, source: std::io::Error) -> FileError {
    FileError::Io {
        operation: "lock",
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_after_the_other_also_when_the_file_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = hold(&path).await.unwrap();
        let second = tokio::task::spawn_blocking({
            let path = path.clone();
            move || wait(&path)
        });
        // It must wait for the file that goes, and not make the next one.
        #[cfg(target_os = "linux")]
        while times_open(&path) < 2 {
            tokio::task::yield_now().await;
        }
        std::fs::remove_file(&path).unwrap();
        assert!(!second.is_finished());
        drop(first);
        let second = second.await.unwrap().unwrap();
        assert!(path.exists(), "the second made it anew");
        drop(second);
    }

    #[cfg(target_os = "linux")]
    fn times_open(path: &Path) -> usize {
        let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        open.filter(|file| std::fs::read_link(file.path()).is_ok_and(|to| to == path))
            .count()
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = wait(&path).unwrap();
        let advance = async {
            tokio::time::advance(defaults::LOCK_TIME).await;
        };
        let (second, ()) = tokio::join!(hold(&path), advance);
        assert!(matches!(second, Err(LockError::Late { .. })), "{second:?}");
        drop(first);
    }
}
