//! Documents of other servers than the hub: what an OpenID Connect issuer publishes, and the
//! tokens it hands out.
//!
//! The same machinery as for a hub ([`crate::dial`]), one connection for each request, with three
//! rules more:
//!
//! * `https://` only, but for hosts of this very machine, which no network is before;
//! * an answer is an answer: a redirect is never followed, since what was asked for is bound to
//!   the host that was asked;
//! * what this very machine serves is never asked for through a proxy, whose "this very machine"
//!   is another.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, Uri};
use rustls::ClientConfig;
use url::{Host, Url};

use crate::dial::{DialError, Dialer, Timeouts};
use crate::proxy::ProxyPolicy;
use crate::tls::{self, Trust};

/// Fetches short documents from any server. Clones share everything, TLS session tickets included.
#[derive(Clone)]
pub struct WebClient {
    inner: Arc<Inner>,
}

struct Inner {
    trust: Trust,
    config: Arc<ClientConfig>,
    proxy: ProxyPolicy,
    timeouts: Timeouts,
    user_agent: Option<String>,
}

impl WebClient {
    /// Loads the certificates to believe.
    ///
    /// # Errors
    ///
    /// [`DialError::Trust`].
    pub fn new(trust: Trust, proxy: ProxyPolicy) -> Result<Self, DialError> {
        let config = tls::client_config(&trust).map_err(DialError::Trust)?;
        let inner = Inner {
            trust,
            config: Arc::new(config),
            proxy,
            timeouts: Timeouts::default(),
            user_agent: None,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The same client with other deadlines.
    #[must_use]
    pub fn with_timeouts(&self, timeouts: Timeouts) -> Self {
        self.changed(|inner| Inner { timeouts, ..inner })
    }

    /// The same client under another name, such as `kedge-hub/0.1.0`.
    #[must_use]
    pub fn with_user_agent(&self, name: &str) -> Self {
        let user_agent = Some(name.to_owned());
        self.changed(|inner| Inner {
            user_agent,
            ..inner
        })
    }

    /// Sends one request, whose URI is a whole URL, and returns its answer, whatever its status,
    /// with a body of at most `limit` bytes. Each step of it has the deadline of a dial's.
    ///
    /// # Cancel safety
    ///
    /// Safe: dropping it closes the connection. Whether the server acted is then unknown.
    ///
    /// # Errors
    ///
    /// [`DialError::Url`] for a URL that may not be fetched, [`DialError::TooLong`] for a body over
    /// `limit`, and any error of a dial that is not about WebSockets. Each names the host.
    pub async fn fetch(
        &self,
        mut request: Request<Bytes>,
        limit: usize,
    ) -> Result<Response<Bytes>, DialError> {
        let url = fetchable(&request)?;
        let path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        *request.uri_mut() = Uri::try_from(path)
            .map_err(|_| refused(&url, "its path cannot be asked for in a request"))?;
        self.dialer(&url)?.fetch(request, limit).await
    }

    fn dialer(&self, url: &Url) -> Result<Dialer, DialError> {
        let inner = &self.inner;
        let mut origin = url.clone();
        origin.set_path("/");
        origin.set_query(None);
        origin.set_fragment(None);
        let proxy = match is_loopback(url) {
            true => ProxyPolicy::None,
            false => inner.proxy.clone(),
        };
        let builder = Dialer::builder(origin)
            .trust(inner.trust.clone())
            .tls_config(Arc::clone(&inner.config))
            .proxy(proxy)
            .timeouts(inner.timeouts);
        match &inner.user_agent {
            Some(name) => builder.user_agent(name).build(),
            None => builder.build(),
        }
    }

    fn changed(&self, change: impl FnOnce(Inner) -> Inner) -> Self {
        let inner = Inner {
            trust: self.inner.trust.clone(),
            config: Arc::clone(&self.inner.config),
            proxy: self.inner.proxy.clone(),
            timeouts: self.inner.timeouts,
            user_agent: self.inner.user_agent.clone(),
        };
        Self {
            inner: Arc::new(change(inner)),
        }
    }
}

impl fmt::Debug for WebClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebClient")
            .field("trust", &self.inner.trust)
            .field("proxy", &self.inner.proxy)
            .finish_non_exhaustive()
    }
}

/// The URL of `request`, if it is one that may be fetched.
fn fetchable(request: &Request<Bytes>) -> Result<Url, DialError> {
    let unreadable = |cause| DialError::Url {
        url: "of a request".to_owned(),
        cause,
    };
    if request.method() == Method::CONNECT {
        return Err(unreadable("CONNECT asks for no document"));
    }
    // Nothing of it is repeated until it is known to hold no password.
    let url = Url::parse(&request.uri().to_string())
        .map_err(|_| unreadable("it is no whole URL: https://host/path"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(unreadable("there is a user name or a password in it"));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" => Err(refused(
            &url,
            "only a host of this machine may be asked without TLS; use https://",
        )),
        _ => Err(refused(&url, "it does not begin with https://")),
    }
}

/// Whether the host is this very machine, by its name (RFC 6761 §6.3) or its address.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

/// Refuses `url`. Its query stays out of the text: it may hold what is nobody else's business.
fn refused(url: &Url, cause: &'static str) -> DialError {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    DialError::Url {
        url: shown.to_string(),
        cause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> Result<Url, DialError> {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = url.parse().unwrap();
        fetchable(&request)
    }

    #[test]
    fn only_this_machine_is_asked_without_tls() {
        for url in [
            "https://id.example/realms/main/.well-known/openid-configuration",
            "http://127.0.0.1:8080/a",
            "http://127.1.2.3/a",
            "http://[::1]:8080/a",
            "http://localhost:8080/a",
            "http://LOCALHOST/a",
        ] {
            assert!(of(url).is_ok(), "{url}");
        }
        for url in [
            "http://id.example/a",
            "http://localhost.example/a",
            "http://127.0.0.1.example/a",
            "http://10.0.0.1/a",
            "http://0.0.0.0/a",
            "http://[::]/a",
            "http://[::ffff:10.0.0.1]/a",
            "ftp://id.example/a",
        ] {
            let error = of(url).unwrap_err().to_string();
            assert!(error.starts_with("cannot use the URL "), "{error}");
            let host = url.split_once("://").unwrap().1.split('/').next().unwrap();
            assert!(host.starts_with('[') || error.contains(host), "{error}");
        }
    }

    #[test]
    fn nothing_secret_of_a_refused_url_is_repeated() {
        for url in [
            "https://user:hunter2@id.example/a",
            "https://hunter2@id.example/a",
            "http://hunter2@127.0.0.1/a",
            "http://id.example/a?code=hunter2",
        ] {
            let error = of(url).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(!text.contains("hunter2"), "{text}");
        }
        assert!(of("/path-only").is_err());
        assert!(of("id.example:443").is_err());
    }
}
