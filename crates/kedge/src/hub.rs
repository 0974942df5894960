//! The hub's REST API, as this program uses it.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use kedge_api::rest::{Discovery, HostKeyAcceptance, ServerAccess, WhoAmI};
use kedge_api::text::Printable;
use kedge_api::{
    API_PATH, DISCOVERY_PATH, HubName, HubUrl, Login, ServerName, Status, StatusReason,
};
use kedge_tunnel::{
    DialError, Dialer, HubStream, ProxyEnvironment, ProxyPolicy, ResponseBody, Trust,
};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

use crate::defaults;

/// A hub as seen by one person.
#[derive(Debug)]
pub struct Hub {
    dialer: Dialer,
    name: HubName,
    token: Option<SecretString>,
    url: HubUrl,
}

/// Why a request came to nothing.
#[derive(Debug, Error)]
pub enum HubError {
    /// The answer is not what this program understands.
    #[error("hub `{hub}` gave an answer that cannot be read")]
    Answer {
        /// The hub.
        hub: HubName,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The connection broke while events came.
    #[error("hub `{hub}` broke off its answer: {cause}")]
    Broken {
        /// The hub.
        hub: HubName,
        /// How.
        cause: String,
    },
    /// There is no way to the hub.
    #[error("cannot reach hub `{hub}` at {url}")]
    Dial {
        /// The hub.
        hub: HubName,
        /// Where.
        url: HubUrl,
        /// Why.
        source: Box<DialError>,
    },
    /// Nobody is logged in there.
    #[error("not logged in at hub `{hub}`")]
    NotLoggedIn {
        /// The hub.
        hub: HubName,
    },
    /// The hub refused.
    #[error("{}", refusal(status))]
    Refused {
        /// The hub.
        hub: HubName,
        /// What it said.
        status: Box<Status>,
    },
    /// The answer did not come in time.
    #[error("hub `{hub}` did not answer within {} s", after.as_secs())]
    Timeout {
        /// The hub.
        hub: HubName,
        /// How long it had.
        after: Duration,
    },
    /// An event is longer than anything a hub should say.
    #[error("hub `{hub}` sent an event of more than {limit} bytes")]
    TooLong {
        /// The hub.
        hub: HubName,
        /// The limit.
        limit: usize,
    },
    /// Something that is no hub answered.
    #[error("{url} answered `{status}`, and not as a hub does")]
    Unexpected {
        /// Where.
        url: HubUrl,
        /// The HTTP status.
        status: StatusCode,
    },
}

impl HubError {
    /// The hub's own word for what is wrong, where it gave one.
    #[must_use]
    pub fn reason(&self) -> Option<&StatusReason> {
        match self {
            Self::Refused { status, .. } => Some(&status.reason),
            _ => None,
        }
    }
}

impl Hub {
    /// A hub to talk to; nothing is dialled yet.
    ///
    /// # Errors
    ///
    /// [`HubError::Dial`] when the trusted roots or the proxy make no sense.
    pub fn new(
        name: HubName,
        url: HubUrl,
        trust: Trust,
        token: Option<SecretString>,
        proxies: ProxyEnvironment,
    ) -> Result<Self, HubError> {
        let dialer = Dialer::builder(url.as_url().clone())
            .trust(trust)
            .proxy(ProxyPolicy::FromEnvironment(proxies))
            .build();
        match dialer {
            Ok(dialer) => Ok(Self {
                dialer,
                name,
                token,
                url,
            }),
            Err(source) => Err(HubError::Dial {
                hub: name,
                url,
                source: Box::new(source),
            }),
        }
    }

    /// What the person calls it.
    #[must_use]
    pub fn name(&self) -> &HubName {
        &self.name
    }

    /// What dials it.
    #[must_use]
    pub fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// The header that says who asks.
    ///
    /// # Errors
    ///
    /// [`HubError::NotLoggedIn`], also for a token that no header could carry.
    pub fn authorization(&self) -> Result<http::HeaderValue, HubError> {
        let missing = || HubError::NotLoggedIn {
            hub: self.name.clone(),
        };
        let token = self.token.as_ref().ok_or_else(missing)?;
        let text = zeroize::Zeroizing::new(format!("Bearer {}", token.expose_secret()));
        let mut value = http::HeaderValue::from_str(&text).map_err(|_| missing())?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// What the hub tells everybody about itself. Sends no token.
    ///
    /// # Errors
    ///
    /// [`HubError`]
    ///
    /// # Cancel safety
    ///
    /// The request is dropped; as with every request here.
    pub async fn discover(&self) -> Result<Discovery, HubError> {
        let request = self.request(Method::GET, DISCOVERY_PATH, Bytes::new());
        self.read(self.answer(request).await?)
    }

    /// Who the hub takes the person for.
    ///
    /// # Errors
    ///
    /// [`HubError`]
    ///
    /// # Cancel safety
    ///
    /// As [`Self::discover`].
    pub async fn who_am_i(&self) -> Result<WhoAmI, HubError> {
        self.read(
            self.call(Method::GET, &format!("{API_PATH}/whoami"), None)
                .await?,
        )
    }

    /// What is needed to start `ssh` to a server.
    ///
    /// # Errors
    ///
    /// [`HubError`]
    ///
    /// # Cancel safety
    ///
    /// As [`Self::discover`].
    pub async fn access(
        &self,
        server: &ServerName,
        login: Option<&Login>,
    ) -> Result<ServerAccess, HubError> {
        let mut path = format!("{API_PATH}/servers/{server}/access");
        if let Some(login) = login {
            let _ = write!(path, "?login={login}");
        }
        self.read(self.call(Method::GET, &path, None).await?)
    }

    /// Has the hub trust the host keys of these fingerprints from now on.
    ///
    /// # Errors
    ///
    /// [`HubError`]
    ///
    /// # Cancel safety
    ///
    /// The hub may have done it all the same.
    pub async fn accept_host_keys(
        &self,
        server: &ServerName,
        acceptance: &HostKeyAcceptance,
    ) -> Result<(), HubError> {
        let body = serde_json::to_value(acceptance).unwrap_or_default();
        let path = format!("{API_PATH}/servers/{server}/hostkeys");
        self.call(Method::POST, &path, Some(&body)).await.map(drop)
    }

    /// Reads what is at a path of the API group: `servers`, `servers/web01`.
    ///
    /// # Errors
    ///
    /// [`HubError`]
    ///
    /// # Cancel safety
    ///
    /// As [`Self::discover`].
    pub async fn fetch(&self, path: &str) -> Result<Value, HubError> {
        self.read(
            self.call(Method::GET, &format!("{API_PATH}/{path}"), None)
                .await?,
        )
    }

    /// Creates an object; the answer is what the hub made of it.
    ///
    /// # Errors
    ///
    /// [`HubError`]
    ///
    /// # Cancel safety
    ///
    /// The hub may have done it all the same; as with the other changes.
    pub async fn create(&self, plural: &str, object: &Value) -> Result<Bytes, HubError> {
        self.call(Method::POST, &format!("{API_PATH}/{plural}"), Some(object))
            .await
    }

    /// Replaces an object of the resource version that `object` names.
    ///
    /// # Errors
    ///
    /// [`HubError`]
    ///
    /// # Cancel safety
    ///
    /// As [`Self::create`].
    pub async fn replace(&self, path: &str, object: &Value) -> Result<Value, HubError> {
        let path = format!("{API_PATH}/{path}");
        self.read(self.call(Method::PUT, &path, Some(object)).await?)
    }

    /// Deletes an object.
    ///
    /// # Errors
    ///
    /// [`HubError`]
    ///
    /// # Cancel safety
    ///
    /// As [`Self::create`].
    pub async fn delete(&self, path: &str) -> Result<(), HubError> {
        self.call(Method::DELETE, &format!("{API_PATH}/{path}"), None)
            .await
            .map(drop)
    }

    /// Follows what happens to a kind's objects.
    ///
    /// # Errors
    ///
    /// [`HubError`]
    ///
    /// # Cancel safety
    ///
    /// As [`Self::discover`].
    pub async fn watch(&self, path_and_query: &str) -> Result<Watch, HubError> {
        let path = format!("{API_PATH}/{path_and_query}");
        let mut request = self.request(Method::GET, &path, Bytes::new());
        request
            .headers_mut()
            .insert(header::AUTHORIZATION, self.authorization()?);
        let answer = self
            .dialer
            .request(request)
            .await
            .map_err(|e| self.unreachable(e))?;
        let status = answer.status();
        if !status.is_success() {
            let limited = Limited::new(answer.into_body(), defaults::EVENT_BYTES).collect();
            let body = match tokio::time::timeout(defaults::REQUEST_TIME, limited).await {
                Ok(Ok(collected)) => collected.to_bytes(),
                Ok(Err(_)) | Err(_) => Bytes::new(),
            };
            return Err(self.refused(status, &body));
        }
        Ok(Watch {
            hub: self.name.clone(),
            body: answer.into_body(),
            held: BytesMut::new(),
        })
    }

    /// The error for an answer that is no success.
    #[must_use]
    pub fn refused(&self, status: StatusCode, body: &[u8]) -> HubError {
        match serde_json::from_slice::<Status>(body) {
            Ok(said) => HubError::Refused {
                hub: self.name.clone(),
                status: Box::new(said),
            },
            Err(_) => HubError::Unexpected {
                url: self.url.clone(),
                status,
            },
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Bytes, HubError> {
        let bytes = body
            .map(|value| Bytes::from(value.to_string()))
            .unwrap_or_default();
        let mut request = self.request(method, path, bytes);
        request
            .headers_mut()
            .insert(header::AUTHORIZATION, self.authorization()?);
        if body.is_some() {
            let json = http::HeaderValue::from_static("application/json");
            request.headers_mut().insert(header::CONTENT_TYPE, json);
        }
        self.answer(request).await
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Request<Bytes> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        // Paths are made of checked names and encoded queries; were one not, the hub says 404.
        *request.uri_mut() = path.parse().unwrap_or_default();
        let json = http::HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::ACCEPT, json);
        request
    }

    async fn answer(&self, request: Request<Bytes>) -> Result<Bytes, HubError> {
        let after = defaults::REQUEST_TIME;
        let answer = tokio::time::timeout(after, self.fetch_all(request))
            .await
            .map_err(|_| HubError::Timeout {
                hub: self.name.clone(),
                after,
            })??;
        let (parts, body) = answer.into_parts();
        if parts.status.is_success() {
            Ok(body)
        } else {
            Err(self.refused(parts.status, &body))
        }
    }

    async fn fetch_all(&self, request: Request<Bytes>) -> Result<http::Response<Bytes>, HubError> {
        self.dialer
            .fetch(request, defaults::RESPONSE_BYTES)
            .await
            .map_err(|source| self.unreachable(source))
    }

    fn unreachable(&self, source: DialError) -> HubError {
        HubError::Dial {
            hub: self.name.clone(),
            url: self.url.clone(),
            source: Box::new(source),
        }
    }

    fn read<T: DeserializeOwned>(&self, bytes: Bytes) -> Result<T, HubError> {
        serde_json::from_slice(&bytes).map_err(|source| HubError::Answer {
            hub: self.name.clone(),
            source,
        })
    }
}

/// The events of a watch, one after the other.
/// Dropping it ends the watch.
#[derive(Debug)]
pub struct Watch {
    hub: HubName,
    body: ResponseBody<HubStream>,
    held: BytesMut,
}

impl Watch {
    /// The next event, as JSON; `None` when the hub ended the watch or was silent for too long.
    ///
    /// # Errors
    ///
    /// [`HubError`] when the connection broke or an event cannot be read.
    ///
    /// # Cancel safety
    ///
    /// No event is lost.
    pub async fn next(&mut self) -> Result<Option<Value>, HubError> {
        loop {
            if let Some(line) = take_line(&mut self.held) {
                return serde_json::from_slice(&line).map(Some).map_err(|source| {
                    HubError::Answer {
                        hub: self.hub.clone(),
                        source,
                    }
                });
            }
            if self.held.len() > defaults::EVENT_BYTES {
                return Err(HubError::TooLong {
                    hub: self.hub.clone(),
                    limit: defaults::EVENT_BYTES,
                });
            }
            match tokio::time::timeout(defaults::WATCH_SILENCE, self.body.frame()).await {
                Err(_) | Ok(None) => return Ok(None),
                Ok(Some(Err(source))) => {
                    let cause = source.to_string();
                    return Err(HubError::Broken {
                        hub: self.hub.clone(),
                        cause,
                    });
                }
                Ok(Some(Ok(frame))) => {
                    if let Some(data) = frame.data_ref() {
                        self.held.extend_from_slice(data);
                    }
                }
            }
        }
    }
}

/// The first whole line that says something. An empty one only keeps a quiet watch's connection alive.
fn take_line(held: &mut BytesMut) -> Option<BytesMut> {
    while let Some(end) = held.iter().position(|&byte| byte == b'\n') {
        let line = held.split_to(end + 1);
        if !line.trim_ascii().is_empty() {
            return Some(line);
        }
    }
    None
}

/// The hub's sentence, and each field it complains about.
fn refusal(status: &Status) -> String {
    let mut text = Printable::new(&status.message).to_string();
    if text.is_empty() {
        text = format!("the hub refused: {}", status.reason);
    }
    for cause in status.details.iter().flat_map(|details| &details.causes) {
        // Kubernetes repeats the causes in the message; so may our hub.
        if !text.contains(&cause.message) {
            let (field, message) = (Printable::new(&cause.field), Printable::new(&cause.message));
            let _ = write!(text, "; {field}: {message}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_watch_says_empty_lines_which_are_no_events() {
        let mut held = BytesMut::from("\n\r\n{\"type\":\"ADDED\"}\n\n{\"type\":");
        assert_eq!(take_line(&mut held).unwrap(), "{\"type\":\"ADDED\"}\n");
        assert_eq!(take_line(&mut held), None);
        assert_eq!(held, "{\"type\":");
        held.extend_from_slice(b"\"BOOKMARK\"}\n");
        assert_eq!(take_line(&mut held).unwrap(), "{\"type\":\"BOOKMARK\"}\n");
        assert_eq!(take_line(&mut held), None);
        assert!(held.is_empty());
    }
}
