//! What an agent asks its hub by HTTP: who are you, enrol me, here are my host keys.

use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use jiff::Timestamp;
use kedge_api::assertion::{self, Claims, EnrolmentBinding};
use kedge_api::rest::{AgentReport, Discovery, Enrolled, Enrollment};
use kedge_api::text::Printable;
use kedge_api::{
    AGENT_PATH, API_PATH, AgentKey, DISCOVERY_PATH, HostKeys, HubId, HubUrl, JoinTokenSecret,
    Nonce, ServerName, Status, Time,
};
use kedge_tunnel::{
    DialError, Dialer, HubStream, Negotiated, ProxyEnvironment, ProxyPolicy, Trust, Wire,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::{VERSION, defaults, machine};

/// A request to the hub that failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HubError {
    /// The hub's answer is none that a hub gives.
    #[error("{hub} does not answer as a hub does: {problem}")]
    Answer {
        /// The hub.
        hub: String,
        /// What is wrong.
        problem: String,
    },
    /// The hub was not reached.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// There is no randomness for an assertion.
    #[error("cannot sign an assertion")]
    Random(#[from] kedge_api::random::RandomError),
    /// The hub said no.
    #[error("{}", refusal(*status, reason.as_deref()))]
    Refused {
        /// Its answer.
        status: StatusCode,
        /// Its words, if it had any.
        reason: Option<Box<Status>>,
        /// When to come back, if it said so.
        retry_after: Option<Duration>,
    },
}

impl HubError {
    /// The hub's answer, when it said no.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::Dial(error) => error.status(),
            _ => None,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Dial(error) => error.hint(),
            _ => None,
        }
    }
}

/// Reaches `hub`, through the environment's proxy if it names one.
///
/// # Errors
///
/// [`DialError`] about the URL, the proxy or the certificates to believe.
pub fn dialer(hub: &HubUrl, trust: Trust) -> Result<Dialer, DialError> {
    let environment = ProxyEnvironment::read(|name| std::env::var(name).ok());
    Dialer::builder(hub.as_url().clone())
        .trust(trust)
        .proxy(ProxyPolicy::FromEnvironment(environment))
        .user_agent(&format!("kedge-agent/{VERSION}"))
        .build()
}

/// Asks the hub who it is.
///
/// # Cancel safety
///
/// Safe.
///
/// # Errors
///
/// [`HubError`].
pub async fn discover(dialer: &Dialer) -> Result<Discovery, HubError> {
    let request = request(Method::GET, DISCOVERY_PATH, Bytes::new());
    let response = dialer.fetch(request, defaults::ANSWER_BYTES).await?;
    read(dialer, &response)
}

/// Asks the hub to take this agent on. The join token goes in the header, the proof in the body.
///
/// # Cancel safety
///
/// When it is dropped, the hub may have done it or not.
///
/// # Errors
///
/// [`HubError`]; after [`HubError::Dial`] the hub may have done it or not.
pub async fn enrol(
    dialer: &Dialer,
    token: &JoinTokenSecret,
    enrollment: &Enrollment,
) -> Result<Enrolled, HubError> {
    let path = format!("{API_PATH}/enrollments");
    let mut request = request(Method::POST, &path, json(enrollment));
    request
        .headers_mut()
        .insert(header::AUTHORIZATION, bearer(token.reveal()));
    let response = dialer.fetch(request, defaults::ANSWER_BYTES).await?;
    read(dialer, &response)
}

/// Signs what proves an enrolment: this key, this token, this hub, now.
///
/// # Errors
///
/// [`HubError::Random`].
pub fn enrolment_proof(
    key: &AgentKey,
    server: &ServerName,
    hub: &HubId,
    token: &JoinTokenSecret,
) -> Result<String, HubError> {
    let binding = EnrolmentBinding::new(&token.hash(), &key.public_key());
    sign(key, server, hub, Some(binding))
}

/// An enrolled agent's way to its hub. Every request carries a fresh assertion.
#[derive(Debug)]
pub struct HubClient {
    dialer: Dialer,
    server: ServerName,
    hub: HubId,
    key: AgentKey,
}

impl HubClient {
    /// The agent of `server` at the hub with that id.
    #[must_use]
    pub fn new(dialer: Dialer, server: ServerName, hub: HubId, key: AgentKey) -> Self {
        Self {
            dialer,
            server,
            hub,
            key,
        }
    }

    /// Which server this is.
    #[must_use]
    pub fn server(&self) -> &ServerName {
        &self.server
    }

    /// Where the hub is.
    #[must_use]
    pub fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// Tells the hub what there is to know about this machine.
    ///
    /// # Cancel safety
    ///
    /// Safe: the next report says the same.
    ///
    /// # Errors
    ///
    /// [`HubError`].
    pub async fn report(&self, host_keys: HostKeys) -> Result<(), HubError> {
        let report = AgentReport {
            host_keys,
            os: machine::operating_system(),
            arch: machine::architecture(),
            version: version(),
        };
        let path = format!("{API_PATH}/servers/{}/agentreport", self.server);
        let mut request = request(Method::POST, &path, json(&report));
        request
            .headers_mut()
            .insert(header::AUTHORIZATION, self.authorization()?);
        let response = self.dialer.fetch(request, defaults::ANSWER_BYTES).await?;
        accepted(&response)
    }

    /// Opens the tunnel.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    ///
    /// # Errors
    ///
    /// [`HubError`].
    pub async fn dial(&self) -> Result<(Wire<HubStream>, Negotiated), HubError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, self.authorization()?);
        match self.dialer.websocket(AGENT_PATH, headers).await {
            Ok(opened) => Ok(opened),
            Err(DialError::Refused {
                status,
                retry_after,
                body,
                ..
            }) => {
                let reason = serde_json::from_slice(&body).ok();
                Err(HubError::Refused {
                    status,
                    reason,
                    retry_after,
                })
            }
            Err(error) => Err(HubError::Dial(error)),
        }
    }

    fn authorization(&self) -> Result<HeaderValue, HubError> {
        Ok(bearer(&sign(&self.key, &self.server, &self.hub, None)?))
    }
}

/// This build's version as the API carries it.
#[must_use]
pub fn version() -> kedge_api::Line {
    #[expect(
        clippy::expect_used,
        reason = "cargo's version is a short line; a test reads it"
    )]
    VERSION.parse().expect("a version is a line")
}

fn sign(
    key: &AgentKey,
    server: &ServerName,
    hub: &HubId,
    enrol: Option<EnrolmentBinding>,
) -> Result<String, HubError> {
    let claims = Claims {
        server: server.clone(),
        audience: hub.clone(),
        nonce: Nonce::from_bytes(kedge_api::random::bytes()?),
        enrol,
    };
    Ok(assertion::sign(key, &claims, Time::from(Timestamp::now())))
}

fn request(method: Method, path: &str, body: Bytes) -> Request<Bytes> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    // Paths are made of constants and of names that are URL-safe by their types.
    *request.uri_mut() = path.parse().unwrap_or_else(|_| Uri::from_static("/"));
    let json = HeaderValue::from_static("application/json");
    request
        .headers_mut()
        .insert(header::CONTENT_TYPE, json.clone());
    request.headers_mut().insert(header::ACCEPT, json);
    request
}

fn json(body: &impl Serialize) -> Bytes {
    // These types hold strings, lists and maps with string keys: there is nothing to fail at.
    serde_json::to_vec(body).unwrap_or_default().into()
}

fn bearer(token: &str) -> HeaderValue {
    // Tokens are base64url and dots by their types.
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))
        .unwrap_or_else(|_| HeaderValue::from_static("Bearer"));
    value.set_sensitive(true);
    value
}

fn accepted(response: &http::Response<Bytes>) -> Result<(), HubError> {
    if response.status().is_success() {
        return Ok(());
    }
    let retry_after = response.headers().get(header::RETRY_AFTER);
    Err(HubError::Refused {
        status: response.status(),
        reason: serde_json::from_slice(response.body()).ok(),
        retry_after: retry_after
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs),
    })
}

fn read<T: DeserializeOwned>(
    dialer: &Dialer,
    response: &http::Response<Bytes>,
) -> Result<T, HubError> {
    accepted(response)?;
    serde_json::from_slice(response.body()).map_err(|error| HubError::Answer {
        hub: dialer.url().to_string(),
        problem: Printable::new(&error.to_string()).to_string(),
    })
}

fn refusal(status: StatusCode, reason: Option<&Status>) -> String {
    match reason {
        Some(reason) if !reason.message.is_empty() => {
            format!(
                "the hub refused: {} ({})",
                Printable::new(&reason.message),
                status.as_u16()
            )
        }
        _ => format!("the hub refused: {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_a_line() {
        assert_eq!(version(), VERSION);
    }

    #[test]
    fn a_refusal_shows_the_hubs_words_and_nothing_worse() {
        let status = Status::new(kedge_api::StatusReason::Forbidden, "token used\n\u{1b}[2J");
        let error = HubError::Refused {
            status: StatusCode::FORBIDDEN,
            reason: Some(Box::new(status)),
            retry_after: None,
        };
        assert_eq!(
            error.to_string(),
            r"the hub refused: token used\u{a}\u{1b}[2J (403)"
        );
        let error = HubError::Refused {
            status: StatusCode::BAD_GATEWAY,
            reason: None,
            retry_after: None,
        };
        assert_eq!(error.to_string(), "the hub refused: 502 Bad Gateway");
    }
}
