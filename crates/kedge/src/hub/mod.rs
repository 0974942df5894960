//! The hub's REST API, as this program uses it.

mod error;
mod servers;
mod watch;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use jiff::Timestamp;
use kedge_api::rest::{Discovery, WhoAmI};
use kedge_api::{API_PATH, DISCOVERY_PATH, HubName, HubUrl, Status, StatusReason};
use kedge_tunnel::{DialError, Dialer, ProxyEnvironment, ProxyPolicy, Trust};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use error::HubError;
pub use watch::Watch;

use crate::advice::Advice;
use crate::credentials::{CredentialError, Credentials, Kind, Token};
use crate::defaults;

/// A hub as seen by one person.
#[derive(Debug)]
pub struct Hub {
    dialer: Dialer,
    asker: Asker,
    name: HubName,
    url: HubUrl,
}

/// As whom a hub is asked.
#[derive(Debug)]
pub enum Asker {
    /// As whoever has this token, which is about to become a login.
    Given(SecretString),
    /// As nobody yet.
    Nobody,
    /// As whoever is logged in.
    Stored(Credentials),
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
        asker: Asker,
        proxies: ProxyEnvironment,
    ) -> Result<Self, HubError> {
        let dialer = Dialer::builder(url.as_url().clone())
            .trust(trust)
            .proxy(ProxyPolicy::FromEnvironment(proxies))
            .build();
        match dialer {
            Ok(dialer) => Ok(Self {
                dialer,
                asker,
                name,
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

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &HubUrl {
        &self.url
    }

    /// What dials it.
    #[must_use]
    pub fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// The hub, asked with a token that is about to become a login.
    #[must_use]
    pub fn with_token(self, token: SecretString) -> Self {
        let asker = Asker::Given(token);
        Self { asker, ..self }
    }

    /// Has a token at hand that is good for a while: before an exchange that has a short deadline,
    /// which must not cut off the answer of an issuer.
    ///
    /// # Errors
    ///
    /// [`HubError::NotLoggedIn`] and [`HubError::Credentials`].
    ///
    /// # Cancel safety
    ///
    /// Not to be cancelled: see [`Credentials::token`].
    pub async fn prepare(&self) -> Result<(), HubError> {
        self.token().await.map(drop)
    }

    /// Asks with the header that says who asks. When the hub does not take a token that seemed good,
    /// another is had and the hub asked once more, and not again.
    ///
    /// # Errors
    ///
    /// [`HubError`]
    ///
    /// # Cancel safety
    ///
    /// As [`Self::prepare`].
    pub async fn authorized<T>(
        &self,
        mut ask: impl AsyncFnMut(http::HeaderValue) -> Result<T, HubError>,
    ) -> Result<T, HubError> {
        let token = self.token().await?;
        let mut status = match unauthorized(ask(self.bearer(&token.text).await?).await) {
            Ok(answer) => return answer,
            Err(status) => status,
        };
        if let Asker::Stored(credentials) = &self.asker {
            match credentials.other_than(&token.text).await {
                Ok(Some(other)) => match unauthorized(ask(self.bearer(&other).await?).await) {
                    Ok(answer) => return answer,
                    Err(again) => status = again,
                },
                Err(error) if error.needs_login() => return Err(self.no_token(error).await),
                // What the hub said says more than why nothing else could be tried.
                Ok(None) | Err(_) => {}
            }
        }
        Err(HubError::NotTaken {
            hub: self.name.clone(),
            advice: Box::new(self.advice().await),
            kind: token.kind,
            status,
        })
    }

    async fn token(&self) -> Result<Token, HubError> {
        match &self.asker {
            Asker::Given(text) => Ok(Token {
                text: text.clone(),
                kind: Kind::Static,
            }),
            Asker::Nobody => Err(self.no_token(CredentialError::Missing).await),
            Asker::Stored(credentials) => match credentials.token().await {
                Ok(token) => Ok(token),
                Err(error) => Err(self.no_token(error).await),
            },
        }
    }

    async fn bearer(&self, token: &SecretString) -> Result<http::HeaderValue, HubError> {
        let text = zeroize::Zeroizing::new(format!("Bearer {}", token.expose_secret()));
        match http::HeaderValue::from_str(&text) {
            Ok(mut value) => {
                value.set_sensitive(true);
                Ok(value)
            }
            Err(_) => Err(self.no_token(CredentialError::Missing).await),
        }
    }

    async fn no_token(&self, error: CredentialError) -> HubError {
        let hub = self.name.clone();
        let advice = Box::new(self.advice().await);
        match error {
            CredentialError::Missing => HubError::NotLoggedIn { hub, advice },
            error => HubError::Credentials {
                hub,
                advice,
                source: Box::new(error),
            },
        }
    }

    /// What helps somebody whose login is no good: the hub says how people log in there, and what
    /// time it is.
    pub(crate) async fn advice(&self) -> Advice {
        let request = self.request(Method::GET, DISCOVERY_PATH, Bytes::new());
        let asked = Timestamp::now();
        let fetched = self.dialer.fetch(request, defaults::DISCOVERY_BYTES);
        match tokio::time::timeout(defaults::ADVICE_TIME, fetched).await {
            Ok(Ok(answer)) => Advice::new(&self.name, &answer, asked, Timestamp::now()),
            Ok(Err(_)) | Err(_) => Advice::unknown(&self.name),
        }
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

    /// Puts a question to the hub: `explanations`, `policyreplays`.
    ///
    /// # Errors
    ///
    /// [`HubError`]
    ///
    /// # Cancel safety
    ///
    /// As [`Self::discover`].
    pub async fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        question: &impl serde::Serialize,
    ) -> Result<T, HubError> {
        let body = serde_json::to_value(question).unwrap_or_default();
        let path = format!("{API_PATH}/{path}");
        self.read(self.call(Method::POST, &path, Some(&body)).await?)
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

    /// Ends what lives at a path, `sessions/ID`; the answer is what it was.
    ///
    /// # Errors
    ///
    /// [`HubError`]
    ///
    /// # Cancel safety
    ///
    /// As [`Self::create`].
    pub async fn end(&self, path: &str) -> Result<Value, HubError> {
        let path = format!("{API_PATH}/{path}");
        self.read(self.call(Method::DELETE, &path, None).await?)
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
        self.authorized(async |authorization| self.watch_with(&path, authorization).await)
            .await
    }

    async fn watch_with(
        &self,
        path: &str,
        authorization: http::HeaderValue,
    ) -> Result<Watch, HubError> {
        let mut request = self.request(Method::GET, path, Bytes::new());
        request
            .headers_mut()
            .insert(header::AUTHORIZATION, authorization);
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
        Ok(Watch::new(self.name.clone(), answer.into_body()))
    }

    /// The error for a WebSocket that did not come about.
    #[must_use]
    pub fn refused_dial(&self, error: DialError) -> HubError {
        if let DialError::Refused { status, body, .. } = &error {
            let said = self.refused(*status, body);
            if said.reason().is_some() {
                return said;
            }
        }
        self.unreachable(error)
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
        if body.is_some() {
            let json = http::HeaderValue::from_static("application/json");
            request.headers_mut().insert(header::CONTENT_TYPE, json);
        }
        self.authorized(async |authorization| {
            let mut request = request.clone();
            request
                .headers_mut()
                .insert(header::AUTHORIZATION, authorization);
            self.answer(request).await
        })
        .await
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

/// An answer, unless it is that the hub does not know the token.
fn unauthorized<T>(answer: Result<T, HubError>) -> Result<Result<T, HubError>, Box<Status>> {
    match answer {
        Err(HubError::Refused { status, .. }) if status.reason == StatusReason::Unauthorized => {
            Err(status)
        }
        answer => Ok(answer),
    }
}
