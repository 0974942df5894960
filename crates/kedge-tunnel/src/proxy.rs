//! HTTP proxies: whether one stands between us and the hub, and how to be let through (CONNECT,
//! RFC 9110 §9.3.6).

use std::fmt;
use std::net::IpAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ipnet::IpNet;
use thiserror::Error;
use url::{Host, Url};

/// Whether a proxy is used.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum ProxyPolicy {
    /// As the environment says.
    FromEnvironment(ProxyEnvironment),
    /// Never.
    #[default]
    None,
}

/// The environment's word on proxies, taken once where the program starts.
///
/// Values may carry a password, so there is no way to print them.
#[derive(Clone, Default)]
pub struct ProxyEnvironment {
    /// `https_proxy` or `HTTPS_PROXY`: for `https://` hubs.
    pub https: Option<String>,
    /// `http_proxy` or `HTTP_PROXY`: for `http://` hubs.
    pub http: Option<String>,
    /// `all_proxy` or `ALL_PROXY`: where the others are silent.
    pub all: Option<String>,
    /// `no_proxy` or `NO_PROXY`: what is reached directly.
    pub none: Option<String>,
}

impl ProxyEnvironment {
    /// Reads the variables through `lookup`; the lower-case spelling wins, as with curl.
    ///
    /// ```
    /// use kedge_tunnel::ProxyEnvironment;
    /// let environment = ProxyEnvironment::read(|name| std::env::var(name).ok());
    /// ```
    #[must_use]
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let either = |lower: &str, upper: &str| {
            let set = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
            set(lower).or_else(|| set(upper))
        };
        Self {
            https: either("https_proxy", "HTTPS_PROXY"),
            http: either("http_proxy", "HTTP_PROXY"),
            all: either("all_proxy", "ALL_PROXY"),
            none: either("no_proxy", "NO_PROXY"),
        }
    }
}

impl fmt::Debug for ProxyEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyEnvironment")
            .field("https", &self.https.is_some())
            .field("http", &self.http.is_some())
            .field("all", &self.all.is_some())
            .field("none", &self.none)
            .finish()
    }
}

/// A proxy as it is dialled.
#[derive(Clone)]
pub(crate) struct Proxy {
    /// Host and port, without credentials: what errors may print.
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The value of `Proxy-Authorization`.
    pub(crate) authorization: Option<String>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Proxy").field(&self.name).finish()
    }
}

/// Why a proxy cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// It refused to connect us.
    #[error("it refused to connect to {target}: {status}{}", if *status == http::StatusCode::PROXY_AUTHENTICATION_REQUIRED { " (put user:password@ into its URL)" } else { "" })]
    Refused {
        /// Host and port of the hub.
        target: String,
        /// What the proxy answered.
        status: http::StatusCode,
    },
    /// It did not behave as HTTP proxies do.
    #[error("it did not answer CONNECT as an HTTP proxy does: {cause}")]
    Protocol {
        /// What it did instead.
        cause: String,
    },
    /// Only `http://` proxies are spoken to.
    #[error("proxies of the kind `{scheme}` are not supported; use http://host:port")]
    Scheme {
        /// The URL's scheme.
        scheme: String,
    },
    /// The variable's value is no URL.
    #[error("its URL cannot be read; use http://host:port")]
    Url,
}

/// The proxy for `hub`, if there is one.
///
/// # Errors
///
/// What stands in the environment is no proxy we can use. The value itself is not repeated, since
/// it may hold a password.
pub(crate) fn proxy_for(policy: &ProxyPolicy, hub: &Url) -> Result<Option<Proxy>, ProxyError> {
    let ProxyPolicy::FromEnvironment(environment) = policy else {
        return Ok(None);
    };
    let specific = if hub.scheme() == "https" {
        &environment.https
    } else {
        &environment.http
    };
    let Some(value) = specific.as_deref().or(environment.all.as_deref()) else {
        return Ok(None);
    };
    if environment
        .none
        .as_deref()
        .is_some_and(|list| is_excepted(list, hub))
    {
        return Ok(None);
    }
    parse(value).map(Some)
}

fn parse(value: &str) -> Result<Proxy, ProxyError> {
    let value = value.trim();
    let url = if value.contains("://") {
        Url::parse(value)
    } else {
        Url::parse(&format!("http://{value}"))
    };
    let url = url.map_err(|_| ProxyError::Url)?;
    if url.scheme() != "http" {
        return Err(ProxyError::Scheme {
            scheme: url.scheme().to_owned(),
        });
    }
    let host = bare_host(&url).ok_or(ProxyError::Url)?;
    // curl's default is 1080; 80 is the default of the URL's scheme, and what Go and Python take.
    let port = url.port_or_known_default().ok_or(ProxyError::Url)?;
    let name = format!("{}:{port}", url.host_str().unwrap_or_default());
    let authorization = (!url.username().is_empty() || url.password().is_some()).then(|| {
        let mut credentials = percent_decoded(url.username());
        credentials.push(b':');
        credentials.extend(percent_decoded(url.password().unwrap_or_default()));
        format!("Basic {}", BASE64_STANDARD.encode(credentials))
    });
    Ok(Proxy {
        name,
        host,
        port,
        authorization,
    })
}

/// The host as the resolver wants it: IPv6 addresses without brackets.
pub(crate) fn bare_host(url: &Url) -> Option<String> {
    Some(match url.host()? {
        Host::Domain(name) => name.to_owned(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    })
}

/// Whether `list` (the value of `NO_PROXY`) names the hub, by the rules Go and curl share: `*` is
/// everything; `example.com` is that name and all below it; `.example.com` and `*.example.com`
/// only what is below it; addresses and CIDR blocks match addresses; each may end in `:port`.
fn is_excepted(list: &str, hub: &Url) -> bool {
    let Some(host) = bare_host(hub) else {
        return false;
    };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let address = host.parse::<IpAddr>().ok();
    let port = hub.port_or_known_default();
    list.split([',', ' ', '\t', '\n'])
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .any(|entry| {
            if entry == "*" {
                return true;
            }
            let (entry, entry_port) = split_port(entry);
            if entry_port.is_some() && entry_port != port {
                return false;
            }
            match address {
                Some(address) => {
                    entry
                        .parse::<IpAddr>()
                        .is_ok_and(|excepted| excepted == address)
                        || entry
                            .parse::<IpNet>()
                            .is_ok_and(|block| block.contains(&address))
                }
                None => names(entry, &host),
            }
        })
}

fn names(entry: &str, host: &str) -> bool {
    let entry = entry.trim_end_matches('.').to_ascii_lowercase();
    let below = |domain: &str| {
        !domain.is_empty()
            && host
                .strip_suffix(domain)
                .is_some_and(|rest| rest.ends_with('.'))
    };
    match entry.strip_prefix("*.").or_else(|| entry.strip_prefix('.')) {
        Some(domain) => below(domain),
        None => entry == host || below(&entry),
    }
}

/// Splits `name:8443`, `10.0.0.1:8443` and `[::1]:8443`; a bare IPv6 address has no port.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    if let Some(rest) = entry.strip_prefix('[')
        && let Some((address, rest)) = rest.split_once(']')
    {
        return (
            address,
            rest.strip_prefix(':').and_then(|port| port.parse().ok()),
        );
    }
    match entry.split_once(':') {
        Some((name, port)) if !port.contains(':') => match port.parse() {
            Ok(port) => (name, Some(port)),
            Err(_) => (entry, None),
        },
        _ => (entry, None),
    }
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let [first, rest @ ..] = bytes {
        let escaped = match rest {
            [high, low, after @ ..] if *first == b'%' => hex(*high)
                .zip(hex(*low))
                .map(|(high, low)| (high << 4 | low, after)),
            _ => None,
        };
        let (byte, after) = escaped.unwrap_or((*first, rest));
        decoded.push(byte);
        bytes = after;
    }
    decoded
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn environment(pairs: &[(&str, &str)]) -> ProxyPolicy {
        ProxyPolicy::FromEnvironment(ProxyEnvironment::read(|name| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        }))
    }

    fn chosen(pairs: &[(&str, &str)], hub: &str) -> Option<String> {
        proxy_for(&environment(pairs), &Url::parse(hub).unwrap())
            .unwrap()
            .map(|proxy| proxy.name)
    }

    #[test]
    fn each_scheme_has_its_variable_and_lower_case_wins() {
        let both = [
            ("HTTPS_PROXY", "up:1"),
            ("https_proxy", "low:2"),
            ("http_proxy", "plain:3"),
        ];
        assert_eq!(chosen(&both, "https://hub").as_deref(), Some("low:2"));
        assert_eq!(chosen(&both, "http://hub").as_deref(), Some("plain:3"));
        assert_eq!(
            chosen(&[("HTTPS_PROXY", "up")], "https://hub").as_deref(),
            Some("up:80")
        );
        assert_eq!(chosen(&[("HTTPS_PROXY", "up:1")], "http://hub"), None);
        assert_eq!(
            chosen(&[("ALL_PROXY", "all:1")], "http://hub").as_deref(),
            Some("all:1")
        );
        assert_eq!(
            chosen(
                &[("https_proxy", ""), ("HTTPS_PROXY", "up:1")],
                "https://hub"
            )
            .as_deref(),
            Some("up:1")
        );
        assert_eq!(chosen(&[], "https://hub"), None);
    }

    #[test]
    fn exceptions_match_as_people_expect() {
        let cases = [
            ("*", "https://hub.example", true),
            ("hub.example", "https://hub.example", true),
            ("HUB.example.", "https://hub.example", true),
            ("example", "https://hub.example", true),
            (".example", "https://hub.example", true),
            ("*.example", "https://hub.example", true),
            (".hub.example", "https://hub.example", false),
            ("b.example", "https://hub.example", false),
            ("other, hub.example", "https://hub.example", true),
            ("other hub.example", "https://hub.example", true),
            ("hub.example:8443", "https://hub.example:8443", true),
            ("hub.example:8443", "https://hub.example", false),
            ("hub.example:443", "https://hub.example", true),
            ("10.0.0.1", "https://10.0.0.1", true),
            ("10.0.0.0/8", "https://10.1.2.3", true),
            ("10.0.0.0/8", "https://11.1.2.3", false),
            ("10.0.0.0/8", "https://10.example", false),
            ("10.0.0.1:8443", "https://10.0.0.1:8443", true),
            ("::1", "https://[::1]", true),
            ("[::1]:8443", "https://[::1]:8443", true),
            ("fd00::/8", "https://[fd12::1]:8443", true),
            (".", "https://hub.example", false),
            ("", "https://hub.example", false),
            (",,", "https://hub.example", false),
        ];
        for (list, hub, excepted) in cases {
            assert_eq!(
                is_excepted(list, &Url::parse(hub).unwrap()),
                excepted,
                "{list} {hub}"
            );
        }
    }

    #[test]
    fn credentials_are_sent_and_never_shown() {
        let policy = environment(&[("https_proxy", "http://al%40ice:p%3Ass@proxy:3128")]);
        let proxy = proxy_for(&policy, &Url::parse("https://hub").unwrap())
            .unwrap()
            .unwrap();
        let expected = format!("Basic {}", BASE64_STANDARD.encode("al@ice:p:ss"));
        assert_eq!(proxy.authorization.as_deref(), Some(expected.as_str()));
        assert_eq!(proxy.name, "proxy:3128");
        for shown in [format!("{proxy:?}"), format!("{policy:?}")] {
            assert!(!shown.contains("p%3A") && !shown.contains("ice"), "{shown}");
        }
    }

    #[test]
    fn an_unusable_proxy_is_refused_without_repeating_it() {
        for (value, expected) in [
            ("socks5://user:secret@proxy:1", "`socks5`"),
            ("https://user:secret@proxy:1", "`https`"),
            ("http://user:secret@:80:x", "URL"),
            ("http://", "URL"),
        ] {
            let policy = environment(&[("https_proxy", value)]);
            let error = proxy_for(&policy, &Url::parse("https://hub").unwrap()).unwrap_err();
            let text = error.to_string();
            assert!(
                text.contains(expected) && !text.contains("secret"),
                "{value}: {text}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_value_of_the_variables_panics(value in "\\PC{0,60}", list in "\\PC{0,60}") {
            let policy = environment(&[("https_proxy", &value), ("no_proxy", &list)]);
            let _ = proxy_for(&policy, &Url::parse("https://hub.example:8443").unwrap());
            let _ = proxy_for(&policy, &Url::parse("https://[::1]").unwrap());
        }
    }
}
