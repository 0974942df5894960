//! What an agent is, in two files of its state folder: `agent.key` (its Ed25519 key, PKCS#8 DER,
//! 0600) and `identity.json` (which server of which hub it is). Whoever can write there decides who the
//! agent is and whom it believes, so a folder that others can write is not used.
//!
//! The key comes first and is on disk before a hub hears of it, so that an enrolment whose answer
//! was lost can be finished later. `identity.json` comes last, whole: with it, the agent has joined.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use kedge_api::{AgentKey, HubId, HubName, HubUrl, ServerName};
use kedge_service::files::{self, FileError};
use kedge_tunnel::{CertificatePin, Trust};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::defaults;

/// Which server of which hub an agent is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// The server's name.
    pub name: ServerName,
    /// The hub's URL at the time of joining.
    pub hub: HubUrl,
    /// The hub's id, for which assertions are made.
    pub hub_id: HubId,
    /// What people call the hub.
    pub hub_name: HubName,
    /// The pin of the hub's certificate, when one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<String>,
    /// The roots to believe, when a file was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// Why the state folder does not say who the agent is.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Others can write the state folder.
    #[error("{} has mode {mode:04o}: others can write there", path.display())]
    Exposed {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file cannot be read or written.
    #[error("cannot use the state folder")]
    File(#[source] FileError),
    /// The state folder belongs to somebody else, who can write it.
    #[error("{} belongs to user {owner}, and this agent runs as user {me}", path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who the agent is.
        me: u32,
    },
    /// The key's file holds something else.
    #[error("{} holds no agent's key", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: kedge_api::assertion::AgentKeyError,
    },
    /// The identity's file holds something else.
    #[error("{} cannot be read", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The pin that was noted is none.
    #[error("the pin in {} cannot be read", path.display())]
    Pin {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: kedge_tunnel::BadPin,
    },
    /// There is no randomness for a key.
    #[error("cannot make a key")]
    Random(#[source] kedge_api::random::RandomError),
}

impl IdentityError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Exposed { path, .. } => Some(format!("chmod 0700 {}", path.display())),
            Self::File(error) => error.hint(),
            Self::Foreign { path, me, .. } => Some(format!("chown -R {me} {}", path.display())),
            _ => None,
        }
    }
}

impl Identity {
    /// Whom to believe to be the hub, by what was given at `join`.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Pin`] when the file was edited into nonsense.
    pub fn trust(&self, state: &StateDir) -> Result<Trust, IdentityError> {
        if let Some(pin) = &self.pin {
            let pin = pin.parse::<CertificatePin>();
            let pin = pin.map_err(|source| IdentityError::Pin {
                path: state.identity_path(),
                source,
            })?;
            return Ok(Trust::Pinned(vec![pin]));
        }
        Ok(self.ca_file.clone().map_or(Trust::System, Trust::Roots))
    }
}

/// The folder of an agent's key and identity.
#[derive(Clone, Debug)]
pub struct StateDir {
    path: PathBuf,
}

/// An agent's key, and whether it was there before.
#[derive(Debug)]
pub struct FoundKey {
    /// The key.
    pub key: AgentKey,
    /// Whether an earlier `join` made it, and perhaps showed it to a hub.
    pub existed: bool,
}

impl StateDir {
    /// The folder at `path`, which need not exist yet.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The key's file.
    #[must_use]
    pub fn key_path(&self) -> PathBuf {
        self.path.join("agent.key")
    }

    /// The identity's file.
    #[must_use]
    pub fn identity_path(&self) -> PathBuf {
        self.path.join("identity.json")
    }

    /// The file that a running agent holds the lock of.
    #[must_use]
    pub fn lock_path(&self) -> PathBuf {
        self.path.join("agent.lock")
    }

    /// Who the agent is; `None` before it joined.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] when the file is there and cannot be understood, or others can write its
    /// folder.
    pub fn identity(&self) -> Result<Option<Identity>, IdentityError> {
        self.check()?;
        let path = self.identity_path();
        let bytes = match files::read_limited(&path, defaults::IDENTITY_BYTES) {
            Err(error) if error.is_not_found() => return Ok(None),
            bytes => bytes.map_err(IdentityError::File)?,
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| IdentityError::Malformed { path, source })
    }

    /// The key, which must be there.
    ///
    /// # Errors
    ///
    /// [`IdentityError`], also when others can read the file or write its folder.
    pub fn key(&self) -> Result<AgentKey, IdentityError> {
        self.check()?;
        let path = self.key_path();
        let secret = files::read_secret_bytes(&path).map_err(IdentityError::File)?;
        let bytes = Zeroizing::new(secret.expose_secret().to_vec());
        AgentKey::from_pkcs8(bytes).map_err(|source| IdentityError::Key { path, source })
    }

    /// The key; made, written with mode 0600 and synced first if there is none.
    ///
    /// # Errors
    ///
    /// [`IdentityError`]; then there is no key, or the one there was.
    pub fn key_or_new(&self) -> Result<FoundKey, IdentityError> {
        files::create_private_folder(&self.path).map_err(IdentityError::File)?;
        match self.key() {
            Err(IdentityError::File(error)) if error.is_not_found() => {}
            found => return found.map(|key| FoundKey { key, existed: true }),
        }
        let seed = Zeroizing::new(kedge_api::random::bytes::<32>().map_err(IdentityError::Random)?);
        let path = self.key_path();
        let key = AgentKey::from_seed(&seed).map_err(|source| IdentityError::Key {
            path: path.clone(),
            source,
        })?;
        match files::write_new(&path, 0o600, key.pkcs8()) {
            Ok(()) => Ok(FoundKey {
                key,
                existed: false,
            }),
            // Another `join` was faster; the key that is on disk is the key.
            Err(FileError::Exists { .. }) => Ok(FoundKey {
                key: self.key()?,
                existed: true,
            }),
            Err(error) => Err(IdentityError::File(error)),
        }
    }

    /// Writes who the agent is: whole or not at all.
    ///
    /// # Errors
    ///
    /// [`IdentityError::File`].
    pub fn write_identity(&self, identity: &Identity) -> Result<(), IdentityError> {
        let path = self.identity_path();
        let mut text =
            serde_json::to_string_pretty(identity).map_err(|source| IdentityError::Malformed {
                path: path.clone(),
                source,
            })?;
        text.push('\n');
        files::write_whole(&path, 0o600, text.as_bytes()).map_err(IdentityError::File)
    }

    /// Refuses a folder that others can write. One that is not there, or cannot be looked at, is for
    /// whatever reads it to complain about.
    fn check(&self) -> Result<(), IdentityError> {
        let Ok(metadata) = std::fs::metadata(&self.path) else {
            return Ok(());
        };
        let me = rustix::process::geteuid().as_raw();
        self.judge(metadata.mode() & 0o7777, metadata.uid(), me)
    }

    fn judge(&self, mode: u32, owner: u32, me: u32) -> Result<(), IdentityError> {
        let path = self.path.clone();
        if owner != me && owner != ROOT {
            return Err(IdentityError::Foreign { path, owner, me });
        }
        if mode & OTHERS_WRITE != 0 {
            return Err(IdentityError::Exposed { path, mode });
        }
        Ok(())
    }
}

/// Who may write everywhere anyway.
const ROOT: u32 = 0;

/// The permission bits by which group and others write.
const OTHERS_WRITE: u32 = 0o022;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn identity() -> Identity {
        Identity {
            name: "web01".parse().unwrap(),
            hub: "https://hub.example:8443".parse().unwrap(),
            hub_id: HubId::from_bytes([7; 16]),
            hub_name: "main".parse().unwrap(),
            pin: Some(CertificatePin::of(b"x").to_string()),
            ca_file: None,
        }
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_key_is_made_once_and_only_for_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(&folder.path().join("deep/state"));
        let made = state.key_or_new().unwrap();
        assert!(!made.existed);
        let found = state.key_or_new().unwrap();
        assert!(found.existed);
        assert_eq!(made.key.public_key(), found.key.public_key());
        assert_eq!(mode(&state.key_path()), 0o600);
        assert_eq!(mode(state.path()), 0o700);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(folder.path());
        state.key_or_new().unwrap();
        std::fs::set_permissions(state.key_path(), std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = state.key().unwrap_err();
        assert!(error.hint().unwrap().starts_with("chmod 600 "), "{error}");
    }

    #[test]
    fn a_folder_that_others_can_write_is_refused_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(folder.path());
        state.key_or_new().unwrap();
        state.write_identity(&identity()).unwrap();
        let set = |mode| {
            std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        };
        for mode in [0o777, 0o720, 0o702, 0o1777] {
            set(mode);
            let shown = state.identity().unwrap_err().to_string();
            let expected = format!("has mode {mode:04o}: others can write there");
            assert!(shown.ends_with(&expected), "{shown}");
            let error = state.key_or_new().unwrap_err();
            let hint = format!("chmod 0700 {}", folder.path().display());
            assert_eq!(error.hint().unwrap(), hint);
        }
        for mode in [0o700, 0o755] {
            set(mode);
            assert_eq!(state.identity().unwrap(), Some(identity()));
        }
    }

    #[test]
    fn a_folder_of_somebody_else_is_refused_but_not_one_of_root() {
        let state = StateDir::new(Path::new("/state"));
        let error = state.judge(0o700, 1001, 1000).unwrap_err();
        assert_eq!(
            error.to_string(),
            "/state belongs to user 1001, and this agent runs as user 1000"
        );
        assert_eq!(error.hint().unwrap(), "chown -R 1000 /state");
        assert!(state.judge(0o700, 1001, ROOT).is_err());
        assert!(state.judge(0o755, ROOT, 1000).is_ok());
        assert!(state.judge(0o700, 1000, 1000).is_ok());
        assert!(state.judge(0o777, ROOT, 1000).is_err());
    }

    #[test]
    fn a_broken_key_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(folder.path());
        files::write_whole(&state.key_path(), 0o600, b"not a key").unwrap();
        assert!(matches!(state.key_or_new(), Err(IdentityError::Key { .. })));
        assert_eq!(std::fs::read(state.key_path()).unwrap(), b"not a key");
    }

    #[test]
    fn an_identity_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(folder.path());
        assert_eq!(state.identity().unwrap(), None);
        state.write_identity(&identity()).unwrap();
        assert_eq!(state.identity().unwrap(), Some(identity()));
        assert_eq!(mode(&state.identity_path()), 0o600);
        assert!(matches!(identity().trust(&state), Ok(Trust::Pinned(pins)) if pins.len() == 1));
    }

    #[test]
    fn nonsense_in_the_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(folder.path());
        std::fs::write(state.identity_path(), "{\"name\": \"../x\"}").unwrap();
        let error = state.identity().unwrap_err();
        assert!(
            error.to_string().ends_with("identity.json cannot be read"),
            "{error}"
        );
        let bad = Identity {
            pin: Some("sha256:x".to_owned()),
            ..identity()
        };
        assert!(matches!(bad.trust(&state), Err(IdentityError::Pin { .. })));
    }
}
