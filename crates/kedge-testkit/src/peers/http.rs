//! HTTP/1.1 by hand: one request, one answer, one connection.

use std::io::{Read, Write};

use anyhow::{Context, Result, bail};

use super::stream::{Endpoint, Stream};

/// Bytes of an answer's head and body that are read at most.
const MOST: usize = 1024 * 1024;

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, as far as it came.
    pub body: Vec<u8>,
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

impl Reply {
    /// Reads an answer. For a 101 nothing after the head is touched.
    ///
    /// # Errors
    ///
    /// When it does not come in time, or is no HTTP.
    pub fn read(stream: &mut impl Read) -> Result<Self> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() > MOST {
                bail!("a head without end");
            }
            if stream
                .read(&mut byte)
                .context("read the head of an answer")?
                == 0
            {
                bail!(
                    "the connection ended before an answer: `{}`",
                    String::from_utf8_lossy(&head)
                );
            }
            head.extend_from_slice(&byte);
        }
        let head = String::from_utf8(head)?;
        let mut lines = head.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1))
            .context("no status line")?
            .parse()?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut reply = Self {
            status,
            headers,
            body: Vec::new(),
        };
        if status != 101 {
            reply.read_body(stream)?;
        }
        Ok(reply)
    }

    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {}", self.text()))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn read_body(&mut self, stream: &mut impl Read) -> Result<()> {
        let length = self
            .header("content-length")
            .map(str::parse::<usize>)
            .transpose()?;
        if self
            .header("transfer-encoding")
            .is_some_and(|value| value.contains("chunked"))
        {
            let mut raw = Vec::new();
            read_to_end(stream, &mut raw)?;
            self.body = unchunk(&raw);
            return Ok(());
        }
        match length {
            Some(length) if length <= MOST => {
                self.body = vec![0; length];
                stream.read_exact(&mut self.body).context("read a body")?;
            }
            Some(length) => bail!("a body of {length} bytes"),
            None => read_to_end(stream, &mut self.body)?,
        }
        Ok(())
    }
}

/// To the end, which many peers reach without TLS's own goodbye.
fn read_to_end(stream: &mut impl Read, into: &mut Vec<u8>) -> Result<()> {
    match stream.take(MOST as u64).read_to_end(into) {
        Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
            Err(error).context("read a body")
        }
        _ => Ok(()),
    }
}

fn unchunk(mut raw: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = raw.windows(2).position(|pair| pair == b"\r\n") {
        let (size, rest) = raw.split_at(end);
        let size = String::from_utf8_lossy(size);
        let Ok(size) = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)
        else {
            break;
        };
        let rest = rest.get(2..).unwrap_or_default();
        let Some(chunk) = rest.get(..size).filter(|chunk| !chunk.is_empty()) else {
            break;
        };
        body.extend_from_slice(chunk);
        raw = rest.get(size.saturating_add(2)..).unwrap_or_default();
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_with_a_length_chunked_and_to_the_end() {
        for raw in [
            "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello and more",
            "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\nX: y\r\n\r\nhello",
        ] {
            let reply = Reply::read(&mut raw.as_bytes()).unwrap();
            assert_eq!(
                (reply.status, reply.text().as_str()),
                (404, "hello"),
                "{raw}"
            );
        }
        assert!(Reply::read(&mut "HTTP/1.1 200".as_bytes()).is_err());
    }
}
