//! Policy: deny by default; each part counts; order never does; root only where root stands.

#![cfg(test)]

use std::collections::BTreeSet;
use std::time::Duration;

use kedge_api::login::LoginOrigin;
use kedge_api::policy::{AccessRequest, Decision, PolicyReason, evaluate, may_see};
use kedge_api::resources::{LoginRule, ServerSpec};
use kedge_api::{
    AccessPolicy, AuthMethod, MappedLogin, Permission, Principal, Resource, Server, Time,
};
use proptest::prelude::*;
use serde_json::{Value, json};

#[test]
fn no_policy_no_access() {
    let decision = decide(&[], &Ask::default());
    assert_eq!(
        decision,
        Decision {
            allowed_by: None,
            max_session: None,
            trace: vec![]
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
        (open.clone(), PolicyReason::Allows),
        (
            with("subjects.users", json!(["bob", "alice"])),
            PolicyReason::Allows,
        ),
        (with("subjects.users", json!(["*"])), PolicyReason::Allows),
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
            PolicyReason::Allows,
        ),
        (
            with("subjects.groups", json!(["ops"])),
            PolicyReason::Subject,
        ),
        (
            with("subjects.claims", json!({"department": ["it", "rnd"]})),
            PolicyReason::Allows,
        ),
        (
            with("subjects.claims", json!({"department": ["it"]})),
            PolicyReason::Subject,
        ),
        (
            with("subjects.claims", json!({"teams": ["blue"]})),
            PolicyReason::Allows,
        ),
        (
            with("subjects.claims", json!({"teams": ["green"]})),
            PolicyReason::Subject,
        ),
        (
            with("subjects.claims", json!({"level": ["7"]})),
            PolicyReason::Subject,
        ),
        (
            with("subjects.claims", json!({"absent": [""]})),
            PolicyReason::Subject,
        ),
        (with("subjects.users", json!([])), PolicyReason::Subject),
        (with("servers.names", json!(["*"])), PolicyReason::Allows),
        (
            with("servers.names", json!(["web02"])),
            PolicyReason::Server,
        ),
        (with("servers.names", json!([])), PolicyReason::Server),
        (
            with("servers.matchLabels", json!({"env": "prod"})),
            PolicyReason::Allows,
        ),
        (
            with("servers.matchLabels", json!({"env": "prod", "tier": "web"})),
            PolicyReason::Allows,
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
        (with("logins", json!(["alice"])), PolicyReason::Allows),
        (with("logins", json!(["bob", "root"])), PolicyReason::Login),
        (with("logins", json!([])), PolicyReason::Login),
        (with("permissions", json!([])), PolicyReason::Permission),
        (
            with("permissions", json!(["exec"])),
            PolicyReason::Permission,
        ),
        (
            with("permissions", json!(["exec", "ssh"])),
            PolicyReason::Allows,
        ),
        (
            with("constraints.notAfter", json!("2026-01-01T12:00:01Z")),
            PolicyReason::Allows,
        ),
        (
            with("constraints.notAfter", json!("2026-01-01T12:00:00Z")),
            PolicyReason::Ended,
        ),
        (
            with("constraints.sourceRanges", json!(["10.0.0.0/8"])),
            PolicyReason::Allows,
        ),
        (
            with(
                "constraints.sourceRanges",
                json!(["192.0.2.0/24", "10.1.2.3/32"]),
            ),
            PolicyReason::Allows,
        ),
        (
            with("constraints.sourceRanges", json!(["10.1.2.4/32", "::/0"])),
            PolicyReason::Source,
        ),
    ] {
        let decision = decide(&[policy("only", &spec)], &Ask::default());
        assert_eq!(decision.trace[0].reason, reason, "{spec}");
        assert_eq!(decision.is_allowed(), reason == PolicyReason::Allows);
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
        assert_eq!(decision.allowed_by.unwrap().as_str(), "b");
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

#[test]
fn a_session_lasts_as_long_as_its_policy_allows() {
    let limited = |constraints: Value| {
        let spec = json!({
            "subjects": {"users": ["*"]}, "servers": {"names": ["*"]}, "logins": ["{login}"],
            "constraints": constraints,
        });
        decide(&[policy("a", &spec)], &Ask::default()).max_session
    };
    assert_eq!(limited(json!({})), None);
    assert_eq!(
        limited(json!({"maxSessionSeconds": 60})),
        Some(Duration::from_secs(60))
    );
    let end = "2026-01-01T12:00:30Z";
    assert_eq!(
        limited(json!({"notAfter": end})),
        Some(Duration::from_secs(30))
    );
    assert_eq!(
        limited(json!({"notAfter": end, "maxSessionSeconds": 60})),
        Some(Duration::from_secs(30))
    );
    assert_eq!(
        limited(json!({"notAfter": end, "maxSessionSeconds": 10})),
        Some(Duration::from_secs(10))
    );
}

#[test]
fn bad_policies_are_refused_with_the_path() {
    let open = json!({"subjects": {"users": ["alice"]}, "servers": {"names": ["*"]}, "logins": ["{login}"]});
    for (patch, paths) in [
        (json!({"subjects": {}}), vec!["spec.subjects"]),
        (json!({"servers": {}}), vec!["spec.servers"]),
        (json!({"logins": []}), vec!["spec.logins"]),
        (json!({"permissions": []}), vec!["spec.permissions"]),
        (
            json!({"permissions": ["ssh", "fly"]}),
            vec!["spec.permissions[1]"],
        ),
        (
            json!({"subjects": {"groups": ["dev", "*"]}}),
            vec!["spec.subjects.groups[1]"],
        ),
        (
            json!({"subjects": {"claims": {"x": []}}}),
            vec!["spec.subjects.claims[x]"],
        ),
        (
            json!({"subjects": {"claims": {"x": ["a", "*"]}}}),
            vec!["spec.subjects.claims[x][1]"],
        ),
        (
            json!({"subjects": {"claims": {"x\n": ["a"]}}}),
            vec![r"spec.subjects.claims[x\u{a}]"],
        ),
        (
            json!({"subjects": {"claims": {"x": ["a\u{202e}"]}}}),
            vec!["spec.subjects.claims[x][0]"],
        ),
        (
            json!({"constraints": {"sourceRanges": ["10.0.0.1/8"]}}),
            vec!["spec.constraints.sourceRanges[0]"],
        ),
        (
            json!({"constraints": {"maxSessionSeconds": 0}}),
            vec!["spec.constraints.maxSessionSeconds"],
        ),
        (
            json!({"subjects": {}, "servers": {}, "logins": []}),
            vec!["spec.subjects", "spec.servers", "spec.logins"],
        ),
        (json!({"logins": vec!["alice"; 257]}), vec!["spec.logins"]),
    ] {
        let mut spec = open.clone();
        for (key, value) in patch.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let errors = policy("bad", &spec).validate().unwrap_err();
        let found: Vec<_> = errors.iter().map(|error| error.path.as_str()).collect();
        assert_eq!(found, paths, "{patch}");
    }
    policy("good", &open).validate().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn order_never_matters(policies in any_policies(), ask in any_ask(), seed in any::<u64>()) {
        let mut shuffled = policies.clone();
        let mut state = seed | 1;
        for at in (1..shuffled.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            shuffled.swap(at, usize::try_from(state >> 33).unwrap() % (at + 1));
        }
        prop_assert_eq!(decide(&policies, &ask), decide(&shuffled, &ask));
    }

    #[test]
    fn a_policy_that_does_not_match_changes_nothing(
        policies in any_policies(), ask in any_ask(), extra in any_policy("zz-extra"), first in any::<bool>(),
    ) {
        let mut extra = extra;
        if first {
            extra.metadata.name = "aa-extra".parse().unwrap();
        }
        prop_assume!(!decide(std::slice::from_ref(&extra), &ask).is_allowed());
        let before = decide(&policies, &ask);
        let mut more = policies;
        more.push(extra.clone());
        let mut after = decide(&more, &ask);
        after.trace.retain(|trace| trace.policy != extra.metadata.name);
        prop_assert_eq!(before, after);
    }

    #[test]
    fn another_policy_never_takes_away(policies in any_policies(), ask in any_ask(), extra in any_policy("extra")) {
        let allowed = decide(&policies, &ask).is_allowed();
        let mut more = policies;
        more.push(extra);
        prop_assert!(!allowed || decide(&more, &ask).is_allowed());
    }

    #[test]
    fn what_is_allowed_is_allowed_by_the_first_policy_that_matches_alone(policies in any_policies(), ask in any_ask()) {
        let decision = decide(&policies, &ask);
        let alone: BTreeSet<_> = policies
            .iter()
            .filter(|policy| decide(std::slice::from_ref(*policy), &ask).is_allowed())
            .map(|policy| policy.metadata.name.clone())
            .collect();
        prop_assert_eq!(decision.allowed_by.as_ref(), alone.first());
        let traced = decision.trace.iter().filter(|t| t.matched).map(|t| t.policy.clone());
        prop_assert_eq!(traced.collect::<BTreeSet<_>>(), alone);
    }

    #[test]
    fn never_root_without_literal_root_and_never_a_request_without_a_list(policies in any_policies(), ask in any_ask()) {
        if let Some(name) = decide(&policies, &ask).allowed_by {
            let deciding = policies.iter().find(|policy| policy.metadata.name == name).unwrap();
            let listed = deciding.spec.logins.contains(&LoginRule::Literal(ask.login.parse().unwrap()));
            if ask.login == "root" || ask.origin == LoginOrigin::Requested {
                prop_assert!(listed);
            }
        }
    }

    #[test]
    fn who_may_enter_may_see(policies in any_policies(), ask in any_ask()) {
        let visible = may_see(&policies, &person(), &server(), now());
        prop_assert!(visible || !decide(&policies, &ask).is_allowed());
        if policies.is_empty() {
            prop_assert!(!visible);
        }
    }
}

/// A request of alice for web01, from a small world.
#[derive(Clone, Copy, Debug)]
struct Ask {
    login: &'static str,
    origin: LoginOrigin,
    source: Option<&'static str>,
}

impl Default for Ask {
    fn default() -> Self {
        Self {
            login: "alice",
            origin: LoginOrigin::Claim,
            source: Some("10.1.2.3"),
        }
    }
}

fn decide(policies: &[AccessPolicy], ask: &Ask) -> Decision {
    let login = MappedLogin {
        login: ask.login.parse().unwrap(),
        origin: ask.origin,
    };
    let request = AccessRequest {
        principal: &person(),
        server: &server(),
        login: &login,
        permission: &Permission::Ssh,
        source: ask.source.map(|source| source.parse().unwrap()),
        now: now(),
    };
    evaluate(policies, &request)
}

fn any_ask() -> impl Strategy<Value = Ask> {
    (
        prop::sample::select(vec!["alice", "root", "deploy"]),
        prop::sample::select(vec![
            LoginOrigin::Claim,
            LoginOrigin::Requested,
            LoginOrigin::ServerUser,
        ]),
        prop::sample::select(vec![None, Some("10.1.2.3"), Some("192.0.2.1")]),
    )
        .prop_map(|(login, origin, source)| Ask {
            login,
            origin,
            source,
        })
}

fn any_policies() -> impl Strategy<Value = Vec<AccessPolicy>> {
    prop::collection::btree_map("[a-e]", any_policy("x"), 0..5).prop_map(|named| {
        named
            .into_iter()
            .map(|(name, mut policy)| {
                policy.metadata.name = name.parse().unwrap();
                policy
            })
            .collect()
    })
}

fn any_policy(name: &'static str) -> impl Strategy<Value = AccessPolicy> {
    let pick = |values: Vec<Value>| prop::sample::select(values);
    (
        pick(vec![
            json!({"users": ["alice"]}),
            json!({"users": ["*"]}),
            json!({"users": ["bob"]}),
            json!({"groups": ["dev"]}),
            json!({"claims": {"department": ["rnd"]}}),
            json!({}),
        ]),
        pick(vec![
            json!({"names": ["web01"]}),
            json!({"names": ["*"]}),
            json!({"matchLabels": {"env": "prod"}}),
            json!({"matchLabels": {"env": "dev"}}),
            json!({}),
        ]),
        pick(vec![
            json!(["{login}"]),
            json!(["root"]),
            json!(["deploy", "{login}"]),
            json!(["alice"]),
            json!([]),
        ]),
        pick(vec![json!(["ssh"]), json!(["ssh"]), json!(["exec"])]),
        pick(vec![
            json!({}),
            json!({}),
            json!({"sourceRanges": ["10.0.0.0/8"]}),
            json!({"maxSessionSeconds": 60}),
            json!({"notAfter": "2025-01-01T00:00:00Z"}),
        ]),
    )
        .prop_map(
            move |(subjects, servers, logins, permissions, constraints)| {
                policy(
                    name,
                    &json!({
                        "subjects": subjects, "servers": servers, "logins": logins,
                        "permissions": permissions, "constraints": constraints,
                    }),
                )
            },
        )
}

fn logins(name: &str, logins: &Value) -> AccessPolicy {
    policy(
        name,
        &json!({"subjects": {"users": ["*"]}, "servers": {"names": ["*"]}, "logins": logins}),
    )
}

fn policy(name: &str, spec: &Value) -> AccessPolicy {
    AccessPolicy::new(
        name.parse().unwrap(),
        serde_json::from_value(spec.clone()).unwrap(),
    )
}

fn person() -> Principal {
    Principal {
        issuer: "static".parse().unwrap(),
        subject: "alice".parse().unwrap(),
        claims: [
            ("department".to_owned(), json!("rnd")),
            ("teams".to_owned(), json!(["red", "blue"])),
            ("level".to_owned(), json!(7)),
        ]
        .into(),
        groups: BTreeSet::from(["dev".parse().unwrap()]),
        method: AuthMethod::StaticToken,
    }
}

fn server() -> Server {
    let mut server = Server::new("web01".parse().unwrap(), ServerSpec::default());
    for (key, value) in [("env", "prod"), ("tier", "web")] {
        server
            .metadata
            .labels
            .insert(key.parse().unwrap(), value.parse().unwrap());
    }
    server
}

fn now() -> Time {
    "2026-01-01T12:00:00Z".parse().unwrap()
}
