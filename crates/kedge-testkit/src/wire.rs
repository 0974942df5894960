//! A TCP relay whose wire can be slowed, stalled, silenced or cut.
//!
//! It stands between a daemon and the hub, or between the agent and sshd, and keeps its port while what is behind it
//! comes and goes. Each direction holds one buffer of [`defaults::WIRE_BUFFER`] bytes at most; when it is full, the
//! sender's own TCP has to wait, as on a real wire.

use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::defaults;
use crate::reply::read_some;

/// A relay on a loopback port.
#[derive(Debug)]
pub struct Wire {
    shared: Arc<Shared>,
    address: SocketAddr,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    target: Mutex<SocketAddr>,
    pairs: Mutex<Vec<(TcpStream, TcpStream)>>,
    silent: AtomicBool,
    ended: AtomicBool,
    delay_ms: AtomicU64,
    cut_after: AtomicU64,
    connections: AtomicUsize,
    bytes: AtomicU64,
}

impl Wire {
    /// Relays from a free loopback port to `target`.
    ///
    /// # Errors
    ///
    /// When no port is free.
    pub fn to(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("bind a wire")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target: Mutex::new(target),
            pairs: Mutex::default(),
            silent: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            delay_ms: AtomicU64::new(0),
            cut_after: AtomicU64::new(u64::MAX),
            connections: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
        });
        let owned = Arc::clone(&shared);
        let acceptor = Some(std::thread::spawn(move || accept(&listener, &owned)));
        Ok(Self {
            shared,
            address,
            acceptor,
        })
    }

    /// Where to connect instead of the target.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Relays new connections to another target.
    pub fn retarget(&self, target: SocketAddr) {
        *self
            .shared
            .target
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = target;
    }

    /// Passes nothing any more in either direction and closes nothing: what a dead NAT entry looks like. New
    /// connections are taken and stay silent too.
    pub fn silence(&self) {
        self.shared.silent.store(true, Ordering::SeqCst);
    }

    /// Passes bytes again.
    pub fn restore(&self) {
        self.shared.silent.store(false, Ordering::SeqCst);
    }

    /// Holds each buffer back for this long before it passes.
    pub fn delay(&self, by: Duration) {
        self.shared.delay_ms.store(
            u64::try_from(by.as_millis()).unwrap_or(u64::MAX),
            Ordering::SeqCst,
        );
    }

    /// Closes every connection now; new ones pass.
    pub fn cut(&self) {
        let pairs = std::mem::take(
            &mut *self
                .shared
                .pairs
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for (near, far) in pairs {
            let _ = near.shutdown(Shutdown::Both);
            let _ = far.shutdown(Shutdown::Both);
        }
    }

    /// Cuts every connection once this many more bytes have passed, counted over all of them.
    pub fn cut_after(&self, bytes: u64) {
        let at = self
            .shared
            .bytes
            .load(Ordering::SeqCst)
            .saturating_add(bytes);
        self.shared.cut_after.store(at, Ordering::SeqCst);
    }

    /// Connections taken so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Bytes passed so far, both directions.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::SeqCst)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.cut();
        // The acceptor looks at the flag once more when somebody knocks.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for near in listener.incoming() {
        if shared.ended.load(Ordering::SeqCst) {
            return;
        }
        let Ok(near) = near else { continue };
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let target = *shared.target.lock().unwrap_or_else(PoisonError::into_inner);
        // A target that refuses closes the connection at once, as a relay's operator would see it.
        let Ok(far) = TcpStream::connect_timeout(&target, defaults::SOON) else {
            continue;
        };
        let _ = connect(near, far, shared);
    }
}

fn connect(near: TcpStream, far: TcpStream, shared: &Arc<Shared>) -> Result<()> {
    for side in [&near, &far] {
        side.set_nodelay(true)?;
        side.set_read_timeout(Some(defaults::POLL))?;
    }
    let (up, down) = (
        (near.try_clone()?, far.try_clone()?),
        (far.try_clone()?, near.try_clone()?),
    );
    let mut pairs = shared.pairs.lock().unwrap_or_else(PoisonError::into_inner);
    pairs.push((near, far));
    drop(pairs);
    for (from, to) in [up, down] {
        let owned = Arc::clone(shared);
        std::thread::spawn(move || pump(from, to, &owned));
    }
    Ok(())
}

fn pump(mut from: TcpStream, mut to: TcpStream, shared: &Shared) {
    let mut buffer = vec![0; defaults::WIRE_BUFFER];
    loop {
        if shared.ended.load(Ordering::SeqCst) {
            break;
        }
        if shared.silent.load(Ordering::SeqCst) {
            std::thread::sleep(defaults::POLL);
            continue;
        }
        let count = match read_some(&mut from, &mut buffer) {
            Ok(0) => {
                // Half-close is passed on as such.
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                continue;
            }
            Err(_) => break,
        };
        let delay = shared.delay_ms.load(Ordering::SeqCst);
        if delay > 0 {
            std::thread::sleep(Duration::from_millis(delay));
        }
        while shared.silent.load(Ordering::SeqCst) && !shared.ended.load(Ordering::SeqCst) {
            std::thread::sleep(defaults::POLL);
        }
        let passed = shared
            .bytes
            .fetch_add(count as u64, Ordering::SeqCst)
            .saturating_add(count as u64);
        let Some(chunk) = buffer.get(..count) else {
            break;
        };
        if to.write_all(chunk).is_err() || passed >= shared.cut_after.load(Ordering::SeqCst) {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut copy = stream.try_clone().unwrap();
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut stream, &mut copy);
                    let _ = copy.shutdown(Shutdown::Write);
                });
            }
        });
        address
    }

    #[test]
    fn bytes_and_half_close_pass() {
        let wire = Wire::to(echo()).unwrap();
        let mut stream = TcpStream::connect(wire.address()).unwrap();
        stream.write_all(b"hello").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        assert_eq!(back, b"hello");
        assert_eq!(wire.connections(), 1);
    }

    #[test]
    fn silence_passes_nothing_and_restore_passes_it_all() {
        let wire = Wire::to(echo()).unwrap();
        let mut stream = TcpStream::connect(wire.address()).unwrap();
        wire.silence();
        stream.write_all(b"hello").unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        let mut back = [0; 5];
        stream.read(&mut back).unwrap_err();
        wire.restore();
        stream.set_read_timeout(Some(defaults::SOON)).unwrap();
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"hello");
    }

    #[test]
    fn a_cut_wire_ends_what_is_on_it_and_takes_new_connections() {
        let wire = Wire::to(echo()).unwrap();
        let mut stream = TcpStream::connect(wire.address()).unwrap();
        stream.write_all(b"x").unwrap();
        let mut back = [0; 1];
        stream.read_exact(&mut back).unwrap();
        wire.cut();
        assert!(matches!(stream.read(&mut back), Ok(0) | Err(_)));
        let mut again = TcpStream::connect(wire.address()).unwrap();
        again.write_all(b"y").unwrap();
        again.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"y");
    }
}
