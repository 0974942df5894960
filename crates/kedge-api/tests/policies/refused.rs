//! Bad policies are refused when they are written, with the path of each field that is wrong.

use kedge_api::{AccessPolicy, Status, decode};
use serde_json::{Value, json};

fn judged(patch: &Value) -> Result<AccessPolicy, Status> {
    let mut spec = json!({
        "subjects": {"users": ["alice"]}, "servers": {"names": ["*"]}, "logins": ["{login}"],
    });
    for (key, value) in patch.as_object().unwrap() {
        spec[key] = value.clone();
    }
    let object = json!({
        "apiVersion": "kedge.dev/v1alpha1", "kind": "AccessPolicy", "metadata": {"name": "p"}, "spec": spec,
    });
    decode::object::<AccessPolicy>(object.to_string().as_bytes(), None)
}

fn paths(patch: &Value) -> Vec<String> {
    match judged(patch) {
        Ok(_) => Vec::new(),
        Err(status) => {
            let details = status
                .details
                .unwrap_or_else(|| panic!("{}", status.message));
            details
                .causes
                .into_iter()
                .map(|cause| cause.field)
                .collect()
        }
    }
}

fn refused(patch: &Value, expected: &[&str]) {
    assert_eq!(paths(patch), expected, "{patch}");
}

fn constraint(value: &Value, expected: &[&str]) {
    refused(&json!({"constraints": value}), expected);
}

#[test]
fn what_names_nothing() {
    refused(&json!({}), &[]);
    refused(&json!({"subjects": {}}), &["spec.subjects"]);
    refused(&json!({"servers": {}}), &["spec.servers"]);
    refused(&json!({"logins": []}), &["spec.logins"]);
    refused(&json!({"permissions": []}), &["spec.permissions"]);
    refused(
        &json!({"subjects": {}, "servers": {}, "logins": []}),
        &["spec.subjects", "spec.servers", "spec.logins"],
    );
    refused(&json!({"hub": {}}), &["spec.hub"]);
    refused(
        &json!({"hub": {"roles": ["viewer"]}, "servers": {}}),
        &["spec.servers"],
    );
}

#[test]
fn what_is_too_long() {
    refused(&json!({"logins": vec!["alice"; 257]}), &["spec.logins"]);
    refused(
        &json!({"subjects": {"claims": [{"key": "x", "operator": "In", "values": vec!["a"; 257]}]}}),
        &["spec.subjects.claims[0].values"],
    );
    let window = json!({"from": "08:00", "to": "18:00"});
    constraint(
        &json!({"timeWindows": vec![window; 15]}),
        &["spec.constraints.timeWindows"],
    );
}

#[test]
fn words_that_are_none() {
    refused(
        &json!({"permissions": ["ssh", "fly"]}),
        &["spec.permissions[1]"],
    );
    refused(
        &json!({"subjects": {"groups": ["dev", "*"]}}),
        &["spec.subjects.groups[1]"],
    );
    refused(&json!({"effect": "deny"}), &["spec.effect"]);
    refused(&json!({"logins": ["alice", "*"]}), &["spec.logins[1]"]);
    refused(&json!({"logins": ["Alice"]}), &["spec.logins[0]"]);
    refused(&json!({"logins": ["{}"]}), &["spec.logins[0]"]);
    refused(&json!({"logins": ["{a}{b}"]}), &["spec.logins[0]"]);
    refused(&json!({"logins": ["x{login}"]}), &["spec.logins[0]"]);
    refused(&json!({"permissions": ["*"]}), &["spec.permissions[0]"]);
    refused(
        &json!({"subjects": {"issuers": ["*", "http://id.example"]}}),
        &["spec.subjects.issuers[1]"],
    );
    refused(
        &json!({"subjects": {"issuers": ["https://id.example?x=1"]}}),
        &["spec.subjects.issuers[0]"],
    );
    refused(&json!({"surprise": 1}), &["spec.surprise"]);
    refused(
        &json!({"hub": {"roles": ["owner"]}}),
        &["spec.hub.roles[0]"],
    );
    refused(
        &json!({"hub": {"rules": [{"verbs": ["get", "patch"], "resources": ["servers"]}]}}),
        &["spec.hub.rules[0].verbs[1]"],
    );
    refused(
        &json!({"hub": {"rules": [{"verbs": ["get"], "resources": ["secrets"]}]}}),
        &["spec.hub.rules[0].resources[0]"],
    );
    refused(
        &json!({"hub": {"rules": [{"verbs": [], "resources": []}]}}),
        &["spec.hub.rules[0].verbs", "spec.hub.rules[0].resources"],
    );
}

#[test]
fn conditions_that_say_nothing() {
    let claims = |condition: Value, expected: &[&str]| {
        refused(&json!({"subjects": {"claims": [condition]}}), expected);
    };
    claims(
        json!({"key": "x", "operator": "In", "values": ["a", "b"]}),
        &[],
    );
    claims(
        json!({"key": "x", "operator": "In", "values": []}),
        &["spec.subjects.claims[0].values"],
    );
    claims(
        json!({"key": "x", "operator": "NotIn"}),
        &["spec.subjects.claims[0].values"],
    );
    claims(
        json!({"key": "x", "operator": "Exists", "values": ["a"]}),
        &["spec.subjects.claims[0].values"],
    );
    claims(
        json!({"key": "x", "operator": "DoesNotExist", "values": ["a"]}),
        &["spec.subjects.claims[0].values"],
    );
    claims(
        json!({"key": "x", "operator": "Equals", "values": ["a"]}),
        &["spec.subjects.claims[0].operator"],
    );
    claims(
        json!({"key": "x", "operator": "In", "values": ["a", "*"]}),
        &["spec.subjects.claims[0].values[1]"],
    );
    claims(
        json!({"key": "x\n", "operator": "Exists"}),
        &["spec.subjects.claims[0].key"],
    );
    claims(
        json!({"key": "x", "operator": "In", "values": ["a\u{202e}"]}),
        &["spec.subjects.claims[0].values[0]"],
    );
    claims(
        json!({"key": "x", "operator": "In", "values": [true]}),
        &["spec.subjects.claims[0].values[0]"],
    );
    refused(
        &json!({"servers": {"matchExpressions": [{"key": "env", "operator": "In"}]}}),
        &["spec.servers.matchExpressions[0].values"],
    );
    refused(
        &json!({"servers": {"matchExpressions": [{"key": "a b", "operator": "Exists"}]}}),
        &["spec.servers.matchExpressions[0].key"],
    );
}

#[test]
fn constraints_that_cannot_be_meant() {
    constraint(
        &json!({"sourceRanges": ["10.0.0.1/8"]}),
        &["spec.constraints.sourceRanges[0]"],
    );
    // Nobody would be in it, since an address of IPv4 counts as such.
    for net in [
        "::ffff:10.0.0.0/104",
        "::ffff:192.0.2.1/128",
        "::ffff:0:0/96",
    ] {
        constraint(
            &json!({"sourceRanges": ["10.0.0.0/8", net]}),
            &["spec.constraints.sourceRanges[1]"],
        );
    }
    constraint(&json!({"sourceRanges": ["::/0", "::ffff:0:0:0/95"]}), &[]);
    for span in [
        "0s",
        "",
        "1d",
        "8",
        "h",
        "-1h",
        "1.5h",
        "1s1m",
        "90000000h",
        "8h ",
        "８h",
    ] {
        constraint(
            &json!({"maxSession": span}),
            &["spec.constraints.maxSession"],
        );
        constraint(
            &json!({"maxAuthAge": span}),
            &["spec.constraints.maxAuthAge"],
        );
    }
    constraint(
        &json!({"maxSession": 3600}),
        &["spec.constraints.maxSession"],
    );
    constraint(
        &json!({"maxSessionSeconds": 3600}),
        &["spec.constraints.maxSessionSeconds"],
    );
    constraint(
        &json!({"maxSessions": 0}),
        &["spec.constraints.maxSessions"],
    );
    constraint(
        &json!({"notBefore": "2026-01-01T00:00:00Z", "notAfter": "2026-01-01T00:00:00Z"}),
        &["spec.constraints.notAfter"],
    );
    constraint(
        &json!({"requiredClaims": [{"key": "amr", "operator": "In"}]}),
        &["spec.constraints.requiredClaims[0].values"],
    );
}

#[test]
fn hours_that_no_clock_shows() {
    let window = |value: Value, field: &str| {
        let path = format!("spec.constraints.timeWindows[0].{field}");
        constraint(&json!({"timeWindows": [value]}), &[&path]);
    };
    for time in [
        "8:00", "25:00", "24:01", "08:60", "08:00:00", "8 am", "-1:00", "",
    ] {
        window(json!({"from": time, "to": "18:00"}), "from");
        window(json!({"from": "08:00", "to": time}), "to");
    }
    window(json!({"from": "24:00", "to": "18:00"}), "from");
    window(
        json!({"days": ["Monday"], "from": "08:00", "to": "18:00"}),
        "days[0]",
    );
    window(
        json!({"days": ["Mon", "Mon"], "from": "08:00", "to": "18:00"}),
        "days[1]",
    );
    for zone in ["Europe/Atlantis", "", "../../etc/passwd", "Berlin", "CET+1"] {
        window(
            json!({"from": "08:00", "to": "18:00", "timeZone": zone}),
            "timeZone",
        );
    }
}

#[test]
fn a_denial_may_have_circumstances_and_no_limits() {
    let denial = |constraints: Value, expected: &[&str]| {
        refused(
            &json!({"effect": "Deny", "logins": ["*"], "permissions": ["*"], "constraints": constraints}),
            expected,
        );
    };
    denial(
        json!({
            "sourceRanges": ["10.0.0.0/8"],
            "notBefore": "2026-01-01T00:00:00Z",
            "notAfter": "2027-01-01T00:00:00Z",
            "timeWindows": [{"from": "00:00", "to": "24:00"}],
            "requiredClaims": [{"key": "amr", "operator": "NotIn", "values": ["mfa"]}],
        }),
        &[],
    );
    denial(
        json!({"maxSession": "8h", "maxAuthAge": "12h", "maxSessions": 5}),
        &[
            "spec.constraints.maxSession",
            "spec.constraints.maxAuthAge",
            "spec.constraints.maxSessions",
        ],
    );
}

#[test]
fn a_policy_about_the_hub_needs_no_servers() {
    let object = |spec: Value| {
        let object = json!({
            "apiVersion": "kedge.dev/v1alpha1", "kind": "AccessPolicy", "metadata": {"name": "p"}, "spec": spec,
        });
        decode::object::<AccessPolicy>(object.to_string().as_bytes(), None)
    };
    object(json!({"subjects": {"groups": ["ops"]}, "hub": {"roles": ["admin"]}})).unwrap();
    object(json!({"subjects": {"groups": ["ops"]}})).unwrap_err();
}

/// What people read who have written a bad policy.
#[test]
fn golden_of_messages() {
    let window = |window: Value| json!({"constraints": {"timeWindows": [window]}});
    let page: String = [
        json!({"subjects": {}}),
        json!({"logins": ["Alice"]}),
        json!({"logins": ["*"]}),
        json!({"permissions": ["fly"]}),
        json!({"effect": "deny"}),
        json!({"subjects": {"issuers": ["http://id.example"]}}),
        json!({"subjects": {"claims": [{"key": "department", "operator": "Equals", "values": ["it"]}]}}),
        json!({"subjects": {"claims": [{"key": "department", "operator": "In"}]}}),
        json!({"subjects": {"claims": [{"key": "department", "operator": "Exists", "values": ["it"]}]}}),
        json!({"subjects": {"claims": {"department": ["it"]}}}),
        json!({"constraints": {"maxSession": "1d"}}),
        json!({"constraints": {"maxSessionSeconds": 60}}),
        json!({"constraints": {"sourceRanges": ["10.0.0.1/8"]}}),
        window(json!({"from": "8:00", "to": "18:00"})),
        window(json!({"days": ["Monday"], "from": "08:00", "to": "18:00"})),
        window(json!({"from": "08:00", "to": "18:00", "timeZone": "Europe/Atlantis"})),
        json!({"effect": "Deny", "constraints": {"maxSession": "8h"}}),
        json!({"hub": {"rules": [{"verbs": ["approve"], "resources": ["servers"]}]}}),
        json!({"logins": ["a\u{1b}[2J"]}),
    ]
    .iter()
    .map(|patch| format!("{patch}\n  {}\n", judged(patch).unwrap_err().message))
    .collect();
    insta::assert_snapshot!(page);
}
