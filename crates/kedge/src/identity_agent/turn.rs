//! Whose turn it is to listen: of the sessions that share a path, one at a time.
//!
//! ```text
//!  FOLDER/%C            the socket of whoever listens
//!  FOLDER/%C.turn       locked by it: the system gives the lock back however the process ends
//!  FOLDER/%C.all        locked by all of them, shared: who gets it alone is the last, and tidies up
//! ```
//!
//! A socket is made beside its path and then renamed, so that the path is never without one while sessions change
//! turns. A lock counts only while its file is still the one of that name: the last session removes it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tokio::net::UnixListener;
use tokio::sync::oneshot;

use super::OfferError;
use super::path::SocketPath;

/// A session among those that share a path.
#[derive(Debug)]
pub(super) struct Queue {
    socket: SocketPath,
    /// Held for as long as the session lives.
    all: Option<File>,
}

/// The right to listen.
#[derive(Debug)]
pub(super) struct Turn {
    // Given back when it is dropped, by closing the file.
    _lock: File,
}

impl Queue {
    /// Joins those who share the path.
    pub(super) fn enter(socket: &SocketPath) -> Result<Self, OfferError> {
        let path = socket.beside("all");
        let all = locked(&path, FlockOperation::LockShared).map_err(failed("lock", &path))?;
        Ok(Self {
            socket: socket.clone(),
            all,
        })
    }

    /// The turn, if nobody has it.
    pub(super) fn try_turn(&mut self) -> Result<Option<Turn>, OfferError> {
        let path = self.socket.beside("turn");
        let lock = locked(&path, FlockOperation::NonBlockingLockExclusive);
        let lock = lock.map_err(failed("lock", &path))?;
        Ok(lock.map(|lock| Turn { _lock: lock }))
    }

    /// Waits for it.
    pub(super) async fn turn(&mut self) -> Result<Turn, OfferError> {
        let path = self.socket.beside("turn");
        let (answer, answered) = oneshot::channel();
        let waited_for = path.clone();
        // A thread that nobody waits for: it may sit there until the process ends, and a lock that comes then goes
        // with it.
        std::thread::Builder::new()
            .name("agent-turn".to_owned())
            .spawn(move || drop(answer.send(locked(&waited_for, FlockOperation::LockExclusive))))
            .map_err(failed("wait for", &path))?;
        let lock = match answered.await {
            Ok(Ok(Some(lock))) => lock,
            Ok(Ok(None)) | Err(_) => {
                let lost = io::Error::from(io::ErrorKind::WouldBlock);
                return Err(failed("lock", &path)(lost));
            }
            Ok(Err(error)) => return Err(failed("lock", &path)(error)),
        };
        Ok(Turn { _lock: lock })
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let Some(all) = self.all.take() else { return };
        // The last one has it alone. Whoever comes meanwhile waits, finds its file gone, and begins with new ones.
        if flock(&all, FlockOperation::NonBlockingLockExclusive).is_err() {
            return;
        }
        for path in [
            self.socket.path(),
            self.socket.beside("turn"),
            self.socket.beside("all"),
        ] {
            // What stays is in the way of nobody.
            let _ = fs::remove_file(path);
        }
    }
}

impl Turn {
    /// Listens at the path, in place of whoever did.
    pub(super) fn bind(&self, socket: &SocketPath) -> Result<UnixListener, OfferError> {
        let (path, new) = (socket.path(), socket.beside("new"));
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &new)(error));
            }
            _ => {}
        }
        let listener = UnixListener::bind(&new).map_err(failed("make", &new))?;
        fs::rename(&new, &path).map_err(failed("name", &path))?;
        Ok(listener)
    }
}

/// The file, locked; none when somebody else has it and the operation does not wait.
fn locked(path: &Path, operation: FlockOperation) -> io::Result<Option<File>> {
    loop {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)?;
        match flock(&file, operation) {
            Ok(()) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let held = file.metadata()?;
        match fs::metadata(path) {
            Ok(named) if (named.dev(), named.ino()) == (held.dev(), held.ino()) => {
                return Ok(Some(file));
            }
            // The last session took it away while we waited.
            _ => {}
        }
    }
}

fn failed(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> OfferError {
    let path: PathBuf = path.to_owned();
    move |source| OfferError::Io {
        operation,
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::super::path::Destination;
    use super::*;

    fn socket(folder: &Path) -> SocketPath {
        let web = Destination {
            host: "web01.kedge",
            port: 22,
            login: "alice",
        };
        let socket = SocketPath::new(folder, web);
        socket.prepare().unwrap();
        socket
    }

    fn left(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[tokio::test]
    async fn the_path_lives_as_long_as_any_session_does() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("agent");
        let socket = socket(&folder);
        let mut first = Queue::enter(&socket).unwrap();
        let mut second = Queue::enter(&socket).unwrap();
        let turn = first.try_turn().unwrap().unwrap();
        let listener = turn.bind(&socket).unwrap();
        assert!(second.try_turn().unwrap().is_none(), "one at a time");
        UnixStream::connect(socket.path()).unwrap();
        drop((listener, turn, first));
        // It is the second one's turn now, whatever became of the first.
        let turn = second.turn().await.unwrap();
        let listener = turn.bind(&socket).unwrap();
        UnixStream::connect(socket.path()).unwrap();
        drop((listener, turn));
        assert!(left(&folder) > 0);
        drop(second);
        assert_eq!(left(&folder), 0, "the last one tidies up");
    }

    #[tokio::test]
    async fn what_a_killed_session_left_is_in_nobodys_way() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("agent");
        let socket = socket(&folder);
        for path in [socket.path(), socket.beside("new")] {
            drop(std::os::unix::net::UnixListener::bind(path).unwrap());
        }
        fs::write(socket.beside("turn"), "").unwrap();
        fs::write(socket.beside("all"), "").unwrap();
        let mut queue = Queue::enter(&socket).unwrap();
        let turn = queue.try_turn().unwrap().unwrap();
        let _listener = turn.bind(&socket).unwrap();
        UnixStream::connect(socket.path()).unwrap();
        drop(queue);
        assert_eq!(left(&folder), 0);
    }

    #[test]
    fn sessions_that_come_and_go_at_once_lose_nobody() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("agent");
        let socket = socket(&folder);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let queue = Queue::enter(&socket).unwrap();
                        assert!(queue.all.is_some());
                        // While anybody is there, so are the files.
                        assert!(socket.beside("all").exists());
                        drop(queue);
                    }
                });
            }
        });
        assert_eq!(left(&folder), 0);
    }
}
