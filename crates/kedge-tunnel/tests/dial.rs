//! Dialling against hubs and proxies that behave, and against those that do not: each failure has
//! one error that names the object and the cause.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kedge_tunnel::{
    CertificatePin, DialError, DialStage, Dialer, PROTOCOLS_HEADER, ProxyEnvironment, ProxyPolicy,
    Timeouts, Trust, upgrade,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;
use url::Url;

#[tokio::test]
async fn a_websocket_carries_messages_with_and_without_tls() {
    for tls in [Tls::Off, Tls::On] {
        let hub = Hub::start(tls).await;
        let (mut websocket, negotiated) = hub
            .dialer()
            .websocket("/echo", HeaderMap::new())
            .await
            .unwrap();
        assert_eq!(negotiated.protocol, "kedge.v1");
        assert_eq!(negotiated.peer, Some(hub.address));
        // The hub speaks first here, in the same packet as its 101 perhaps.
        assert_eq!(
            websocket.next().await.unwrap().unwrap(),
            Message::binary("welcome")
        );
        let large = vec![7; 64 * 1024];
        websocket
            .send(Message::binary(large.clone()))
            .await
            .unwrap();
        assert_eq!(
            websocket.next().await.unwrap().unwrap(),
            Message::binary(large)
        );
    }
}

#[tokio::test]
async fn a_request_has_its_answer_whole() {
    let hub = Hub::start(Tls::On).await;
    let response = hub.dialer().fetch(get("/large"), 1 << 20).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.body().len(), 300_000);
    let error = hub
        .dialer()
        .fetch(get("/large"), 299_999)
        .await
        .unwrap_err();
    assert!(
        matches!(error, DialError::TooLong { limit: 299_999, .. }),
        "{error}"
    );
    // A body that has no end is read as far as its reader likes.
    let mut body = hub
        .dialer()
        .request(get("/endless"))
        .await
        .unwrap()
        .into_body();
    for _ in 0..3 {
        assert!(
            !body
                .frame()
                .await
                .unwrap()
                .unwrap()
                .into_data()
                .unwrap()
                .is_empty()
        );
    }
}

#[tokio::test]
async fn requests_carry_host_and_user_agent() {
    let hub = Hub::start(Tls::Off).await;
    let response = hub.dialer().fetch(get("/headers"), 1024).await.unwrap();
    let expected = format!("{}|kedge-test/1|close", hub.address);
    assert_eq!(response.body(), expected.as_bytes());
}

#[tokio::test]
async fn another_certificate_than_the_pinned_one_is_named() {
    let hub = Hub::start(Tls::On).await;
    let expected = CertificatePin::of(b"another");
    let dialer = hub.with(Trust::Pinned(vec![expected]));
    let error = dialer.fetch(get("/"), 1).await.unwrap_err();
    let text = error.to_string();
    let DialError::PinMismatch { got, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(*got, hub.pin);
    assert!(
        text.contains(&hub.pin.to_string()) && text.contains(&expected.to_string()),
        "{text}"
    );
    assert!(error.hint().is_some());
}

#[tokio::test]
async fn a_pinned_certificate_without_its_key_is_not_believed() {
    // The certificate of one hub, shown by somebody who has another key.
    let genuine = Identity::new();
    let impostor = Identity {
        certificate: genuine.certificate.clone(),
        ..Identity::new()
    };
    let pin = CertificatePin::of(&genuine.certificate);
    let acceptor = impostor.acceptor_unchecked();
    let hub = Hub::serve(Some(acceptor), pin).await;
    let error = hub.dialer().fetch(get("/"), 1).await.unwrap_err();
    assert!(matches!(error, DialError::Tls { .. }), "{error:?}");
}

#[tokio::test]
async fn one_of_several_pins_is_enough_and_the_pin_can_be_asked_for() {
    let hub = Hub::start(Tls::On).await;
    let dialer = hub.with(Trust::Pinned(vec![CertificatePin::of(b"old"), hub.pin]));
    assert_eq!(
        dialer.fetch(get("/"), 1024).await.unwrap().status(),
        StatusCode::NOT_FOUND
    );
    let asker = hub.with(Trust::Pinned(vec![CertificatePin::of(b"unknown")]));
    assert_eq!(asker.peer_certificate_pin().await.unwrap(), hub.pin);
}

#[tokio::test]
async fn a_certificate_nobody_vouches_for_is_named_with_its_pin() {
    let hub = Hub::start(Tls::On).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, Identity::new().pem()).unwrap();
    let error = hub
        .with(Trust::Roots(path))
        .fetch(get("/"), 1)
        .await
        .unwrap_err();
    let DialError::Untrusted { pin, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(*pin, hub.pin);
    assert!(
        error
            .hint()
            .unwrap()
            .ends_with(&format!("--pin {}", hub.pin))
    );
}

#[tokio::test]
async fn a_root_from_a_file_is_believed_for_the_right_name() {
    let identity = Identity::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, identity.pem()).unwrap();
    let pin = CertificatePin::of(&identity.certificate);
    let hub = Hub::serve(Some(identity.acceptor()), pin).await;
    let url = format!("https://localhost:{}", hub.address.port());
    let named = builder(&url)
        .trust(Trust::Roots(path.clone()))
        .build()
        .unwrap();
    assert_eq!(
        named.fetch(get("/"), 1024).await.unwrap().status(),
        StatusCode::NOT_FOUND
    );
    // The certificate says "localhost" and not the address.
    let error = hub
        .with(Trust::Roots(path))
        .fetch(get("/"), 1)
        .await
        .unwrap_err();
    assert!(matches!(error, DialError::Untrusted { .. }), "{error:?}");
}

#[tokio::test]
async fn a_refusal_keeps_status_reason_and_pause() {
    let hub = Hub::start(Tls::Off).await;
    let error = hub
        .dialer()
        .websocket("/busy", HeaderMap::new())
        .await
        .unwrap_err();
    let DialError::Refused {
        status,
        retry_after,
        body,
        ..
    } = &error
    else {
        panic!("{error:?}")
    };
    assert_eq!(*status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(*retry_after, Some(Duration::from_secs(7)));
    assert!(body.starts_with(b"{\"kind\":\"Status\""));
    let expected = format!(
        "{} refused: 503 Service Unavailable (too many handshakes)",
        hub.address
    );
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn a_hub_of_another_time_says_which_side_to_upgrade() {
    let hub = Hub::start(Tls::Off).await;
    let dialer = hub.dialer();
    let error = dialer
        .websocket("/newer", HeaderMap::new())
        .await
        .unwrap_err();
    let DialError::Version { source, .. } = &error else {
        panic!("{error:?}")
    };
    assert!(
        source.to_string().ends_with("upgrade the caller"),
        "{source}"
    );
    let error = dialer
        .websocket("/no-protocol", HeaderMap::new())
        .await
        .unwrap_err();
    let DialError::Version { source, .. } = &error else {
        panic!("{error:?}")
    };
    assert!(source.to_string().ends_with("upgrade the hub"), "{source}");
}

#[tokio::test]
async fn a_101_that_is_no_answer_to_ours_is_refused() {
    let hub = Hub::start(Tls::Off).await;
    for path in ["/wrong-accept", "/extension", "/no-websocket"] {
        let error = hub
            .dialer()
            .websocket(path, HeaderMap::new())
            .await
            .unwrap_err();
        assert!(
            matches!(error, DialError::Handshake { .. }),
            "{path}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_closed_port_is_named_with_every_address_tried() {
    let address = closed_port().await;
    let dialer = builder(&format!("http://localhost:{}", address.port()))
        .build()
        .unwrap();
    let error = dialer.fetch(get("/"), 1).await.unwrap_err();
    let DialError::Connect { to, attempts } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(*to, format!("localhost:{}", address.port()));
    assert!(
        attempts.iter().any(|attempt| attempt.address == address),
        "{attempts:?}"
    );
    assert!(error.to_string().contains("Connection refused"), "{error}");
}

#[tokio::test]
async fn a_name_without_address_is_named() {
    let dialer = builder("https://kedge-test.invalid").build().unwrap();
    let error = dialer.fetch(get("/"), 1).await.unwrap_err();
    // Without any resolver the step may end in its deadline instead.
    match &error {
        DialError::Resolve { host, .. } => assert_eq!(host, "kedge-test.invalid"),
        DialError::Timeout { stage, .. } => assert_eq!(*stage, DialStage::Resolve),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_silent_hub_costs_a_deadline_in_each_step() {
    let silent = Silent::start().await;
    for (scheme, expected) in [("https", DialStage::Tls), ("http", DialStage::Answer)] {
        let url = format!("{scheme}://{}", silent.address);
        let dialer = builder(&url).timeouts(short()).build().unwrap();
        let error = dialer.websocket("/", HeaderMap::new()).await.unwrap_err();
        let DialError::Timeout { stage, .. } = error else {
            panic!("{error:?}")
        };
        assert_eq!(stage, expected);
        assert!(
            error.to_string().starts_with(&silent.address.to_string()),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_never_ends_its_body_costs_a_deadline() {
    let hub = Hub::start(Tls::Off).await;
    let dialer = builder(&hub.url()).timeouts(short()).build().unwrap();
    let error = dialer.fetch(get("/endless"), usize::MAX).await.unwrap_err();
    assert!(
        matches!(
            error,
            DialError::Timeout {
                stage: DialStage::Body,
                ..
            }
        ),
        "{error:?}"
    );
    // A refusal with such a body is still a refusal, soon.
    let error = dialer
        .websocket("/endless", HeaderMap::new())
        .await
        .unwrap_err();
    assert!(matches!(error, DialError::Refused { .. }), "{error:?}");
}

#[tokio::test]
async fn a_hub_without_tls_is_told_from_one_with() {
    let hub = Hub::start(Tls::Off).await;
    let dialer = builder(&hub.url().replace("http:", "https:"))
        .build()
        .unwrap();
    let error = dialer.fetch(get("/"), 1).await.unwrap_err();
    assert!(matches!(error, DialError::Tls { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("http://"));
}

#[tokio::test]
async fn a_proxy_is_passed_with_its_credentials() {
    let hub = Hub::start(Tls::On).await;
    let mut proxy = Proxy::start(Manners::Good).await;
    let dialer = hub.through(&proxy, "user:pa%3Ass@");
    let (mut websocket, negotiated) = dialer.websocket("/echo", HeaderMap::new()).await.unwrap();
    assert_eq!(
        websocket.next().await.unwrap().unwrap(),
        Message::binary("welcome")
    );
    assert_eq!(negotiated.peer, Some(proxy.address));
    assert_eq!(dialer.proxy(), Some(proxy.address.to_string().as_str()));
    let head = proxy.heads.recv().await.unwrap();
    assert!(
        head.starts_with(&format!("CONNECT {} HTTP/1.1\r\n", hub.address)),
        "{head}"
    );
    // base64 of user:pa:ss
    assert!(
        head.to_lowercase()
            .contains("proxy-authorization: basic dxnlcjpwytpzcw==\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn a_proxy_is_not_asked_for_what_no_proxy_names() {
    let hub = Hub::start(Tls::On).await;
    let mut proxy = Proxy::start(Manners::Good).await;
    let environment = ProxyEnvironment {
        https: Some(format!("http://{}", proxy.address)),
        none: Some("127.0.0.0/8".to_owned()),
        ..ProxyEnvironment::default()
    };
    let dialer = builder(&hub.url())
        .trust(Trust::Pinned(vec![hub.pin]))
        .proxy(ProxyPolicy::FromEnvironment(environment))
        .build()
        .unwrap();
    dialer.fetch(get("/"), 1024).await.unwrap();
    assert!(proxy.heads.try_recv().is_err());
}

#[tokio::test]
async fn a_proxy_that_refuses_or_misbehaves_is_named() {
    let hub = Hub::start(Tls::On).await;
    for (manners, expected) in [
        (
            Manners::AsksForPassword,
            "407 Proxy Authentication Required (put user:password@",
        ),
        (Manners::Forbids, "it refused to connect to 127.0.0.1:"),
        (
            Manners::NoHttp,
            "it did not answer CONNECT as an HTTP proxy does",
        ),
        (
            Manners::HangsUp,
            "it did not answer CONNECT as an HTTP proxy does",
        ),
        (Manners::TalksFirst, "it sent more than its answer"),
    ] {
        let proxy = Proxy::start(manners).await;
        let error = hub
            .through(&proxy, "")
            .fetch(get("/"), 1)
            .await
            .unwrap_err();
        let DialError::Proxy {
            proxy: name,
            source,
        } = &error
        else {
            panic!("{error:?}")
        };
        assert_eq!(*name, proxy.address.to_string());
        assert!(source.to_string().contains(expected), "{source}");
    }
}

#[tokio::test]
async fn a_silent_or_absent_proxy_is_named() {
    let hub = Hub::start(Tls::On).await;
    let silent = Silent::start().await;
    let environment = |address: SocketAddr| {
        ProxyPolicy::FromEnvironment(ProxyEnvironment {
            all: Some(address.to_string()),
            ..ProxyEnvironment::default()
        })
    };
    let via = |address| {
        builder(&hub.url())
            .timeouts(short())
            .proxy(environment(address))
            .build()
            .unwrap()
    };
    let error = via(silent.address).fetch(get("/"), 1).await.unwrap_err();
    let expected = format!(
        "the proxy {} did not answer CONNECT within 0.1 s",
        silent.address
    );
    assert_eq!(error.to_string(), expected);
    let absent = closed_port().await;
    let error = via(absent).fetch(get("/"), 1).await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with(&format!("cannot connect to the proxy {absent}: ")),
        "{error}"
    );
}

#[tokio::test]
async fn urls_that_are_none_of_a_hub_are_refused() {
    for url in [
        "ftp://hub",
        "https://hub/path",
        "https://hub?x=1",
        "https://hub#x",
        "http://al:pw@hub",
    ] {
        let error = builder(url).build().unwrap_err();
        assert!(matches!(error, DialError::Url { .. }), "{url}: {error:?}");
        assert!(!error.to_string().contains("pw"), "{error}");
    }
}

fn get(path: &str) -> Request<Bytes> {
    Request::get(path).body(Bytes::new()).unwrap()
}

fn builder(url: &str) -> kedge_tunnel::DialerBuilder {
    Dialer::builder(Url::parse(url).unwrap()).user_agent("kedge-test/1")
}

fn short() -> Timeouts {
    let time = Duration::from_millis(100);
    Timeouts {
        proxy: time,
        tls: time,
        answer: time,
        body: time,
        ..Timeouts::default()
    }
}

async fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// Accepts and says nothing.
struct Silent {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Silent {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                held.push(stream);
            }
        });
        Self {
            address,
            _tasks: tasks,
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Tls {
    Off,
    On,
}

struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    pem: String,
}

impl Identity {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        Self {
            certificate: made.cert.der().clone(),
            key: PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap(),
            pem: made.cert.pem(),
        }
    }

    fn pem(&self) -> &str {
        &self.pem
    }

    fn acceptor(self) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate], self.key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    /// Like `acceptor`, also when key and certificate do not belong together.
    fn acceptor_unchecked(self) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = provider.key_provider.load_private_key(self.key).unwrap();
        let certified = rustls::sign::CertifiedKey::new(vec![self.certificate], key);
        let resolver = Arc::new(rustls::sign::SingleCertAndKey::from(certified));
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        TlsAcceptor::from(Arc::new(config))
    }
}

struct Hub {
    address: SocketAddr,
    tls: Tls,
    pin: CertificatePin,
    _tasks: JoinSet<()>,
}

impl Hub {
    async fn start(tls: Tls) -> Self {
        let identity = Identity::new();
        let pin = CertificatePin::of(&identity.certificate);
        Self::serve((tls == Tls::On).then(|| identity.acceptor()), pin).await
    }

    async fn serve(acceptor: Option<TlsAcceptor>, pin: CertificatePin) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tls = if acceptor.is_some() {
            Tls::On
        } else {
            Tls::Off
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                connections.spawn(async move {
                    match acceptor {
                        None => serve(stream).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            address,
            tls,
            pin,
            _tasks: tasks,
        }
    }

    fn url(&self) -> String {
        let scheme = if self.tls == Tls::On { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    fn dialer(&self) -> Dialer {
        self.with(Trust::Pinned(vec![self.pin]))
    }

    fn with(&self, trust: Trust) -> Dialer {
        builder(&self.url()).trust(trust).build().unwrap()
    }

    fn through(&self, proxy: &Proxy, credentials: &str) -> Dialer {
        let environment = ProxyEnvironment {
            https: Some(format!("http://{credentials}{}", proxy.address)),
            ..ProxyEnvironment::default()
        };
        builder(&self.url())
            .trust(Trust::Pinned(vec![self.pin]))
            .proxy(ProxyPolicy::FromEnvironment(environment))
            .build()
            .unwrap()
    }
}

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) {
    let (echoes, mut started) = mpsc::channel(1);
    let service = service_fn(move |request| {
        let echoes = echoes.clone();
        async move { Ok::<_, Infallible>(answer(request, echoes)) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let echo = async {
        if let Some(pending) = started.recv().await {
            let pending: kedge_tunnel::PendingUpgrade = pending;
            let mut websocket = pending.websocket().await.unwrap();
            websocket.send(Message::binary("welcome")).await.unwrap();
            while let Some(Ok(message)) = websocket.next().await {
                if websocket.send(message).await.is_err() {
                    break;
                }
            }
        }
    };
    let _ = tokio::join!(connection, echo);
}

fn answer(
    mut request: Request<Incoming>,
    echoes: mpsc::Sender<kedge_tunnel::PendingUpgrade>,
) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let whole = |text: String| Full::new(Bytes::from(text)).boxed_unsync();
    let with = |status: u16, headers: &[(&str, &str)], text: &str| {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        response.body(whole(text.to_owned())).unwrap()
    };
    let accept = |request: &Request<Incoming>| {
        let key = request.headers()["sec-websocket-key"].as_bytes();
        tokio_tungstenite::tungstenite::handshake::derive_accept_key(key)
    };
    match path.as_str() {
        "/echo" => {
            let (response, pending) = upgrade(&mut request).unwrap();
            echoes.try_send(pending).unwrap();
            response.map(|()| whole(String::new()))
        }
        "/large" => with(200, &[], &"x".repeat(300_000)),
        "/endless" => {
            let ticks = futures_util::stream::unfold((), |()| async {
                tokio::time::sleep(Duration::from_millis(5)).await;
                let frame = hyper::body::Frame::data(Bytes::from_static(b"tick\n"));
                Some((Ok::<_, Infallible>(frame), ()))
            });
            Response::new(http_body_util::StreamBody::new(ticks).boxed_unsync())
        }
        "/headers" => {
            let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
            let line = [header("host"), header("user-agent"), header("connection")].join("|");
            with(200, &[], &line)
        }
        "/busy" => {
            let status = r#"{"kind":"Status","message":"too many handshakes","code":503}"#;
            with(503, &[("retry-after", "7")], status)
        }
        "/newer" => with(400, &[(PROTOCOLS_HEADER, "kedge.v3, kedge.v2")], ""),
        "/no-protocol" => {
            let accept = accept(&request);
            let headers = [("connection", "upgrade"), ("upgrade", "websocket")];
            with(
                101,
                &[&headers[..], &[("sec-websocket-accept", &accept)]].concat(),
                "",
            )
        }
        "/wrong-accept" => {
            let headers = [("connection", "upgrade"), ("upgrade", "websocket")];
            with(
                101,
                &[&headers[..], &[("sec-websocket-accept", "AAAA")]].concat(),
                "",
            )
        }
        "/extension" => {
            let accept = accept(&request);
            let headers = [
                ("connection", "upgrade"),
                ("upgrade", "websocket"),
                ("sec-websocket-accept", accept.as_str()),
                ("sec-websocket-extensions", "permessage-deflate"),
                ("sec-websocket-protocol", "kedge.v1"),
            ];
            with(101, &headers, "")
        }
        "/no-websocket" => with(101, &[("connection", "upgrade"), ("upgrade", "h2c")], ""),
        _ => with(404, &[], "not found"),
    }
}

#[derive(Clone, Copy)]
enum Manners {
    AsksForPassword,
    Forbids,
    Good,
    HangsUp,
    NoHttp,
    TalksFirst,
}

struct Proxy {
    address: SocketAddr,
    heads: mpsc::Receiver<String>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    async fn start(manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, heads) = mpsc::channel(8);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(pass(stream, manners, sender.clone()));
            }
        });
        Self {
            address,
            heads,
            _tasks: tasks,
        }
    }
}

async fn pass(mut stream: TcpStream, manners: Manners, heads: mpsc::Sender<String>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.split(' ').nth(1).unwrap().to_owned();
    let _ = heads.send(head).await;
    let answer: &[u8] = match manners {
        Manners::AsksForPassword => {
            b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
        }
        Manners::Forbids => b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nnever",
        Manners::Good => b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n",
        Manners::HangsUp => b"",
        Manners::NoHttp => b"SSH-2.0-OpenSSH_9.2\r\n",
        Manners::TalksFirst => b"HTTP/1.1 200 OK\r\n\r\nhello",
    };
    stream.write_all(answer).await.unwrap();
    if let Manners::Good = manners {
        let mut hub = TcpStream::connect(target).await.unwrap();
        let _ = copy_bidirectional(&mut stream, &mut hub).await;
    }
}
