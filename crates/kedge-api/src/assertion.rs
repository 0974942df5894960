//! How an agent proves that it is its server: a JWT signed with its own Ed25519 key (RFC 7519,
//! RFC 8037), good for a minute and for one hub.
//!
//! - `iss` = `sub` = the server's name, `aud` = the hub's id, `iat`, `exp` = `iat` + 60 s, `jti`.
//! - The header's `alg` must be `EdDSA`; everything else in the header is ignored, keys above all.
//! - An enrolment's proof is the same token with `enrol`, which binds it to a join token and a key.
//! - The key is found by the name that the token claims ([`claimed_server`]), then the token is
//!   verified; whether a `jti` was seen before is for the hub to remember for [`Verified::expires`].

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::defaults::{ASSERTION_LEEWAY, ASSERTION_LIFETIME, ASSERTION_MAX_BYTES};
use crate::names::{HubId, NameError, Nonce, ServerName};
use crate::time::Time;
use crate::tokens::{TokenHash, write_hex};

/// An agent's private key. No `Debug` of its contents; its PKCS#8 form is zeroised.
pub struct AgentKey {
    pair: Ed25519KeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
}

/// Why bytes are no agent's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 key in PKCS#8")]
pub struct AgentKeyError;

impl AgentKey {
    /// A new key from 32 random bytes, which become the private key itself.
    ///
    /// # Errors
    /// [`AgentKeyError`] when the library refuses the seed; it does not.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, AgentKeyError> {
        // RFC 8410 §7: the fixed head of a version 1 PKCS#8 document for Ed25519.
        const HEAD: [u8; 16] = [
            0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
        ];
        let mut pkcs8 = Zeroizing::new(Vec::with_capacity(HEAD.len() + seed.len()));
        pkcs8.extend_from_slice(&HEAD);
        pkcs8.extend_from_slice(seed);
        Self::from_pkcs8(pkcs8)
    }

    /// The key in a PKCS#8 document (DER).
    ///
    /// # Errors
    /// [`AgentKeyError`] when it is none.
    pub fn from_pkcs8(pkcs8: Zeroizing<Vec<u8>>) -> Result<Self, AgentKeyError> {
        // The library reads past the document's end; a file with more in it is not ours.
        let whole = matches!(pkcs8.split_first_chunk::<2>(),
            Some(([0x30, length], rest)) if usize::from(*length) == rest.len());
        if !whole {
            return Err(AgentKeyError);
        }
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8).map_err(|_| AgentKeyError)?;
        Ok(Self { pair, pkcs8 })
    }

    /// The key as PKCS#8 (DER), for the file that holds it.
    #[must_use]
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The half that everybody may know.
    #[must_use]
    pub fn public_key(&self) -> AgentPublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        AgentPublicKey(bytes)
    }
}

impl fmt::Debug for AgentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgentKey({}, …)", self.public_key())
    }
}

/// An agent's Ed25519 public key: 32 bytes, in base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct AgentPublicKey([u8; 32]);

impl FromStr for AgentPublicKey {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = || NameError::new("agent key", text, "not 32 bytes in base64");
        if text.len() != AGENT_KEY_CHARS {
            return Err(wrong());
        }
        let bytes = STANDARD.decode(text).map_err(|_| wrong())?;
        bytes.try_into().map(Self).map_err(|_| wrong())
    }
}

impl TryFrom<String> for AgentPublicKey {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<AgentPublicKey> for String {
    fn from(key: AgentPublicKey) -> Self {
        key.to_string()
    }
}

impl fmt::Display for AgentPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for AgentPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl JsonSchema for AgentPublicKey {
    fn schema_name() -> Cow<'static, str> {
        "AgentPublicKey".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$" })
    }
}

/// What an agent says when it signs.
#[derive(Clone, Debug)]
pub struct Claims {
    /// Which server it is.
    pub server: ServerName,
    /// Which hub it talks to.
    pub audience: HubId,
    /// What makes this one unique.
    pub nonce: Nonce,
    /// For an enrolment: what binds it to the join token and the key.
    pub enrol: Option<EnrolmentBinding>,
}

/// SHA-256 over a join token's hash and an agent's public key: a proof for one token and one key is
/// worth nothing with another.
#[derive(Clone, Debug)]
pub struct EnrolmentBinding(String);

impl EnrolmentBinding {
    /// The binding of a token and a key.
    #[must_use]
    pub fn new(token: &TokenHash, key: &AgentPublicKey) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(token.as_bytes());
        context.update(&key.0);
        let mut hex = String::with_capacity(64);
        // Writing to a String cannot fail.
        let _ = write_hex(context.finish().as_ref(), &mut hex);
        Self(hex)
    }
}

/// Why an assertion is refused. For the hub's log; the caller learns only that it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AssertionError {
    /// It is for another hub.
    #[error("the assertion is for another audience")]
    Audience,
    /// It does not bind the join token and key it came with.
    #[error("the assertion is not bound to this join token and key")]
    Binding,
    /// Its time is over.
    #[error("the assertion expired at {at}")]
    Expired {
        /// When.
        at: Time,
    },
    /// It would be good for longer than assertions are.
    #[error("the assertion claims a life of more than {} s", ASSERTION_LIFETIME.as_secs())]
    Lifetime,
    /// It is no JWT of the form that agents make.
    #[error("the assertion is malformed: {problem}")]
    Malformed {
        /// What is wrong.
        problem: &'static str,
    },
    /// It comes from the future.
    #[error("the assertion was made at {at}, which is in the future; check both clocks")]
    NotYetValid {
        /// When it says it was made.
        at: Time,
    },
    /// It is about another server than was asked for.
    #[error("the assertion is of server `{found}`")]
    Server {
        /// The server it is of.
        found: ServerName,
    },
    /// The signature is not of this key, or the algorithm is not EdDSA.
    #[error("the assertion's signature or algorithm is wrong")]
    Signature(#[source] jsonwebtoken::errors::Error),
}

/// What an assertion proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Which server the agent is.
    pub server: ServerName,
    /// What must not be seen again …
    pub nonce: Nonce,
    /// … until then.
    pub expires: Time,
}

/// Signs.
#[must_use]
pub fn sign(key: &AgentKey, claims: &Claims, now: Time) -> String {
    let issued = now.as_second();
    let body = serde_json::json!({
        "iss": claims.server,
        "sub": claims.server,
        "aud": claims.audience,
        "iat": issued,
        "exp": issued.saturating_add(LIFETIME_SECONDS),
        "jti": claims.nonce,
        "enrol": claims.enrol.as_ref().map(|binding| &binding.0),
    });
    let mut token = URL_SAFE_NO_PAD.encode(HEADER);
    token.push('.');
    token.push_str(&URL_SAFE_NO_PAD.encode(body.to_string()));
    let signature = key.pair.sign(token.as_bytes());
    token.push('.');
    token.push_str(&URL_SAFE_NO_PAD.encode(signature));
    token
}

/// The server an assertion says it is of, unverified: good only for finding the key to verify with.
///
/// # Errors
/// [`AssertionError::Malformed`] when it says none that could be.
pub fn claimed_server(token: &str) -> Result<ServerName, AssertionError> {
    let malformed = |problem| AssertionError::Malformed { problem };
    check_form(token)?;
    let body = token
        .split('.')
        .nth(1)
        .ok_or(malformed("not three parts"))?;
    let body = URL_SAFE_NO_PAD
        .decode(body)
        .map_err(|_| malformed("not base64url"))?;
    let body: Body = serde_json::from_slice(&body).map_err(|_| malformed("unreadable claims"))?;
    Ok(body.iss)
}

/// Verifies an agent's assertion.
///
/// # Errors
/// [`AssertionError`], the first thing that is wrong.
pub fn verify(
    token: &str,
    key: &AgentPublicKey,
    audience: &HubId,
    now: Time,
) -> Result<Verified, AssertionError> {
    let (verified, enrol) = check(token, key, audience, now)?;
    // A proof of enrolment is shown once, to the route that knows the join token, and opens no other.
    if enrol.is_some() {
        Err(AssertionError::Binding)
    } else {
        Ok(verified)
    }
}

/// Verifies an enrolment's proof: made by the key that is to be enrolled, for this name, with this
/// join token.
///
/// # Errors
/// [`AssertionError`], the first thing that is wrong.
pub fn verify_enrolment(
    token: &str,
    key: &AgentPublicKey,
    audience: &HubId,
    server: &ServerName,
    join_token: &TokenHash,
    now: Time,
) -> Result<Verified, AssertionError> {
    let (verified, enrol) = check(token, key, audience, now)?;
    if verified.server != *server {
        return Err(AssertionError::Server {
            found: verified.server,
        });
    }
    let wanted = EnrolmentBinding::new(join_token, key);
    let bound = enrol.is_some_and(|found| found.as_bytes().ct_eq(wanted.0.as_bytes()).into());
    if bound {
        Ok(verified)
    } else {
        Err(AssertionError::Binding)
    }
}

#[derive(Deserialize)]
struct Body {
    iss: ServerName,
    sub: ServerName,
    aud: HubId,
    iat: i64,
    exp: i64,
    jti: Nonce,
    #[serde(default)]
    enrol: Option<String>,
}

fn check(
    token: &str,
    key: &AgentPublicKey,
    audience: &HubId,
    now: Time,
) -> Result<(Verified, Option<String>), AssertionError> {
    check_form(token)?;
    // The library reads the clock by itself and knows only its own errors, so it is left to check
    // algorithm and signature; the claims are checked below.
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    let decoded =
        jsonwebtoken::decode::<Body>(token, &DecodingKey::from_ed_der(&key.0), &validation)
            .map_err(AssertionError::Signature)?;
    let Body {
        iss,
        sub,
        aud,
        iat,
        exp,
        jti,
        enrol,
    } = decoded.claims;
    if iss != sub {
        return Err(AssertionError::Malformed {
            problem: "`iss` and `sub` differ",
        });
    }
    if aud != *audience {
        return Err(AssertionError::Audience);
    }
    let (issued, expires) = (moment(iat)?, moment(exp)?);
    if expires.saturating_since(issued) > ASSERTION_LIFETIME || expires < issued {
        return Err(AssertionError::Lifetime);
    }
    if issued > now.saturating_add(ASSERTION_LEEWAY) {
        return Err(AssertionError::NotYetValid { at: issued });
    }
    let end = expires.saturating_add(ASSERTION_LEEWAY);
    if end <= now {
        return Err(AssertionError::Expired { at: expires });
    }
    Ok((
        Verified {
            server: iss,
            nonce: jti,
            expires: end,
        },
        enrol,
    ))
}

fn check_form(token: &str) -> Result<(), AssertionError> {
    let problem = if token.len() > ASSERTION_MAX_BYTES {
        "longer than 2048 bytes"
    } else if token.split('.').count() != 3 {
        "not three parts"
    } else {
        return Ok(());
    };
    Err(AssertionError::Malformed { problem })
}

fn moment(seconds: i64) -> Result<Time, AssertionError> {
    jiff::Timestamp::from_second(seconds)
        .map(Time::from)
        .map_err(|_| AssertionError::Malformed {
            problem: "a time out of range",
        })
}

const HEADER: &str = r#"{"alg":"EdDSA","typ":"JWT"}"#;
const AGENT_KEY_CHARS: usize = 44;
const LIFETIME_SECONDS: i64 = Duration::as_secs(&ASSERTION_LIFETIME) as i64;
