//! HTTP/1.1 requests by hand: one request, one answer, one connection.

use std::io::Write;

use anyhow::{Context, Result};

use super::stream::{Endpoint, Stream};
use crate::reply::Reply;

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    /// A request without headers or body.
    #[must_use]
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a bearer token.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// Adds a JSON body.
    #[must_use]
    pub fn json(mut self, value: &serde_json::Value) -> Self {
        self.body = value.to_string().into_bytes();
        self.header("Content-Type", "application/json")
    }

    /// Adds the headers that ask for a WebSocket with these subprotocols.
    #[must_use]
    pub fn upgrade(self, protocols: &str) -> Self {
        self.header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")
            .header("Sec-WebSocket-Protocol", protocols)
    }

    /// The bytes on the wire.
    #[must_use]
    pub fn bytes(&self, host: &str) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {host}\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        if !self.headers.iter().any(|(name, _)| name == "Connection") {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Sends it on a new connection and reads the answer.
    ///
    /// # Errors
    ///
    /// When there is no answer in time.
    pub fn send(&self, endpoint: Endpoint) -> Result<Reply> {
        self.exchange(endpoint).map(|(reply, _)| reply)
    }

    /// Sends it, and keeps the connection.
    ///
    /// # Errors
    ///
    /// When there is no answer in time.
    pub fn exchange(&self, endpoint: Endpoint) -> Result<(Reply, Stream)> {
        let mut stream = endpoint.connect()?;
        let bytes = self.bytes(&endpoint.address.to_string());
        // Whoever refuses a request may stop reading it; the answer says why.
        let written = stream.write_all(&bytes).and_then(|()| stream.flush());
        match (Reply::read(&mut stream), written) {
            (Ok(reply), _) => Ok((reply, stream)),
            (Err(_), Err(error)) => Err(error).context("send a request"),
            (Err(error), Ok(())) => Err(error),
        }
    }
}
