//! Tokens in odd shapes, at the door: all of them get the same answer, and the audit log knows better.

use http::StatusCode;
use kedge_testkit::issuer::Issuer;
use serde_json::{Value, json};

use crate::harness::{Hub, Reply};
use crate::issuers::{issuer, settled, table};

async fn hub(issuer: &Issuer) -> Hub {
    let hub = Hub::with(&table(issuer, "corp", "")).await;
    settled(&hub).await;
    hub
}

/// What the audit log says about the last token that was refused.
fn reason(hub: &Hub) -> String {
    let events = hub.audit.events("authentication.refused");
    events.last().unwrap()["reason"].clone()
}

fn with(issuer: &Issuer, changes: &Value) -> String {
    issuer.id_token_with("alice", changes).unwrap()
}

#[tokio::test]
async fn a_token_that_does_not_hold_is_refused_without_a_word_and_written_down_with_one() {
    let (issuer, stranger) = (issuer(), issuer());
    let hub = hub(&issuer).await;
    let claims = issuer.claims("alice").unwrap();
    let now = hub.now().timestamp().as_second();
    let signed = |header: Value| issuer.sign(header, claims.clone()).unwrap();
    let good = issuer.id_token("alice").unwrap();
    let (rest, _) = good.rsplit_once('.').unwrap();
    let mut answers: Vec<Reply> = Vec::new();
    for (token, wanted) in [
        (signed(json!({"alg": "none"})), "none"),
        (signed(json!({"alg": "HS256"})), "HS256"),
        (signed(json!({"typ": "at+jwt"})), "not an ID token"),
        (signed(json!({"crit": ["x"], "x": 1})), "crit"),
        (with(&issuer, &json!({"aud": "other"})), "audience"),
        (
            with(&issuer, &json!({"iss": format!("{}/", issuer.url())})),
            "slash",
        ),
        (
            with(&issuer, &json!({"iss": "https://evil.example"})),
            "not configured",
        ),
        (with(&issuer, &json!({"exp": now - 600})), "expired"),
        (with(&issuer, &json!({"nbf": now + 600})), "ahead"),
        (with(&issuer, &json!({"sub": ""})), "sub"),
        (with(&issuer, &json!({"sub": "a\u{7}b"})), "sub"),
        (issuer.access_token("alice").unwrap(), "ID token"),
        (issuer.logout_token("alice").unwrap(), "ID token"),
        (stranger.id_token("alice").unwrap(), "not configured"),
        (stranger.sign(json!({}), claims.clone()).unwrap(), "key"),
        (format!("{rest}.AAAA"), "signature"),
        ("a.b.c".to_owned(), "malformed"),
        ("..".to_owned(), "malformed"),
        ("kpt_nobody".to_owned(), "nobody has this token"),
    ] {
        let reply = hub.whoami(&token).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{wanted}");
        let reason = reason(&hub);
        assert!(reason.contains(wanted), "{wanted}: {reason}");
        assert!(
            !reason.contains(
                token
                    .split('.')
                    .nth(1)
                    .filter(|part| part.len() > 8)
                    .unwrap_or("\0")
            ),
            "the log repeats the token"
        );
        answers.push(reply);
    }
    for answer in &answers {
        assert_eq!(answer.body, answers[0].body);
    }
    hub.whoami(&good).await.expect(StatusCode::OK);
    let metrics = hub.operators("/metrics").await;
    for result in ["algorithm", "audience", "expired", "signature", "kind"] {
        let line = format!("kedge_hub_token_verifications_total{{result=\"{result}\"}}");
        assert!(metrics.contains(&line), "{line} in\n{metrics}");
    }
}

#[tokio::test]
async fn a_long_token_passes_and_one_that_is_longer_than_any_is_refused_in_words() {
    let issuer = issuer();
    let hub = hub(&issuer).await;
    let of = |bytes: usize| {
        let filler = "x".repeat(bytes * 3 / 4 - 600);
        with(&issuer, &json!({ "filler": filler }))
    };
    for kib in [8, 16, 20] {
        let token = of(kib << 10);
        assert!(token.len() > (kib << 10) - 1024);
        hub.whoami(&token).await.expect(StatusCode::OK);
    }
    for kib in [40, 64] {
        let reply = hub.whoami(&of(kib << 10)).await;
        reply.expect(StatusCode::UNAUTHORIZED).error("Unauthorized");
    }
    // The head of a request is read to some end.
    let beyond = hub.whoami(&"x".repeat(256 << 10)).await;
    assert_eq!(beyond.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
}
