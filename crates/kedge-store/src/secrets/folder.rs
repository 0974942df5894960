//! Secrets as files, laid out as mounted Kubernetes Secrets are.
//!
//! `<root>/<namespace>/<name>/<key>` is one field, and what would be an annotation in Kubernetes is
//! `<root>/<namespace>/<name>/..annotations/<annotation>`: no key of a Secret begins with two dots. Links that stay below
//! the root are followed, such as those by which the kubelet exchanges all fields at once (`..data`).

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use kedge_api::{SERVERS_ANNOTATION, SecretDataKey, SecretRef};
use rustix::io::Errno;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::beneath::{Obstacle, OpenFile, Walk};
use super::{SecretError, SecretField, Secrets};
use crate::defaults::{
    SECRET_ANNOTATION_BYTES, SECRET_ATTEMPTS, SECRET_FIELD_BYTES, SECRET_READ, SECRET_READERS,
};
use crate::raw::BoxFuture;

/// Secrets that are files below one folder.
#[derive(Debug)]
pub struct FolderSecrets {
    root: PathBuf,
    /// One permit for each thread that reads, given back when it has: a file system that hangs takes no more than these.
    readers: Arc<Semaphore>,
}

impl FolderSecrets {
    /// Those below this folder. Nothing is read yet, and the folder may come later.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            readers: Arc::new(Semaphore::new(SECRET_READERS)),
        }
    }

    async fn read(
        &self,
        secret: &SecretRef,
        key: &SecretDataKey,
    ) -> Result<SecretField, SecretError> {
        let unavailable = |cause: String| SecretError::Unavailable {
            secret: secret.clone(),
            cause,
        };
        let reading = async {
            // The semaphore is never closed.
            let Ok(permit) = Arc::clone(&self.readers).acquire_owned().await else {
                return Err(unavailable("the hub ends".to_owned()));
            };
            let place = Place {
                root: self.root.clone(),
                secret: secret.clone(),
                key: key.clone(),
            };
            let work = move || {
                let _permit = permit;
                place.read()
            };
            match tokio::task::spawn_blocking(work).await {
                Ok(field) => field,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => Err(unavailable("the hub ends".to_owned())),
                },
            }
        };
        match timeout(SECRET_READ, reading).await {
            Ok(field) => field,
            Err(_) => Err(unavailable(format!(
                "the file system did not answer within {} s",
                SECRET_READ.as_secs()
            ))),
        }
    }
}

impl Secrets for FolderSecrets {
    fn field<'a>(
        &'a self,
        secret: &'a SecretRef,
        key: &'a SecretDataKey,
    ) -> BoxFuture<'a, Result<SecretField, SecretError>> {
        Box::pin(self.read(secret, key))
    }
}

/// What to read, by a thread that may block.
struct Place {
    root: PathBuf,
    secret: SecretRef,
    key: SecretDataKey,
}

impl Place {
    /// Reads it, and once more on failure: whoever exchanges all fields at once removes the old ones afterwards, and a
    /// walk that was on its way to those meets nothing.
    fn read(&self) -> Result<SecretField, SecretError> {
        let mut outcome = self.read_once();
        for _ in 1..SECRET_ATTEMPTS {
            if outcome.is_ok() {
                break;
            }
            outcome = self.read_once();
        }
        outcome
    }

    fn read_once(&self) -> Result<SecretField, SecretError> {
        let root = Walk::begin(&self.root).map_err(|obstacle| self.no_root(obstacle))?;
        let folder = self.folder(root)?;
        let again = folder.fork().map_err(|obstacle| self.stopped(obstacle))?;
        let bytes = self.field(folder)?;
        // After the field: who changes the annotation and then the key is never met by the new key with the old one.
        let servers = self.servers(again)?;
        Ok(SecretField { bytes, servers })
    }

    fn folder(&self, mut walk: Walk) -> Result<Walk, SecretError> {
        for name in [self.secret.namespace.as_str(), self.secret.name.as_str()] {
            walk.enter(name).map_err(|obstacle| match obstacle {
                Obstacle::Dangling | Obstacle::Missing => SecretError::NotFound {
                    secret: self.secret.clone(),
                },
                other => self.stopped(other),
            })?;
        }
        Ok(walk)
    }

    fn field(&self, folder: Walk) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        let file = folder
            .open(self.key.as_str())
            .map_err(|obstacle| match obstacle {
                Obstacle::Dangling | Obstacle::Missing => SecretError::FieldMissing {
                    secret: self.secret.clone(),
                    key: self.key.clone(),
                },
                other => self.stopped(other),
            })?;
        let mode = file.stat.st_mode;
        if mode & OTHERS != 0 {
            return Err(self.unreadable(format!(
                "its file has mode {:04o}, which lets everybody on the machine at it; `chmod o= {}/{}` in the folder of \
                 secrets",
                mode & MODE_BITS,
                self.secret,
                self.key
            )));
        }
        match read_all(&file, SECRET_FIELD_BYTES) {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(SecretError::TooLarge {
                secret: self.secret.clone(),
                key: self.key.clone(),
                limit: SECRET_FIELD_BYTES,
            }),
            Err(errno) => Err(self.stopped(errno.into())),
        }
    }

    /// The annotation. Anything but its absence is an error: an offer that cannot be read is not one to everybody.
    fn servers(&self, mut walk: Walk) -> Result<Option<String>, SecretError> {
        let wrong = |cause: &dyn std::fmt::Display| {
            self.unreadable(format!("its annotation {SERVERS_ANNOTATION}: {cause}"))
        };
        let (prefix, name) = SERVERS_ANNOTATION.split_once('/').unwrap_or_default();
        for folder in [ANNOTATIONS, prefix] {
            match walk.enter(folder) {
                Ok(()) => {}
                Err(Obstacle::Missing) => return Ok(None),
                Err(obstacle) => return Err(wrong(&obstacle)),
            }
        }
        let file = match walk.open(name) {
            Ok(file) => file,
            Err(Obstacle::Missing) => return Ok(None),
            Err(obstacle) => return Err(wrong(&obstacle)),
        };
        if file.stat.st_mode & WRITABLE_BY_OTHERS != 0 {
            return Err(wrong(
                &"everybody on the machine may write it; `chmod o-w` it",
            ));
        }
        let text = read_all(&file, SECRET_ANNOTATION_BYTES).map_err(|errno| wrong(&errno))?;
        let Some(text) = text else {
            return Err(wrong(&format_args!(
                "more than {SECRET_ANNOTATION_BYTES} bytes"
            )));
        };
        match std::str::from_utf8(&text) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(_) => Err(wrong(&"not UTF-8 text")),
        }
    }

    fn no_root(&self, obstacle: Obstacle) -> SecretError {
        let secret = self.secret.clone();
        match obstacle {
            Obstacle::Denied => SecretError::Forbidden {
                secret,
                cause: "no permission for the folder of secrets".to_owned(),
            },
            other => SecretError::Unavailable {
                secret,
                cause: format!("the folder of secrets: {other}"),
            },
        }
    }

    fn stopped(&self, obstacle: Obstacle) -> SecretError {
        let secret = self.secret.clone();
        let cause = obstacle.to_string();
        match obstacle {
            Obstacle::Denied => SecretError::Forbidden { secret, cause },
            Obstacle::Other(_) => SecretError::Unavailable { secret, cause },
            _ => self.unreadable(cause),
        }
    }

    fn unreadable(&self, cause: String) -> SecretError {
        SecretError::Unreadable {
            secret: self.secret.clone(),
            key: self.key.clone(),
            cause,
        }
    }
}

/// All bytes of a file; `None` when there are more than the limit. Read into memory of its final size, so that no copy
/// is left where it grew.
fn read_all(file: &OpenFile, limit: usize) -> Result<Option<Zeroizing<Vec<u8>>>, Errno> {
    let mut bytes = Zeroizing::new(vec![0; limit + 1]);
    let mut filled = 0;
    while let Some(room) = bytes.get_mut(filled..).filter(|room| !room.is_empty()) {
        match read_some(&file.descriptor, room)? {
            0 => break,
            count => filled += count,
        }
    }
    if filled > limit {
        return Ok(None);
    }
    bytes.truncate(filled);
    Ok(Some(bytes))
}

fn read_some(descriptor: &OwnedFd, room: &mut [u8]) -> Result<usize, Errno> {
    rustix::io::retry_on_intr(|| rustix::io::read(descriptor, &mut *room))
}

/// The folder beside a Secret's fields that holds its annotations.
const ANNOTATIONS: &str = "..annotations";
/// What a file's mode allows those who are neither its owner nor of its group.
const OTHERS: u32 = 0o007;
const WRITABLE_BY_OTHERS: u32 = 0o002;
const MODE_BITS: u32 = 0o7777;
