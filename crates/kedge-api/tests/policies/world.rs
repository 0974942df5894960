//! A small world: alice, web01, and what she may ask.

use std::collections::BTreeSet;

use kedge_api::login::LoginOrigin;
use kedge_api::policy::{AccessRequest, Decision, evaluate};
use kedge_api::resources::ServerSpec;
use kedge_api::{
    AccessPolicy, AuthMethod, MappedLogin, Permission, Principal, Resource, Server, Time,
};
use serde_json::{Value, json};

/// A request of alice for web01, from a small world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) login: &'static str,
    pub(crate) origin: LoginOrigin,
    pub(crate) source: Option<&'static str>,
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

pub(crate) fn decide(policies: &[AccessPolicy], ask: &Ask) -> Decision {
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

pub(crate) fn logins(name: &str, logins: &Value) -> AccessPolicy {
    policy(
        name,
        &json!({"subjects": {"users": ["*"]}, "servers": {"names": ["*"]}, "logins": logins}),
    )
}

pub(crate) fn policy(name: &str, spec: &Value) -> AccessPolicy {
    AccessPolicy::new(
        name.parse().unwrap(),
        serde_json::from_value(spec.clone()).unwrap(),
    )
}

pub(crate) fn person() -> Principal {
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

pub(crate) fn server() -> Server {
    let mut server = Server::new("web01".parse().unwrap(), ServerSpec::default());
    for (key, value) in [("env", "prod"), ("tier", "web")] {
        server
            .metadata
            .labels
            .insert(key.parse().unwrap(), value.parse().unwrap());
    }
    server
}

pub(crate) fn now() -> Time {
    "2026-01-01T12:00:00Z".parse().unwrap()
}
