//! Standard input and output as one asynchronous stream.
//!
//! `ssh` gives its ProxyCommand two pipes, other programs a socket. Both are used directly, without
//! blocking and without a thread in between; anything else (a terminal, a file) goes through tokio's
//! thread for blocking input. A pipe grows once it has carried as much as a transfer does, and not before:
//! there is an end to what a person's pipes may hold together.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::fs::{FileType, Mode, OFlags};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

#[cfg(target_os = "linux")]
use crate::defaults::PIPE_BYTES;
use crate::defaults::{PIECE_BYTES, PIECES};

/// Both directions.
pub(super) struct Stdio {
    input: Input,
    output: Option<Output>,
}

enum Input {
    Other(tokio::io::Stdin),
    Pipe(Growing<pipe::Receiver>),
    Socket(UnixStream),
}

enum Output {
    Other(tokio::io::Stdout),
    Pipe(Growing<pipe::Sender>),
    Socket(UnixStream),
}

/// Whether another program holds both other ends, as `ssh` does.
pub(super) fn is_between_pipes() -> bool {
    let apart =
        |fd: &dyn Fn() -> Option<FileType>| matches!(fd(), Some(FileType::Fifo | FileType::Socket));
    !io::stdin().is_terminal()
        && apart(&|| file_type(&io::stdin()))
        && apart(&|| file_type(&io::stdout()))
}

impl Stdio {
    /// Takes this process's. Needs a runtime.
    pub(super) fn open() -> io::Result<Self> {
        let stdin = io::stdin();
        let input = match file_type(&stdin) {
            Some(FileType::Fifo) => {
                Input::Pipe(Growing::new(pipe::Receiver::from_owned_fd(own(&stdin)?)?))
            }
            Some(FileType::Socket) => Input::Socket(socket(own(&stdin)?)?),
            _ => Input::Other(tokio::io::stdin()),
        };
        let stdout = io::stdout();
        let output = match file_type(&stdout) {
            Some(FileType::Fifo) => {
                Output::Pipe(Growing::new(pipe::Sender::from_owned_fd(own(&stdout)?)?))
            }
            Some(FileType::Socket) => Output::Socket(socket(own(&stdout)?)?),
            _ => Output::Other(tokio::io::stdout()),
        };
        Ok(Self {
            input,
            output: Some(output),
        })
    }

    fn output(&mut self) -> io::Result<&mut Output> {
        self.output
            .as_mut()
            .ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl AsyncRead for Stdio {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.input {
            Input::Other(input) => Pin::new(input).poll_read(cx, buf),
            Input::Pipe(input) => Pin::new(input).poll_read(cx, buf),
            Input::Socket(input) => Pin::new(input).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stdio {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.output()? {
            Output::Other(output) => Pin::new(output).poll_write(cx, bytes),
            Output::Pipe(output) => Pin::new(output).poll_write(cx, bytes),
            Output::Socket(output) => Pin::new(output).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.output()? {
            Output::Other(output) => Pin::new(output).poll_flush(cx),
            Output::Pipe(output) => Pin::new(output).poll_flush(cx),
            Output::Socket(output) => Pin::new(output).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(output) = &mut self.output else {
            return Poll::Ready(Ok(()));
        };
        let done = match output {
            Output::Other(output) => Pin::new(output).poll_flush(cx),
            Output::Pipe(output) => Pin::new(output).poll_flush(cx),
            Output::Socket(output) => return Pin::new(output).poll_shutdown(cx),
        };
        std::task::ready!(done)?;
        self.output = None;
        // A pipe ends when its last writer goes, and descriptor 1 is one. Nothing may be written to
        // it afterwards but to nobody.
        let nobody =
            rustix::fs::open("/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::stdio::dup2_stdout(nobody)?;
        Poll::Ready(Ok(()))
    }
}

/// A pipe that is made larger when pieces of a transfer come.
struct Growing<P> {
    pipe: P,
    /// How many are still to come before that; 0 once it is done.
    pieces: u32,
}

impl<P: AsFd> Growing<P> {
    fn new(pipe: P) -> Self {
        let pieces = PIECES;
        Self { pipe, pieces }
    }

    fn count(&mut self) {
        if self.pieces == 1 {
            enlarge(&self.pipe);
        }
        self.pieces = self.pieces.saturating_sub(1);
    }
}

#[cfg(target_os = "linux")]
fn enlarge(pipe: &impl AsFd) {
    // A person who has too many large pipes keeps this one as it is.
    let _ = rustix::pipe::fcntl_setpipe_size(pipe, PIPE_BYTES);
}

/// Other systems make a pipe larger by themselves, or not at all.
#[cfg(not(target_os = "linux"))]
fn enlarge(_pipe: &impl AsFd) {}

impl<P: AsyncRead + AsFd + Unpin> AsyncRead for Growing<P> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let done = Pin::new(&mut self.pipe).poll_read(cx, buf);
        if buf.filled().len() - before >= PIECE_BYTES {
            self.count();
        }
        done
    }
}

impl<P: AsyncWrite + AsFd + Unpin> AsyncWrite for Growing<P> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.pipe).poll_write(cx, bytes);
        if matches!(done, Poll::Ready(Ok(written)) if written >= PIECE_BYTES) {
            self.count();
        }
        done
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

fn file_type(fd: &impl AsFd) -> Option<FileType> {
    let stat = rustix::fs::fstat(fd).ok()?;
    Some(FileType::from_raw_mode(stat.st_mode))
}

fn own(fd: &impl AsFd) -> io::Result<OwnedFd> {
    fd.as_fd().try_clone_to_owned()
}

/// Any stream socket: what is called on it does not depend on its family.
fn socket(fd: OwnedFd) -> io::Result<UnixStream> {
    let socket = std::os::unix::net::UnixStream::from(fd);
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use rustix::pipe::fcntl_getpipe_size;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn pipe() -> (Growing<pipe::Sender>, Growing<pipe::Receiver>) {
        let (sender, receiver) = pipe::pipe().unwrap();
        (Growing::new(sender), Growing::new(receiver))
    }

    fn size(pipe: &impl AsFd) -> usize {
        fcntl_getpipe_size(pipe).unwrap()
    }

    /// Passes pieces of so many bytes, one after the other, and says how large the pipe is then.
    async fn after(pieces: u32, bytes: usize, reads: usize) -> usize {
        let (mut sender, mut receiver) = pipe();
        let (piece, mut read) = (vec![1; bytes], vec![0; reads]);
        for _ in 0..pieces {
            assert_eq!(sender.write(&piece).await.unwrap(), bytes);
            let mut left = bytes;
            while left > 0 {
                left -= receiver.read(&mut read).await.unwrap();
            }
        }
        size(&receiver.pipe)
    }

    #[tokio::test]
    async fn what_people_type_and_see_leaves_a_pipe_as_it_is() {
        let usual = size(&pipe().0.pipe);
        assert!(usual < PIPE_BYTES);
        assert_eq!(after(10 * PIECES, PIECE_BYTES - 1, PIPE_BYTES).await, usual);
        assert_eq!(after(PIECES - 1, PIECE_BYTES, PIPE_BYTES).await, usual);
    }

    #[tokio::test]
    async fn a_transfer_makes_its_pipe_larger_from_either_end() {
        // The reader sees pieces and the writer does too; then only the writer does.
        assert_eq!(after(PIECES, PIECE_BYTES, PIPE_BYTES).await, PIPE_BYTES);
        assert_eq!(after(PIECES, PIECE_BYTES, 1000).await, PIPE_BYTES);
        let (sender, mut receiver) = pipe();
        let (mut sender, mut read) = (sender.pipe, vec![0; PIPE_BYTES]);
        for _ in 0..PIECES {
            sender.write_all(&vec![1; PIECE_BYTES]).await.unwrap();
            receiver.read_exact(&mut read[..PIECE_BYTES]).await.unwrap();
        }
        assert_eq!(size(&receiver.pipe), PIPE_BYTES, "the reader alone");
    }

    /// As a pipe does whose person has too many large ones.
    #[tokio::test]
    async fn what_cannot_be_made_larger_carries_on() {
        let (near, far) = UnixStream::pair().unwrap();
        assert!(rustix::pipe::fcntl_setpipe_size(&near, PIPE_BYTES).is_err());
        let (mut sender, mut receiver) = (Growing::new(near), Growing::new(far));
        let (piece, mut read) = (vec![1; PIECE_BYTES], vec![0; PIECE_BYTES]);
        for _ in 0..2 * PIECES {
            sender.write_all(&piece).await.unwrap();
            receiver.read_exact(&mut read).await.unwrap();
        }
        assert_eq!((sender.pieces, receiver.pieces), (0, 0), "it was tried");
    }
}
