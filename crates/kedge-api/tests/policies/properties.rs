//! What holds for any policies and any request of a small world.

use std::collections::BTreeSet;

use kedge_api::AccessPolicy;
use kedge_api::login::LoginOrigin;
use kedge_api::policy::may_see;
use kedge_api::resources::LoginRule;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::{Ask, decide, now, person, policy, server};

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
