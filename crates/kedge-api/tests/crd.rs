//! The CustomResourceDefinitions have the form that an API server asks for, say what each field is, and lose no rule on
//! the way. Whether a real server takes them, and refuses by them what the hub refuses, is tried end to end.

#![cfg(test)]

use kedge_api::crd::{self, Rule};
use kedge_api::{AccessPolicy, JoinToken, Resource, Server};
use serde_json::{Value, json};

/// All that a structural schema may consist of, but for `properties`, `items` and `additionalProperties`.
const WORDS: &[&str] = &[
    "default",
    "description",
    "enum",
    "format",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "pattern",
    "required",
    "type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    "x-kubernetes-validations",
];

#[test]
fn schemas_are_structural() {
    each(|_, path, node| {
        let fields = node.as_object().unwrap_or_else(|| panic!("{path}"));
        let kind = fields.get("type").and_then(Value::as_str);
        assert!(
            matches!(
                kind,
                Some("array" | "boolean" | "integer" | "number" | "object" | "string")
            ),
            "{path}: {kind:?}"
        );
        for word in fields.keys() {
            let known = ["additionalProperties", "items", "properties"].contains(&word.as_str());
            assert!(known || WORDS.contains(&word.as_str()), "{path}: {word}");
        }
        assert!(
            !(fields.contains_key("properties") && fields.contains_key("additionalProperties")),
            "{path}"
        );
        assert_eq!(
            fields.contains_key("items"),
            kind == Some("array"),
            "{path}"
        );
        for only in fields
            .get("enum")
            .into_iter()
            .flat_map(|e| e.as_array())
            .flatten()
        {
            assert!(only.is_string(), "{path}: {only}");
        }
        if kind == Some("integer") {
            assert!(
                matches!(node["format"].as_str(), Some("int32" | "int64")),
                "{path}: {node}"
            );
        }
    });
}

#[test]
fn every_field_is_explained() {
    each(|kind, path, node| {
        let server_made = ["", "apiVersion", "kind", "metadata", "metadata.name"];
        if path.ends_with("[]")
            || path.ends_with("{}")
            || server_made.contains(&path) && !path.is_empty()
        {
            return;
        }
        let said = node["description"].as_str().unwrap_or_default();
        assert!(!said.is_empty(), "{kind} {path}");
        assert!(
            !said.contains("[`") && !said.contains("crate::"),
            "{kind} {path}: {said}"
        );
    });
}

/// Reading a pattern backwards and forwards is for the server; here, that nobody can make it read for ever.
#[test]
fn what_people_write_has_bounds() {
    each(|kind, path, node| {
        if !path.starts_with("spec") {
            return;
        }
        match node["type"].as_str() {
            // Words are as long as they are, and moments are read by the server.
            Some("string") if node.get("enum").is_none() && node["format"] != "date-time" => {
                let bounded = node.get("maxLength").is_some()
                    || node["pattern"]
                        .as_str()
                        .is_some_and(|p| p.starts_with("^[A-Za-z0-9+/]{42}"));
                assert!(bounded, "{kind} {path}: {node}");
            }
            Some("object") if node.get("additionalProperties").is_some() => {
                assert!(node.get("maxProperties").is_some(), "{kind} {path}");
            }
            // Lists of words: nobody asks more of them than whether they are empty.
            Some("array") if node["items"].get("enum").is_none() => {
                assert!(node.get("maxItems").is_some(), "{kind} {path}");
            }
            _ => {}
        }
    });
}

#[test]
fn every_rule_finds_its_field_and_no_rule_is_lost() {
    fn rules<R: Resource>() {
        let schema = schema::<R>();
        for Rule {
            at,
            holds,
            message,
            field,
        } in R::RULES
        {
            let node = look(&schema, at).unwrap_or_else(|| panic!("{} has no {at}", R::KIND));
            let there = node["x-kubernetes-validations"].as_array();
            let found = there
                .into_iter()
                .flatten()
                .find(|rule| rule["rule"] == *holds);
            let found = found.unwrap_or_else(|| panic!("{} {at}: {holds}", R::KIND));
            assert_eq!(found["message"], *message);
            assert!(!message.contains('\n') && message.len() < 2048, "{message}");
            if field.is_empty() {
                assert!(found.get("fieldPath").is_none(), "{found}");
            } else {
                assert_eq!(found["fieldPath"], *field);
                let blamed = format!("{at}{field}");
                let blamed = blamed.trim_start_matches('.');
                assert!(
                    look(&schema, blamed).is_some(),
                    "{} has no {blamed}",
                    R::KIND
                );
            }
        }
    }
    rules::<Server>();
    rules::<AccessPolicy>();
    rules::<JoinToken>();
}

#[test]
fn every_column_shows_a_field() {
    fn columns<R: Resource>() {
        let schema = schema::<R>();
        for column in R::COLUMNS {
            let path = column.path.trim_start_matches('.');
            let there = path == "metadata.creationTimestamp" || look(&schema, path).is_some();
            assert!(there, "{} has no {path}", R::KIND);
        }
    }
    columns::<Server>();
    columns::<AccessPolicy>();
    columns::<JoinToken>();
}

#[test]
fn conditions_are_kubernetes_own() {
    let schema = schema::<Server>();
    let list = look(&schema, "status.conditions").unwrap();
    assert_eq!(list["x-kubernetes-list-type"], "map");
    assert_eq!(list["x-kubernetes-list-map-keys"], json!(["type"]));
    let status = look(&schema, "status.conditions[].status").unwrap();
    assert_eq!(status["enum"], json!(["False", "True", "Unknown"]));
}

#[test]
fn a_newer_hub_may_have_newer_words_for_what_it_sees() {
    let schema = schema::<Server>();
    let phase = look(&schema, "status.phase").unwrap();
    assert!(phase.get("enum").is_none(), "{phase}");
    let said = phase["description"].as_str().unwrap();
    assert!(said.contains("Blocked, Offline, Online, Pending"), "{said}");
    let status = look(&schema, "status").unwrap();
    assert!(!status.to_string().contains("\"default\""), "{status}");
}

#[test]
fn only_defaults_that_say_something_are_filled_in() {
    let policy = schema::<AccessPolicy>();
    assert_eq!(
        look(&policy, "spec.permissions").unwrap()["default"],
        json!(["ssh"])
    );
    assert_eq!(look(&policy, "spec.effect").unwrap()["default"], "Allow");
    let zone = look(&policy, "spec.constraints.timeWindows[].timeZone");
    assert_eq!(zone.unwrap()["default"], "UTC");
    let token = schema::<JoinToken>();
    assert_eq!(look(&token, "spec.uses").unwrap()["default"], 1);
    for (schema, path) in [
        (&policy, "spec.constraints"),
        (&policy, "spec.servers"),
        (&token, "spec.labels"),
    ] {
        assert!(
            look(schema, path).unwrap().get("default").is_none(),
            "{path}"
        );
    }
}

#[test]
fn names_are_those_of_the_rest_api() {
    let definition = crd::definition::<Server>();
    assert_eq!(definition["metadata"]["name"], "servers.kedge.dev");
    assert_eq!(definition["spec"]["scope"], "Namespaced");
    assert_eq!(definition["spec"]["versions"][0]["name"], "v1alpha1");
    assert_eq!(
        definition["spec"]["names"],
        json!({
            "categories": ["kedge"], "kind": "Server", "listKind": "ServerList", "plural": "servers",
            "shortNames": ["srv"], "singular": "server",
        })
    );
}

fn schema<R: Resource>() -> Value {
    crd::definition::<R>()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// Every node of every kind's schema.
fn each(mut look: impl FnMut(&str, &str, &Value)) {
    fn walk(kind: &str, path: &str, node: &Value, look: &mut impl FnMut(&str, &str, &Value)) {
        look(kind, path, node);
        for (name, below) in node["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            walk(kind, path.trim_start_matches('.'), below, look);
        }
        if let Some(items) = node.get("items") {
            walk(kind, &format!("{path}[]"), items, look);
        }
        if let Some(values) = node.get("additionalProperties") {
            walk(kind, &format!("{path}{{}}"), values, look);
        }
    }
    walk("Server", "", &schema::<Server>(), &mut look);
    walk("AccessPolicy", "", &schema::<AccessPolicy>(), &mut look);
    walk("JoinToken", "", &schema::<JoinToken>(), &mut look);
}

/// The node of a path such as `spec.subjects.claims[].key`.
fn look<'a>(schema: &'a Value, path: &str) -> Option<&'a Value> {
    let mut node = schema;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let (name, list) = match part.strip_suffix("[]") {
            Some(name) => (name, true),
            None => (part, false),
        };
        node = node.get("properties")?.get(name)?;
        if list {
            node = node.get("items")?;
        }
    }
    Some(node)
}
