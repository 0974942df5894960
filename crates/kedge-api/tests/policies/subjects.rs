//! Whose people a policy is about, and what hostile claims do to it: nothing.

use kedge_api::policy::PolicyReason;
use kedge_api::{Principal, Standing};
use serde_json::{Value, json};

use crate::world::{Ask, decide_for, person, policy};

fn reason(person: &Principal, subjects: &Value) -> PolicyReason {
    with_effect(person, "Allow", subjects)
}

fn with_effect(person: &Principal, effect: &str, subjects: &Value) -> PolicyReason {
    let spec = json!({
        "effect": effect, "subjects": subjects, "servers": {"names": ["*"]}, "logins": ["alice"],
    });
    decide_for(person, &[policy("only", &spec)], &Ask::default()).trace[0].reason
}

#[test]
fn another_issuers_people_are_only_meant_where_it_is_named() {
    let home = Principal {
        issuer: "https://id.example".parse().unwrap(),
        ..person()
    };
    let foreign = Principal {
        issuer: "https://ci.example".parse().unwrap(),
        standing: Standing::Foreign,
        ..person()
    };
    for (subjects, expected_home, expected_foreign) in [
        (json!({"users": ["*"]}), true, false),
        (json!({"users": ["alice"]}), true, false),
        (json!({"groups": ["dev"]}), true, false),
        (
            json!({"claims": [{"key": "teams", "operator": "In", "values": ["red"]}]}),
            true,
            false,
        ),
        (json!({"issuers": ["*"]}), true, true),
        (json!({"issuers": ["*"], "users": ["bob"]}), false, false),
        (json!({"issuers": ["https://ci.example"]}), false, true),
        (json!({"issuers": ["https://ci.example/"]}), false, false),
        (json!({"issuers": ["https://CI.example"]}), false, false),
        (
            json!({"issuers": ["https://ci.example", "https://id.example"], "users": ["alice"]}),
            true,
            true,
        ),
        (json!({"issuers": ["static"]}), false, false),
    ] {
        for effect in ["Allow", "Deny"] {
            let matches = |who| with_effect(who, effect, &subjects) == PolicyReason::Matches;
            assert_eq!(matches(&home), expected_home, "{effect} {subjects}");
            assert_eq!(matches(&foreign), expected_foreign, "{effect} {subjects}");
        }
    }
    assert_eq!(
        reason(&foreign, &json!({"users": ["alice"]})),
        PolicyReason::Issuer
    );
    assert_eq!(
        reason(&person(), &json!({"issuers": ["static"]})),
        PolicyReason::Matches
    );
}

#[test]
fn policies_call_people_by_user_and_not_by_subject() {
    assert_eq!(
        reason(&person(), &json!({"users": ["alice"]})),
        PolicyReason::Matches
    );
    assert_eq!(
        reason(&person(), &json!({"users": ["a1b2c3"]})),
        PolicyReason::Subject
    );
}

#[test]
fn users_or_groups_and_all_claims() {
    let red = json!({"key": "teams", "operator": "In", "values": ["red"]});
    let it = json!({"key": "department", "operator": "In", "values": ["it"]});
    for (subjects, expected) in [
        (
            json!({"users": ["bob"], "groups": ["dev"]}),
            PolicyReason::Matches,
        ),
        (
            json!({"users": ["alice"], "groups": ["ops"]}),
            PolicyReason::Matches,
        ),
        (
            json!({"users": ["alice"], "claims": [red]}),
            PolicyReason::Matches,
        ),
        (
            json!({"users": ["bob"], "claims": [red]}),
            PolicyReason::Subject,
        ),
        (
            json!({"users": ["alice"], "claims": [red, it]}),
            PolicyReason::Claim { index: 1 },
        ),
    ] {
        assert_eq!(reason(&person(), &subjects), expected, "{subjects}");
    }
}

/// What each operator makes of each shape of a claim, for letting in and for keeping out.
#[test]
fn a_claim_of_another_shape_helps_nobody() {
    let cases = [
        // claim, In [a], NotIn [a], Exists, DoesNotExist; in an Allow
        (None, false, true, false, true),
        (Some(json!(null)), false, true, false, true),
        (Some(json!("a")), true, false, true, false),
        (Some(json!("b")), false, true, true, false),
        (Some(json!("A")), false, true, true, false),
        (Some(json!(" a")), false, true, true, false),
        (Some(json!("а")), false, true, true, false), // Cyrillic
        (Some(json!("a\0")), false, true, true, false),
        (Some(json!("")), false, true, true, false),
        (Some(json!([])), false, true, true, false),
        (Some(json!(["b", "a"])), true, false, true, false),
        (Some(json!(["b"])), false, true, true, false),
        (Some(json!(["b", 7])), false, false, true, false),
        (Some(json!(["a", 7])), true, false, true, false),
        (Some(json!([["a"]])), false, false, true, false),
        (Some(json!(7)), false, false, true, false),
        (Some(json!({"a": "a"})), false, false, true, false),
        (Some(json!(true)), false, true, true, false),
    ];
    for (claim, is_in, not_in, exists, absent) in cases {
        let mut who = person();
        if let Some(claim) = &claim {
            who.claims.insert("x".into(), claim.clone());
        }
        for (operator, expected) in [
            ("In", is_in),
            ("NotIn", not_in),
            ("Exists", exists),
            ("DoesNotExist", absent),
        ] {
            let mut condition = json!({"key": "x", "operator": operator});
            if operator.ends_with("In") {
                condition["values"] = json!(["a"]);
            }
            let subjects = json!({"claims": [condition]});
            let matched = reason(&who, &subjects) == PolicyReason::Matches;
            assert_eq!(matched, expected, "{operator} {claim:?}");
            // What cannot be read keeps nobody from being denied.
            let unreadable = !is_in && !not_in;
            let denied = with_effect(&who, "Deny", &subjects) == PolicyReason::Matches;
            let expected = expected || (unreadable && operator.ends_with("In"));
            assert_eq!(denied, expected, "Deny {operator} {claim:?}");
        }
    }
    let verified =
        json!({"claims": [{"key": "email_verified", "operator": "In", "values": ["true"]}]});
    assert_eq!(reason(&person(), &verified), PolicyReason::Matches);
    let mut text = person();
    text.claims.insert("email_verified".into(), json!(false));
    assert_eq!(reason(&text, &verified), PolicyReason::Claim { index: 0 });
}
