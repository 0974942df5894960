//! How long a decision takes with a thousand policies: it must stay under a millisecond, because it is taken for every
//! session, at every change of a policy for every session that lives, and for every server of a list.
//!
//! - `decide/elsewhere`: every policy is about other people, as most are.
//! - `decide/mixed`: every tenth policy is about the person and their server.
//! - `decide/all`: every policy matches, and has every kind of condition: the worst there is.
//! - `see`: whether the person may know of a server, with the mixed policies.

#![expect(clippy::unwrap_used, reason = "a benchmark over constants")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use kedge_api::login::LoginOrigin;
use kedge_api::policy::{AccessRequest, Action, evaluate, may_see};
use kedge_api::resources::ServerSpec;
use kedge_api::{
    AccessPolicy, AuthMethod, MappedLogin, Permission, Principal, Resource, Server, Standing,
};
use serde_json::{Value, json};

const POLICIES: usize = 1000;

fn decide(c: &mut Criterion) {
    let (principal, server) = (principal(), server());
    let login = MappedLogin {
        login: "alice".parse().unwrap(),
        origin: LoginOrigin::Claim,
    };
    let request = AccessRequest {
        principal: &principal,
        action: Action::Session {
            server: &server,
            login: &login,
            permission: &Permission::Ssh,
        },
        source: Some("10.1.2.3".parse().unwrap()),
        now: "2026-01-01T12:00:00Z".parse().unwrap(),
        opened: None,
        sessions: 1,
    };
    let mixed = policies(|n| {
        if n % 10 == 0 {
            matching()
        } else {
            elsewhere(n)
        }
    });
    for (name, policies) in [
        ("decide/elsewhere", &policies(elsewhere)),
        ("decide/mixed", &mixed),
        ("decide/all", &policies(|_| matching())),
    ] {
        c.bench_function(name, |b| {
            b.iter(|| evaluate(black_box(policies), black_box(&request)));
        });
    }
    c.bench_function("see", |b| {
        b.iter(|| may_see(black_box(&mixed), &principal, &server, request.now));
    });
}

fn policies(spec: impl Fn(usize) -> Value) -> Vec<AccessPolicy> {
    (0..POLICIES)
        .map(|n| {
            let name = format!("policy-{n:04}").parse().unwrap();
            AccessPolicy::new(name, serde_json::from_value(spec(n)).unwrap())
        })
        .collect()
}

/// A policy of another team, whose lists have ten entries each.
fn elsewhere(n: usize) -> Value {
    let users: Vec<_> = (0..10).map(|user| format!("user-{n}-{user}")).collect();
    let groups: Vec<_> = (0..10).map(|group| format!("group-{n}-{group}")).collect();
    json!({
        "subjects": {"users": users, "groups": groups},
        "servers": {"matchLabels": {"env": "dev"}},
        "logins": ["{login}"],
    })
}

fn matching() -> Value {
    json!({
        "subjects": {
            "groups": ["dev"],
            "issuers": ["https://id.example"],
            "claims": [{"key": "department", "operator": "NotIn", "values": ["guests"]}],
        },
        "servers": {
            "matchLabels": {"env": "prod"},
            "matchExpressions": [{"key": "tier", "operator": "In", "values": ["web", "db"]}],
        },
        "logins": ["{login}", "{logins}"],
        "constraints": {
            "sourceRanges": ["192.0.2.0/24", "10.0.0.0/8"],
            "notAfter": "2030-01-01T00:00:00Z",
            "timeWindows": [
                {"days": ["Mon", "Tue", "Wed", "Thu", "Fri"], "from": "08:00", "to": "18:00", "timeZone": "Europe/Berlin"},
            ],
            "maxSession": "8h",
            "maxAuthAge": "12h",
            "requiredClaims": [{"key": "amr", "operator": "In", "values": ["mfa"]}],
            "maxSessions": 5,
        },
    })
}

fn principal() -> Principal {
    Principal {
        issuer: "https://id.example".parse().unwrap(),
        subject: "a1b2c3".parse().unwrap(),
        user: "alice".parse().unwrap(),
        claims: [
            ("department".to_owned(), json!("rnd")),
            ("amr".to_owned(), json!(["pwd", "mfa"])),
            ("logins".to_owned(), json!(["deploy"])),
        ]
        .into(),
        groups: (0..20)
            .map(|n| format!("team-{n}").parse().unwrap())
            .chain(["dev".parse().unwrap()])
            .collect(),
        method: AuthMethod::Oidc,
        standing: Standing::Home,
        authenticated_at: Some("2026-01-01T11:00:00Z".parse().unwrap()),
        expires_at: None,
    }
}

fn server() -> Server {
    let mut server = Server::new("web01".parse().unwrap(), ServerSpec::default());
    for (key, value) in [("env", "prod"), ("tier", "web")] {
        let labels = &mut server.metadata.labels;
        labels.insert(key.parse().unwrap(), value.parse().unwrap());
    }
    server
}

criterion_group!(benches, decide);
criterion_main!(benches);
