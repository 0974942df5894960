//! `docs/policy.md`: every example is what it says.

#![cfg(test)]

use kedge_api::expectations::{Expectation, Table, TablePerson, TableServer};
use kedge_api::{AccessPolicy, Resource, Time, decode};
use schemars::{JsonSchema, SchemaGenerator};
use serde::Deserialize;
use serde_json::Value;

#[test]
fn every_yaml_block_is_policies_or_a_table_that_passes() {
    let page = page();
    let (mut policies, mut tables) = (0, 0);
    for block in blocks(&page, "yaml") {
        for document in serde_norway::Deserializer::from_str(block) {
            let value = Value::deserialize(document).unwrap_or_else(|e| panic!("{e}\n{block}"));
            let json = value.to_string();
            if value.get("expect").is_some() {
                let table = Table::parse(json.as_bytes())
                    .unwrap_or_else(|s| panic!("{}\n{block}", s.message));
                let now: Time = "2026-11-20T09:00:00Z".parse().unwrap();
                let report = table.check(&table.inline().unwrap(), now);
                assert!(report.passed(), "{report:#?}");
                assert!(report.untested.is_empty(), "{:?}", report.untested);
                tables += 1;
            } else {
                decode::object::<AccessPolicy>(json.as_bytes(), None)
                    .unwrap_or_else(|status| panic!("{}\n{block}", status.message));
                policies += 1;
            }
        }
    }
    assert!(
        policies >= 9 && tables >= 1,
        "{policies} policies, {tables} tables"
    );
}

/// The examples above are read; that the page leaves nothing out is looked for here.
#[test]
fn every_field_of_a_policy_and_of_a_table_is_on_the_page() {
    let page = page();
    let mut fields = properties::<AccessPolicy>();
    fields.retain(|field| {
        !matches!(
            field.as_str(),
            "status" | "uid" | "resourceVersion" | "generation"
        )
    });
    fields.extend(properties::<Table>());
    fields.extend(properties::<TableServer>());
    fields.extend(properties::<TablePerson>());
    fields.extend(properties::<Expectation>());
    for field in fields {
        if matches!(
            field.as_str(),
            "creationTimestamp" | "annotations" | "spec" | "metadata"
        ) {
            continue;
        }
        assert!(page.contains(&field), "{field}");
    }
}

/// What people copy from the page is what the fuzzer begins with.
#[test]
fn every_policy_of_the_page_is_in_the_corpus_of_policies() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/policy");
    let known: Vec<_> = std::fs::read_dir(corpus)
        .unwrap()
        .filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok())
        .collect();
    let page = page();
    for block in blocks(&page, "yaml").filter(|block| !block.contains("expect:")) {
        for policy in block.split("\n---\n") {
            assert!(
                known.iter().any(|text| text.trim() == policy.trim()),
                "{policy}"
            );
        }
    }
}

#[test]
fn the_names_of_the_page_are_those_of_the_kind() {
    assert!(page().contains(AccessPolicy::KIND));
}

/// The names of all fields of a type, wherever they are.
fn properties<T: JsonSchema>() -> Vec<String> {
    fn walk(node: &Value, out: &mut Vec<String>) {
        match node {
            Value::Object(map) => {
                if let Some(Value::Object(properties)) = map.get("properties") {
                    out.extend(properties.keys().cloned());
                }
                map.values().for_each(|value| walk(value, out));
            }
            Value::Array(list) => list.iter().for_each(|value| walk(value, out)),
            _ => {}
        }
    }
    let mut out = Vec::new();
    walk(
        SchemaGenerator::default()
            .into_root_schema_for::<T>()
            .as_value(),
        &mut out,
    );
    out
}

fn blocks<'a>(page: &'a str, language: &str) -> impl Iterator<Item = &'a str> {
    let fence = format!("```{language}\n");
    page.split("\n```").filter_map(move |part| {
        let part = part.strip_prefix('\n').unwrap_or(part);
        format!("```{part}")
            .starts_with(&fence)
            .then(|| part.split_once('\n').unwrap().1)
    })
}

fn page() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/policy.md");
    std::fs::read_to_string(path).unwrap()
}
