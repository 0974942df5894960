//! A token as text: what can be one, and how it is kept in a file.

use kedge_service::files::FileError;
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::defaults;

/// Why a text is no token.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum TokenTextError {
    /// There is nothing.
    #[error("the token is empty")]
    Empty,
    /// No header can carry it.
    #[error("the token has spaces or odd characters in it")]
    Odd,
    /// It is longer than any token.
    #[error("the token is longer than {} bytes", defaults::TOKEN_BYTES)]
    TooLong,
}

/// The token in a text; white space around it is dropped.
///
/// # Errors
///
/// [`TokenTextError`]
pub fn token(bytes: &[u8]) -> Result<SecretString, TokenTextError> {
    if bytes.len() > defaults::TOKEN_BYTES {
        return Err(TokenTextError::TooLong);
    }
    let bytes = bytes.trim_ascii();
    if bytes.is_empty() {
        return Err(TokenTextError::Empty);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| TokenTextError::Odd)?;
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(TokenTextError::Odd);
    }
    Ok(SecretString::from(text.to_owned()))
}

/// Whether it is a hub's own static token, which stays the same until somebody takes it away.
#[must_use]
pub fn is_static(token: &SecretString) -> bool {
    token.expose_secret().starts_with("kpt_")
}

/// The token in a file of its own.
///
/// # Errors
///
/// [`FileError`], also for a file that others can read or that is somebody else's; the second result
/// is for one that holds no token.
pub(super) fn read_file(
    path: &std::path::Path,
) -> Result<Result<SecretString, TokenTextError>, FileError> {
    // A line end is no part of the token.
    let limit = u64::try_from(defaults::TOKEN_BYTES).unwrap_or(u64::MAX);
    let bytes: Zeroizing<Vec<u8>> = kedge_service::files::read_own_secret(path, limit)?;
    Ok(token(&bytes))
}

/// How serde writes and reads a secret that a file with mode 0600 holds.
pub(crate) mod secret {
    use secrecy::{ExposeSecret, SecretString};
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        secret: &SecretString,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(secret.expose_secret())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<SecretString, D::Error> {
        String::deserialize(deserializer).map(SecretString::from)
    }
}

/// The same for one that may be absent.
pub(crate) mod secret_option {
    use secrecy::{ExposeSecret, SecretString};
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(
        clippy::ref_option,
        reason = "serde calls it with a reference to the field"
    )]
    pub(crate) fn serialize<S: Serializer>(
        secret: &Option<SecretString>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match secret {
            Some(secret) => serializer.serialize_some(secret.expose_secret()),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SecretString>, D::Error> {
        Ok(Option::<String>::deserialize(deserializer)?.map(SecretString::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_word_of_plain_characters() {
        assert_eq!(token(b" kpt_x\r\n").unwrap().expose_secret(), "kpt_x");
        for (bytes, why) in [
            (&b""[..], TokenTextError::Empty),
            (b" \n", TokenTextError::Empty),
            (b"two words", TokenTextError::Odd),
            (b"a\nb", TokenTextError::Odd),
            (b"a\x00", TokenTextError::Odd),
            (b"\xff", TokenTextError::Odd),
            ("\u{202e}".as_bytes(), TokenTextError::Odd),
        ] {
            assert_eq!(token(bytes).unwrap_err(), why, "{bytes:?}");
        }
        let long = vec![b'x'; defaults::TOKEN_BYTES + 1];
        assert_eq!(token(&long).unwrap_err(), TokenTextError::TooLong);
    }
}
