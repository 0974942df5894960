//! Documents of other servers: what is fetched, what is refused, and how long anybody waits.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode};
use kedge_tunnel::{
    DialError, DialStage, ProxyEnvironment, ProxyPolicy, Timeouts, Trust, WebClient,
};
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

#[tokio::test]
async fn a_document_is_fetched_with_its_whole_path_and_query() {
    let server = Server::start(|request| {
        let line = request.lines().next().unwrap().to_owned();
        let host = request.to_lowercase().contains("\r\nhost: 127.0.0.1:");
        answer("200 OK", "", &format!("{line}|{host}"))
    })
    .await;
    let url = format!("http://{}/a/b?c=d&e=%20", server.address);
    let response = client(Trust::System).fetch(get(&url), 1024).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.body(), &"GET /a/b?c=d&e=%20 HTTP/1.1|true");
}

#[tokio::test]
async fn a_form_is_posted_with_its_length() {
    let server = Server::start(|request| {
        let length = request.to_lowercase().contains("content-length: 9\r\n");
        let body = request.split_once("\r\n\r\n").unwrap().1;
        answer("200 OK", "", &format!("{length} {body}"))
    })
    .await;
    let mut request = get(&format!("http://{}/token", server.address)).map(|_| "code=a%2Bb".into());
    *request.body_mut() = Bytes::from_static(b"code=a%2B");
    *request.method_mut() = http::Method::POST;
    let response = client(Trust::System).fetch(request, 1024).await.unwrap();
    assert_eq!(response.body(), &"true code=a%2B");
}

#[tokio::test]
async fn roots_as_text_are_believed_and_others_are_not() {
    let identity = Identity::new();
    let server = Server::secure(&identity, |_| answer("200 OK", "", "secret")).await;
    let url = format!("https://localhost:{}/", server.address.port());
    let client = client(Trust::Pem(identity.authority.clone().into()));
    for _ in 0..2 {
        let response = client.fetch(get(&url), 1024).await.unwrap();
        assert_eq!(response.body(), &"secret");
    }
    for trust in [
        Trust::System,
        Trust::Pem(Identity::new().authority.clone().into()),
    ] {
        let error = WebClient::new(trust, ProxyPolicy::None)
            .unwrap()
            .fetch(get(&url), 1024)
            .await
            .unwrap_err();
        assert!(matches!(error, DialError::Untrusted { .. }), "{error:?}");
        assert!(error.to_string().contains("localhost:"), "{error}");
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_never_followed() {
    let elsewhere = Server::start(|_| answer("200 OK", "", "elsewhere")).await;
    let location = format!("Location: http://{}/\r\n", elsewhere.address);
    let server = Server::start(move |_| answer("302 Found", &location, "there")).await;
    let url = format!("http://{}/", server.address);
    let response = client(Trust::System).fetch(get(&url), 1024).await.unwrap();
    assert_eq!(response.status(), StatusCode::FOUND);
    assert_eq!(response.body(), &"there");
    assert_eq!(elsewhere.requests(), 0);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_announced_or_not() {
    let long = "x".repeat(5000);
    let chunked = format!("1388\r\n{long}\r\n0\r\n\r\n");
    let server = Server::start(move |request| match request.starts_with("GET /chunked") {
        true => format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"),
        false => answer("200 OK", "", &long),
    })
    .await;
    for path in ["announced", "chunked"] {
        let url = format!("http://{}/{path}", server.address);
        let client = client(Trust::System);
        let error = client.fetch(get(&url), 4999).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the answer of {} is longer than 4999 bytes", server.address)
        );
        let whole = client.fetch(get(&url), 5000).await.unwrap();
        assert_eq!(whole.body().len(), 5000);
    }
}

#[tokio::test]
async fn a_server_that_drips_or_says_nothing_is_given_up() {
    let server = Server::start(|request| match request.starts_with("GET /drips") {
        true => "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx".to_owned(),
        false => String::new(),
    })
    .await;
    let timeouts = Timeouts {
        answer: Duration::from_millis(200),
        body: Duration::from_millis(200),
        ..Timeouts::default()
    };
    let client = client(Trust::System).with_timeouts(timeouts);
    for (path, expected) in [("drips", DialStage::Body), ("silent", DialStage::Answer)] {
        let url = format!("http://{}/{path}", server.address);
        let began = Instant::now();
        let error = client.fetch(get(&url), 1024).await.unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(5));
        let DialError::Timeout { stage, at, .. } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(*stage, expected);
        assert_eq!(*at, server.address.to_string());
    }
}

#[tokio::test]
async fn what_may_not_be_fetched_is_refused_before_anything_is_dialled() {
    let client = client(Trust::System);
    for (url, cause) in [
        ("http://id.example/token", "only a host of this machine"),
        ("https://alice@id.example/", "a user name or a password"),
        ("/token", "no whole URL"),
    ] {
        let error = client.fetch(get(url), 1024).await.unwrap_err();
        assert!(matches!(error, DialError::Url { .. }), "{error:?}");
        assert!(error.to_string().contains(cause), "{error}");
    }
}

#[tokio::test]
async fn this_machine_is_never_asked_for_through_a_proxy() {
    let server = Server::start(|_| answer("200 OK", "", "direct")).await;
    let proxy = Server::start(|_| answer("200 OK", "", "proxied")).await;
    let environment = ProxyEnvironment {
        all: Some(format!("http://{}", proxy.address)),
        ..ProxyEnvironment::default()
    };
    let policy = ProxyPolicy::FromEnvironment(environment);
    let client = WebClient::new(Trust::System, policy).unwrap();
    let url = format!("http://{}/", server.address);
    let response = client.fetch(get(&url), 1024).await.unwrap();
    assert_eq!(response.body(), &"direct");
    assert_eq!(proxy.requests(), 0);
    // Others are: the proxy here does not connect anybody, and is named.
    let error = client
        .fetch(get("https://id.example/"), 1024)
        .await
        .unwrap_err();
    assert!(matches!(error, DialError::Proxy { .. }), "{error:?}");
    assert_eq!(proxy.requests(), 1);
}

fn client(trust: Trust) -> WebClient {
    WebClient::new(trust, ProxyPolicy::None).unwrap()
}

fn get(url: &str) -> Request<Bytes> {
    Request::get(url).body(Bytes::new()).unwrap()
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
}

struct Identity {
    authority: String,
    acceptor: TlsAcceptor,
}

impl Identity {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        Self {
            authority: made.cert.pem(),
            acceptor: TlsAcceptor::from(Arc::new(config)),
        }
    }
}

/// Answers each request with what `answer` makes of its text, and leaves the connection open.
struct Server {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self::serve(None, answer).await
    }

    async fn secure(
        identity: &Identity,
        answer: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> Self {
        Self::serve(Some(identity.acceptor.clone()), answer).await
    }

    async fn serve(
        acceptor: Option<TlsAcceptor>,
        answer: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&requests);
        let answer = Arc::new(answer);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, answer) = (acceptor.clone(), Arc::clone(&answer));
                let counter = Arc::clone(&counter);
                connections.spawn(async move {
                    match acceptor {
                        None => converse(stream, &*answer, &counter).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                converse(stream, &*answer, &counter).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            address,
            requests,
            _tasks: tasks,
        }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    answer: &(dyn Fn(&str) -> String + Send + Sync),
    requests: &AtomicUsize,
) {
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let Ok(read @ 1..) = stream.read(&mut chunk).await else {
            return;
        };
        request.extend_from_slice(chunk.get(..read).unwrap());
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .to_lowercase()
            .split_once("content-length: ")
            .map_or(0, |(_, rest)| rest.lines().next().unwrap().parse().unwrap());
        if body.len() >= length {
            requests.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(answer(&text).as_bytes()).await;
            request.clear();
        }
    }
}
