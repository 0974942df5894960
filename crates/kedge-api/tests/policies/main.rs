//! Policy: deny by default; each part counts; order never does; root only where root stands.

#![cfg(test)]

mod circumstances;
mod denial;
mod hub;
mod properties;
mod refused;
mod subjects;
mod windows;
mod world;

use kedge_api::login::LoginOrigin;
use kedge_api::policy::{Decision, Outcome, PolicyReason};
use serde_json::{Value, json};

use world::{Ask, decide, logins, policy};

#[test]
fn no_policy_no_access() {
    let decision = decide(&[], &Ask::default());
    assert_eq!(
        decision,
        Decision {
            outcome: Outcome::NoPolicy,
            trace: vec![],
            review_at: None,
        }
    );
}

#[test]
fn each_part_counts() {
    let open = json!({
        "subjects": {"users": ["alice"]},
        "servers": {"names": ["web01"]},
        "logins": ["{login}"],
    });
    let with = |pointer: &str, value: Value| {
        let mut spec = open.clone();
        for part in ["subjects", "servers", "constraints"] {
            let object = spec
                .as_object_mut()
                .unwrap()
                .entry(part)
                .or_insert(json!({}));
            if pointer.starts_with(part) {
                *object = json!({});
                object
                    .as_object_mut()
                    .unwrap()
                    .insert(pointer.rsplit('.').next().unwrap().into(), value.clone());
            }
        }
        if !pointer.contains('.') {
            spec[pointer] = value;
        }
        spec
    };
    for (spec, reason) in [
        (open.clone(), PolicyReason::Matches),
        (
            with("subjects.users", json!(["bob", "alice"])),
            PolicyReason::Matches,
        ),
        (with("subjects.users", json!(["*"])), PolicyReason::Matches),
        (
            with("subjects.users", json!(["Alice"])),
            PolicyReason::Subject,
        ),
        (
            with("subjects.users", json!(["alice2"])),
            PolicyReason::Subject,
        ),
        (
            with("subjects.groups", json!(["dev"])),
            PolicyReason::Matches,
        ),
        (
            with("subjects.groups", json!(["ops"])),
            PolicyReason::Subject,
        ),
        (
            with(
                "subjects.claims",
                json!([{"key": "department", "operator": "In", "values": ["it", "rnd"]}]),
            ),
            PolicyReason::Matches,
        ),
        (
            with(
                "subjects.claims",
                json!([{"key": "department", "operator": "In", "values": ["it"]}]),
            ),
            PolicyReason::Claim { index: 0 },
        ),
        (
            with(
                "subjects.claims",
                json!([{"key": "teams", "operator": "In", "values": ["blue"]}]),
            ),
            PolicyReason::Matches,
        ),
        (
            with(
                "subjects.claims",
                json!([{"key": "teams", "operator": "In", "values": ["green"]}]),
            ),
            PolicyReason::Claim { index: 0 },
        ),
        (
            with(
                "subjects.claims",
                json!([{"key": "level", "operator": "In", "values": ["7"]}]),
            ),
            PolicyReason::Claim { index: 0 },
        ),
        (
            with(
                "subjects.claims",
                json!([{"key": "absent", "operator": "In", "values": [""]}]),
            ),
            PolicyReason::Claim { index: 0 },
        ),
        (with("subjects.users", json!([])), PolicyReason::Subject),
        (with("servers.names", json!(["*"])), PolicyReason::Matches),
        (
            with("servers.names", json!(["web02"])),
            PolicyReason::Server,
        ),
        (with("servers.names", json!([])), PolicyReason::Server),
        (
            with("servers.matchLabels", json!({"env": "prod"})),
            PolicyReason::Matches,
        ),
        (
            with("servers.matchLabels", json!({"env": "prod", "tier": "web"})),
            PolicyReason::Matches,
        ),
        (
            with("servers.matchLabels", json!({"env": "prod", "tier": "db"})),
            PolicyReason::Server,
        ),
        (
            with("servers.matchLabels", json!({"env": ""})),
            PolicyReason::Server,
        ),
        (with("servers.matchLabels", json!({})), PolicyReason::Server),
        (with("logins", json!(["alice"])), PolicyReason::Matches),
        (with("logins", json!(["bob", "root"])), PolicyReason::Login),
        (with("logins", json!([])), PolicyReason::Login),
        (with("permissions", json!([])), PolicyReason::Permission),
        (
            with("permissions", json!(["exec"])),
            PolicyReason::Permission,
        ),
        (
            with("permissions", json!(["exec", "ssh"])),
            PolicyReason::Matches,
        ),
        (
            with("constraints.notAfter", json!("2026-01-01T12:00:01Z")),
            PolicyReason::Matches,
        ),
        (
            with("constraints.notAfter", json!("2026-01-01T12:00:00Z")),
            PolicyReason::Ended,
        ),
        (
            with("constraints.sourceRanges", json!(["10.0.0.0/8"])),
            PolicyReason::Matches,
        ),
        (
            with(
                "constraints.sourceRanges",
                json!(["192.0.2.0/24", "10.1.2.3/32"]),
            ),
            PolicyReason::Matches,
        ),
        (
            with("constraints.sourceRanges", json!(["10.1.2.4/32", "::/0"])),
            PolicyReason::Source,
        ),
    ] {
        let decision = decide(&[policy("only", &spec)], &Ask::default());
        assert_eq!(decision.trace[0].reason, reason, "{spec}");
        assert_eq!(decision.is_allowed(), reason == PolicyReason::Matches);
        assert_eq!(decision.trace[0].matched, decision.is_allowed());
    }
}

#[test]
fn root_only_where_root_stands() {
    let mapped = json!(["{login}"]);
    let literal = json!(["{login}", "root"]);
    for origin in [
        LoginOrigin::Claim,
        LoginOrigin::ServerUser,
        LoginOrigin::Requested,
    ] {
        let ask = Ask {
            login: "root",
            origin,
            ..Ask::default()
        };
        let decision = decide(&[logins("a", &mapped)], &ask);
        assert_eq!(decision.trace[0].reason, PolicyReason::Root, "{origin:?}");
        // Root in one policy does not lend itself to another.
        let decision = decide(&[logins("a", &mapped), logins("b", &literal)], &ask);
        assert_eq!(decision.outcome.policy().unwrap().as_str(), "b");
    }
}

#[test]
fn a_requested_login_must_be_listed() {
    let ask = Ask {
        login: "deploy",
        origin: LoginOrigin::Requested,
        ..Ask::default()
    };
    assert!(!decide(&[logins("a", &json!(["{login}"]))], &ask).is_allowed());
    assert!(decide(&[logins("a", &json!(["deploy"]))], &ask).is_allowed());
    let mapped = Ask {
        origin: LoginOrigin::ServerUser,
        ..ask
    };
    assert!(decide(&[logins("a", &json!(["{login}"]))], &mapped).is_allowed());
}

#[test]
fn sources_are_compared_as_what_they_are() {
    let from = |range: &str| {
        policy(
            "only",
            &json!({
                "subjects": {"users": ["*"]}, "servers": {"names": ["*"]}, "logins": ["{login}"],
                "constraints": {"sourceRanges": [range]},
            }),
        )
    };
    for (range, source, allowed) in [
        ("10.0.0.0/8", Some("10.255.255.255"), true),
        ("10.0.0.0/8", Some("11.0.0.0"), false),
        ("10.0.0.0/8", Some("::ffff:10.1.2.3"), true),
        ("2001:db8::/32", Some("2001:db8::1"), true),
        ("2001:db8::/32", Some("2001:db9::1"), false),
        ("0.0.0.0/0", Some("::1"), false),
        ("0.0.0.0/0", Some("203.0.113.9"), true),
        ("0.0.0.0/0", None, false),
    ] {
        let ask = Ask {
            source,
            ..Ask::default()
        };
        assert_eq!(
            decide(&[from(range)], &ask).is_allowed(),
            allowed,
            "{range} {source:?}"
        );
    }
    let ask = Ask {
        source: None,
        ..Ask::default()
    };
    assert!(decide(&[logins("anywhere", &json!(["{login}"]))], &ask).is_allowed());
}
