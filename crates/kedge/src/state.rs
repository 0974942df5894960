//! What is kept for each hub: the login, the hub's last answers, the logins plain `ssh` needs.
//!
//! ```text
//!  ~/.local/state/kedge/hubs/main/          0700
//!      credentials.json                     0600  what `kedge login` stored ([`crate::credentials`])
//!      credentials.lock                           held while the login is renewed or replaced
//!      access/web01                         0600  the hub's answer, for a few seconds or minutes
//!      logins.ssh_config                    0600  User lines that the generated configuration includes
//!      lock                                       held while logins.ssh_config is rewritten
//! ```

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use kedge_api::{HostKeys, HubName, Login, ServerName};
use kedge_service::files::{self, FileError};
use serde::{Deserialize, Serialize};

use crate::credentials::Store;
use crate::defaults;

/// The folder of one hub.
#[derive(Clone, Debug)]
pub struct HubState {
    folder: PathBuf,
}

/// What a hub said about a server, and when.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RememberedAccess {
    /// When, in seconds since 1970.
    pub fetched: i64,
    /// The mapped login; absent when another one was asked for.
    pub login: Option<Login>,
    /// The pinned host keys.
    pub host_keys: HostKeys,
}

impl RememberedAccess {
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

impl HubState {
    /// The folder of this hub below the state folder. A hub's name is one path component.
    #[must_use]
    pub fn new(state_folder: &Path, hub: &HubName) -> Self {
        Self {
            folder: state_folder.join("hubs").join(hub.as_str()),
        }
    }

    /// Where the login is kept.
    #[must_use]
    pub fn store(&self) -> Store {
        Store::new(&self.folder)
    }

    /// Makes the folder, which is where locks are too.
    ///
    /// # Errors
    ///
    /// [`FileError`]
    pub fn create(&self) -> Result<(), FileError> {
        files::create_private_folder(&self.folder)
    }

    /// Forgets what the hub said to whoever was logged in until now.
    ///
    /// # Errors
    ///
    /// [`FileError`] when something stays.
    pub fn forget_answers(&self) -> Result<(), FileError> {
        let path = self.access_folder();
        match std::fs::remove_dir_all(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(FileError::Io {
                operation: "remove",
                path,
                source,
            }),
            _ => Ok(()),
        }
    }

    /// Removes the login and what was learned with it; says whether there was one. To be called under
    /// the login's lock.
    ///
    /// # Errors
    ///
    /// [`FileError`] when something stays.
    pub fn forget(&self) -> Result<bool, FileError> {
        files::remove(&self.logins_file())?;
        self.forget_answers()?;
        self.store().forget()
    }

    /// What the hub said of a server, if that is recent enough to act on: on its host keys within
    /// [`defaults::ACCESS_TIME`], on its login within [`defaults::MAPPED_TIME`].
    #[must_use]
    pub fn access(
        &self,
        server: &ServerName,
        now: Timestamp,
        within: Duration,
    ) -> Option<RememberedAccess> {
        let bytes = files::read_kept(&self.access_file(server), ACCESS_BYTES).ok()?;
        let access: RememberedAccess = serde_json::from_slice(&bytes).ok()?;
        (access.age(now)? <= within).then_some(access)
    }

    /// Remembers what the hub said of a server.
    ///
    /// # Errors
    ///
    /// [`FileError`]; the caller can do without.
    pub fn remember(
        &self,
        server: &ServerName,
        access: &RememberedAccess,
    ) -> Result<(), FileError> {
        files::create_private_folder(&self.access_folder())?;
        let bytes = serde_json::to_vec(access).unwrap_or_default();
        let path = self.access_file(server);
        // Whole or absent, but not synced: after a power cut the hub is simply asked again.
        let fail = |source| FileError::Io {
            operation: "write",
            path: path.clone(),
            source,
        };
        let mut staged = tempfile::NamedTempFile::new_in(self.access_folder()).map_err(fail)?;
        staged.write_all(&bytes).map_err(fail)?;
        staged.persist(&path).map_err(|failed| fail(failed.error))?;
        Ok(())
    }

    /// Forgets what the hub said of a server: it proved wrong, or is about to change.
    pub fn forget_server(&self, server: &ServerName) {
        // What stays is forgotten by itself in a few seconds.
        let _ = std::fs::remove_file(self.access_file(server));
    }

    /// Holds other processes off the logins until the closure ends. Without a lock (a file system
    /// that has none) the closure runs all the same: at worst a login is asked for once more.
    ///
    /// # Errors
    ///
    /// [`FileError`] when the folder cannot be made.
    pub fn locked<T>(&self, work: impl FnOnce() -> T) -> Result<T, FileError> {
        files::create_private_folder(&self.folder)?;
        let path = self.folder.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|source| FileError::Io {
                operation: "open",
                path: path.clone(),
                source,
            })?;
        let mut lock = fd_lock::RwLock::new(file);
        let guard = lock.write();
        let result = work();
        drop(guard);
        Ok(result)
    }

    /// Where plain `ssh` reads the mapped logins.
    #[must_use]
    pub fn logins_file(&self) -> PathBuf {
        self.folder.join("logins.ssh_config")
    }

    fn access_folder(&self) -> PathBuf {
        self.folder.join("access")
    }

    fn access_file(&self, server: &ServerName) -> PathBuf {
        // A server's name has no `/` and is not `..`; with its ending it still fits a file name.
        self.access_folder().join(server.as_str())
    }
}

/// Bytes of one remembered answer: sixteen RSA keys and some.
const ACCESS_BYTES: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn state() -> (tempfile::TempDir, HubState) {
        let folder = tempfile::tempdir().unwrap();
        let state = HubState::new(folder.path(), &"main".parse().unwrap());
        (folder, state)
    }

    fn recent(state: &HubState, server: &ServerName, second: i64) -> Option<RememberedAccess> {
        state.access(server, at(second), defaults::ACCESS_TIME)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn an_answer_is_remembered_for_a_while_only() {
        let (_folder, state) = state();
        let server: ServerName = "web01".parse().unwrap();
        let access = RememberedAccess {
            fetched: 1000,
            login: Some("alice".parse().unwrap()),
            host_keys: HostKeys::default(),
        };
        state.remember(&server, &access).unwrap();
        assert_eq!(recent(&state, &server, 1001), Some(access));
        assert_eq!(recent(&state, &server, 1031), None);
        // A login serves for longer, and not for ever.
        for (second, serves) in [(1031, true), (1600, true), (1601, false), (999, false)] {
            let mapped = state.access(&server, at(second), defaults::MAPPED_TIME);
            assert_eq!(mapped.is_some(), serves, "{second}");
        }
        // A clock that went back proves nothing.
        assert_eq!(recent(&state, &server, 999), None);
        assert_eq!(recent(&state, &"web02".parse().unwrap(), 1001), None);
        state.forget_server(&"web02".parse().unwrap());
        assert!(recent(&state, &server, 1001).is_some());
        let mode = std::fs::metadata(state.access_file(&server))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        state.forget_server(&server);
        assert_eq!(recent(&state, &server, 1001), None);
    }

    #[test]
    fn a_new_login_forgets_what_the_old_one_was_told() {
        let (_folder, state) = state();
        let server: ServerName = "web01".parse().unwrap();
        let access = RememberedAccess {
            fetched: 1000,
            login: None,
            host_keys: HostKeys::default(),
        };
        state.remember(&server, &access).unwrap();
        state.forget_answers().unwrap();
        assert_eq!(recent(&state, &server, 1000), None);
        state.remember(&server, &access).unwrap();
        assert!(!state.forget().unwrap());
        assert_eq!(recent(&state, &server, 1000), None);
    }

    #[test]
    fn a_broken_answer_is_no_answer() {
        let (_folder, state) = state();
        let server: ServerName = "web01".parse().unwrap();
        std::fs::create_dir_all(state.access_folder()).unwrap();
        std::fs::write(state.access_file(&server), "{").unwrap();
        assert_eq!(recent(&state, &server, 1000), None);
    }
}
