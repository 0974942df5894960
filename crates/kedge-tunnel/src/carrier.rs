//! The TCP connection below a link, as TLS and HTTP see it.
//!
//! * It reads ahead: rustls asks for 4 KiB at a time, which would be sixteen system calls for one frame. The buffer is
//!   taken while much comes in, and given back as soon as nothing waits.
//! * It watches how fast the kernel takes what is written, and keeps the kernel's queue as short as that rate allows: a
//!   keystroke waits behind what the kernel holds, whoever was first in the link's own queue.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::buffers;
use crate::defaults::{
    LOW_WATER_FAST, LOW_WATER_MEDIUM, LOW_WATER_SLOW, MEDIUM_RATE, READ_AHEAD, READ_AHEAD_FROM,
    SLOW_RATE,
};
use crate::shared::now;

/// A connection that a [`Carrier`] can be laid over.
pub trait Carried: AsyncRead + AsyncWrite + Unpin {
    /// The TCP connection, known to the runtime in which this is called.
    ///
    /// # Errors
    /// When it is not there, or cannot be made known.
    fn tcp(&mut self) -> io::Result<&TcpStream>;
}

impl Carried for TcpStream {
    fn tcp(&mut self) -> io::Result<&TcpStream> {
        Ok(self)
    }
}

/// A TCP connection that reads ahead and keeps the kernel's queue short. [`socket_options`](crate::socket_options) are
/// still the caller's.
#[derive(Debug)]
pub struct Carrier<S = TcpStream> {
    inner: S,
    ahead: BytesMut,
    incoming: Incoming,
    drain: Drain,
}

/// How much comes at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Incoming {
    Little,
    Much,
}

impl<S> Carrier<S> {
    /// Takes the connection.
    #[must_use]
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            ahead: BytesMut::new(),
            incoming: Incoming::Little,
            drain: Drain::default(),
        }
    }

    /// The connection. What was read ahead is no longer in it.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Bytes of memory held for what was read ahead.
    #[must_use]
    pub fn held(&self) -> usize {
        self.ahead.capacity()
    }

    /// Nothing waits to be handed on.
    fn give_back(&mut self) {
        buffers::give_mut(std::mem::take(&mut self.ahead));
    }
}

impl<S: Carried> Carrier<S> {
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ahead.capacity() == 0 {
            self.ahead = buffers::take(READ_AHEAD);
        }
        self.ahead.reserve(READ_AHEAD);
        let polled = pin!(self.inner.read_buf(&mut self.ahead)).poll(cx);
        let Poll::Ready(read) = polled else {
            self.give_back();
            return Poll::Pending;
        };
        if read? < READ_AHEAD_FROM {
            self.incoming = Incoming::Little;
        }
        Poll::Ready(Ok(()))
    }

    /// Waits, while the line is slow, until the kernel has sent most of what it has. A write alone does not wait for that:
    /// it fills up what was begun to a segment of 64 KiB, whatever the low-water mark is.
    fn poll_low_water(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.drain.is_slow() {
            return Poll::Ready(Ok(()));
        }
        let tcp = self.inner.tcp()?;
        loop {
            ready!(tcp.poll_write_ready(cx))?;
            match tcp.try_io(Interest::WRITABLE, || is_below_low_water(tcp)) {
                // Forgotten is that it was ready, so that the kernel says so again.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                asked => return Poll::Ready(asked),
            }
        }
    }

    fn poll_written(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let polled = match self.poll_low_water(cx) {
            Poll::Ready(Ok(())) => write(Pin::new(&mut self.inner), cx),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        };
        self.wrote(polled)
    }

    fn wrote(&mut self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let news = match &polled {
            Poll::Pending => self.drain.blocked(),
            Poll::Ready(Ok(bytes)) => self.drain.wrote(*bytes),
            Poll::Ready(Err(_)) => None,
        };
        if let Some(low_water) = news
            && let Ok(tcp) = self.inner.tcp()
            && let Err(error) = SockRef::from(tcp).set_tcp_notsent_lowat(low_water)
        {
            tracing::debug!(%error, "cannot set TCP_NOTSENT_LOWAT");
        }
        polled
    }
}

impl<S: Carried> AsyncRead for Carrier<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.ahead.is_empty() {
            let room = buffer.remaining();
            if this.incoming == Incoming::Little || room >= READ_AHEAD {
                ready!(Pin::new(&mut this.inner).poll_read(cx, buffer))?;
                if buffer.remaining() == 0 && room >= READ_AHEAD_FROM {
                    this.incoming = Incoming::Much;
                }
                return Poll::Ready(Ok(()));
            }
            ready!(this.poll_ahead(cx))?;
        }
        let len = buffer.remaining().min(this.ahead.len());
        buffer.put_slice(this.ahead.get(..len).unwrap_or_default());
        this.ahead.advance(len);
        if this.ahead.is_empty() && this.incoming == Incoming::Little {
            this.give_back();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Carried> AsyncWrite for Carrier<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_written(cx, |inner, cx| inner.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_written(cx, |inner, cx| inner.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Whether the kernel calls the connection writable, which it does below half of the low-water mark.
fn is_below_low_water(tcp: &TcpStream) -> io::Result<()> {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut asked = [PollFd::new(tcp, PollFlags::OUT)];
    match retry_on_intr(|| poll(&mut asked, Some(&now)))? {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        _ => Ok(()),
    }
}

/// How fast the kernel takes bytes, measured while it is what holds the writer back: a writer that had nothing to say says
/// nothing about that.
#[derive(Debug, Default)]
struct Drain {
    /// Since when it has taken nothing.
    blocked: Option<Instant>,
    /// How many bytes it has taken since it last began to take them again; none before the first time.
    bytes: Option<usize>,
    /// Time for one byte, smoothed.
    byte_time: Option<f64>,
    low_water: Option<u32>,
}

impl Drain {
    /// Whether the line is so slow that the kernel's queue is kept shorter than usual.
    fn is_slow(&self) -> bool {
        self.low_water
            .is_some_and(|low_water| low_water < LOW_WATER_FAST)
    }

    fn blocked(&mut self) -> Option<u32> {
        self.blocked.get_or_insert_with(now);
        None
    }

    /// The kernel took bytes. Gives back a new low-water mark, if there is to be one.
    fn wrote(&mut self, bytes: usize) -> Option<u32> {
        if let Some(blocked) = self.blocked.take() {
            let before = self.bytes.replace(bytes)?;
            return self.measured(now().saturating_duration_since(blocked), before);
        }
        self.bytes = self.bytes.map(|before| before.saturating_add(bytes));
        None
    }

    fn measured(&mut self, took: Duration, bytes: usize) -> Option<u32> {
        let sample = took.as_secs_f64() / bytes.max(1) as f64;
        let smoothed = self
            .byte_time
            .map_or(sample, |known| (known * 3.0 + sample) / 4.0);
        self.byte_time = Some(smoothed);
        let rate = smoothed.recip();
        let low_water = match rate {
            rate if rate < SLOW_RATE => LOW_WATER_SLOW,
            rate if rate < MEDIUM_RATE => LOW_WATER_MEDIUM,
            _ => LOW_WATER_FAST,
        };
        let known = self.low_water.unwrap_or(LOW_WATER_FAST);
        self.low_water = Some(low_water);
        (known != low_water).then_some(low_water)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    async fn connected() -> (Carrier, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
        (Carrier::new(near.unwrap()), far.unwrap().0)
    }

    #[tokio::test]
    async fn little_is_read_without_a_buffer_and_much_with_one_that_is_given_back() {
        let (mut near, mut far) = connected().await;
        let mut piece = [0; 4096];
        far.write_all(&[1; 100]).await.unwrap();
        assert_eq!(near.read(&mut piece).await.unwrap(), 100);
        assert_eq!(near.held(), 0);
        let sent: Vec<u8> = (0..1 << 20).map(|at| (at % 251) as u8).collect();
        let expected = sent.clone();
        let writer = async {
            far.write_all(&sent).await.unwrap();
            far.write_all(b"more").await.unwrap();
        };
        let reader = async {
            let (mut got, mut most) = (Vec::new(), 0);
            while got.len() < expected.len() {
                let len = near.read(&mut piece).await.unwrap();
                got.extend_from_slice(&piece[..len]);
                most = most.max(near.held());
            }
            while !got.ends_with(b"more") {
                let len = near.read(&mut piece).await.unwrap();
                got.extend_from_slice(&piece[..len]);
            }
            assert_eq!(&got[..expected.len()], &expected);
            // What has been handed on is no longer counted.
            assert!((READ_AHEAD / 2..2 * READ_AHEAD).contains(&most), "{most}");
            let mut idle = pin!(near.read(&mut piece));
            std::future::poll_fn(|cx| {
                assert!(idle.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
        };
        tokio::join!(writer, reader);
        assert_eq!(near.held(), 0, "nothing waits, so nothing is held");
    }

    /// How much is taken for a peer that reads nothing.
    async fn taken(low_water: Option<u32>) -> usize {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (mut near, _far) = (Carrier::new(near.unwrap()), far.unwrap());
        SockRef::from(&near.inner)
            .set_tcp_notsent_lowat(LOW_WATER_SLOW)
            .unwrap();
        near.drain.low_water = low_water;
        let mut taken = 0;
        std::future::poll_fn(|cx| {
            while let Poll::Ready(written) = Pin::new(&mut near).poll_write(cx, &[0; 16_384]) {
                taken += written.unwrap();
            }
            Poll::Ready(())
        })
        .await;
        taken
    }

    #[tokio::test]
    async fn a_slow_line_s_queue_is_not_filled_up_to_a_segment() {
        let (slow, fast) = (taken(Some(LOW_WATER_SLOW)).await, taken(None).await);
        assert!(slow < fast, "{slow} of {fast}");
    }

    #[tokio::test]
    async fn a_slow_line_that_has_sent_is_written_to_again() {
        let (mut near, mut far) = connected().await;
        near.drain.low_water = Some(LOW_WATER_SLOW);
        let sent = vec![7; 8 << 20];
        let reader = async {
            let mut got = vec![0; sent.len()];
            far.read_exact(&mut got).await.unwrap();
            got
        };
        let (written, got) = tokio::join!(near.write_all(&sent), reader);
        written.unwrap();
        assert_eq!(got, sent);
    }

    #[test]
    fn the_queue_is_as_short_as_the_rate_allows() {
        let mut drain = Drain::default();
        let mut run = |rate: f64, rounds: u32| {
            let told = (0..rounds)
                .filter_map(|_| drain.measured(Duration::from_secs_f64(16384.0 / rate), 16384));
            told.last()
        };
        assert_eq!(run(1e9, 10), None, "as every socket begins");
        assert_eq!(run(6.25e6, 20), Some(LOW_WATER_SLOW), "50 Mbit/s");
        assert_eq!(run(25e6, 20), Some(LOW_WATER_MEDIUM), "200 Mbit/s");
        assert_eq!(run(1e9, 50), Some(LOW_WATER_FAST));
    }

    #[tokio::test(start_paused = true)]
    async fn a_writer_that_had_nothing_to_say_does_not_make_the_kernel_slow() {
        let mut drain = Drain::default();
        for _ in 0..20 {
            tokio::time::advance(Duration::from_secs(600)).await;
            drain.wrote(48 << 10);
            drain.blocked();
            tokio::time::advance(Duration::from_micros(100)).await;
            drain.blocked();
            assert_eq!(drain.wrote(16 << 10), None);
        }
        // One that makes it wait is slow.
        drain.blocked();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(drain.wrote(16 << 10), Some(LOW_WATER_SLOW));
    }
}
