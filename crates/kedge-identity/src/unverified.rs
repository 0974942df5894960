//! What a token says about itself, believed by nobody: good for choosing where to ask, never for deciding.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kedge_api::Time;
use serde_json::{Map, Value};

use crate::claims::moment;
use crate::defaults::TOKEN_MAX_BYTES;
use crate::json;

/// Whether a text has the form of a signed JWT: three parts in base64url. Other tokens of kedge never have.
#[must_use]
pub fn looks_like_jwt(token: &str) -> bool {
    let filled = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    token.split('.').count() == 3 && token.split('.').all(filled)
}

/// When a token says that it ends (`exp`). Nothing of it is verified.
#[must_use]
pub fn unverified_expiry(token: &str) -> Option<Time> {
    moment(claims(token)?.get("exp")?)
}

/// Whom a token names as its issuer (`iss`). Nothing of it is verified.
#[must_use]
pub fn unverified_issuer(token: &str) -> Option<String> {
    claims(token)?.get("iss")?.as_str().map(str::to_owned)
}

fn claims(token: &str) -> Option<Map<String, Value>> {
    if token.len() > TOKEN_MAX_BYTES || !looks_like_jwt(token) {
        return None;
    }
    let part = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    json::object(&part).ok()
}
