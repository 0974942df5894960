//! Stand-ins for sshd behind an agent: cheap ones, silent ones, rude ones.

use std::io::Write;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::reply::read_some;

/// The greeting a target sends, so that an agent takes it for an sshd.
pub const BANNER: &[u8] = b"SSH-2.0-kedge_test\r\n";

/// How long one look at a socket lasts.
const PATIENCE: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// What a target does with a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Manner {
    /// Greets as sshd does and closes at once.
    Bye,
    /// Greets as sshd does, then gives every byte back, and ends when its peer ends.
    Echo,
    /// Greets as sshd does, then reads nothing.
    Stall,
    /// Accepts and says nothing.
    Silent,
    /// Greets as sshd does, then sends zeros for as long as somebody takes them.
    Source,
}

/// A target on a loopback port.
#[derive(Debug)]
pub struct Target {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    accepted: AtomicUsize,
    open: AtomicUsize,
    ended: AtomicBool,
}

impl Target {
    /// Listens on a free loopback port.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn start(manner: Manner) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("bind a target")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let owned = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if owned.ended.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                owned.accepted.fetch_add(1, Ordering::SeqCst);
                owned.open.fetch_add(1, Ordering::SeqCst);
                let counted = Arc::clone(&owned);
                std::thread::spawn(move || {
                    let _ = serve(&stream, manner);
                    let _ = stream.shutdown(Shutdown::Both);
                    counted.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Ok(Self {
            address,
            shared,
            acceptor: Some(acceptor),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections taken so far.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Connections open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn serve(mut stream: &TcpStream, manner: Manner) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    if manner != Manner::Silent {
        stream.write_all(BANNER)?;
    }
    match manner {
        Manner::Bye => Ok(()),
        Manner::Echo => loop {
            let count = read_some(&mut stream, &mut buffer)?;
            match buffer.get(..count) {
                Some(read) if !read.is_empty() => stream.write_all(read)?,
                _ => return Ok(()),
            }
        },
        Manner::Source => loop {
            stream.write_all(&buffer)?;
        },
        // Its bytes stay in the kernel, unread; the peer's end shows on the socket itself.
        Manner::Stall | Manner::Silent => loop {
            let mut look = [PollFd::new(&stream, PollFlags::RDHUP)];
            poll(&mut look, Some(&PATIENCE))?;
            if look.iter().any(|seen| !seen.revents().is_empty()) {
                return Ok(());
            }
        },
    }
}
