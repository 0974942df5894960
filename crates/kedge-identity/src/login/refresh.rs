//! Refresh (OpenID Connect Core §12): another ID token of the same person, without them.

use kedge_api::Subject;
use openidconnect::RefreshToken;
use secrecy::{ExposeSecret as _, SecretString};

use super::error::{LoginFlowError, RefreshError};
use super::{Provider, TokenSet};

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
}
