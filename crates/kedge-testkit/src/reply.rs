//! HTTP/1.1 answers by hand, read from anything that can be read.

use std::io::Read;

use anyhow::{Context, Result, bail};

/// Bytes of an answer's head and body that are read at most.
const MOST: usize = 1024 * 1024;

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
            if read_some(stream, &mut byte).context("read the head of an answer")? == 0 {
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

/// What is there, again after a signal that was for somebody else: a socket with a time limit is not read on by itself.
pub(crate) fn read_some(stream: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            read => return read,
        }
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
