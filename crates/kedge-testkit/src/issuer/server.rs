//! HTTP/1.1 on a loopback port: a thread for the listener and one for each connection, which carries one request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::endpoints;
use super::state::State;
use crate::{defaults, form, wait};

/// Bytes of a request's head that are read at most.
const MOST_HEAD: u64 = 64 * 1024;

/// Bytes of a request's body that are read at most.
const MOST_BODY: usize = 256 * 1024;

/// How long a request may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pause between two bytes of an answer that never ends.
const DRIP: Duration = Duration::from_millis(100);

/// A request.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    /// Below the issuer's URL.
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) form: Vec<(String, String)>,
    /// The value of `Authorization`.
    pub(super) authorization: Option<String>,
}

/// An answer.
#[derive(Debug)]
pub(super) enum Answer {
    /// With a status, a content type and a body.
    Body {
        status: u16,
        kind: &'static str,
        body: Vec<u8>,
    },
    /// A head, and then a byte now and then.
    Endless,
    /// A redirect to this URL.
    Redirect(String),
}

impl Answer {
    /// A page for a person.
    pub(super) fn page(status: u16, body: &str) -> Self {
        let page = format!(
            "<!doctype html><html><head><meta charset=\"utf-8\"><title>Issuer</title></head><body>{body}</body></html>"
        );
        Self::Body {
            status,
            kind: "text/html; charset=utf-8",
            body: page.into_bytes(),
        }
    }

    /// JSON.
    pub(super) fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::text(status, body.to_string())
    }

    /// Text that says it is JSON.
    pub(super) fn text(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::Body {
            status,
            kind: "application/json",
            body: body.into(),
        }
    }
}

/// The listener and its thread.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

/// Listens on loopback. A port of one's own that was just left is waited for.
pub(super) fn bind(port: u16) -> Result<TcpListener> {
    wait::until(
        "the issuer's port",
        defaults::SOON,
        || match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(listener) => Ok(Some(listener)),
            Err(error) if port != 0 && error.kind() == std::io::ErrorKind::AddrInUse => Ok(None),
            Err(error) => Err(error).context("bind an issuer"),
        },
    )
}

impl Server {
    /// Begins to serve.
    pub(super) fn start(listener: TcpListener, state: Arc<State>) -> Result<Self> {
        let address = listener.local_addr()?;
        let tls = state.options().tls.as_ref();
        let tls = tls.map(|(chain, key)| tls_config(chain, key)).transpose()?;
        let ended = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&ended);
        let acceptor = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (state, over, tls) = (Arc::clone(&state), Arc::clone(&over), tls.clone());
                std::thread::spawn(move || {
                    // Whoever hangs up in the middle learns nothing more; that is theirs to judge.
                    let _ = accept(stream, tls, &state, &over);
                });
            }
        });
        Ok(Self {
            address,
            ended,
            acceptor: Some(acceptor),
        })
    }

    /// Closes the port.
    pub(super) fn stop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = TcpStream::connect(self.address);
            let _ = acceptor.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn tls_config(chain: &Path, key: &Path) -> Result<Arc<ServerConfig>> {
    let chain = CertificateDer::pem_file_iter(chain)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config))
}

fn accept(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    state: &State,
    over: &AtomicBool,
) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let Some(config) = tls else {
        return serve(&mut &stream, state, over);
    };
    let mut stream = StreamOwned::new(ServerConnection::new(config)?, stream);
    serve(&mut stream, state, over)?;
    stream.conn.send_close_notify();
    Ok(stream.flush()?)
}

fn serve(stream: &mut (impl Read + Write), state: &State, over: &AtomicBool) -> Result<()> {
    let answer = match read(&mut *stream, state.path()) {
        Ok(asked) => {
            state.count(&asked.path);
            endpoints::answer(state, &asked)
        }
        Err(error) => Answer::page(400, &endpoints::escaped(&format!("{error:#}"))),
    };
    write(stream, answer, over)
}

fn read(stream: &mut impl Read, prefix: &str) -> Result<Asked> {
    let mut reader = BufReader::new(stream.take(MOST_HEAD));
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        bail!("no request line")
    };
    let (method, target) = (method.to_owned(), target.to_owned());
    let mut length = 0_usize;
    let mut authorization = None;
    loop {
        let mut header = String::new();
        ensure!(reader.read_line(&mut header)? > 0, "the head ends early");
        let header = header.trim();
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').context("a header without a colon")?;
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse()?,
            "authorization" => authorization = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    ensure!(length <= MOST_BODY, "a body of {length} bytes");
    reader.get_mut().set_limit(MOST_BODY as u64);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    Ok(Asked {
        method,
        path: path.strip_prefix(prefix).unwrap_or(path).to_owned(),
        query: form::decode(query),
        form: form::decode(&String::from_utf8_lossy(&body)),
        authorization,
    })
}

fn write(stream: &mut impl Write, answer: Answer, over: &AtomicBool) -> Result<()> {
    match answer {
        Answer::Body { status, kind, body } => {
            let head = format!(
                "HTTP/1.1 {status} Said\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
                 Connection: close\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes())?;
            stream.write_all(&body)?;
        }
        Answer::Redirect(to) => {
            let head = format!(
                "HTTP/1.1 303 See Other\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(head.as_bytes())?;
        }
        Answer::Endless => {
            stream.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{",
            )?;
            while !over.load(Ordering::SeqCst) {
                stream.write_all(b" ")?;
                stream.flush()?;
                std::thread::sleep(DRIP);
            }
        }
    }
    Ok(())
}
