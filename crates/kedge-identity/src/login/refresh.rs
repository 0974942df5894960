//! Refresh (OpenID Connect Core §12): another ID token of the same person, without them.

use kedge_api::Subject;
use openidconnect::RefreshToken;
use secrecy::{ExposeSecret as _, SecretString};

use tokio::time::timeout;

use super::error::{LoginFlowError, RefreshError};
use super::{Provider, TokenSet, defaults};
use crate::error::VerifyError;
use crate::health::IssuerState;

impl Provider {
    /// Trades a refresh token for another ID token, and for another refresh token where the issuer rotates them: the
    /// new one has to be kept, as the old one is spent. The new token must be about `subject`, like the one before.
    ///
    /// # Errors
    ///
    /// [`RefreshError::Rejected`] when only a login helps, [`RefreshError::Unavailable`] when the same may work later,
    /// [`RefreshError::Unusable`] for an answer without an ID token, or with one that does not hold.
    ///
    /// # Cancel safety
    ///
    /// Not safe where the issuer rotates: the answer that is lost had the next token in it.
    pub async fn refresh(
        &self,
        refresh_token: &SecretString,
        subject: &Subject,
    ) -> Result<TokenSet, RefreshError> {
        self.have_keys().await?;
        let token = RefreshToken::new(refresh_token.expose_secret().to_owned());
        let granted = self
            .flows
            .exchange_refresh_token(&token)
            .request_async(&self.sender())
            .await
            .map_err(|failure| self.failed(self.metadata.token.as_str(), failure))?;
        let (tokens, _) = self.believe(granted, None).await?;
        if tokens.subject != *subject {
            return Err(LoginFlowError::OtherPerson {
                issuer: self.client.issuer.clone(),
            }
            .into());
        }
        Ok(tokens)
    }

    /// Has the issuer's keys at hand. Without them the answer could not be believed, and where refresh tokens rotate it
    /// would have cost the one that is good.
    async fn have_keys(&self) -> Result<(), LoginFlowError> {
        let lacking = || match self.verifier.health().pop().map(|health| health.state) {
            Some(IssuerState::Unreachable { cause }) => Some(cause),
            _ => None,
        };
        let mut changes = self.verifier.changes();
        if lacking().is_some() {
            let fetched = async {
                // Whatever came of the fetch; the sender is the verifier's, and stays.
                let _ = changes.changed().await;
            };
            // Late keys show in the health, like none.
            let _ = timeout(defaults::REQUEST_TIME, self.verifier.run(fetched)).await;
        }
        match lacking() {
            Some(cause) => Err(LoginFlowError::Token {
                issuer: self.client.issuer.clone(),
                source: VerifyError::Unavailable {
                    issuer: self.client.issuer.clone(),
                    cause,
                },
            }),
            None => Ok(()),
        }
    }
}
