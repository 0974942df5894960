//! A hub that is only as much of one as the command line needs, and a person who uses it.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "helpers of tests, of which each file uses its own part"
)]

pub mod site;
pub mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kedge_testkit::browser::Browser;
use kedge_testkit::issuer::Issuer;
use kedge_testkit::run::Live;
use kedge_tunnel::{
    AttributeId, Attributes, Link, LinkConfig, PendingUpgrade, RefuseCode, ResetCode, Side, splice,
};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

/// The token that the hub knows.
pub const TOKEN: &str = "kpt_good";

/// What the hub does with a session.
#[derive(Clone, Debug)]
pub enum Target {
    Refuse(RefuseCode, String),
    Tcp(SocketAddr),
}

#[derive(Debug)]
pub struct HubState {
    pub objects: BTreeMap<String, Value>,
    pub requests: Vec<String>,
    /// What is answered to questions (`explanations`), one after the other; the last one stays.
    pub answers: BTreeMap<String, Vec<Value>>,
    /// The questions.
    pub questions: Vec<Value>,
    pub opened: Vec<(String, Option<String>)>,
    pub login: String,
    /// Whether the mapped login is allowed; another may be all the same.
    pub maps: bool,
    pub host_keys: Vec<String>,
    pub target: Target,
    pub version: u64,
    pub suffix: String,
    pub name: String,
    /// Whose tokens it takes.
    pub takes: Takes,
    /// The tokens it was shown, in order.
    pub shown: Vec<String>,
    /// The issuers that it names.
    pub issuers: Vec<Value>,
    /// What it says to a token that it does not take.
    pub refusal: String,
    /// How far its clock is ahead, where it is.
    pub ahead: Option<jiff::SignedDuration>,
    /// What it says of whoever asks, over what is usual.
    pub person: Value,
    /// What somebody does while the hub thinks about the next access to a server.
    pub meanwhile: Option<Command>,
}

/// Which tokens a hub takes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Takes {
    /// Anything that has the form of a JWT. Whether one is good is not what is tested with this hub.
    Jwt,
    /// Nothing.
    Nothing,
    /// This one.
    Only(String),
    /// Any JWT but this one.
    Others(String),
}

impl Takes {
    fn takes(&self, token: &str) -> bool {
        let is_jwt = token.split('.').count() == 3;
        match self {
            Self::Jwt => is_jwt,
            Self::Nothing => false,
            Self::Only(only) => token == only,
            Self::Others(not) => is_jwt && token != not,
        }
    }
}

/// A hub on loopback, over plain HTTP.
pub struct FakeHub {
    pub address: SocketAddr,
    state: Arc<Mutex<HubState>>,
    _runtime: tokio::runtime::Runtime,
}

impl FakeHub {
    pub fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(HubState {
            objects: BTreeMap::new(),
            requests: Vec::new(),
            answers: BTreeMap::new(),
            questions: Vec::new(),
            opened: Vec::new(),
            login: "alice".into(),
            maps: true,
            host_keys: Vec::new(),
            target: Target::Refuse(RefuseCode::Offline, "its agent is not connected".into()),
            version: 1,
            suffix: "kedge".into(),
            name: "main".into(),
            takes: Takes::Only(TOKEN.into()),
            shown: Vec::new(),
            issuers: Vec::new(),
            refusal: "not authenticated".into(),
            ahead: None,
            person: json!({}),
            meanwhile: None,
        }));
        let shared = state.clone();
        let tasks = TaskTracker::new();
        let _guard = runtime.enter();
        tasks.clone().spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (shared, inner) = (shared.clone(), tasks.clone());
                tasks.spawn(async move {
                    let service =
                        service_fn(|request| answer(request, shared.clone(), inner.clone()));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), service)
                        .with_upgrades()
                        .await;
                });
            }
        });
        drop(_guard);
        Ok(Self {
            address,
            state,
            _runtime: runtime,
        })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn state(&self) -> MutexGuard<'_, HubState> {
        self.state.lock().unwrap()
    }

    /// From now on people log in at these issuers, and their tokens are taken.
    pub fn trust(&self, issuers: &[(&str, &Issuer)]) {
        let mut state = self.state();
        state.takes = Takes::Jwt;
        state.issuers = issuers
            .iter()
            .map(|(name, issuer)| {
                json!({
                    "name": name, "issuer": issuer.url(), "clientId": issuer.client_id(),
                    "scopes": ["openid", "profile", "email", "groups", "offline_access"],
                })
            })
            .collect();
    }

    /// The tokens that were shown since the last time this was asked.
    pub fn shown(&self) -> Vec<String> {
        std::mem::take(&mut self.state().shown)
    }

    pub fn put(&self, path: &str, object: Value) {
        self.state().store(path, object);
    }

    /// The requests since the last time this was asked.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state().requests)
    }
}

impl HubState {
    fn store(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(path.to_owned(), object.clone());
        object
    }
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Mutex<HubState>>,
    tasks: TaskTracker,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let ahead = shared.lock().unwrap().ahead;
    let mut answer = answer_in_time(request, shared, tasks).await?;
    if let Some(ahead) = ahead {
        let date = jiff::fmt::rfc2822::DateTimePrinter::new()
            .timestamp_to_rfc9110_string(&(jiff::Timestamp::now() + ahead))
            .unwrap();
        answer.headers_mut().insert("date", date.parse().unwrap());
    }
    Ok(answer)
}

async fn answer_in_time(
    mut request: Request<Incoming>,
    shared: Arc<Mutex<HubState>>,
    tasks: TaskTracker,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let method = request.method().clone();
    {
        let mark = if query.is_empty() {
            String::new()
        } else {
            format!("?{query}")
        };
        shared
            .lock()
            .unwrap()
            .requests
            .push(format!("{method} {path}{mark}"));
    }
    if path == "/.well-known/kedge" {
        let state = shared.lock().unwrap();
        return Ok(reply(
            200,
            &json!({
                "id": "h-aaaaaaaaaaaaaaaaaaaaaaaaaa", "name": state.name, "version": "0.1.0",
                "protocols": ["kedge.v1"],
                "authentication": match state.issuers.is_empty() {
                    true => json!({"methods": ["static-token"]}),
                    false => json!({"methods": ["oidc"], "issuers": state.issuers}),
                },
                "suffix": state.suffix,
            }),
        ));
    }
    let authorization = request
        .headers()
        .get("authorization")
        .and_then(|v| v.to_str().ok());
    {
        let mut state = shared.lock().unwrap();
        let token = authorization.and_then(|value| value.strip_prefix("Bearer "));
        let token = token.unwrap_or_default().to_owned();
        let is_taken = state.takes.takes(&token);
        state.shown.push(token);
        if !is_taken {
            return Ok(failure(401, "Unauthorized", &state.refusal));
        }
    }
    if path == "/kedge/v1/connect" {
        let (answer, pending) = match kedge_tunnel::upgrade(&mut request) {
            Ok(upgraded) => upgraded,
            Err(error) => return Ok(failure(400, "BadRequest", &error.to_string())),
        };
        tasks.spawn(serve_link(pending, shared, tasks.clone()));
        return Ok(answer.map(|()| Full::default()));
    }
    let body = request.into_body().collect().await?.to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let rest = path
        .strip_prefix("/apis/kedge.dev/v1alpha1/")
        .unwrap_or_default()
        .to_owned();
    Ok(rest_answer(
        &method,
        &rest,
        &query,
        body,
        &mut shared.lock().unwrap(),
    ))
}

/// The answer to somebody who asks about themselves, as `…/access` would have it.
fn explanation(question: Value, state: &mut HubState) -> Response<Full<Bytes>> {
    let server = question["server"].as_str().unwrap().to_owned();
    state.questions.push(question);
    if !state.objects.contains_key(&format!("servers/{server}")) {
        let words = format!("servers \"{server}\" not found, or you may not see it");
        return failure(404, "NotFound", &words);
    }
    let outcome = if state.maps { "allowed" } else { "no-policy" };
    reply(
        200,
        &json!({
            "allowed": state.maps, "outcome": outcome, "at": "2026-01-31T12:00:00Z", "login": state.login,
            "loginOrigin": "claim",
        }),
    )
}

fn rest_answer(
    method: &Method,
    path: &str,
    query: &str,
    body: Value,
    state: &mut HubState,
) -> Response<Full<Bytes>> {
    if path == "whoami" {
        let mut person = json!({
            "issuer": "static", "subject": "alice@corp.example", "user": "alice@corp.example",
            "groups": ["dev"], "method": "static-token", "login": "alice", "permissions": ["admin"],
        });
        for (key, value) in state.person.as_object().into_iter().flatten() {
            person[key] = value.clone();
        }
        return reply(200, &person);
    }
    if let Some(server) = path
        .strip_prefix("servers/")
        .and_then(|p| p.strip_suffix("/access"))
    {
        if let Some(mut meanwhile) = state.meanwhile.take() {
            assert!(meanwhile.output().unwrap().status.success());
        }
        if !state.objects.contains_key(&format!("servers/{server}")) {
            return failure(
                404,
                "NotFound",
                &format!("servers \"{server}\" not found, or you may not see it"),
            );
        }
        let login = match query.strip_prefix("login=") {
            Some("nobody") => {
                return failure(403, "Forbidden", "no policy allows the login `nobody`");
            }
            Some(login) => login.to_owned(),
            None if !state.maps => {
                return failure(403, "Forbidden", "no policy allows the login `alice`");
            }
            None => state.login.clone(),
        };
        return reply(
            200,
            &json!({
                "server": server, "login": login, "hostKeys": state.host_keys, "phase": "Online",
            }),
        );
    }
    if let Some(server) = path
        .strip_prefix("servers/")
        .and_then(|p| p.strip_suffix("/hostkeys"))
    {
        state.objects.insert(format!("accepted/{server}"), body);
        return reply(200, &json!({}));
    }
    if let Some(answers) = state.answers.get_mut(path) {
        let answer = match answers.len() {
            1 => answers[0].clone(),
            _ => answers.remove(0),
        };
        state.questions.push(body);
        return match answer["kind"].as_str() {
            Some("Status") => reply(answer["code"].as_u64().unwrap() as u16, &answer),
            _ => reply(200, &answer),
        };
    }
    if path == "explanations" {
        return explanation(body, state);
    }
    if path == "sessions" {
        let sessions = state.objects.iter();
        let sessions = sessions.filter(|(key, _)| key.starts_with("sessions/"));
        let items: Vec<_> = sessions.map(|(_, session)| session.clone()).collect();
        return reply(200, &json!({ "items": items }));
    }
    match (method, path.split_once('/')) {
        (&Method::GET, None) => {
            let prefix = format!("{path}/");
            let items: Vec<_> = state
                .objects
                .iter()
                .filter(|(key, _)| key.starts_with(&prefix))
                .map(|(_, object)| object.clone())
                .collect();
            if query.contains("watch=1") {
                let mut lines = String::new();
                for object in items {
                    lines += &format!("{}\n", json!({ "type": "MODIFIED", "object": object }));
                }
                let error = json!({"kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden", "message": "the watch is over"});
                lines += &format!("{}\n", json!({ "type": "ERROR", "object": error }));
                return Response::new(Full::from(lines));
            }
            reply(
                200,
                &json!({
                    "apiVersion": "kedge.dev/v1alpha1", "kind": "List",
                    "metadata": {"resourceVersion": state.version.to_string()}, "items": items,
                }),
            )
        }
        (&Method::POST, None) => {
            let name = body["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            let stored = state.store(&format!("{path}/{name}"), body);
            if path == "jointokens" {
                let secret: kedge_api::JoinTokenSecret =
                    kedge_api::JoinTokenSecret::from_parts(name.parse().unwrap(), &[7; 32]);
                let mut issued = stored;
                issued["status"] = json!({ "used": 0, "token": secret.reveal() });
                return reply(201, &issued);
            }
            reply(201, &stored)
        }
        (&Method::GET, Some((plural, name))) => match state.objects.get(path) {
            Some(object) => reply(200, object),
            None => failure(404, "NotFound", &format!("{plural} \"{name}\" not found")),
        },
        (&Method::PUT, Some(_)) => {
            let live = state
                .objects
                .get(path)
                .map(|o| o["metadata"]["resourceVersion"].clone());
            if live.as_ref() != Some(&body["metadata"]["resourceVersion"]) {
                return failure(409, "Conflict", "the object has changed");
            }
            let stored = state.store(path, body);
            reply(200, &stored)
        }
        (&Method::DELETE, Some((plural, name))) => match state.objects.remove(path) {
            Some(session) if plural == "sessions" => reply(200, &session),
            Some(_) => reply(
                200,
                &json!({ "kind": "Status", "status": "Success", "code": 200 }),
            ),
            None => failure(404, "NotFound", &format!("{plural} \"{name}\" not found")),
        },
        _ => failure(405, "MethodNotAllowed", "no"),
    }
}

async fn serve_link(pending: PendingUpgrade, shared: Arc<Mutex<HubState>>, tasks: TaskTracker) {
    let Ok(socket) = pending.websocket().await else {
        return;
    };
    let (link, driver) = Link::new(socket, Side::Server, LinkConfig::default());
    tasks.spawn(driver.run());
    while let Some(incoming) = link.accept().await {
        if incoming.request().target != kedge_tunnel::Target::ssh() {
            // As a hub that knows of no other.
            incoming.refuse(RefuseCode::BadRequest, "there is no such target");
            continue;
        }
        let asked = &incoming.request().attributes;
        let server = asked
            .text(AttributeId::SERVER)
            .unwrap_or_default()
            .to_owned();
        let login = asked.text(AttributeId::LOGIN).map(str::to_owned);
        let target = {
            let mut state = shared.lock().unwrap();
            state.opened.push((server, login));
            state.target.clone()
        };
        match target {
            Target::Refuse(code, text) => incoming.refuse(code, &text),
            Target::Tcp(address) => match TcpStream::connect(address).await {
                Ok(socket) => {
                    let stream = incoming.accept(Attributes::new());
                    tasks.spawn(splice(stream, socket, ResetCode::TargetReset));
                }
                Err(error) => incoming.refuse(RefuseCode::TargetUnreachable, &error.to_string()),
            },
        }
    }
}

fn reply(status: u16, value: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(value.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

fn failure(code: u16, reason: &str, message: &str) -> Response<Full<Bytes>> {
    reply(
        code,
        &json!({
            "apiVersion": "v1", "kind": "Status", "status": "Failure", "metadata": {},
            "code": code, "reason": reason, "message": message,
        }),
    )
}

/// Somebody with a home folder of their own.
pub struct Person {
    pub home: tempfile::TempDir,
}

impl Person {
    pub fn new() -> Result<Self> {
        // In small letters: ssh makes host names so, and some tests put this path into one.
        static COUNTER: AtomicUsize = AtomicUsize::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("kedge-home-{}-{number}", std::process::id());
        let home = tempfile::Builder::new()
            .prefix(&name)
            .rand_bytes(0)
            .tempdir()?;
        Ok(Self { home })
    }

    /// Somebody who is logged in at the hub.
    pub fn at(hub: &FakeHub) -> Result<Self> {
        let person = Self::new()?;
        let token = person.secret("token", TOKEN)?;
        person
            .kedge(["login", &hub.url(), "--token-file", &token])
            .run()?
            .success()?;
        hub.requests();
        Ok(person)
    }

    /// Somebody who logged in at an issuer that the hub trusts.
    pub fn logged_in(hub: &FakeHub, issuer: &Issuer, name: &str) -> Result<Self> {
        hub.trust(&[("corp", issuer)]);
        let person = Self::new()?;
        person.log_in(&["login", &hub.url()], name)?.success()?;
        hub.requests();
        hub.shown();
        Ok(person)
    }

    /// Runs a command that opens a browser, and logs in there.
    pub fn log_in(&self, words: &[&str], name: &str) -> Result<kedge_testkit::run::Ran> {
        let (live, url) = self.begin_login(words)?;
        Browser::new(name).open(&url)?;
        live.finish(Duration::from_secs(30))
    }

    /// Runs a command until it opens a browser; the URL is for the test to open.
    pub fn begin_login(&self, words: &[&str]) -> Result<(Live, String)> {
        let run = self.kedge(words).env("BROWSER", self.browser("url")?);
        let live = Live::start(run.command)?;
        let url = self.opened("url")?;
        Ok((live, url))
    }

    /// A browser that only notes what it is to open.
    pub fn browser(&self, name: &str) -> Result<String> {
        use std::os::unix::fs::PermissionsExt;
        let (program, url) = (self.path(&format!("browser-{name}")), self.path(name));
        let (program, url) = (program.display(), url.display());
        let script = format!("#!/bin/sh\nprintf %s \"$1\" >{url}.new && mv {url}.new {url}\n");
        std::fs::write(self.path(&format!("browser-{name}")), script)?;
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(self.path(&format!("browser-{name}")), mode)?;
        Ok(program.to_string())
    }

    /// What such a browser noted.
    pub fn opened(&self, name: &str) -> Result<String> {
        let limit = Duration::from_secs(30);
        let url = kedge_testkit::wait::until("a browser to be opened", limit, || {
            Ok(std::fs::read_to_string(self.path(name)).ok())
        })?;
        std::fs::remove_file(self.path(name))?;
        Ok(url)
    }

    /// Where the login at the hub `main` is kept.
    pub fn credentials(&self) -> PathBuf {
        self.path(".local/state/kedge/hubs/main/credentials.json")
    }

    /// What is kept there.
    pub fn stored(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&std::fs::read(self.credentials())?)?)
    }

    /// Changes what is kept there, as time would.
    pub fn change_stored(&self, change: impl FnOnce(&mut Value)) -> Result<()> {
        let mut stored = self.stored()?;
        change(&mut stored);
        Ok(std::fs::write(self.credentials(), stored.to_string())?)
    }

    /// Has the login end in so many seconds; they may be less than none.
    pub fn expire(&self, seconds: i64) -> Result<()> {
        let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
        let since = end - jiff::SignedDuration::from_hours(1);
        let [since, end] = [since, end].map(|at| kedge_api::Time::from(at).to_string());
        self.change_stored(|stored| {
            stored["since"] = json!(since);
            stored["expiresAt"] = json!(end);
        })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A file that only its owner can read.
    pub fn secret(&self, name: &str, text: &str) -> Result<String> {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(path.to_string_lossy().into_owned())
    }

    pub fn kedge<I, S>(&self, words: I) -> Run
    where
        I: IntoIterator<Item = S>,
        S: AsRef<std::ffi::OsStr>,
    {
        let mut command = Command::new(kedge());
        command.args(words);
        self.run(command)
    }

    /// Any program, in this person's environment.
    pub fn run(&self, mut command: Command) -> Run {
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", path)
            .env("SHELL", "/bin/sh")
            .env("LC_ALL", "C")
            .current_dir(self.home.path());
        Run {
            command,
            input: Vec::new(),
        }
    }

    /// The system's ssh with the installed configuration and nothing else of this machine.
    pub fn ssh<I, S>(&self, words: I) -> Run
    where
        I: IntoIterator<Item = S>,
        S: AsRef<std::ffi::OsStr>,
    {
        self.openssh("ssh", words)
    }

    pub fn openssh<I, S>(&self, program: &str, words: I) -> Run
    where
        I: IntoIterator<Item = S>,
        S: AsRef<std::ffi::OsStr>,
    {
        let mut command = Command::new(program);
        command.arg("-F").arg(self.ssh_config());
        command.args(words);
        self.run(command)
    }

    pub fn ssh_config(&self) -> PathBuf {
        self.path(".config/kedge/ssh_config")
    }
}

/// The program under test.
pub fn kedge() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_kedge"))
}

pub struct Run {
    pub command: Command,
    input: Vec<u8>,
}

impl Run {
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Without waiting for its end.
    pub fn live(self) -> Result<Live> {
        Live::start(self.command)
    }

    pub fn run(self) -> Result<kedge_testkit::run::Ran> {
        kedge_testkit::run::feed(self.command, self.input, Duration::from_secs(30)).context("run")
    }
}

/// A server object as an agent would have made it.
pub fn server(name: &str) -> Value {
    server_with(name, json!({ "phase": "Online", "agentVersion": "0.1.0" }))
}

/// A server object of which the hub knows this.
pub fn server_with(name: &str, status: Value) -> Value {
    json!({
        "apiVersion": "kedge.dev/v1alpha1", "kind": "Server",
        "metadata": {
            "name": name, "labels": { "env": "prod" }, "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": { "hostKeys": [] },
        "status": status,
    })
}
