//! What `credentials.json` holds: one login, in one of four ways.
//!
//! ```json
//! {"kind": "oidc", "issuer": "https://id.example", "clientId": "kedge", "idToken": "…", "refreshToken": "…", …}
//! {"kind": "static", "token": "kpt_…"}
//! {"kind": "file", "path": "/run/secrets/token"}
//! {"kind": "command", "command": "pass show kedge"}
//! ```

use std::path::PathBuf;
use std::time::Duration;

use kedge_api::Time;
use kedge_api::rest::IssuerInfo;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::text::{secret, secret_option};
use crate::defaults;

/// One login.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Stored {
    /// A command prints the token.
    Command(CommandToken),
    /// A file holds the token, and somebody else renews it.
    File(FileToken),
    /// A person logged in at an issuer.
    Oidc(Box<OidcLogin>),
    /// A token that stays as it is.
    Static(StaticToken),
}

/// How a login gets its token, for messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// By a command.
    Command,
    /// From a file.
    File,
    /// From an issuer.
    Oidc,
    /// Once and for all.
    Static,
}

/// A token that stays as it is.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StaticToken {
    /// The token.
    #[serde(with = "secret")]
    pub token: SecretString,
}

/// A file that holds the token.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileToken {
    /// The file.
    pub path: PathBuf,
}

/// A command that prints the token.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CommandToken {
    /// For `sh -c`.
    pub command: String,
    /// What it printed last, when that says how long it is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached: Option<CachedToken>,
}

/// A token with its life.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CachedToken {
    /// The token.
    #[serde(with = "secret")]
    pub token: SecretString,
    /// When it was had.
    pub since: Time,
    /// When it ends.
    pub expires_at: Time,
}

/// A person's login at an issuer, and all that is needed to renew it without asking the hub: a hub
/// that was broken into must not get the refresh token sent elsewhere.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OidcLogin {
    /// The issuer, as the hub described it at the login.
    #[serde(flatten)]
    pub issuer: IssuerInfo,
    /// Who logged in, to the issuer.
    pub subject: kedge_api::Subject,
    /// What the hub is shown.
    #[serde(with = "secret")]
    pub id_token: SecretString,
    /// What gets the next ID token.
    #[serde(
        default,
        with = "secret_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub refresh_token: Option<SecretString>,
    /// When the ID token was made, by the issuer's clock.
    pub since: Time,
    /// When the ID token ends.
    pub expires_at: Time,
    /// The last try to renew it that got no answer, for those who were waiting meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unavailable: Option<Unavailable>,
}

/// A try that got no answer.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unavailable {
    /// When it ended.
    pub at: Time,
    /// What was wrong.
    pub cause: String,
}

impl Stored {
    /// How the token is had.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Command(_) => Kind::Command,
            Self::File(_) => Kind::File,
            Self::Oidc(_) => Kind::Oidc,
            Self::Static(_) => Kind::Static,
        }
    }
}

/// Whether a token is good for long enough to begin something with it.
///
/// It is renewed a minute before its end; one that lives for less than two minutes at half its life,
/// so that fifty processes still share it.
#[must_use]
pub(super) fn is_fresh(since: Time, expires_at: Time, now: Time) -> bool {
    let life = expires_at.saturating_since(since);
    let margin = defaults::RENEW_BEFORE.min(life / 2);
    expires_at.saturating_since(now) > margin && is_good(expires_at, now)
}

/// Whether a token has not ended.
#[must_use]
pub(super) fn is_good(expires_at: Time, now: Time) -> bool {
    expires_at.saturating_since(now) > Duration::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Time {
        jiff::Timestamp::from_second(second).unwrap().into()
    }

    #[test]
    fn a_token_is_renewed_a_minute_before_its_end() {
        assert!(is_fresh(at(0), at(3600), at(0)));
        assert!(is_fresh(at(0), at(3600), at(3539)));
        assert!(!is_fresh(at(0), at(3600), at(3540)));
        assert!(is_good(at(3600), at(3599)));
        assert!(!is_good(at(3600), at(3600)));
        assert!(!is_fresh(at(0), at(3600), at(9000)));
    }

    #[test]
    fn a_short_one_serves_for_half_its_life() {
        assert!(is_fresh(at(0), at(30), at(14)));
        assert!(!is_fresh(at(0), at(30), at(15)));
        // One that was never good by this clock is not either.
        assert!(!is_fresh(at(100), at(40), at(100)));
    }

    #[test]
    fn every_kind_is_read_again() {
        for text in [
            r#"{"kind":"static","token":"kpt_x"}"#,
            r#"{"kind":"file","path":"/run/token"}"#,
            r#"{"kind":"command","command":"pass show kedge"}"#,
            r#"{"kind":"command","command":"x","cached":{"token":"t","since":"2026-01-01T00:00:00Z","expiresAt":"2026-01-01T01:00:00Z"}}"#,
        ] {
            let read: Stored = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), text);
        }
        assert!(serde_json::from_str::<Stored>(r#"{"kind":"kerberos"}"#).is_err());
    }
}
