//! `docs/identity-providers.md`: every policy is one.

#![cfg(test)]

use kedge_api::{AccessPolicy, Resource as _, decode};
use serde_json::Value;

const PAGE: &str = include_str!("../../../docs/identity-providers.md");

#[test]
fn every_policy_on_the_page_is_one_that_the_hub_takes() {
    let mut policies = 0;
    for block in PAGE.split("```yaml\n").skip(1) {
        let block = block.split("\n```").next().unwrap();
        let value: Value = serde_norway::from_str(block).unwrap_or_else(|e| panic!("{e}\n{block}"));
        if value.get("kind").and_then(Value::as_str) != Some(AccessPolicy::KIND) {
            continue;
        }
        let json = value.to_string();
        let policy = decode::object::<AccessPolicy>(json.as_bytes(), None)
            .unwrap_or_else(|status| panic!("{}\n{block}", status.message));
        // Without an issuer it would be about the hub's own people.
        assert!(!policy.spec.subjects.issuers.is_empty(), "{block}");
        policies += 1;
    }
    assert!(policies >= 3, "{policies}");
}
