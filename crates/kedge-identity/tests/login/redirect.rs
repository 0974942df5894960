//! The page on this machine: whatever knocks, the wait for the one true answer goes on, and that answer counts once.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use kedge_identity::login::{BrowserOptions, LoginFlowError, TokenSet};
use kedge_testkit::issuer::{Issuer, Misbehaviour};
use tokio::sync::oneshot;
use tokio::task::{JoinSet, spawn_blocking};
use url::Url;

use crate::common::{client, impatient, issuer, parameter, provider, visit};

#[tokio::test]
async fn whatever_else_knocks_the_wait_goes_on() {
    let issuer = issuer();
    let mut login = Login::begin(&issuer).await;
    let (port, state) = (login.address.port(), login.state.clone());
    let ours = format!("127.0.0.1:{port}");
    let right = format!("/callback?code=stolen&state={state}&iss={}", issuer.url());
    let long = "x".repeat(200_000);
    let get = |path: &str, host: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let with = |method: &str| format!("{method} {right} HTTP/1.1\r\nHost: {ours}\r\n\r\n");
    let knocks: Vec<(String, &[u16])> = vec![
        (get("/", &ours), &[404]),
        (get("/favicon.ico", &ours), &[404]),
        (get("/callback/", &ours), &[404]),
        (get("/%63allback", &ours), &[404]),
        (get("/callback", &ours), &[400]),
        (get("/callback?code=x", &ours), &[400]),
        (get("/callback?code=x&state=guessed", &ours), &[400]),
        (
            get(&format!("/callback?code=x&state={state}x"), &ours),
            &[400],
        ),
        (
            get(&format!("/callback?code=x&state={}", &state[1..]), &ours),
            &[400],
        ),
        (
            get("/callback?error=access_denied&state=guessed", &ours),
            &[400],
        ),
        // Twice the same parameter, or neither or both of the answers there are.
        (get(&format!("{right}&code=y"), &ours), &[400]),
        (get(&format!("{right}&state={state}"), &ours), &[400]),
        (get(&format!("{right}&error=access_denied"), &ours), &[400]),
        (
            get(
                &format!("/callback?state={state}&iss={}", issuer.url()),
                &ours,
            ),
            &[400],
        ),
        (
            get(
                &format!("/callback?code=&state={state}&iss={}", issuer.url()),
                &ours,
            ),
            &[400],
        ),
        // A name that was made to lead to this machine.
        (get(&right, "evil.example"), &[421]),
        (get(&right, &format!("evil.example:{port}")), &[421]),
        (get(&right, &format!("localhost:{port}")), &[421]),
        (get(&right, "127.0.0.1"), &[421]),
        (get(&right, ""), &[421]),
        (format!("GET {right} HTTP/1.1\r\n\r\n"), &[400, 421]),
        (format!("GET {right} HTTP/1.0\r\n\r\n"), &[400, 421]),
        (
            format!("GET {right} HTTP/1.1\r\nHost: {ours}\r\nHost: evil.example\r\n\r\n"),
            &[400, 421],
        ),
        (get(&format!("http://evil.example{right}"), &ours), &[421]),
        // What browsers, scanners and previews of links send.
        (with("HEAD"), &[405]),
        (with("POST"), &[405]),
        (with("OPTIONS"), &[405]),
        (with("BREW"), &[405]),
        (
            get(&format!("{right}&x={long}"), &ours),
            &[0, 400, 414, 431],
        ),
        (
            format!("GET {right} HTTP/1.1\r\nHost: {ours}\r\nCookie: {long}\r\n\r\n"),
            &[0, 400, 431],
        ),
        (
            format!(
                "GET {right} HTTP/1.1\r\nHost: {ours}\r\n{}\r\n",
                "A: b\r\n".repeat(500)
            ),
            &[0, 400, 431],
        ),
        ("\u{16}\u{3}\u{1}\0\u{5}hello".to_owned(), &[0, 400]),
        ("\r\n\r\n".to_owned(), &[0, 400]),
        (String::new(), &[0]),
    ];
    for (request, expected) in knocks {
        let status = knock(login.address, request.clone()).await;
        let request: String = request.chars().take(120).collect();
        assert!(expected.contains(&status), "{status} to {request:?}");
        assert!(login.is_waiting(), "{request:?}");
    }
    assert_eq!(issuer.requests_to("/token"), 0);
    let page = visit(&login.url, "alice").await;
    assert_eq!(page.status, 200, "{}", page.body);
    assert_eq!(login.end().await.unwrap().subject.as_str(), "alice");
}

#[tokio::test]
async fn clients_that_say_nothing_do_not_keep_the_true_one_out() {
    let issuer = issuer();
    let login = Login::begin(&issuer).await;
    // More of them than are served at a time: their time is over before the login's.
    let silent: Vec<TcpStream> = (0..50)
        .map(|n| {
            let mut stream = TcpStream::connect(login.address).unwrap();
            if n % 2 == 0 {
                stream.write_all(b"GET /callback?code=").unwrap();
            }
            stream
        })
        .collect();
    let page = visit(&login.url, "alice").await;
    assert_eq!(page.status, 200, "{}", page.body);
    assert_eq!(login.end().await.unwrap().subject.as_str(), "alice");
    drop(silent);
}

#[tokio::test]
async fn the_answer_counts_once() {
    let issuer = issuer();
    issuer.misbehave(Misbehaviour::TokenSlow);
    let mut slow = client(&issuer);
    slow.http = impatient();
    let login = Login::begin_with(slow.discover().await.unwrap()).await;
    let answer = format!(
        "GET /callback?code=one&state={}&iss={} HTTP/1.1\r\nHost: {}\r\n\r\n",
        login.state,
        issuer.url(),
        login.address
    );
    let (address, twice) = (login.address, [answer.clone(), answer]);
    let [one, two] = twice.map(|answer| knock(address, answer));
    let (one, two) = tokio::join!(one, two);
    let mut statuses = [one, two];
    statuses.sort_unstable();
    // The one that was taken is told of the issuer that does not answer, the other that it is too late.
    assert_eq!(statuses, [400, 409]);
    assert!(login.end().await.unwrap_err().is_unavailable());
    assert_eq!(issuer.requests_to("/token"), 1);
}

#[tokio::test]
async fn another_state_in_the_true_answer_is_no_answer() {
    let issuer = issuer();
    let login = Login::begin(&issuer).await;
    issuer.misbehave(Misbehaviour::WrongState);
    let page = visit(&login.url, "alice").await;
    assert_eq!(page.status, 400);
    assert!(
        page.body.contains("This answers another login"),
        "{}",
        page.body
    );
    issuer.behave();
    assert_eq!(visit(&login.url, "alice").await.status, 200);
    assert!(login.end().await.is_ok());
}

#[tokio::test]
async fn a_login_that_is_given_up_leaves_nothing_behind() {
    let issuer = issuer();
    let login = Login::begin(&issuer).await;
    let address = login.address;
    assert!(TcpStream::connect(address).is_ok());
    let mut idle = TcpStream::connect(address).unwrap();
    drop(login);
    // The port is closed when the task is gone, which takes a turn of the runtime.
    while TcpStream::connect(address).is_ok() {
        tokio::task::yield_now().await;
    }
    idle.set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let end = spawn_blocking(move || idle.read(&mut [0]));
    assert!(matches!(end.await.unwrap(), Ok(0) | Err(_)));
}

#[tokio::test]
async fn the_first_free_of_the_ports_that_the_issuer_knows_is_taken() {
    let issuer = issuer();
    let [taken, also_taken, free] =
        [(); 3].map(|()| std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap());
    let ports = [&taken, &also_taken, &free].map(|it| it.local_addr().unwrap().port());
    drop(free);
    let mut client = client(&issuer);
    client.redirect_ports = ports.to_vec();
    let login = Login::begin_with(client.clone().discover().await.unwrap()).await;
    assert_eq!(
        parameter(&login.url, "redirect_uri").unwrap(),
        format!("http://127.0.0.1:{}/callback", ports[2])
    );
    // All are taken now, by this login and others.
    let provider = client.discover().await.unwrap();
    let open = |url: &Url| panic!("{url}");
    let result = provider.with_browser(BrowserOptions::default(), open);
    let error = result.await.unwrap_err();
    let LoginFlowError::PortsTaken { ports: tried, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(*tried, ports);
    let [first, second, third] = ports;
    assert_eq!(
        error.to_string(),
        format!(
            "cannot listen on any of the ports {first}, {second}, {third} of 127.0.0.1, and {} sends browsers back to \
             no other",
            issuer.url()
        )
    );
    assert_eq!(visit(&login.url, "alice").await.status, 200);
    assert!(login.end().await.is_ok());
    // In their order: the first is free again.
    drop(taken);
    let login = Login::begin_with(provider).await;
    assert_eq!(login.address.port(), first);
}

/// A login that waits for its browser.
struct Login {
    url: Url,
    address: SocketAddr,
    state: String,
    task: JoinSet<Result<TokenSet, LoginFlowError>>,
}

impl Login {
    async fn begin(issuer: &Issuer) -> Self {
        Self::begin_with(provider(issuer).await).await
    }

    async fn begin_with(provider: kedge_identity::login::Provider) -> Self {
        let (sender, asked) = oneshot::channel();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let open = |url: &Url| sender.send(url.clone()).unwrap();
            provider.with_browser(BrowserOptions::default(), open).await
        });
        let url = asked.await.unwrap();
        let redirect: Url = parameter(&url, "redirect_uri").unwrap().parse().unwrap();
        Self {
            address: ([127, 0, 0, 1], redirect.port().unwrap()).into(),
            state: parameter(&url, "state").unwrap(),
            url,
            task,
        }
    }

    fn is_waiting(&mut self) -> bool {
        self.task.try_join_next().is_none()
    }

    async fn end(mut self) -> Result<TokenSet, LoginFlowError> {
        self.task.join_next().await.unwrap().unwrap()
    }
}

/// Sends some bytes and ends; the status of what comes back, 0 for none.
async fn knock(address: SocketAddr, request: String) -> u16 {
    let knocked = spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        // Who is not listened to any more may not be able to finish.
        let _ = stream.write_all(request.as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer
            .split(' ')
            .nth(1)
            .map(|status| status.parse().unwrap());
        if status.is_some_and(|status: u16| status == 405) {
            assert!(answer.to_lowercase().contains("allow: get"), "{answer}");
        }
        status.unwrap_or_default()
    });
    knocked.await.unwrap()
}
