//! `kedge-load delay`: a link on which every byte takes its time, at full speed.
//!
//! * What is read is stamped with the moment at which it is due, and written then; what is due already goes at once.
//! * A bounded number of bytes is under way in each direction; then nothing more is read.
//! * The end of a direction is under way as long as a byte. A connection that breaks is broken at once.
//!
//! The kernel's own handshake takes no time; [`Handshake::Delayed`] makes up for it.

mod timer;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use crate::defaults;
use timer::Timer;

/// A link with a delay.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// Where it leads.
    pub to: SocketAddr,
    /// How long a byte takes, there and back each.
    pub one_way: Duration,
    /// How long a connection takes to be there.
    pub handshake: Handshake,
}

/// How long a connection takes to be there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Handshake {
    /// A round trip before its first byte can leave.
    Delayed,
    /// No time.
    Local,
}

/// What is under way.
struct Piece {
    due: Instant,
    /// Nothing for the end of the direction.
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

/// Serves one connection to its end.
///
/// # Cancel safety
///
/// Dropping it breaks the connection off on both sides.
pub async fn serve(from: TcpStream, line: Line) {
    // Either side may break off, and the other side is then told the same way.
    let _ = pass(from, line).await;
}

async fn pass(mut from: TcpStream, line: Line) -> io::Result<()> {
    let accepted = Instant::now();
    // The first byte leaves after a round trip, and the other side knows of the connection when it arrives.
    let there = match line.handshake {
        Handshake::Delayed => accepted + 3 * line.one_way,
        Handshake::Local => accepted,
    };
    Timer::new()?.until(there).await?;
    let connect = TcpStream::connect(line.to);
    let mut to = timeout(defaults::STEP_TIME, connect).await??;
    for stream in [&from, &to] {
        stream.set_nodelay(true)?;
    }
    let ((from_read, from_write), (to_read, to_write)) = (from.split(), to.split());
    tokio::try_join!(
        direction(from_read, to_write, line.one_way, there),
        direction(to_read, from_write, line.one_way, there),
    )?;
    Ok(())
}

/// Carries one direction to its end. Nothing arrives before `not_before`.
async fn direction(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    one_way: Duration,
    not_before: Instant,
) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(defaults::DELAY_BYTES));
    // Backpressure beside the bytes': small pieces have a cost of their own.
    let (sender, mut under_way) = mpsc::channel::<Piece>(defaults::DELAY_PIECES);
    let read = async move {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(defaults::DELAY_PIECE);
            let read = from.read_buf(&mut buffer).await?;
            let bytes = buffer.split().freeze();
            let due = (Instant::now() + one_way).max(not_before);
            let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
            let room = Arc::clone(&room).acquire_many_owned(len).await;
            let piece = Piece {
                due,
                bytes,
                _room: room.map_err(io::Error::other)?,
            };
            let sent = sender.send(piece).await;
            if read == 0 || sent.is_err() {
                return Ok(());
            }
        }
    };
    let write = async {
        let mut timer = Timer::new()?;
        while let Some(piece) = under_way.recv().await {
            timer.until(piece.due).await?;
            if piece.bytes.is_empty() {
                return to.shutdown().await;
            }
            to.write_all(&piece.bytes).await?;
        }
        Ok(())
    };
    tokio::try_join!(read, write).map(drop)
}
