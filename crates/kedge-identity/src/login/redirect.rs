//! The page on this machine that an issuer sends the browser back to (RFC 8252 §7.3), for one login.
//!
//! ```text
//!   browser ── GET /callback?code=…&state=…&iss=… ──► is it ours? ──► the login ──► tokens
//!           ◄── "The issuer has answered", or why not ◄────────────────────┘
//! ```
//!
//! * Only the answer that knows this login's `state` counts, once; whatever else knocks has a page of its own, and the
//!   wait goes on: other pages, other states, other methods, other hosts, and those that send nothing.
//! * The browser is answered when the login is over, so that its page tells what came of it.
//! * Nothing is spawned that outlives [`Redirect::serve`].

use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use kedge_api::IssuerUrl;
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use url::form_urlencoded;

use super::defaults;
use super::error::{LoginFlowError, Refusal};
use super::page::{self, Page};

/// A port that waits for the browser.
#[derive(Debug)]
pub(super) struct Redirect {
    listener: TcpListener,
    /// What browsers name in `Host`.
    authority: String,
}

/// What the answer to this login is known by.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) state: SecretString,
    pub(super) issuer: IssuerUrl,
    /// Whether the issuer always names itself (RFC 9207 §2.4).
    pub(super) names_itself: bool,
}

impl Redirect {
    /// Takes a port of 127.0.0.1: the first of these that is free, or any where none is given.
    pub(super) async fn listen(issuer: &IssuerUrl, ports: &[u16]) -> Result<Self, LoginFlowError> {
        if ports.is_empty() {
            return Self::bind(0).await.map_err(LoginFlowError::Listen);
        }
        let mut last = None;
        for port in ports {
            match Self::bind(*port).await {
                Ok(redirect) => return Ok(redirect),
                Err(error) => last = Some(error),
            }
        }
        Err(LoginFlowError::PortsTaken {
            issuer: issuer.clone(),
            ports: ports.to_vec(),
            source: last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()),
        })
    }

    async fn bind(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let authority = listener.local_addr()?.to_string();
        Ok(Self {
            listener,
            authority,
        })
    }

    /// Where the issuer is to send the browser.
    pub(super) fn url(&self) -> String {
        format!("http://{}{PATH}", self.authority)
    }

    /// Waits for the browser's answer, makes of its code what `finish` makes of it, and tells the browser.
    ///
    /// # Cancel safety
    ///
    /// Safe: the port is closed.
    pub(super) async fn serve<T>(
        self,
        expected: Expected,
        finish: impl AsyncFnOnce(SecretString) -> Result<T, LoginFlowError>,
    ) -> Result<T, LoginFlowError> {
        // One answer is taken, and whoever brings it waits for the page.
        let (answers, mut arrived) = mpsc::channel(1);
        let desk = Arc::new(Desk {
            authority: self.authority,
            expected,
            used: AtomicBool::new(false),
            answers,
        });
        let mut connections = JoinSet::new();
        let finishing = async {
            // The desk keeps the sender for as long as this runs.
            let Some(Arrived { answer, page }) = arrived.recv().await else {
                return std::future::pending().await;
            };
            let result = match answer {
                Answer::Code(code) => finish(code).await,
                Answer::Failed(error) => Err(error),
            };
            let shown = match &result {
                Ok(_) => Page::Success,
                Err(error) => page::failure(&chain(error)),
            };
            // A browser that went away meanwhile misses a page, not a login.
            let _ = page.send(shown);
            result
        };
        let result = tokio::select! {
            result = finishing => result,
            never = accept(&self.listener, &desk, &mut connections) => match never {},
        };
        let _ = timeout(defaults::REDIRECT_GOODBYE, goodbye(&mut connections)).await;
        result
    }
}

/// What a connection did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Connection {
    /// It brought the answer, and had its page.
    Answered,
    Other,
}

/// The browser's answer, and where its page goes.
#[derive(Debug)]
struct Arrived {
    answer: Answer,
    page: oneshot::Sender<Page>,
}

#[derive(Debug)]
enum Answer {
    Code(SecretString),
    Failed(LoginFlowError),
}

/// Looks at every request.
#[derive(Debug)]
struct Desk {
    authority: String,
    expected: Expected,
    used: AtomicBool,
    answers: mpsc::Sender<Arrived>,
}

async fn accept(
    listener: &TcpListener,
    desk: &Arc<Desk>,
    connections: &mut JoinSet<Connection>,
) -> Infallible {
    loop {
        while connections.len() >= defaults::REDIRECT_CONNECTIONS {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(converse(stream, Arc::clone(desk)));
            }
            // Out of descriptors, for instance: it may pass, and must not spin.
            Err(_) => sleep(defaults::ACCEPT_PAUSE).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

/// Waits until the answer's page is on its way. Other connections may be idle ones that a browser opened in advance.
async fn goodbye(connections: &mut JoinSet<Connection>) {
    while let Some(done) = connections.join_next().await {
        if matches!(done, Ok(Connection::Answered)) {
            return;
        }
    }
}

async fn converse(stream: TcpStream, desk: Arc<Desk>) -> Connection {
    let answered = AtomicBool::new(false);
    let service = service_fn(|request| {
        let (desk, answered) = (Arc::clone(&desk), &answered);
        async move {
            let response = desk.response(&request, answered).await;
            Ok::<_, Infallible>(response)
        }
    });
    // A connection that breaks is its client's loss.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(defaults::REDIRECT_HEAD_TIME)
        .max_buf_size(defaults::REDIRECT_HEAD_BYTES)
        .max_headers(defaults::REDIRECT_HEADERS)
        // Who has said all there is to say still wants the answer.
        .half_close(true)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    match answered.load(Ordering::Relaxed) {
        true => Connection::Answered,
        false => Connection::Other,
    }
}

impl Desk {
    async fn response(
        &self,
        request: &Request<Incoming>,
        answered: &AtomicBool,
    ) -> Response<Full<Bytes>> {
        let answer = match self.look(request) {
            Ok(answer) => answer,
            Err(page) => return page.response(),
        };
        if self.used.swap(true, Ordering::SeqCst) {
            return Page::Used.response();
        }
        let (page, shown) = oneshot::channel();
        if self.answers.try_send(Arrived { answer, page }).is_err() {
            return Page::Used.response();
        }
        answered.store(true, Ordering::Relaxed);
        match shown.await {
            Ok(page) => page.response(),
            Err(_) => page::failure("the login was given up").response(),
        }
    }

    /// The answer in a request; the page for any other request.
    fn look(&self, request: &Request<Incoming>) -> Result<Answer, Page> {
        self.check_host(request)?;
        if request.uri().path() != PATH {
            return Err(Page::Nothing);
        }
        if request.method() != Method::GET {
            return Err(Page::Method);
        }
        self.answer(Given::read(request.uri().query().unwrap_or_default())?)
    }

    /// What the parameters of a redirect amount to.
    fn answer(&self, given: Given) -> Result<Answer, Page> {
        let expected = self.expected.state.expose_secret().as_bytes();
        let state = given.state.as_deref().unwrap_or_default().as_bytes();
        if !bool::from(state.ct_eq(expected)) {
            return Err(Page::OtherLogin);
        }
        match &given.iss {
            Some(iss) if *iss == self.expected.issuer.as_str() => {}
            None if !self.expected.names_itself => {}
            _ => {
                return Ok(Answer::Failed(LoginFlowError::MixUp {
                    expected: self.expected.issuer.clone(),
                    got: given.iss,
                }));
            }
        }
        match (given.error, given.code) {
            (Some(code), None) => Ok(Answer::Failed(LoginFlowError::Refused {
                issuer: self.expected.issuer.clone(),
                refusal: Refusal::new(&code, given.description.as_deref()),
            })),
            (None, Some(code)) if !code.is_empty() => Ok(Answer::Code(code.into())),
            _ => Err(Page::OtherLogin),
        }
    }

    /// A page of elsewhere whose name was made to lead to this machine names itself, and not the machine.
    fn check_host(&self, request: &Request<Incoming>) -> Result<(), Page> {
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let ours = hosts
            .next()
            .is_some_and(|host| host.as_bytes() == self.authority.as_bytes());
        let alone = hosts.next().is_none();
        let authority = request.uri().authority();
        if ours && alone && authority.is_none_or(|authority| *authority == *self.authority) {
            Ok(())
        } else {
            Err(Page::OtherHost)
        }
    }
}

/// The parameters of a redirect, each at most once (RFC 6749 §3.1).
#[derive(Default)]
struct Given {
    code: Option<String>,
    description: Option<String>,
    error: Option<String>,
    iss: Option<String>,
    state: Option<String>,
}

impl Given {
    fn read(query: &str) -> Result<Self, Page> {
        let mut given = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let place = match name.as_ref() {
                "code" => &mut given.code,
                "error" => &mut given.error,
                "error_description" => &mut given.description,
                "iss" => &mut given.iss,
                "state" => &mut given.state,
                _ => continue,
            };
            if place.replace(value.into_owned()).is_some() {
                return Err(Page::OtherLogin);
            }
        }
        Ok(given)
    }
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The path of the redirect.
const PATH: &str = "/callback";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn desk(names_itself: bool) -> Desk {
        Desk {
            authority: "127.0.0.1:4000".to_owned(),
            expected: Expected {
                state: SecretString::from("right"),
                issuer: "https://id.example".parse().unwrap(),
                names_itself,
            },
            used: AtomicBool::new(false),
            answers: mpsc::channel(1).0,
        }
    }

    fn look(desk: &Desk, query: &str) -> Result<Answer, Page> {
        desk.answer(Given::read(query)?)
    }

    proptest! {
        /// Whatever the query: without the right state it is no answer, and with it at most one.
        #[test]
        fn only_the_right_state_makes_an_answer(
            pairs in prop::collection::vec(
                ("code|state|iss|error|error_description|x", "(\\PC|right){0,12}"), 0..6),
            noise in "\\PC{0,40}",
        ) {
            let pairs = pairs.iter().map(|(name, value)| format!("{name}={value}"));
            let query = pairs.chain([noise]).collect::<Vec<_>>().join("&");
            let given: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
            let states: Vec<_> = given.iter().filter(|(name, _)| name == "state").collect();
            let ours = matches!(states[..], [(_, state)] if state == "right");
            for names_itself in [false, true] {
                let looked = look(&desk(names_itself), &query);
                prop_assert!(ours || looked.is_err(), "{query}");
            }
        }
    }

    #[test]
    fn an_issuer_that_does_not_promise_its_name_may_leave_it_out_and_not_lie() {
        let code = |desk: &Desk, query: &str| matches!(look(desk, query), Ok(Answer::Code(_)));
        let (promised, silent) = (desk(true), desk(false));
        let named = "code=c&state=right&iss=https%3A%2F%2Fid.example";
        assert!(code(&promised, named) && code(&silent, named));
        assert!(code(&silent, "code=c&state=right"));
        for (desk, query) in [
            (&promised, "code=c&state=right"),
            (&promised, "error=access_denied&state=right"),
            (&silent, "code=c&state=right&iss="),
            (&silent, "code=c&state=right&iss=https://id.example/"),
            (
                &silent,
                "error=access_denied&state=right&iss=https://evil.example",
            ),
        ] {
            let looked = look(desk, query);
            let Ok(Answer::Failed(LoginFlowError::MixUp { .. })) = looked else {
                panic!("{query}: {looked:?}")
            };
        }
    }
}
