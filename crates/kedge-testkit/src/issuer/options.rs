//! Who an issuer knows, how it signs, and how it may misbehave.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value, json};

/// What to start.
#[derive(Clone, Debug)]
pub struct IssuerOptions {
    /// Whom it knows. alice, bob and admin unless said otherwise.
    pub people: Vec<IssuerPerson>,
    /// The client people log in with, and the audience of their tokens: `kedge`.
    pub client_id: String,
    /// What it signs ID tokens with: `RS256`, `PS256`, `ES256`, `ES384` or `EdDSA`.
    pub algorithm: String,
    /// How long an ID token is good.
    pub token_life: Duration,
    /// A fixed port; 0 takes a free one.
    pub port: u16,
    /// What follows host and port in its URL: empty, or with a slash in front and none at the end.
    pub path: String,
    /// What it does with a refresh token that was used.
    pub refresh: Refresh,
    /// How often a device may ask.
    pub device_interval: Duration,
    /// What is offered as scopes.
    pub scopes: Vec<String>,
    /// The certificate chain and its key, in PEM files, to speak TLS with. The headless browser does not.
    pub tls: Option<(PathBuf, PathBuf)>,
}

/// What becomes of refresh tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refresh {
    /// There are none.
    Absent,
    /// One is good for ever.
    Lasting,
    /// Each use brings the next one; the second use of one ends all that came of the login.
    Rotating,
}

/// Somebody who can log in.
#[derive(Clone, Debug)]
pub struct IssuerPerson {
    /// What they type into the login form.
    pub name: String,
    /// The claims of their tokens, `sub` included.
    pub claims: Map<String, Value>,
}

impl IssuerPerson {
    /// With `sub` and `preferred_username` as the name, a verified address at `example.com`, `amr` of a password, and
    /// no groups.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut claims = Map::new();
        claims.insert("sub".to_owned(), json!(name));
        claims.insert("preferred_username".to_owned(), json!(name));
        claims.insert("email".to_owned(), json!(format!("{name}@example.com")));
        claims.insert("email_verified".to_owned(), json!(true));
        claims.insert("amr".to_owned(), json!(["pwd"]));
        claims.insert("groups".to_owned(), json!([]));
        Self {
            name: name.to_owned(),
            claims,
        }
    }

    /// Sets a claim; `null` leaves it out.
    #[must_use]
    pub fn claim(mut self, name: &str, value: Value) -> Self {
        if value.is_null() {
            self.claims.remove(name);
        } else {
            self.claims.insert(name.to_owned(), value);
        }
        self
    }

    /// Sets the groups.
    #[must_use]
    pub fn groups(self, groups: &[&str]) -> Self {
        self.claim("groups", json!(groups))
    }
}

impl Default for IssuerOptions {
    fn default() -> Self {
        Self {
            people: vec![
                IssuerPerson::new("alice").groups(&["dev"]),
                IssuerPerson::new("bob").groups(&["guests"]),
                IssuerPerson::new("admin")
                    .groups(&["ops"])
                    .claim("roles", json!(["kedge-admin"])),
            ],
            client_id: "kedge".to_owned(),
            algorithm: "RS256".to_owned(),
            token_life: Duration::from_secs(3600),
            port: 0,
            path: String::new(),
            refresh: Refresh::Rotating,
            device_interval: Duration::from_secs(1),
            scopes: ["openid", "profile", "email", "groups", "offline_access"]
                .map(str::to_owned)
                .to_vec(),
            tls: None,
        }
    }
}

/// What an issuer may do wrong. Several hold at once, until [`behave`](super::Issuer::behave).
#[derive(Clone, Debug, PartialEq)]
pub enum Misbehaviour {
    /// The discovery document offers these algorithms for ID tokens.
    Algorithms(Vec<String>),
    /// The authorization endpoint redirects with this error in place of a code.
    AuthorizationError(String),
    /// The discovery document is this text.
    Discovery(String),
    /// The discovery document is a 500.
    DiscoveryError,
    /// The discovery document never ends: a byte now and then.
    DiscoverySlow,
    /// The key set is this text.
    Jwks(String),
    /// The key set is a 500.
    JwksError,
    /// The key set is many megabytes of good JSON.
    JwksHuge,
    /// The key set never ends: a byte now and then.
    JwksSlow,
    /// The redirect after the login has no `iss`, although discovery promises one (RFC 9207).
    MissingIss,
    /// A refresh brings no ID token.
    NoIdTokenOnRefresh,
    /// The revocation endpoint answers with this error code.
    RevocationError(String),
    /// The revocation endpoint never ends its answer.
    RevocationSlow,
    /// The redirect after the login has an `error_description` of this text.
    TokenDescription(String),
    /// The token endpoint answers with this error code: `invalid_grant`, or `server_error` with status 500.
    TokenError(String),
    /// The token endpoint never ends its answer.
    TokenSlow,
    /// Tokens are signed with this algorithm.
    TokensSignedWith(String),
    /// Tokens carry these claims over what is right; `null` leaves one out.
    TokensWith(Map<String, Value>),
    /// The redirect after the login names this issuer (RFC 9207).
    WrongIss(String),
    /// The discovery document names this issuer.
    WrongIssuer(String),
    /// The redirect after the login has another state.
    WrongState,
}
