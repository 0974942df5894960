//! Connections that change threads.
//!
//! ```text
//!  accepted ─▶ shard with the fewest: TLS, request, 101 ─▶ an agent: stays there for good
//!                                                      └─▶ a person: first session granted ─▶ the shard of its agent
//! ```
//!
//! A relay moves bytes from one link to another without waking a thread when both are on one shard. Which one that is
//! is known when the first session of a person's link is granted: then the whole link goes there, between two polls of
//! its future. `kedge proxy` has one session per link, so all of its bytes stay on one thread. Later sessions of the same
//! link may lead to agents elsewhere; those pass bytes over the links' mutexes.

use std::{
    fmt, io,
    net::TcpStream as Unbound,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use kedge_service::{Seat, Shard, Tasks};
use kedge_tunnel::Carried;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::Notify,
};

/// A connection's place among the shards, and its way to another one. Clones are handles to the same; the last gives the
/// place back.
#[derive(Clone)]
pub struct Passage {
    way: Arc<Way>,
}

struct Way {
    seat: Seat,
    to: OnceLock<Shard>,
    asked: Notify,
    /// The socket is still known to the runtime of the shard that was left.
    left: AtomicBool,
}

impl Passage {
    /// Of a connection that has its place here.
    #[must_use]
    pub fn new(seat: Seat) -> Self {
        Self {
            way: Arc::new(Way {
                seat,
                to: OnceLock::new(),
                asked: Notify::new(),
                left: AtomicBool::new(false),
            }),
        }
    }

    /// Where the connection is.
    #[must_use]
    pub fn shard(&self) -> Shard {
        self.way.seat.shard()
    }

    /// Asks for the connection to go on at `to`. The first to ask is heard: to go back and forth would cost more than it
    /// gives.
    pub fn ask(&self, to: Shard) {
        if self.way.to.set(to).is_ok() {
            self.way.asked.notify_one();
        }
    }

    async fn asked(&self) -> Shard {
        loop {
            if let Some(to) = self.way.to.get() {
                return to.clone();
            }
            self.way.asked.notified().await;
        }
    }

    /// Does all that is to be done with a connection, elsewhere from when that is asked for. There it is a task of
    /// `tasks` as it is here.
    ///
    /// # Cancel safety
    /// When dropped before it moved, the work is dropped with it.
    pub async fn carry<W>(self, tasks: Tasks, name: &'static str, work: W)
    where
        W: Future<Output = ()> + Send + 'static,
    {
        let mut work = Box::pin(work);
        let to = tokio::select! {
            biased;
            () = &mut work => return,
            to = self.asked() => to,
        };
        if to == self.shard() {
            return work.await;
        }
        self.way.seat.change(to.clone());
        self.way.left.store(true, Ordering::Release);
        to.spawn(&tasks, name, work);
    }
}

impl fmt::Debug for Passage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passage")
            .field("shard", &self.shard())
            .finish_non_exhaustive()
    }
}

/// A TCP connection that is at home where its [`Passage`] is.
pub(crate) struct Portable {
    /// None after it could not be made known to another runtime.
    stream: Option<TcpStream>,
    passage: Passage,
}

impl Portable {
    /// Makes `stream` known to the runtime that this is called in, and sets what a link needs of a socket.
    ///
    /// # Errors
    /// When the operating system has no room for that.
    pub(crate) fn new(stream: Unbound, passage: Passage) -> io::Result<Self> {
        let stream = TcpStream::from_std(stream)?;
        kedge_tunnel::socket_options(&stream);
        Ok(Self {
            stream: Some(stream),
            passage,
        })
    }

    /// The stream, known to the runtime that polls it.
    fn here(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        // Set before the task that polls now was spawned, so it is seen here.
        if self.passage.way.left.load(Ordering::Relaxed) {
            self.move_in()?;
        }
        let stream = self.stream.as_mut();
        stream
            .map(Pin::new)
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    #[cold]
    fn move_in(&mut self) -> io::Result<()> {
        self.passage.way.left.store(false, Ordering::Relaxed);
        if let Some(stream) = self.stream.take() {
            self.stream = Some(TcpStream::from_std(stream.into_std()?)?);
        }
        Ok(())
    }
}

impl Carried for Portable {
    fn tcp(&mut self) -> io::Result<&TcpStream> {
        Ok(self.here()?.get_mut())
    }
}

impl AsyncRead for Portable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.here()?.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Portable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.here()?.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.here()?.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.here()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.here()?.poll_shutdown(cx))?;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroUsize, thread, time::Duration};

    use kedge_service::{ShardThreads, Shards};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        sync::mpsc,
    };

    use super::*;

    fn two(tasks: &Tasks) -> (Shards, ShardThreads) {
        let count = NonZeroUsize::new(2).unwrap();
        Shards::start(count, tasks, Duration::from_secs(5)).unwrap()
    }

    /// A connection that answers each byte with itself, and tells on which thread; it ends with the peer.
    async fn echo(mut stream: Portable, threads: mpsc::Sender<thread::ThreadId>) -> io::Result<()> {
        let mut byte = [0];
        while stream.read(&mut byte).await? > 0 {
            threads.send(thread::current().id()).await.unwrap();
            stream.write_all(&byte).await?;
        }
        stream.shutdown().await
    }

    async fn pair() -> (TcpStream, Unbound) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        (peer, stream.into_std().unwrap())
    }

    async fn say(peer: &mut TcpStream, byte: u8) {
        peer.write_all(&[byte]).await.unwrap();
        assert_eq!(peer.read_u8().await.unwrap(), byte);
    }

    #[tokio::test]
    async fn a_connection_goes_on_at_another_shard_and_loses_nothing() {
        let tasks = Tasks::new();
        let (shards, threads) = two(&tasks);
        let [one, other] = shards.all() else {
            panic!("two")
        };
        let (mut peer, stream) = pair().await;
        let passage = Passage::new(shards.seat());
        let (from, to) = if passage.shard() == *one {
            (one, other)
        } else {
            (other, one)
        };
        let (told, mut where_it_was) = mpsc::channel(8);
        let mine = passage.clone();
        let owner = tasks.clone();
        from.spawn(&tasks, "connection", async move {
            let stream = Portable::new(stream, mine.clone()).unwrap();
            let work = async move { echo(stream, told).await.unwrap() };
            mine.carry(owner, "carried", work).await;
        });
        say(&mut peer, b'a').await;
        let before = where_it_was.recv().await.unwrap();
        passage.ask(to.clone());
        passage.ask(from.clone());
        // Whoever serves the byte that comes next was told before it came, or after: it is served either way.
        while passage.shard() == *from {
            say(&mut peer, b'b').await;
            where_it_was.recv().await.unwrap();
        }
        say(&mut peer, b'c').await;
        let after = where_it_was.recv().await.unwrap();
        assert_ne!(before, after);
        assert_eq!((from.seats(), to.seats()), (0, 1));
        // One task, wherever it is; the one that was left is about to end.
        while tasks.count() != 1 {
            say(&mut peer, b'd').await;
            assert_eq!(where_it_was.recv().await, Some(after), "asked once for all");
        }
        peer.shutdown().await.unwrap();
        assert_eq!(peer.read(&mut [0]).await.unwrap(), 0);
        tasks.idle().await;
        drop(passage);
        assert_eq!((from.seats(), to.seats()), (0, 0));
        threads.end();
    }

    #[tokio::test]
    async fn who_takes_nothing_is_given_up_also_after_a_move() {
        let tasks = Tasks::new();
        let (shards, threads) = two(&tasks);
        let (_peer, stream) = pair().await;
        let passage = Passage::new(shards.seat());
        let from = passage.shard();
        let to = shards.all().iter().find(|shard| **shard != from).cloned();
        let mine = passage.clone();
        let owner = tasks.clone();
        let (full, fills) = tokio::sync::oneshot::channel();
        let (ended, end) = tokio::sync::oneshot::channel();
        from.spawn(&tasks, "connection", async move {
            let stream = Portable::new(stream, mine.clone()).unwrap();
            let mut stream = crate::stall::Unstalled::new(stream, Duration::from_millis(500));
            let work = async move {
                let mut full = Some(full);
                let error = loop {
                    let mut write = std::pin::pin!(stream.write(&[0; 65536]));
                    // The first that has to wait has made the timer, on the shard that is left.
                    let polled = futures_util::poll!(write.as_mut());
                    if polled.is_pending()
                        && let Some(full) = full.take()
                    {
                        full.send(()).unwrap();
                    }
                    let written = match polled {
                        Poll::Ready(written) => written,
                        Poll::Pending => write.await,
                    };
                    if let Err(error) = written {
                        break error;
                    }
                };
                ended.send(error.kind()).unwrap();
            };
            mine.carry(owner, "carried", work).await;
        });
        fills.await.unwrap();
        passage.ask(to.unwrap());
        let kind = tokio::time::timeout(Duration::from_secs(30), end).await;
        assert_eq!(kind.unwrap().unwrap(), io::ErrorKind::TimedOut);
        tasks.idle().await;
        assert!(!tasks.has_panicked());
        threads.end();
    }

    #[tokio::test]
    async fn who_is_asked_to_where_it_is_stays_one_task() {
        let tasks = Tasks::new();
        let shards = Shards::here();
        let passage = Passage::new(shards.seat());
        passage.ask(passage.shard());
        let (done, finished) = tokio::sync::oneshot::channel();
        let work = async move { done.send(tokio::task::id()).unwrap() };
        let carried = passage.clone().carry(tasks.clone(), "carried", work);
        let handle = tasks.spawn("connection", carried);
        let id = handle.id();
        assert_eq!(finished.await.unwrap(), id);
    }
}
