//! What holds for any policies and any request of a small world.

use std::collections::BTreeSet;
use std::time::Duration;

use kedge_api::login::LoginOrigin;
use kedge_api::policy::{Outcome, PolicyReason, is_about, may_see};
use kedge_api::resources::{Effect, LoginRule};
use kedge_api::{AccessPolicy, Time};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::{Ask, decide, person, policy, server};

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
        prop_assume!(!matches(&extra, &ask));
        let before = decide(&policies, &ask);
        let mut more = policies;
        more.push(extra.clone());
        let mut after = decide(&more, &ask);
        after.trace.retain(|trace| trace.policy != extra.metadata.name);
        prop_assert_eq!(&before.outcome, &after.outcome);
        prop_assert_eq!(before.trace, after.trace);
        // It may only make the hub look again earlier.
        prop_assert!(after.review_at == before.review_at
            || after.review_at.is_some_and(|at| before.review_at.is_none_or(|before| at < before)));
    }

    #[test]
    fn another_policy_that_allows_never_takes_away(
        policies in any_policies(), ask in any_ask(), extra in any_policy("extra"),
    ) {
        prop_assume!(extra.spec.effect == Effect::Allow);
        let allowed = decide(&policies, &ask).is_allowed();
        let mut more = policies;
        more.push(extra);
        prop_assert!(!allowed || decide(&more, &ask).is_allowed());
    }

    #[test]
    fn one_that_denies_always_wins(policies in any_policies(), ask in any_ask(), extra in any_policy("extra")) {
        let mut extra = extra;
        extra.spec.effect = Effect::Deny;
        let matching = matches(&extra, &ask);
        let before = decide(&policies, &ask);
        let mut more = policies;
        more.push(extra);
        let after = decide(&more, &ask);
        if matching {
            let denied = matches!(after.outcome, Outcome::Denied { .. });
            prop_assert!(denied);
        } else {
            prop_assert_eq!(after.outcome, before.outcome);
        }
    }

    #[test]
    fn the_outcome_is_that_of_the_first_policy_that_matches_alone(policies in any_policies(), ask in any_ask()) {
        let decision = decide(&policies, &ask);
        let alone = |effect| -> BTreeSet<_> {
            policies
                .iter()
                .filter(|policy| policy.spec.effect == effect && matches(policy, &ask))
                .map(|policy| policy.metadata.name.clone())
                .collect()
        };
        let (allowing, denying) = (alone(Effect::Allow), alone(Effect::Deny));
        prop_assert_eq!(decision.outcome.policy(), denying.first().or(allowing.first()));
        prop_assert_eq!(decision.is_allowed(), denying.is_empty() && !allowing.is_empty());
    }

    #[test]
    fn the_trace_agrees_with_the_outcome(policies in any_policies(), ask in any_ask()) {
        let decision = decide(&policies, &ask);
        let first = |effect| {
            decision.trace.iter().find(|t| t.matched && t.effect == effect).map(|t| t.policy.clone())
        };
        let expected = match (first(Effect::Deny), first(Effect::Allow)) {
            (Some(policy), _) => (false, Some(policy)),
            (None, Some(policy)) => (true, Some(policy)),
            (None, None) => (false, None),
        };
        prop_assert_eq!((decision.is_allowed(), decision.outcome.policy().cloned()), expected);
        for trace in &decision.trace {
            prop_assert_eq!(trace.matched, trace.reason == PolicyReason::Matches);
        }
        let mut names: Vec<_> = policies.iter().map(|policy| policy.metadata.name.clone()).collect();
        names.sort();
        prop_assert_eq!(decision.trace.into_iter().map(|t| t.policy).collect::<Vec<_>>(), names);
    }

    #[test]
    fn nothing_changes_before_it_is_time_to_look_again(
        policies in any_policies(), ask in any_ask(), later in 0_i64..14 * 24 * 3600,
    ) {
        let at = |time: Time, ask: &Ask| Ask { now: String::leak(time.to_string()), opened: Some(ask.now), ..*ask };
        // A session that is looked at again: its freshness was judged when it began.
        let now = at(ask.now.parse().unwrap(), &ask);
        let before = decide(&policies, &now);
        let then = now.now.parse::<Time>().unwrap().saturating_add(Duration::from_secs(later.unsigned_abs()));
        let then = match before.review_at {
            Some(review) => {
                prop_assert!(review > now.now.parse::<Time>().unwrap());
                let last = Time::from(jiff::Timestamp::from_second(review.as_second() - 1).unwrap());
                then.min(last)
            }
            None => then,
        };
        let after = decide(&policies, &Ask { now: String::leak(then.to_string()), ..now });
        prop_assert_eq!(before.outcome, after.outcome);
        prop_assert_eq!(before.review_at, after.review_at);
    }

    #[test]
    fn never_root_without_literal_root_and_never_a_request_without_a_list(policies in any_policies(), ask in any_ask()) {
        if let Outcome::Allowed { policy: name, .. } = decide(&policies, &ask).outcome {
            let deciding = policies.iter().find(|policy| policy.metadata.name == name).unwrap();
            let listed = deciding.spec.logins.contains(&LoginRule::Literal(ask.login.parse().unwrap()));
            let held = deciding.spec.logins.contains(&"{logins}".parse().unwrap()) && ask.login == "deploy";
            if ask.login == "root" {
                prop_assert!(listed);
            } else if ask.origin == LoginOrigin::Requested {
                prop_assert!(listed || held);
            }
        }
    }

    #[test]
    fn who_may_enter_may_see(policies in any_policies(), ask in any_ask()) {
        let visible = may_see(&policies, &person(), &server(), ask.now.parse().unwrap());
        prop_assert!(visible || !decide(&policies, &ask).is_allowed());
        if policies.is_empty() {
            prop_assert!(!visible);
        }
    }

    #[test]
    fn a_policy_that_is_about_others_may_be_left_out(policies in any_policies(), ask in any_ask()) {
        let (person, now) = (person(), ask.now.parse().unwrap());
        let about: Vec<_> = policies.iter().filter(|policy| is_about(policy, &person)).cloned().collect();
        prop_assert_eq!(decide(&policies, &ask).outcome, decide(&about, &ask).outcome);
        let server = server();
        prop_assert_eq!(may_see(&policies, &person, &server, now), may_see(&about, &person, &server, now));
    }
}

/// Whether a policy, alone, has something to say.
fn matches(policy: &AccessPolicy, ask: &Ask) -> bool {
    decide(std::slice::from_ref(policy), ask).outcome != Outcome::NoPolicy
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
        prop::sample::select(vec![
            "2026-01-01T12:00:00Z",
            "2026-01-03T23:59:59Z",
            "2026-03-29T00:59:59Z",
            "2026-10-25T00:30:00Z",
        ]),
        0_u32..3,
    )
        .prop_map(|(login, origin, source, now, sessions)| Ask {
            login,
            origin,
            source,
            now,
            opened: None,
            sessions,
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
            json!({"claims": [{"key": "department", "operator": "In", "values": ["rnd"]}]}),
            json!({"users": ["*"], "claims": [{"key": "level", "operator": "NotIn", "values": ["7"]}]}),
            json!({"issuers": ["https://ci.example"]}),
            json!({}),
        ]),
        pick(vec![
            json!({"names": ["web01"]}),
            json!({"names": ["*"]}),
            json!({"matchLabels": {"env": "prod"}}),
            json!({"matchLabels": {"env": "dev"}}),
            json!({"matchExpressions": [{"key": "tier", "operator": "In", "values": ["web"]}]}),
            json!({}),
        ]),
        pick(vec![
            json!(["{login}"]),
            json!(["root"]),
            json!(["deploy", "{login}"]),
            json!(["alice"]),
            json!(["{logins}"]),
            json!(["*"]),
            json!([]),
        ]),
        pick(vec![json!(["ssh"]), json!(["ssh"]), json!(["exec"]), json!(["*"])]),
        pick(vec![
            json!({}),
            json!({}),
            json!({"sourceRanges": ["10.0.0.0/8"]}),
            json!({"maxSession": "60s"}),
            json!({"maxAuthAge": "2h"}),
            json!({"maxSessions": 1}),
            json!({"requiredClaims": [{"key": "amr", "operator": "In", "values": ["mfa"]}]}),
            json!({"timeWindows": [{"days": ["Thu", "Sat"], "from": "12:00", "to": "02:30", "timeZone": "Europe/Berlin"}]}),
            json!({"timeWindows": [{"from": "02:15", "to": "02:45", "timeZone": "Europe/Berlin"}]}),
            json!({"notBefore": "2026-01-02T00:00:00Z", "notAfter": "2026-01-05T00:00:00Z"}),
            json!({"notAfter": "2025-01-01T00:00:00Z"}),
        ]),
        prop::sample::select(vec!["Allow", "Allow", "Deny"]),
    )
        .prop_map(
            move |(subjects, servers, logins, permissions, constraints, effect)| {
                policy(
                    name,
                    &json!({
                        "effect": effect, "subjects": subjects, "servers": servers, "logins": logins,
                        "permissions": permissions, "constraints": constraints,
                    }),
                )
            },
        )
}
