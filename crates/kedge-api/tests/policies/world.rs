//! A small world: alice, web01, and what she may ask.

use std::collections::BTreeSet;

use kedge_api::login::LoginOrigin;
use kedge_api::policy::{AccessRequest, Action, Decision, evaluate};
use kedge_api::resources::ServerSpec;
use kedge_api::{
    AccessPolicy, AuthMethod, MappedLogin, Permission, Principal, Resource, Server, Standing, Time,
};
use serde_json::{Value, json};

/// A request of alice for web01, from a small world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) login: &'static str,
    pub(crate) origin: LoginOrigin,
    pub(crate) source: Option<&'static str>,
    pub(crate) now: &'static str,
    pub(crate) opened: Option<&'static str>,
    pub(crate) sessions: u32,
}

impl Default for Ask {
    fn default() -> Self {
        Self {
            login: "alice",
            origin: LoginOrigin::Claim,
            source: Some("10.1.2.3"),
            now: NOW,
            opened: None,
            sessions: 0,
        }
    }
}

pub(crate) fn decide(policies: &[AccessPolicy], ask: &Ask) -> Decision {
    decide_for(&person(), policies, ask)
}

pub(crate) fn decide_for(person: &Principal, policies: &[AccessPolicy], ask: &Ask) -> Decision {
    let login = MappedLogin {
        login: ask.login.parse().unwrap(),
        origin: ask.origin,
    };
    let request = AccessRequest {
        principal: person,
        action: Action::Session {
            server: &server(),
            login: &login,
            permission: &Permission::Ssh,
        },
        source: ask.source.map(|source| source.parse().unwrap()),
        now: ask.now.parse().unwrap(),
        opened: ask.opened.map(|opened| opened.parse().unwrap()),
        sessions: ask.sessions,
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
        subject: "a1b2c3".parse().unwrap(),
        user: "alice".parse().unwrap(),
        claims: [
            ("department".to_owned(), json!("rnd")),
            ("teams".to_owned(), json!(["red", "blue"])),
            ("level".to_owned(), json!(7)),
            ("email_verified".to_owned(), json!(true)),
            ("logins".to_owned(), json!(["deploy", "root", 7])),
            ("amr".to_owned(), json!(["pwd", "mfa"])),
        ]
        .into(),
        groups: BTreeSet::from(["dev".parse().unwrap()]),
        method: AuthMethod::StaticToken,
        standing: Standing::Home,
        authenticated_at: Some("2026-01-01T11:00:00Z".parse().unwrap()),
        expires_at: None,
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
    NOW.parse().unwrap()
}

/// A Thursday.
const NOW: &str = "2026-01-01T12:00:00Z";
