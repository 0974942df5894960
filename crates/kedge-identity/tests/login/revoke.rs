//! Revocation: the way out of a login, and why an issuer was not told of it.

use std::sync::{Arc, Mutex};

use http::header;
use kedge_identity::login::{RefreshError, RevokeError};
use kedge_testkit::issuer::Misbehaviour;
use secrecy::SecretString;
use serde_json::json;

use crate::common::{Meddled, between, chain, client, impatient, issuer, log_in, provider};

fn token() -> SecretString {
    "some-token".into()
}

#[tokio::test]
async fn a_revoked_token_brings_no_other() {
    let issuer = issuer();
    let provider = provider(&issuer).await;
    let tokens = log_in(&provider, "alice").await.0.unwrap();
    let refresh = tokens.refresh_token.unwrap();
    provider.revoke(&refresh).await.unwrap();
    assert_eq!(issuer.requests_to("/revoke"), 1);
    let error = provider
        .refresh(&refresh, &tokens.subject)
        .await
        .unwrap_err();
    assert!(matches!(error, RefreshError::Rejected { .. }), "{error:?}");
    // Who logs out twice is logged out.
    provider.revoke(&refresh).await.unwrap();
    provider.revoke(&token()).await.unwrap();
}

#[tokio::test]
async fn an_issuer_that_cannot_revoke_says_which_it_is() {
    let issuer = issuer();
    let url = issuer.url();
    for (code, expected) in [
        (
            "unsupported_token_type",
            format!("{url} revokes no refresh tokens"),
        ),
        (
            "invalid_client",
            format!("{url} refused to revoke the login: go\\u{{1b}} away (invalid_client)"),
        ),
    ] {
        let provider = provider(&issuer).await;
        issuer.misbehave(Misbehaviour::RevocationError(code.to_owned()));
        issuer.misbehave(Misbehaviour::TokenDescription("go\u{1b} away".to_owned()));
        let error = provider.revoke(&token()).await.unwrap_err();
        assert_eq!(
            matches!(error, RevokeError::Unsupported { .. }),
            code == "unsupported_token_type",
            "{error:?}"
        );
        assert_eq!(error.to_string(), expected);
        issuer.behave();
    }
    let document = json!({
        "issuer": url,
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"),
        "jwks_uri": format!("{url}/jwks"),
    });
    issuer.misbehave(Misbehaviour::Discovery(document.to_string()));
    let error = provider(&issuer).await.revoke(&token()).await.unwrap_err();
    assert!(matches!(error, RevokeError::NotOffered { .. }), "{error:?}");
    assert_eq!(error.to_string(), format!("{url} revokes no tokens"));
}

#[tokio::test]
async fn an_issuer_that_cannot_answer_now_did_not_revoke() {
    let mut issuer = issuer();
    let mut client = client(&issuer);
    client.http = impatient();
    let provider = client.discover().await.unwrap();
    issuer.misbehave(Misbehaviour::RevocationSlow);
    let error = provider.revoke(&token()).await.unwrap_err();
    assert!(matches!(error, RevokeError::Unreachable(_)), "{error:?}");
    assert!(chain(&error).contains("/revoke"), "{}", chain(&error));
    issuer.down();
    let error = provider.revoke(&token()).await.unwrap_err();
    assert!(matches!(error, RevokeError::Unreachable(_)), "{error:?}");
}

#[tokio::test]
async fn only_the_issuers_yes_is_one() {
    let issuer = issuer();
    for (status, kind, text) in [
        (503, "application/json", "{\"error\":\"server_error\"}"),
        (429, "text/html", ""),
        (404, "text/html", "<html>hunter2 \u{1b}"),
        (302, "text/html", ""),
        (400, "application/json", "{\"error\":{}}"),
        (400, "application/json", "[[[["),
    ] {
        let mut client = client(&issuer);
        client.http = between(move |request| match request.uri().path() {
            "/revoke" => Meddled::Answer(Ok(http::Response::builder()
                .status(status)
                .header("content-type", kind)
                .body(text.into())
                .unwrap())),
            _ => Meddled::Pass(request),
        });
        let provider = client.discover().await.unwrap();
        let error = provider.revoke(&token()).await.unwrap_err();
        assert_eq!(
            matches!(error, RevokeError::Unreachable(_)),
            status > 404,
            "{status}: {error:?}"
        );
        let said = format!("{} {error:?}", chain(&error));
        assert!(said.contains(&status.to_string()), "{said}");
        for hidden in ["hunter2", "some-token", "\u{1b}"] {
            assert!(!said.contains(hidden), "{said}");
        }
    }
}

#[tokio::test]
async fn what_is_asked_is_what_rfc_7009_says() {
    let issuer = issuer();
    let post = json!(["client_secret_post"]);
    let basic = json!(["client_secret_basic"]);
    // The header is `a%2Bb:s%26t`, as RFC 6749 §2.3.1 has it.
    for (secret, methods, pairs, authorization) in [
        (None, &basic, "&client_id=a%2Bb", None),
        (
            Some("s&t"),
            &post,
            "&client_id=a%2Bb&client_secret=s%26t",
            None,
        ),
        (Some("s&t"), &basic, "", Some("Basic YSUyQmI6cyUyNnQ=")),
    ] {
        let url = issuer.url();
        let document = json!({
            "issuer": url,
            "authorization_endpoint": format!("{url}/authorize"),
            "token_endpoint": format!("{url}/token"),
            "revocation_endpoint": format!("{url}/revoke?tenant=7"),
            "token_endpoint_auth_methods_supported": methods,
        });
        issuer.misbehave(Misbehaviour::Discovery(document.to_string()));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let mut client = client(&issuer);
        client.client_id = "a+b".to_owned();
        client.public_client_secret = secret.map(str::to_owned);
        client.http = between(move |request| match request.uri().path() {
            "/revoke" => {
                seen.lock().unwrap().push(request);
                Meddled::json(200, &json!({}))
            }
            _ => Meddled::Pass(request),
        });
        let provider = client.discover().await.unwrap();
        provider.revoke(&"a/b=c".into()).await.unwrap();
        issuer.behave();
        let asked = asked.lock().unwrap();
        let [request] = asked.as_slice() else {
            panic!("{asked:?}")
        };
        assert_eq!(request.method(), "POST");
        assert_eq!(request.uri().query(), Some("tenant=7"));
        assert_eq!(
            request.headers()[header::CONTENT_TYPE],
            "application/x-www-form-urlencoded"
        );
        assert_eq!(
            std::str::from_utf8(request.body()).unwrap(),
            format!("token=a%2Fb%3Dc&token_type_hint=refresh_token{pairs}")
        );
        let header = request.headers().get(header::AUTHORIZATION);
        assert_eq!(header.map(|value| value.to_str().unwrap()), authorization);
    }
}
