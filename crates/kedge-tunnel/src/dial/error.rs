//! Why a hub could not be reached: each error names the object and the cause.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use thiserror::Error;

use crate::proxy::ProxyError;
use crate::tls::{CertificatePin, TrustError};
use crate::version::VersionMismatch;

/// A dial that failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DialError {
    /// None of the addresses accepted a connection.
    #[error("cannot connect to {to}: {}", list(attempts))]
    Connect {
        /// `host:port` of the hub, or `the proxy host:port`.
        to: String,
        /// Each address that was tried.
        attempts: Vec<Attempt>,
    },
    /// The answer is not what a WebSocket server answers.
    #[error("{hub} does not answer as a hub does: {cause}")]
    Handshake {
        /// `host:port` of the hub.
        hub: String,
        /// What is wrong.
        cause: &'static str,
    },
    /// The HTTP exchange broke off.
    #[error("the request to {hub} failed")]
    Http {
        /// `host:port` of the hub.
        hub: String,
        /// What happened.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The hub showed another certificate than the pinned one.
    #[error(
        "{hub} shows the certificate {got}, and not the pinned {}",
        pins(expected)
    )]
    PinMismatch {
        /// `host:port` of the hub.
        hub: String,
        /// What was pinned.
        expected: Vec<CertificatePin>,
        /// What was shown.
        got: CertificatePin,
    },
    /// A proxy is in the way.
    #[error("cannot use the proxy {proxy}")]
    Proxy {
        /// `host:port` of the proxy.
        proxy: String,
        /// What it did.
        source: ProxyError,
    },
    /// The hub answered, and not with a WebSocket.
    #[error("{hub} refused: {status}{}", reason(body))]
    Refused {
        /// `host:port` of the hub.
        hub: String,
        /// Its answer.
        status: StatusCode,
        /// When to come back, if it said so.
        retry_after: Option<Duration>,
        /// The body of its answer: a Kubernetes `Status` when a hub wrote it.
        body: Bytes,
    },
    /// The name has no address.
    #[error("cannot resolve {host}")]
    Resolve {
        /// The name.
        host: String,
        /// The resolver's answer.
        source: io::Error,
    },
    /// A step took too long.
    #[error("{at} {stage} within {}", seconds(*after))]
    Timeout {
        /// Which step.
        stage: DialStage,
        /// `host:port` of whoever was silent.
        at: String,
        /// How long it was given.
        after: Duration,
    },
    /// TLS failed for another reason than the certificate.
    #[error("TLS with {hub} failed")]
    Tls {
        /// `host:port` of the hub.
        hub: String,
        /// What happened.
        source: io::Error,
    },
    /// The answer's body is longer than it may be.
    #[error("the answer of {hub} is longer than {limit} bytes")]
    TooLong {
        /// `host:port` of the hub.
        hub: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// The certificates to believe cannot be loaded.
    #[error("cannot decide whom to trust")]
    Trust(#[source] TrustError),
    /// Nothing vouches for the hub's certificate.
    #[error("the certificate of {hub} is not trusted")]
    Untrusted {
        /// `host:port` of the hub.
        hub: String,
        /// The certificate it showed.
        pin: CertificatePin,
        /// Why it is not trusted.
        source: rustls::Error,
    },
    /// The URL is none of a hub, or none that may be fetched.
    #[error("cannot use the URL {url}: {cause}")]
    Url {
        /// The URL.
        url: String,
        /// What is wrong with it.
        cause: &'static str,
    },
    /// There is no protocol both sides speak.
    #[error("cannot talk to {hub}")]
    Version {
        /// `host:port` of the hub.
        hub: String,
        /// Which side to upgrade.
        source: VersionMismatch,
    },
}

impl DialError {
    /// What a person can do about it, where there is such a thing.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::PinMismatch { got, .. } => Some(format!(
                "if the hub got a new certificate, compare {got} with what it printed at its start \
                 before you pin it"
            )),
            Self::Tls { source, .. } if speaks_no_tls(source) => {
                Some("does the hub speak plain HTTP there? Then its URL begins with http://".into())
            }
            Self::Untrusted { pin, .. } => Some(format!(
                "if the hub made its certificate itself, compare this with what it printed at its \
                 start: --pin {pin}"
            )),
            _ => None,
        }
    }

    /// The hub's status, when it answered and refused.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}

/// One address that did not accept a connection.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The address.
    pub address: SocketAddr,
    /// What happened.
    pub cause: String,
}

/// A step of a dial that waits for somebody.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum DialStage {
    /// The hub answers the request.
    Answer,
    /// The answer's body arrives.
    Body,
    /// The proxy answers CONNECT.
    Proxy,
    /// The name resolves.
    Resolve,
    /// The TLS handshake completes.
    Tls,
}

impl fmt::Display for DialStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Answer => "did not answer",
            Self::Body => "did not finish its answer",
            Self::Proxy => "did not answer CONNECT",
            Self::Resolve => "did not resolve",
            Self::Tls => "did not finish the TLS handshake",
        })
    }
}

fn list(attempts: &[Attempt]) -> String {
    if attempts.is_empty() {
        return "it has no address".to_owned();
    }
    let tried = |attempt: &Attempt| format!("{}: {}", attempt.address, attempt.cause);
    attempts.iter().map(tried).collect::<Vec<_>>().join(", ")
}

fn pins(pins: &[CertificatePin]) -> String {
    pins.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" or ")
}

pub(super) fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f32())
}

/// The beginning of a refusal's body as one printable line: a `Status` has its message found.
fn reason(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    // The message of a Status is looked for without a JSON parser: it only has to be readable.
    let message = text
        .split_once("\"message\":\"")
        .and_then(|(_, rest)| rest.split_once('"'));
    let text = message.map_or(text.as_ref(), |(message, _)| message);
    let line: String = text
        .chars()
        .map(|c| {
            if c.is_control() || ('\u{202a}'..='\u{2069}').contains(&c) {
                ' '
            } else {
                c
            }
        })
        .take(200)
        .collect();
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() || line.starts_with('<') {
        String::new()
    } else {
        format!(" ({line})")
    }
}

fn speaks_no_tls(error: &io::Error) -> bool {
    let cause = error
        .get_ref()
        .and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(cause, Some(rustls::Error::InvalidMessage(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusals_reason_is_one_clean_line() {
        assert_eq!(reason(b""), "");
        assert_eq!(reason(b"<html><body>502"), "");
        assert_eq!(
            reason(b"{\"kind\":\"Status\",\"message\":\"token expired\",\"code\":401}"),
            " (token expired)"
        );
        assert_eq!(reason("a\u{1b}[2J\nb\u{202e}c".as_bytes()), " (a [2J b c)");
        assert!(reason(&[b'x'; 70_000]).len() < 256);
    }
}
