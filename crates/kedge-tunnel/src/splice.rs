//! A stream joined with a local connection: what agents and `kedge proxy` do all day.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::{Poll, ready};

use kedge_proto::{ResetCode, SendBuffer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::buffers;
use crate::defaults::{DELIVERY_TIME, SPLICE_BUFFER, TRAFFIC_BYTES};
use crate::stream::{RecvHalf, SendHalf, StreamError, TunnelStream};

/// Copies both ways until both directions have ended, each end passed on as a half-close, and the peer has taken
/// everything. When `io` fails the stream is reset with `on_failure`; when the stream fails, `io` is dropped.
///
/// # Cancel safety
/// Dropping the future resets the stream.
pub async fn splice<I>(stream: TunnelStream, io: I, on_failure: ResetCode) -> Spliced
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let (mut from_io, mut to_io) = tokio::io::split(io);
    let (mut from_stream, mut to_stream) = stream.split();
    let (mut sent, mut received) = (0, 0);
    let up = async {
        upload(&mut from_io, &mut to_stream, &mut sent).await?;
        to_stream.shutdown().await.map_err(SpliceEnd::from_stream)
    };
    let down = async {
        download(&mut from_stream, &mut to_io, &mut received).await?;
        to_io
            .shutdown()
            .await
            .or_else(ignore_closed)
            .map_err(SpliceEnd::Io)
    };
    let copied = tokio::try_join!(up, down).map(|_| ());
    let end = match copied {
        Err(end) => end,
        Ok(()) => match timeout(DELIVERY_TIME, to_stream.delivered()).await {
            Ok(Ok(())) => SpliceEnd::Finished,
            Ok(Err(error)) => SpliceEnd::Stream(error),
            Err(_) => SpliceEnd::Stream(StreamError::Reset {
                code: ResetCode::Expired,
                text: "the peer did not take the last bytes".to_owned(),
            }),
        },
    };
    match &end {
        SpliceEnd::Finished => {}
        SpliceEnd::Io(error) => to_stream.reset(on_failure, &error.to_string()),
        SpliceEnd::Stream(_) => to_stream.reset(ResetCode::Cancelled, "the splice has ended"),
    }
    Spliced {
        sent,
        received,
        end,
    }
}

/// What a splice has done.
#[derive(Debug)]
pub struct Spliced {
    /// Bytes read from the local side and written to the stream.
    pub sent: u64,
    /// Bytes read from the stream and written to the local side.
    pub received: u64,
    /// How it ended.
    pub end: SpliceEnd,
}

/// How a splice ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum SpliceEnd {
    /// Both directions ended and were delivered.
    Finished,
    /// The local side failed.
    Io(io::Error),
    /// The stream failed.
    Stream(StreamError),
}

impl SpliceEnd {
    fn from_stream(error: io::Error) -> Self {
        match error.downcast::<StreamError>() {
            Ok(error) => Self::Stream(error),
            Err(error) => Self::Io(error),
        }
    }
}

/// From the local side to the stream. The bytes are read to where they are sent from. While there is nothing to read no
/// buffer is held.
async fn upload<R>(reader: &mut R, stream: &mut SendHalf, sent: &mut u64) -> Result<(), SpliceEnd>
where
    R: AsyncRead + Unpin,
{
    let mut unsent = 0;
    loop {
        if unsent >= TRAFFIC_BYTES {
            // Whoever sends what was read may do so while it is fresh.
            yield_now().await;
            unsent = 0;
        }
        let mut buffer = poll_fn(|cx| {
            // Asked anew each time: while there was nothing to read others may have used up what the link may hold.
            let room = ready!(stream.poll_room(cx)).map_err(SpliceEnd::Stream)?;
            let room = room.min(SPLICE_BUFFER);
            let mut buffer = SendBuffer::new(buffers::take(room), room);
            let read = pin!(reader.read_buf(&mut buffer.space())).poll(cx);
            if read.is_pending() {
                buffers::give_mut(buffer.into_inner());
                return Poll::Pending;
            }
            read.map(|read| read.map(|_| buffer).map_err(SpliceEnd::Io))
        })
        .await?;
        if buffer.is_empty() {
            return Ok(());
        }
        *sent += buffer.len() as u64;
        unsent += buffer.len();
        stream
            .write_buffer(&mut buffer)
            .map_err(SpliceEnd::Stream)?;
        // Little was copied, and the memory is as good as before.
        buffers::give_mut(buffer.into_inner());
    }
}

/// From the stream to the local side, in the pieces in which it came.
async fn download<W>(
    stream: &mut RecvHalf,
    writer: &mut W,
    received: &mut u64,
) -> Result<(), SpliceEnd>
where
    W: AsyncWrite + Unpin,
{
    loop {
        // A local side that buffers is flushed only when nothing more is there to be written.
        let bytes = match poll_fn(|cx| Poll::Ready(stream.poll_bytes(cx))).await {
            Poll::Ready(bytes) => bytes,
            Poll::Pending => {
                writer.flush().await.map_err(SpliceEnd::Io)?;
                poll_fn(|cx| stream.poll_bytes(cx)).await
            }
        };
        let Some(bytes) = bytes.map_err(SpliceEnd::Stream)? else {
            return Ok(());
        };
        *received += bytes.len() as u64;
        writer.write_all(&bytes).await.map_err(SpliceEnd::Io)?;
        buffers::give(bytes);
    }
}

/// A local side that has gone already has no more use for an end.
fn ignore_closed(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::NotConnected | io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    }
}
