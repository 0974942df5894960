//! An agent made by hand: enrols, reports, dials, and does with its link whatever a test asks for.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use kedge_api::assertion::{Claims, EnrolmentBinding, sign};
use kedge_api::{AgentKey, HubId, JoinTokenSecret, Nonce, ServerName, Time};
use kedge_proto::{Attributes, Frame, OpenFrame};
use serde_json::{Value, json};

use super::http::Request;
use super::stream::Endpoint;
use super::websocket::{Message, WebSocket};
use crate::reply::Reply;

/// Where agents connect.
const PATH: &str = "/kedge/v1/agent";

/// An agent's identity.
#[derive(Debug)]
pub struct FakeAgent {
    endpoint: Endpoint,
    key: AgentKey,
    name: String,
    hub: HubId,
    /// Public host keys as they stand in a `.pub` file, without the comment.
    pub host_keys: Vec<String>,
}

impl FakeAgent {
    /// A new identity with one random host key; the hub does not know it yet.
    ///
    /// # Errors
    ///
    /// When the hub does not say who it is.
    pub fn new(endpoint: Endpoint, name: &str) -> Result<Self> {
        let discovery = Request::new("GET", "/.well-known/kedge")
            .send(endpoint)?
            .json()?;
        let hub = discovery
            .get("id")
            .and_then(Value::as_str)
            .context("the hub has an id")?;
        let key = AgentKey::from_seed(&kedge_api::random::bytes()?)?;
        let host_keys = vec![random_host_key()?];
        Ok(Self {
            endpoint,
            key,
            name: name.to_owned(),
            hub: hub.parse()?,
            host_keys,
        })
    }

    /// Uses a join token.
    ///
    /// # Errors
    ///
    /// When there is no answer. A refusal is an answer.
    pub fn enrol(&self, token: &str) -> Result<Reply> {
        let secret: JoinTokenSecret = token.parse().context("a join token")?;
        let binding = EnrolmentBinding::new(&secret.hash(), &self.key.public_key());
        let body = self.enrolment(&self.assertion(Some(binding))?);
        Request::new("POST", "/apis/kedge.dev/v1alpha1/enrollments")
            .bearer(token)
            .json(&body)
            .send(self.endpoint)
    }

    /// The body of an enrolment with any proof.
    #[must_use]
    pub fn enrolment(&self, proof: &str) -> Value {
        json!({
            "name": self.name,
            "publicKey": self.key.public_key().to_string(),
            "hostKeys": self.host_keys,
            "os": "test",
            "arch": "test",
            "version": env!("CARGO_PKG_VERSION"),
            "proof": proof,
        })
    }

    /// Enrols and must succeed.
    ///
    /// # Errors
    ///
    /// When the hub refuses.
    pub fn enrolled(endpoint: Endpoint, name: &str, token: &str) -> Result<Self> {
        let agent = Self::new(endpoint, name)?;
        let reply = agent.enrol(token)?;
        if reply.status != 201 {
            bail!(
                "the hub refuses the enrolment: {} {}",
                reply.status,
                reply.text()
            );
        }
        Ok(agent)
    }

    /// What proves that this is the agent, now.
    ///
    /// # Errors
    ///
    /// When the name is none.
    pub fn assertion(&self, enrol: Option<EnrolmentBinding>) -> Result<String> {
        self.assertion_for(&self.name, enrol)
    }

    /// [`Self::assertion`] under another name.
    ///
    /// # Errors
    ///
    /// When the name is none.
    pub fn assertion_for(&self, server: &str, enrol: Option<EnrolmentBinding>) -> Result<String> {
        let claims = Claims {
            server: server.parse::<ServerName>()?,
            audience: self.hub.clone(),
            nonce: Nonce::from_bytes(kedge_api::random::bytes()?),
            enrol,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let now = jiff::Timestamp::from_second(i64::try_from(now.as_secs())?)?;
        Ok(sign(&self.key, &claims, Time::from(now)))
    }

    /// Reports its host keys.
    ///
    /// # Errors
    ///
    /// When there is no answer. A refusal is an answer.
    pub fn report(&self) -> Result<Reply> {
        let body = json!({
            "hostKeys": self.host_keys,
            "os": "test",
            "arch": "test",
            "version": env!("CARGO_PKG_VERSION"),
        });
        let path = format!("/apis/kedge.dev/v1alpha1/servers/{}/agentreport", self.name);
        Request::new("POST", &path)
            .bearer(&self.assertion(None)?)
            .json(&body)
            .send(self.endpoint)
    }

    /// Dials the tunnel.
    ///
    /// # Errors
    ///
    /// When there is no answer. A refusal is an answer.
    pub fn dial(&self) -> Result<Result<WebSocket, Reply>> {
        WebSocket::dial(self.endpoint, PATH, &self.assertion(None)?)
    }

    /// Reports, dials, and must be let in.
    ///
    /// # Errors
    ///
    /// When the hub refuses.
    pub fn connected(&self) -> Result<WebSocket> {
        let reply = self.report()?;
        if reply.status >= 300 {
            bail!(
                "the hub refuses the report: {} {}",
                reply.status,
                reply.text()
            );
        }
        match self.dial()? {
            Ok(socket) => Ok(socket),
            Err(reply) => bail!(
                "the hub refuses the agent: {} {}",
                reply.status,
                reply.text()
            ),
        }
    }

    /// Waits for an OPEN on its link; PINGs are answered.
    ///
    /// # Errors
    ///
    /// When the link ends or the time is up.
    pub fn opening(socket: &mut WebSocket, limit: Duration) -> Result<OpenFrame> {
        let start = std::time::Instant::now();
        loop {
            match socket.receive(limit.saturating_sub(start.elapsed()))? {
                Message::Binary(bytes) => match Frame::decode(bytes.into())? {
                    Frame::Ping(number) => socket.send(&Frame::Pong(number).encode())?,
                    Frame::Open(open) => return Ok(open),
                    _ => {}
                },
                other => bail!("no OPEN but {other:?}"),
            }
        }
    }

    /// Grants a stream.
    ///
    /// # Errors
    ///
    /// When the link is gone.
    pub fn grant(socket: &mut WebSocket, open: &OpenFrame) -> Result<()> {
        let opened = Frame::Opened {
            stream: open.stream,
            limit: kedge_proto::defaults::INITIAL_WINDOW,
            attributes: Attributes::new(),
        };
        socket.send(&opened.encode())
    }
}

/// A public key that nobody has the private half of.
fn random_host_key() -> Result<String> {
    let mut blob = Vec::new();
    for part in [
        b"ssh-ed25519".as_slice(),
        &kedge_api::random::bytes::<32>()?,
    ] {
        blob.extend_from_slice(&u32::try_from(part.len())?.to_be_bytes());
        blob.extend_from_slice(part);
    }
    Ok(format!(
        "ssh-ed25519 {}",
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, blob)
    ))
}
