//! Rights on the hub itself.

use kedge_api::policy::{
    AccessRequest, Action, HubRights, Outcome, PolicyReason, evaluate, hub_rights,
};
use kedge_api::resources::{HubResource, HubRole, Verb};
use kedge_api::{AccessPolicy, Principal};
use serde_json::{Value, json};

use crate::world::{now, person, policy};

fn may(policies: &[AccessPolicy], verb: Verb, resource: HubResource, name: Option<&str>) -> bool {
    let person = person();
    let request = request(&person, verb, resource, name);
    evaluate(policies, &request).is_allowed()
}

fn request<'a>(
    principal: &'a Principal,
    verb: Verb,
    resource: HubResource,
    name: Option<&'a str>,
) -> AccessRequest<'a> {
    AccessRequest {
        principal,
        action: Action::Hub {
            verb,
            resource,
            name,
        },
        source: Some("10.1.2.3".parse().unwrap()),
        now: now(),
        opened: None,
        sessions: 0,
    }
}

fn grant(name: &str, effect: &str, hub: &Value) -> AccessPolicy {
    policy(
        name,
        &json!({"effect": effect, "subjects": {"groups": ["dev"]}, "hub": hub}),
    )
}

#[test]
fn roles_have_the_rights_that_they_say() {
    let admin = [grant("a", "Allow", &json!({"roles": ["admin"]}))];
    let viewer = [grant("a", "Allow", &json!({"roles": ["viewer"]}))];
    for verb in Verb::ALL {
        for resource in HubResource::ALL {
            assert!(may(&admin, *verb, *resource, None));
            let reads = verb.is_read() || *resource == HubResource::Explanations;
            assert_eq!(
                may(&viewer, *verb, *resource, Some("x")),
                reads,
                "{verb} {resource}"
            );
            assert!(!may(&[], *verb, *resource, None));
        }
    }
}

#[test]
fn rules_are_verb_and_resource_and_name() {
    let rules = [grant(
        "a",
        "Allow",
        &json!({"rules": [
            {"verbs": ["create", "list"], "resources": ["jointokens"]},
            {"verbs": ["*"], "resources": ["servers"], "resourceNames": ["web01"]},
            {"verbs": ["get"], "resources": ["*"]},
        ]}),
    )];
    for (verb, resource, name, expected) in [
        (Verb::Create, HubResource::JoinTokens, None, true),
        (Verb::Delete, HubResource::JoinTokens, Some("x"), false),
        (Verb::Update, HubResource::Servers, Some("web01"), true),
        (Verb::Update, HubResource::Servers, Some("web02"), false),
        (Verb::Update, HubResource::Servers, Some("WEB01"), false),
        (Verb::List, HubResource::Servers, None, false),
        (Verb::Get, HubResource::AccessPolicies, Some("p"), true),
        (Verb::Watch, HubResource::AccessPolicies, None, false),
    ] {
        assert_eq!(
            may(&rules, verb, resource, name),
            expected,
            "{verb} {resource} {name:?}"
        );
    }
}

#[test]
fn what_is_denied_is_denied_to_those_who_hold_it_otherwise() {
    let admin = grant("a", "Allow", &json!({"roles": ["admin"]}));
    let named = grant(
        "b",
        "Deny",
        &json!({"rules": [{"verbs": ["get", "list", "delete"], "resources": ["servers"], "resourceNames": ["web01"]}]}),
    );
    let policies = [admin, named];
    assert!(!may(
        &policies,
        Verb::Delete,
        HubResource::Servers,
        Some("web01")
    ));
    assert!(may(
        &policies,
        Verb::Delete,
        HubResource::Servers,
        Some("web02")
    ));
    // All of them are more than those that are not denied.
    assert!(!may(&policies, Verb::List, HubResource::Servers, None));
    assert!(may(&policies, Verb::Watch, HubResource::Servers, None));
}

#[test]
fn sessions_give_no_rights_and_rights_give_no_sessions() {
    let session = policy(
        "a",
        &json!({"subjects": {"users": ["*"]}, "servers": {"names": ["*"]}, "logins": ["{login}"]}),
    );
    assert!(!may(
        &[session],
        Verb::Get,
        HubResource::Servers,
        Some("web01")
    ));
    let rights = grant("a", "Allow", &json!({"roles": ["admin"]}));
    let decision = crate::world::decide(&[rights], &crate::world::Ask::default());
    assert_eq!(decision.outcome, Outcome::NoPolicy);
    assert_eq!(decision.trace[0].reason, PolicyReason::Server);
}

#[test]
fn circumstances_hold_for_rights_too() {
    for (constraints, expected) in [
        (json!({}), true),
        (json!({"sourceRanges": ["10.0.0.0/8"]}), true),
        (json!({"sourceRanges": ["192.0.2.0/24"]}), false),
        (json!({"notAfter": "2026-01-01T12:00:00Z"}), false),
        (
            json!({"timeWindows": [{"from": "00:00", "to": "12:00"}]}),
            false,
        ),
        (json!({"maxAuthAge": "1h"}), true),
        (json!({"maxAuthAge": "59m"}), false),
        (
            json!({"requiredClaims": [{"key": "amr", "operator": "In", "values": ["hwk"]}]}),
            false,
        ),
        // How many sessions there are is no circumstance of a right.
        (json!({"maxSessions": 1}), true),
    ] {
        let spec = json!({"subjects": {"groups": ["dev"]}, "hub": {"roles": ["admin"]}, "constraints": constraints});
        let policies = [policy("a", &spec)];
        let allowed = may(&policies, Verb::Update, HubResource::Servers, Some("web01"));
        assert_eq!(allowed, expected, "{constraints}");
        let source = Some("10.1.2.3".parse().unwrap());
        let rights = hub_rights(&policies, &person(), now(), source);
        assert_eq!(
            rights.roles.contains(&HubRole::Admin),
            expected,
            "{constraints}"
        );
    }
}

#[test]
fn a_summary_has_what_is_granted_and_what_is_denied() {
    let policies = [
        grant(
            "a",
            "Allow",
            &json!({"roles": ["viewer"], "rules": [{"verbs": ["create"], "resources": ["jointokens"]}]}),
        ),
        grant(
            "b",
            "Allow",
            &json!({"rules": [{"verbs": ["create"], "resources": ["jointokens"]}]}),
        ),
        grant(
            "c",
            "Deny",
            &json!({"rules": [{"verbs": ["*"], "resources": ["history"]}]}),
        ),
        policy(
            "d",
            &json!({"subjects": {"users": ["bob"]}, "hub": {"roles": ["admin"]}}),
        ),
    ];
    let rights = hub_rights(&policies, &person(), now(), None);
    let shown = serde_json::to_value(&rights).unwrap();
    assert_eq!(
        shown,
        json!({
            "roles": ["viewer"],
            "rules": [{"verbs": ["create"], "resources": ["jointokens"]}],
            "deniedRules": [{"verbs": ["*"], "resources": ["history"]}],
        })
    );
    assert_eq!(
        serde_json::from_value::<HubRights>(json!({})).unwrap(),
        HubRights::default()
    );
}
