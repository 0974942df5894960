//! What a hub said of its servers: a file for each.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use kedge_api::{HostKeys, HubUrl, Login, ServerName, random};
use kedge_service::files::{self, FileError};
use rustix::fs::{AtFlags, Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::defaults;

/// What a hub said about a server, and when.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RememberedAccess {
    /// Which hub.
    pub hub: HubUrl,
    /// When it was asked, in seconds since 1970: an answer that was long under way is as old as its question.
    pub fetched: i64,
    /// The mapped login; absent when another one was asked for.
    pub login: Option<Login>,
    /// The pinned host keys.
    pub host_keys: HostKeys,
    /// Whether the hub signs there.
    #[serde(default)]
    pub injected: bool,
}

impl RememberedAccess {
    pub(super) fn read(path: &Path) -> Option<Self> {
        let bytes = files::read_kept(path, ACCESS_BYTES).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// How long ago the hub said it; none by a clock that went back, which proves nothing.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Option<Duration> {
        let seconds = now.as_second().checked_sub(self.fetched)?;
        u64::try_from(seconds).ok().map(Duration::from_secs)
    }

    /// Whether its host keys may be acted on.
    #[must_use]
    pub fn is_recent(&self, now: Timestamp) -> bool {
        self.age(now)
            .is_some_and(|age| age <= defaults::ACCESS_TIME)
    }
}

/// The folder of a hub's answers, as it is when it is opened. Whoever logs in or out removes it, so that what the hub
/// says to the former login afterwards finds no place.
#[derive(Debug)]
pub struct Answers {
    folder: OwnedFd,
    path: PathBuf,
}

impl Answers {
    pub(super) fn open(path: PathBuf) -> Result<Self, FileError> {
        files::create_private_folder(&path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(folder) => Ok(Self { folder, path }),
            Err(error) => Err(FileError::Io {
                operation: "open",
                path,
                source: error.into(),
            }),
        }
    }

    /// Remembers what the hub said of a server.
    ///
    /// # Errors
    ///
    /// [`FileError`], also when the folder has gone meanwhile; the caller can do without.
    pub fn remember(
        &self,
        server: &ServerName,
        access: &RememberedAccess,
    ) -> Result<(), FileError> {
        let bytes = serde_json::to_vec(access).unwrap_or_default();
        // No server's name begins so; and should there be no random bytes, whoever writes last is right.
        let number = u64::from_le_bytes(random::bytes().unwrap_or_default());
        let staged = format!(".{server}-{number:x}");
        self.replace(&staged, server.as_str(), &bytes)
            .map_err(|source| {
                let _ = rustix::fs::unlinkat(&self.folder, &staged, AtFlags::empty());
                FileError::Io {
                    operation: "write",
                    path: self.path.join(server.as_str()),
                    source,
                }
            })
    }

    /// Whole or absent, but not synced: after a power cut the hub is simply asked again.
    fn replace(&self, staged: &str, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(&self.folder, staged, flags, mode)?;
        File::from(file).write_all(bytes)?;
        Ok(rustix::fs::renameat(
            &self.folder,
            staged,
            &self.folder,
            name,
        )?)
    }
}

/// Bytes of one remembered answer: sixteen RSA keys and some.
const ACCESS_BYTES: u64 = 64 << 10;
