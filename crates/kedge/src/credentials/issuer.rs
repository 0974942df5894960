//! Asking an issuer, as the hub described it at the login.

use bytes::Bytes;
use kedge_api::rest::IssuerInfo;
use kedge_identity::login::{LoginClient, RefreshError, TokenSet};
use kedge_identity::{HttpClient, HttpError};
use kedge_service::report::chain;
use kedge_tunnel::{DialError, ProxyEnvironment, ProxyPolicy, Timeouts, Trust, WebClient};
use secrecy::SecretString;

use super::stored::OidcLogin;
use crate::defaults;

/// Why a login was not renewed.
#[derive(Debug)]
pub(super) enum Failed {
    /// The issuer cannot be asked as it was described.
    Asking(DialError),
    /// It was asked.
    Refresh(RefreshError),
}

/// What asks an issuer. Its authorities, where the hub names some, are believed here and nowhere else.
///
/// # Errors
///
/// [`DialError::Trust`] when the authorities make no sense.
pub fn client(issuer: &IssuerInfo, proxies: &ProxyEnvironment) -> Result<LoginClient, DialError> {
    Ok(LoginClient {
        issuer: issuer.issuer.clone(),
        client_id: issuer.client_id.clone(),
        public_client_secret: issuer.public_client_secret.clone(),
        scopes: issuer.scopes.clone(),
        authorization_parameters: issuer.authorization_parameters.clone(),
        redirect_ports: issuer.redirect_ports.clone(),
        audiences: issuer.audiences.clone(),
        authorized_parties: issuer.authorized_parties.clone(),
        http: http(issuer, proxies)?,
        clock: || jiff::Timestamp::now().into(),
    })
}

/// Asks for the next ID token.
///
/// # Cancel safety
///
/// Not to be cancelled: the refresh token may be spent already.
pub(super) async fn refresh(
    login: &OidcLogin,
    refresh_token: &SecretString,
    proxies: &ProxyEnvironment,
) -> Result<TokenSet, Failed> {
    let client = client(&login.issuer, proxies).map_err(Failed::Asking)?;
    let renewing = async {
        let provider = client.discover().await?;
        provider.refresh(refresh_token, &login.subject).await
    };
    renewing.await.map_err(Failed::Refresh)
}

fn http(issuer: &IssuerInfo, proxies: &ProxyEnvironment) -> Result<HttpClient, DialError> {
    let trust = match &issuer.certificate_authorities {
        Some(pem) => Trust::Pem(Bytes::from(pem.clone())),
        None => Trust::System,
    };
    let web = WebClient::new(trust, ProxyPolicy::FromEnvironment(proxies.clone()))?
        .with_timeouts(Timeouts {
            answer: defaults::ISSUER_TIME,
            body: defaults::ISSUER_TIME,
            ..Timeouts::default()
        })
        .with_user_agent(concat!("kedge/", env!("CARGO_PKG_VERSION")));
    Ok(HttpClient::new(move |request, limit| {
        let web = web.clone();
        Box::pin(async move {
            // A query may hold what is nobody else's business.
            let url = request.uri().to_string();
            let url = url.split('?').next().unwrap_or_default().to_owned();
            web.fetch(request, limit).await.map_err(|error| HttpError {
                url,
                cause: chain(&error),
            })
        })
    }))
}
