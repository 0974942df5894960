//! The issuer must be good before it is bad: each flow is gone through, and each signature is checked by other code.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;
use crate::browser::Browser;
use crate::form;

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
/// Of [`VERIFIER`], as RFC 7636 appendix B has it.
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
/// Nobody listens on the discard port; what matters is the redirect itself.
const REDIRECT: &str = "http://127.0.0.1:9/callback";

fn issuer() -> Issuer {
    Issuer::start(IssuerOptions::default()).unwrap()
}

fn decoded(part: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(part).unwrap()
}

fn claims_of(token: &str) -> Value {
    serde_json::from_slice(&decoded(token.split('.').nth(1).unwrap())).unwrap()
}

fn post(issuer: &Issuer, path: &str, pairs: &[(&str, &str)]) -> (u16, Value) {
    let body = form::encode(pairs.iter().copied());
    let mut stream = std::net::TcpStream::connect(issuer.address()).unwrap();
    let head = format!(
        "POST {}{path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        issuer.state.path(),
        body.len()
    );
    std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
    let reply = crate::reply::Reply::read(&mut stream).unwrap();
    (reply.status, reply.json().unwrap_or_default())
}

/// Goes through the login form and answers the parameters of the redirect.
fn log_in(issuer: &Issuer, person: &str) -> Vec<(String, String)> {
    let query = form::encode([
        ("response_type", "code"),
        ("client_id", "kedge"),
        ("redirect_uri", REDIRECT),
        ("scope", "openid offline_access"),
        ("state", "the state"),
        ("nonce", "the nonce"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ]);
    let mut browser = Browser::new(person);
    // The redirect leads to nobody, which the browser takes for an error.
    let failed = browser.open(&format!("{}/authorize?{query}", issuer.url()));
    let failed = format!("{:#}", failed.unwrap_err());
    let (_, query) = failed.split_once(&format!("{REDIRECT}?")).unwrap();
    form::decode(query.split([':', ' ']).next().unwrap())
}

fn exchange(issuer: &Issuer, code: &str) -> (u16, Value) {
    post(
        issuer,
        "/token",
        &[
            ("grant_type", "authorization_code"),
            ("client_id", "kedge"),
            ("code", code),
            ("redirect_uri", REDIRECT),
            ("code_verifier", VERIFIER),
        ],
    )
}

fn refresh(issuer: &Issuer, token: &Value) -> (u16, Value) {
    post(
        issuer,
        "/token",
        &[
            ("grant_type", "refresh_token"),
            ("client_id", "kedge"),
            ("refresh_token", token.as_str().unwrap()),
        ],
    )
}

#[test]
fn signatures_are_good_under_the_keys_that_are_served() {
    let issuer = issuer();
    for algorithm in ["RS256", "PS256", "ES256", "ES384", "EdDSA"] {
        let token = issuer
            .sign(json!({ "alg": algorithm }), json!({ "a": 1 }))
            .unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let header: Value =
            serde_json::from_slice(&decoded(token.split('.').next().unwrap())).unwrap();
        assert_eq!(
            header,
            json!({ "alg": algorithm, "kid": issuer.kid(algorithm) })
        );
        let set = issuer.jwks().unwrap();
        let key = set["keys"]
            .as_array()
            .unwrap()
            .iter()
            .find(|key| key["kid"] == header["kid"])
            .unwrap();
        let part = |name: &str| decoded(key[name].as_str().unwrap());
        let (message, signature) = (message.as_bytes(), decoded(signature));
        let good = match algorithm {
            "RS256" | "PS256" => {
                let numbers = RsaPublicKeyComponents {
                    n: part("n"),
                    e: part("e"),
                };
                let how = if algorithm == "RS256" {
                    &RSA_PKCS1_2048_8192_SHA256
                } else {
                    &RSA_PSS_2048_8192_SHA256
                };
                numbers.verify(how, message, &signature)
            }
            "EdDSA" => UnparsedPublicKey::new(&ED25519, part("x")).verify(message, &signature),
            curve => {
                let point = [vec![4], part("x"), part("y")].concat();
                if curve == "ES256" {
                    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                        .verify(message, &signature)
                } else {
                    UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point)
                        .verify(message, &signature)
                }
            }
        };
        assert!(good.is_ok(), "{algorithm}");
    }
}

#[test]
fn a_login_brings_a_code_for_one_use() {
    let issuer = issuer();
    let answer = log_in(&issuer, "alice");
    assert_eq!(form::value(&answer, "state"), Some("the state"));
    assert_eq!(form::value(&answer, "iss"), Some(issuer.url().as_str()));
    let code = form::value(&answer, "code").unwrap();
    let (status, first) = exchange(&issuer, code);
    assert_eq!(status, 200, "{first}");
    let claims = claims_of(first["id_token"].as_str().unwrap());
    assert_eq!(claims["sub"], "alice");
    assert_eq!(claims["nonce"], "the nonce");
    assert_eq!(claims["iss"], issuer.url());
    // Once more: refused, and what came of the first use is over.
    assert_eq!(
        exchange(&issuer, code).1,
        json!({ "error": "invalid_grant" })
    );
    assert_eq!(refresh(&issuer, &first["refresh_token"]).0, 400);
    assert_eq!(issuer.requests_to("/token"), 3);
    assert_eq!(issuer.grants("authorization_code"), 2);
}

#[test]
fn another_verifier_gets_nothing() {
    let issuer = issuer();
    let answer = log_in(&issuer, "alice");
    let (status, _) = post(
        &issuer,
        "/token",
        &[
            ("grant_type", "authorization_code"),
            ("client_id", "kedge"),
            ("code", form::value(&answer, "code").unwrap()),
            ("redirect_uri", REDIRECT),
            ("code_verifier", "another"),
        ],
    );
    assert_eq!(status, 400);
}

#[test]
fn a_refresh_token_used_twice_ends_the_login() {
    let issuer = issuer();
    let answer = log_in(&issuer, "alice");
    let (_, first) = exchange(&issuer, form::value(&answer, "code").unwrap());
    let (status, second) = refresh(&issuer, &first["refresh_token"]);
    assert_eq!(status, 200);
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    assert_eq!(refresh(&issuer, &first["refresh_token"]).0, 400);
    assert_eq!(refresh(&issuer, &second["refresh_token"]).0, 400);
}

#[test]
fn a_token_is_revoked_by_its_client_alone() {
    let issuer = issuer();
    let answer = log_in(&issuer, "alice");
    let (_, first) = exchange(&issuer, form::value(&answer, "code").unwrap());
    let revoke = |client: &str, token: &Value| {
        let token = ("token", token.as_str().unwrap());
        post(&issuer, "/revoke", &[("client_id", client), token]).0
    };
    assert_eq!(revoke("somebody", &first["refresh_token"]), 401);
    let (status, second) = refresh(&issuer, &first["refresh_token"]);
    assert_eq!(status, 200);
    for _ in 0..2 {
        assert_eq!(revoke("kedge", &second["refresh_token"]), 200);
    }
    assert_eq!(refresh(&issuer, &second["refresh_token"]).0, 400);
}

#[test]
fn a_device_is_let_in_or_turned_away_by_a_form() {
    let issuer = issuer();
    for (button, wanted) in [("allow", 200), ("deny", 400)] {
        let (_, device) = post(
            &issuer,
            "/device_authorization",
            &[("client_id", "kedge"), ("scope", "openid")],
        );
        let poll = || {
            post(
                &issuer,
                "/token",
                &[
                    ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
                    ("client_id", "kedge"),
                    ("device_code", device["device_code"].as_str().unwrap()),
                ],
            )
        };
        assert_eq!(poll().1, json!({ "error": "authorization_pending" }));
        Browser::new("alice")
            .press(button)
            .typing(
                "user_code",
                &device["user_code"].as_str().unwrap().to_lowercase(),
            )
            .open(device["verification_uri"].as_str().unwrap())
            .unwrap()
            .success()
            .unwrap();
        assert_eq!(poll().0, wanted, "{button}");
    }
}

#[test]
fn misbehaviour_lasts_until_it_behaves() {
    let issuer = issuer();
    let jwks = |issuer: &Issuer| {
        Browser::new("nobody")
            .look(&format!("{}/jwks", issuer.url()))
            .unwrap()
    };
    issuer.misbehave(Misbehaviour::JwksError);
    assert_eq!(jwks(&issuer).status, 500);
    issuer.behave();
    let before = jwks(&issuer).body;
    issuer.rotate().unwrap();
    let after = jwks(&issuer).body;
    assert_ne!(before, after);
    assert!(after.contains(&issuer.kid("RS256")) && !before.contains(&issuer.kid("RS256")));
}

#[test]
fn it_goes_down_and_comes_back_on_its_port() {
    let mut issuer = issuer();
    let url = issuer.url();
    issuer.down();
    assert!(std::net::TcpStream::connect(issuer.address()).is_err());
    issuer.up().unwrap();
    assert_eq!(issuer.url(), url);
    assert_eq!(
        Browser::new("nobody")
            .look(&format!("{url}/jwks"))
            .unwrap()
            .status,
        200
    );
}
