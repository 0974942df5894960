//! The device flow: a code here, a browser elsewhere.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use kedge_identity::HttpError;
use kedge_identity::login::{DeviceStep, LoginFlowError, TokenSet};
use kedge_testkit::browser::Browser;
use kedge_testkit::issuer::{Issuer, IssuerOptions, Misbehaviour};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::common::{Meddled, between, chain, claims, client, issuer, provider};

/// Answers the device's page as soon as there is a code.
fn answering(person: &'static str, button: &'static str) -> impl FnMut(DeviceStep) + Send {
    move |step| {
        if let DeviceStep::Code {
            verification_uri_complete: Some(url),
            ..
        } = step
        {
            let visit = thread::spawn(move || {
                Browser::new(person)
                    .typing("login", person)
                    .press(button)
                    .open(url.as_str())
                    .unwrap()
            });
            assert_eq!(visit.join().unwrap().status, 200);
        }
    }
}

#[tokio::test]
async fn a_code_that_is_entered_elsewhere_brings_tokens_here() {
    let issuer = issuer();
    let provider = provider(&issuer).await;
    assert!(provider.supports_device());
    let mut steps: Vec<DeviceStep> = Vec::new();
    let mut answer = answering("alice", "allow");
    let tokens = provider
        .with_device(|step| {
            // Not before it was asked once.
            if steps.len() == 1 {
                answer(steps[0].clone());
            }
            steps.push(step);
        })
        .await
        .unwrap();
    assert_eq!(tokens.subject.as_str(), "alice");
    assert!(tokens.refresh_token.is_some());
    let DeviceStep::Code {
        user_code,
        verification_uri,
        verification_uri_complete,
        expires_in,
    } = &steps[0]
    else {
        panic!("{steps:?}")
    };
    assert_eq!(user_code.len(), 9);
    assert_eq!(
        verification_uri.as_str(),
        format!("{}/device", issuer.url())
    );
    assert!(
        verification_uri_complete
            .as_ref()
            .unwrap()
            .as_str()
            .ends_with(user_code)
    );
    assert_eq!(*expires_in, Duration::from_secs(600));
    assert!(steps.len() > 1);
    assert!(
        steps[1..]
            .iter()
            .all(|step| matches!(step, DeviceStep::Waiting { .. }))
    );
}

#[tokio::test]
async fn a_no_is_a_no() {
    let issuer = issuer();
    let answer = answering("alice", "deny");
    let error = provider(&issuer)
        .await
        .with_device(answer)
        .await
        .unwrap_err();
    let LoginFlowError::Refused { refusal, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(refusal.code, "access_denied");
}

#[tokio::test]
async fn trouble_on_the_way_is_no_end() {
    let issuer = issuer();
    let mut client = client(&issuer);
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    client.http = between(move |request| {
        if request.uri().path() != "/token" {
            return Meddled::Pass(request);
        }
        match counter.fetch_add(1, Ordering::SeqCst) {
            0 => Meddled::Answer(Err(HttpError {
                url: request.uri().to_string(),
                cause: "no route to host".to_owned(),
            })),
            1 => Meddled::json(503, &json!({ "error": "temporarily_unavailable" })),
            2 => Meddled::json(429, &json!({})),
            _ => {
                // From here on an issuer is waited for, which takes its time.
                tokio::time::resume();
                Meddled::Pass(request)
            }
        }
    });
    let mut answer = answering("bob", "allow");
    let tokens = client
        .discover()
        .await
        .unwrap()
        .with_device(|step| {
            if matches!(step, DeviceStep::Code { .. }) {
                answer(step);
                tokio::time::pause();
            }
        })
        .await
        .unwrap();
    assert_eq!(tokens.subject.as_str(), "bob");
    assert_eq!(asked.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_token_that_does_not_hold_is_no_login_either() {
    let issuer = issuer();
    issuer.misbehave(Misbehaviour::TokensWith(claims(
        json!({ "aud": "another" }),
    )));
    let provider = provider(&issuer).await;
    let error = provider.with_device(answering("alice", "allow")).await;
    let text = chain(&error.unwrap_err());
    assert!(
        text.contains("cannot be believed: the token is for"),
        "{text}"
    );
}

#[tokio::test]
async fn without_an_endpoint_there_is_no_device_flow() {
    let issuer = issuer();
    let url = issuer.url();
    issuer.misbehave(Misbehaviour::Discovery(
        json!({
            "issuer": url,
            "authorization_endpoint": format!("{url}/authorize"),
            "token_endpoint": format!("{url}/token"),
            "jwks_uri": format!("{url}/jwks"),
        })
        .to_string(),
    ));
    let provider = provider(&issuer).await;
    assert!(!provider.supports_device());
    let error = provider.with_device(|_| ()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{url} has no device flow"));
}

#[tokio::test]
async fn a_client_without_the_device_flow_is_told_so_by_the_issuer() {
    let issuer = Issuer::start(IssuerOptions::default()).unwrap();
    let mut client = client(&issuer);
    client.client_id = "another".to_owned();
    let provider = client.discover().await.unwrap();
    let error = provider.with_device(|_| ()).await.unwrap_err().to_string();
    assert!(
        error.ends_with("refused the login: invalid_client"),
        "{error}"
    );
}

#[tokio::test]
async fn the_issuer_says_how_often_it_is_asked() {
    // The answer to the device; the errors that follow; the seconds between the questions.
    for (interval, errors, pauses) in [
        (
            json!(5),
            vec![
                "authorization_pending",
                "slow_down",
                "authorization_pending",
            ],
            vec![5, 10, 10],
        ),
        (json!(null), vec!["authorization_pending"], vec![5]),
        (
            json!(0),
            vec!["authorization_pending", "authorization_pending"],
            vec![1, 1],
        ),
    ] {
        let issuer = issuer();
        let times = Arc::new(Mutex::new(Vec::new()));
        let (polls, said) = (Arc::clone(&times), errors.clone());
        let mut client = client(&issuer);
        client.http = between(move |request| match request.uri().path() {
            "/device_authorization" => Meddled::json(200, &device_answer(&interval)),
            "/token" => {
                let mut polls = polls.lock().unwrap();
                polls.push(Instant::now());
                let error = said.get(polls.len() - 1).unwrap_or(&"expired_token");
                Meddled::json(400, &json!({ "error": error }))
            }
            _ => Meddled::Pass(request),
        });
        let provider = client.discover().await.unwrap();
        let error = paused(provider, |_| ()).await.unwrap_err();
        assert!(matches!(error, LoginFlowError::Expired), "{error:?}");
        let times = times.lock().unwrap();
        let between: Vec<u64> = times
            .windows(2)
            .map(|pair| (pair[1] - pair[0]).as_secs())
            .collect();
        assert_eq!(between, pauses, "{errors:?}");
    }
}

#[tokio::test]
async fn a_code_that_nobody_enters_expires() {
    let issuer = issuer();
    let mut client = client(&issuer);
    client.http = between(move |request| match request.uri().path() {
        "/device_authorization" => {
            let mut answer = device_answer(&json!(5));
            // For ever, it says.
            answer["expires_in"] = json!(u64::MAX);
            Meddled::json(200, &answer)
        }
        "/token" => Meddled::json(400, &json!({ "error": "authorization_pending" })),
        _ => Meddled::Pass(request),
    });
    let provider = client.discover().await.unwrap();
    let began = Instant::now();
    let error = paused(provider, |_| ()).await.unwrap_err();
    assert!(matches!(error, LoginFlowError::Expired), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(3600));
}

#[tokio::test]
async fn nobody_is_sent_to_a_page_that_is_none() {
    let issuer = issuer();
    for (field, value) in [
        ("user_code", json!("")),
        ("user_code", json!("AB\u{1b}[2J")),
        ("user_code", json!("AB\nCD")),
        ("user_code", json!("AB\u{202e}CD")),
        ("user_code", json!("x".repeat(65))),
        ("verification_uri", json!("javascript:alert(1)")),
        ("verification_uri", json!("http://id.example/device")),
        (
            "verification_uri",
            json!("https://user:x@id.example/device"),
        ),
        (
            "verification_uri",
            json!(format!("https://id.example/{}", "x".repeat(5000))),
        ),
        ("verification_uri_complete", json!("file:///etc/passwd")),
        ("verification_uri_complete", json!("\u{1b}]8;;x")),
        ("interval", json!(u64::MAX)),
        ("interval", json!(-1)),
        ("expires_in", json!("soon")),
    ] {
        let mut client = client(&issuer);
        let hostile = value.clone();
        client.http = between(move |request| match request.uri().path() {
            "/device_authorization" => {
                let mut answer = device_answer(&json!(5));
                answer[field] = hostile.clone();
                Meddled::json(200, &answer)
            }
            "/token" => Meddled::json(400, &json!({ "error": "expired_token" })),
            _ => Meddled::Pass(request),
        });
        let provider = client.discover().await.unwrap();
        let mut shown = 0;
        let error = provider.with_device(|_| shown += 1).await.unwrap_err();
        assert!(
            matches!(error, LoginFlowError::Answer { .. }),
            "{field} {value}: {error:?}"
        );
        assert!(
            error.to_string().contains(field),
            "{field} {value}: {error}"
        );
        assert!(
            !error.to_string().contains(['\u{1b}', '\n', '\u{202e}']),
            "{error}"
        );
        assert_eq!(shown, 0, "{field} {value}");
    }
}

fn device_answer(interval: &Value) -> Value {
    json!({
        "device_code": "hunter2",
        "user_code": "ABCD-EFGH",
        "verification_uri": "https://id.example/device",
        "expires_in": 600,
        "interval": interval,
    })
}

/// Goes through a device flow while time passes as fast as nobody needs it.
async fn paused(
    provider: kedge_identity::login::Provider,
    show: impl FnMut(DeviceStep) + Send,
) -> Result<TokenSet, LoginFlowError> {
    tokio::time::pause();
    let result = provider.with_device(show).await;
    tokio::time::resume();
    result
}
