//! Where an issuer's keys are, and the keys themselves: two documents, fetched together.
//!
//! - `GET ISSUER/.well-known/openid-configuration` (OpenID Connect Discovery §4); its `issuer` is exactly the one that
//!   was asked for, else another could speak for it;
//! - `GET` its `jwks_uri`, which is `https`, or on this very machine;
//! - both answers are `200`, short, and strict JSON; redirects are answers like any other, and wrong ones.

use std::time::Duration;

use ::http::header::{ACCEPT, CACHE_CONTROL};
use ::http::{HeaderMap, Request, StatusCode};
use bytes::Bytes;
use kedge_api::names::is_loopback;
use kedge_api::text::Printable;
use kedge_api::{IssuerUrl, Time};
use serde_json::{Map, Value};
use url::Url;

use crate::defaults::{
    DISCOVERY_MAX_BYTES, FETCH_TIMEOUT, JWKS_MAX_BYTES, REFRESH_DEFAULT, REFRESH_MAX, REFRESH_MIN,
};
use crate::http::HttpClient;
use crate::json;
use crate::keys::KeySet;

/// Keys, and when to ask for them again.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) keys: KeySet,
    pub(crate) good_for: Duration,
}

/// Fetches an issuer's keys.
///
/// # Errors
/// What went wrong, on one line, with the URL that was asked.
///
/// # Cancel safety
/// Safe: dropping it gives the answers up.
pub(crate) async fn keys(
    http: &HttpClient,
    issuer: &IssuerUrl,
    clock: &(dyn Fn() -> Time + Send + Sync),
) -> Result<Fetched, String> {
    let both = async {
        let url = issuer.discovery_url();
        let (_, discovery) = document(http, &url, DISCOVERY_MAX_BYTES).await?;
        let named = discovery.get("issuer").and_then(Value::as_str);
        if named != Some(issuer.as_str()) {
            let named = Printable::new(named.unwrap_or("(none)"));
            return Err(format!(
                "{url} is of the issuer `{named}`, not of `{issuer}`"
            ));
        }
        let place = discovery.get("jwks_uri").and_then(Value::as_str);
        let place = place.ok_or_else(|| format!("{url} has no `jwks_uri`"))?;
        let place =
            fetchable(place).ok_or_else(|| format!("{url} has a `jwks_uri` that is not https"))?;
        let (headers, jwks) = document(http, place.as_str(), JWKS_MAX_BYTES).await?;
        let keys = KeySet::read(jwks, clock()).map_err(|flaw| format!("{place} {flaw}"))?;
        Ok(Fetched {
            keys,
            good_for: good_for(&headers),
        })
    };
    match tokio::time::timeout(FETCH_TIMEOUT, both).await {
        Ok(fetched) => fetched,
        Err(_) => {
            let seconds = FETCH_TIMEOUT.as_secs();
            Err(format!("no answer from {issuer} within {seconds} s"))
        }
    }
}

async fn document(
    http: &HttpClient,
    url: &str,
    limit: usize,
) -> Result<(HeaderMap, Map<String, Value>), String> {
    let request = Request::get(url)
        .header(ACCEPT, "application/json")
        .body(Bytes::new())
        .map_err(|error| format!("cannot ask {url}: {error}"))?;
    let response = http.send(request, limit).await;
    let response =
        response.map_err(|error| format!("cannot ask {url}: {}", Printable::new(&error.cause)))?;
    if response.status() != StatusCode::OK {
        return Err(format!("{url} answers {}", response.status()));
    }
    let (head, body) = response.into_parts();
    let document = json::object(&body).map_err(|flaw| format!("{url} {flaw}"))?;
    Ok((head.headers, document))
}

/// A URL that tells nobody on the way what keys we believe, or lets them choose.
fn fetchable(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let safe = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
    let plain =
        url.username().is_empty() && url.password().is_none() && text.len() <= URL_MAX_BYTES;
    (safe && plain).then_some(url)
}

/// How long the answer says that it is good for, within reason (RFC 9111 §5.2.2).
fn good_for(headers: &HeaderMap) -> Duration {
    let mut said = REFRESH_DEFAULT;
    for value in headers.get_all(CACHE_CONTROL) {
        for directive in value.to_str().unwrap_or_default().split(',') {
            let directive = directive.trim().to_ascii_lowercase();
            if matches!(directive.as_str(), "no-cache" | "no-store") {
                return REFRESH_MIN;
            }
            let seconds = directive.strip_prefix("max-age=");
            if let Some(Ok(seconds)) = seconds.map(|text| text.trim_matches('"').parse()) {
                said = Duration::from_secs(seconds);
            }
        }
    }
    said.clamp(REFRESH_MIN, REFRESH_MAX)
}

const URL_MAX_BYTES: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_keys_is_https_or_here() {
        for good in [
            "https://id.example/jwks",
            "https://id.example/jwks?p=B2C_1",
            "http://127.0.0.1:8080/jwks",
            "http://[::1]/jwks",
            "http://localhost/jwks",
        ] {
            assert!(fetchable(good).is_some(), "{good}");
        }
        for bad in [
            "http://id.example/jwks",
            "http://localhost.example/jwks",
            "http://127.0.0.1.example/",
            "file:///etc/passwd",
            "data:application/json,{}",
            "/jwks",
            "",
            "https://user@id.example/",
            "https://:secret@id.example/",
            &format!("https://id.example/{}", "x".repeat(URL_MAX_BYTES)),
        ] {
            assert!(fetchable(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn cache_control_counts_within_bounds() {
        for (said, meant) in [
            (None, REFRESH_DEFAULT),
            (Some("max-age=0"), REFRESH_MIN),
            (Some("no-store"), REFRESH_MIN),
            (
                Some("public, MAX-AGE=7200, must-revalidate"),
                Duration::from_secs(7200),
            ),
            (Some("max-age=99999999"), REFRESH_MAX),
            (Some("max-age=-1"), REFRESH_DEFAULT),
            (Some("max-age=18446744073709551616"), REFRESH_DEFAULT),
            (Some("\u{1}x"), REFRESH_DEFAULT),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(value) = said.and_then(|said| said.parse().ok()) {
                headers.insert(CACHE_CONTROL, value);
            }
            assert_eq!(good_for(&headers), meant, "{said:?}");
        }
    }
}
