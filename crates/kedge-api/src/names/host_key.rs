//! SSH host keys, checked as far as their public bytes can be.
//!
//! The text is a line of `ssh_host_*_key.pub`: algorithm, base64, and perhaps a comment, which is
//! dropped. The bytes are RFC 4253 §6.6 (rsa), RFC 5656 §3.1 (ecdsa), RFC 8709 §4 (ed25519) and
//! OpenSSH's PROTOCOL.u2f (sk-).

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::NameError;
use crate::defaults::{HOST_KEY_MAX_BYTES, HOST_KEYS_MAX, RSA_MAX_BITS, RSA_MIN_BITS};
use crate::text::Printable;

/// Why a text is no host key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostKeyError {
    /// The algorithm is none that OpenSSH uses for host keys, or one it gave up (`ssh-dss`).
    #[error("host key algorithm `{algorithm}` is not supported")]
    Algorithm {
        /// What stood there, made printable.
        algorithm: String,
    },
    /// The text is no `algorithm base64 [comment]`.
    #[error("host key is not legal: {problem}")]
    Malformed {
        /// What is wrong.
        problem: &'static str,
    },
    /// More keys than one server may have.
    #[error("{count} host keys, at most {HOST_KEYS_MAX} allowed")]
    TooMany {
        /// How many there were.
        count: usize,
    },
}

/// The kinds of host key that OpenSSH uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum HostKeyAlgorithm {
    /// `ecdsa-sha2-nistp256`
    EcdsaP256,
    /// `ecdsa-sha2-nistp384`
    EcdsaP384,
    /// `ecdsa-sha2-nistp521`
    EcdsaP521,
    /// `ssh-ed25519`
    Ed25519,
    /// `ssh-rsa`: the key's name; signatures are `rsa-sha2-*`.
    Rsa,
    /// `sk-ecdsa-sha2-nistp256@openssh.com`
    SkEcdsaP256,
    /// `sk-ssh-ed25519@openssh.com`
    SkEd25519,
}

impl HostKeyAlgorithm {
    /// The name in SSH's files and on its wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ecdsa-sha2-nistp256",
            Self::EcdsaP384 => "ecdsa-sha2-nistp384",
            Self::EcdsaP521 => "ecdsa-sha2-nistp521",
            Self::Ed25519 => "ssh-ed25519",
            Self::Rsa => "ssh-rsa",
            Self::SkEcdsaP256 => "sk-ecdsa-sha2-nistp256@openssh.com",
            Self::SkEd25519 => "sk-ssh-ed25519@openssh.com",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        ALGORITHMS
            .into_iter()
            .find(|algorithm| algorithm.as_str() == name)
    }

    /// What its keys look like in text: they begin alike, and those of most kinds are equally long.
    fn pattern(self) -> String {
        let string = |text: &str| {
            let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
            [&[0, 0, 0, length], text.as_bytes()].concat()
        };
        let ecdsa = |curve: &str, width: u8| {
            let point = 2 * width + 1;
            let head = [string(curve), vec![0, 0, 0, point, 4]].concat();
            (head, Some(2 * usize::from(width)))
        };
        let (head, rest) = match self {
            Self::EcdsaP256 => ecdsa("nistp256", 32),
            Self::EcdsaP384 => ecdsa("nistp384", 48),
            Self::EcdsaP521 => ecdsa("nistp521", 66),
            Self::Ed25519 => (vec![0, 0, 0, 32], Some(32)),
            Self::Rsa => (Vec::new(), None),
            Self::SkEcdsaP256 => (ecdsa("nistp256", 32).0, None),
            Self::SkEd25519 => (vec![0, 0, 0, 32], None),
        };
        let head = [string(self.as_str()), head].concat();
        // Three bytes are four characters; the last one or two bytes of the head share theirs with what follows.
        let whole = head.len() / 3 * 3;
        let begin = STANDARD.encode(head.get(..whole).unwrap_or_default());
        let tail = match rest {
            Some(rest) => {
                let bytes = head.len() - whole + rest;
                let characters = (bytes * 4).div_ceil(3);
                let padding = "=".repeat(characters.next_multiple_of(4) - characters);
                format!("[A-Za-z0-9+/]{{{characters}}}{padding}")
            }
            None => "[A-Za-z0-9+/]+=*".to_owned(),
        };
        let quoted = |text: &str| text.replace('.', "\\.").replace('+', "\\+");
        format!("{} {}{tail}", quoted(self.as_str()), quoted(&begin))
    }

    fn check(self, fields: &mut Fields<'_>) -> Result<(), &'static str> {
        match self {
            Self::EcdsaP256 => fields.ecdsa(b"nistp256", 32),
            Self::EcdsaP384 => fields.ecdsa(b"nistp384", 48),
            Self::EcdsaP521 => fields.ecdsa(b"nistp521", 66),
            Self::Ed25519 => fields.exact(32),
            Self::Rsa => fields.rsa(),
            Self::SkEcdsaP256 => fields
                .ecdsa(b"nistp256", 32)
                .and_then(|()| fields.application()),
            Self::SkEd25519 => fields.exact(32).and_then(|()| fields.application()),
        }
    }
}

impl fmt::Display for HostKeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One public host key. Displays as `algorithm base64`, fit for a known_hosts line.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct HostKey {
    algorithm: HostKeyAlgorithm,
    blob: Vec<u8>,
}

impl HostKey {
    /// The kind of key.
    #[must_use]
    pub fn algorithm(&self) -> HostKeyAlgorithm {
        self.algorithm
    }

    /// The key as SSH sends it.
    #[must_use]
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// What `ssh-keygen -l` shows.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.blob)
    }
}

impl FromStr for HostKey {
    type Err = HostKeyError;

    fn from_str(text: &str) -> Result<Self, HostKeyError> {
        let malformed = |problem| HostKeyError::Malformed { problem };
        let text = text.trim_end_matches(['\r', '\n']);
        if text.len() > HOST_KEY_MAX_BYTES {
            return Err(malformed("longer than 4096 bytes"));
        }
        if text.chars().any(|c| c.is_control() && c != '\t') {
            return Err(malformed("contains a control character"));
        }
        let mut words = text.split([' ', '\t']).filter(|word| !word.is_empty());
        let name = words.next().ok_or(malformed("empty"))?;
        let algorithm =
            HostKeyAlgorithm::from_name(name).ok_or_else(|| HostKeyError::Algorithm {
                algorithm: Printable::new(name).to_string(),
            })?;
        let base64 = words
            .next()
            .ok_or(malformed("no base64 after the algorithm"))?;
        let blob = STANDARD
            .decode(base64)
            .map_err(|_| malformed("not base64"))?;
        let mut fields = Fields(&blob);
        if fields.string().map_err(malformed)? != name.as_bytes() {
            return Err(malformed(
                "the bytes are of another algorithm than the text says",
            ));
        }
        algorithm.check(&mut fields).map_err(malformed)?;
        if !fields.0.is_empty() {
            return Err(malformed("bytes left over after the key"));
        }
        Ok(Self { algorithm, blob })
    }
}

/// The fields of a key that are still to be read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn string(&mut self) -> Result<&'a [u8], &'static str> {
        const SHORT: &str = "the bytes end in the middle of a field";
        let (length, rest) = self.0.split_first_chunk::<4>().ok_or(SHORT)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| SHORT)?;
        let (field, rest) = rest.split_at_checked(length).ok_or(SHORT)?;
        self.0 = rest;
        Ok(field)
    }

    fn exact(&mut self, length: usize) -> Result<(), &'static str> {
        match self.string()?.len() == length {
            true => Ok(()),
            false => Err("the public key has the wrong length"),
        }
    }

    fn ecdsa(&mut self, curve: &[u8], width: usize) -> Result<(), &'static str> {
        if self.string()? != curve {
            return Err("the curve is of another algorithm");
        }
        // Uncompressed points only: OpenSSH writes no others.
        match self.string()?.split_first() {
            Some((4, point)) if point.len() == 2 * width => Ok(()),
            _ => Err("the public key is no uncompressed point of its curve"),
        }
    }

    fn rsa(&mut self) -> Result<(), &'static str> {
        let exponent = mpint_bits(self.string()?)?;
        let modulus = mpint_bits(self.string()?)?;
        if !(2..=64).contains(&exponent) {
            return Err("the RSA exponent is out of range");
        }
        match (RSA_MIN_BITS..=RSA_MAX_BITS).contains(&modulus) {
            true => Ok(()),
            false => Err("the RSA modulus has less than 1024 or more than 16384 bits"),
        }
    }

    fn application(&mut self) -> Result<(), &'static str> {
        match self.string()?.is_empty() {
            true => Err("the application of the security key is empty"),
            false => Ok(()),
        }
    }
}

/// Bits of a positive number in its shortest form (RFC 4251 §5).
fn mpint_bits(bytes: &[u8]) -> Result<usize, &'static str> {
    const WRONG: &str = "a number is negative, zero or not in its shortest form";
    let significant = match bytes {
        [0, next, ..] if *next >= 0x80 => bytes.get(1..).unwrap_or_default(),
        [first, ..] if (1..0x80).contains(first) => bytes,
        _ => return Err(WRONG),
    };
    let leading = significant
        .first()
        .map_or(0, |first| first.leading_zeros() as usize);
    Ok(significant.len() * 8 - leading)
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.algorithm, STANDARD.encode(&self.blob))
    }
}

impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostKey({} {})", self.algorithm, self.fingerprint())
    }
}

impl TryFrom<String> for HostKey {
    type Error = HostKeyError;

    fn try_from(text: String) -> Result<Self, HostKeyError> {
        text.parse()
    }
}

impl From<HostKey> for String {
    fn from(key: HostKey) -> Self {
        key.to_string()
    }
}

impl JsonSchema for HostKey {
    fn schema_name() -> Cow<'static, str> {
        "HostKey".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let forms = ALGORITHMS.map(HostKeyAlgorithm::pattern);
        json_schema!({
            "type": "string",
            "maxLength": HOST_KEY_MAX_BYTES,
            "pattern": format!("^({})( .*)?$", forms.join("|")),
        })
    }
}

/// The host keys of one server: a sorted set of at most 16.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<HostKey>", try_from = "Vec<HostKey>")]
pub struct HostKeys(BTreeSet<HostKey>);

impl HostKeys {
    /// The set of these keys.
    ///
    /// # Errors
    /// [`HostKeyError::TooMany`] beyond 16.
    pub fn new(keys: impl IntoIterator<Item = HostKey>) -> Result<Self, HostKeyError> {
        let keys: BTreeSet<_> = keys.into_iter().collect();
        match keys.len() <= HOST_KEYS_MAX {
            true => Ok(Self(keys)),
            false => Err(HostKeyError::TooMany { count: keys.len() }),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether this key is one of them.
    #[must_use]
    pub fn contains(&self, key: &HostKey) -> bool {
        self.0.contains(key)
    }

    /// The keys in order.
    pub fn iter(&self) -> impl Iterator<Item = &HostKey> {
        self.0.iter()
    }

    /// The key of the kind that OpenSSH prefers (Ed25519, then ECDSA, then RSA): the one to show.
    #[must_use]
    pub fn preferred(&self) -> Option<&HostKey> {
        self.0.iter().min_by_key(|key| match key.algorithm {
            HostKeyAlgorithm::Ed25519 => 0,
            HostKeyAlgorithm::EcdsaP256 => 1,
            HostKeyAlgorithm::EcdsaP384 => 2,
            HostKeyAlgorithm::EcdsaP521 => 3,
            HostKeyAlgorithm::SkEd25519 => 4,
            HostKeyAlgorithm::SkEcdsaP256 => 5,
            HostKeyAlgorithm::Rsa => 6,
        })
    }
}

impl TryFrom<Vec<HostKey>> for HostKeys {
    type Error = HostKeyError;

    fn try_from(keys: Vec<HostKey>) -> Result<Self, HostKeyError> {
        Self::new(keys)
    }
}

impl From<HostKeys> for Vec<HostKey> {
    fn from(keys: HostKeys) -> Self {
        keys.0.into_iter().collect()
    }
}

impl<'a> IntoIterator for &'a HostKeys {
    type Item = &'a HostKey;
    type IntoIter = std::collections::btree_set::Iter<'a, HostKey>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl JsonSchema for HostKeys {
    fn schema_name() -> Cow<'static, str> {
        "HostKeys".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let items = generator.subschema_for::<HostKey>();
        json_schema!({ "type": "array", "items": items, "maxItems": HOST_KEYS_MAX })
    }
}

/// SHA-256 of a public key, as `ssh-keygen -l` writes it: `SHA256:` and base64 without padding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of any public key as SSH sends it.
    #[must_use]
    pub fn of(blob: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, blob).as_ref());
        Self(hash)
    }
}

impl FromStr for Fingerprint {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        text.strip_prefix("SHA256:")
            .and_then(|base64| STANDARD_NO_PAD.decode(base64).ok())
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| {
                NameError::new(
                    "fingerprint",
                    text,
                    "not `SHA256:` and 43 characters of base64",
                )
            })
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("SHA256:{}", STANDARD_NO_PAD.encode(self.0)))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

impl JsonSchema for Fingerprint {
    fn schema_name() -> Cow<'static, str> {
        "Fingerprint".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^SHA256:[A-Za-z0-9+/]{43}$" })
    }
}

const ALGORITHMS: [HostKeyAlgorithm; 7] = [
    HostKeyAlgorithm::EcdsaP256,
    HostKeyAlgorithm::EcdsaP384,
    HostKeyAlgorithm::EcdsaP521,
    HostKeyAlgorithm::Ed25519,
    HostKeyAlgorithm::Rsa,
    HostKeyAlgorithm::SkEcdsaP256,
    HostKeyAlgorithm::SkEd25519,
];
