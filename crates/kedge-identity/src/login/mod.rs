//! Logging in: how a person with a browser, a person without one, or whoever was logged in before comes by an ID token.
//!
//! ```text
//!   LoginClient ── discover ──► Provider ── with_browser ──► authorization code, PKCE, loopback ──┐
//!                                        ├─ with_device ───► a code to enter elsewhere ───────────┼──► TokenSet
//!                                        └─ refresh ───────► no person at all ────────────────────┘
//! ```
//!
//! * Authorization code flow with PKCE S256 (RFC 7636), `state`, `nonce` and the issuer's name in its answer (RFC 9207),
//!   on a loopback redirect of 127.0.0.1 (RFC 8252 §7.3); device flow (RFC 8628); refresh (OpenID Connect Core §12).
//! * The way out is [`Provider::revoke`]: the refresh token is good no more (RFC 7009).
//! * Whatever the flow, the ID token is judged by [`Verifier`], as the hub judges it, before anybody has it.
//! * Requests go through the caller's [`HttpClient`]; nothing is stored, printed or opened here.

mod browser;
pub mod defaults;
mod device;
mod error;
mod exchange;
mod metadata;
mod page;
mod redirect;
mod refresh;
mod revoke;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use kedge_api::defaults::{
    AUDIENCES_MAX, CLIENT_ID_MAX_BYTES, REDIRECT_PORT_MIN, REDIRECT_PORTS_MAX,
};
use kedge_api::rest::OWN_PARAMETERS;
use kedge_api::{IssuerUrl, Subject, Time};
use openidconnect::OAuth2TokenResponse as _;
use secrecy::SecretString;

pub use browser::BrowserOptions;
pub use device::DeviceStep;
pub use error::{LoginFlowError, RefreshError, Refusal};
pub use revoke::RevokeError;

use crate::http::HttpClient;
use crate::rules::IssuerRules;
use crate::{Verified, Verifier};
use exchange::{Flows, Granted};
use metadata::Metadata;

/// A client of an issuer, as the hub's discovery document describes it.
#[derive(Clone, Debug)]
pub struct LoginClient {
    /// The issuer, exactly as it calls itself.
    pub issuer: IssuerUrl,
    /// Which client we are to it.
    pub client_id: String,
    /// What some issuers want from installed applications, and which is therefore no secret.
    pub public_client_secret: Option<String>,
    /// What is asked for; what the issuer does not offer is left out.
    pub scopes: Vec<String>,
    /// What else the authorization endpoint is told, such as `prompt` or `access_type`.
    pub authorization_parameters: BTreeMap<String, String>,
    /// The ports of 127.0.0.1 that the issuer may send the browser back to, in the order they are tried; none means any.
    pub redirect_ports: Vec<u16>,
    /// Audiences (`aud`) of an ID token that are accepted besides `client_id`, because the hub accepts them.
    pub audiences: BTreeSet<String>,
    /// Authorized parties (`azp`) of an ID token that are accepted besides `client_id`, for the same reason.
    pub authorized_parties: BTreeSet<String>,
    /// How to reach the issuer.
    pub http: HttpClient,
    /// What time it is.
    pub clock: fn() -> Time,
}

/// An issuer that was found, and can be logged in at.
pub struct Provider {
    client: LoginClient,
    metadata: Metadata,
    scopes: Vec<String>,
    flows: Flows,
    verifier: Verifier,
}

/// What a login brings.
pub struct TokenSet {
    /// Who somebody is, signed by the issuer, and believed.
    pub id_token: SecretString,
    /// How to get the next one without the person.
    pub refresh_token: Option<SecretString>,
    /// When the ID token ends.
    pub expires_at: Time,
    /// When the ID token was made, by the issuer's clock.
    pub issued_at: Time,
    /// Who it is to the issuer.
    pub subject: Subject,
}

impl LoginClient {
    /// Finds the issuer's endpoints.
    ///
    /// # Errors
    ///
    /// [`LoginFlowError::Unreachable`], [`LoginFlowError::Discovery`], [`LoginFlowError::NoAlgorithm`], and
    /// [`LoginFlowError::Parameter`] for parameters that are not the hub's to choose.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn discover(self) -> Result<Provider, LoginFlowError> {
        self.check()?;
        let metadata = Metadata::fetch(&self.issuer, &self.http).await?;
        let flows = exchange::flows(&self, &metadata)?;
        let rules = IssuerRules {
            url: self.issuer.clone(),
            audiences: self.with_client(&self.audiences),
            authorized_parties: self.with_client(&self.authorized_parties),
            algorithms: metadata.algorithms.clone(),
            user_claim: "sub".to_owned(),
            // The hub's business, and under the name that its configuration has for them.
            groups_claim: String::new(),
            http: self.http.clone(),
        };
        Ok(Provider {
            scopes: scopes(&self.scopes, metadata.scopes.as_deref()),
            verifier: Verifier::new(vec![rules], self.clock),
            client: self,
            metadata,
            flows,
        })
    }

    fn with_client(&self, accepted: &BTreeSet<String>) -> BTreeSet<String> {
        let mut accepted = accepted.clone();
        accepted.insert(self.client_id.clone());
        accepted
    }

    /// What a hub, honest or not, may not make us do.
    fn check(&self) -> Result<(), LoginFlowError> {
        let refused = |what, name: &str| LoginFlowError::Parameter {
            what,
            name: name.to_owned(),
        };
        if let Some(name) = self
            .authorization_parameters
            .keys()
            .find(|name| OWN_PARAMETERS.contains(&name.as_str()))
        {
            return Err(refused("parameter", name));
        }
        // RFC 6749 §3.3.
        let is_scope = |scope: &str| {
            !scope.is_empty()
                && scope
                    .bytes()
                    .all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
        };
        if let Some(scope) = self.scopes.iter().find(|scope| !is_scope(scope)) {
            return Err(refused("scope", scope));
        }
        let mut ports = self.redirect_ports.iter().enumerate();
        if let Some((_, port)) =
            ports.find(|(index, port)| *index >= REDIRECT_PORTS_MAX || **port < REDIRECT_PORT_MIN)
        {
            return Err(refused("redirect port", &port.to_string()));
        }
        for (what, texts) in [
            ("audience", &self.audiences),
            ("authorized party", &self.authorized_parties),
        ] {
            let mut texts = texts.iter().enumerate();
            if let Some((_, text)) = texts
                .find(|(index, text)| *index >= AUDIENCES_MAX || text.len() > CLIENT_ID_MAX_BYTES)
            {
                return Err(refused(what, text));
            }
        }
        Ok(())
    }
}

impl Provider {
    /// Whether the issuer offers the device flow. It may still refuse it to this client.
    #[must_use]
    pub fn supports_device(&self) -> bool {
        self.metadata.device.is_some()
    }

    /// The issuer.
    #[must_use]
    pub fn issuer(&self) -> &IssuerUrl {
        &self.client.issuer
    }

    /// Judges the ID token of an answer.
    async fn believe(
        &self,
        granted: Granted,
        nonce: Option<&str>,
    ) -> Result<(TokenSet, Arc<Verified>), LoginFlowError> {
        let issuer = &self.client.issuer;
        let Some(token) = granted.id_token.as_deref() else {
            return Err(LoginFlowError::NoIdToken {
                issuer: issuer.clone(),
            });
        };
        let verified = match nonce {
            Some(nonce) => self.verifier.verify_answer(token, nonce).await,
            None => self.verifier.verify(token).await,
        };
        let verified = verified.map_err(|source| LoginFlowError::Token {
            issuer: issuer.clone(),
            source,
        })?;
        let tokens = TokenSet {
            id_token: SecretString::from(token),
            refresh_token: granted
                .refresh_token()
                .map(|token| SecretString::from(token.secret().as_str())),
            expires_at: verified.expires_at,
            issued_at: verified.issued_at,
            subject: verified.subject.clone(),
        };
        Ok((tokens, verified))
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("issuer", &self.client.issuer)
            .field("client_id", &self.client.client_id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for TokenSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSet")
            .field("subject", &self.subject)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// What to ask for: what is wanted and offered, each once, `openid` always (OpenID Connect Core §3.1.2.1).
fn scopes(wanted: &[String], offered: Option<&[String]>) -> Vec<String> {
    let mut scopes = vec!["openid".to_owned()];
    for scope in wanted {
        let is_offered = offered.is_none_or(|offered| offered.contains(scope));
        if is_offered && !scopes.contains(scope) {
            scopes.push(scope.clone());
        }
    }
    scopes
}

#[cfg(test)]
mod tests;
