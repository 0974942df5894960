//! The device flow (RFC 8628): the person logs in on another machine that has a browser, by a code that they see here.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kedge_api::names::is_loopback;
use kedge_api::text::Printable;
use openidconnect::{
    DeviceAuthorizationResponse, DeviceAuthorizationUrl, DeviceCodeErrorResponse,
    DeviceCodeErrorResponseType, EmptyExtraDeviceAuthorizationFields, RequestTokenError, Scope,
};
use tokio::time::{Instant, sleep, timeout};
use url::Url;

use super::error::LoginFlowError;
use super::exchange::{Failure, Granted, refused_by, unread};
use super::{Provider, TokenSet, defaults};

/// What a person at a terminal is to see of a device flow.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum DeviceStep {
    /// Once, at the beginning: what to open elsewhere, and what to type there.
    Code {
        /// The code: up to 64 printable characters.
        user_code: String,
        /// The page where it is typed.
        verification_uri: Url,
        /// The page that knows the code already.
        verification_uri_complete: Option<Url>,
        /// How long the code is good.
        expires_in: Duration,
    },
    /// Before each question whether the code was entered.
    Waiting {
        /// How long the code is still good.
        remaining: Duration,
    },
}

type Authorization = DeviceAuthorizationResponse<EmptyExtraDeviceAuthorizationFields>;

impl Provider {
    /// Gets a code, shows it, and waits until the person has entered it elsewhere. Trouble on the way to the issuer is
    /// no end while the code is good.
    ///
    /// # Errors
    ///
    /// [`LoginFlowError::NoDeviceFlow`], [`LoginFlowError::Expired`], [`LoginFlowError::Refused`] (`access_denied` when
    /// the person said no), and whatever else an issuer may do.
    ///
    /// # Cancel safety
    ///
    /// Safe: the code expires by itself.
    pub async fn with_device(
        &self,
        show: impl FnMut(DeviceStep) + Send,
    ) -> Result<TokenSet, LoginFlowError> {
        let Some(endpoint) = &self.metadata.device else {
            return Err(LoginFlowError::NoDeviceFlow {
                issuer: self.client.issuer.clone(),
            });
        };
        let authorization = self.device_code(endpoint).await?;
        let lifetime = authorization.expires_in().min(defaults::DEVICE_TIME);
        let show = Mutex::new(show);
        let say = |step| (show.lock().unwrap_or_else(PoisonError::into_inner))(step);
        say(shown(&authorization, lifetime)
            .map_err(|cause| LoginFlowError::answer(endpoint.as_str(), cause))?);
        let granted = timeout(lifetime, self.poll(&authorization, lifetime, &say))
            .await
            .unwrap_or(Err(LoginFlowError::Expired))?;
        let (tokens, _) = self.believe(granted, None).await?;
        Ok(tokens)
    }

    async fn device_code(&self, endpoint: &Url) -> Result<Authorization, LoginFlowError> {
        self.flows
            .clone()
            .set_device_authorization_url(DeviceAuthorizationUrl::from_url(endpoint.clone()))
            .exchange_device_code()
            .add_scopes(self.scopes.iter().cloned().map(Scope::new))
            .request_async(&self.sender())
            .await
            .map_err(|failure| self.failed(endpoint.as_str(), failure))
    }

    async fn poll(
        &self,
        authorization: &Authorization,
        lifetime: Duration,
        say: &(impl Fn(DeviceStep) + Sync),
    ) -> Result<Granted, LoginFlowError> {
        let end = Instant::now() + lifetime;
        let pause = |interval: Duration| {
            let remaining = end.saturating_duration_since(Instant::now());
            say(DeviceStep::Waiting { remaining });
            sleep(interval.clamp(defaults::DEVICE_INTERVAL_MIN, defaults::DEVICE_INTERVAL_MAX))
        };
        self.flows
            .exchange_device_access_token(authorization)
            .request_async(&self.sender(), pause, Some(lifetime))
            .await
            .map_err(|failure| self.not_granted(failure))
    }

    fn not_granted(&self, failure: Failure<DeviceCodeErrorResponse>) -> LoginFlowError {
        let url = self.metadata.token.as_str();
        match failure {
            RequestTokenError::Request(error) => LoginFlowError::Unreachable(error),
            RequestTokenError::ServerResponse(refused) => match refused.error() {
                DeviceCodeErrorResponseType::ExpiredToken => LoginFlowError::Expired,
                code => refused_by(
                    &self.client.issuer,
                    code.as_ref(),
                    refused.error_description().map(String::as_str),
                    url,
                ),
            },
            RequestTokenError::Parse(error, _) => LoginFlowError::answer(url, unread(&error)),
            RequestTokenError::Other(cause) => {
                LoginFlowError::answer(url, Printable::new(&cause).to_string())
            }
        }
    }
}

/// What the person is shown; what is wrong with it otherwise.
fn shown(authorization: &Authorization, expires_in: Duration) -> Result<DeviceStep, String> {
    if authorization.interval() > defaults::DEVICE_INTERVAL_MAX {
        let seconds = authorization.interval().as_secs();
        return Err(format!("its `interval` of {seconds} s is too long"));
    }
    let user_code = authorization.user_code().secret();
    let is_typed = |c: char| {
        c == ' '
            || (!c.is_whitespace() && Printable::new(&c.to_string()).to_string() == c.to_string())
    };
    if user_code.is_empty()
        || user_code.chars().count() > defaults::USER_CODE_CHARS
        || !user_code.chars().all(is_typed)
    {
        return Err("its `user_code` is nothing that a person can type".to_owned());
    }
    let page = |text: &str, name: &str| match Url::parse(text) {
        Ok(url) if text.len() <= defaults::ENDPOINT_BYTES && is_page(&url) => Ok(url),
        _ => Err(format!(
            "its `{name}` is no page: `{}`",
            Printable::new(text)
        )),
    };
    Ok(DeviceStep::Code {
        user_code: user_code.clone(),
        verification_uri: page(
            authorization.verification_uri().as_str(),
            "verification_uri",
        )?,
        verification_uri_complete: authorization
            .verification_uri_complete()
            .map(|url| page(url.secret(), "verification_uri_complete"))
            .transpose()?,
        expires_in,
    })
}

/// Whether a person may be sent there.
fn is_page(url: &Url) -> bool {
    let bare = url.username().is_empty() && url.password().is_none();
    bare && (url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url)))
}
