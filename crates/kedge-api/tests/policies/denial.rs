//! A policy that denies wins, and denies what it says and nothing else.

use kedge_api::AccessPolicy;
use kedge_api::login::LoginOrigin;
use kedge_api::policy::{Outcome, PolicyReason, may_see};
use serde_json::{Value, json};

use crate::world::{Ask, decide, now, person, policy, server};

fn everything() -> AccessPolicy {
    policy(
        "a-everything",
        &json!({
            "subjects": {"users": ["*"]}, "servers": {"names": ["*"]},
            "logins": ["{login}", "{logins}", "root", "deploy"],
        }),
    )
}

fn denial(patch: &Value) -> AccessPolicy {
    let mut spec = json!({
        "effect": "Deny", "subjects": {"users": ["*"]}, "servers": {"names": ["*"]},
        "logins": ["*"], "permissions": ["*"],
    });
    for (key, value) in patch.as_object().unwrap() {
        spec[key] = value.clone();
    }
    policy("z-denial", &spec)
}

fn denied(patch: &Value, ask: &Ask) -> bool {
    let decision = decide(&[everything(), denial(patch)], ask);
    match decision.outcome {
        Outcome::Denied { policy } => {
            assert_eq!(policy.as_str(), "z-denial");
            true
        }
        Outcome::Allowed { policy, .. } => {
            assert_eq!(policy.as_str(), "a-everything");
            false
        }
        Outcome::NoPolicy => panic!("neither"),
    }
}

#[test]
fn what_matches_is_denied_whatever_allows_it() {
    let root = Ask {
        login: "root",
        origin: LoginOrigin::Requested,
        ..Ask::default()
    };
    let nowhere = Ask {
        source: None,
        ..Ask::default()
    };
    for (patch, ask, expected) in [
        (json!({}), Ask::default(), true),
        (json!({}), root, true),
        (json!({"logins": ["root"]}), root, true),
        (json!({"logins": ["root"]}), Ask::default(), false),
        (json!({"logins": ["{login}"]}), Ask::default(), true),
        (json!({"logins": ["{login}"]}), root, false),
        // Root never comes out of a claim to be allowed; to be denied it does.
        (json!({"logins": ["{logins}"]}), root, true),
        (json!({"logins": ["{logins}"]}), Ask::default(), false),
        (json!({"permissions": ["ssh"]}), Ask::default(), true),
        (
            json!({"servers": {"names": ["web02"]}}),
            Ask::default(),
            false,
        ),
        (
            json!({"servers": {"matchLabels": {"env": "prod"}}}),
            Ask::default(),
            true,
        ),
        (
            json!({"subjects": {"groups": ["ops"]}}),
            Ask::default(),
            false,
        ),
        (
            json!({"subjects": {"groups": ["dev"]}}),
            Ask::default(),
            true,
        ),
        (
            json!({"constraints": {"sourceRanges": ["192.0.2.0/24"]}}),
            Ask::default(),
            false,
        ),
        (
            json!({"constraints": {"sourceRanges": ["10.0.0.0/8"]}}),
            Ask::default(),
            true,
        ),
        (
            json!({"constraints": {"sourceRanges": ["192.0.2.0/24"]}}),
            nowhere,
            true,
        ),
        (
            json!({"constraints": {"notBefore": "2026-01-01T12:00:01Z"}}),
            Ask::default(),
            false,
        ),
        (
            json!({"constraints": {"timeWindows": [{"days": ["Thu"], "from": "12:00", "to": "13:00"}]}}),
            Ask::default(),
            true,
        ),
        (
            json!({"constraints": {"requiredClaims": [{"key": "amr", "operator": "NotIn", "values": ["mfa"]}]}}),
            Ask::default(),
            false,
        ),
        (
            json!({"constraints": {"requiredClaims": [{"key": "amr", "operator": "NotIn", "values": ["hwk"]}]}}),
            Ask::default(),
            true,
        ),
    ] {
        assert_eq!(denied(&patch, &ask), expected, "{patch} {ask:?}");
    }
}

#[test]
fn a_denial_alone_allows_nothing() {
    let decision = decide(
        &[denial(&json!({"subjects": {"users": ["bob"]}}))],
        &Ask::default(),
    );
    assert_eq!(decision.outcome, Outcome::NoPolicy);
    assert_eq!(decision.trace[0].reason, PolicyReason::Subject);
    let decision = decide(&[denial(&json!({}))], &Ask::default());
    assert!(!decision.is_allowed());
    assert_eq!(decision.outcome.policy().unwrap().as_str(), "z-denial");
}

#[test]
fn a_server_is_hidden_only_by_what_denies_all_of_it_always() {
    for (patch, visible) in [
        (json!({}), false),
        (json!({"servers": {"names": ["web02"]}}), true),
        (json!({"subjects": {"users": ["bob"]}}), true),
        (json!({"logins": ["root"]}), true),
        (json!({"permissions": ["ssh"]}), true),
        (
            json!({"constraints": {"sourceRanges": ["10.0.0.0/8"]}}),
            true,
        ),
        (
            json!({"constraints": {"timeWindows": [{"from": "00:00", "to": "24:00"}]}}),
            true,
        ),
        (
            json!({"constraints": {"notAfter": "2026-01-01T12:00:00Z"}}),
            true,
        ),
        (
            json!({"constraints": {"notAfter": "2026-01-01T12:00:01Z"}}),
            false,
        ),
        (
            json!({"constraints": {"notBefore": "2026-01-01T12:00:01Z"}}),
            true,
        ),
    ] {
        let policies = [everything(), denial(&patch)];
        let seen = may_see(&policies, &person(), &server(), now());
        assert_eq!(seen, visible, "{patch}");
    }
    assert!(!may_see(
        &[denial(&json!({"servers": {"names": ["web02"]}}))],
        &person(),
        &server(),
        now()
    ));
}
