//! Listening sockets: bound here or handed over by the service manager, and an accept loop that
//! neither spins without descriptors nor takes more connections than it may.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, sockopt};
use socket2::{Domain, Socket, Type};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::defaults;

/// Why there is no listening socket.
#[derive(Debug, Error)]
pub enum ListenError {
    /// The address cannot be bound.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The service manager's variables cannot be read.
    #[error("cannot take the sockets of the service manager")]
    Handover(#[source] io::Error),
    /// The socket handed over under a name is not what that name needs.
    #[error("the socket `{}` of the service manager is no {expected}", name.escape_debug())]
    Unfit {
        /// `FileDescriptorName=` of the socket.
        name: String,
        /// What was needed.
        expected: &'static str,
    },
    /// Sockets were handed over that nobody here knows.
    #[error("the service manager handed over the socket `{}`, which is not one of: {known}", name.escape_debug())]
    UnknownName {
        /// `FileDescriptorName=` of the socket.
        name: String,
        /// The names this daemon has.
        known: String,
    },
}

/// A listening socket as it was handed over.
#[derive(Debug)]
#[non_exhaustive]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix stream socket.
    Unix(UnixListener),
}

/// The sockets of the service manager by their `FileDescriptorName=`.
///
/// Take what you know, then call [`Activated::finish`], which refuses what is left.
#[derive(Debug, Default)]
pub struct Activated {
    sockets: BTreeMap<String, Vec<OwnedFd>>,
    asked: Vec<&'static str>,
}

impl Activated {
    /// Takes over the descriptors that `LISTEN_FDS` announces; none when it announces none.
    ///
    /// Call it once, before anything else opens descriptors.
    ///
    /// # Errors
    ///
    /// [`ListenError::Handover`] when the variables contradict themselves or a descriptor is not
    /// open.
    pub fn from_environment() -> Result<Self, ListenError> {
        let announced = sd_notify::listen_fds_with_names().map_err(ListenError::Handover)?;
        #[expect(
            unsafe_code,
            reason = "the service manager opened these descriptors for this process and nobody \
                      else here knows them; each was just marked close-on-exec, so it is open"
        )]
        let owned = announced.map(|(fd, name)| (unsafe { OwnedFd::from_raw_fd(fd) }, name));
        Ok(Self::from_descriptors(owned))
    }

    /// Takes descriptors and their names from elsewhere.
    pub fn from_descriptors(descriptors: impl IntoIterator<Item = (OwnedFd, String)>) -> Self {
        let mut sockets = BTreeMap::<String, Vec<OwnedFd>>::new();
        for (fd, name) in descriptors {
            sockets.entry(name).or_default().push(fd);
        }
        Self {
            sockets,
            asked: Vec::new(),
        }
    }

    /// The TCP listeners named `name`, empty when there are none: then bind one yourself.
    ///
    /// # Errors
    ///
    /// [`ListenError::Unfit`] when one of them is something else.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn tcp(&mut self, name: &'static str) -> Result<Vec<TcpListener>, ListenError> {
        let expected = "listening TCP socket";
        self.take(name, expected)?
            .into_iter()
            .map(|listener| match listener {
                Listener::Tcp(listener) => Ok(listener),
                Listener::Unix(_) => Err(ListenError::Unfit {
                    name: name.to_owned(),
                    expected,
                }),
            })
            .collect()
    }

    /// The Unix stream listeners named `name`.
    ///
    /// # Errors
    ///
    /// [`ListenError::Unfit`] when one of them is something else.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn unix(&mut self, name: &'static str) -> Result<Vec<UnixListener>, ListenError> {
        let expected = "listening Unix stream socket";
        self.take(name, expected)?
            .into_iter()
            .map(|listener| match listener {
                Listener::Unix(listener) => Ok(listener),
                Listener::Tcp(_) => Err(ListenError::Unfit {
                    name: name.to_owned(),
                    expected,
                }),
            })
            .collect()
    }

    /// Refuses sockets that nobody asked for: a name with a typing error would otherwise listen
    /// for ever with nobody behind it.
    ///
    /// # Errors
    ///
    /// [`ListenError::UnknownName`].
    pub fn finish(self) -> Result<(), ListenError> {
        match self.sockets.into_keys().next() {
            None => Ok(()),
            Some(name) => Err(ListenError::UnknownName {
                name,
                known: self.asked.join(", "),
            }),
        }
    }

    fn take(
        &mut self,
        name: &'static str,
        expected: &'static str,
    ) -> Result<Vec<Listener>, ListenError> {
        self.asked.push(name);
        let unfit = || ListenError::Unfit {
            name: name.to_owned(),
            expected,
        };
        let descriptors = self.sockets.remove(name).unwrap_or_default();
        descriptors
            .into_iter()
            .map(|fd| adopt(fd).ok_or_else(unfit))
            .collect()
    }
}

/// Looks at a foreign descriptor before it is believed to be a listening stream socket.
fn adopt(fd: OwnedFd) -> Option<Listener> {
    if sockopt::socket_type(&fd).ok()? != SocketType::STREAM
        || !sockopt::socket_acceptconn(&fd).ok()?
    {
        return None;
    }
    let family = sockopt::socket_domain(&fd).ok()?;
    let socket = Socket::from(fd);
    socket.set_nonblocking(true).ok()?;
    if family == AddressFamily::UNIX {
        UnixListener::from_std(socket.into())
            .ok()
            .map(Listener::Unix)
    } else if family == AddressFamily::INET || family == AddressFamily::INET6 {
        TcpListener::from_std(socket.into()).ok().map(Listener::Tcp)
    } else {
        None
    }
}

/// Binds a TCP listener with `SO_REUSEADDR` and a long backlog.
///
/// # Errors
///
/// [`ListenError::Bind`] with the address.
///
/// # Panics
///
/// Outside a tokio runtime.
pub fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let listen = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(defaults::LISTEN_BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    listen().map_err(|source| ListenError::Bind { address, source })
}

/// A socket that an [`Acceptor`] accepts from.
pub trait Listening {
    /// A connection.
    type Stream;
    /// Who called.
    type Peer;

    /// The next connection.
    ///
    /// # Cancel safety
    ///
    /// Safe: no accepted connection is lost.
    ///
    /// # Errors
    ///
    /// As `accept(2)`.
    fn next(&self) -> impl Future<Output = io::Result<(Self::Stream, Self::Peer)>> + Send;
}

impl Listening for TcpListener {
    type Stream = TcpStream;
    type Peer = SocketAddr;

    async fn next(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.accept().await
    }
}

/// The process at the other end of a Unix socket, as the kernel saw it when it connected
/// (`SO_PEERCRED`, `unix(7)`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Caller {
    /// Its effective user.
    pub user: u32,
    /// Its number, where the kernel says it.
    pub process: Option<i32>,
}

impl Listening for UnixListener {
    type Stream = UnixStream;
    type Peer = Caller;

    async fn next(&self) -> io::Result<(UnixStream, Caller)> {
        let (stream, _) = self.accept().await?;
        // Whoever cannot be named is as good as gone; the listener is well.
        let credentials = stream
            .peer_cred()
            .map_err(|_| io::Error::from(io::ErrorKind::ConnectionAborted))?;
        let caller = Caller {
            user: credentials.uid(),
            process: credentials.pid(),
        };
        Ok((stream, caller))
    }
}

/// Accepts connections one after another, at most so many at once.
///
/// A connection counts until its [`Accepted::permit`] is dropped. When all permits are out, callers
/// wait in the kernel's backlog: that is the backpressure.
pub struct Acceptor<L = TcpListener> {
    listener: L,
    permits: Arc<Semaphore>,
    backoff: Duration,
}

/// A connection and its place among those allowed.
#[derive(Debug)]
pub struct Accepted<S = TcpStream, P = SocketAddr> {
    /// The connection.
    pub stream: S,
    /// Who called.
    pub peer: P,
    /// Keep it as long as the connection lives.
    pub permit: OwnedSemaphorePermit,
}

impl<L: Listening> Acceptor<L> {
    /// Accepts from `listener`, at most `limit` connections at once.
    #[must_use]
    pub fn new(listener: L, limit: usize) -> Self {
        Self::sharing(listener, Arc::new(Semaphore::new(limit)))
    }

    /// Accepts from `listener` under a limit that several listeners share.
    #[must_use]
    pub fn sharing(listener: L, permits: Arc<Semaphore>) -> Self {
        Self {
            listener,
            permits,
            backoff: defaults::ACCEPT_BACKOFF_FIRST,
        }
    }

    /// The next connection. Failures are logged and retried, with growing pauses when descriptors
    /// or memory are short.
    ///
    /// # Cancel safety
    ///
    /// Safe: no accepted connection is lost.
    pub async fn accept(&mut self) -> Accepted<L::Stream, L::Peer> {
        loop {
            let permit = Arc::clone(&self.permits).acquire_owned().await;
            let Ok(permit) = permit else {
                // The semaphore is never closed by anybody here; a closed one admits nobody.
                std::future::pending::<()>().await;
                continue;
            };
            match self.listener.next().await {
                Ok((stream, peer)) => {
                    self.backoff = defaults::ACCEPT_BACKOFF_FIRST;
                    return Accepted {
                        stream,
                        peer,
                        permit,
                    };
                }
                Err(error) if is_of_one_connection(&error) => {
                    tracing::debug!(%error, "a connection ended before it was accepted");
                }
                Err(error) => {
                    tracing::warn!(%error, pause = ?self.backoff, "cannot accept connections");
                    drop(permit);
                    tokio::time::sleep(self.backoff).await;
                    self.backoff = (self.backoff * 2).min(defaults::ACCEPT_BACKOFF_LIMIT);
                }
            }
        }
    }
}

impl Acceptor {
    /// The bound address.
    ///
    /// # Errors
    ///
    /// When the operating system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl<L: fmt::Debug> fmt::Debug for Acceptor<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor")
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

/// Errors of the connection that was about to be accepted (`accept(2)`), not of the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener as StdListener, UdpSocket};
    use std::os::unix::net::UnixListener as StdUnixListener;

    fn loopback() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[tokio::test]
    async fn an_address_in_use_is_named() {
        let first = bind(loopback()).unwrap();
        let address = first.local_addr().unwrap();
        let error = bind(address).unwrap_err();
        assert_eq!(
            crate::report::chain(&error),
            format!("cannot listen on {address}: Address already in use (os error 98)")
        );
    }

    #[tokio::test]
    async fn sockets_are_taken_by_name_and_checked() {
        let folder = tempfile::tempdir().unwrap();
        let tcp: OwnedFd = StdListener::bind(loopback()).unwrap().into();
        let unix: OwnedFd = StdUnixListener::bind(folder.path().join("control"))
            .unwrap()
            .into();
        let mut activated =
            Activated::from_descriptors([(tcp, "https".to_owned()), (unix, "control".to_owned())]);
        assert_eq!(activated.tcp("https").unwrap().len(), 1);
        assert_eq!(activated.unix("control").unwrap().len(), 1);
        assert_eq!(activated.tcp("admin").unwrap().len(), 0);
        activated.finish().unwrap();
    }

    #[tokio::test]
    async fn a_socket_of_the_wrong_kind_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let udp: OwnedFd = UdpSocket::bind(loopback()).unwrap().into();
        let file: OwnedFd = tempfile::tempfile().unwrap().into();
        let unix: OwnedFd = StdUnixListener::bind(folder.path().join("s"))
            .unwrap()
            .into();
        let listening = StdListener::bind(loopback()).unwrap();
        let connected: OwnedFd = std::net::TcpStream::connect(listening.local_addr().unwrap())
            .unwrap()
            .into();
        for fd in [udp, file, unix, connected] {
            let mut activated = Activated::from_descriptors([(fd, "https".to_owned())]);
            let error = activated.tcp("https").unwrap_err();
            assert!(matches!(error, ListenError::Unfit { .. }), "{error}");
        }
    }

    #[tokio::test]
    async fn a_socket_nobody_knows_is_refused() {
        let tcp: OwnedFd = StdListener::bind(loopback()).unwrap().into();
        let mut activated = Activated::from_descriptors([(tcp, "htps".to_owned())]);
        assert!(activated.tcp("https").unwrap().is_empty());
        assert!(activated.tcp("admin").unwrap().is_empty());
        assert_eq!(
            activated.finish().unwrap_err().to_string(),
            "the service manager handed over the socket `htps`, which is not one of: https, admin"
        );
    }

    #[tokio::test]
    async fn no_more_connections_than_allowed() {
        let listener = bind(loopback()).unwrap();
        let address = listener.local_addr().unwrap();
        let mut acceptor = Acceptor::new(listener, 1);
        let _one = TcpStream::connect(address).await.unwrap();
        let _two = TcpStream::connect(address).await.unwrap();
        let first = acceptor.accept().await;
        {
            let mut second = std::pin::pin!(acceptor.accept());
            tokio::select! {
                biased;
                _ = &mut second => panic!("a second connection was accepted"),
                () = tokio::task::yield_now() => {}
            }
        }
        drop(first);
        acceptor.accept().await;
    }

    /// Uses up this process's descriptors, which is why it has a process to itself.
    #[tokio::test]
    #[ignore = "started by a_lack_of_descriptors_makes_accept_wait_and_not_spin"]
    async fn starving() {
        let limit = rustix::process::Rlimit {
            current: Some(64),
            maximum: Some(64),
        };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
        let listener = bind(loopback()).unwrap();
        let address = listener.local_addr().unwrap();
        let mut acceptor = Acceptor::new(listener, 8);
        let _caller = TcpStream::connect(address).await.unwrap();
        let mut hoard = Vec::new();
        while let Ok(socket) = UdpSocket::bind(loopback()) {
            hoard.push(socket);
        }
        // From here the clock runs only when nothing else does: a spinning loop would hold it.
        tokio::time::pause();
        let begun = tokio::time::Instant::now();
        let starved = tokio::time::timeout(Duration::from_secs(10), acceptor.accept()).await;
        assert!(starved.is_err() && begun.elapsed() >= Duration::from_secs(10));
        assert_eq!(acceptor.backoff, defaults::ACCEPT_BACKOFF_LIMIT);
        assert_eq!(
            acceptor.permits.available_permits(),
            8,
            "a failure holds no place"
        );
        hoard.clear();
        acceptor.accept().await;
        assert_eq!(acceptor.backoff, defaults::ACCEPT_BACKOFF_FIRST);
    }

    #[test]
    fn a_lack_of_descriptors_makes_accept_wait_and_not_spin() {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--ignored",
                "--exact",
                "listen::tests::starving",
                "--test-threads=1",
            ])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}"
        );
    }
}
