//! What must hold for any text as an access policy. Shared by the fuzz target and the test that runs its corpus.

use std::net::IpAddr;
use std::sync::LazyLock;

use kedge_api::login::LoginOrigin;
use kedge_api::policy::{
    AccessRequest, Action, Decision, Outcome, PolicyReason, evaluate, hub_rights, may_see,
};
use kedge_api::resources::{Effect, HubResource, ServerSpec, Verb};
use kedge_api::{
    AccessPolicy, AuthMethod, MappedLogin, Permission, Principal, Resource, Server, Standing, Time,
    decode,
};
use serde::Deserialize;
use serde_json::{Value, json};

/// Reads the text as JSON, as the hub does, and as YAML, as `kedge apply` does: nothing panics, no error can hurt a
/// terminal, and what is accepted is written and read as it was, and decides by the rules that hold for every policy.
pub(crate) fn policy(text: &str) {
    read(text.as_bytes());
    for document in serde_norway::Deserializer::from_str(text) {
        // After what is no YAML there is nothing more to read.
        let Ok(value) = Value::deserialize(document) else {
            break;
        };
        read(value.to_string().as_bytes());
    }
    assert!(
        judge(&DENY_ALL, &REQUESTS[0]).outcome.policy().is_some(),
        "this check cannot see what it looks for"
    );
}

fn read(bytes: &[u8]) {
    let policy = match decode::object::<AccessPolicy>(bytes, None) {
        Ok(policy) => policy,
        Err(status) => {
            let details = status.details.iter().flat_map(|details| &details.causes);
            let fields = details.flat_map(|cause| [&cause.field, &cause.message]);
            for words in fields.chain([&status.message]) {
                assert!(!words.chars().any(char::is_control), "{words:?}");
            }
            return;
        }
    };
    let written = serde_json::to_vec(&policy).expect("a policy is JSON");
    let again = decode::object::<AccessPolicy>(&written, None);
    assert_eq!(again.as_ref(), Ok(&policy));
    // As the hub has it from its store.
    let stored: Value = serde_json::from_slice(&written).expect("JSON");
    assert_eq!(AccessPolicy::deserialize(stored).expect("a policy"), policy);

    for request in REQUESTS.iter() {
        decide(&policy, request);
    }
}

fn decide(policy: &AccessPolicy, request: &AccessRequest<'_>) {
    let decision = judge(policy, request);
    let [trace] = decision.trace.as_slice() else {
        panic!("one policy, {} verdicts", decision.trace.len());
    };
    assert_eq!(trace.policy, policy.metadata.name);
    assert_eq!(trace.effect, policy.spec.effect);
    assert_eq!(trace.matched, trace.reason == PolicyReason::Matches);
    let effect = match &decision.outcome {
        Outcome::Allowed { .. } => Some(Effect::Allow),
        Outcome::Denied { .. } => Some(Effect::Deny),
        Outcome::NoPolicy => None,
    };
    assert_eq!(effect, trace.matched.then_some(trace.effect));
    assert!(decision.review_at.is_none_or(|at| at > request.now));
    assert_eq!(judge(policy, request), decision);

    // A denial wins on either side, and another issuer's people are meant only by name.
    for both in [[policy, &*DENY_ALL], [&*DENY_ALL, policy]] {
        let together = evaluate(both, request);
        assert!(matches!(together.outcome, Outcome::Denied { .. }));
    }
    let principal = request.principal;
    if principal.standing == Standing::Foreign && policy.spec.subjects.issuers.is_empty() {
        assert!(!trace.matched);
    }
    let _ = hub_rights([policy], principal, request.now, request.source);
    if let Action::Session { server, login, .. } = request.action {
        let allowed = decision.is_allowed();
        let seen = may_see([policy], principal, server, request.now);
        assert!(seen || !allowed, "a server that nobody may know of");
        if login.login.is_root() && allowed {
            let rules = serde_json::to_value(&policy.spec.logins).expect("JSON");
            let rules = rules.as_array().expect("a list");
            assert!(rules.contains(&json!("root")), "root by {rules:?}");
        }
    }
}

fn judge(policy: &AccessPolicy, request: &AccessRequest<'_>) -> Decision {
    evaluate([policy], request)
}

/// Sessions as whom the mapping says, as root and as somebody who was asked for, and a right at the hub; each wanted by
/// somebody at home and by another issuer's person of the same names.
static REQUESTS: LazyLock<Vec<AccessRequest<'static>>> = LazyLock::new(|| {
    let mut requests = Vec::new();
    for principal in &*PEOPLE {
        let sessions = LOGINS.iter().map(|login| Action::Session {
            server: &SERVER,
            login,
            permission: &Permission::Ssh,
        });
        let hub = Action::Hub {
            verb: Verb::Update,
            resource: HubResource::Servers,
            name: Some("web01"),
        };
        requests.extend(sessions.chain([hub]).map(|action| AccessRequest {
            principal,
            action,
            source: Some(IpAddr::from([203, 0, 113, 7])),
            now: time("2026-12-21T09:00:00Z"),
            opened: None,
            sessions: 1,
        }));
    }
    requests
});

static PEOPLE: LazyLock<[Principal; 2]> = LazyLock::new(|| {
    [Standing::Home, Standing::Foreign].map(|standing| Principal {
        issuer: "https://id.example".parse().expect("an issuer"),
        subject: "248289761001".parse().expect("a subject"),
        user: "alice".parse().expect("a subject"),
        claims: serde_json::from_value(json!({
            "preferred_username": "alice", "amr": ["pwd", "mfa"], "department": "it",
            "unix_logins": ["deploy", "root"], "level": 3, "nested": {"a": null}, "email_verified": true,
        }))
        .expect("claims"),
        groups: ["dev", "ops"].map(|group| group.parse().expect("a group")).into(),
        method: AuthMethod::Oidc,
        standing,
        authenticated_at: Some(time("2026-12-21T08:00:00Z")),
        expires_at: Some(time("2026-12-21T10:00:00Z")),
    })
});

static LOGINS: LazyLock<[MappedLogin; 3]> = LazyLock::new(|| {
    [
        ("alice", LoginOrigin::Claim),
        ("root", LoginOrigin::Claim),
        ("deploy", LoginOrigin::Requested),
    ]
    .map(|(login, origin)| MappedLogin {
        login: login.parse().expect("a login"),
        origin,
    })
});

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let mut server = Server::new("web01".parse().expect("a name"), ServerSpec::default());
    server.metadata.labels =
        serde_json::from_value(json!({"env": "test", "site": "fra"})).expect("labels");
    server
});

static DENY_ALL: LazyLock<AccessPolicy> = LazyLock::new(|| {
    let policy = json!({
        "apiVersion": "kedge.dev/v1alpha1", "kind": "AccessPolicy", "metadata": {"name": "deny-all"},
        "spec": {
            "effect": "Deny", "subjects": {"users": ["*"], "issuers": ["*"]}, "servers": {"names": ["*"]},
            "logins": ["*"], "permissions": ["*"], "hub": {"roles": ["admin"]},
        },
    });
    decode::object(policy.to_string().as_bytes(), None).expect("a policy")
});

fn time(text: &str) -> Time {
    text.parse().expect("a time")
}
