//! Finding the issuer: what it says about itself is believed only as far as it is its own, and usable.

use kedge_identity::login::LoginFlowError;
use kedge_testkit::issuer::Misbehaviour;
use serde_json::json;

use crate::common::{Meddled, between, chain, client, impatient, issuer};

#[tokio::test]
async fn an_issuer_that_calls_itself_otherwise_is_not_the_one() {
    let issuer = issuer();
    for other in [
        format!("{}/", issuer.url()),
        "https://evil.example".to_owned(),
    ] {
        issuer.misbehave(Misbehaviour::WrongIssuer(other.clone()));
        let error = client(&issuer).discover().await.unwrap_err();
        assert!(
            matches!(error, LoginFlowError::Discovery { .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains(&format!("`{other}`")), "{error}");
        issuer.behave();
    }
}

#[tokio::test]
async fn a_document_that_is_none_is_named() {
    let issuer = issuer();
    for text in [
        "",
        "<html>",
        "{}",
        "[]",
        "{\"issuer\":1}",
        &"[".repeat(100_000),
        "\u{1b}[2J",
    ] {
        issuer.misbehave(Misbehaviour::Discovery(text.to_owned()));
        let error = client(&issuer).discover().await.unwrap_err();
        assert!(
            matches!(error, LoginFlowError::Discovery { .. }),
            "{error:?}"
        );
        let line = error.to_string();
        assert!(
            line.contains(&issuer.url()) && !line.contains('\u{1b}'),
            "{line}"
        );
        issuer.behave();
    }
}

#[tokio::test]
async fn an_issuer_that_cannot_answer_now_is_no_wrong_issuer() {
    let mut issuer = issuer();
    let mut client = client(&issuer);
    client.http = impatient();
    for how in [Misbehaviour::DiscoveryError, Misbehaviour::DiscoverySlow] {
        issuer.misbehave(how);
        let error = client.clone().discover().await.unwrap_err();
        assert!(error.is_unavailable(), "{error:?}");
        assert!(chain(&error).contains(&issuer.url()), "{}", chain(&error));
        issuer.behave();
    }
    let huge = format!("{{\"issuer\":\"{}\"}}", "x".repeat(5_000_000));
    issuer.misbehave(Misbehaviour::Discovery(huge));
    let error = chain(&client.clone().discover().await.unwrap_err());
    assert!(error.contains("longer than"), "{error}");
    issuer.down();
    let error = client.discover().await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
}

#[tokio::test]
async fn redirects_are_not_followed_to_a_document() {
    let issuer = issuer();
    let mut client = client(&issuer);
    let url = issuer.url();
    client.http = between(move |_| {
        let answer = http::Response::builder()
            .status(302)
            .header(
                "location",
                format!("{url}/.well-known/openid-configuration"),
            )
            .body("".into());
        Meddled::Answer(Ok(answer.unwrap()))
    });
    let error = client.discover().await.unwrap_err().to_string();
    assert!(error.contains("302"), "{error}");
    assert_eq!(issuer.requests().len(), 0);
}

#[tokio::test]
async fn tokens_that_could_not_be_believed_are_not_asked_for() {
    let issuer = issuer();
    let algorithms = ["HS256", "none", "RS1\u{202e}"].map(str::to_owned).to_vec();
    issuer.misbehave(Misbehaviour::Algorithms(algorithms));
    let error = client(&issuer).discover().await.unwrap_err().to_string();
    assert!(
        error.contains("signs ID tokens only with HS256, none, RS1"),
        "{error}"
    );
    assert!(!error.contains('\u{202e}'), "{error}");
}

#[tokio::test]
async fn endpoints_elsewhere_without_tls_are_refused() {
    let issuer = issuer();
    let url = issuer.url();
    let document = json!({
        "issuer": url,
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": "http://id.example/token",
        "jwks_uri": format!("{url}/jwks"),
    });
    issuer.misbehave(Misbehaviour::Discovery(document.to_string()));
    let error = client(&issuer).discover().await.unwrap_err().to_string();
    assert!(
        error.contains("token_endpoint `http://id.example/token` is not https"),
        "{error}"
    );
}
