//! A small OpenID provider on a loopback port: good by default, bad on demand.
//!
//! Threads and the standard library serve it, so it needs no runtime and lives in any test:
//!
//! ```text
//! let issuer = Issuer::start(IssuerOptions::default())?;   // knows alice, bob and admin
//! issuer.url()                                             // what hub.toml's [[issuers]] url is
//! issuer.id_token("alice")?                                // a good ID token, no login needed
//! issuer.sign(json!({"alg": "none"}), issuer.claims("alice")?)?  // any header, any claims
//! issuer.misbehave(Misbehaviour::JwksError);               // until issuer.behave()
//! issuer.rotate()?                                         // other keys from now on
//! issuer.requests()                                        // {"/jwks": 1, "/token": 2, …}
//! issuer.down(); issuer.up()?;                             // refuses connections; back on the same port
//! ```
//!
//! Flows: authorization code with PKCE S256 and `iss` in the redirect (RFC 9207), by a login form that asks for nothing
//! but a name; device authorization (RFC 8628) by a form at `/device`; refresh with rotation; revocation (RFC 7009).
//! The headless browser of [`crate::browser`] fills both forms.

mod endpoints;
mod keys;
mod options;
mod server;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use serde_json::{Map, Value, json};

pub use options::{IssuerOptions, IssuerPerson, Misbehaviour, Refresh};

use server::Server;
use state::State;

/// A running issuer. It ends with this value.
#[derive(Debug)]
pub struct Issuer {
    state: Arc<State>,
    server: Server,
}

impl Issuer {
    /// Makes keys and listens.
    ///
    /// # Errors
    ///
    /// When the port is taken or keys cannot be made.
    pub fn start(options: IssuerOptions) -> Result<Self> {
        let listener = server::bind(options.port)?;
        let state = Arc::new(State::new(options, listener.local_addr()?)?);
        let server = Server::start(listener, Arc::clone(&state))?;
        Ok(Self { state, server })
    }

    /// What it calls itself, exactly: `http://127.0.0.1:PORT` (`https` with a certificate) and the path of its options.
    #[must_use]
    pub fn url(&self) -> String {
        self.state.url().to_owned()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.state.address()
    }

    /// The client people log in with.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.state.options().client_id
    }

    /// A good ID token of somebody, as after a login just now.
    ///
    /// # Errors
    ///
    /// For people it does not know.
    pub fn id_token(&self, person: &str) -> Result<String> {
        let claims = self.state.id_claims(person, None, self.state.now())?;
        self.state.sign_id_token(claims)
    }

    /// A good ID token with other or more claims; `null` leaves one out.
    ///
    /// # Errors
    ///
    /// For people it does not know.
    pub fn id_token_with(&self, person: &str, changes: &Value) -> Result<String> {
        let mut claims = self.state.id_claims(person, None, self.state.now())?;
        state::change(&mut claims, changes.as_object().unwrap_or(&Map::new()));
        self.state.sign_id_token(claims)
    }

    /// The claims of somebody's ID token now: `iss`, `aud`, `sub`, `iat`, `exp`, `auth_time` and their own.
    ///
    /// # Errors
    ///
    /// For people it does not know.
    pub fn claims(&self, person: &str) -> Result<Value> {
        let claims = self.state.id_claims(person, None, self.state.now())?;
        Ok(Value::Object(claims))
    }

    /// Signs any claims under any header. A header without `alg` is given the issuer's algorithm, one without `kid`
    /// the id of the key that signs (`"kid": null` leaves it out). `HS256`, `HS384` and `HS512` are keyed with the PEM
    /// of the public RSA key, as in the attack; `none` has an empty signature.
    ///
    /// # Errors
    ///
    /// For algorithms that it has no key for.
    pub fn sign(&self, header: Value, claims: Value) -> Result<String> {
        self.state.sign(header, claims)
    }

    /// Signs any two texts as header and claims: for JSON with duplicate keys, and for what is no JSON at all.
    ///
    /// # Errors
    ///
    /// For algorithms that it has no key for.
    pub fn sign_text(&self, algorithm: &str, header: &str, claims: &str) -> Result<String> {
        self.state.keys().sign(algorithm, header, claims)
    }

    /// An access token in the form of RFC 9068: signed with the same keys, and no ID token.
    ///
    /// # Errors
    ///
    /// For people it does not know.
    pub fn access_token(&self, person: &str) -> Result<String> {
        self.state.access_token(person)
    }

    /// A logout token (OpenID Connect Back-Channel Logout).
    ///
    /// # Errors
    ///
    /// For people it does not know.
    pub fn logout_token(&self, person: &str) -> Result<String> {
        let mut claims = self.claims(person)?;
        if let Some(claims) = claims.as_object_mut() {
            claims.insert(
                "events".to_owned(),
                json!({ "http://schemas.openid.net/event/backchannel-logout": {} }),
            );
        }
        self.sign(json!({ "typ": "logout+jwt" }), claims)
    }

    /// The id of the key that an algorithm signs with now.
    #[must_use]
    pub fn kid(&self, algorithm: &str) -> String {
        self.state.keys().kid(algorithm)
    }

    /// The public key that an algorithm signs with now, as a JWK.
    ///
    /// # Errors
    ///
    /// When the key cannot be written down.
    pub fn jwk(&self, algorithm: &str) -> Result<Value> {
        self.state.keys().jwk(algorithm)
    }

    /// The key set as it is served when nothing misbehaves.
    ///
    /// # Errors
    ///
    /// When a key cannot be written down.
    pub fn jwks(&self) -> Result<Value> {
        Ok(json!({ "keys": self.state.keys().jwks()? }))
    }

    /// Other keys from now on; the old ones are gone from the key set.
    ///
    /// # Errors
    ///
    /// When keys cannot be made.
    pub fn rotate(&self) -> Result<()> {
        self.state.rotate()
    }

    /// Does one more thing wrong.
    pub fn misbehave(&self, how: Misbehaviour) {
        self.state.misbehave(how);
    }

    /// Does nothing wrong any more.
    pub fn behave(&self) {
        self.state.behave();
    }

    /// Its clock goes this many seconds wrong; less than zero is behind.
    pub fn skew(&self, seconds: i64) {
        self.state.skew(seconds);
    }

    /// Answers to requests so far, by path below its URL: `/jwks`, `/token`, `/.well-known/openid-configuration`.
    #[must_use]
    pub fn requests(&self) -> BTreeMap<String, u64> {
        self.state.requests()
    }

    /// Requests to one path so far.
    #[must_use]
    pub fn requests_to(&self, path: &str) -> u64 {
        self.requests().get(path).copied().unwrap_or_default()
    }

    /// Requests of one grant to the token endpoint so far: `authorization_code`, `refresh_token`, or the device's.
    #[must_use]
    pub fn grants(&self, grant: &str) -> u64 {
        self.state.grants(grant)
    }

    /// Ends a refresh token and all that came of its login, as an administrator would. Answers whether it was good.
    pub fn revoke(&self, refresh_token: &str) -> bool {
        self.state.revoke(refresh_token)
    }

    /// Lets the device in that shows this code, as somebody, without a browser. Answers whether there is one.
    ///
    /// # Errors
    ///
    /// When there is no randomness for the login's id.
    pub fn approve(&self, user_code: &str, person: &str) -> Result<bool> {
        let Some(scope) = self.state.device_scope(user_code) else {
            return Ok(false);
        };
        let login = self.state.login(person, &scope)?;
        Ok(self
            .state
            .answer_device(user_code, state::DeviceAnswer::Approved(login)))
    }

    /// Ends every refresh token of somebody.
    pub fn revoke_all(&self, person: &str) {
        self.state.revoke_all(person);
    }

    /// Replaces what it knows about somebody, or gets to know somebody new. Tokens already out stay as they are.
    pub fn know(&self, person: IssuerPerson) {
        self.state.know(person);
    }

    /// Refuses connections from now on.
    pub fn down(&mut self) {
        self.server.stop();
    }

    /// Listens again on the same port.
    ///
    /// # Errors
    ///
    /// When somebody else took it meanwhile.
    pub fn up(&mut self) -> Result<()> {
        let listener = server::bind(self.state.address().port())?;
        self.server.stop();
        self.server = Server::start(listener, Arc::clone(&self.state))?;
        Ok(())
    }
}
