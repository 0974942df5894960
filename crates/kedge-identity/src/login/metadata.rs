//! What an issuer says about itself (OpenID Connect Discovery §3, RFC 8414 §2, RFC 9207 §3), as far as logging in
//! needs it.

use http::{Request, header};
use kedge_api::IssuerUrl;
use kedge_api::names::is_loopback;
use kedge_api::text::Printable;
use serde::Deserialize;
use url::Url;

use super::defaults;
use super::error::LoginFlowError;
use super::exchange::within_time;
use crate::http::HttpClient;
use crate::rules::Algorithm;

/// An issuer's endpoints, checked.
#[derive(Clone, Debug)]
pub(super) struct Metadata {
    pub(super) authorization: Url,
    pub(super) token: Url,
    /// None where the device flow is not offered.
    pub(super) device: Option<Url>,
    /// None where tokens cannot be revoked.
    pub(super) revocation: Option<Url>,
    /// Whether the redirect always names its issuer.
    pub(super) names_itself: bool,
    /// What ID tokens may be signed with.
    pub(super) algorithms: Vec<Algorithm>,
    /// None when the issuer does not list them.
    pub(super) scopes: Option<Vec<String>>,
    /// Whether a client's secret goes into the body of a request.
    pub(super) secret_in_body: bool,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    device_authorization_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    id_token_signing_alg_values_supported: Option<Vec<String>>,
    scopes_supported: Option<Vec<String>>,
    grant_types_supported: Option<Vec<String>>,
    response_types_supported: Option<Vec<String>>,
    code_challenge_methods_supported: Option<Vec<String>>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

impl Metadata {
    /// Fetches and checks the discovery document.
    pub(super) async fn fetch(
        issuer: &IssuerUrl,
        http: &HttpClient,
    ) -> Result<Self, LoginFlowError> {
        let url = issuer.discovery_url();
        let request = Request::get(&url)
            .header(header::ACCEPT, "application/json")
            .body(bytes::Bytes::new())
            .map_err(|error| LoginFlowError::answer(&url, error.to_string()))?;
        let response = within_time(&url, http.send(request, defaults::METADATA_BYTES)).await?;
        let status = response.status();
        if status.is_server_error() {
            return Err(crate::http::HttpError {
                url,
                cause: format!("it answered {status}"),
            }
            .into());
        }
        let refused = |cause: String| LoginFlowError::Discovery {
            issuer: issuer.clone(),
            cause,
        };
        if !status.is_success() {
            return Err(refused(format!("{url} answered {status}")));
        }
        let document: Document = serde_json::from_slice(response.body())
            .map_err(|error| refused(Printable::new(&error.to_string()).to_string()))?;
        Self::check(document, issuer)
    }

    fn check(document: Document, issuer: &IssuerUrl) -> Result<Self, LoginFlowError> {
        let refused = |cause: String| LoginFlowError::Discovery {
            issuer: issuer.clone(),
            cause,
        };
        if document.issuer != issuer.as_str() {
            let other = Printable::new(&document.issuer);
            return Err(refused(format!("it is the document of `{other}`")));
        }
        let lacks = |list: &Option<Vec<String>>, what: &str| {
            list.as_ref()
                .is_some_and(|list| !list.iter().any(|one| one == what))
        };
        if lacks(&document.response_types_supported, "code") {
            return Err(refused("there is no authorization code flow".to_owned()));
        }
        if lacks(&document.code_challenge_methods_supported, "S256") {
            return Err(refused("there is no PKCE with S256".to_owned()));
        }
        let named = |name: &str, url: &str| {
            endpoint(issuer, url).map_err(|cause| refused(format!("its {name} {cause}")))
        };
        let device = match &document.device_authorization_endpoint {
            Some(url) if !lacks(&document.grant_types_supported, DEVICE_GRANT) => {
                Some(named("device_authorization_endpoint", url)?)
            }
            _ => None,
        };
        let revocation = document.revocation_endpoint.as_deref();
        let revocation = revocation.map(|url| named("revocation_endpoint", url));
        Ok(Self {
            authorization: named("authorization_endpoint", &document.authorization_endpoint)?,
            token: named("token_endpoint", &document.token_endpoint)?,
            device,
            revocation: revocation.transpose()?,
            names_itself: document.authorization_response_iss_parameter_supported,
            algorithms: algorithms(document.id_token_signing_alg_values_supported, issuer)?,
            scopes: document.scopes_supported,
            secret_in_body: !lacks(
                &Some(
                    document
                        .token_endpoint_auth_methods_supported
                        .unwrap_or_default(),
                ),
                "client_secret_post",
            ),
        })
    }
}

/// What may be believed of what the issuer signs with.
fn algorithms(
    offered: Option<Vec<String>>,
    issuer: &IssuerUrl,
) -> Result<Vec<Algorithm>, LoginFlowError> {
    let Some(offered) = offered else {
        return Ok(Algorithm::DEFAULT.to_vec());
    };
    let known: Vec<Algorithm> = offered
        .iter()
        .filter_map(|name| name.parse().ok())
        .collect();
    if known.is_empty() {
        let offered = offered.join(", ");
        return Err(LoginFlowError::NoAlgorithm {
            issuer: issuer.clone(),
            offered: Printable::new(&offered).to_string(),
        });
    }
    Ok(known)
}

/// An endpoint's URL: `https`, or plain where the issuer itself is plain, on this machine.
fn endpoint(issuer: &IssuerUrl, text: &str) -> Result<Url, String> {
    if text.len() > defaults::ENDPOINT_BYTES {
        return Err(format!("has more than {} bytes", defaults::ENDPOINT_BYTES));
    }
    let shown = Printable::new(text);
    let url = Url::parse(text).map_err(|error| format!("`{shown}` is no URL: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err("has a user name, a password or a fragment in it".to_owned());
    }
    let secure = match url.scheme() {
        "https" => true,
        "http" => issuer.as_str().starts_with("http://") && is_loopback(&url),
        _ => false,
    };
    if secure {
        Ok(url)
    } else {
        Err(format!("`{shown}` is not https"))
    }
}

/// The grant type of RFC 8628 §3.4.
const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ISSUER: &str = "https://id.example/realms/main";

    fn document(changes: Value) -> Result<Metadata, LoginFlowError> {
        let mut document = json!({
            "issuer": ISSUER,
            "authorization_endpoint": "https://id.example/auth?realm=main",
            "token_endpoint": "https://token.id.example/token",
        });
        let fields = document.as_object_mut().unwrap();
        for (name, value) in changes.as_object().unwrap() {
            fields.insert(name.clone(), value.clone());
        }
        let issuer: IssuerUrl = ISSUER.parse().unwrap();
        Metadata::check(serde_json::from_value(document).unwrap(), &issuer)
    }

    #[test]
    fn the_least_document_will_do() {
        let metadata = document(json!({})).unwrap();
        assert_eq!(metadata.algorithms, Algorithm::DEFAULT);
        assert!(metadata.device.is_none() && !metadata.names_itself && metadata.scopes.is_none());
        assert!(metadata.revocation.is_none());
        assert!(!metadata.secret_in_body, "basic is the default");
    }

    #[test]
    fn another_issuer_by_a_slash_is_another_issuer() {
        for other in [
            "https://id.example/realms/main/",
            "https://id.example/realms/other",
            "https://ID.example/realms/main",
            "\u{202e}https://id.example",
        ] {
            let error = document(json!({ "issuer": other }))
                .unwrap_err()
                .to_string();
            assert!(error.starts_with(
                "cannot use the discovery document of https://id.example/realms/main: it is the document of `"
            ), "{error}");
            assert!(!error.contains('\u{202e}'));
        }
    }

    #[test]
    fn endpoints_are_safe_to_send_secrets_to() {
        let long = format!("https://id.example/{}", "x".repeat(5000));
        for bad in [
            "http://id.example/token",
            "http://127.0.0.1/token",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "https://user:password@id.example/token",
            "https://id.example/token#x",
            "/token",
            "",
            long.as_str(),
        ] {
            for endpoint in [
                "authorization_endpoint",
                "token_endpoint",
                "device_authorization_endpoint",
                "revocation_endpoint",
            ] {
                let error = document(json!({ endpoint: bad })).unwrap_err().to_string();
                assert!(error.contains(endpoint), "{error}");
                assert!(!error.contains("password@"), "{error}");
            }
        }
    }

    #[test]
    fn what_is_needed_must_be_offered_where_it_is_listed() {
        for (changes, cause) in [
            (
                json!({ "code_challenge_methods_supported": ["plain"] }),
                "S256",
            ),
            (
                json!({ "response_types_supported": ["id_token"] }),
                "code flow",
            ),
            (
                json!({ "id_token_signing_alg_values_supported": ["HS256", "none"] }),
                "HS256, none",
            ),
        ] {
            let error = document(changes).unwrap_err().to_string();
            assert!(error.contains(cause), "{error}");
        }
        let metadata = document(json!({
            "id_token_signing_alg_values_supported": ["HS256", "ES256", "none", "ES256K"],
        }));
        assert_eq!(metadata.unwrap().algorithms, [Algorithm::Es256]);
    }

    #[test]
    fn the_device_flow_needs_an_endpoint_and_its_grant() {
        let url = "https://id.example/device";
        let offered = |grants: Value| {
            let mut changes = json!({ "device_authorization_endpoint": url });
            if !grants.is_null() {
                changes["grant_types_supported"] = grants;
            }
            document(changes).unwrap().device.is_some()
        };
        assert!(offered(Value::Null));
        assert!(offered(json!(["authorization_code", DEVICE_GRANT])));
        assert!(!offered(json!(["authorization_code"])));
    }
}
