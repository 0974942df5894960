//! A dialer leaves from the address it was given, and two addresses are not told to be one machine.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use kedge_tunnel::{CertificatePin, DialError, Dialer, DialerBuilder, Trust};
use rustls::HandshakeKind;
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use url::Url;

#[tokio::test]
async fn a_connection_leaves_from_the_address_that_was_given() {
    let mut hub = Hub::start().await;
    for address in ["127.0.0.1", "127.9.8.7"] {
        let dialer = hub.builder().local_address(ip(address)).build().unwrap();
        ask(&dialer).await.unwrap();
        assert_eq!(hub.seen().await.0, ip(address));
    }
    let from_here = hub.builder().build().unwrap();
    ask(&from_here).await.unwrap();
    assert_eq!(hub.seen().await.0, ip("127.0.0.1"));
    let from_there = from_here.with_local_address(ip("127.5.5.5"));
    ask(&from_there).await.unwrap();
    assert_eq!(hub.seen().await.0, ip("127.5.5.5"));
    // What it was made from is as it was.
    ask(&from_here).await.unwrap();
    assert_eq!(hub.seen().await.0, ip("127.0.0.1"));
}

#[tokio::test]
async fn tickets_of_one_address_are_not_shown_from_another() {
    let mut hub = Hub::start().await;
    let first = hub.builder().build().unwrap();
    let second = first.with_local_address(ip("127.0.0.2"));
    for (dialer, expected) in [
        (&first, HandshakeKind::Full),
        (&first, HandshakeKind::Resumed),
        (&second, HandshakeKind::Full),
        (&second, HandshakeKind::Resumed),
        (
            &first.with_local_address(ip("127.0.0.1")),
            HandshakeKind::Full,
        ),
    ] {
        ask(dialer).await.unwrap();
        assert_eq!(hub.seen().await.1, expected);
    }
}

#[tokio::test]
async fn an_address_that_is_not_this_machines_is_named() {
    let hub = Hub::start().await;
    // TEST-NET-1 (RFC 5737) and the documentation's prefix (RFC 3849): nobody's.
    for address in ["192.0.2.1", "2001:db8::1"] {
        let dialer = hub.builder().local_address(ip(address)).build().unwrap();
        let error = ask(&dialer).await.unwrap_err();
        assert!(matches!(error, DialError::Connect { .. }), "{error:?}");
        let expected = format!("{}: from {address}: ", hub.address);
        assert!(error.to_string().contains(&expected), "{error}");
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

async fn ask(dialer: &Dialer) -> Result<(), DialError> {
    let request = Request::get("/").body(Bytes::new()).unwrap();
    dialer.fetch(request, 1024).await.map(drop)
}

/// Answers every request with 200 and tells whence it came.
struct Hub {
    address: SocketAddr,
    pin: CertificatePin,
    seen: mpsc::Receiver<(IpAddr, HandshakeKind)>,
    _tasks: JoinSet<()>,
}

impl Hub {
    async fn start() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let pin = CertificatePin::of(made.cert.der());
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, seen) = mpsc::channel(8);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                // One after the other: so the tests ask.
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let kind = stream.get_ref().1.handshake_kind().unwrap();
                if answer(&mut stream).await.is_some() {
                    sender.send((peer.ip(), kind)).await.unwrap();
                }
            }
        });
        Self {
            address,
            pin,
            seen,
            _tasks: tasks,
        }
    }

    fn builder(&self) -> DialerBuilder {
        let url = Url::parse(&format!("https://{}", self.address)).unwrap();
        Dialer::builder(url).trust(Trust::Pinned(vec![self.pin]))
    }

    async fn seen(&mut self) -> (IpAddr, HandshakeKind) {
        self.seen.recv().await.unwrap()
    }
}

async fn answer(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    stream.write_all(answer).await.ok()?;
    stream.shutdown().await.ok()
}
