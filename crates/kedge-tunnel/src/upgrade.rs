//! The hub's side of opening a WebSocket: every check before the 101, and the stream after it.
//!
//! * the caller sends GET with `Upgrade: websocket`, version 13, a key, and the protocols it speaks;
//! * a browser also sends `Origin`, and only pages of the hub itself may;
//! * whoever serves the request checks its token, then sends the 101 that [`upgrade`] made;
//! * [`PendingUpgrade::websocket`] then waits, not for ever, until the connection is ours.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::defaults;
use crate::version::{self, PROTOCOLS, PROTOCOLS_HEADER, Party, VersionMismatch};
use crate::wire::{Role, Wire};

/// Why a request does not become a WebSocket.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UpgradeError {
    /// A header is missing, stands twice or has no sensible value.
    #[error("the header {0} is missing or malformed")]
    Header(HeaderName),
    /// The method is not GET, or the protocol is not HTTP/1.1.
    #[error("a WebSocket begins with GET over HTTP/1.1")]
    Method,
    /// It is an ordinary request.
    #[error("this address speaks only WebSocket")]
    NotWebSocket,
    /// A page of another site sent it.
    #[error("pages of other sites may not open a WebSocket here")]
    Origin,
    /// No common protocol.
    #[error(transparent)]
    Protocol(#[from] VersionMismatch),
    /// Another version of WebSocket.
    #[error("only WebSocket version 13 (RFC 6455) is spoken here")]
    Version,
}

impl UpgradeError {
    /// The status to answer with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Header(_) | Self::Protocol(_) => StatusCode::BAD_REQUEST,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotWebSocket | Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::Origin => StatusCode::FORBIDDEN,
        }
    }

    /// The headers the answer must have, so that the caller knows what would have been right.
    #[must_use]
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        match self {
            Self::Method => {
                headers.insert(header::ALLOW, HeaderValue::from_static("GET"));
            }
            Self::NotWebSocket | Self::Version => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(
                    header::SEC_WEBSOCKET_VERSION,
                    HeaderValue::from_static("13"),
                );
            }
            Self::Protocol(_) => {
                if let Ok(known) = HeaderValue::from_str(&PROTOCOLS.join(", ")) {
                    headers.insert(HeaderName::from_static(PROTOCOLS_HEADER), known);
                }
            }
            Self::Header(_) | Self::Origin => {}
        }
        headers
    }
}

/// Why a connection never became a WebSocket after its 101.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PendingError {
    /// The connection ended first.
    #[error("the connection ended before the WebSocket began")]
    Ended(#[source] hyper::Error),
    /// The 101 did not get through in time.
    #[error("the WebSocket did not begin in time")]
    Timeout,
}

/// Checks a request and makes the 101 for it. Nothing happens until that answer is sent.
///
/// Check the caller's token before you send it: what follows a 101 is believed.
///
/// # Errors
///
/// [`UpgradeError`] with the status and headers to answer.
pub fn upgrade<B>(
    request: &mut Request<B>,
) -> Result<(Response<()>, PendingUpgrade), UpgradeError> {
    let headers = request.headers();
    if !has_token(headers, header::CONNECTION, "upgrade")
        || !has_token(headers, header::UPGRADE, "websocket")
    {
        return Err(UpgradeError::NotWebSocket);
    }
    if request.method() != Method::GET || request.version() != Version::HTTP_11 {
        return Err(UpgradeError::Method);
    }
    if only(headers, header::SEC_WEBSOCKET_VERSION)? != "13" {
        return Err(UpgradeError::Version);
    }
    check_origin(headers)?;
    let key = only(headers, header::SEC_WEBSOCKET_KEY)?;
    if BASE64_STANDARD.decode(key).map(|nonce| nonce.len()) != Ok(16) {
        return Err(UpgradeError::Header(header::SEC_WEBSOCKET_KEY));
    }
    let protocol = version::choose(Party::Hub, tokens(headers, header::SEC_WEBSOCKET_PROTOCOL))?;
    let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes()))
        .map_err(|_| UpgradeError::Header(header::SEC_WEBSOCKET_KEY))?;

    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    headers.insert(
        header::SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static(protocol),
    );
    let pending = PendingUpgrade {
        on_upgrade: hyper::upgrade::on(request),
        protocol,
    };
    Ok((response, pending))
}

/// A WebSocket that begins once its 101 was sent.
pub struct PendingUpgrade {
    on_upgrade: OnUpgrade,
    protocol: &'static str,
}

impl PendingUpgrade {
    /// The protocol that was agreed on.
    #[must_use]
    pub fn protocol(&self) -> &'static str {
        self.protocol
    }

    /// Waits for the connection.
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes the connection.
    ///
    /// # Errors
    ///
    /// [`PendingError`] when the connection ended or the answer was not sent in time.
    pub async fn websocket(self) -> Result<Wire<TokioIo<Upgraded>>, PendingError> {
        let upgraded = timeout(defaults::UPGRADE_TIME, self.on_upgrade)
            .await
            .map_err(|_| PendingError::Timeout)?
            .map_err(PendingError::Ended)?;
        // What was read together with the request comes out of the upgraded connection first.
        Ok(Wire::new(TokioIo::new(upgraded), Role::Server, &[]))
    }
}

impl fmt::Debug for PendingUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingUpgrade")
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}

/// A browser names the site of the page that asks. Only the hub's own may: any other would act
/// with whatever the browser knows.
fn check_origin(headers: &HeaderMap) -> Result<(), UpgradeError> {
    if !headers.contains_key(header::ORIGIN) {
        return Ok(());
    }
    let host = only(headers, header::HOST)?;
    let origin = only(headers, header::ORIGIN).map_err(|_| UpgradeError::Origin)?;
    let authority = origin
        .strip_prefix("https://")
        .or_else(|| origin.strip_prefix("http://"));
    let bare = |authority: &str| {
        let authority = authority.to_ascii_lowercase();
        let default = authority
            .strip_suffix(":443")
            .or_else(|| authority.strip_suffix(":80"));
        default.map_or_else(|| authority.clone(), str::to_owned)
    };
    match authority {
        Some(authority) if bare(authority) == bare(host) => Ok(()),
        _ => Err(UpgradeError::Origin),
    }
}

/// The value of a header that must stand exactly once.
fn only(headers: &HeaderMap, name: HeaderName) -> Result<&str, UpgradeError> {
    let mut values = headers.get_all(&name).iter();
    match (
        values.next().and_then(|value| value.to_str().ok()),
        values.next(),
    ) {
        (Some(value), None) => Ok(value.trim()),
        _ => Err(UpgradeError::Header(name)),
    }
}

fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

fn has_token(headers: &HeaderMap, name: HeaderName, expected: &str) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn request(changes: &[(&str, Option<&str>)]) -> Request<()> {
        let mut request = Request::new(());
        let good = [
            ("host", "hub.example:8443"),
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", KEY),
            ("sec-websocket-protocol", "kedge.v9, kedge.v1"),
        ];
        let mut add = |name: &str, value: &str| {
            let name = HeaderName::try_from(name).unwrap();
            request
                .headers_mut()
                .append(name, HeaderValue::try_from(value).unwrap());
        };
        for (name, value) in good {
            if !changes.iter().any(|(changed, _)| *changed == name) {
                add(name, value);
            }
        }
        for (name, value) in changes {
            if let Some(value) = value {
                add(name, value);
            }
        }
        request
    }

    #[test]
    fn a_good_request_gets_the_answer_of_rfc_6455() {
        let (response, pending) = upgrade(&mut request(&[])).unwrap();
        assert_eq!(response.status(), 101);
        // RFC 6455 §1.3 computes this answer for this key.
        assert_eq!(
            response.headers()["sec-websocket-accept"],
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        assert_eq!(response.headers()["sec-websocket-protocol"], "kedge.v1");
        assert!(!response.headers().contains_key("sec-websocket-extensions"));
        assert_eq!(pending.protocol(), "kedge.v1");
    }

    #[test]
    fn each_wrong_header_has_its_refusal() {
        type Changes = &'static [(&'static str, Option<&'static str>)];
        let cases: &[(Changes, u16)] = &[
            (&[("connection", Some("keep-alive"))], 426),
            (&[("upgrade", None)], 426),
            (&[("upgrade", Some("h2c"))], 426),
            (&[("sec-websocket-version", Some("8"))], 426),
            (&[("sec-websocket-version", None)], 400),
            (
                &[
                    ("sec-websocket-version", Some("13")),
                    ("sec-websocket-version", Some("13")),
                ],
                400,
            ),
            (&[("sec-websocket-key", None)], 400),
            (&[("sec-websocket-key", Some("short"))], 400),
            (
                &[
                    ("sec-websocket-key", Some(KEY)),
                    ("sec-websocket-key", Some(KEY)),
                ],
                400,
            ),
            (&[("sec-websocket-protocol", None)], 400),
            (&[("sec-websocket-protocol", Some("chat"))], 400),
            (&[("origin", Some("https://evil.example"))], 403),
            (&[("origin", Some("null"))], 403),
            (
                &[("origin", Some("https://hub.example:8443.evil.example"))],
                403,
            ),
            (&[("origin", Some("https://hub.example"))], 403),
            (
                &[
                    ("origin", Some("")),
                    ("origin", Some("https://hub.example:8443")),
                ],
                403,
            ),
        ];
        for (changes, status) in cases {
            let error = upgrade(&mut request(changes)).unwrap_err();
            assert_eq!(error.status(), *status, "{changes:?}: {error}");
        }
    }

    #[test]
    fn pages_of_the_hub_itself_may_ask() {
        for (host, origin) in [
            ("hub.example:8443", "https://hub.example:8443"),
            ("hub.example", "https://HUB.example"),
            ("hub.example", "https://hub.example:443"),
        ] {
            let changes = [("host", Some(host)), ("origin", Some(origin))];
            assert!(upgrade(&mut request(&changes)).is_ok(), "{host} {origin}");
        }
    }

    #[test]
    fn other_methods_and_versions_are_refused() {
        let mut post = request(&[]);
        *post.method_mut() = Method::POST;
        let error = upgrade(&mut post).unwrap_err();
        assert_eq!(
            (error.status().as_u16(), error.headers()["allow"].as_bytes()),
            (405, &b"GET"[..])
        );
        let mut old = request(&[]);
        *old.version_mut() = Version::HTTP_10;
        assert!(matches!(upgrade(&mut old), Err(UpgradeError::Method)));
    }

    #[test]
    fn a_caller_that_is_behind_is_told_what_is_spoken() {
        let error = upgrade(&mut request(&[(
            "sec-websocket-protocol",
            Some("kedge.v0"),
        )]))
        .unwrap_err();
        assert!(error.to_string().ends_with("upgrade the caller"), "{error}");
        assert_eq!(error.headers()[PROTOCOLS_HEADER], "kedge.v1");
    }
}
