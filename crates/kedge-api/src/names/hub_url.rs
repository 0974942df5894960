//! Where a hub is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::NameError;
use crate::defaults::HUB_URL_MAX_BYTES;

/// The address of a hub: `https://host[:port]`, or `http://…` for trying out behind a proxy.
///
/// No user, query, fragment or path. Text without a scheme (`hub.example:8443`) means `https`.
/// Displayed without a trailing slash.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct HubUrl(Url);

impl HubUrl {
    /// As a URL whose path is `/`.
    #[must_use]
    pub fn as_url(&self) -> &Url {
        &self.0
    }

    /// The host: a name, or an address (IPv6 in brackets).
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// The port, explicit or of the scheme.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or(443)
    }

    /// Whether the connection is TLS (`https`).
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.0.scheme() == "https"
    }
}

impl FromStr for HubUrl {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = |problem: String| NameError::new("hub URL", text, problem);
        if text.len() > HUB_URL_MAX_BYTES {
            return Err(wrong(format!(
                "{} bytes, at most {HUB_URL_MAX_BYTES}",
                text.len()
            )));
        }
        // The URL standard quietly drops tabs, line breaks, surrounding blanks and extra slashes, turns
        // `\` into `/`, and decodes `%`. What a person sees must be what is dialled.
        if !text
            .bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'\\' | b'%'))
        {
            return Err(wrong(
                "contains a blank, `\\`, `%` or a non-ASCII character".into(),
            ));
        }
        let (scheme, place) = text.split_once("://").unwrap_or(("https", text));
        let place = place.strip_suffix('/').unwrap_or(place);
        if place.contains('/') {
            return Err(wrong("contains a path".into()));
        }
        let whole = format!("{scheme}://{place}");
        let url = Url::parse(&whole).map_err(|e| wrong(e.to_string()))?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(wrong("the scheme is neither https nor http".into()));
        }
        if !url.username().is_empty() || url.password().is_some() || whole.contains('@') {
            return Err(wrong("contains a user name or password".into()));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("contains a query or fragment".into()));
        }
        if url.path() != "/" {
            return Err(wrong("contains a path".into()));
        }
        match url.host() {
            Some(Host::Domain(name)) if !plain_host(name) => {
                Err(wrong("the host is not a DNS name".into()))
            }
            Some(_) if url.port() == Some(0) => Err(wrong("port 0".into())),
            Some(_) => Ok(Self(url)),
            None => Err(wrong("no host".into())),
        }
    }
}

fn plain_host(name: &str) -> bool {
    !name.starts_with('-')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}

impl TryFrom<String> for HubUrl {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<HubUrl> for String {
    fn from(url: HubUrl) -> Self {
        url.to_string()
    }
}

impl fmt::Display for HubUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl fmt::Debug for HubUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl schemars::JsonSchema for HubUrl {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "HubUrl".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "uri", "maxLength": HUB_URL_MAX_BYTES })
    }
}
