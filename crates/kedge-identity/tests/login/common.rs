//! An issuer, a client of it, and somebody with a browser.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use kedge_api::Time;
use kedge_identity::login::{BrowserOptions, LoginClient, LoginFlowError, Provider, TokenSet};
use kedge_identity::{HttpClient, HttpError};
use kedge_testkit::browser::{Browser, Page};
use kedge_testkit::issuer::{Issuer, IssuerOptions};
use kedge_tunnel::{ProxyPolicy, Timeouts, Trust, WebClient};
use serde_json::{Map, Value};
use url::Url;

pub(crate) fn issuer() -> Issuer {
    Issuer::start(IssuerOptions::default()).unwrap()
}

/// As the command line has it.
pub(crate) fn client(issuer: &Issuer) -> LoginClient {
    let scopes = ["openid", "profile", "email", "groups", "offline_access"];
    LoginClient {
        issuer: issuer.url().parse().unwrap(),
        client_id: issuer.client_id().to_owned(),
        public_client_secret: None,
        scopes: scopes.map(str::to_owned).to_vec(),
        authorization_parameters: BTreeMap::new(),
        redirect_ports: Vec::new(),
        audiences: BTreeSet::new(),
        authorized_parties: BTreeSet::new(),
        http: web(Timeouts::default()),
        clock: now,
    }
}

pub(crate) fn now() -> Time {
    Time::from(jiff::Timestamp::now())
}

pub(crate) async fn provider(issuer: &Issuer) -> Provider {
    client(issuer).discover().await.unwrap()
}

pub(crate) fn web(timeouts: Timeouts) -> HttpClient {
    let client = WebClient::new(Trust::System, ProxyPolicy::None)
        .unwrap()
        .with_timeouts(timeouts);
    HttpClient::new(move |request, limit| {
        let client = client.clone();
        let url = request.uri().to_string();
        Box::pin(async move {
            client.fetch(request, limit).await.map_err(|error| {
                let cause = chain(&error);
                HttpError { url, cause }
            })
        })
    })
}

/// HTTP with little patience.
pub(crate) fn impatient() -> HttpClient {
    let short = Duration::from_millis(1500);
    web(Timeouts {
        answer: short,
        body: short,
        ..Timeouts::default()
    })
}

/// HTTP on whose way something happens to each request or its answer.
pub(crate) fn between(
    meddle: impl Fn(Request<Bytes>) -> Meddled + Send + Sync + 'static,
) -> HttpClient {
    let web = web(Timeouts::default());
    let meddle = Arc::new(meddle);
    HttpClient::new(move |request, limit| {
        let (web, meddle) = (web.clone(), Arc::clone(&meddle));
        Box::pin(async move {
            match meddle(request) {
                Meddled::Answer(answer) => answer,
                Meddled::Pass(request) => web.send(request, limit).await,
            }
        })
    })
}

pub(crate) enum Meddled {
    Answer(Result<Response<Bytes>, HttpError>),
    Pass(Request<Bytes>),
}

impl Meddled {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::Answer(Ok(Response::builder()
            .status(status)
            .header("content-type", "application/json")
            .body(body.to_string().into())
            .unwrap()))
    }
}

/// Logs somebody in with a browser of their own; what the login brings, and the page they see.
pub(crate) async fn log_in(
    provider: &Provider,
    person: &str,
) -> (Result<TokenSet, LoginFlowError>, Page) {
    let mut visit = None;
    let result = provider
        .with_browser(BrowserOptions::default(), |url| {
            visit = Some(visiting(url, person));
        })
        .await;
    let page = visit.unwrap().join().unwrap();
    (result, page)
}

/// Somebody opens a page and logs in, on a thread of their own.
pub(crate) fn visiting(url: &Url, person: &str) -> JoinHandle<Page> {
    let (url, person) = (url.to_string(), person.to_owned());
    thread::spawn(move || Browser::new(&person).open(&url).unwrap())
}

/// Like [`visiting`], to be awaited.
pub(crate) async fn visit(url: &Url, person: &str) -> Page {
    let visiting = visiting(url, person);
    tokio::task::spawn_blocking(|| visiting.join().unwrap())
        .await
        .unwrap()
}

/// Another value for a parameter of a URL.
pub(crate) fn replace(url: &mut Url, name: &str, value: &str) {
    let pairs: Vec<(String, String)> = url
        .query_pairs()
        .map(|(key, old)| {
            let value = if key == name { value.into() } else { old };
            (key.into_owned(), value.into_owned())
        })
        .collect();
    url.query_pairs_mut().clear().extend_pairs(pairs);
}

/// A parameter of a URL.
pub(crate) fn parameter(url: &Url, name: &str) -> Option<String> {
    let mut values = url.query_pairs().filter(|(key, _)| key == name);
    let value = values.next().map(|(_, value)| value.into_owned());
    assert_eq!(values.next(), None, "{name} is there twice");
    value
}

pub(crate) fn claims(claims: Value) -> Map<String, Value> {
    claims.as_object().unwrap().clone()
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
