//! A Unix socket of one's own: nobody else's is taken away, and what a dead daemon left behind is in nobody's way.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use socket2::{Domain, SockAddr, Socket, Type};
use thiserror::Error;
use tokio::net::UnixListener;

use crate::defaults;

/// Why there is no socket.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// Its folder is not there, or cannot be used.
    #[error("cannot use the folder {}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Somebody listens there.
    #[error("{} belongs to a daemon that runs", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// The operating system refuses the socket.
    #[error("cannot listen on {}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
    /// Something else has its name.
    #[error("{} is there and is no socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
}

/// The file of a socket that this process made. Dropping it removes the file, unless it is another's by now.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Held so that no newer file gets this one's number.
    held: OwnedFd,
}

/// Listens at `path`, with mode 0600. A socket there that nobody listens on is replaced.
///
/// # Errors
///
/// [`ClaimError`]; what was there stays then.
///
/// # Panics
///
/// Outside a tokio runtime.
pub fn claim(path: &Path) -> Result<(UnixListener, SocketFile), ClaimError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let unusable = |source| ClaimError::Folder {
        folder: folder.to_owned(),
        source,
    };
    // Of two daemons that find a dead one's socket, the second must not take away what the first has made since.
    let lock = File::open(folder).map_err(unusable)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            return Err(ClaimError::InUse {
                path: path.to_owned(),
            });
        }
        Err(error) => return Err(unusable(error.into())),
    }
    let failed = |source| ClaimError::Io {
        path: path.to_owned(),
        source,
    };
    let address = SockAddr::unix(path).map_err(failed)?;
    make_way(path, &address)?;
    let listen = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address)?;
        // Until it listens nobody can connect, whatever mode the umask has left it.
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = rustix::fs::open(path, flags, Mode::empty())?;
        socket.listen(defaults::CONTROL_BACKLOG)?;
        let file = SocketFile {
            path: path.to_owned(),
            held,
        };
        Ok((UnixListener::from_std(socket.into())?, file))
    };
    listen().map_err(failed)
}

/// Removes what a dead daemon has left.
fn make_way(path: &Path, address: &SockAddr) -> Result<(), ClaimError> {
    let failed = |source| ClaimError::Io {
        path: path.to_owned(),
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(ClaimError::NotASocket {
                path: path.to_owned(),
            });
        }
        Ok(_) => {}
    }
    // Without waiting: a daemon that is stuck has a full backlog, and is no dead one.
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
    probe.set_nonblocking(true).map_err(failed)?;
    match probe.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(failed(error)),
        _ => Err(ClaimError::InUse {
            path: path.to_owned(),
        }),
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let (there, held) = (
            fs::symlink_metadata(&self.path),
            rustix::fs::fstat(&self.held),
        );
        let (Ok(there), Ok(held)) = (there, held) else {
            return;
        };
        if (there.dev(), there.ino()) == (held.st_dev, held.st_ino) {
            // What stays behind is replaced by whoever comes next.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[tokio::test]
    async fn a_socket_is_its_users_alone_and_goes_with_its_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let (listener, file) = claim(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        UnixStream::connect(&path).unwrap();
        listener.accept().await.unwrap();
        drop(file);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_dead_daemons_socket_is_replaced_and_a_living_ones_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let (listener, file) = claim(&path).unwrap();
        let error = claim(&path).unwrap_err();
        assert!(matches!(error, ClaimError::InUse { .. }), "{error}");
        UnixStream::connect(&path).unwrap();
        // A daemon that is stuck lives.
        while let Ok(stream) = {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
                .connect(&SockAddr::unix(&path).unwrap())
                .map(|()| socket)
        } {
            std::mem::forget(stream);
        }
        let error = claim(&path).unwrap_err();
        assert!(matches!(error, ClaimError::InUse { .. }), "{error}");
        drop(listener);
        let (_listener, _newer) = claim(&path).unwrap();
        // The dead one's last act does not take the newer one's away.
        drop(file);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn nothing_that_is_no_socket_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        fs::write(&path, "precious").unwrap();
        let error = claim(&path).unwrap_err();
        assert!(matches!(error, ClaimError::NotASocket { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        // Nor is what a link leads to.
        let link = folder.path().join("link.sock");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(claim(&link).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_and_a_path_that_is_too_long_are_reasons() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("none/control.sock");
        let error = claim(&missing).unwrap_err();
        assert!(matches!(error, ClaimError::Folder { .. }), "{error}");
        let long = folder.path().join("x".repeat(200));
        let error = claim(&long).unwrap_err();
        assert!(matches!(error, ClaimError::Io { .. }), "{error}");
    }
}
