//! The whole path in one process, a thread for each program: a person's end, the hub, the agent, and what it leads to.
//!
//! `cargo bench -p kedge-tunnel --bench path [MIB] [down|up] [STREAMS]` prints the throughput and the processor time of
//! each thread for one GiB. The threads have names, so that `perf record` tells them apart.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for whoever measures"
)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::Empty;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kedge_tunnel::{
    AttributeId, Attributes, Carrier, CertificatePin, Dialer, Link, LinkConfig, OpenRequest,
    PendingUpgrade, ResetCode, ResumeSecret, Side, StreamKey, Target, Trust, splice, upgrade,
};
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use url::Url;

type Report = mpsc::SyncSender<(&'static str, f64)>;

fn main() {
    let mut words = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"));
    let mib: u64 = words.next().map_or(1024, |word| word.parse().unwrap());
    let down = words.next().is_none_or(|word| word == "down");
    let streams: u64 = words.next().map_or(1, |word| word.parse().unwrap());
    let each = (mib << 20) / streams;

    let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let pin = CertificatePin::of(key.cert.der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let secret = PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], secret)
        .unwrap();

    let (report, reports) = mpsc::sync_channel(8);
    let (told, address) = mpsc::sync_channel(8);
    program("hub", &report, async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        told.send(listener.local_addr().unwrap()).unwrap();
        hub(listener, TlsAcceptor::from(Arc::new(config)), streams).await;
    });
    let hub = address.recv().unwrap();
    let (told, address) = mpsc::sync_channel(8);
    program("target", &report, async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        told.send(listener.local_addr().unwrap()).unwrap();
        let mut ends = JoinSet::new();
        for _ in 0..streams {
            let (stream, _) = listener.accept().await.unwrap();
            ends.spawn(async move { end(stream, !down, each).await });
        }
        ends.join_all().await;
    });
    let target = address.recv().unwrap();
    program("agent", &report, agent(dialer(hub, pin), target, streams));
    program("person", &report, async move {
        let (wire, _) = dialer(hub, pin)
            .websocket("/person", HeaderMap::new())
            .await
            .unwrap();
        let (link, driver) = Link::new(wire, Side::Client, LinkConfig::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { drop(driver.run().await) });
        let mut ends = JoinSet::new();
        let begun = Instant::now();
        for number in 0..streams {
            let mut stream = link.open(request(number)).unwrap();
            stream.opened().await.unwrap();
            ends.spawn(async move { end(stream, down, each).await });
        }
        ends.join_all().await;
        println!("{:7.0} MiB/s", mib as f64 / begun.elapsed().as_secs_f64());
    });
    drop(report);
    for (name, seconds) in reports {
        println!("{name:>7} {:.3} s/GiB", seconds * 1024.0 / mib as f64);
    }
}

/// Runs a program on a thread of its own and reports what it cost.
fn program(name: &'static str, report: &Report, work: impl Future<Output = ()> + Send + 'static) {
    let report = report.clone();
    let body = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(work);
        let spent = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        let nanoseconds: f64 = spent.split(' ').next().unwrap().parse().unwrap();
        report.send((name, nanoseconds / 1e9)).unwrap();
    };
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .unwrap();
}

async fn hub(listener: TcpListener, tls: TlsAcceptor, streams: u64) {
    let (upgrades, mut upgraded) = tokio::sync::mpsc::channel::<(bool, PendingUpgrade)>(2);
    let mut tasks = JoinSet::new();
    for _ in 0..2 {
        let (stream, _) = listener.accept().await.unwrap();
        kedge_tunnel::socket_options(&stream);
        let stream = tls.accept(Carrier::new(stream)).await.unwrap();
        let upgrades = upgrades.clone();
        let service = service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
            let person = request.uri().path() == "/person";
            let (response, pending) = upgrade(&mut request).unwrap();
            upgrades.try_send((person, pending)).unwrap();
            async { Ok::<_, Infallible>(response.map(|()| Empty::<Bytes>::new())) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tasks.spawn(async move { connection.await.unwrap() });
    }
    let (mut from, mut to) = (None, None);
    for _ in 0..2 {
        let (person, pending) = upgraded.recv().await.unwrap();
        let wire = pending.websocket().await.unwrap();
        let (link, driver) = Link::new(wire, Side::Server, LinkConfig::default());
        tasks.spawn(async move { drop(driver.run().await) });
        *if person { &mut from } else { &mut to } = Some(link);
    }
    let (from, to) = (from.unwrap(), to.unwrap());
    let mut relays = Vec::new();
    for number in 0..streams {
        let incoming = from.accept().await.unwrap();
        relays.push(incoming.relay(&to, request(number)));
    }
    for relay in relays {
        relay.ended().await;
    }
}

async fn agent(dialer: Dialer, target: SocketAddr, streams: u64) {
    let (wire, _) = dialer.websocket("/agent", HeaderMap::new()).await.unwrap();
    let (link, driver) = Link::new(wire, Side::Client, LinkConfig::default());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { drop(driver.run().await) });
    let mut splices = JoinSet::new();
    for _ in 0..streams {
        let incoming = link.accept().await.unwrap();
        let stream = incoming.accept(Attributes::new());
        let socket = TcpStream::connect(target).await.unwrap();
        splices.spawn(splice(stream, socket, ResetCode::TargetReset));
    }
    splices.join_all().await;
}

/// Reads or writes so much, and waits for the other side to be done.
async fn end<S>(mut stream: S, reads: bool, bytes: u64)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut buffer = vec![7; 256 << 10];
    let mut left = bytes;
    while reads && left > 0 {
        left -= stream.read(&mut buffer).await.unwrap() as u64;
    }
    while left > 0 {
        let len = left.min(buffer.len() as u64) as usize;
        stream.write_all(buffer.get(..len).unwrap()).await.unwrap();
        left -= len as u64;
    }
    stream.shutdown().await.unwrap();
    while stream.read(&mut buffer).await.unwrap() > 0 {}
}

fn dialer(hub: SocketAddr, pin: CertificatePin) -> Dialer {
    let url = Url::parse(&format!("https://{hub}/")).unwrap();
    Dialer::builder(url)
        .trust(Trust::Pinned(vec![pin]))
        .build()
        .unwrap()
}

fn request(number: u64) -> OpenRequest {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.to_be_bytes());
    OpenRequest {
        target: Target::ssh(),
        key: StreamKey(key),
        resume: ResumeSecret::new([7; 32]).hash(),
        attributes: Attributes::new()
            .with(AttributeId::SERVER, "web01")
            .unwrap(),
    }
}
