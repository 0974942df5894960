//! One way to reach a hub for everything that does: agents, the command line, other hubs.
//!
//! A dial goes through up to five steps, and its error says which one failed at what:
//!
//! * the name of the hub (or of the proxy before it) is resolved;
//! * its addresses are tried one after another, each with a deadline;
//! * a proxy is asked for CONNECT;
//! * TLS is agreed on, and the certificate believed or not ([`crate::Trust`]);
//! * one HTTP/1.1 request is sent. A WebSocket's answer is 101, and the connection is then a link's.

mod builder;
mod connect;
mod error;
mod exchange;
mod local;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use rustls_pki_types::ServerName;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use url::Url;

pub use builder::DialerBuilder;
pub use error::{Attempt, DialError, DialStage};
pub use exchange::ResponseBody;

use crate::defaults;
use crate::proxy::Proxy;
use crate::socket::HubStream;
use crate::tls::{self, CertificatePin};
use crate::version::{self, PROTOCOLS, PROTOCOLS_HEADER, Party};
use crate::wire::{Role, Wire};

/// Reaches one hub. Clones share everything, TLS session tickets included.
#[derive(Clone)]
pub struct Dialer {
    inner: Arc<Inner>,
}

#[derive(Clone)]
struct Inner {
    url: Url,
    host: String,
    port: u16,
    /// Where connections leave from.
    local_address: Option<IpAddr>,
    /// The value of `Host`.
    authority: HeaderValue,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    proxy: Option<Proxy>,
    pins: Vec<CertificatePin>,
    timeouts: Timeouts,
    user_agent: HeaderValue,
}

/// How long each step of a dial may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Resolving a name.
    pub resolve: Duration,
    /// Connecting to one address.
    pub connect: Duration,
    /// A proxy's answer to CONNECT.
    pub proxy: Duration,
    /// The TLS handshake.
    pub tls: Duration,
    /// From the request to the head of its answer.
    pub answer: Duration,
    /// A whole short answer.
    pub body: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            resolve: defaults::RESOLVE_TIME,
            connect: defaults::CONNECT_TIME,
            proxy: defaults::PROXY_TIME,
            tls: defaults::TLS_TIME,
            answer: defaults::ANSWER_TIME,
            body: defaults::BODY_TIME,
        }
    }
}

/// What was agreed on with the hub when a WebSocket was opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Negotiated {
    /// The protocol, one of [`PROTOCOLS`].
    pub protocol: &'static str,
    /// The address that answered: the hub's, or the proxy's.
    pub peer: Option<SocketAddr>,
    /// The headers of the hub's 101.
    pub headers: HeaderMap,
}

impl Dialer {
    /// Starts to describe how to reach the hub at `url` (`https://host[:port]`, or `http://` for
    /// one that leaves TLS to a proxy on its own machine).
    #[must_use]
    pub fn builder(url: Url) -> DialerBuilder {
        DialerBuilder::new(url)
    }

    /// The hub's URL.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.inner.url
    }

    /// The proxy on the way, as `host:port`.
    #[must_use]
    pub fn proxy(&self) -> Option<&str> {
        self.inner.proxy.as_ref().map(|proxy| proxy.name.as_str())
    }

    /// Sends one request, whose URI is path and query only, on a connection of its own. The body
    /// of the answer may go on for ever (a watch): its reader decides how long it waits.
    ///
    /// # Cancel safety
    ///
    /// Safe: dropping it closes the connection. Whether the hub acted is then unknown.
    ///
    /// # Errors
    ///
    /// Any [`DialError`] but [`DialError::Refused`]: an answer of any status is an answer.
    pub async fn request(
        &self,
        request: Request<Bytes>,
    ) -> Result<Response<ResponseBody<HubStream>>, DialError> {
        let stream = self.connect().await?;
        let (response, connection) = self.exchange(stream, request).await?;
        Ok(response.map(|body| ResponseBody::new(body, connection)))
    }

    /// Like [`Self::request`], with the whole body of at most `limit` bytes, in bounded time.
    ///
    /// # Cancel safety
    ///
    /// As [`Self::request`].
    ///
    /// # Errors
    ///
    /// As [`Self::request`], and [`DialError::TooLong`].
    pub async fn fetch(
        &self,
        request: Request<Bytes>,
        limit: usize,
    ) -> Result<Response<Bytes>, DialError> {
        let (parts, body) = self.request(request).await?.into_parts();
        let collected = timeout(
            self.inner.timeouts.body,
            Limited::new(body, limit).collect(),
        )
        .await
        .map_err(|_| self.late(DialStage::Body, self.inner.timeouts.body))?;
        let bytes = match collected {
            Ok(collected) => collected.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return Err(DialError::TooLong {
                    hub: self.name(),
                    limit,
                });
            }
            Err(source) => {
                return Err(DialError::Http {
                    hub: self.name(),
                    source,
                });
            }
        };
        Ok(Response::from_parts(parts, bytes))
    }

    /// Opens a WebSocket at `path` that speaks one of [`PROTOCOLS`]. `headers` go with the
    /// request: `Authorization`, above all.
    ///
    /// # Cancel safety
    ///
    /// Safe: dropping it closes the connection.
    ///
    /// # Errors
    ///
    /// Any [`DialError`]: [`DialError::Refused`] holds the hub's answer when it is not a 101, and
    /// [`DialError::Version`] says which side to upgrade.
    pub async fn websocket(
        &self,
        path: &str,
        headers: HeaderMap,
    ) -> Result<(Wire<HubStream>, Negotiated), DialError> {
        let key = generate_key();
        let request = self.upgrade_request(path, headers, &key)?;
        let stream = self.connect().await?;
        let peer = stream.tcp().peer_addr().ok();
        let (response, connection) = self.exchange(stream, request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let (parts, body) = response.into_parts();
            return Err(self
                .refusal(parts, ResponseBody::new(body, connection))
                .await);
        }
        let protocol = self.check_upgrade(response.headers(), &key)?;
        let parts = timeout(self.inner.timeouts.answer, exchange::take_back(connection))
            .await
            .map_err(|_| self.late(DialStage::Answer, self.inner.timeouts.answer))?
            .map_err(|source| self.http(source))?;
        let wire = Wire::new(parts.io.into_inner(), Role::Client, &parts.read_buf);
        let headers = response.headers().clone();
        Ok((
            wire,
            Negotiated {
                protocol,
                peer,
                headers,
            },
        ))
    }

    /// The pin of the certificate the hub shows, believed or not: for a person to compare.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    ///
    /// # Errors
    ///
    /// Any [`DialError`] of the steps before TLS; [`DialError::Url`] for a hub without TLS.
    pub async fn peer_certificate_pin(&self) -> Result<CertificatePin, DialError> {
        let Some((_, name)) = &self.inner.tls else {
            let cause = "a hub without TLS shows no certificate";
            return Err(DialError::Url {
                url: self.inner.url.to_string(),
                cause,
            });
        };
        let config = tls::asking_config().map_err(DialError::Trust)?;
        let stream = self.tunnel_to_hub().await?;
        let connector = TlsConnector::from(Arc::new(config));
        match self.handshake(&connector, name.clone(), stream).await {
            Err(DialError::PinMismatch { got, .. }) => Ok(got),
            Err(error) => Err(error),
            Ok(_) => Err(self.odd("its certificate was never shown")),
        }
    }

    /// Sends `request` with the headers every request of ours has.
    async fn exchange(
        &self,
        stream: HubStream,
        mut request: Request<Bytes>,
    ) -> Result<exchange::Answered<HubStream>, DialError> {
        let headers = request.headers_mut();
        headers.insert(header::HOST, self.inner.authority.clone());
        headers
            .entry(header::USER_AGENT)
            .or_insert(self.inner.user_agent.clone());
        if !headers.contains_key(header::UPGRADE) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        timeout(
            self.inner.timeouts.answer,
            exchange::send(stream, request.map(Full::new)),
        )
        .await
        .map_err(|_| self.late(DialStage::Answer, self.inner.timeouts.answer))?
        .map_err(|source| self.http(source))
    }

    fn upgrade_request(
        &self,
        path: &str,
        headers: HeaderMap,
        key: &str,
    ) -> Result<Request<Bytes>, DialError> {
        let refused = |cause| DialError::Url {
            url: path.to_owned(),
            cause,
        };
        let mut request = Request::new(Bytes::new());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = path.parse::<Uri>().map_err(|_| refused("it is no path"))?;
        *request.headers_mut() = headers;
        let key = HeaderValue::from_str(key).map_err(|_| refused("its key cannot be sent"))?;
        let offered = HeaderValue::from_str(&PROTOCOLS.join(", "))
            .map_err(|_| refused("its protocols cannot be sent"))?;
        let fixed = [
            (header::CONNECTION, HeaderValue::from_static("Upgrade")),
            (header::UPGRADE, HeaderValue::from_static("websocket")),
            (
                header::SEC_WEBSOCKET_VERSION,
                HeaderValue::from_static("13"),
            ),
            (header::SEC_WEBSOCKET_KEY, key),
            (header::SEC_WEBSOCKET_PROTOCOL, offered),
        ];
        request
            .headers_mut()
            .extend(fixed.map(|(name, value)| (Some(name), value)));
        Ok(request)
    }

    fn check_upgrade(&self, headers: &HeaderMap, key: &str) -> Result<&'static str, DialError> {
        let value = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        if !value(&header::UPGRADE).is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
            return Err(self.odd("its 101 does not switch to WebSocket"));
        }
        if value(&header::SEC_WEBSOCKET_ACCEPT) != Some(&derive_accept_key(key.as_bytes())) {
            return Err(self.odd("its 101 answers another request than ours"));
        }
        if headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS) {
            return Err(self.odd("it switched on an extension that was not asked for"));
        }
        let chosen = value(&header::SEC_WEBSOCKET_PROTOCOL);
        version::choose(Party::Caller, chosen).map_err(|source| DialError::Version {
            hub: self.name(),
            source,
        })
    }

    async fn refusal(
        &self,
        parts: http::response::Parts,
        body: ResponseBody<HubStream>,
    ) -> DialError {
        if let Some(offers) = parts
            .headers
            .get(PROTOCOLS_HEADER)
            .and_then(|v| v.to_str().ok())
            && let Err(source) = version::choose(Party::Caller, offers.split(','))
        {
            return DialError::Version {
                hub: self.name(),
                source,
            };
        }
        // The reason is worth waiting for; a body that is late, long or broken is worth nothing.
        let limited = Limited::new(body, defaults::REFUSAL_BYTES).collect();
        let body = match timeout(self.inner.timeouts.body, limited).await {
            Ok(Ok(collected)) => collected.to_bytes(),
            Ok(Err(_)) | Err(_) => Bytes::new(),
        };
        let retry_after = parts
            .headers
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        DialError::Refused {
            hub: self.name(),
            status: parts.status,
            retry_after,
            body,
        }
    }

    /// Host and port, as errors name the hub.
    fn name(&self) -> String {
        self.inner.authority.to_str().unwrap_or_default().to_owned()
    }

    fn late(&self, stage: DialStage, after: Duration) -> DialError {
        DialError::Timeout {
            stage,
            at: self.name(),
            after,
        }
    }

    fn http(&self, source: hyper::Error) -> DialError {
        DialError::Http {
            hub: self.name(),
            source: source.into(),
        }
    }

    fn odd(&self, cause: &'static str) -> DialError {
        DialError::Handshake {
            hub: self.name(),
            cause,
        }
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer")
            .field("url", &self.inner.url.as_str())
            .field("proxy", &self.inner.proxy)
            .finish_non_exhaustive()
    }
}
