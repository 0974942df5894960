//! More than the limits, slower than the deadlines: told so or let go, while everybody else is served.

use std::io::{Read, Write};
use std::time::Instant;

use kedge_proto::{Frame, RefuseCode, StreamId};
use kedge_testkit::hub::Tls;
use kedge_testkit::peers::{Message, open_frame};

use crate::prelude::*;

/// The answer to an OPEN.
type Granted = Result<(), (RefuseCode, String)>;

fn works(hub: &Hub) -> Result<()> {
    let reply = Request::new("GET", "/.well-known/kedge").send(Endpoint::of(hub))?;
    ensure!(reply.status == 200, "{}", reply.status);
    Ok(())
}

#[test]
fn headers_that_trickle_are_cut_off() -> Result<()> {
    case(|t| {
        for tls in [Tls::Off, Tls::SelfSigned] {
            let mut options = t.hub_options()?;
            options.tls = tls;
            let hub = Hub::start(options)?;
            let mut stream = Endpoint::of(&hub).connect()?;
            stream.patience(Duration::from_millis(500))?;
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n")?;
            let start = Instant::now();
            loop {
                ensure!(
                    start.elapsed() < Duration::from_secs(25),
                    "slow headers are waited for"
                );
                if stream
                    .write_all(b"X: y\r\n")
                    .and_then(|()| stream.flush())
                    .is_err()
                {
                    break;
                }
                let mut answer = [0; 1024];
                match stream.read(&mut answer) {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error)
                        if matches!(
                            error.kind(),
                            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                        ) => {}
                    Err(_) => break,
                }
            }
            works(&hub)?;
        }
        Ok(())
    })
}

#[test]
fn a_connection_that_says_nothing_is_cut_off() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let mut silent = Endpoint::of(&hub).tcp()?;
        silent.set_read_timeout(Some(Duration::from_secs(25)))?;
        let mut answer = [0; 64];
        let ended = silent.read(&mut answer);
        ensure!(
            !matches!(&ended, Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock)),
            "a peer that never begins TLS is kept"
        );
        works(&hub)
    })
}

#[test]
fn heads_that_are_too_large_are_refused() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let endpoint = Endpoint::of(&hub);
        let large =
            Request::new("GET", "/.well-known/kedge").header("X-Large", &"x".repeat(160 * 1024));
        ensure!(
            large
                .send(endpoint)
                .map_or(true, |reply| reply.status == 431 || reply.status == 400),
            "160 KiB of header"
        );
        let mut many = Request::new("GET", "/.well-known/kedge");
        for number in 0..500 {
            many = many.header(&format!("X-{number}"), "y");
        }
        ensure!(
            many.send(endpoint)
                .map_or(true, |reply| reply.status == 431 || reply.status == 400),
            "500 headers"
        );
        works(&hub)
    })
}

#[test]
fn more_connections_than_the_limit_are_told_to_come_back() -> Result<()> {
    case(|t| {
        let mut options = t.hub_options()?;
        options.extra = "[limits]\nconnections = 5\n".to_owned();
        let hub = Hub::start(options)?;
        let endpoint = Endpoint::of(&hub);
        let mut held = Vec::new();
        for _ in 0..5 {
            held.push(Client::connect(endpoint, hub.token("alice")?)?);
        }
        let reply = Request::new("GET", "/.well-known/kedge").send(endpoint)?;
        ensure!(reply.status == 503, "the sixth got {}", reply.status);
        ensure!(reply.header("retry-after").is_some(), "{:?}", reply.headers);
        drop(held);
        wait::until_true("a place to be free", defaults::SOON, || {
            Ok(works(&hub).is_ok())
        })
    })
}

#[test]
fn more_sessions_than_the_limits_are_refused_with_a_reason() -> Result<()> {
    case(|t| {
        let mut options = t.hub_options()?;
        options.extra = "[limits]\nsessions = 5\nsessions-per-person = 3\n".to_owned();
        let cheap = Cheap::with(t, Hub::start(options)?, Manner::Echo)?;
        let open = |subject: &str| -> Result<(Client, Granted)> {
            let mut client = Client::connect(cheap.endpoint(), cheap.hub.token(subject)?)?;
            let outcome = client.open(SERVER, None)?;
            Ok((client, outcome))
        };
        let mut held = Vec::new();
        for _ in 0..3 {
            let (client, outcome) = open("alice")?;
            ensure!(outcome.is_ok(), "{outcome:?}");
            held.push(client);
        }
        let (_client, outcome) = open("alice")?;
        ensure!(
            matches!(outcome, Err((RefuseCode::TooManyStreams, _))),
            "alice's fourth: {outcome:?}"
        );
        for _ in 0..2 {
            let (client, outcome) = open("admin")?;
            ensure!(outcome.is_ok(), "{outcome:?}");
            held.push(client);
        }
        let (_client, outcome) = open("admin")?;
        ensure!(
            matches!(outcome, Err((RefuseCode::TooManyStreams, _))),
            "the sixth of all: {outcome:?}"
        );
        drop(held);
        wait::until_true("a place to be free", defaults::SOON, || {
            Ok(open("alice")?.1.is_ok())
        })
    })
}

#[test]
fn more_streams_than_a_link_may_have_are_refused() -> Result<()> {
    case(|t| {
        let mut cheap = Cheap::start(t, Manner::Echo)?;
        let mut client = cheap.client()?;
        let most = 2_000_u64;
        let mut answers = 0;
        let mut refused = false;
        for number in 0..most {
            let stream = StreamId::new(number * 2).context("an id")?;
            // A full link may also be ended; what it may not do is to be granted more and more.
            if client.send(&open_frame(stream, SERVER, None)?).is_err() {
                refused = true;
                break;
            }
            while let Ok(Message::Binary(bytes)) = client.socket.receive(Duration::from_millis(1)) {
                match Frame::decode(bytes.into())? {
                    Frame::Opened { .. } => answers += 1,
                    Frame::Refused {
                        code: RefuseCode::TooManyStreams,
                        ..
                    } => refused = true,
                    _ => {}
                }
            }
            if refused {
                break;
            }
        }
        ensure!(refused, "{answers} streams on one link");
        drop(client);
        cheap
            .hub
            .audited("the streams that were too many", |event| {
                event.get("event").and_then(Value::as_str) == Some("session.refused")
                    && event.get("code").and_then(Value::as_str) == Some("too-many-streams")
            })?;
        cheap
            .hub
            .metric("kedge_hub_sessions", defaults::SOON, |live| live == 0.0)?;
        wait::until_true("the agent to let go of them", defaults::SOON, || {
            Ok(cheap.target.open() == 0)
        })?;
        cheap.greeted()?;
        Ok(())
    })
}

#[test]
fn a_client_that_never_reads_stalls_itself_alone() -> Result<()> {
    case(|t| {
        let mut cheap = Cheap::start(t, Manner::Source)?;
        let before = cheap.hub.census()?;
        let mut lazy = Vec::new();
        for _ in 0..10 {
            let mut client = cheap.client()?;
            client.send(&open_frame(client.stream, SERVER, None)?)?;
            lazy.push(client);
        }
        let mut reader = cheap.client()?;
        reader.opened(SERVER)?;
        let start = Instant::now();
        let read = reader.read(8 * 1024 * 1024)?;
        ensure!(read.len() >= 8 * 1024 * 1024, "{} bytes", read.len());
        ensure!(
            start.elapsed() < Duration::from_secs(30),
            "it took {:?}",
            start.elapsed()
        );
        let after = cheap.hub.census()?;
        let grown = after.resident_kib.saturating_sub(before.resident_kib);
        ensure!(grown < 64 * 1024, "{grown} KiB for ten that read nothing");
        drop(lazy);
        Ok(())
    })
}

#[test]
fn guessing_tokens_is_slowed_down() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let endpoint = Endpoint::of(&hub);
        let mut slowed = false;
        for number in 0..200 {
            let token = format!("kpt_{number:043}");
            let reply = Request::new("GET", "/apis/kedge.dev/v1alpha1/whoami")
                .bearer(&token)
                .send(endpoint)?;
            match reply.status {
                401 => {}
                429 => {
                    ensure!(reply.header("retry-after").is_some(), "{:?}", reply.headers);
                    slowed = true;
                    break;
                }
                other => bail!("{other}: {}", reply.text()),
            }
        }
        ensure!(slowed, "200 guesses at full speed");
        Ok(())
    })
}
