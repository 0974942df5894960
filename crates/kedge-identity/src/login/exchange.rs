//! Requests to an issuer: the `openidconnect` crate writes them and reads their answers. What may be believed of an
//! ID token is not its business: [`Granted`] keeps the token as text, for [`crate::Verifier`].

use std::fmt;
use std::future::Future;

use bytes::Bytes;
use http::StatusCode;
use kedge_api::IssuerUrl;
use kedge_api::text::Printable;
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreErrorResponseType, CoreGenderClaim, CoreJsonWebKey,
    CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreRevocableToken,
    CoreRevocationErrorResponse, CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::{
    AccessToken, AuthType, AuthUrl, Client, ClientId, ClientSecret, EmptyAdditionalClaims,
    EndpointNotSet, EndpointSet, HttpRequest, HttpResponse, IdToken, JsonWebKeySet,
    OAuth2TokenResponse, RefreshToken, RequestTokenError, Scope, StandardErrorResponse,
    TokenResponse, TokenUrl,
};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::defaults;
use super::error::{LoginFlowError, Refusal};
use super::metadata::Metadata;
use super::{LoginClient, Provider};
use crate::http::{HttpClient, HttpError};

/// The client of the `openidconnect` crate, with the answers of token endpoints as [`Granted`].
pub(super) type Flows<Authorization = EndpointSet, Device = EndpointNotSet, Token = EndpointSet> =
    Client<
        EmptyAdditionalClaims,
        CoreAuthDisplay,
        CoreGenderClaim,
        CoreJweContentEncryptionAlgorithm,
        CoreJsonWebKey,
        CoreAuthPrompt,
        StandardErrorResponse<CoreErrorResponseType>,
        Granted,
        CoreTokenIntrospectionResponse,
        CoreRevocableToken,
        CoreRevocationErrorResponse,
        Authorization,
        Device,
        EndpointNotSet,
        EndpointNotSet,
        Token,
        EndpointNotSet,
    >;

/// What can go wrong when a token endpoint is asked.
pub(super) type Failure<E = StandardErrorResponse<CoreErrorResponseType>> =
    RequestTokenError<HttpError, E>;

/// Describes client and issuer to the `openidconnect` crate.
pub(super) fn flows(client: &LoginClient, metadata: &Metadata) -> Result<Flows, LoginFlowError> {
    let issuer = openidconnect::IssuerUrl::new(client.issuer.to_string()).map_err(|error| {
        LoginFlowError::Discovery {
            issuer: client.issuer.clone(),
            cause: error.to_string(),
        }
    })?;
    let id = ClientId::new(client.client_id.clone());
    // No keys: the crate never judges a token here.
    let keys = JsonWebKeySet::default();
    let mut flows = Flows::<EndpointNotSet, EndpointNotSet, EndpointNotSet>::new(id, issuer, keys)
        .disable_openid_scope();
    if let Some(secret) = &client.public_client_secret {
        flows = flows.set_client_secret(ClientSecret::new(secret.clone()));
    }
    let auth = match metadata.secret_in_body {
        true => AuthType::RequestBody,
        false => AuthType::BasicAuth,
    };
    Ok(flows
        .set_auth_type(auth)
        .set_auth_uri(AuthUrl::from_url(metadata.authorization.clone()))
        .set_token_uri(TokenUrl::from_url(metadata.token.clone())))
}

/// Sends what the `openidconnect` crate wrote. An issuer that cannot answer now is no answer.
pub(super) async fn send(
    http: HttpClient,
    request: HttpRequest,
) -> Result<HttpResponse, HttpError> {
    let url = request.uri().to_string();
    let request = request.map(Bytes::from);
    let sent = http.send(request, defaults::ANSWER_BYTES);
    let response = timeout(defaults::REQUEST_TIME, sent)
        .await
        .unwrap_or_else(|_| Err(late(&url)))?;
    let status = response.status();
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        let cause = format!("it answered {status}");
        return Err(HttpError { url, cause });
    }
    Ok(response.map(|body| body.to_vec()))
}

/// Gives an exchange with the issuer a bound over all its steps.
pub(super) async fn within_time<T>(
    url: &str,
    exchange: impl Future<Output = Result<T, HttpError>>,
) -> Result<T, HttpError> {
    timeout(defaults::REQUEST_TIME, exchange)
        .await
        .unwrap_or_else(|_| Err(late(url)))
}

fn late(url: &str) -> HttpError {
    HttpError {
        url: url.to_owned(),
        cause: format!("no answer within {} s", defaults::REQUEST_TIME.as_secs()),
    }
}

impl Provider {
    /// Sends requests for the `openidconnect` crate.
    pub(super) fn sender(&self) -> impl Fn(HttpRequest) -> SendFuture + Send + Sync + use<> {
        let http = self.client.http.clone();
        move |request| Box::pin(send(http.clone(), request))
    }

    /// Says what went wrong at an endpoint. Nothing of the answer is repeated but an issuer's own words of refusal:
    /// there may be tokens in it.
    pub(super) fn failed(&self, url: &str, failure: Failure) -> LoginFlowError {
        match failure {
            RequestTokenError::Request(error) => LoginFlowError::Unreachable(error),
            RequestTokenError::ServerResponse(refused) => refused_by(
                &self.client.issuer,
                refused.error().as_ref(),
                refused.error_description().map(String::as_str),
                url,
            ),
            RequestTokenError::Parse(error, _) => LoginFlowError::answer(url, unread(&error)),
            RequestTokenError::Other(cause) => {
                LoginFlowError::answer(url, Printable::new(&cause).to_string())
            }
        }
    }
}

/// The future of [`Provider::sender`].
pub(super) type SendFuture =
    std::pin::Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send>>;

/// An issuer's refusal, or that it cannot answer now.
pub(super) fn refused_by(
    issuer: &IssuerUrl,
    code: &str,
    description: Option<&str>,
    url: &str,
) -> LoginFlowError {
    let refusal = Refusal::new(code, description);
    match code {
        "server_error" | "temporarily_unavailable" => LoginFlowError::Unreachable(HttpError {
            url: url.to_owned(),
            cause: refusal.to_string(),
        }),
        _ => LoginFlowError::Refused {
            issuer: issuer.clone(),
            refusal,
        },
    }
}

/// Where in an answer the trouble is; the answer itself stays unsaid.
pub(super) fn unread<E>(error: &serde_path_to_error::Error<E>) -> String {
    match error.path().to_string().as_str() {
        "." => "it is not what a token endpoint answers".to_owned(),
        path => format!("its `{}` is not what it must be", Printable::new(path)),
    }
}

/// A token endpoint's answer, as far as a login needs it. The access token is for the issuer's own services: nothing
/// here uses it, so it is not even kept.
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct Granted {
    #[serde(default, skip_serializing)]
    pub(super) id_token: Option<String>,
    #[serde(default, skip_serializing)]
    refresh_token: Option<RefreshToken>,
    #[serde(skip, default = "no_token")]
    access_token: AccessToken,
    #[serde(skip, default = "bearer")]
    token_type: CoreTokenType,
}

fn no_token() -> AccessToken {
    AccessToken::new(String::new())
}

fn bearer() -> CoreTokenType {
    CoreTokenType::Bearer
}

impl fmt::Debug for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Granted").finish_non_exhaustive()
    }
}

impl OAuth2TokenResponse for Granted {
    type TokenType = CoreTokenType;

    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    fn token_type(&self) -> &CoreTokenType {
        &self.token_type
    }

    fn expires_in(&self) -> Option<std::time::Duration> {
        None
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        self.refresh_token.as_ref()
    }

    fn scopes(&self) -> Option<&Vec<Scope>> {
        None
    }
}

impl
    TokenResponse<
        EmptyAdditionalClaims,
        CoreGenderClaim,
        CoreJweContentEncryptionAlgorithm,
        CoreJwsSigningAlgorithm,
    > for Granted
{
    /// None: the token is judged as text, see [`Granted`].
    fn id_token(
        &self,
    ) -> Option<
        &IdToken<
            EmptyAdditionalClaims,
            CoreGenderClaim,
            CoreJweContentEncryptionAlgorithm,
            CoreJwsSigningAlgorithm,
        >,
    > {
        None
    }
}
