//! A hub, its people, and agents of our own.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, atomic::AtomicI64, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use kedge_api::{
    AgentKey, HostKeys, JoinTokenSecret, PersonToken, Server, ServerName, Status, Time,
    assertion::{self, Claims, EnrolmentBinding},
    rest::{AgentReport, Enrollment},
};
use kedge_hub::{
    clock::Clock,
    config::Config,
    daemon::{Daemon, Listeners, Reloader},
    stores::Stores,
};
use kedge_service::{Shards, Shutdown, Source, StopReport, listen};
use kedge_tunnel::{
    AttributeId, Attributes, DialError, Dialer, Link, LinkConfig, LinkEnd, OpenRequest, ResumeHash,
    Side, StreamKey, Target, TunnelStream,
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing_subscriber::layer::SubscriberExt as _;

pub(crate) const API: &str = "/apis/kedge.dev/v1alpha1";

/// How long something that happens "at once" may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// A running hub. Everything is on the test's own thread, unless it is told of others.
pub(crate) struct Hub {
    pub(crate) address: SocketAddr,
    pub(crate) admin_address: SocketAddr,
    pub(crate) shutdown: Shutdown,
    pub(crate) app: kedge_hub::app::App,
    pub(crate) reloader: Reloader,
    pub(crate) audit: Audit,
    running: Option<JoinHandle<StopReport>>,
    tokens: BTreeMap<&'static str, String>,
    ahead: Arc<AtomicI64>,
    directory: Arc<tempfile::TempDir>,
    extra: String,
    _log: tracing::subscriber::DefaultGuard,
}

/// The people of every hub: `admin` administers, the others are people.
pub(crate) const PEOPLE: [(&str, &str); 3] =
    [("admin", "ops"), ("alice", "dev"), ("bob", "guests")];

impl Hub {
    pub(crate) async fn start() -> Self {
        Self::with("").await
    }

    /// With more configuration.
    pub(crate) async fn with(extra: &str) -> Self {
        Self::at(Arc::new(tempfile::tempdir().unwrap()), extra).await
    }

    /// Over the state that another hub left.
    pub(crate) async fn at(directory: Arc<tempfile::TempDir>, extra: &str) -> Self {
        Self::over(Shards::here(), Shutdown::new(), directory, extra).await
    }

    /// With connections on these threads.
    pub(crate) async fn over(
        shards: Shards,
        shutdown: Shutdown,
        directory: Arc<tempfile::TempDir>,
        extra: &str,
    ) -> Self {
        let audit = Audit::default();
        let log =
            tracing::subscriber::set_default(tracing_subscriber::registry().with(audit.clone()));
        let tokens: BTreeMap<_, _> = PEOPLE
            .iter()
            .map(|(name, _)| (*name, token_of(name)))
            .collect();
        let settings = settings(&directory, extra);
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let listeners = Listeners {
            https: vec![listen::bind(loopback).unwrap()],
            admin: vec![listen::bind(loopback).unwrap()],
        };
        let ahead = Arc::new(AtomicI64::new(0));
        let seconds = Arc::clone(&ahead);
        let clock = Clock::from_fn(move || {
            let ahead = jiff::SignedDuration::from_secs(seconds.load(Ordering::Relaxed));
            jiff::Timestamp::now().checked_add(ahead).unwrap()
        });
        let stores = Stores::open(&settings).await.unwrap();
        let daemon = Daemon::build(settings, listeners, stores, clock, shards, shutdown.clone())
            .await
            .unwrap();
        let mut hub = Self {
            address: daemon.https(),
            admin_address: daemon.admin(),
            shutdown,
            app: daemon.app().clone(),
            reloader: daemon.reloader(),
            audit,
            running: None,
            tokens,
            ahead,
            directory,
            extra: extra.to_owned(),
            _log: log,
        };
        hub.running = Some(TaskTracker::new().spawn(daemon.run()));
        hub
    }

    pub(crate) fn token(&self, person: &str) -> &str {
        &self.tokens[person]
    }

    /// Turns the hub's clock forward.
    pub(crate) fn pass(&self, time: Duration) {
        self.ahead
            .fetch_add(i64::try_from(time.as_secs()).unwrap(), Ordering::Relaxed);
    }

    /// Where it keeps its state.
    pub(crate) fn state(&self) -> std::path::PathBuf {
        self.directory.path().join("state")
    }

    pub(crate) fn now(&self) -> Time {
        self.app.clock.now()
    }

    /// Reads another configuration, as SIGHUP does.
    pub(crate) fn reload(&self, text: &str) {
        let source = Source::from_text("hub.toml", text);
        let settings = source.parse::<Config>().unwrap().settle(&source).unwrap();
        self.reloader.reload(&settings);
    }

    pub(crate) fn dialer(&self) -> Dialer {
        Dialer::builder(format!("http://{}", self.address).parse().unwrap())
            .build()
            .unwrap()
    }

    /// A request with a person's token and perhaps a body.
    pub(crate) async fn ask(
        &self,
        who: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Reply {
        self.ask_with(
            Some(&format!("Bearer {}", self.token(who))),
            method,
            path,
            body,
        )
        .await
    }

    pub(crate) async fn ask_with(
        &self,
        authorization: Option<&str>,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let body = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Bytes::from(serde_json::to_vec(&body).unwrap())
            }
            None => Bytes::new(),
        };
        let response = self
            .dialer()
            .fetch(request.body(body).unwrap(), 16 << 20)
            .await
            .unwrap();
        let (parts, body) = response.into_parts();
        Reply {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    /// What the admin endpoint answers, head and body.
    pub(crate) async fn operators(&self, path: &str) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(self.admin_address)
            .await
            .unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// What whoever shows this token is told about themselves.
    pub(crate) async fn whoami(&self, token: &str) -> Reply {
        let bearer = format!("Bearer {token}");
        self.ask_with(Some(&bearer), Method::GET, &format!("{API}/whoami"), None)
            .await
    }

    pub(crate) async fn get(&self, who: &str, path: &str) -> Reply {
        self.ask(who, Method::GET, &format!("{API}{path}"), None)
            .await
    }

    pub(crate) async fn post(&self, who: &str, path: &str, body: Value) -> Reply {
        self.ask(who, Method::POST, &format!("{API}{path}"), Some(body))
            .await
    }

    pub(crate) async fn put(&self, who: &str, path: &str, body: Value) -> Reply {
        self.ask(who, Method::PUT, &format!("{API}{path}"), Some(body))
            .await
    }

    pub(crate) async fn delete(&self, who: &str, path: &str) -> Reply {
        self.ask(who, Method::DELETE, &format!("{API}{path}"), None)
            .await
    }

    /// A policy of `spec`, stored.
    pub(crate) async fn policy(&self, name: &str, spec: Value) {
        self.post("admin", "/accesspolicies", policy(name, spec))
            .await
            .expect(StatusCode::CREATED);
    }

    /// Lets `alice` in everywhere as herself.
    pub(crate) async fn let_alice_in(&self) {
        let spec = json!({
            "subjects": {"users": ["alice"]}, "servers": {"names": ["*"]}, "logins": ["{login}"],
        });
        self.policy("alice-everywhere", spec).await;
    }

    /// A join token, fresh.
    pub(crate) async fn join_token(&self, spec: Value) -> JoinTokenSecret {
        let body = json!({
            "apiVersion": "kedge.dev/v1alpha1", "kind": "JoinToken", "metadata": {}, "spec": spec,
        });
        let reply = self
            .post("admin", "/jointokens", body)
            .await
            .expect(StatusCode::CREATED);
        reply.json()["status"]["token"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap()
    }

    /// An agent that has enrolled as `name`, with the host key of that byte.
    pub(crate) async fn agent(&self, name: &str) -> Agent {
        let token = self.join_token(json!({})).await;
        let agent = Agent::new(name);
        agent.enrol(self, &token).await.expect(StatusCode::CREATED);
        agent
    }

    /// The server as stored.
    pub(crate) async fn server(&self, name: &str) -> Server {
        self.app.store.get::<Server>(name).await.unwrap()
    }

    /// Waits until the server's phase is as wanted.
    pub(crate) async fn phase(&self, name: &str, wanted: kedge_api::ServerPhase) -> Server {
        eventually(&format!("{name} to be {wanted}"), async || {
            let server = self.app.store.find::<Server>(name).await.unwrap()?;
            (server.status.phase == wanted).then_some(server)
        })
        .await
    }

    /// A person's link.
    pub(crate) async fn connect(&self, who: &str) -> Peer {
        self.try_connect(self.token(who)).await.unwrap()
    }

    pub(crate) async fn try_connect(&self, token: &str) -> Result<Peer, DialError> {
        self.link(kedge_api::CONNECT_PATH, token).await
    }

    pub(crate) async fn link(&self, path: &str, token: &str) -> Result<Peer, DialError> {
        let mut headers = HeaderMap::new();
        headers.insert(
            "authorization",
            HeaderValue::from_str(&format!("Bearer {token}")).unwrap(),
        );
        let (websocket, _) = self.dialer().websocket(path, headers).await?;
        let (link, driver) = Link::new(websocket, Side::Client, LinkConfig::default());
        let driver = AbortOnDropHandle::new(TaskTracker::new().spawn(driver.run()));
        Ok(Peer { link, driver })
    }

    /// Ends it in order.
    pub(crate) async fn stop(mut self) -> (StopReport, Arc<tempfile::TempDir>) {
        self.shutdown.begin();
        let report = self.running.take().unwrap().await.unwrap();
        (report, Arc::clone(&self.directory))
    }

    /// Ends it in order and starts it again over the same state.
    pub(crate) async fn restart(self) -> Self {
        let extra = self.extra.clone();
        let (_, directory) = self.stop().await;
        Self::at(directory, &extra).await
    }

    /// The end, once it has begun elsewhere.
    pub(crate) async fn ended(mut self) -> StopReport {
        self.running.take().unwrap().await.unwrap()
    }
}

/// The configuration of every hub here.
pub(crate) fn configuration(
    state: &std::path::Path,
    people: &[(&str, &str)],
    extra: &str,
) -> String {
    let mut text = format!(
        "listen = \"127.0.0.1:0\"\nstate-dir = \"{}\"\nadmins = {{ groups = [\"ops\"] }}\n\
         tls = {{ mode = \"off\" }}\n{extra}\n",
        state.display()
    );
    for (name, group) in people {
        let hash = token_of(name).parse::<PersonToken>().unwrap().hash();
        text += &format!(
            "[[people]]\nsubject = \"{name}\"\ntoken-sha256 = \"{hash}\"\ngroups = [\"{group}\"]\n\
             claims = {{ preferred_username = \"{name}\" }}\n"
        );
    }
    text
}

fn settings(directory: &tempfile::TempDir, extra: &str) -> kedge_hub::config::Settings {
    let text = configuration(&directory.path().join("state"), &PEOPLE, extra);
    let source = Source::from_text("hub.toml", text);
    source.parse::<Config>().unwrap().settle(&source).unwrap()
}

fn token_of(name: &str) -> String {
    let mut bytes = [7; 32];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    PersonToken::from_bytes(&bytes).reveal().to_owned()
}

pub(crate) fn policy(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "kedge.dev/v1alpha1", "kind": "AccessPolicy", "metadata": {"name": name}, "spec": spec,
    })
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    #[track_caller]
    pub(crate) fn expect(self, status: StatusCode) -> Self {
        assert_eq!(
            self.status,
            status,
            "{}",
            String::from_utf8_lossy(&self.body)
        );
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The error, which must be of this reason.
    #[track_caller]
    pub(crate) fn error(&self, reason: &str) -> Status {
        let status: Status = serde_json::from_slice(&self.body).unwrap_or_else(|_| {
            panic!(
                "no Status: {} {}",
                self.status,
                String::from_utf8_lossy(&self.body)
            )
        });
        assert_eq!(status.reason.as_str(), reason, "{}", status.message);
        assert_eq!(status.code, self.status.as_u16());
        status
    }
}

/// A link of ours, and what drives it.
pub(crate) struct Peer {
    pub(crate) link: Link,
    driver: AbortOnDropHandle<LinkEnd>,
}

impl Peer {
    /// Asks for a session.
    pub(crate) fn open(&self, server: &str, login: Option<&str>) -> TunnelStream {
        let mut attributes = Attributes::new()
            .with(AttributeId::SERVER, server.to_owned())
            .unwrap();
        if let Some(login) = login {
            attributes
                .insert(AttributeId::LOGIN, login.to_owned())
                .unwrap();
        }
        self.open_with(Target::ssh(), attributes)
    }

    pub(crate) fn open_with(&self, target: Target, attributes: Attributes) -> TunnelStream {
        let request = OpenRequest {
            target,
            key: StreamKey(kedge_api::random::bytes().unwrap()),
            resume: ResumeHash([0; 32]),
            attributes,
        };
        self.link.open(request).unwrap()
    }

    /// How the link ended.
    pub(crate) async fn end(self) -> LinkEnd {
        tokio::time::timeout(SOON, self.driver)
            .await
            .expect("the link does not end")
            .unwrap()
    }

    /// Breaks it as a machine that loses its power does.
    pub(crate) fn break_off(self) {
        drop(self);
    }
}

/// An agent made by hand.
pub(crate) struct Agent {
    pub(crate) name: ServerName,
    pub(crate) key: AgentKey,
    pub(crate) host_keys: HostKeys,
}

impl Agent {
    pub(crate) fn new(name: &str) -> Self {
        let key = AgentKey::from_seed(&kedge_api::random::bytes().unwrap()).unwrap();
        Self {
            name: name.parse().unwrap(),
            key,
            host_keys: host_keys(&[1]),
        }
    }

    pub(crate) fn enrollment(&self, hub: &Hub, token: &JoinTokenSecret) -> Value {
        let claims = Claims {
            server: self.name.clone(),
            audience: hub.app.id.clone(),
            nonce: nonce(),
            enrol: Some(EnrolmentBinding::new(&token.hash(), &self.key.public_key())),
        };
        let request = Enrollment {
            name: self.name.clone(),
            public_key: self.key.public_key(),
            labels: Default::default(),
            host_keys: self.host_keys.clone(),
            os: Some("Debian".parse().unwrap()),
            arch: Some("x86_64".parse().unwrap()),
            version: "0.1.0".parse().unwrap(),
            proof: assertion::sign(&self.key, &claims, hub.now()),
        };
        serde_json::to_value(request).unwrap()
    }

    pub(crate) async fn enrol(&self, hub: &Hub, token: &JoinTokenSecret) -> Reply {
        let body = self.enrollment(hub, token);
        self.enrol_with(hub, token.reveal(), body).await
    }

    pub(crate) async fn enrol_with(&self, hub: &Hub, token: &str, body: Value) -> Reply {
        let path = format!("{API}/enrollments");
        hub.ask_with(
            Some(&format!("Bearer {token}")),
            Method::POST,
            &path,
            Some(body),
        )
        .await
    }

    pub(crate) fn assertion(&self, hub: &Hub) -> String {
        let claims = Claims {
            server: self.name.clone(),
            audience: hub.app.id.clone(),
            nonce: nonce(),
            enrol: None,
        };
        assertion::sign(&self.key, &claims, hub.now())
    }

    /// Its tunnel.
    pub(crate) async fn dial(&self, hub: &Hub) -> Peer {
        hub.link(kedge_api::AGENT_PATH, &self.assertion(hub))
            .await
            .unwrap()
    }

    /// Its tunnel, answering every session with an echo.
    pub(crate) async fn serve(&self, hub: &Hub) -> Serving {
        let peer = self.dial(hub).await;
        let link = peer.link.clone();
        let task = AbortOnDropHandle::new(TaskTracker::new().spawn(async move {
            let mut sessions = tokio::task::JoinSet::new();
            while let Some(incoming) = link.accept().await {
                let stream = incoming.accept(Attributes::new());
                sessions.spawn(async move {
                    let (mut from, mut to) = tokio::io::split(stream);
                    // An echo that fails is a session that was ended; its other end sees how.
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                    let _ = tokio::io::AsyncWriteExt::shutdown(&mut to).await;
                });
            }
        }));
        Serving { peer, _task: task }
    }

    pub(crate) async fn report(&self, hub: &Hub, host_keys: &HostKeys) -> Reply {
        self.report_as(hub, &self.name.clone(), host_keys).await
    }

    pub(crate) async fn report_as(
        &self,
        hub: &Hub,
        name: &ServerName,
        host_keys: &HostKeys,
    ) -> Reply {
        let report = AgentReport {
            host_keys: host_keys.clone(),
            os: None,
            arch: None,
            version: "0.1.1".parse().unwrap(),
        };
        let path = format!("{API}/servers/{name}/agentreport");
        let bearer = format!("Bearer {}", self.assertion(hub));
        hub.ask_with(
            Some(&bearer),
            Method::POST,
            &path,
            Some(serde_json::to_value(report).unwrap()),
        )
        .await
    }
}

/// An agent that answers sessions with an echo.
pub(crate) struct Serving {
    pub(crate) peer: Peer,
    _task: AbortOnDropHandle<()>,
}

fn nonce() -> kedge_api::Nonce {
    kedge_api::Nonce::from_bytes(kedge_api::random::bytes().unwrap())
}

/// Host keys whose 32 bytes are all alike.
pub(crate) fn host_keys(bytes: &[u8]) -> HostKeys {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let key = |byte: u8| {
        let mut blob = Vec::new();
        for field in [b"ssh-ed25519".as_slice(), &[byte; 32]] {
            blob.extend_from_slice(&u32::try_from(field.len()).unwrap().to_be_bytes());
            blob.extend_from_slice(field);
        }
        format!("ssh-ed25519 {}", STANDARD.encode(blob))
            .parse()
            .unwrap()
    };
    HostKeys::new(bytes.iter().copied().map(key)).unwrap()
}

/// Asks again until there is an answer; the time is an upper bound and not what is waited.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "waited in vain for {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The audit events, as field maps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Audit(Arc<Mutex<Vec<BTreeMap<String, String>>>>);

impl Audit {
    /// Those of one kind, in order.
    pub(crate) fn events(&self, event: &str) -> Vec<BTreeMap<String, String>> {
        let all = self.0.lock().unwrap();
        all.iter()
            .filter(|fields| fields["event"] == event)
            .cloned()
            .collect()
    }

    /// Waits for the first of a kind.
    pub(crate) async fn first(&self, event: &str) -> BTreeMap<String, String> {
        eventually(event, async || self.events(event).into_iter().next()).await
    }
}

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Audit {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        if event.metadata().target() != kedge_hub::audit::TARGET {
            return;
        }
        let mut fields = Fields(BTreeMap::new());
        event.record(&mut fields);
        let mut kinds = kedge_hub::audit::KINDS.iter();
        let kind = kinds.find(|kind| kind.name == fields.0["event"]);
        assert_eq!(kind.unwrap().id, fields.0["message_id"]);
        self.0.lock().unwrap().push(fields.0);
    }
}

struct Fields(BTreeMap<String, String>);

impl tracing::field::Visit for Fields {
    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }

    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}
