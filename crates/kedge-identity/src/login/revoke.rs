//! Revocation (RFC 7009): a refresh token that nobody is to use any more.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Request, StatusCode, header};
use kedge_api::IssuerUrl;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use thiserror::Error;
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};

use super::Provider;
use super::error::Refusal;
use super::exchange::send;
use crate::http::HttpError;

/// Why a refresh token may still be good at its issuer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RevokeError {
    /// The issuer's answer cannot be used.
    #[error("cannot use the answer of {url}: {cause}")]
    Answer {
        /// What was asked.
        url: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The issuer has no endpoint for it.
    #[error("{issuer} revokes no tokens")]
    NotOffered {
        /// The issuer.
        issuer: IssuerUrl,
    },
    /// The issuer said no.
    #[error("{issuer} refused to revoke the login: {refusal}")]
    Refused {
        /// The issuer.
        issuer: IssuerUrl,
        /// Its words.
        refusal: Refusal,
    },
    /// The issuer cannot be reached, or cannot answer now.
    #[error(transparent)]
    Unreachable(#[from] HttpError),
    /// The issuer revokes other kinds of tokens only (`unsupported_token_type`).
    #[error("{issuer} revokes no refresh tokens")]
    Unsupported {
        /// The issuer.
        issuer: IssuerUrl,
    },
}

/// An issuer's refusal (RFC 6749 §5.2, RFC 7009 §2.2.1).
#[derive(Deserialize)]
struct Refused {
    error: String,
    error_description: Option<String>,
}

impl Provider {
    /// Has the issuer forget a refresh token, and with it whatever it lets live and die with its tokens. One that it
    /// does not know any more is as good as revoked.
    ///
    /// # Errors
    ///
    /// [`RevokeError`]; the token has to be taken for good then.
    ///
    /// # Cancel safety
    ///
    /// Safe: the token may be revoked or not.
    pub async fn revoke(&self, refresh_token: &SecretString) -> Result<(), RevokeError> {
        let issuer = || self.client.issuer.clone();
        let Some(endpoint) = &self.metadata.revocation else {
            return Err(RevokeError::NotOffered { issuer: issuer() });
        };
        let answer = |cause: String| RevokeError::Answer {
            url: endpoint.to_string(),
            cause,
        };
        let request = self
            .revocation(endpoint, refresh_token)
            .map_err(|error| answer(error.to_string()))?;
        let response = send(self.client.http.clone(), request).await?;
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(());
        }
        // A page of whatever stands in front of the issuer is not the issuer's word.
        let Ok(refused) = serde_json::from_slice::<Refused>(response.body()) else {
            return Err(answer(format!("it answered {status}")));
        };
        match refused.error.as_str() {
            "unsupported_token_type" => Err(RevokeError::Unsupported { issuer: issuer() }),
            code => Err(RevokeError::Refused {
                issuer: issuer(),
                refusal: Refusal::new(code, refused.error_description.as_deref()),
            }),
        }
    }

    /// The request of RFC 7009 §2.1. Who has a secret shows it as at the token endpoint.
    fn revocation(
        &self,
        endpoint: &Url,
        refresh_token: &SecretString,
    ) -> Result<Request<Vec<u8>>, http::Error> {
        let mut form = Serializer::new(String::new());
        form.append_pair("token", refresh_token.expose_secret())
            .append_pair("token_type_hint", "refresh_token");
        let mut request = Request::post(endpoint.as_str())
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let id = &self.client.client_id;
        match &self.client.public_client_secret {
            Some(secret) if !self.metadata.secret_in_body => {
                request = request.header(header::AUTHORIZATION, basic(id, secret));
            }
            Some(secret) => {
                form.append_pair("client_id", id)
                    .append_pair("client_secret", secret);
            }
            None => {
                form.append_pair("client_id", id);
            }
        }
        request.body(form.finish().into_bytes())
    }
}

/// A client's name and secret in a header (RFC 6749 §2.3.1).
fn basic(id: &str, secret: &str) -> String {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encoded(id), encoded(secret));
    format!("Basic {}", STANDARD.encode(pair))
}
