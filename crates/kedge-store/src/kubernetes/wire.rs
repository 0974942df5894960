//! Calls to the Kubernetes API: bounded in number, time and size, and clear about whether they were carried out.
//!
//! - A call has one deadline for all of it: its turn, its attempts, its answer.
//! - It is tried again only when it certainly was not carried out: no connection came up, or the API server sent it
//!   away with `429` or `503`.
//! - A watch is a body that is read line by line; its deadline is its reader's.

use std::error::Error as StdError;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper_util::client::legacy;
use kedge_api::text::Printable;
use kube::client::Body;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};
use zeroize::Zeroizing;

use super::pause::jittered;
use crate::defaults::{
    ANSWER_BYTES, CALL_ATTEMPTS, CALL_DEADLINE, CALL_PAUSE, CALL_PAUSE_MAX, CALLS_MAX,
    MESSAGE_CHARS,
};

/// The way to one API server.
pub(super) struct Wire {
    client: kube::Client,
    url: String,
    calls: Semaphore,
}

/// What is asked of the API server.
#[derive(Clone, Debug)]
pub(super) struct Call {
    method: Method,
    path: String,
    content: Option<(&'static str, Bytes)>,
    limit: usize,
    deadline: Duration,
}

/// Why a call came to nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum CallError {
    /// The API server said no.
    #[error("{message}")]
    Answered {
        /// The status of HTTP.
        code: StatusCode,
        /// Kubernetes' word for it: `AlreadyExists`, `Conflict`, …; may be empty.
        reason: String,
        /// Its sentence, fit to be printed.
        message: String,
        /// When it is to be asked again.
        retry_after: Option<Duration>,
    },
    /// Its answer is larger than any that makes sense.
    #[error("the answer has more than {limit} bytes")]
    TooLarge {
        /// How many bytes there may be.
        limit: usize,
    },
    /// It did not answer, or not to the end: nobody knows what it did.
    #[error("{cause}")]
    Unanswered {
        /// What happened instead.
        cause: String,
    },
    /// The call did not get to it.
    #[error("{cause}")]
    Unsent {
        /// What happened instead.
        cause: String,
    },
}

impl Wire {
    /// By this client, to the server that errors call `url`.
    pub(super) fn new(client: kube::Client, url: String) -> Self {
        Self {
            client,
            url,
            calls: Semaphore::new(CALLS_MAX),
        }
    }

    /// Where the API server is, for people.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Makes a call, and reads the answer as JSON.
    pub(super) async fn json(&self, call: &Call) -> Result<Value, CallError> {
        let answer = self.bytes(call).await?;
        serde_json::from_slice(&answer).map_err(|error| CallError::Unanswered {
            cause: format!("its answer is not JSON: {error}"),
        })
    }

    /// Makes a call. Whatever is in the answer is wiped when it is dropped.
    pub(super) async fn bytes(&self, call: &Call) -> Result<Zeroizing<Vec<u8>>, CallError> {
        let end = Instant::now() + call.deadline;
        let turn = timeout_at(end, self.calls.acquire()).await;
        // Nobody closes the semaphore.
        let Ok(Ok(_turn)) = turn else {
            return Err(CallError::Unsent {
                cause: format!("{CALLS_MAX} calls before this one got no answer"),
            });
        };
        let mut pause = CALL_PAUSE;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let error = match timeout_at(end, self.attempt(call)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                Err(_) => {
                    return Err(CallError::Unanswered {
                        cause: format!("no answer in {} s", call.deadline.as_secs()),
                    });
                }
            };
            let wait = error
                .retry_after()
                .unwrap_or_else(|| jittered(pause))
                .max(pause / 2);
            let in_time = wait <= CALL_PAUSE_MAX && Instant::now() + wait < end;
            if attempt >= CALL_ATTEMPTS || !error.is_undone() || !in_time {
                return Err(error);
            }
            sleep(wait).await;
            pause *= 2;
        }
    }

    async fn attempt(&self, call: &Call) -> Result<Zeroizing<Vec<u8>>, CallError> {
        let (code, headers, mut body) = self.send(call).await?;
        let mut answer = Zeroizing::new(Vec::new());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| CallError::Unanswered {
                cause: format!("the answer broke off: {}", chain(bare(&error))),
            })?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if answer.len().saturating_add(data.len()) > call.limit {
                return Err(CallError::TooLarge { limit: call.limit });
            }
            grow(&mut answer, data.len());
            answer.extend_from_slice(&data);
        }
        if code.is_success() {
            Ok(answer)
        } else {
            Err(answered(code, &headers, &answer))
        }
    }

    /// Opens a watch: whatever the server sends, line by line. The deadline is for its beginning.
    pub(super) async fn lines(&self, call: &Call) -> Result<Lines, CallError> {
        let silent = |_| CallError::Unanswered {
            cause: format!("no answer in {} s", call.deadline.as_secs()),
        };
        let end = Instant::now() + call.deadline;
        let (code, headers, mut body) =
            timeout_at(end, self.send(call)).await.map_err(silent)??;
        if code.is_success() {
            return Ok(Lines {
                body,
                buffer: BytesMut::new(),
                searched: 0,
                limit: call.limit,
            });
        }
        let mut said = Vec::new();
        while let Ok(Some(Ok(frame))) = timeout_at(end, body.frame()).await {
            let data = frame.into_data().unwrap_or_default();
            if said.len().saturating_add(data.len()) > call.limit {
                break;
            }
            said.extend_from_slice(&data);
        }
        Err(answered(code, &headers, &said))
    }

    async fn send(&self, call: &Call) -> Result<(StatusCode, HeaderMap, Body), CallError> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(&call.path)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, AGENT);
        let body = match &call.content {
            None => Body::empty(),
            Some((kind, content)) => {
                request = request.header(CONTENT_TYPE, *kind);
                Body::from(content.clone())
            }
        };
        let unsent = |error: &dyn StdError| CallError::Unsent {
            cause: chain(error),
        };
        let request = request.body(body).map_err(|error| unsent(&error))?;
        let answer = self.client.send(request).await.map_err(failed)?;
        let (head, body) = answer.into_parts();
        Ok((head.status, head.headers, body))
    }
}

impl Call {
    fn new(method: Method, path: String) -> Self {
        Self {
            method,
            path,
            content: None,
            limit: ANSWER_BYTES,
            deadline: CALL_DEADLINE,
        }
    }

    /// Reads what is there.
    pub(super) fn get(path: String) -> Self {
        Self::new(Method::GET, path)
    }

    /// Makes something.
    pub(super) fn post(path: String, object: &Value) -> Self {
        Self::new(Method::POST, path).with("application/json", object)
    }

    /// Removes something.
    pub(super) fn delete(path: String, options: &Value) -> Self {
        Self::new(Method::DELETE, path).with("application/json", options)
    }

    /// Changes something, step by step (RFC 6902).
    pub(super) fn json_patch(path: String, steps: &Value) -> Self {
        Self::new(Method::PATCH, path).with("application/json-patch+json", steps)
    }

    /// Changes something to what is in the patch, and leaves the rest (RFC 7386).
    pub(super) fn merge_patch(path: String, patch: &Value) -> Self {
        Self::new(Method::PATCH, path).with("application/merge-patch+json", patch)
    }

    /// Says what is ours of something (server-side apply).
    pub(super) fn apply(path: String, object: &Value) -> Self {
        // JSON is YAML.
        Self::new(Method::PATCH, path).with("application/apply-patch+yaml", object)
    }

    fn with(mut self, kind: &'static str, content: &Value) -> Self {
        self.content = Some((kind, content.to_string().into()));
        self
    }

    /// With another bound on the answer, or on a line of it.
    pub(super) fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// With another deadline.
    pub(super) fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

impl CallError {
    /// The status of HTTP, when there was one.
    pub(super) fn code(&self) -> Option<StatusCode> {
        match self {
            Self::Answered { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the API server gave this reason.
    pub(super) fn is(&self, word: &str) -> bool {
        matches!(self, Self::Answered { reason, .. } if reason == word)
    }

    /// Whether nothing came of the call, for certain.
    pub(super) fn is_undone(&self) -> bool {
        match self {
            Self::Unsent { .. } => true,
            // What is sent away before it is looked at; a 500 or a 504 may come after the deed.
            Self::Answered {
                code, retry_after, ..
            } => {
                *code == StatusCode::TOO_MANY_REQUESTS
                    || *code == StatusCode::SERVICE_UNAVAILABLE && retry_after.is_some()
            }
            Self::TooLarge { .. } | Self::Unanswered { .. } => false,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Answered { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// A watch under way.
pub(super) struct Lines {
    body: Body,
    buffer: BytesMut,
    // So many bytes of the buffer have no end of a line in them.
    searched: usize,
    limit: usize,
}

impl Lines {
    /// The next line without its end; `None` when the server ended the watch.
    ///
    /// Cancel safe: what was read stays in the buffer.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, CallError> {
        loop {
            let fresh = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(at) = fresh.iter().position(|byte| *byte == b'\n') {
                let end = self.searched.saturating_add(at);
                let mut line = self.buffer.split_to(end.saturating_add(1));
                line.truncate(end);
                self.searched = 0;
                return Ok(Some(line.freeze()));
            }
            self.searched = self.buffer.len();
            if self.searched > self.limit {
                return Err(CallError::TooLarge { limit: self.limit });
            }
            match self.body.frame().await {
                // Half a line at the end is a connection that broke.
                None if self.buffer.is_empty() => return Ok(None),
                None => {
                    return Err(CallError::Unanswered {
                        cause: "the watch broke off in the middle of an event".to_owned(),
                    });
                }
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => {
                    return Err(CallError::Unanswered {
                        cause: format!("the watch broke off: {}", chain(bare(&error))),
                    });
                }
            }
        }
    }
}

/// One part of a path, so that nothing in it can end it or go up.
pub(super) fn segment(text: &str) -> String {
    let mut segment = String::with_capacity(text.len());
    for byte in text.bytes() {
        // A dot is left as it is but where it would be a path of its own.
        let plain = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_' | b'~')
            || byte == b'.' && !matches!(text, "." | "..");
        if plain {
            segment.push(char::from(byte));
        } else {
            segment.push_str(&format!("%{byte:02X}"));
        }
    }
    segment
}

/// What the API server said, fit to be printed: longer than a name, and bounded all the same.
pub(super) fn printable(message: &str) -> String {
    let chars: Vec<char> = message.chars().take(MESSAGE_CHARS).collect();
    let mut shown: String = chars
        .chunks(CHUNK_CHARS)
        .map(|chunk| Printable::new(&chunk.iter().collect::<String>()).to_string())
        .collect();
    if message.chars().nth(MESSAGE_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

/// Makes room, and wipes what the room was before: a vector that grows by itself leaves a copy behind.
fn grow(answer: &mut Zeroizing<Vec<u8>>, more: usize) {
    let needed = answer.len().saturating_add(more);
    if needed > answer.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(needed.saturating_mul(2)));
        larger.extend_from_slice(answer);
        *answer = larger;
    }
}

/// An answer that is no success, in Kubernetes' `Status` shape or any other.
fn answered(code: StatusCode, headers: &HeaderMap, body: &[u8]) -> CallError {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Said {
        reason: String,
        message: String,
    }
    let retry_after = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map(Duration::from_secs);
    // Something between us and the API server may answer in HTML.
    let said: Said = serde_json::from_slice(body).unwrap_or_default();
    let message = if said.message.is_empty() {
        code.to_string()
    } else {
        printable(&said.message)
    };
    CallError::Answered {
        code,
        reason: said.reason,
        message,
        retry_after,
    }
}

/// What an error before the answer means: whether the request can have got there.
fn failed(error: kube::Error) -> CallError {
    let cause = chain(bare(&error));
    let mut next: Option<&(dyn StdError + 'static)> = Some(&error);
    let mut sent = matches!(error, kube::Error::HyperError(_));
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<legacy::Error>() {
            sent = !error.is_connect();
            break;
        }
        next = error.source();
    }
    if sent {
        CallError::Unanswered { cause }
    } else {
        // No connection, or no credentials to send.
        CallError::Unsent { cause }
    }
}

/// Without kube's word for an error of somebody else.
fn bare(error: &kube::Error) -> &dyn StdError {
    match error {
        kube::Error::Service(inner) => inner.as_ref(),
        other => other,
    }
}

/// An error with its causes, on one line, each said once.
pub(super) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    printable(&text)
}

/// How the hub calls itself.
const AGENT: &str = concat!("kedge-hub/", env!("CARGO_PKG_VERSION"));
/// Characters that are shown as they are, however they are escaped: `\u{10ffff}` has ten.
const CHUNK_CHARS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_name_leaves_its_part_of_the_path() {
        for (text, encoded) in [
            ("web01.example", "web01.example"),
            ("..", "%2E%2E"),
            (".", "%2E"),
            ("a/../b", "a%2F..%2Fb"),
            ("a?watch=1#x", "a%3Fwatch%3D1%23x"),
            ("a%2fb", "a%252fb"),
            ("\r\nHost: x", "%0D%0AHost%3A%20x"),
            ("größe", "gr%C3%B6%C3%9Fe"),
        ] {
            assert_eq!(segment(text), encoded);
        }
    }

    #[test]
    fn what_the_server_says_is_printable_and_bounded() {
        assert_eq!(printable("a\u{1b}[2J\u{202e}b"), "a\\u{1b}[2J\\u{202e}b");
        let sentence = "x".repeat(300);
        assert_eq!(printable(&sentence), sentence, "longer than a name may be");
        let long = printable(&"\u{10ffff}".repeat(5000));
        assert!(long.len() < 20 * MESSAGE_CHARS && long.ends_with('…'));
    }

    #[test]
    fn answers_that_are_no_success_are_understood_in_any_shape() {
        let of = |code: u16, after: Option<&'static str>, body: &str| {
            let mut headers = HeaderMap::new();
            if let Some(after) = after {
                headers.insert(RETRY_AFTER, after.parse().unwrap());
            }
            answered(
                StatusCode::from_u16(code).unwrap(),
                &headers,
                body.as_bytes(),
            )
        };
        let status = r#"{"kind":"Status","reason":"AlreadyExists","message":"it is \u001b there"}"#;
        let error = of(409, None, status);
        assert!(error.is("AlreadyExists") && !error.is_undone());
        assert_eq!(error.to_string(), "it is \\u{1b} there");
        assert_eq!(of(502, None, "<html>").to_string(), "502 Bad Gateway");
        assert_eq!(of(500, None, "[]").to_string(), "500 Internal Server Error");
        // Sent away before it was looked at, or not.
        assert!(of(429, Some("1"), "").is_undone() && of(429, None, "").is_undone());
        assert!(of(503, Some("1"), "").is_undone());
        for code in [500, 502, 503, 504] {
            assert!(!of(code, None, "").is_undone(), "{code}");
        }
        let never = of(429, Some("soon"), "");
        assert_eq!(never.retry_after(), None);
    }
}
