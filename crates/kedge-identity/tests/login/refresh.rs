//! Refresh: another token of the same person, or a reason that says whether a login helps.

use kedge_api::Subject;
use kedge_identity::login::{Provider, RefreshError, TokenSet};
use kedge_testkit::issuer::{Issuer, IssuerOptions, Misbehaviour, Refresh};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use crate::common::{Meddled, between, chain, claims, client, impatient, issuer, log_in, provider};

async fn logged_in(issuer: &Issuer) -> TokenSet {
    let (result, _) = log_in(&provider(issuer).await, "alice").await;
    result.unwrap()
}

async fn refresh(provider: &Provider, tokens: &TokenSet) -> Result<TokenSet, RefreshError> {
    let token = tokens.refresh_token.as_ref().unwrap();
    provider.refresh(token, &tokens.subject).await
}

#[tokio::test]
async fn a_refresh_brings_another_token_and_what_follows_it() {
    for (kind, rotates) in [(Refresh::Rotating, true), (Refresh::Lasting, false)] {
        let issuer = Issuer::start(IssuerOptions {
            refresh: kind,
            ..IssuerOptions::default()
        })
        .unwrap();
        let provider = provider(&issuer).await;
        let first = logged_in(&issuer).await;
        let second = refresh(&provider, &first).await.unwrap();
        assert_eq!(second.subject, first.subject);
        let secret = |tokens: &TokenSet| {
            let token = tokens.refresh_token.as_ref();
            token.map(|token| token.expose_secret().to_owned())
        };
        if rotates {
            assert_ne!(secret(&second).unwrap(), secret(&first).unwrap());
            // The first one is spent, and showing it again ends all that came of the login.
            for spent in [&first, &second] {
                let error = refresh(&provider, spent).await.unwrap_err();
                assert!(matches!(error, RefreshError::Rejected { .. }), "{error:?}");
            }
        } else {
            refresh(&provider, &first).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_token_that_is_good_no_more_is_rejected_and_so_told() {
    let issuer = issuer();
    let provider = provider(&issuer).await;
    let tokens = logged_in(&issuer).await;
    issuer.revoke_all("alice");
    issuer.misbehave(Misbehaviour::TokenDescription(
        "Session\u{1b} not active".to_owned(),
    ));
    let error = refresh(&provider, &tokens).await.unwrap_err();
    let RefreshError::Rejected { refusal, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(refusal.code, "invalid_grant");
    assert_eq!(
        error.to_string(),
        format!(
            "{} refused to refresh the login: Session\\u{{1b}} not active (invalid_grant)",
            issuer.url()
        )
    );
    let never: SecretString = "never-was".into();
    let error = provider.refresh(&never, &tokens.subject).await.unwrap_err();
    assert!(matches!(error, RefreshError::Rejected { .. }), "{error:?}");
}

#[tokio::test]
async fn an_issuer_that_cannot_answer_now_rejects_nothing() {
    let mut issuer = issuer();
    let tokens = logged_in(&issuer).await;
    let mut client = client(&issuer);
    client.http = impatient();
    let provider = client.discover().await.unwrap();
    for how in [
        Misbehaviour::TokenError("server_error".to_owned()),
        Misbehaviour::TokenError("temporarily_unavailable".to_owned()),
        Misbehaviour::TokenSlow,
    ] {
        issuer.misbehave(how.clone());
        let error = refresh(&provider, &tokens).await.unwrap_err();
        assert!(
            matches!(error, RefreshError::Unavailable(_)),
            "{how:?}: {error:?}"
        );
        assert!(chain(&error).contains("/token"), "{}", chain(&error));
        issuer.behave();
    }
    issuer.down();
    let error = refresh(&provider, &tokens).await.unwrap_err();
    assert!(matches!(error, RefreshError::Unavailable(_)), "{error:?}");
    issuer.up().unwrap();
    refresh(&provider, &tokens).await.unwrap();
}

#[tokio::test]
async fn keys_that_cannot_be_had_cost_no_refresh_token() {
    let issuer = issuer();
    let tokens = logged_in(&issuer).await;
    for how in [Misbehaviour::JwksError, Misbehaviour::JwksSlow] {
        let mut client = client(&issuer);
        client.http = impatient();
        let provider = client.discover().await.unwrap();
        issuer.misbehave(how);
        let error = refresh(&provider, &tokens).await.unwrap_err();
        assert!(matches!(error, RefreshError::Unavailable(_)), "{error:?}");
        assert!(chain(&error).contains("/jwks"), "{}", chain(&error));
        issuer.behave();
    }
    // Where tokens rotate, one that had been shown would be good no more.
    assert_eq!(issuer.grants("refresh_token"), 0);
    refresh(&provider(&issuer).await, &tokens).await.unwrap();
}

#[tokio::test]
async fn an_answer_without_an_id_token_says_so() {
    let issuer = issuer();
    let tokens = logged_in(&issuer).await;
    issuer.misbehave(Misbehaviour::NoIdTokenOnRefresh);
    let error = refresh(&provider(&issuer).await, &tokens)
        .await
        .unwrap_err();
    assert!(matches!(error, RefreshError::Unusable(_)), "{error:?}");
    assert_eq!(
        chain(&error),
        format!(
            "cannot use the refreshed login: {} sent no ID token",
            issuer.url()
        )
    );
}

#[tokio::test]
async fn another_person_is_not_who_was_logged_in() {
    let issuer = issuer();
    let provider = provider(&issuer).await;
    for change in [
        json!({ "sub": "bob" }),
        json!({ "iss": "https://evil.example" }),
    ] {
        let tokens = logged_in(&issuer).await;
        issuer.misbehave(Misbehaviour::TokensWith(claims(change.clone())));
        let error = refresh(&provider, &tokens).await.unwrap_err();
        assert!(
            matches!(error, RefreshError::Unusable(_)),
            "{change}: {error:?}"
        );
        issuer.behave();
    }
    let tokens = logged_in(&issuer).await;
    let bob: Subject = "bob".parse().unwrap();
    let token = tokens.refresh_token.unwrap();
    let error = chain(&provider.refresh(&token, &bob).await.unwrap_err());
    assert!(
        error.ends_with("refreshed the login of another person"),
        "{error}"
    );
}

#[tokio::test]
async fn a_page_in_place_of_an_answer_is_no_rejection() {
    let issuer = issuer();
    let tokens = logged_in(&issuer).await;
    for (status, kind) in [(404, "text/html"), (403, "text/html"), (200, "text/html")] {
        let mut client = client(&issuer);
        client.http = between(move |request| match request.uri().path() {
            "/token" => Meddled::Answer(Ok(http::Response::builder()
                .status(status)
                .header("content-type", kind)
                .body("<html>hunter2 \u{1b}".into())
                .unwrap())),
            _ => Meddled::Pass(request),
        });
        let provider = client.discover().await.unwrap();
        let error = refresh(&provider, &tokens).await.unwrap_err();
        assert!(matches!(error, RefreshError::Unusable(_)), "{error:?}");
        let text = format!("{} {error:?}", chain(&error));
        assert!(
            !text.contains("hunter2") && !text.contains('\u{1b}'),
            "{text}"
        );
    }
}
