//! What the hub says and is told of one server.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use kedge_api::rest::{HostKeyAcceptance, ServerAccess};
use kedge_api::{API_PATH, Login, ServerName};

use super::{Hub, HubError};

impl Hub {
    /// What is needed to start `ssh` to a server.
    ///
    /// # Errors
    ///
    /// [`HubError`]
    ///
    /// # Cancel safety
    ///
    /// As [`Self::discover`].
    pub async fn access(
        &self,
        server: &ServerName,
        login: Option<&Login>,
    ) -> Result<ServerAccess, HubError> {
        let path = access_path(server, login);
        self.read(self.call(Method::GET, &path, None).await?)
    }

    /// The same with a header that [`Self::authorized`] gave for something else that goes on meanwhile: a
    /// token that the hub does not take is that one's to renew.
    ///
    /// # Errors
    ///
    /// [`HubError`]
    ///
    /// # Cancel safety
    ///
    /// As [`Self::discover`].
    pub async fn access_beside(
        &self,
        server: &ServerName,
        login: Option<&Login>,
        authorization: HeaderValue,
    ) -> Result<ServerAccess, HubError> {
        let path = access_path(server, login);
        let mut request = self.request(Method::GET, &path, Bytes::new());
        request
            .headers_mut()
            .insert(header::AUTHORIZATION, authorization);
        self.read(self.answer(request).await?)
    }

    /// Has the hub trust the host keys of these fingerprints from now on.
    ///
    /// # Errors
    ///
    /// [`HubError`]
    ///
    /// # Cancel safety
    ///
    /// The hub may have done it all the same.
    pub async fn accept_host_keys(
        &self,
        server: &ServerName,
        acceptance: &HostKeyAcceptance,
    ) -> Result<(), HubError> {
        let body = serde_json::to_value(acceptance).unwrap_or_default();
        let path = format!("{API_PATH}/servers/{server}/hostkeys");
        self.call(Method::POST, &path, Some(&body)).await.map(drop)
    }
}

fn access_path(server: &ServerName, login: Option<&Login>) -> String {
    let mut path = format!("{API_PATH}/servers/{server}/access");
    if let Some(login) = login {
        let _ = write!(path, "?login={login}");
    }
    path
}
