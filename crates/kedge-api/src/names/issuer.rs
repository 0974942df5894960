//! Who vouches for people.

use url::{Host, Url};

use super::text_type;
use crate::defaults::ISSUER_MAX_BYTES;

text_type! {
    /// An OpenID Connect issuer, exactly as it calls itself (OpenID Connect Discovery §3): `https`, or `http` on a
    /// loopback host; no user, query or fragment. Compared as text, so a trailing slash makes another issuer.
    IssuerUrl, "issuer", max ISSUER_MAX_BYTES,
    pattern "^https?://([A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\])(:([0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?(/[!$-;=@-\\[\\]_a-z|~]*)?$",
    check_url
}

text_type! {
    /// Who vouches for a person: an [`IssuerUrl`], or `static` for the hub's own configuration.
    Issuer, "issuer", max ISSUER_MAX_BYTES,
    pattern "^(static|https?://([A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\])(:([0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?(/[!$-;=@-\\[\\]_a-z|~]*)?)$",
    check_issuer
}

impl IssuerUrl {
    /// The host: a name, or an address (IPv6 in brackets), as it was written.
    #[must_use]
    pub fn host(&self) -> &str {
        let authority = authority(&self.0);
        match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => host,
            _ => authority,
        }
    }

    /// Where its discovery document is (OpenID Connect Discovery §4).
    #[must_use]
    pub fn discovery_url(&self) -> String {
        let base = self.0.strip_suffix('/').unwrap_or(&self.0);
        format!("{base}/.well-known/openid-configuration")
    }
}

impl Issuer {
    /// The hub's own configuration.
    #[must_use]
    pub fn of_configuration() -> Self {
        Self(CONFIGURATION.to_owned())
    }

    /// The URL; none for the hub's own configuration.
    #[must_use]
    pub fn url(&self) -> Option<IssuerUrl> {
        (self.0 != CONFIGURATION).then(|| IssuerUrl(self.0.clone()))
    }
}

impl From<IssuerUrl> for Issuer {
    fn from(url: IssuerUrl) -> Self {
        Self(url.0)
    }
}

impl PartialEq<IssuerUrl> for Issuer {
    fn eq(&self, url: &IssuerUrl) -> bool {
        self.0 == url.0
    }
}

fn check_issuer(text: &str) -> Result<(), String> {
    if text == CONFIGURATION {
        Ok(())
    } else {
        check_url(text)
    }
}

fn check_url(text: &str) -> Result<(), String> {
    // The URL standard quietly drops tabs and line breaks, and turns `\` into `/`: what is compared as text must be
    // what is dialled.
    if !text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\') {
        return Err("contains a blank, `\\` or a non-ASCII character".into());
    }
    if text.contains(['?', '#']) {
        return Err("contains a query or fragment".into());
    }
    if authority(text).contains('@') {
        return Err("contains a user name or password".into());
    }
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    let written = text.strip_prefix(url.scheme()).unwrap_or_default();
    let Some(written) = written.strip_prefix("://") else {
        return Err("does not begin with `https://`".into());
    };
    let path = written.find('/').and_then(|at| written.get(at..));
    if url.path() != path.unwrap_or("/") {
        return Err("its path is not in normal form".into());
    }
    match (url.scheme(), url.host()) {
        (_, None) => Err("no host".into()),
        ("https", _) => Ok(()),
        ("http", _) if is_loopback(&url) => Ok(()),
        ("http", _) => Err("is plain http; only `https` is safe outside this machine".into()),
        _ => Err("does not begin with `https://`".into()),
    }
}

/// Whether a URL's host is this very machine: what goes there in plain text is read by nobody on the way. No other name
/// counts than `localhost` (RFC 6761 §6.3), since others are whatever a name server says.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// What is between `://` and the path.
fn authority(text: &str) -> &str {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    rest.split_once('/')
        .map_or(rest, |(authority, _)| authority)
}

const CONFIGURATION: &str = "static";
