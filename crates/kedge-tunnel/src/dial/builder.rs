//! What a [`Dialer`] needs to know, checked before anything is dialled.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::HeaderValue;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio_rustls::TlsConnector;
use url::Url;

use super::{DialError, Dialer, Inner, Timeouts};
use crate::proxy::{self, ProxyPolicy};
use crate::tls::{self, Trust};

/// Collects what a [`Dialer`] needs to know.
#[derive(Debug)]
pub struct DialerBuilder {
    url: Url,
    trust: Trust,
    /// Certificates that were loaded before, in place of what `trust` names.
    config: Option<Arc<ClientConfig>>,
    local_address: Option<IpAddr>,
    proxy: ProxyPolicy,
    timeouts: Timeouts,
    user_agent: String,
}

impl DialerBuilder {
    pub(super) fn new(url: Url) -> Self {
        Self {
            url,
            trust: Trust::default(),
            config: None,
            local_address: None,
            proxy: ProxyPolicy::default(),
            timeouts: Timeouts::default(),
            user_agent: USER_AGENT.to_owned(),
        }
    }

    /// Whom to believe to be the hub; the system's roots unless said otherwise.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// Whom to believe, as loaded already: several dialers then share the tickets of TLS sessions.
    #[must_use]
    pub(crate) fn tls_config(mut self, config: Arc<ClientConfig>) -> Self {
        self.config = Some(config);
        self
    }

    /// The address of this machine that connections leave from, as `curl --interface` has it: the hub's, and the proxy's
    /// where there is one. The routes choose unless said otherwise. The hub's addresses of the other family are then out
    /// of reach.
    #[must_use]
    pub fn local_address(mut self, address: IpAddr) -> Self {
        self.local_address = Some(address);
        self
    }

    /// Whether to go through a proxy; never unless said otherwise.
    #[must_use]
    pub fn proxy(mut self, proxy: ProxyPolicy) -> Self {
        self.proxy = proxy;
        self
    }

    /// How long each step may take.
    #[must_use]
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// What to call ourselves, such as `kedge-agent/0.1.0`.
    #[must_use]
    pub fn user_agent(mut self, name: &str) -> Self {
        name.clone_into(&mut self.user_agent);
        self
    }

    /// Loads certificates and checks everything that needs no network.
    ///
    /// # Errors
    ///
    /// [`DialError::Url`], [`DialError::Trust`] or [`DialError::Proxy`].
    pub fn build(self) -> Result<Dialer, DialError> {
        let refused = |cause| DialError::Url {
            url: self.url.to_string(),
            cause,
        };
        let secure = match self.url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(refused("it begins with neither https:// nor http://")),
        };
        if !self.url.username().is_empty() || self.url.password().is_some() {
            // Not repeated: what stands there is a secret.
            let cause = "a hub's URL has no user name or password in it";
            return Err(DialError::Url {
                url: "with credentials".to_owned(),
                cause,
            });
        }
        if self.url.path() != "/" || self.url.query().is_some() || self.url.fragment().is_some() {
            return Err(refused("a hub's URL ends after its host and port"));
        }
        let host = proxy::bare_host(&self.url).ok_or_else(|| refused("it has no host"))?;
        let port = self
            .url
            .port_or_known_default()
            .ok_or_else(|| refused("it has no port"))?;
        let tls = if secure {
            let config = match self.config {
                Some(config) => config,
                None => Arc::new(tls::client_config(&self.trust).map_err(DialError::Trust)?),
            };
            let name = ServerName::try_from(host.clone())
                .map_err(|_| refused("its host is no name a certificate can have"))?;
            Some((TlsConnector::from(config), name))
        } else {
            None
        };
        let proxy =
            proxy::proxy_for(&self.proxy, &self.url).map_err(|source| DialError::Proxy {
                proxy: "of the environment".to_owned(),
                source,
            })?;
        let authority = self
            .url
            .as_str()
            .split_once("://")
            .map_or("", |(_, rest)| rest);
        let authority = HeaderValue::from_str(authority.trim_end_matches('/'))
            .map_err(|_| refused("its host cannot stand in a header"))?;
        let user_agent = HeaderValue::from_str(&self.user_agent)
            .unwrap_or_else(|_| HeaderValue::from_static(USER_AGENT));
        let pins = match self.trust {
            Trust::Pinned(pins) => pins,
            Trust::Pem(_) | Trust::Roots(_) | Trust::System => Vec::new(),
        };
        Ok(Dialer {
            inner: Arc::new(Inner {
                url: self.url,
                host,
                port,
                local_address: self.local_address,
                authority,
                tls,
                proxy,
                pins,
                timeouts: self.timeouts,
                user_agent,
            }),
        })
    }
}

/// What a dialler calls itself unless told otherwise.
const USER_AGENT: &str = concat!("kedge/", env!("CARGO_PKG_VERSION"));
