//! Files that are whole or absent, and secrets that are nobody else's to read.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use secrecy::{SecretSlice, SecretString};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::defaults;

/// Why a file could not be written or read.
#[derive(Debug, Error)]
pub enum FileError {
    /// The file must not exist yet, and does.
    #[error("{} exists already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused an operation on the file.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried: `read`, `write`, `create the folder`, …
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A folder, device or socket stands where a file is needed.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// A secret's file belongs to somebody else, who could put another secret there.
    #[error("{} holds a secret and belongs to the user {owner}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Its owner's number.
        owner: u32,
    },
    /// A secret's file can be read by the group or by everybody.
    #[error("{} holds a secret and has mode {mode:04o}: others can read it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is longer than it may be.
    #[error("{} is longer than {limit} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// The file is not UTF-8 text.
    #[error("{} is not UTF-8 text", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
}

impl FileError {
    /// One line that says what to do about it, where there is such a thing.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Exposed { path, .. } => Some(format!("chmod 600 {}", path.display())),
            Self::Foreign { path, .. } => Some(format!(
                "use a file of your own in place of {}",
                path.display()
            )),
            _ => None,
        }
    }

    /// Whether the file was simply not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Writes `bytes` to `path` so that, whatever happens, `path` holds either its old content or all
/// of the new one: a temporary file beside it, `fsync`, `rename`, `fsync` of the folder.
///
/// The file has exactly the permission bits `mode`, whatever the umask.
///
/// # Errors
///
/// [`FileError::Io`] names the step that failed; nothing is left behind then.
pub fn write_whole(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), FileError> {
    let staged = stage(path, mode, bytes)?;
    staged
        .persist(path)
        .map_err(|failed| FileError::io("write", path, failed.error))?;
    sync_folder(path)
}

/// Like [`write_whole`], but never replaces a file: for keys, which are made once.
///
/// # Errors
///
/// [`FileError::Exists`] when `path` is there already, which stays as it is; else as
/// [`write_whole`].
pub fn write_new(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), FileError> {
    let staged = stage(path, mode, bytes)?;
    staged
        .persist_noclobber(path)
        .map_err(|failed| match failed.error.kind() {
            io::ErrorKind::AlreadyExists => FileError::Exists {
                path: path.to_owned(),
            },
            _ => FileError::io("write", path, failed.error),
        })?;
    sync_folder(path)
}

/// Removes a file and makes its absence durable. A file that is not there is no error.
///
/// # Errors
///
/// [`FileError::Io`] when it is there and stays.
pub fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Ok(()) => sync_folder(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(FileError::io("remove", path, error)),
    }
}

/// Makes a folder (and its parents) that only its owner may enter; an existing one is left as it
/// is, since whoever made it may have chosen its mode.
///
/// # Errors
///
/// [`FileError::Io`] when it cannot be made, or something else has its name.
pub fn create_private_folder(path: &Path) -> Result<(), FileError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| FileError::io("create the folder", path, error))
}

/// Reads a whole file of at most `limit` bytes.
///
/// # Errors
///
/// [`FileError::NotAFile`], [`FileError::TooLong`] or [`FileError::Io`].
pub fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let (mut file, _) = open(path)?;
    let mut bytes = Vec::new();
    read_into(&mut file, path, limit, &mut bytes)?;
    Ok(bytes)
}

/// Reads a whole file of at most `limit` bytes that a program keeps for itself: it has put a regular file there, and
/// waits for nobody who might write into a pipe in its place.
///
/// # Errors
///
/// As [`read_limited`]; a pipe is [`FileError::NotAFile`] too.
pub fn read_kept(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let (mut file, _) = open_kept(path)?;
    let mut bytes = Vec::new();
    read_into(&mut file, path, limit, &mut bytes)?;
    Ok(bytes)
}

/// Reads a whole text file of at most `limit` bytes.
///
/// # Errors
///
/// As [`read_limited`], and [`FileError::NotText`].
pub fn read_text(path: &Path, limit: u64) -> Result<String, FileError> {
    String::from_utf8(read_limited(path, limit)?).map_err(|_| FileError::NotText {
        path: path.to_owned(),
    })
}

/// Reads a secret that is text, such as a token; white space around it is dropped.
///
/// # Errors
///
/// As [`read_secret_bytes`], and [`FileError::NotText`].
pub fn read_secret(path: &Path) -> Result<SecretString, FileError> {
    secret_text(&read_secret_raw(path)?, path)
}

/// Reads a secret of any bytes, such as a private key.
///
/// A pipe is read too (`--token-file <(pass show kedge)`). A file that its group or everybody can
/// read is refused, except under `$CREDENTIALS_DIRECTORY`: there systemd grants the service's user
/// access by an ACL, which shows as a group permission.
///
/// # Errors
///
/// [`FileError::Exposed`], [`FileError::TooLong`], [`FileError::NotAFile`] or [`FileError::Io`].
pub fn read_secret_bytes(path: &Path) -> Result<SecretSlice<u8>, FileError> {
    Ok(SecretSlice::from(read_secret_raw(path)?.to_vec()))
}

/// Reads a secret of at most `limit` bytes that decides as whom somebody acts: besides what
/// [`read_secret_bytes`] asks for, the file must belong to whoever runs this program, or to root.
/// A symbolic link is followed; the file it leads to is the one that is judged.
///
/// # Errors
///
/// As [`read_secret_bytes`], and [`FileError::Foreign`].
pub fn read_own_secret(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, FileError> {
    read_own(open(path)?, path, limit)
}

/// Reads a secret of at most `limit` bytes that a program keeps for itself.
///
/// # Errors
///
/// As [`read_own_secret`]; a pipe is [`FileError::NotAFile`] too, as for [`read_kept`].
pub fn read_kept_secret(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, FileError> {
    read_own(open_kept(path)?, path, limit)
}

fn read_own(
    (mut file, metadata): (File, fs::Metadata),
    path: &Path,
    limit: u64,
) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let owner = metadata.uid();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(FileError::Foreign {
            path: path.to_owned(),
            owner,
        });
    }
    refuse_exposed(path, &metadata)?;
    let mut bytes = room_for_secret(limit);
    read_into(&mut file, path, limit, &mut bytes)?;
    Ok(bytes)
}

/// Reads a secret that is text from standard input, up to its end. Who may read the file or pipe
/// behind it is for whoever opened it to know.
///
/// # Errors
///
/// [`FileError::TooLong`], [`FileError::NotText`] or [`FileError::Io`], about `standard input`.
pub fn read_secret_from_stdin() -> Result<SecretString, FileError> {
    let path = Path::new("standard input");
    let mut bytes = room_for_secret(defaults::SECRET_BYTES);
    read_into(
        &mut io::stdin().lock(),
        path,
        defaults::SECRET_BYTES,
        &mut bytes,
    )?;
    secret_text(&bytes, path)
}

fn read_secret_raw(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let (mut file, metadata) = open(path)?;
    refuse_exposed(path, &metadata)?;
    let mut bytes = room_for_secret(defaults::SECRET_BYTES);
    read_into(&mut file, path, defaults::SECRET_BYTES, &mut bytes)?;
    Ok(bytes)
}

fn refuse_exposed(path: &Path, metadata: &fs::Metadata) -> Result<(), FileError> {
    let mode = metadata.mode() & 0o7777;
    if metadata.is_file() && mode & 0o077 != 0 && !is_credential(path) {
        return Err(FileError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

/// Sized at once, so that no copy of the secret stays behind in a buffer that grew.
fn room_for_secret(limit: u64) -> Zeroizing<Vec<u8>> {
    let room = usize::try_from(limit).unwrap_or(usize::MAX);
    Zeroizing::new(Vec::with_capacity(room.saturating_add(1)))
}

fn secret_text(bytes: &[u8], path: &Path) -> Result<SecretString, FileError> {
    let text = std::str::from_utf8(bytes);
    let text = text.map_err(|_| FileError::NotText {
        path: path.to_owned(),
    })?;
    Ok(SecretString::from(text.trim().to_owned()))
}

fn is_credential(path: &Path) -> bool {
    std::env::var_os("CREDENTIALS_DIRECTORY")
        .is_some_and(|folder| !folder.is_empty() && path.starts_with(folder))
}

fn open(path: &Path) -> Result<(File, fs::Metadata), FileError> {
    let read = |error| FileError::io("read", path, error);
    let metadata = fs::metadata(path).map_err(read)?;
    let kind = metadata.file_type();
    if !kind.is_file() && !kind.is_fifo() {
        return Err(FileError::NotAFile {
            path: path.to_owned(),
        });
    }
    let file = OpenOptions::new().read(true).open(path).map_err(read)?;
    let metadata = file.metadata().map_err(read)?;
    Ok((file, metadata))
}

/// Looks before it opens, since to open a device may do something, and again afterwards, since another file may have
/// taken the place.
fn open_kept(path: &Path) -> Result<(File, fs::Metadata), FileError> {
    let read = |error| FileError::io("read", path, error);
    let regular = |metadata: fs::Metadata| match metadata.is_file() {
        true => Ok(metadata),
        false => Err(FileError::NotAFile {
            path: path.to_owned(),
        }),
    };
    regular(fs::metadata(path).map_err(read)?)?;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(NO_WAIT)
        .open(path)
        .map_err(read)?;
    let metadata = regular(file.metadata().map_err(read)?)?;
    Ok((file, metadata))
}

/// To open a pipe or a terminal like this neither waits for its other end nor changes whose it is.
const NO_WAIT: i32 = OFlags::NONBLOCK.union(OFlags::NOCTTY).bits().cast_signed();

fn read_into(
    file: &mut impl Read,
    path: &Path,
    limit: u64,
    bytes: &mut Vec<u8>,
) -> Result<(), FileError> {
    file.take(limit.saturating_add(1))
        .read_to_end(bytes)
        .map_err(|error| FileError::io("read", path, error))?;
    if bytes.len() as u64 > limit {
        return Err(FileError::TooLong {
            path: path.to_owned(),
            limit,
        });
    }
    Ok(())
}

fn stage(path: &Path, mode: u32, bytes: &[u8]) -> Result<tempfile::NamedTempFile, FileError> {
    let write = |error| FileError::io("write", path, error);
    let mut staged = tempfile::Builder::new()
        .prefix(".kedge-")
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(folder_of(path))
        .map_err(write)?;
    staged.write_all(bytes).map_err(write)?;
    staged
        .as_file()
        .set_permissions(Permissions::from_mode(mode))
        .map_err(write)?;
    staged.as_file().sync_all().map_err(write)?;
    Ok(staged)
}

fn sync_folder(path: &Path) -> Result<(), FileError> {
    let folder = folder_of(path);
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| FileError::io("sync the folder", folder, error))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

impl FileError {
    fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            operation,
            path: path.to_owned(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn a_whole_write_replaces_content_and_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write_whole(&path, 0o644, b"old").unwrap();
        write_whole(&path, 0o600, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "no temporary file stays"
        );
    }

    #[test]
    fn a_failed_write_leaves_the_old_content() {
        let folder = tempfile::tempdir().unwrap();
        // A folder that has the name of the file: rename fails after everything else worked.
        let path = folder.path().join("taken");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), b"x").unwrap();
        let error = write_whole(&path, 0o600, b"new").unwrap_err();
        assert!(error.to_string().starts_with("cannot write "), "{error}");
        assert_eq!(fs::read(path.join("inside")).unwrap(), b"x");
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "no temporary file stays"
        );
    }

    #[test]
    fn a_new_write_never_replaces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write_new(&path, 0o600, b"first").unwrap();
        assert!(matches!(
            write_new(&path, 0o600, b"second"),
            Err(FileError::Exists { .. })
        ));
        assert_eq!(fs::read(&path).unwrap(), b"first");
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        for mode in [0o640, 0o604, 0o620, 0o777] {
            write_whole(&path, mode, b"s3cret\n").unwrap();
            let error = read_secret(&path).unwrap_err();
            assert!(
                matches!(error, FileError::Exposed { .. }),
                "{mode:o}: {error}"
            );
            assert!(error.hint().unwrap().starts_with("chmod 600 "));
        }
        write_whole(&path, 0o400, b" s3cret\n").unwrap();
        assert_eq!(read_secret(&path).unwrap().expose_secret(), "s3cret");
    }

    #[test]
    fn a_secret_of_somebody_else_is_refused_also_behind_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("token"), folder.path().join("link"));
        write_whole(&path, 0o600, b"s3cret").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(*read_own_secret(&link, 6).unwrap(), b"s3cret");
        assert!(matches!(
            read_own_secret(&link, 5),
            Err(FileError::TooLong { .. })
        ));
        // Only root can give a file away; the others have none that is not theirs or root's.
        if std::os::unix::fs::chown(&path, Some(12345), None).is_ok() {
            let error = read_own_secret(&link, 6).unwrap_err();
            assert!(
                matches!(error, FileError::Foreign { owner: 12345, .. }),
                "{error}"
            );
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn a_secret_has_a_greatest_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let bytes = vec![b'x'; usize::try_from(defaults::SECRET_BYTES).unwrap()];
        write_whole(&path, 0o600, &bytes).unwrap();
        assert!(read_secret(&path).is_ok());
        write_whole(&path, 0o600, &[bytes, vec![b'x']].concat()).unwrap();
        assert!(matches!(read_secret(&path), Err(FileError::TooLong { .. })));
    }

    #[test]
    fn devices_and_folders_are_not_files() {
        for path in ["/dev/zero", "/"] {
            let error = read_limited(Path::new(path), 10).unwrap_err();
            assert!(
                matches!(error, FileError::NotAFile { .. }),
                "{path}: {error}"
            );
        }
    }

    #[test]
    fn what_a_program_keeps_is_a_regular_file() {
        use rustix::fs::{CWD, Mode, mkfifoat};

        let folder = tempfile::tempdir().unwrap();
        let (path, pipe) = (folder.path().join("kept"), folder.path().join("pipe"));
        write_whole(&path, 0o600, b"s3cret").unwrap();
        assert_eq!(read_kept(&path, 6).unwrap(), b"s3cret");
        assert_eq!(*read_kept_secret(&path, 6).unwrap(), b"s3cret");
        mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        // Nobody ever writes into the pipe: whoever opened it as a file would wait for ever.
        for path in [&*pipe, &*link, folder.path(), Path::new("/dev/zero")] {
            for error in [
                read_kept(path, 6).unwrap_err(),
                read_kept_secret(path, 6).unwrap_err(),
            ] {
                let path = path.display();
                assert!(
                    matches!(error, FileError::NotAFile { .. }),
                    "{path}: {error}"
                );
            }
        }
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(NO_WAIT)
            .open(&pipe);
        assert!(
            opened.is_ok(),
            "a pipe that came meanwhile does not hold it up"
        );
    }

    #[test]
    fn a_secret_never_shows_in_debug_output() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        write_whole(&path, 0o600, b"s3cret").unwrap();
        assert!(!format!("{:?}", read_secret(&path).unwrap()).contains("s3cret"));
        assert!(!format!("{:?}", read_secret_bytes(&path).unwrap()).contains("115"));
    }
}
