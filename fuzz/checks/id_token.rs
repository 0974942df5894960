//! What must hold for any text as an ID token, as its header, as its claims, and as what an issuer publishes. Shared by
//! the fuzz target and the test that runs its corpus.

use std::sync::LazyLock;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt;
use http::Response;
use kedge_api::Time;
use kedge_identity::{
    Algorithm, HttpClient, IssuerRules, Verified, Verifier, VerifyError, looks_like_jwt,
    unverified_expiry, unverified_issuer,
};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

/// Reads the text in every place: nothing panics, nothing verifies that the key did not sign, who comes out is who the
/// claims name, and no reason repeats what could do harm.
pub(crate) fn id_token(text: &str) {
    let key = &*KEY;
    let good = sign(key, HEADER, CLAIMS);

    // As the whole token. Whoever has only the text does not have the key.
    let believed = judge(&jwks(key), text);
    assert!(believed.is_err(), "{believed:?}");
    if !looks_like_jwt(text) {
        assert!(unverified_expiry(text).is_none() && unverified_issuer(text).is_none());
    }

    // As claims that the issuer did sign.
    let token = sign(key, HEADER, text);
    if let Ok(verified) = judge(&jwks(key), &token) {
        let claims: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(claims["sub"], verified.subject.as_str());
        assert_eq!(claims["iss"], verified.issuer.as_str());
        assert_eq!(claims["iss"], ISSUER);
        let late = now().saturating_since(verified.expires_at);
        assert!(late < kedge_identity::defaults::LEEWAY, "{late:?}");
        for (name, value) in &verified.claims {
            assert_eq!(claims[name], *value);
        }
        assert_eq!(unverified_expiry(&token), Some(verified.expires_at));
        assert_eq!(unverified_issuer(&token).as_deref(), Some(ISSUER));
    }

    // As a header over good claims: it can only choose what the configuration lists.
    if judge(&jwks(key), &sign(key, text, CLAIMS)).is_ok() {
        let header: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(header["alg"], "EdDSA");
    }

    // As what the issuer publishes: without our key in it, our token is nothing.
    if judge(text, &good).is_ok() {
        let document: Value = serde_json::from_str(text).expect("JSON");
        let keys = document["keys"].as_array().expect("a list");
        assert!(keys.iter().any(|jwk| jwk["x"] == public(key)));
    }
    assert!(
        judge(&jwks(key), &good).is_ok(),
        "this check cannot see what it looks for"
    );
}

fn judge(jwks: &str, token: &str) -> Result<std::sync::Arc<Verified>, VerifyError> {
    let jwks = jwks.to_owned();
    let http = HttpClient::new(move |request, _| {
        let discovery = request.uri().path().starts_with("/.well-known/");
        let answer = if discovery {
            json!({"issuer": ISSUER, "jwks_uri": "https://id.example/jwks"}).to_string()
        } else {
            jwks.clone()
        };
        async move { Ok(Response::new(answer.into())) }.boxed()
    });
    let rules = IssuerRules {
        url: ISSUER.parse().expect("an issuer"),
        audiences: ["kedge".to_owned()].into(),
        authorized_parties: ["kedge".to_owned()].into(),
        algorithms: Algorithm::DEFAULT.to_vec(),
        user_claim: "sub".to_owned(),
        groups_claim: "groups".to_owned(),
        http,
    };
    let verifier = Verifier::new(vec![rules], now);
    let verdict = RUNTIME.block_on(verifier.verify(token));
    if let Err(error) = &verdict {
        let words = error.to_string();
        assert!(
            !words.chars().any(char::is_control) && words.len() < 4096,
            "{words:?}"
        );
    }
    verdict
}

fn now() -> Time {
    "2026-01-01T12:00:00Z".parse().expect("a time")
}

fn sign(key: &Ed25519KeyPair, header: &str, claims: &str) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let signed = format!("{}.{}", encode(header), encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn public(key: &Ed25519KeyPair) -> String {
    URL_SAFE_NO_PAD.encode(key.public_key())
}

fn jwks(key: &Ed25519KeyPair) -> String {
    json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": public(key)}]}).to_string()
}

/// The same in every run, so that what a corpus found is found again. Good for nothing else.
static KEY: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key"));

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime")
});

const ISSUER: &str = "https://id.example";
const HEADER: &str = r#"{"alg":"EdDSA","kid":"k1"}"#;
const CLAIMS: &str =
    r#"{"iss":"https://id.example","sub":"alice","aud":"kedge","iat":1767268700,"exp":1767268900}"#;
