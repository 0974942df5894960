//! `credentials.json`: whole or as it was, private, and with room for the next one.

use std::fs;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use kedge_service::files::{self, FileError};
use rustix::fs::FallocateFlags;
use secrecy::SecretString;
use tempfile::NamedTempFile;
use thiserror::Error;
use zeroize::Zeroizing;

use super::stored::{StaticToken, Stored};
use crate::defaults;

/// Where one hub's login is kept.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

/// Why a stored login cannot be had.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not what this program writes.
    #[error("{} does not hold a login that this version understands", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, without what the file holds.
        cause: serde_json::error::Category,
    },
}

/// Room on the disk for a login that is about to be asked for.
#[derive(Debug)]
pub struct Room {
    staged: NamedTempFile,
}

impl Store {
    /// The files of a login in a hub's folder.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// The file with the login.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder.join("credentials.json")
    }

    /// The file that is locked.
    #[must_use]
    pub fn lock_file(&self) -> PathBuf {
        self.folder.join("credentials.lock")
    }

    /// The stored login.
    ///
    /// # Errors
    ///
    /// [`StoreError`], also when others could read the file; `None` when there is none.
    pub fn load(&self) -> Result<Option<Stored>, StoreError> {
        let path = self.file();
        match files::read_kept_secret(&path, defaults::CREDENTIALS_BYTES) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(stored) => Ok(Some(stored)),
                Err(error) => Err(StoreError::Format {
                    path,
                    cause: error.classify(),
                }),
            },
            Err(error) if error.is_not_found() => self.load_older(),
            Err(error) => Err(error.into()),
        }
    }

    /// The bare token that versions before this one kept.
    fn load_older(&self) -> Result<Option<Stored>, StoreError> {
        match files::read_kept_secret(&self.older_file(), defaults::CREDENTIALS_BYTES) {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                let token = SecretString::from(text.trim());
                Ok(Some(Stored::Static(StaticToken { token })))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes room for a login before it is asked for: an issuer that rotates refresh tokens takes the
    /// old one back at once, and a full disk must not lose the new one. To be called under the lock.
    ///
    /// # Errors
    ///
    /// [`FileError`], when there is no room.
    pub fn reserve(&self) -> Result<Room, FileError> {
        files::create_private_folder(&self.folder)?;
        self.sweep();
        let fail = |source| FileError::Io {
            operation: "make room for",
            path: self.file(),
            source,
        };
        let mut staged = tempfile::Builder::new()
            .prefix(STAGED)
            .permissions(fs::Permissions::from_mode(defaults::PRIVATE_FILE))
            .tempfile_in(&self.folder)
            .map_err(fail)?;
        let there = fs::metadata(self.file()).map_or(0, |metadata| metadata.len());
        let room = defaults::ROOM_BYTES.max(there.saturating_mul(2));
        allocate(staged.as_file_mut(), room).map_err(fail)?;
        Ok(Room { staged })
    }

    /// Stores a login in the room made for it. Whatever happens, the file holds the old login or the
    /// new one.
    ///
    /// # Errors
    ///
    /// [`FileError`]; the old login is still there then.
    pub fn save(&self, room: Room, stored: &Stored) -> Result<(), FileError> {
        let path = self.file();
        let fail = |source| FileError::Io {
            operation: "write",
            path: path.clone(),
            source,
        };
        let bytes = encode(stored).map_err(fail)?;
        let Room { mut staged } = room;
        let file = staged.as_file_mut();
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        file.seek(SeekFrom::Start(0))
            .and_then(|_| file.write_all(&bytes))
            .and_then(|()| file.set_len(length))
            .and_then(|()| file.sync_all())
            .map_err(fail)?;
        staged.persist(&path).map_err(|failed| fail(failed.error))?;
        fs::File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(fail)?;
        files::remove(&self.older_file())
    }

    /// Removes every trace of the login; says whether there was one. To be called under the lock, whose
    /// file goes too.
    ///
    /// # Errors
    ///
    /// [`FileError`] when something stays.
    pub fn forget(&self) -> Result<bool, FileError> {
        let had = self.file().exists() || self.older_file().exists();
        files::remove(&self.file())?;
        files::remove(&self.older_file())?;
        self.sweep();
        files::remove(&self.lock_file())?;
        Ok(had)
    }

    fn older_file(&self) -> PathBuf {
        self.folder.join("token")
    }

    /// Removes what a process that was killed left half-written.
    fn sweep(&self) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| name.starts_with(STAGED)) {
                // What cannot be removed now is met again the next time.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// The file's text, in a buffer that is wiped and never grows.
fn encode(stored: &Stored) -> io::Result<Zeroizing<Vec<u8>>> {
    let limit = usize::try_from(defaults::CREDENTIALS_BYTES).unwrap_or(usize::MAX);
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit.saturating_add(1)));
    let text = serde_json::to_vec(stored).map(Zeroizing::new)?;
    if text.len() >= limit {
        return Err(io::Error::other("the login is longer than any should be"));
    }
    bytes.extend_from_slice(&text);
    bytes.push(b'\n');
    Ok(bytes)
}

/// Has the file system set bytes aside; where it cannot, they are written.
fn allocate(file: &mut fs::File, length: u64) -> io::Result<()> {
    match rustix::fs::fallocate(&*file, FallocateFlags::empty(), 0, length) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
            let zeros = vec![0; usize::try_from(length).unwrap_or(0)];
            file.write_all(&zeros)?;
            file.sync_all()
        }
        Err(error) => Err(error.into()),
    }
}

/// What the names of half-written files begin with.
const STAGED: &str = ".credentials-";

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn fixed(token: &str) -> Stored {
        Stored::Static(StaticToken {
            token: SecretString::from(token),
        })
    }

    fn token(store: &Store) -> Option<String> {
        match store.load().unwrap()? {
            Stored::Static(stored) => Some(stored.token.expose_secret().to_owned()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_login_is_private_whole_and_goes_away() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(&folder.path().join("hubs/main"));
        assert!(store.load().unwrap().is_none());
        store
            .save(store.reserve().unwrap(), &fixed("kpt_a"))
            .unwrap();
        assert_eq!(token(&store).as_deref(), Some("kpt_a"));
        let metadata = fs::metadata(store.file()).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        assert!(metadata.len() < 100, "the room is given back");
        fs::set_permissions(store.file(), PermissionsExt::from_mode(0o640)).unwrap();
        assert!(matches!(
            store.load(),
            Err(StoreError::File(FileError::Exposed { .. }))
        ));
        assert!(store.forget().unwrap());
        assert!(!store.forget().unwrap());
        assert_eq!(
            fs::read_dir(folder.path().join("hubs/main"))
                .unwrap()
                .count(),
            0
        );
    }

    #[test]
    fn the_token_file_of_older_versions_is_read_until_the_next_login() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        files::write_whole(&folder.path().join("token"), 0o600, b"kpt_old\n").unwrap();
        assert_eq!(token(&store).as_deref(), Some("kpt_old"));
        store
            .save(store.reserve().unwrap(), &fixed("kpt_new"))
            .unwrap();
        assert_eq!(token(&store).as_deref(), Some("kpt_new"));
        assert!(!folder.path().join("token").exists());
    }

    #[test]
    fn what_a_killed_process_left_is_swept_and_the_login_stays() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        store
            .save(store.reserve().unwrap(), &fixed("kpt_a"))
            .unwrap();
        let room = store.reserve().unwrap();
        // As after kill -9: nobody removes it.
        let left = room.staged.into_temp_path().keep().unwrap();
        assert_eq!(token(&store).as_deref(), Some("kpt_a"));
        drop(store.reserve().unwrap());
        assert!(!left.exists());
        assert!(store.forget().unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_login_is_refused_without_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        for text in [
            "",
            "{",
            "{\"kind\":\"kerberos\",\"ticket\":\"s3cret\"}",
            "[]",
        ] {
            files::write_whole(&store.file(), 0o600, text.as_bytes()).unwrap();
            let error = store.load().unwrap_err();
            assert!(matches!(error, StoreError::Format { .. }), "{error}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
}
