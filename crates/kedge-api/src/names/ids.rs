//! Names of objects, people and sessions.

use super::text_type;
use crate::defaults::{
    LINE_MAX_BYTES, LOGIN_MAX_BYTES, NAME_LABEL_MAX_BYTES, NAME_MAX_BYTES, SUBJECT_MAX_BYTES,
};
use crate::text::needs_escape;

text_type! {
    /// The name of any object: an RFC 1123 subdomain in lower case, as Kubernetes has it.
    ObjectName, "name", max NAME_MAX_BYTES,
    pattern "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$",
    check_subdomain
}

text_type! {
    /// The name of a server: the same rule as [`ObjectName`], so it is a host name, never an ssh
    /// option, and never a path of more than one component.
    ServerName, "server name", max NAME_MAX_BYTES,
    pattern "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$",
    check_subdomain
}

text_type! {
    /// What follows a server's name in `ssh web01.SUFFIX`: an RFC 1123 subdomain without its dot.
    Suffix, "suffix", max NAME_MAX_BYTES,
    pattern "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$",
    check_subdomain
}

text_type! {
    /// What people call a hub: one RFC 1123 label in lower case. It names a folder of the client's.
    HubName, "hub name", max NAME_LABEL_MAX_BYTES,
    pattern "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$",
    check_label
}

text_type! {
    /// A unix user name at a target: `[a-z_][a-z0-9_-]{0,31}`, never rewritten to fit.
    Login, "login", max LOGIN_MAX_BYTES,
    pattern "^[a-z_][a-z0-9_-]{0,31}$",
    check_login
}

text_type! {
    /// Who somebody is to their issuer (`sub`): up to 256 bytes, no control or invisible characters.
    Subject, "subject", max SUBJECT_MAX_BYTES,
    pattern "^\\S(.*\\S)?$",
    check_line
}

text_type! {
    /// A group that an issuer says somebody is in.
    Group, "group", max SUBJECT_MAX_BYTES,
    pattern "^\\S(.*\\S)?$",
    check_line
}

text_type! {
    /// The name of a claim, as the issuer's tokens have it. No braces, so that `{name}` can stand for its value.
    ClaimName, "claim name", max SUBJECT_MAX_BYTES,
    pattern "^[^\\s{}]([^{}]*[^\\s{}])?$",
    check_claim_name
}

text_type! {
    /// One short line that a peer tells about itself: version, operating system, architecture.
    Line, "text", max LINE_MAX_BYTES,
    pattern "^\\S(.*\\S)?$",
    check_line
}

text_type! {
    /// One session: `s-` and 26 characters of base32, made from 16 random bytes.
    SessionId, "session id", max ID_BYTES,
    pattern "^s-[a-z2-7]{26}$",
    check_session_id
}

text_type! {
    /// One hub, for as long as its state lives: `h-` and 26 characters of base32. The audience of
    /// agents' assertions, so that one hub's are worth nothing to another.
    HubId, "hub id", max ID_BYTES,
    pattern "^h-[a-z2-7]{26}$",
    check_hub_id
}

text_type! {
    /// What makes an assertion unique (`jti`): `n-` and 26 characters of base32.
    Nonce, "nonce", max ID_BYTES,
    pattern "^n-[a-z2-7]{26}$",
    check_nonce
}

impl SessionId {
    /// The id for 16 random bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(id("s-", bytes))
    }
}

impl HubId {
    /// The id for 16 random bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(id("h-", bytes))
    }
}

impl Nonce {
    /// The nonce for 16 random bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(id("n-", bytes))
    }
}

impl From<ServerName> for ObjectName {
    fn from(name: ServerName) -> Self {
        Self(name.0)
    }
}

impl From<ObjectName> for ServerName {
    fn from(name: ObjectName) -> Self {
        Self(name.0)
    }
}

impl From<crate::tokens::JoinTokenName> for ObjectName {
    fn from(name: crate::tokens::JoinTokenName) -> Self {
        Self(name.into())
    }
}

impl Login {
    /// Whether this is the superuser, which a policy must list literally.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0 == "root"
    }
}

pub(super) fn check_subdomain(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("empty".into());
    }
    text.split('.').try_for_each(check_label)
}

pub(super) fn check_label(label: &str) -> Result<(), String> {
    if label.is_empty() {
        return Err("empty, or an empty part between dots".into());
    }
    if label.len() > NAME_LABEL_MAX_BYTES {
        return Err(format!("a part longer than {NAME_LABEL_MAX_BYTES} bytes"));
    }
    check_characters(
        label,
        |c| matches!(c, 'a'..='z' | '0'..='9' | '-'),
        "a-z, 0-9 and `-`",
    )?;
    if label.starts_with('-') || label.ends_with('-') {
        return Err("a part begins or ends with `-`".into());
    }
    Ok(())
}

fn check_login(text: &str) -> Result<(), String> {
    match text.chars().next() {
        None => return Err("empty".into()),
        Some('a'..='z' | '_') => {}
        Some(_) => return Err("begins with something other than a-z or `_`".into()),
    }
    check_characters(
        text,
        |c| matches!(c, 'a'..='z' | '0'..='9' | '_' | '-'),
        "a-z, 0-9, `_` and `-`",
    )
}

fn check_line(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("empty".into());
    }
    if text.starts_with(char::is_whitespace) || text.ends_with(char::is_whitespace) {
        return Err("begins or ends with a space".into());
    }
    match text.chars().find(|&c| needs_escape(c)) {
        Some(c) => Err(format!("contains {}", c.escape_unicode())),
        None => Ok(()),
    }
}

fn check_claim_name(text: &str) -> Result<(), String> {
    check_line(text)?;
    if text.contains(['{', '}']) {
        return Err("contains a brace".into());
    }
    Ok(())
}

pub(super) fn check_characters(
    text: &str,
    allowed: impl Fn(char) -> bool,
    which: &str,
) -> Result<(), String> {
    match text.chars().find(|&c| !allowed(c)) {
        Some(c) if c.is_ascii_graphic() => Err(format!("contains `{c}`; only {which} are allowed")),
        Some(c) => Err(format!(
            "contains {}; only {which} are allowed",
            c.escape_unicode()
        )),
        None => Ok(()),
    }
}

fn check_session_id(text: &str) -> Result<(), String> {
    check_id("s-", text)
}

fn check_hub_id(text: &str) -> Result<(), String> {
    check_id("h-", text)
}

fn check_nonce(text: &str) -> Result<(), String> {
    check_id("n-", text)
}

fn check_id(prefix: &str, text: &str) -> Result<(), String> {
    let legal = text.strip_prefix(prefix).is_some_and(|rest| {
        rest.len() == ID_BYTES - prefix.len() && rest.bytes().all(|b| BASE32.contains(&b))
    });
    if legal {
        Ok(())
    } else {
        Err(format!("not `{prefix}` and 26 characters of base32"))
    }
}

/// The id for 16 bytes: 128 bits in 26 characters of five bits, the last two bits zero.
fn id(prefix: &str, bytes: [u8; 16]) -> String {
    let mut text = String::with_capacity(ID_BYTES);
    text.push_str(prefix);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for byte in bytes.into_iter().map(u32::from) {
        bits = (bits << 8) | byte;
        held += 8;
        while held >= 5 {
            held -= 5;
            text.push(base32(bits >> held));
        }
    }
    text.push(base32(bits << (5 - held)));
    text
}

/// The character for the lowest five bits.
pub(crate) fn base32(bits: u32) -> char {
    let index = (bits & 31) as usize;
    BASE32.get(index).copied().map_or('a', char::from)
}

/// RFC 4648 base32 in lower case: no `0`/`o` and `1`/`l` to mistake.
pub(crate) const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const ID_BYTES: usize = 28;
