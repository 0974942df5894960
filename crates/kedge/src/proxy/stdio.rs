//! Standard input and output as one asynchronous stream.
//!
//! `ssh` gives its ProxyCommand two pipes, other programs a socket. Both are used directly, without
//! blocking and without a thread in between; anything else (a terminal, a file) goes through tokio's
//! thread for blocking input.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::fs::{FileType, Mode, OFlags};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

/// Both directions.
pub(super) struct Stdio {
    input: Input,
    output: Option<Output>,
}

enum Input {
    Other(tokio::io::Stdin),
    Pipe(pipe::Receiver),
    Socket(UnixStream),
}

enum Output {
    Other(tokio::io::Stdout),
    Pipe(pipe::Sender),
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
            Some(FileType::Fifo) => Input::Pipe(pipe::Receiver::from_owned_fd(own(&stdin)?)?),
            Some(FileType::Socket) => Input::Socket(socket(own(&stdin)?)?),
            _ => Input::Other(tokio::io::stdin()),
        };
        let stdout = io::stdout();
        let output = match file_type(&stdout) {
            Some(FileType::Fifo) => Output::Pipe(pipe::Sender::from_owned_fd(own(&stdout)?)?),
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
