//! From a name to a stream: resolve, connect, CONNECT, TLS.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Uri};
use http_body_util::Empty;
use rustls_pki_types::ServerName;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::error::{Attempt, seconds};
use super::{DialError, DialStage, Dialer, exchange, local};
use crate::carrier::Carrier;
use crate::proxy::{Proxy, ProxyError};
use crate::socket::{HubStream, socket_options};
use crate::tls::Verdict;

impl Dialer {
    /// A stream to the hub on which HTTP can be spoken.
    pub(super) async fn connect(&self) -> Result<HubStream, DialError> {
        let stream = self.tunnel_to_hub().await?;
        match &self.inner.tls {
            Some((connector, name)) => self.handshake(connector, name.clone(), stream).await,
            None => Ok(HubStream::plain(Carrier::new(stream))),
        }
    }

    /// A TCP connection that ends at the hub's port, through the proxy if there is one.
    pub(super) async fn tunnel_to_hub(&self) -> Result<TcpStream, DialError> {
        let inner = &self.inner;
        let Some(proxy) = &inner.proxy else {
            return self.tcp(&inner.host, inner.port, "").await;
        };
        let stream = self.tcp(&proxy.host, proxy.port, "the proxy ").await?;
        timeout(inner.timeouts.proxy, self.pass(proxy, stream))
            .await
            .map_err(|_| DialError::Timeout {
                stage: DialStage::Proxy,
                at: format!("the proxy {}", proxy.name),
                after: inner.timeouts.proxy,
            })?
            .map_err(|source| DialError::Proxy {
                proxy: proxy.name.clone(),
                source,
            })
    }

    pub(super) async fn handshake(
        &self,
        connector: &TlsConnector,
        name: ServerName<'static>,
        stream: TcpStream,
    ) -> Result<HubStream, DialError> {
        let limit = self.inner.timeouts.tls;
        let shaken = timeout(limit, connector.connect(name, Carrier::new(stream)))
            .await
            .map_err(|_| self.late(DialStage::Tls, limit))?;
        shaken
            .map(HubStream::tls)
            .map_err(|error| match Verdict::of(&error) {
                Some(Verdict::PinMismatch { got }) => DialError::PinMismatch {
                    hub: self.name(),
                    expected: self.inner.pins.clone(),
                    got,
                },
                Some(Verdict::Untrusted { pin, cause }) => DialError::Untrusted {
                    hub: self.name(),
                    pin,
                    source: cause,
                },
                None => DialError::Tls {
                    hub: self.name(),
                    source: error,
                },
            })
    }

    async fn tcp(&self, host: &str, port: u16, whose: &str) -> Result<TcpStream, DialError> {
        let timeouts = &self.inner.timeouts;
        let to = match host.contains(':') {
            true => format!("{whose}[{host}]:{port}"),
            false => format!("{whose}{host}:{port}"),
        };
        let addresses = timeout(timeouts.resolve, lookup_host((host, port)))
            .await
            .map_err(|_| DialError::Timeout {
                stage: DialStage::Resolve,
                at: host.to_owned(),
                after: timeouts.resolve,
            })?
            .map_err(|source| DialError::Resolve {
                host: host.to_owned(),
                source,
            })?;
        let mut attempts = Vec::new();
        for address in addresses {
            match try_address(timeouts.connect, self.inner.local_address, address).await {
                Ok(stream) => {
                    socket_options(&stream);
                    return Ok(stream);
                }
                Err(cause) => attempts.push(Attempt { address, cause }),
            }
        }
        Err(DialError::Connect { to, attempts })
    }

    /// Asks `proxy` for a way to the hub.
    async fn pass(&self, proxy: &Proxy, stream: TcpStream) -> Result<TcpStream, ProxyError> {
        let odd = |cause: &str| ProxyError::Protocol {
            cause: cause.to_owned(),
        };
        let target = match self.inner.host.contains(':') {
            true => format!("[{}]:{}", self.inner.host, self.inner.port),
            false => format!("{}:{}", self.inner.host, self.inner.port),
        };
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() =
            Uri::try_from(target.as_str()).map_err(|_| odd("the hub has no proper name"))?;
        let host = HeaderValue::try_from(target.as_str())
            .map_err(|_| odd("the hub has no proper name"))?;
        request.headers_mut().insert(header::HOST, host);
        request
            .headers_mut()
            .insert(header::USER_AGENT, self.inner.user_agent.clone());
        if let Some(authorization) = &proxy.authorization {
            let mut value = HeaderValue::try_from(authorization.as_str())
                .map_err(|_| odd("its credentials cannot be sent"))?;
            value.set_sensitive(true);
            request
                .headers_mut()
                .insert(header::PROXY_AUTHORIZATION, value);
        }
        let broken = |error: hyper::Error| ProxyError::Protocol {
            cause: match std::error::Error::source(&error) {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            },
        };
        let (response, connection) = exchange::send(stream, request).await.map_err(broken)?;
        if !response.status().is_success() {
            return Err(ProxyError::Refused {
                target,
                status: response.status(),
            });
        }
        let parts = exchange::take_back(connection).await.map_err(broken)?;
        if !parts.read_buf.is_empty() {
            // Neither TLS nor HTTP lets the hub speak first.
            return Err(odd("it sent more than its answer"));
        }
        Ok(parts.io.into_inner())
    }
}

async fn try_address(
    limit: Duration,
    from: Option<IpAddr>,
    address: SocketAddr,
) -> Result<TcpStream, String> {
    match timeout(limit, local::connect(from, address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {}", seconds(limit))),
    }
}
