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

mod answers;

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use kedge_api::{HubName, HubUrl, ServerName};
use kedge_service::files::{self, FileError};

pub use answers::{Answers, RememberedAccess};

use crate::credentials::Store;

/// The folder of one hub.
#[derive(Clone, Debug)]
pub struct HubState {
    folder: PathBuf,
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
        // The login first: nobody asks with it any more when the answers to it go.
        let had = self.store().forget()?;
        files::remove(&self.logins_file())?;
        self.forget_answers()?;
        Ok(had)
    }

    /// What the hub at this URL said of a server, if that is recent enough to act on: on its host keys within
    /// [`ACCESS_TIME`](crate::defaults::ACCESS_TIME), on its login within
    /// [`MAPPED_TIME`](crate::defaults::MAPPED_TIME).
    #[must_use]
    pub fn access(
        &self,
        hub: &HubUrl,
        server: &ServerName,
        now: Timestamp,
        within: Duration,
    ) -> Option<RememberedAccess> {
        let access = RememberedAccess::read(&self.access_file(server))?;
        // Two configurations may call different hubs the same.
        let is_theirs = access.hub == *hub;
        (is_theirs && access.age(now)? <= within).then_some(access)
    }

    /// Where answers are kept that are asked for from now on. To be had before the login is read that asks.
    ///
    /// # Errors
    ///
    /// [`FileError`]; the caller can do without.
    pub fn answers(&self) -> Result<Answers, FileError> {
        Answers::open(self.access_folder())
    }

    /// Forgets what the hub said of a server: it proved wrong, or is about to change.
    pub fn forget_server(&self, server: &ServerName) {
        // What stays is forgotten by itself in some minutes, and the hub decides again until then.
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use kedge_api::HostKeys;

    use super::*;
    use crate::defaults;

    fn state() -> (tempfile::TempDir, HubState) {
        let folder = tempfile::tempdir().unwrap();
        let state = HubState::new(folder.path(), &"main".parse().unwrap());
        (folder, state)
    }

    fn recent(state: &HubState, server: &ServerName, second: i64) -> Option<RememberedAccess> {
        state.access(&hub(), server, at(second), defaults::ACCESS_TIME)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn hub() -> HubUrl {
        "https://hub.example".parse().unwrap()
    }

    fn said() -> RememberedAccess {
        RememberedAccess {
            hub: hub(),
            fetched: 1000,
            login: Some("alice".parse().unwrap()),
            host_keys: HostKeys::default(),
            injected: false,
        }
    }

    #[test]
    fn an_answer_is_remembered_for_a_while_only() {
        let (_folder, state) = state();
        let server: ServerName = "web01".parse().unwrap();
        let access = said();
        state.answers().unwrap().remember(&server, &access).unwrap();
        assert_eq!(recent(&state, &server, 1001), Some(access));
        assert_eq!(recent(&state, &server, 1031), None);
        // A login serves for longer, and not for ever.
        for (second, serves) in [(1031, true), (1600, true), (1601, false), (999, false)] {
            let mapped = state.access(&hub(), &server, at(second), defaults::MAPPED_TIME);
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
        let kept = std::fs::read_dir(state.access_folder()).unwrap().count();
        assert_eq!(kept, 1, "nothing is left of writing it");
        state.forget_server(&server);
        assert_eq!(recent(&state, &server, 1001), None);
    }

    #[test]
    fn another_hub_of_the_same_name_has_said_nothing() {
        let (_folder, state) = state();
        let server: ServerName = "web01".parse().unwrap();
        let answers = state.answers().unwrap();
        answers.remember(&server, &said()).unwrap();
        let other = "https://other.example".parse().unwrap();
        let found = state.access(&other, &server, at(1000), defaults::ACCESS_TIME);
        assert_eq!(found, None);
        // As versions before kept it.
        let before = r#"{"fetched":1000,"login":"alice","hostKeys":[]}"#;
        std::fs::write(state.access_file(&server), before).unwrap();
        assert_eq!(recent(&state, &server, 1000), None);
    }

    #[test]
    fn a_new_login_forgets_what_the_old_one_was_told() {
        let (_folder, state) = state();
        let server: ServerName = "web01".parse().unwrap();
        let answers = state.answers().unwrap();
        answers.remember(&server, &said()).unwrap();
        state.forget_answers().unwrap();
        assert_eq!(recent(&state, &server, 1000), None);
        let answers = state.answers().unwrap();
        answers.remember(&server, &said()).unwrap();
        assert!(!state.forget().unwrap());
        assert_eq!(recent(&state, &server, 1000), None);
    }

    #[test]
    fn an_answer_to_the_old_login_that_comes_late_is_not_kept() {
        let (_folder, state) = state();
        let server: ServerName = "web01".parse().unwrap();
        for forget in [
            |state: &HubState| state.forget_answers(),
            |state: &HubState| state.forget().map(drop),
        ] {
            let asked = state.answers().unwrap();
            forget(&state).unwrap();
            // Somebody else asks meanwhile.
            let asked_anew = state.answers().unwrap();
            assert!(asked.remember(&server, &said()).is_err());
            assert_eq!(recent(&state, &server, 1000), None);
            asked_anew.remember(&server, &said()).unwrap();
            assert_eq!(recent(&state, &server, 1000), Some(said()));
        }
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
