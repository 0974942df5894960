//! A token taken apart (RFC 7515 §3.1), before anything in it is believed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kedge_api::text::Printable;
use serde_json::{Map, Value};

use crate::defaults::KEY_ID_MAX_BYTES;
use crate::error::VerifyError;
use crate::json;
use crate::keys::Key;
use crate::rules::Algorithm;

/// A token in its parts. What its header says about keys (`jwk`, `jku`, `x5c`, `x5u`) is not even read: a token does
/// not say whom to believe.
#[derive(Debug)]
pub(crate) struct Token<'a> {
    /// The header's `alg`.
    pub(crate) algorithm: Algorithm,
    /// The header's `kid`.
    pub(crate) key_id: Option<String>,
    /// The claims.
    pub(crate) claims: Map<String, Value>,
    signed: &'a str,
    signature: &'a str,
}

impl<'a> Token<'a> {
    /// Takes a token apart. The caller has checked its length.
    pub(crate) fn parse(text: &'a str) -> Result<Self, VerifyError> {
        let three_parts = "it does not have three parts";
        let (signed, signature) = text.rsplit_once('.').ok_or(malformed(three_parts))?;
        let (header, claims) = signed.split_once('.').ok_or(malformed(three_parts))?;
        if claims.contains('.') {
            return Err(malformed(three_parts));
        }
        let header = decode(header).ok_or(malformed("its header is not base64url"))?;
        let header = json::object(&header).map_err(|flaw| {
            malformed(match flaw {
                json::DEEP => "its header nests too deep",
                json::MANY => "its header has too many values",
                json::TWICE => "its header has a key twice",
                _ => "its header is no JSON object",
            })
        })?;
        let (algorithm, key_id) = read_header(&header)?;
        let claims = decode(claims).ok_or(malformed("its claims are not base64url"))?;
        let claims = json::object(&claims).map_err(|flaw| {
            malformed(match flaw {
                json::DEEP => "its claims nest too deep",
                json::MANY => "its claims have too many values",
                json::TWICE => "its claims have a key twice",
                _ => "its claims are no JSON object",
            })
        })?;
        Ok(Self {
            algorithm,
            key_id,
            claims,
            signed,
            signature,
        })
    }

    /// Whether this key made the signature.
    pub(crate) fn is_signed_by(&self, key: &Key) -> bool {
        key.verify(self.algorithm, self.signed, self.signature)
    }

    /// The token's `kid` for people.
    pub(crate) fn key_id_shown(&self) -> String {
        match &self.key_id {
            Some(id) => format!("`{}`", Printable::new(id)),
            None => "(no `kid`)".to_owned(),
        }
    }
}

fn read_header(header: &Map<String, Value>) -> Result<(Algorithm, Option<String>), VerifyError> {
    // RFC 7515 §4.1.11: who does not understand what is critical must refuse, and nothing of it is understood here.
    if header.contains_key("crit") {
        return Err(malformed("its header has critical extensions (`crit`)"));
    }
    match header.get("typ") {
        None => {}
        Some(Value::String(kind)) if kind.eq_ignore_ascii_case("JWT") => {}
        Some(Value::String(kind)) => {
            return Err(VerifyError::Kind {
                found: format!("its header's `typ` is `{}`", Printable::new(kind)),
            });
        }
        Some(_) => return Err(malformed("its header's `typ` is no text")),
    }
    if header.contains_key("cty") {
        return Err(VerifyError::Kind {
            found: "another token is nested in it (`cty`)".to_owned(),
        });
    }
    let key_id = match header.get("kid") {
        None => None,
        Some(Value::String(id)) if id.len() <= KEY_ID_MAX_BYTES => Some(id.clone()),
        Some(Value::String(_)) => return Err(malformed("its header's `kid` is too long")),
        Some(_) => return Err(malformed("its header's `kid` is no text")),
    };
    let Some(Value::String(algorithm)) = header.get("alg") else {
        return Err(malformed("its header has no `alg`"));
    };
    match algorithm.parse() {
        Ok(algorithm) => Ok((algorithm, key_id)),
        Err(_) => Err(VerifyError::Algorithm {
            found: Printable::new(algorithm).to_string(),
        }),
    }
}

fn decode(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}

fn malformed(problem: &'static str) -> VerifyError {
    VerifyError::Malformed { problem }
}
