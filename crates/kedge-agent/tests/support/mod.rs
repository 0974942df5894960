//! A hub in the test's own process: it knows enough to be joined, reported to and dialled, and
//! misbehaves on demand.

#![allow(
    dead_code,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests, and each test file uses its own part"
)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use kedge_api::resources::{Server, ServerSpec};
use kedge_api::rest::{AgentReport, Authentication, Discovery, Enrolled, Enrollment, HubIdentity};
use kedge_api::{
    AGENT_PATH, API_PATH, AgentPublicKey, DISCOVERY_PATH, HubId, HubUrl, JoinTokenName,
    JoinTokenSecret, Resource, ServerName, Status, StatusReason, Time, assertion,
};
use kedge_tunnel::{CertificatePin, Link, LinkConfig, Side, upgrade};
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// An Ed25519 host key, as a file of `ssh-keygen` has it.
pub(crate) const HOST_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ+dMkKPOVV8C8IY4sNbNN1eLBvHNBdHYlnLtoSsn6zF root@web01\n";

/// Another one.
pub(crate) const OTHER_HOST_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS root@web01\n";

/// How the hub answers an enrolment.
#[derive(Clone, Debug, Default)]
pub(crate) enum Enrolling {
    /// As it should.
    #[default]
    Good,
    /// It enrols the agent, and hangs up instead of saying so.
    LosesItsAnswer,
    /// It says no.
    Refuses(Status),
    /// It enrols somebody else.
    WrongName,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) enrolling: Enrolling,
    /// How often the token may still be used.
    pub(crate) uses: u32,
    pub(crate) servers: BTreeMap<ServerName, AgentPublicKey>,
    pub(crate) enrolments: Vec<Enrollment>,
    pub(crate) reports: Vec<AgentReport>,
    /// Whether links are opened and then neither read nor written.
    pub(crate) deaf: bool,
    /// What reports are answered with, when not 200.
    pub(crate) report_status: Option<StatusCode>,
}

pub(crate) struct Hub {
    pub(crate) address: SocketAddr,
    pub(crate) id: HubId,
    pub(crate) token: Arc<JoinTokenSecret>,
    pub(crate) pin: Option<CertificatePin>,
    pub(crate) ledger: Arc<Mutex<Ledger>>,
    pub(crate) links: mpsc::Receiver<Link>,
    tasks: JoinSet<()>,
}

impl Hub {
    pub(crate) async fn plain() -> Self {
        Self::start(None, None).await
    }

    pub(crate) async fn with_tls() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let pin = CertificatePin::of(&certificate);
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        Self::start(Some(TlsAcceptor::from(Arc::new(config))), Some(pin)).await
    }

    async fn start(tls: Option<TlsAcceptor>, pin: Option<CertificatePin>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let secret = kedge_api::random::bytes().unwrap();
        let token = JoinTokenSecret::from_parts(JoinTokenName::from_bytes([5; 10]), &secret);
        let token = Arc::new(token);
        let ledger = Arc::new(Mutex::new(Ledger {
            uses: 1,
            ..Ledger::default()
        }));
        let (sender, links) = mpsc::channel(8);
        let id = HubId::from_bytes([9; 16]);
        let shared = Shared {
            id: id.clone(),
            token: Arc::clone(&token),
            ledger: Arc::clone(&ledger),
            links: sender,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                kedge_tunnel::socket_options(&stream);
                let (shared, tls) = (shared.clone(), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, shared).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, shared).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            address,
            id,
            token,
            pin,
            ledger,
            links,
            tasks,
        }
    }

    pub(crate) fn url(&self) -> HubUrl {
        let scheme = if self.pin.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address).parse().unwrap()
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Ledger)) {
        change(&mut self.ledger.lock().unwrap());
    }

    pub(crate) fn seen<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        look(&self.ledger.lock().unwrap())
    }

    /// The next link an agent opens.
    pub(crate) async fn link(&mut self) -> Link {
        soon(self.links.recv()).await.unwrap()
    }

    /// Kills every connection without a word.
    pub(crate) async fn crash(&mut self) {
        self.tasks.shutdown().await;
    }
}

/// Waits for what should be there soon.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("it should be there soon")
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let poll = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), poll)
        .await
        .unwrap_or_else(|_| panic!("{what}"));
}

/// A folder with one host key, and the pattern that finds it.
pub(crate) fn host_keys(folder: &Path) -> (PathBuf, Vec<String>) {
    let path = folder.join("ssh_host_ed25519_key.pub");
    std::fs::write(&path, HOST_KEY).unwrap();
    (
        path,
        vec![format!("{}/ssh_host_*_key.pub", folder.display())],
    )
}

#[derive(Clone)]
struct Shared {
    id: HubId,
    token: Arc<JoinTokenSecret>,
    ledger: Arc<Mutex<Ledger>>,
    links: mpsc::Sender<Link>,
}

#[derive(Debug)]
struct HangUp;

impl std::fmt::Display for HangUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the hub hangs up on purpose")
    }
}

impl std::error::Error for HangUp {}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, shared: Shared) {
    let (sender, mut pending) = mpsc::channel(1);
    let (links, ledger) = (shared.links.clone(), Arc::clone(&shared.ledger));
    let service = service_fn(move |request| answer(request, shared.clone(), sender.clone()));
    let connection = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let link = async {
        let Some(pending) = pending.recv().await else {
            return;
        };
        let pending: kedge_tunnel::PendingUpgrade = pending;
        let websocket = pending.websocket().await.unwrap();
        if ledger.lock().unwrap().deaf {
            return std::future::pending().await;
        }
        let (link, driver) = Link::new(websocket, Side::Server, LinkConfig::default());
        links.send(link).await.unwrap();
        driver.run().await;
    };
    let _ = tokio::join!(connection, link);
}

async fn answer(
    mut request: Request<Incoming>,
    shared: Shared,
    upgrades: mpsc::Sender<kedge_tunnel::PendingUpgrade>,
) -> Result<Response<Full<Bytes>>, HangUp> {
    let path = request.uri().path().to_owned();
    let bearer = request
        .headers()
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    let bearer = bearer
        .and_then(|value| value.strip_prefix("Bearer "))
        .map(str::to_owned);
    if path == DISCOVERY_PATH {
        return Ok(json(200, &shared.discovery()));
    }
    if path == AGENT_PATH {
        if shared.agent(bearer.as_deref()).is_none() {
            return Ok(status(
                StatusReason::Unauthorized,
                "not an agent of this hub",
            ));
        }
        return Ok(match upgrade(&mut request) {
            Ok((response, pending)) => {
                upgrades.try_send(pending).unwrap();
                response.map(|()| Full::default())
            }
            Err(error) => status(StatusReason::BadRequest, &error.to_string()),
        });
    }
    assert_eq!(request.method(), Method::POST, "{path}");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    if path == format!("{API_PATH}/enrollments") {
        return shared.enrol(bearer.as_deref(), &body);
    }
    let Some(server) = shared.agent(bearer.as_deref()) else {
        return Ok(status(
            StatusReason::Unauthorized,
            "not an agent of this hub",
        ));
    };
    assert_eq!(path, format!("{API_PATH}/servers/{server}/agentreport"));
    let mut ledger = shared.ledger.lock().unwrap();
    ledger.reports.push(serde_json::from_slice(&body).unwrap());
    Ok(match ledger.report_status {
        None => json(200, &serde_json::json!({})),
        Some(StatusCode::CONFLICT) => status(StatusReason::Conflict, "the host keys have changed"),
        Some(code) => Response::builder()
            .status(code)
            .body(Full::default())
            .unwrap(),
    })
}

impl Shared {
    fn discovery(&self) -> Discovery {
        Discovery {
            id: self.id.clone(),
            name: "main".parse().unwrap(),
            version: "0.0.0".parse().unwrap(),
            protocols: vec!["kedge.v1".to_owned()],
            authentication: Authentication::default(),
            suffix: "kedge".parse().unwrap(),
            certificate_pin: None,
        }
    }

    /// The server whose agent signed this.
    fn agent(&self, bearer: Option<&str>) -> Option<ServerName> {
        let claimed = assertion::claimed_server(bearer?).ok()?;
        let ledger = self.ledger.lock().unwrap();
        let key = ledger.servers.get(&claimed)?;
        let now = Time::from(Timestamp::now());
        assertion::verify(bearer?, key, &self.id, now)
            .ok()
            .map(|verified| verified.server)
    }

    fn enrol(&self, bearer: Option<&str>, body: &[u8]) -> Result<Response<Full<Bytes>>, HangUp> {
        let enrollment: Enrollment = serde_json::from_slice(body).unwrap();
        let mut ledger = self.ledger.lock().unwrap();
        ledger.enrolments.push(enrollment.clone());
        let known = bearer.and_then(|bearer| bearer.parse::<JoinTokenSecret>().ok());
        if !known.is_some_and(|token| token.verify(&self.token.hash())) || ledger.uses == 0 {
            return Ok(status(
                StatusReason::Unauthorized,
                "join token unknown or used up",
            ));
        }
        let now = Time::from(Timestamp::now());
        let (key, name) = (&enrollment.public_key, &enrollment.name);
        let hash = self.token.hash();
        assertion::verify_enrolment(&enrollment.proof, key, &self.id, name, &hash, now).unwrap();
        if let Enrolling::Refuses(status) = &ledger.enrolling {
            return Ok(json(status.code, status));
        }
        if ledger.servers.get(name).is_some_and(|known| known != key) {
            return Ok(status(
                StatusReason::AlreadyExists,
                "server `web01` already exists",
            ));
        }
        ledger.uses -= 1;
        ledger.servers.insert(name.clone(), *key);
        let name = match ledger.enrolling {
            Enrolling::LosesItsAnswer => return Err(HangUp),
            Enrolling::WrongName => "other".parse().unwrap(),
            _ => name.clone(),
        };
        let server = Server::new(name.into(), ServerSpec::default());
        let hub = HubIdentity {
            id: self.id.clone(),
            name: "main".parse().unwrap(),
        };
        Ok(json(201, &Enrolled { server, hub }))
    }
}

fn json(code: u16, body: &impl serde::Serialize) -> Response<Full<Bytes>> {
    let body = Full::from(serde_json::to_vec(body).unwrap());
    Response::builder().status(code).body(body).unwrap()
}

fn status(reason: StatusReason, message: &str) -> Response<Full<Bytes>> {
    let status = Status::new(reason, message);
    json(status.code, &status)
}
