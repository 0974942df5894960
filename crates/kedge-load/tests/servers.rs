//! Target, plain copy and delayed link: every byte arrives, ends are passed on, and what is no order is refused.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kedge_load::delay::{self, Handshake, Line};
use kedge_load::order::{BANNER, Order, pattern};
use kedge_load::target::Target;
use kedge_load::{relay, server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Not a multiple of any buffer's size.
const BYTES: usize = 3_000_017;

const ONE_WAY: Duration = Duration::from_millis(20);

#[tokio::test]
async fn every_way_carries_exact_bytes_and_both_ends() {
    let mut stage = Stage::new();
    let target = Target::default();
    for address in stage.ways(&target).await {
        // Down: exact bytes, then the end, although our own direction is still open.
        let mut stream = ordered(address, Order::Download(BYTES as u64)).await;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        assert!(bytes == pattern(BYTES));
        // Up: what was taken is counted.
        let mut stream = ordered(address, Order::Upload(BYTES as u64)).await;
        stream.write_all(&pattern(BYTES)).await.unwrap();
        assert_eq!(stream.read_u64().await.unwrap(), BYTES as u64);
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        // Both ways at once: what goes comes back, and after our end comes theirs.
        let stream = ordered(address, Order::Echo).await;
        let (mut back, mut there) = stream.into_split();
        let send = async {
            there.write_all(&pattern(BYTES)).await.unwrap();
            there.shutdown().await.unwrap();
        };
        let mut bytes = Vec::new();
        let (read, ()) = tokio::join!(back.read_to_end(&mut bytes), send);
        read.unwrap();
        assert!(bytes == pattern(BYTES));
    }
}

#[tokio::test]
async fn what_is_no_order_is_refused_and_counted() {
    let mut stage = Stage::new();
    let target = Target::default();
    let address = stage.target(&target).await;
    let mut number = Order::Echo.to_bytes();
    number[15] = 1;
    for hostile in [[0xff; 16], *b"SSH-2.0-OpenSSH_", number] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&hostile).await.unwrap();
        let mut said = Vec::new();
        stream.read_to_end(&mut said).await.unwrap();
        // It has greeted, and not obeyed.
        assert_eq!(said, BANNER);
    }
    // Half an order is none.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"D\0\0").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await.unwrap();
    // Nor are fewer bytes than were announced an upload.
    let mut stream = ordered(address, Order::Upload(1000)).await;
    stream.write_all(&[0; 999]).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await.unwrap();
    assert!(said.is_empty(), "it counts what did not come");
    // The connection is over for us before it is counted.
    let counts = target.counts();
    while counts.broken.load(Ordering::Relaxed) < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(counts.refused.load(Ordering::Relaxed), 3);
    assert_eq!(counts.done.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_delayed_byte_is_never_early() {
    let mut stage = Stage::new();
    let target = stage.target(&Target::default()).await;
    for (handshake, trips) in [(Handshake::Local, 2), (Handshake::Delayed, 4)] {
        let address = stage.delay(target, handshake).await;
        let begun = Instant::now();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let order = Order::Download(1).to_bytes();
        stream.write_all(&order).await.unwrap();
        let mut answer = [0; BANNER.len() + 1];
        stream.read_exact(&mut answer).await.unwrap();
        assert!(begun.elapsed() >= trips * ONE_WAY, "{handshake:?}");
    }
}

async fn ordered(address: SocketAddr, order: Order) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut banner = [0; BANNER.len()];
    stream.read_exact(&mut banner).await.unwrap();
    assert_eq!(banner, *BANNER);
    stream.write_all(&order.to_bytes()).await.unwrap();
    stream
}

/// Servers that end with it.
struct Stage {
    tasks: JoinSet<()>,
}

impl Stage {
    fn new() -> Self {
        Self {
            tasks: JoinSet::new(),
        }
    }

    /// The target straight, through two relays, and through a delay.
    async fn ways(&mut self, target: &Target) -> [SocketAddr; 3] {
        let straight = self.target(target).await;
        let hop = self.relay(straight).await;
        [
            straight,
            self.relay(hop).await,
            self.delay(straight, Handshake::Local).await,
        ]
    }

    async fn target(&mut self, target: &Target) -> SocketAddr {
        let target = target.clone();
        self.serve(move |stream| target.clone().serve(stream)).await
    }

    async fn relay(&mut self, to: SocketAddr) -> SocketAddr {
        self.serve(move |stream| relay::serve(stream, to)).await
    }

    async fn delay(&mut self, to: SocketAddr, handshake: Handshake) -> SocketAddr {
        let line = Line {
            to,
            one_way: ONE_WAY,
            handshake,
        };
        self.serve(move |stream| delay::serve(stream, line)).await
    }

    async fn serve<F>(
        &mut self,
        serve: impl Fn(TcpStream) -> F + Send + Sync + 'static,
    ) -> SocketAddr
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        self.tasks
            .spawn(async move { server::accept(listener, serve, std::future::pending()).await });
        address
    }
}
