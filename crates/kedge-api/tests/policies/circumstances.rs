//! Constraints: length, freshness, required claims, number of sessions; and logins by claim.

use std::time::Duration;

use kedge_api::login::LoginOrigin;
use kedge_api::policy::{Outcome, PolicyReason, SessionLimits};
use kedge_api::{Principal, Time};
use serde_json::{Value, json};

use crate::world::{Ask, decide, decide_for, logins, person, policy};

fn constrained(constraints: &Value) -> kedge_api::AccessPolicy {
    policy(
        "a",
        &json!({
            "subjects": {"users": ["*"]}, "servers": {"names": ["*"]}, "logins": ["{login}"],
            "constraints": constraints,
        }),
    )
}

fn limits(constraints: &Value) -> SessionLimits {
    match decide(&[constrained(constraints)], &Ask::default()).outcome {
        Outcome::Allowed { limits, .. } => limits,
        refused => panic!("{refused:?}"),
    }
}

#[test]
fn a_session_lasts_as_long_as_its_policy_allows() {
    let opened: Time = "2026-01-01T12:00:00Z".parse().unwrap();
    let end = "2026-01-01T12:00:30Z";
    for (constraints, hub, until) in [
        (json!({}), None, None),
        (json!({}), Some(5), Some("2026-01-01T12:00:05Z")),
        (
            json!({"maxSession": "60s"}),
            None,
            Some("2026-01-01T12:01:00Z"),
        ),
        (
            json!({"maxSession": "1m"}),
            Some(5),
            Some("2026-01-01T12:00:05Z"),
        ),
        (
            json!({"maxSession": "1m"}),
            Some(90),
            Some("2026-01-01T12:01:00Z"),
        ),
        (json!({"notAfter": end}), None, Some(end)),
        (
            json!({"notAfter": end, "maxSession": "60s"}),
            None,
            Some(end),
        ),
        (
            json!({"notAfter": end, "maxSession": "10s"}),
            Some(600),
            Some("2026-01-01T12:00:10Z"),
        ),
    ] {
        let until: Option<Time> = until.map(|until| until.parse().unwrap());
        let hub = hub.map(Duration::from_secs);
        assert_eq!(
            limits(&constraints).until(opened, hub),
            until,
            "{constraints}"
        );
    }
}

#[test]
fn freshness_is_judged_when_the_session_begins() {
    // The person logged in at 11:00.
    let policies = [constrained(&json!({"maxAuthAge": "2h"}))];
    let reason = |person: &Principal, now, opened| {
        let ask = Ask {
            now,
            opened,
            ..Ask::default()
        };
        decide_for(person, &policies, &ask).trace[0].reason
    };
    let who = person();
    for (now, opened, expected) in [
        ("2026-01-01T13:00:00Z", None, PolicyReason::Matches),
        (
            "2026-01-01T13:00:01Z",
            None,
            PolicyReason::AuthenticationAge,
        ),
        (
            "2026-01-02T13:00:00Z",
            Some("2026-01-01T12:59:59Z"),
            PolicyReason::Matches,
        ),
        (
            "2026-01-02T13:00:00Z",
            Some("2026-01-01T13:00:01Z"),
            PolicyReason::AuthenticationAge,
        ),
    ] {
        assert_eq!(reason(&who, now, opened), expected, "{now} {opened:?}");
    }
    let ageless = Principal {
        authenticated_at: None,
        ..person()
    };
    assert_eq!(
        reason(&ageless, "2026-01-01T11:00:00Z", None),
        PolicyReason::AuthenticationAge
    );
}

#[test]
fn sessions_are_counted_and_another_policy_may_allow_more() {
    let few = constrained(&json!({"maxSessions": 2}));
    let mut many = constrained(&json!({"maxSessions": 10}));
    many.metadata.name = "b".parse().unwrap();
    for (sessions, policy) in [
        (0, Some("a")),
        (1, Some("a")),
        (2, Some("b")),
        (9, Some("b")),
        (10, None),
    ] {
        let ask = Ask {
            sessions,
            ..Ask::default()
        };
        let decision = decide(&[few.clone(), many.clone()], &ask);
        let allowing = decision.outcome.policy().map(|name| name.as_str());
        assert_eq!(allowing, policy, "{sessions}");
    }
    assert_eq!(limits(&json!({"maxSessions": 2})).max_sessions, Some(2));
}

#[test]
fn every_required_claim_must_hold() {
    let condition = |key: &str, operator: &str, values: &[&str]| match values {
        [] => json!({"key": key, "operator": operator}),
        values => json!({"key": key, "operator": operator, "values": values}),
    };
    let amr = condition("amr", "In", &["mfa", "hwk"]);
    let acr = condition("acr", "Exists", &[]);
    for (required, expected) in [
        (json!([amr]), PolicyReason::Matches),
        (json!([acr]), PolicyReason::RequiredClaim { index: 0 }),
        (json!([amr, acr]), PolicyReason::RequiredClaim { index: 1 }),
        (
            json!([condition("level", "NotIn", &["7"])]),
            PolicyReason::RequiredClaim { index: 0 },
        ),
    ] {
        let policies = [constrained(&json!({"requiredClaims": required}))];
        let decision = decide(&policies, &Ask::default());
        assert_eq!(decision.trace[0].reason, expected, "{required}");
    }
}

#[test]
fn a_claim_may_list_logins_and_never_root() {
    let by_claim = [logins("a", &json!(["{logins}"]))];
    let ask = |login, origin| Ask {
        login,
        origin,
        ..Ask::default()
    };
    for (login, origin, expected) in [
        ("deploy", LoginOrigin::Requested, PolicyReason::Matches),
        ("deploy", LoginOrigin::Claim, PolicyReason::Matches),
        ("alice", LoginOrigin::Claim, PolicyReason::Login),
        ("root", LoginOrigin::Requested, PolicyReason::Root),
        ("root", LoginOrigin::ServerUser, PolicyReason::Root),
    ] {
        let decision = decide(&by_claim, &ask(login, origin));
        assert_eq!(decision.trace[0].reason, expected, "{login} {origin}");
    }
    let deploy = ask("deploy", LoginOrigin::Requested);
    for claim in [
        json!("deploy "),
        json!("Deploy"),
        json!("deploy,root"),
        json!({"deploy": true}),
        json!([["deploy"]]),
        json!(true),
        json!(null),
        json!(["deploy\n"]),
        json!(["ｄeploy"]),
    ] {
        let mut who = person();
        who.claims.insert("logins".into(), claim.clone());
        assert!(
            !decide_for(&who, &by_claim, &deploy).is_allowed(),
            "{claim}"
        );
    }
    let mut who = person();
    who.claims.insert("logins".into(), json!("deploy"));
    assert!(decide_for(&who, &by_claim, &deploy).is_allowed());
}

#[test]
fn servers_are_selected_by_expressions_too() {
    let selected = |servers: Value| {
        let spec = json!({"subjects": {"users": ["*"]}, "servers": servers, "logins": ["{login}"]});
        decide(&[policy("a", &spec)], &Ask::default()).is_allowed()
    };
    let expression = |key: &str, operator: &str, values: &[&str]| match values {
        [] => json!({"key": key, "operator": operator}),
        values => json!({"key": key, "operator": operator, "values": values}),
    };
    // web01 has env=prod, tier=web
    for (servers, expected) in [
        (
            json!({"matchExpressions": [expression("env", "In", &["prod", "test"])]}),
            true,
        ),
        (
            json!({"matchExpressions": [expression("env", "NotIn", &["prod"])]}),
            false,
        ),
        (
            json!({"matchExpressions": [expression("zone", "NotIn", &["a"])]}),
            true,
        ),
        (
            json!({"matchExpressions": [expression("zone", "Exists", &[])]}),
            false,
        ),
        (
            json!({"matchExpressions": [expression("zone", "DoesNotExist", &[])]}),
            true,
        ),
        (
            json!({"matchLabels": {"env": "prod"}, "matchExpressions": [expression("tier", "In", &["db"])]}),
            false,
        ),
        (
            json!({"matchLabels": {"env": "dev"}, "matchExpressions": [expression("tier", "In", &["web"])]}),
            false,
        ),
        (
            json!({"names": ["web01"], "matchExpressions": [expression("tier", "In", &["db"])]}),
            true,
        ),
    ] {
        assert_eq!(selected(servers.clone()), expected, "{servers}");
    }
}
