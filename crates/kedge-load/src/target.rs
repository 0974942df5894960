//! `kedge-load target`: what stands behind an agent in place of an sshd, and does what it is [told](crate::order).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;

use crate::defaults;
use crate::order::{self, BANNER, BadOrder, ORDER_BYTES, Order};

/// A target. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Target {
    sent: Arc<Vec<u8>>,
    counts: Arc<Counts>,
}

/// What a target has done so far.
#[derive(Debug, Default)]
pub struct Counts {
    /// Orders that were carried out to their end.
    pub done: AtomicU64,
    /// Connections whose order was none.
    pub refused: AtomicU64,
    /// Connections that broke off, before their order or in the middle of it.
    pub broken: AtomicU64,
}

#[derive(Debug, Error)]
enum Failed {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Order(#[from] BadOrder),
}

impl Default for Target {
    fn default() -> Self {
        Self {
            sent: Arc::new(order::seamless(defaults::BUFFER)),
            counts: Arc::default(),
        }
    }
}

impl Target {
    /// What it has done so far.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Serves one connection to its end.
    ///
    /// # Cancel safety
    ///
    /// Dropping it breaks the connection off.
    pub async fn serve(self, stream: TcpStream) {
        // Without it everything works, and small answers may be late.
        let _ = stream.set_nodelay(true);
        let count = match self.obey(stream).await {
            Ok(()) => &self.counts.done,
            Err(Failed::Order(_)) => &self.counts.refused,
            Err(Failed::Io(_)) => &self.counts.broken,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    async fn obey(&self, mut stream: TcpStream) -> Result<(), Failed> {
        stream.write_all(BANNER).await?;
        let mut bytes = [0; ORDER_BYTES];
        stream.read_exact(&mut bytes).await?;
        match Order::from_bytes(bytes)? {
            Order::Download(count) => self.send(&mut stream, count).await?,
            Order::Echo => return Ok(echo(stream).await?),
            Order::Stall => return Ok(stall(&stream).await?),
            Order::Upload(count) => {
                take(&mut stream, count).await?;
                stream.write_all(&count.to_be_bytes()).await?;
            }
        }
        stream.shutdown().await?;
        // Closing with something unread would reset what is still under way.
        drain(&mut stream).await?;
        Ok(())
    }

    async fn send(&self, stream: &mut TcpStream, mut count: u64) -> io::Result<()> {
        while count > 0 {
            let piece = up_to(&self.sent, count);
            stream.write_all(piece).await?;
            count -= piece.len() as u64;
        }
        Ok(())
    }
}

/// The beginning of `buffer`: no more than `count` bytes.
pub(crate) fn up_to(buffer: &[u8], count: u64) -> &[u8] {
    let len = usize::try_from(count).unwrap_or(usize::MAX);
    buffer.get(..len).unwrap_or(buffer)
}

/// Reads exactly `count` bytes and forgets them.
async fn take(stream: &mut (impl AsyncRead + Unpin), mut count: u64) -> io::Result<()> {
    let mut buffer = vec![0; defaults::BUFFER];
    while count > 0 {
        let len = up_to(&buffer, count).len();
        let Some(room) = buffer.get_mut(..len) else {
            break;
        };
        let read = stream.read(room).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        count -= read as u64;
    }
    Ok(())
}

async fn drain(stream: &mut TcpStream) -> io::Result<()> {
    // Nothing is expected, so the buffer is small: thousands of these may wait at once.
    let mut buffer = [0; 256];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        // An echo that waits has no buffer: idle sessions are what memory is measured with.
        stream.readable().await?;
        buffer.resize(defaults::BUFFER, 0);
        let read = match stream.try_read(&mut buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                buffer = Vec::new();
                continue;
            }
            Err(error) => return Err(error),
        };
        if read == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(up_to(&buffer, read as u64)).await?;
    }
}

/// Waits for the end of the connection without reading what comes.
async fn stall(stream: &TcpStream) -> io::Result<()> {
    // With this interest comes that the peer has ended. Urgent bytes, which it is for, are nobody's here: whoever sends
    // some has ended too.
    stream.ready(Interest::PRIORITY).await?;
    Ok(())
}
