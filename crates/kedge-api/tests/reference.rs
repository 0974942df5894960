//! `docs/reference/api.md` and the types say the same: every field, reason, word and name of a kind.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};

use kedge_api::expression::Operator;
use kedge_api::login::LoginOrigin;
use kedge_api::policy::PolicyReason;
use kedge_api::resources::{
    CONNECTED, CREDENTIALS_RESOLVED, Day, Effect, HOST_KEY_VERIFIED, HubResource, HubRole, READY,
    Verb,
};
use kedge_api::rest::{
    AgentReport, Discovery, Enrolled, Enrollment, Explanation, ExplanationRequest, FactOrigin,
    History, HistoryEvent, HostKeyAcceptance, Replay, ReplayRequest, ServerAccess, SessionList,
    SessionState, Verdict, WhoAmI,
};
use kedge_api::{
    AccessPolicy, AuthMethod, Condition, ConditionStatus, JoinToken, List, ObjectMeta, Permission,
    Resource, Server, ServerPhase, Standing, Status, StatusReason,
};
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;

#[test]
fn every_field_is_in_the_reference_and_every_field_there_is_real() {
    let sections = sections();
    for (section, fields) in [
        ("Metadata", fields::<ObjectMeta>(&[])),
        ("Conditions", fields::<Condition>(&[])),
        ("Server", fields::<Server>(&["ObjectMeta", "Condition"])),
        ("AccessPolicy", fields::<AccessPolicy>(&["ObjectMeta"])),
        ("JoinToken", {
            let mut fields = fields::<JoinToken>(&["ObjectMeta"]);
            // Shown once, and no field of the type, so that it cannot be stored.
            fields.insert("status.token".to_owned());
            fields
        }),
        ("Lists", fields::<List<Server>>(&["Server"])),
        ("Status", fields::<Status>(&[])),
        ("Discovery", fields::<Discovery>(&[])),
        ("Enrollment", fields::<Enrollment>(&[])),
        ("Enrolled", fields::<Enrolled>(&["Server"])),
        ("AgentReport", fields::<AgentReport>(&[])),
        ("HostKeyAcceptance", fields::<HostKeyAcceptance>(&[])),
        ("WhoAmI", fields::<WhoAmI>(&[])),
        ("ServerAccess", fields::<ServerAccess>(&[])),
        ("SessionList", fields::<SessionList>(&[])),
        ("ExplanationRequest", fields::<ExplanationRequest>(&[])),
        ("Explanation", fields::<Explanation>(&[])),
        ("History", fields::<History>(&[])),
        ("ReplayRequest", fields::<ReplayRequest>(&["AccessPolicy"])),
        ("Replay", fields::<Replay>(&["HistoryRecord"])),
    ] {
        let text = sections
            .get(section)
            .unwrap_or_else(|| panic!("no section {section}"));
        assert_eq!(table(text, "field"), fields, "section {section}");
    }
}

#[test]
fn every_reason_is_there_with_its_code() {
    let sections = sections();
    let rows: BTreeSet<String> = rows(&sections["Status"], "reason")
        .map(|cells| format!("{} {}", cells[0].trim_matches('`'), cells[1]))
        .collect();
    let known = StatusReason::KNOWN
        .iter()
        .map(|reason| format!("{reason} {}", reason.code()));
    assert_eq!(rows, known.collect());
}

#[test]
fn every_word_and_name_is_there() {
    let sections = sections();
    let has = |section: &str, word: &str| {
        assert!(
            sections[section].contains(&format!("`{word}`")),
            "{word} in {section}"
        );
    };
    ServerPhase::KNOWN
        .iter()
        .for_each(|phase| has("Server", phase.as_str()));
    [CONNECTED, CREDENTIALS_RESOLVED, HOST_KEY_VERIFIED, READY]
        .iter()
        .for_each(|condition| has("Server", condition));
    ConditionStatus::KNOWN
        .iter()
        .for_each(|status| has("Conditions", status.as_str()));
    Permission::KNOWN
        .iter()
        .for_each(|permission| has("AccessPolicy", permission.as_str()));
    AuthMethod::KNOWN
        .iter()
        .for_each(|method| has("Discovery", method.as_str()));
    for (section, words) in [
        ("AccessPolicy", words(Effect::ALL)),
        ("AccessPolicy", words(Operator::ALL)),
        ("AccessPolicy", words(HubRole::ALL)),
        ("AccessPolicy", words(Verb::ALL)),
        ("AccessPolicy", words(HubResource::ALL)),
        ("AccessPolicy", words(Day::ALL)),
        ("SessionList", words(SessionState::KNOWN)),
        ("Explanation", words(LoginOrigin::ALL)),
        ("Explanation", words(Verdict::KNOWN)),
        ("Explanation", words(FactOrigin::KNOWN)),
        ("History", words(HistoryEvent::KNOWN)),
        ("History", words(Standing::ALL)),
    ] {
        words.iter().for_each(|word| has(section, word));
    }
    for event in ["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"] {
        has("Watches", event);
    }
    kind::<Server>(&sections);
    kind::<AccessPolicy>(&sections);
    kind::<JoinToken>(&sections);
}

#[test]
fn every_reason_of_a_policy_is_there() {
    let schema = SchemaGenerator::default().into_root_schema_for::<PolicyReason>();
    let variants = schema.as_value()["oneOf"].as_array().unwrap();
    let codes = variants
        .iter()
        .map(|variant| variant["properties"]["code"]["const"].as_str().unwrap())
        .filter(|code| *code != "unknown");
    assert_eq!(
        table(&sections()["Explanation"], "code"),
        codes.map(str::to_owned).collect()
    );
}

#[test]
fn the_examples_are_objects() {
    let sections = sections();
    let example = |section: &str| {
        let (_, rest) = sections[section].split_once("```json").unwrap();
        rest.split_once("```").unwrap().0.to_owned()
    };
    kedge_api::decode::object::<Server>(example("Server").as_bytes(), None).unwrap();
    kedge_api::decode::object::<AccessPolicy>(example("AccessPolicy").as_bytes(), None).unwrap();
}

fn words(values: &[impl ToString]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

fn kind<R: Resource>(sections: &BTreeMap<String, String>) {
    for name in [R::PLURAL, R::SINGULAR].iter().chain(R::SHORT_NAMES) {
        assert!(
            sections[R::KIND].contains(&format!("`{name}`")),
            "{name} in {}",
            R::KIND
        );
    }
    assert!(sections["Paths"].contains(R::PLURAL));
}

/// The paths of a type's fields; types with a section of their own are not entered.
fn fields<T: JsonSchema>(documented: &[&str]) -> BTreeSet<String> {
    let schema = SchemaGenerator::default().into_root_schema_for::<T>();
    let root = schema.as_value();
    let mut fields = BTreeSet::new();
    for (name, property) in root["properties"].as_object().unwrap() {
        walk(root, property, name, documented, &mut fields);
    }
    fields
}

fn walk(root: &Value, node: &Value, path: &str, documented: &[&str], out: &mut BTreeSet<String>) {
    if let Some(choices) = node.get("anyOf").and_then(Value::as_array) {
        let mut inner: Vec<_> = choices
            .iter()
            .filter(|choice| choice["type"] != "null")
            .collect();
        if let (Some(only), true) = (inner.pop(), inner.is_empty()) {
            return walk(root, only, path, documented, out);
        }
    }
    let node = match node.get("$ref").and_then(Value::as_str) {
        Some(target) => {
            let name = target.rsplit('/').next().unwrap();
            if documented.contains(&name) {
                out.insert(path.trim_end_matches("[]").to_owned());
                return;
            }
            root.pointer(target.trim_start_matches('#')).unwrap()
        }
        None => node,
    };
    if let Some(properties) = node.get("properties").and_then(Value::as_object) {
        for (name, property) in properties {
            walk(root, property, &format!("{path}.{name}"), documented, out);
        }
    } else if let Some(items) = node.get("items") {
        walk(root, items, &format!("{path}[]"), documented, out);
    } else {
        out.insert(path.trim_end_matches("[]").to_owned());
    }
}

/// The first cells of the rows of the table whose first heading is `heading`.
fn table(text: &str, heading: &str) -> BTreeSet<String> {
    rows(text, heading)
        .map(|cells| cells[0].trim_matches('`').to_owned())
        .collect()
}

fn rows(text: &str, heading: &str) -> impl Iterator<Item = Vec<String>> {
    let start = format!("| {heading} |");
    text.lines()
        .skip_while(move |line| !line.starts_with(&start))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            line.trim_matches('|')
                .split(" | ")
                .map(|cell| cell.trim().to_owned())
                .collect()
        })
}

fn sections() -> BTreeMap<String, String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/api.md");
    let text = std::fs::read_to_string(path).unwrap();
    text.split("\n## ")
        .skip(1)
        .map(|section| section.split_once('\n').unwrap())
        .map(|(title, body)| (title.to_owned(), body.to_owned()))
        .collect()
}
