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

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.{}", encode("{}"), encode(claims), encode("x"))
    }

    #[test]
    fn a_jwt_has_three_parts_and_no_other_token_does() {
        assert!(looks_like_jwt(&token("{}")));
        assert!(looks_like_jwt("a-b_.c.d"));
        for other in [
            "",
            "..",
            "a..b",
            "a.b.",
            ".a.b",
            "a.b",
            "a.b.c.d",
            "a.b.c=",
            "a.b.c ",
            "a.b.c\n",
            "a.b.é",
            "kpt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert!(!looks_like_jwt(other), "{other:?}");
        }
    }

    #[test]
    fn what_a_token_says_is_read_without_a_key() {
        let token = token(r#"{"iss":"https://id.example","exp":1800000000.9}"#);
        assert_eq!(
            unverified_issuer(&token).as_deref(),
            Some("https://id.example")
        );
        assert_eq!(
            unverified_expiry(&token).map(Time::as_second),
            Some(1_800_000_000)
        );
    }

    #[test]
    fn what_it_does_not_say_is_nothing() {
        for claims in [
            "{}",
            "[]",
            "x",
            r#"{"iss":1,"exp":"1"}"#,
            r#"{"iss":null,"exp":1e99}"#,
            r#"{"iss":"a","iss":"b","exp":1,"exp":2}"#,
        ] {
            assert_eq!(unverified_issuer(&token(claims)), None, "{claims}");
            assert_eq!(unverified_expiry(&token(claims)), None, "{claims}");
        }
        let long = token(&format!(
            r#"{{"exp":1,"x":"{}"}}"#,
            "x".repeat(TOKEN_MAX_BYTES)
        ));
        assert_eq!(unverified_expiry(&long), None);
        assert_eq!(unverified_expiry("kpt_x"), None);
    }
}
