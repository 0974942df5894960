//! Tokens: secrets as text, and what is kept of them.
//!
//! A token is `PREFIX_…` with 32 random bytes in base64url without padding; what is stored is the
//! SHA-256 of the whole text, so `printf %s TOKEN | sha256sum` shows the same.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::names::{NameError, text_type};

text_type! {
    /// The name of a join token: ten characters of `a-z0-9`, and a part of its secret.
    JoinTokenName, "join token name", max 10,
    pattern "^[a-z0-9]{10}$",
    check_token_name
}

impl JoinTokenName {
    /// The name for ten random bytes: 50 bits.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 10]) -> Self {
        Self(
            bytes
                .into_iter()
                .map(|byte| crate::names::base32(byte.into()))
                .collect(),
        )
    }
}

/// Why a text is no token. Never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a {what}: expected `{form}`")]
pub struct TokenError {
    what: &'static str,
    form: &'static str,
}

/// The secret of a join token: `kjt_<name>_<43 characters>`. Shown once, never stored, zeroised.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub struct JoinTokenSecret {
    text: Zeroizing<String>,
    name: JoinTokenName,
}

impl JoinTokenSecret {
    /// The token of this name with these 32 random bytes.
    #[must_use]
    pub fn from_parts(name: JoinTokenName, secret: &[u8; 32]) -> Self {
        let tail = Zeroizing::new(URL_SAFE_NO_PAD.encode(secret));
        let text = Zeroizing::new(format!("{JOIN_PREFIX}{name}_{}", tail.as_str()));
        Self { text, name }
    }

    /// Which `JoinToken` it belongs to.
    #[must_use]
    pub fn name(&self) -> &JoinTokenName {
        &self.name
    }

    /// The text itself, for the one who made it and the header that carries it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// What is stored of it.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.text)
    }

    /// Whether this is the token with that hash; takes the same time either way.
    #[must_use]
    pub fn verify(&self, hash: &TokenHash) -> bool {
        self.hash().matches(hash)
    }
}

impl FromStr for JoinTokenSecret {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let wrong = TokenError {
            what: "join token",
            form: "kjt_<name>_<43 characters>",
        };
        if text.len() != JOIN_TOKEN_BYTES {
            return Err(wrong);
        }
        let rest = text.strip_prefix(JOIN_PREFIX).ok_or(wrong)?;
        let (name, secret) = rest.split_once('_').ok_or(wrong)?;
        check_secret(secret).ok_or(wrong)?;
        let name = name.parse().map_err(|_| wrong)?;
        Ok(Self {
            text: Zeroizing::new(text.to_owned()),
            name,
        })
    }
}

impl TryFrom<String> for JoinTokenSecret {
    type Error = TokenError;

    fn try_from(text: String) -> Result<Self, TokenError> {
        Zeroizing::new(text).parse()
    }
}

impl fmt::Debug for JoinTokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinTokenSecret({}, …)", self.name)
    }
}

/// A person's static token: `kpt_<43 characters>`. Never stored by the hub, zeroised.
pub struct PersonToken(Zeroizing<String>);

impl PersonToken {
    /// The token with these 32 random bytes.
    #[must_use]
    pub fn from_bytes(secret: &[u8; 32]) -> Self {
        let tail = Zeroizing::new(URL_SAFE_NO_PAD.encode(secret));
        Self(Zeroizing::new(format!("{PERSON_PREFIX}{}", tail.as_str())))
    }

    /// The text itself, for the one who made it and the header that carries it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What the hub's configuration holds of it (`token-sha256`).
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }

    /// Whether this is the token with that hash; takes the same time either way.
    #[must_use]
    pub fn verify(&self, hash: &TokenHash) -> bool {
        self.hash().matches(hash)
    }
}

impl FromStr for PersonToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let wrong = TokenError {
            what: "person's token",
            form: "kpt_<43 characters>",
        };
        check_secret(text.strip_prefix(PERSON_PREFIX).ok_or(wrong)?).ok_or(wrong)?;
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

impl fmt::Debug for PersonToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PersonToken(…)")
    }
}

/// SHA-256 of a token's text, as 64 characters of lower-case hex.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a whole token.
    #[must_use]
    pub fn of(token: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        Self(hash)
    }

    /// Whether two hashes are the same; takes the same time either way.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other)
    }
}

impl Eq for TokenHash {}

impl FromStr for TokenHash {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        from_hex(text)
            .map(Self)
            .ok_or_else(|| NameError::new("SHA-256", text, "not 64 characters of 0-9 and a-f"))
    }
}

impl TryFrom<String> for TokenHash {
    type Error = NameError;

    fn try_from(mut text: String) -> Result<Self, NameError> {
        let hash = text.parse();
        text.zeroize();
        hash
    }
}

impl From<TokenHash> for String {
    fn from(hash: TokenHash) -> Self {
        hash.to_string()
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl schemars::JsonSchema for TokenHash {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TokenHash".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-f]{64}$" })
    }
}

fn check_token_name(text: &str) -> Result<(), String> {
    let legal = text.len() == TOKEN_NAME_BYTES
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9'));
    if legal {
        Ok(())
    } else {
        Err("not ten characters of a-z and 0-9".into())
    }
}

fn check_secret(text: &str) -> Option<()> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    let length = (text.len() == SECRET_CHARS)
        .then(|| {
            URL_SAFE_NO_PAD
                .decode_slice(text, bytes.as_mut_slice())
                .ok()
        })
        .flatten()?;
    (length == 32).then_some(())
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes: Vec<u8> = pairs
        .iter()
        .map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?))
        .collect::<Option<_>>()?;
    if rest.is_empty() {
        bytes.try_into().ok()
    } else {
        None
    }
}

pub(crate) fn write_hex(bytes: &[u8], f: &mut impl fmt::Write) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

const JOIN_PREFIX: &str = "kjt_";
const PERSON_PREFIX: &str = "kpt_";
const TOKEN_NAME_BYTES: usize = 10;
const SECRET_CHARS: usize = 43;
const JOIN_TOKEN_BYTES: usize = JOIN_PREFIX.len() + TOKEN_NAME_BYTES + 1 + SECRET_CHARS;
