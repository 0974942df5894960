//! The way to a target: straight, or through a hub as `kedge proxy` goes.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result};
use http::HeaderMap;
use http::header::{self, HeaderValue};
use kedge_api::{CONNECT_PATH, HubUrl, Login, ServerName, random};
use kedge_service::files;
use kedge_tunnel::{
    AttributeId, Attributes, CertificatePin, CloseReason, Dialer, Link, LinkConfig, OpenRequest,
    ResumeSecret, Side, StreamKey, Target, Trust,
};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::step::within;
use super::stream::Stream;
use crate::defaults;

/// Where a client goes.
#[derive(Clone, Debug)]
pub enum Way {
    /// Through a hub.
    Hub(Box<HubWay>),
    /// Straight to this address.
    Tcp(SocketAddr),
}

/// The way through a hub.
#[derive(Clone, Debug)]
pub struct HubWay {
    url: HubUrl,
    trust: Trust,
    authorization: HeaderValue,
    server: ServerName,
    login: Option<Login>,
}

/// A way that stands: streams can be opened on it.
#[derive(Debug)]
pub enum Opened {
    /// A link to a hub.
    Link {
        /// The link.
        link: Link,
        /// Its driver. Dropping the set ends the link.
        driving: JoinSet<()>,
        /// What streams ask for.
        way: Box<HubWay>,
    },
    /// An address: each stream is a connection.
    Tcp(SocketAddr),
}

impl HubWay {
    /// The way to `server` through the hub at `url`, known by its `pin`, as whoever has the token in that file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or holds no token.
    pub fn new(
        url: HubUrl,
        pin: CertificatePin,
        token_file: &Path,
        server: ServerName,
        login: Option<Login>,
    ) -> Result<Self> {
        let token = files::read_text(token_file, defaults::TOKEN_BYTES)?;
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", token.trim()))
            .with_context(|| format!("{} holds no token", token_file.display()))?;
        authorization.set_sensitive(true);
        Ok(Self {
            url,
            trust: Trust::Pinned(vec![pin]),
            authorization,
            server,
            login,
        })
    }

    fn dialer(&self) -> Result<Dialer> {
        Dialer::builder(self.url.as_url().clone())
            .trust(self.trust.clone())
            .user_agent(concat!("kedge-load/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("cannot prepare the way to the hub")
    }

    /// What a stream asks for that goes to the server, or to the one of a fleet with that number.
    fn request(&self, number: Option<u32>) -> Result<OpenRequest> {
        let server = match number {
            Some(number) => format!("{}-{number}", self.server),
            None => self.server.to_string(),
        };
        let secret = ResumeSecret::new(random::bytes()?);
        let mut attributes = Attributes::new();
        attributes.insert(AttributeId::SERVER, server.into_bytes())?;
        if let Some(login) = &self.login {
            attributes.insert(AttributeId::LOGIN, login.to_string().into_bytes())?;
        }
        Ok(OpenRequest {
            target: Target::ssh(),
            key: StreamKey(random::bytes()?),
            resume: secret.hash(),
            attributes,
        })
    }
}

impl Way {
    /// Goes there: what a process of its own has done before it dials is done here too, and what it would have to
    /// agree on anew is agreed on anew.
    ///
    /// # Errors
    ///
    /// When the hub cannot be reached or refuses.
    pub async fn open(&self) -> Result<Opened> {
        self.prepare()?.open().await
    }

    /// Does what needs no network.
    ///
    /// # Errors
    ///
    /// When the hub cannot be dialled at all.
    pub fn prepare(&self) -> Result<Prepared> {
        Ok(match self {
            Self::Hub(way) => Prepared::Hub(way.clone(), way.dialer()?),
            Self::Tcp(address) => Prepared::Tcp(*address),
        })
    }
}

/// A way that is ready to be gone.
#[derive(Debug)]
pub enum Prepared {
    /// Through a hub.
    Hub(Box<HubWay>, Dialer),
    /// Straight.
    Tcp(SocketAddr),
}

impl Prepared {
    /// Goes there.
    ///
    /// # Errors
    ///
    /// When the hub cannot be reached or refuses.
    pub async fn open(self) -> Result<Opened> {
        let (way, dialer) = match self {
            Self::Hub(way, dialer) => (way, dialer),
            Self::Tcp(address) => return Ok(Opened::Tcp(address)),
        };
        let authorization = (header::AUTHORIZATION, way.authorization.clone());
        let headers = HeaderMap::from_iter([authorization]);
        let dialled = dialer.websocket(CONNECT_PATH, headers);
        let (socket, _) = within("a dial of the hub", dialled).await?;
        let (link, driver) = Link::new(socket, Side::Client, LinkConfig::default());
        let mut driving = JoinSet::new();
        driving.spawn(async move {
            driver.run().await;
        });
        Ok(Opened::Link { link, driving, way })
    }
}

impl Opened {
    /// Opens a stream. Over a link this waits for nothing.
    ///
    /// # Errors
    ///
    /// When the link has ended, or the address does not answer.
    pub async fn stream(&self) -> Result<Stream> {
        self.stream_to(None).await
    }

    /// As [`Self::stream`], to the server of a fleet with that number.
    ///
    /// # Errors
    ///
    /// As [`Self::stream`].
    pub async fn stream_to(&self, number: Option<u32>) -> Result<Stream> {
        match self {
            Self::Link { link, way, .. } => Ok(Stream::Tunnel(link.open(way.request(number)?)?)),
            Self::Tcp(address) => {
                let name = format!("a connection to {address}");
                let stream = within(&name, TcpStream::connect(address)).await?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
        }
    }

    /// Opens a stream and reads the target's first words.
    ///
    /// # Errors
    ///
    /// When the target is not reached.
    pub async fn ready_stream(&self) -> Result<Stream> {
        let mut stream = self.stream().await?;
        stream.read_banner().await?;
        Ok(stream)
    }

    /// Bytes that the link has received.
    #[must_use]
    pub fn received(&self) -> u64 {
        match self {
            Self::Link { link, .. } => link.stats().bytes_in,
            Self::Tcp(_) => 0,
        }
    }

    /// Ends the link in order.
    pub async fn close(self) {
        if let Self::Link {
            link, mut driving, ..
        } = self
        {
            link.close(CloseReason::Finished);
            // Dropping the set ends the driver when the hub does not answer the close.
            let _ = timeout(defaults::CLOSE_TIME, driving.join_next()).await;
        }
    }
}
