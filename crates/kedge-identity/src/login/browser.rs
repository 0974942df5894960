//! The authorization code flow (OpenID Connect Core §3.1), with a browser on this machine.

use std::borrow::Cow;
use std::time::Duration;

use openidconnect::core::CoreResponseType;
use openidconnect::{
    AuthenticationFlow, AuthorizationCode, CsrfToken, Nonce, PkceCodeChallenge, PkceCodeVerifier,
    RedirectUrl, Scope,
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::timeout;
use url::Url;

use super::error::LoginFlowError;
use super::redirect::{Expected, Redirect};
use super::{Provider, TokenSet, defaults};

/// How somebody logs in with a browser.
#[derive(Clone, Copy, Debug)]
pub struct BrowserOptions {
    /// Whether they prove anew who they are, although the issuer knows them from before: for policies that want a
    /// fresh proof.
    pub reauthenticate: bool,
    /// How long they have.
    pub deadline: Duration,
}

impl Default for BrowserOptions {
    fn default() -> Self {
        Self {
            reauthenticate: false,
            deadline: defaults::BROWSER_TIME,
        }
    }
}

/// What was sent along with the browser, and must come back.
struct Sent {
    redirect: RedirectUrl,
    verifier: PkceCodeVerifier,
    nonce: Nonce,
}

impl Provider {
    /// Sends the person's browser to the issuer and waits for its answer on a free port of 127.0.0.1, one of
    /// those that the issuer knows where it wants to know them. `open` is called once, with the address to open, when the
    /// port is there; that it opened nothing is no failure: the person
    /// may open the address themselves, on this machine.
    ///
    /// # Errors
    ///
    /// [`LoginFlowError::Listen`], [`LoginFlowError::PortsTaken`], [`LoginFlowError::Deadline`],
    /// [`LoginFlowError::Refused`], [`LoginFlowError::MixUp`], [`LoginFlowError::Token`], and whatever else an issuer may do. The page in the browser says the same.
    ///
    /// # Cancel safety
    ///
    /// Safe: the port is closed, and a code that was not exchanged yet is worth nothing to anybody.
    pub async fn with_browser(
        &self,
        options: BrowserOptions,
        open: impl FnOnce(&Url),
    ) -> Result<TokenSet, LoginFlowError> {
        let redirect = Redirect::listen(&self.client.issuer, &self.client.redirect_ports).await?;
        let address = redirect.url();
        let begun = (self.client.clock)();
        let redirect_url = RedirectUrl::new(address.clone())
            .map_err(|error| LoginFlowError::answer(&address, error.to_string()))?;
        let (url, state, sent) = self.question(redirect_url, options);
        let expected = Expected {
            state: SecretString::from(state.secret().as_str()),
            issuer: self.client.issuer.clone(),
            names_itself: self.metadata.names_itself,
        };
        open(&url);
        let finish = async |code: SecretString| {
            let (tokens, verified) = self.exchange(&code, sent).await?;
            if options.reauthenticate
                && let Some(at) = verified.authenticated_at
                && at.saturating_add(defaults::REAUTHENTICATION_LEEWAY) < begun
            {
                return Err(LoginFlowError::NotReauthenticated {
                    issuer: self.client.issuer.clone(),
                    at,
                });
            }
            Ok(tokens)
        };
        let after = options.deadline;
        timeout(after, redirect.serve(expected, finish))
            .await
            .unwrap_or(Err(LoginFlowError::Deadline { after }))
    }

    /// The address that the browser is sent to.
    fn question(&self, redirect: RedirectUrl, options: BrowserOptions) -> (Url, CsrfToken, Sent) {
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let flow = AuthenticationFlow::<CoreResponseType>::AuthorizationCode;
        let mut request = self
            .flows
            .authorize_url(flow, CsrfToken::new_random, Nonce::new_random)
            .set_redirect_uri(Cow::Owned(redirect.clone()))
            .set_pkce_challenge(challenge)
            .add_scopes(self.scopes.iter().cloned().map(Scope::new));
        let mut parameters = self.client.authorization_parameters.clone();
        if options.reauthenticate {
            let prompt = anew(parameters.get("prompt").map(String::as_str));
            parameters.insert("prompt".to_owned(), prompt);
            parameters.insert("max_age".to_owned(), "0".to_owned());
        }
        for (name, value) in parameters {
            request = request.add_extra_param(name, value);
        }
        let (url, state, nonce) = request.url();
        let sent = Sent {
            redirect,
            verifier,
            nonce,
        };
        (url, state, sent)
    }

    async fn exchange(
        &self,
        code: &SecretString,
        sent: Sent,
    ) -> Result<(TokenSet, std::sync::Arc<crate::Verified>), LoginFlowError> {
        let code = AuthorizationCode::new(code.expose_secret().to_owned());
        let granted = self
            .flows
            .exchange_code(code)
            .set_pkce_verifier(sent.verifier)
            .set_redirect_uri(Cow::Owned(sent.redirect))
            .request_async(&self.sender())
            .await
            .map_err(|failure| self.failed(self.metadata.token.as_str(), failure))?;
        self.believe(granted, Some(sent.nonce.secret())).await
    }
}

/// `prompt` (OpenID Connect Core §3.1.2.1) for somebody who is to prove anew who they are, with what else the issuer is
/// to ask them: some give refresh tokens to those only who consent.
fn anew(configured: Option<&str>) -> String {
    let others = configured.unwrap_or_default().split_whitespace();
    let others = others.filter(|word| !["login", "none"].contains(word));
    ["login"]
        .into_iter()
        .chain(others)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_logs_in_anew_is_asked_what_they_would_be_asked_otherwise() {
        assert_eq!(anew(None), "login");
        assert_eq!(anew(Some("consent")), "login consent");
        assert_eq!(anew(Some("none")), "login");
        assert_eq!(anew(Some("select_account login")), "login select_account");
    }
}
