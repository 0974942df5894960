//! Peers that do not mean well, or do not mean anything.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

use crate::harness::{API, Hub};

/// Sends bytes and reads until the hub closes.
async fn raw(address: SocketAddr, request: &[u8]) -> String {
    said(&mut TcpStream::connect(address).await.unwrap(), request).await
}

/// As [`raw`], from an address of its own.
async fn raw_from(source: Ipv4Addr, address: SocketAddr, request: &[u8]) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((source, 0).into()).unwrap();
    said(&mut socket.connect(address).await.unwrap(), request).await
}

async fn said(stream: &mut TcpStream, request: &[u8]) -> String {
    // A hub that has heard enough closes while this still writes.
    let _ = stream.write_all(request).await;
    let mut answer = String::new();
    let mut buffer = [0; 4096];
    // Until the hub closes, or has answered on a connection that it keeps.
    while !is_whole(&answer) {
        let read = timeout(Duration::from_secs(30), stream.read(&mut buffer));
        match read.await.expect("kept waiting") {
            Ok(0) | Err(_) => break,
            Ok(count) => answer += &String::from_utf8_lossy(&buffer[..count]),
        }
    }
    answer
}

fn is_whole(answer: &str) -> bool {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return false;
    };
    let head = head.to_lowercase();
    let length = head.split("content-length: ").nth(1);
    length.is_some_and(|rest| rest.split("\r\n").next() == Some(&body.len().to_string()))
}

fn get(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n{headers}\r\n").into_bytes()
}

fn websocket(headers: &str) -> Vec<u8> {
    format!(
        "GET /kedge/v1/connect HTTP/1.1\r\nHost: hub\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
    .into_bytes()
}

fn code(answer: &str) -> u16 {
    answer
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or_else(|| panic!("no answer: {answer}"))
}

#[tokio::test]
async fn a_token_in_the_url_is_no_token() {
    let hub = Hub::start().await;
    let token = hub.token("admin").to_owned();
    for path in [
        format!("{API}/whoami?token={token}"),
        format!("{API}/whoami?access_token={token}"),
        format!("{API}/whoami?authorization=Bearer%20{token}"),
    ] {
        assert_eq!(
            code(&raw(hub.address, &get(&path, "")).await),
            401,
            "{path}"
        );
    }
    let protocol = format!("Sec-WebSocket-Protocol: kedge.v1, {token}\r\n");
    assert_eq!(code(&raw(hub.address, &websocket(&protocol)).await), 401);
    for event in hub.audit.events("authentication.refused") {
        assert!(
            event.values().all(|value| !value.contains(&token)),
            "{event:?}"
        );
    }
}

#[tokio::test]
async fn who_is_not_known_learns_nothing_but_that() {
    let hub = Hub::start().await;
    let mut answers = Vec::new();
    for header in [
        String::new(),
        "Authorization: Bearer\r\n".to_owned(),
        "Authorization: Bearer garbage\r\n".to_owned(),
        format!("Authorization: Bearer {}x\r\n", hub.token("alice")),
        format!("Authorization: Basic {}\r\n", hub.token("alice")),
        format!(
            "Authorization: Bearer {0}\r\nAuthorization: Bearer {0}\r\n",
            hub.token("alice")
        ),
        "X-Forwarded-User: admin\r\nX-Remote-User: admin\r\n".to_owned(),
    ] {
        let answer = raw(hub.address, &get(&format!("{API}/whoami"), &header)).await;
        assert_eq!(code(&answer), 401, "{header}");
        assert!(
            answer.to_lowercase().contains("www-authenticate: bearer"),
            "{answer}"
        );
        answers.push(answer.split("\r\n\r\n").nth(1).unwrap().to_owned());
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    for event in hub.audit.events("authentication.refused") {
        assert_eq!(event["path"], format!("{API}/whoami"), "the whole path");
    }
}

#[tokio::test]
async fn failing_again_and_again_is_slowed_down() {
    let hub = Hub::start().await;
    let request = get(
        &format!("{API}/whoami"),
        "Authorization: Bearer garbage\r\n",
    );
    let mut last = String::new();
    for _ in 0..70 {
        last = raw(hub.address, &request).await;
    }
    assert_eq!(code(&last), 429, "{last}");
    assert!(last.to_lowercase().contains("retry-after: "), "{last}");
    assert!(
        hub.audit.events("authentication.refused").len() < 70,
        "the log is not flooded either"
    );
    // An address is perhaps a whole site: what proves itself passes, also between failures.
    let agent = hub.agent("web01").await;
    let _tunnel = agent.dial(&hub).await;
    hub.get("alice", "/whoami").await.expect(StatusCode::OK);
    assert_eq!(code(&raw(hub.address, &request).await), 429);
    let logged = hub.audit.events("authentication.refused").len();
    assert_eq!(code(&raw(hub.address, &request).await), 429);
    assert_eq!(hub.audit.events("authentication.refused").len(), logged);
}

#[tokio::test]
async fn a_browser_of_another_site_opens_no_websocket() {
    let hub = Hub::start().await;
    let bearer = format!(
        "Sec-WebSocket-Protocol: kedge.v1\r\nAuthorization: Bearer {}\r\n",
        hub.token("alice")
    );
    for origin in [
        "https://evil.example",
        "null",
        "http://hub.evil.example",
        "file://",
    ] {
        let answer = raw(
            hub.address,
            &websocket(&format!("{bearer}Origin: {origin}\r\n")),
        )
        .await;
        assert_eq!(code(&answer), 403, "{origin}: {answer}");
    }
    let plain = raw(
        hub.address,
        &get(
            "/kedge/v1/connect",
            &format!("Authorization: Bearer {}\r\n", hub.token("alice")),
        ),
    )
    .await;
    assert_eq!(code(&plain), 426, "{plain}");
    let old = bearer.replace("kedge.v1", "kedge.v0");
    let answer = raw(hub.address, &websocket(&old)).await;
    assert_eq!(code(&answer), 400, "{answer}");
    assert!(answer.contains("upgrade the caller"), "{answer}");
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let hub = Hub::start().await;
    let large = format!("X-Large: {}\r\n", "x".repeat(128 * 1024));
    assert_eq!(code(&raw(hub.address, &get("/", &large)).await), 431);
    let many = (0..200)
        .map(|number| format!("X-{number}: y\r\n"))
        .collect::<String>();
    assert_eq!(code(&raw(hub.address, &get("/", &many)).await), 431);
    assert!(code(&raw(hub.address, b"\0\0\0\0 nonsense\r\n\r\n").await) == 400);
}

#[tokio::test]
async fn bodies_that_are_too_large_of_another_kind_or_no_json_are_refused() {
    let hub = Hub::start().await;
    let post = |kind: &str, body: &str| {
        format!(
            "POST {API}/accesspolicies HTTP/1.1\r\nHost: hub\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
             Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            hub.token("admin"),
            body.len()
        )
        .into_bytes()
    };
    let large = format!("{{\"x\": \"{}\"}}", "x".repeat(300 * 1024));
    assert_eq!(
        code(&raw(hub.address, &post("application/json", &large)).await),
        413
    );
    assert_eq!(
        code(&raw(hub.address, &post("text/plain", "{}")).await),
        415
    );
    for body in [
        "",
        "{",
        "\u{feff}{}",
        "[]",
        "null",
        &"[".repeat(10_000),
        "{\"a\":1}{\"b\":2}",
    ] {
        let answer = raw(hub.address, &post("application/json; charset=utf-8", body)).await;
        assert!(matches!(code(&answer), 400 | 422), "{body:.20}: {answer}");
        assert!(answer.contains("\"kind\":\"Status\""), "{answer}");
    }
    // Who has no token is not even listened to.
    let stranger = post("application/json", &large);
    let stranger = String::from_utf8(stranger)
        .unwrap()
        .replace(hub.token("admin"), "garbage");
    assert_eq!(code(&raw(hub.address, stranger.as_bytes()).await), 401);
}

#[tokio::test]
async fn slow_heads_and_slow_bodies_are_cut_off() {
    let hub = Hub::start().await;
    let begun = Instant::now();
    let slow_head = raw(hub.address, b"GET / HTTP/1.1\r\nHost: hub\r\nX-Slow: ");
    let silent = raw(hub.address, b"");
    let unfinished = format!(
        "POST {API}/accesspolicies HTTP/1.1\r\nHost: hub\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{",
        hub.token("admin")
    );
    let slow_body = raw(hub.address, unfinished.as_bytes());
    let served = async {
        hub.ask_with(None, Method::GET, "/.well-known/kedge", None)
            .await
            .expect(StatusCode::OK);
        begun.elapsed()
    };
    let (head, nothing, body, served) = tokio::join!(slow_head, silent, slow_body, served);
    assert!(head.is_empty() || code(&head) == 408, "{head}");
    assert!(nothing.is_empty(), "{nothing}");
    assert_eq!(code(&body), 408, "{body}");
    assert!(
        served < Duration::from_secs(5),
        "others wait for the slow ones: {served:?}"
    );
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn more_connections_than_the_limit_are_told_to_come_back() {
    let hub = Hub::with("limits = { connections = 2 }").await;
    let first = kept(hub.address).await;
    let second = kept(hub.address).await;
    let answer = raw(hub.address, &get("/.well-known/kedge", "")).await;
    assert_eq!(code(&answer), 503, "{answer}");
    assert!(answer.to_lowercase().contains("retry-after: "), "{answer}");
    drop((first, second));
    crate::harness::eventually("a place", async || {
        (code(&raw(hub.address, &get("/.well-known/kedge", "")).await) == 200).then_some(())
    })
    .await;
}

/// A connection that has been served and stays.
async fn kept(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = b"GET /.well-known/kedge HTTP/1.1\r\nHost: hub\r\n\r\n";
    let answer = said(&mut stream, request).await;
    assert_eq!(code(&answer), 200, "{answer}");
    stream
}

#[tokio::test]
async fn one_address_that_says_nothing_keeps_no_other_out() {
    const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
    let hub = Hub::with("limits = { connections = 8 }").await;
    let request = get("/.well-known/kedge", "");
    // Served ones do not count, although they are more than a share.
    let mut served = Vec::new();
    for _ in 0..3 {
        served.push(kept(hub.address).await);
    }
    let mut silent = Vec::new();
    for _ in 0..5 {
        silent.push(TcpStream::connect(hub.address).await.unwrap());
    }
    let answer = raw_from(OTHER, hub.address, &request).await;
    assert_eq!(code(&answer), 200, "{answer}");
    let answer = raw(hub.address, &request).await;
    assert!(answer.is_empty(), "its share is taken: {answer}");
    for mut beyond in silent.split_off(2) {
        let mut buffer = [0; 1];
        let read = timeout(Duration::from_secs(5), beyond.read(&mut buffer));
        assert_eq!(read.await.expect("kept").unwrap(), 0);
    }
    drop(silent);
    crate::harness::eventually("its share", async || {
        let answer = raw(hub.address, &request).await;
        (!answer.is_empty() && code(&answer) == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_trusted_proxy_has_every_place_for_those_behind_it() {
    let extra = "limits = { connections = 2 }\ntrusted-proxies = [\"127.0.0.1/32\"]";
    let hub = Hub::with(extra).await;
    let first = TcpStream::connect(hub.address).await.unwrap();
    let second = TcpStream::connect(hub.address).await.unwrap();
    let answer = raw(hub.address, &get("/.well-known/kedge", "")).await;
    assert_eq!(code(&answer), 503, "{answer}");
    drop((first, second));
}

#[tokio::test]
async fn one_person_cannot_take_every_place() {
    let hub = Hub::with("limits = { sessions-per-person = 0 }").await;
    let mut held = Vec::new();
    let refused = loop {
        match hub.try_connect(hub.token("alice")).await {
            Ok(peer) => held.push(peer),
            Err(error) => break error,
        }
        assert!(held.len() < 50, "no end of connections");
    };
    let kedge_tunnel::DialError::Refused { status, .. } = refused else {
        panic!("{refused}");
    };
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    hub.connect("bob").await;
    held.pop();
    crate::harness::eventually("a place", async || {
        hub.try_connect(hub.token("alice")).await.ok().map(|_| ())
    })
    .await;
}

#[tokio::test]
async fn a_hub_without_people_refuses_people() {
    let hub = Hub::start().await;
    hub.reload(&crate::harness::configuration(
        std::path::Path::new("/nonexistent"),
        &[],
        "",
    ));
    hub.get("admin", "/whoami").await.error("Unauthorized");
    let discovery = hub
        .ask_with(None, Method::GET, "/.well-known/kedge", None)
        .await
        .json();
    assert_eq!(discovery["authentication"]["methods"], json!([]));
    let reason = &hub.audit.events("authentication.refused")[0]["reason"];
    assert!(reason.contains("no people"), "{reason}");
}

#[tokio::test]
async fn a_query_that_cannot_be_read_is_a_status_too() {
    let hub = Hub::start().await;
    for path in [
        "/servers?watch=1&watch=0",
        "/servers?labelSelector=a&labelSelector=b",
        "/servers/web01/access?login=a&login=b",
    ] {
        hub.get("admin", path).await.error("BadRequest");
    }
}
