//! From a JSON schema to what Kubernetes calls a structural one: each value has exactly one type, nothing refers to
//! anything, and what is optional may be absent and is never null.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::Rule;
use crate::meta::Resource;
use crate::names::ObjectName;

/// The `openAPIV3Schema` of a kind.
pub(super) fn schema<R: Resource>() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    settings.meta_schema = None;
    let mut root = of::<R>(settings.clone());
    // The server checks them, and describes them itself.
    for field in ["apiVersion", "kind"] {
        if let Some(node) = root.pointer_mut(&format!("/properties/{field}")) {
            *node = json!({ "type": "string" });
        }
    }
    if let Some(node) = root.pointer_mut("/properties/metadata") {
        let name = of::<ObjectName>(settings.clone());
        *node = json!({ "type": "object", "properties": { "name": restrictions(name) } });
    }
    // What the kind's own spec is says more than what specs are; the rest of its documentation is for programmers.
    let told = of::<R::Spec>(settings.clone());
    let told = told.get("description").and_then(Value::as_str);
    if let (Some(told), Some(node)) = (told, root.pointer_mut("/properties/spec/description")) {
        *node = told.split("\n\n").next().unwrap_or(told).into();
    }
    if let Some(fields) = root.as_object_mut() {
        fields.insert("required".to_owned(), json!(["spec"]));
    }
    if let Some(status) = root.pointer_mut("/properties/status") {
        forgive(status);
    }
    for rule in R::RULES {
        enforce(&mut root, rule);
    }
    root
}

fn of<T: schemars::JsonSchema>(settings: SchemaSettings) -> Value {
    let root = settings.into_generator().into_root_schema_for::<T>();
    let mut node = root.to_value();
    rewrite(&mut node);
    node
}

/// What the name of an object may be limited by; of the metadata, nothing else may.
fn restrictions(mut name: Value) -> Value {
    if let Some(fields) = name.as_object_mut() {
        fields.retain(|key, _| matches!(key.as_str(), "maxLength" | "pattern" | "type"));
    }
    name
}

/// Makes a node and all below it structural.
fn rewrite(node: &mut Value) {
    let Some(fields) = node.as_object_mut() else {
        return;
    };
    for key in ["$schema", "title", "examples"] {
        fields.remove(key);
    }
    choose(fields);
    not_null(fields);
    if let Some(only) = fields.remove("const") {
        fields.insert("enum".to_owned(), json!([only]));
    }
    integer(fields);
    map(fields);
    if let Some(Value::String(text)) = fields.get_mut("description") {
        *text = prose(text);
    }
    let pattern = fields.get("pattern").and_then(Value::as_str);
    if let Some(exact) = pattern.and_then(exact) {
        line(fields, exact);
    }
    if fields.get("default").is_some_and(says_nothing) {
        fields.remove("default");
    }
    for key in ["items", "additionalProperties"] {
        if let Some(below) = fields.get_mut(key) {
            rewrite(below);
        }
    }
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        properties.values_mut().for_each(rewrite);
        if properties.contains_key("lastTransitionTime") {
            condition(fields);
        }
    }
    if let Some(Value::Array(required)) = fields.get("required")
        && required.is_empty()
    {
        fields.remove("required");
    }
    if fields
        .get("items")
        .and_then(|items| items.pointer("/properties/lastTransitionTime"))
        .is_some()
    {
        fields.insert("x-kubernetes-list-type".to_owned(), json!("map"));
        fields.insert("x-kubernetes-list-map-keys".to_owned(), json!(["type"]));
    }
}

/// A value of several forms. Null is no form: it is absence. All others of our kinds are texts: words, or what patterns
/// describe.
fn choose(fields: &mut Map<String, Value>) {
    let Some(Value::Array(mut forms)) = fields.remove("anyOf") else {
        return;
    };
    forms.retain(|form| form.get("type") != Some(&json!("null")));
    let mut only = match (forms.pop(), forms.is_empty()) {
        (Some(only), true) => only,
        (Some(last), false) => {
            forms.push(last);
            text_of(&forms)
        }
        (None, _) => return,
    };
    // What was said of the field is said of the field; what its type says besides is added.
    if let Some(chosen) = only.as_object_mut() {
        for (key, value) in std::mem::take(chosen) {
            fields.entry(key).or_insert(value);
        }
    }
    // Forms may have had forms.
    choose(fields);
}

/// A text that has one of several forms: all words, or one pattern for all.
fn text_of(forms: &[Value]) -> Value {
    let words = |form: &Value| -> Option<Vec<Value>> {
        match (form.get("const"), form.get("enum")) {
            (Some(word), _) => Some(vec![word.clone()]),
            (None, Some(Value::Array(words))) => Some(words.clone()),
            _ => None,
        }
    };
    let all: Option<Vec<_>> = forms.iter().map(words).collect();
    if let Some(all) = all {
        return json!({ "type": "string", "enum": all.concat() });
    }
    let pattern_of = |form: &Value| match words(form) {
        Some(words) => {
            let words = words.iter().filter_map(Value::as_str).map(literally);
            format!("^({})$", words.collect::<Vec<_>>().join("|"))
        }
        None => {
            let pattern = form.get("pattern").and_then(Value::as_str);
            let pattern = pattern.unwrap_or_default();
            exact(pattern).unwrap_or(pattern).to_owned()
        }
    };
    let patterns: Vec<_> = forms.iter().map(pattern_of).collect();
    let longest = forms
        .iter()
        .filter_map(|form| form.get("maxLength").and_then(Value::as_u64))
        .max();
    let mut text = Map::new();
    text.insert("type".to_owned(), json!("string"));
    text.insert("maxLength".to_owned(), json!(longest));
    let pattern = patterns.join("|");
    if patterns
        .iter()
        .any(|pattern| EXACT.iter().any(|(_, exact)| exact == pattern))
    {
        line(&mut text, &pattern);
    } else {
        text.insert("pattern".to_owned(), pattern.into());
    }
    Value::Object(text)
}

/// The pattern that is exact, where JSON Schema's is not.
fn exact(pattern: &str) -> Option<&'static str> {
    let found = EXACT.iter().find(|(said, _)| *said == pattern);
    found.map(|(_, exact)| *exact)
}

/// A word as a pattern.
fn literally(word: &str) -> String {
    let mut pattern = String::with_capacity(word.len());
    for c in word.chars() {
        if !c.is_alphanumeric() {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// `[T, null]` is an optional `T`.
fn not_null(fields: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = fields.get("type")
        && let Some(only) = types.iter().find(|kind| **kind != "null")
    {
        let only = only.clone();
        fields.insert("type".to_owned(), only);
    }
    if let Some(Value::Array(words)) = fields.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
}

/// Kubernetes knows signed numbers only: others are such numbers with limits.
fn integer(fields: &mut Map<String, Value>) {
    let Some(Value::String(format)) = fields.get("format") else {
        return;
    };
    let most = match format.as_str() {
        "uint8" => u64::from(u8::MAX),
        "uint16" => u64::from(u16::MAX),
        "uint32" => u64::from(u32::MAX),
        "uint64" | "uint" => i64::MAX.unsigned_abs(),
        _ => return,
    };
    fields.insert("format".to_owned(), json!("int64"));
    fields.entry("minimum").or_insert(json!(0));
    if most < i64::MAX.unsigned_abs() {
        fields.entry("maximum").or_insert(json!(most));
    }
}

/// Maps have values of one schema; what their keys are is said by a rule.
fn map(fields: &mut Map<String, Value>) {
    if fields.get("additionalProperties") == Some(&json!(false)) {
        fields.remove("additionalProperties");
    }
    if let Some(Value::Object(patterns)) = fields.remove("patternProperties")
        && let Some((_, values)) = patterns.into_iter().next()
    {
        fields.insert("additionalProperties".to_owned(), values);
    }
}

/// Bounds a line of free text as its type does: the pattern exactly, and its length also in bytes.
fn line(fields: &mut Map<String, Value>, pattern: &str) {
    fields.insert("pattern".to_owned(), json!(pattern));
    if let Some(most) = fields.get("maxLength").and_then(Value::as_u64) {
        let rule = json!({
            "rule": format!("size(bytes(self)) <= {most}"),
            "message": format!("at most {most} bytes allowed"),
        });
        fields.insert("x-kubernetes-validations".to_owned(), json!([rule]));
    }
}

/// The limits of `metav1.Condition`, which every tool for conditions counts on.
fn condition(fields: &mut Map<String, Value>) {
    fields.insert(
        "required".to_owned(),
        json!(["lastTransitionTime", "message", "reason", "status", "type"]),
    );
    let Some(Value::Object(properties)) = fields.get_mut("properties") else {
        return;
    };
    for (name, key, value) in [
        ("message", "maxLength", json!(32_768)),
        ("reason", "maxLength", json!(1024)),
        ("reason", "minLength", json!(1)),
        (
            "reason",
            "pattern",
            json!("^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"),
        ),
        ("type", "maxLength", json!(316)),
        (
            "type",
            "pattern",
            json!(
                "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
            ),
        ),
    ] {
        if let Some(Value::Object(property)) = properties.get_mut(name) {
            property.insert(key.to_owned(), value);
        }
    }
}

/// What the hub has seen is written by the hub alone, and by one that may be newer than the definition: its words are
/// open, but for those that are Kubernetes' own, and nothing is filled in.
fn forgive(node: &mut Value) {
    let Some(fields) = node.as_object_mut() else {
        return;
    };
    fields.remove("default");
    if let Some(Value::Array(words)) = fields.get("enum")
        && !words.contains(&json!("True"))
    {
        let words: Vec<_> = words.iter().filter_map(Value::as_str).collect();
        let words = format!("One of {}, or a word of a newer hub.", words.join(", "));
        let told = match fields.get("description").and_then(Value::as_str) {
            Some(said) => format!("{said} {words}"),
            None => words,
        };
        fields.remove("enum");
        fields.insert("description".to_owned(), told.into());
    }
    for key in ["items", "additionalProperties"] {
        if let Some(below) = fields.get_mut(key) {
            forgive(below);
        }
    }
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        properties.values_mut().for_each(forgive);
    }
}

/// Adds a rule where it belongs. A rule about a field that is not there is lost; a test looks for each.
fn enforce(root: &mut Value, rule: &Rule) {
    let mut node = root;
    for part in rule.at.split('.').filter(|part| !part.is_empty()) {
        let (name, lists) = match part.strip_suffix("[]") {
            Some(name) => (name, true),
            None => (part, false),
        };
        let below = node
            .get_mut("properties")
            .and_then(|fields| fields.get_mut(name));
        let below = match lists {
            true => below.and_then(|list| list.get_mut("items")),
            false => below,
        };
        match below {
            Some(below) => node = below,
            None => return,
        }
    }
    let mut said = json!({ "rule": rule.holds, "message": rule.message });
    let Some(fields) = node.as_object_mut() else {
        return;
    };
    if let (false, Some(said)) = (rule.field.is_empty(), said.as_object_mut()) {
        said.insert("fieldPath".to_owned(), rule.field.into());
    }
    let rules = fields
        .entry("x-kubernetes-validations")
        .or_insert(json!([]));
    if let Some(rules) = rules.as_array_mut() {
        rules.push(said);
    }
}

/// Whether a default is as good as nothing: it would only make objects longer.
fn says_nothing(default: &Value) -> bool {
    match default {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(says_nothing),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Documentation as `kubectl explain` shows it: no line breaks but between paragraphs, and no links into the code.
fn prose(text: &str) -> String {
    let paragraphs: Vec<String> = text
        .split("\n\n")
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let text = paragraphs.join("\n\n").replace("[`", "`");
    text.replace("`]", "`")
}

/// Patterns that JSON Schema says loosely, because its readers do not agree about characters beyond ASCII, and as
/// RE2 says them: no control characters, nothing invisible or that changes the direction, no blank at either end.
const EXACT: &[(&str, &str)] = &[
    ("^\\S(.*\\S)?$", LINE),
    ("^[^\\s{}]([^{}]*[^\\s{}])?$", CLAIM_NAME),
    ("^\\{[^\\s{}]([^{}]*[^\\s{}])?\\}$", CLAIM_IN_BRACES),
];

macro_rules! lines_without {
    ($before:literal, $others:literal, $after:literal) => {
        concat!(
            "^", $before,
            "[^", $others, lines_without!(), "\\p{Z}]([^", $others, lines_without!(), "]*[^", $others, lines_without!(),
            "\\p{Z}])?",
            $after, "$"
        )
    };
    () => {
        "\\p{Cc}\\x{ad}\\x{61c}\\x{180e}\\x{200b}-\\x{200f}\\x{2028}-\\x{202e}\\x{2060}-\\x{206f}\\x{feff}\\x{fff9}-\\x{fffb}\\x{e0000}-\\x{e007f}"
    };
}

const LINE: &str = lines_without!("", "", "");
const CLAIM_NAME: &str = lines_without!("", "{}", "");
const CLAIM_IN_BRACES: &str = lines_without!("\\{", "{}", "\\}");
