//! The reference page of a configuration, rendered from the same types that parse it.

use std::fmt::Write as _;

use schemars::Schema;
use serde_json::{Map, Value};

/// One key of a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Key {
    /// The key with its tables, dotted; `[]` marks a table that may stand several times.
    pub name: String,
    /// What it may hold.
    pub kind: String,
    /// What it is when it is left out; `None` when it must be given or is simply unset.
    pub default: Option<String>,
    /// Whether it must be given.
    pub required: bool,
    /// What it means.
    pub description: String,
}

/// All keys that `schema` knows: plain keys by name, then each table's.
#[must_use]
pub fn keys(schema: &Schema) -> Vec<Key> {
    let root = schema.as_value();
    let mut keys = Vec::new();
    collect(root, root, "", 0, &mut keys);
    keys
}

/// The page: a title, an introduction, and a table of keys for each table of the configuration.
///
/// ```
/// # use kedge_service::reference;
/// #[derive(schemars::JsonSchema)]
/// #[allow(dead_code)]
/// struct Agent {
///     /// Where the hub is.
///     hub: String,
/// }
/// let page = reference::markdown("agent.toml", "Read at start.", &schemars::schema_for!(Agent));
/// assert!(page.contains("| `hub` | string | required | Where the hub is. |"));
/// ```
#[must_use]
pub fn markdown(title: &str, introduction: &str, schema: &Schema) -> String {
    let mut page = format!("# {title}\n\n{introduction}\n");
    let mut table = None;
    for key in keys(schema) {
        let (this, name) = match key.name.rsplit_once('.') {
            Some((table, name)) => (table, name),
            None => ("", key.name.as_str()),
        };
        if table.as_deref() != Some(this) {
            let heading = match this.strip_suffix("[]") {
                Some(repeated) => format!("## `[[{}]]`\n\n", repeated.replace("[]", "")),
                None if this.is_empty() => String::new(),
                None => format!("## `[{}]`\n\n", this.replace("[]", "")),
            };
            let _ = write!(
                page,
                "\n{heading}| key | value | default | meaning |\n|---|---|---|---|\n"
            );
            table = Some(this.to_owned());
        }
        let default = match &key.default {
            Some(default) => format!("`{default}`"),
            None if key.required => "required".to_owned(),
            None => "–".to_owned(),
        };
        let _ = writeln!(
            page,
            "| `{name}` | {} | {default} | {} |",
            cell(&key.kind),
            cell(&key.description)
        );
    }
    page
}

/// Deeper than any configuration: a type that contains itself ends here.
const DEPTH: usize = 8;

fn collect(root: &Value, schema: &Value, prefix: &str, depth: usize, keys: &mut Vec<Key>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return;
    };
    let required = schema.get("required").and_then(Value::as_array);
    let mut tables = Vec::new();
    for (name, property) in properties {
        let (target, repeated) = resolve(root, property);
        let name = format!("{prefix}{name}");
        if target.get("properties").is_some() && depth < DEPTH {
            tables.push((
                format!("{name}{}", if repeated { "[]" } else { "" }),
                target,
            ));
            continue;
        }
        let short = name.strip_prefix(prefix).unwrap_or(&name);
        keys.push(Key {
            kind: kind(root, property),
            default: default_of(property),
            required: required.is_some_and(|names| names.iter().any(|known| known == short)),
            description: description(property)
                .or_else(|| description(target))
                .unwrap_or_default(),
            name,
        });
    }
    for (name, target) in tables {
        collect(root, target, &format!("{name}."), depth + 1, keys);
    }
}

/// Follows references, `Option`s and arrays of tables to what the property really is.
fn resolve<'a>(root: &'a Value, property: &'a Value) -> (&'a Value, bool) {
    let mut target = property;
    let mut repeated = false;
    for _ in 0..DEPTH {
        if let Some(reference) = target.get("$ref").and_then(Value::as_str) {
            let Some(found) = reference.strip_prefix('#').and_then(|at| root.pointer(at)) else {
                break;
            };
            target = found;
        } else if let Some(inner) = optional(target) {
            target = inner;
        } else if let Some([only]) = target
            .get("allOf")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
        {
            target = only;
        } else if let Some(items) = target.get("items") {
            let (inner, _) = resolve(root, items);
            if inner.get("properties").is_none() {
                break;
            }
            target = inner;
            repeated = true;
        } else {
            break;
        }
    }
    (target, repeated)
}

/// `anyOf: [T, null]` is how an `Option<T>` looks.
fn optional(schema: &Value) -> Option<&Value> {
    let choices = schema.get("anyOf")?.as_array()?;
    let is_null = |choice: &&Value| choice.get("type").and_then(Value::as_str) == Some("null");
    if !choices.iter().any(|choice| is_null(&choice)) {
        return None;
    }
    let mut rest = choices.iter().filter(|choice| !is_null(choice));
    rest.next().filter(|_| rest.next().is_none())
}

fn kind(root: &Value, property: &Value) -> String {
    let (target, _) = resolve(root, property);
    if let Some(values) = target.get("enum").and_then(Value::as_array) {
        // TOML has no null: that is what leaving an optional key out comes to.
        return values
            .iter()
            .filter(|value| !value.is_null())
            .map(toml_value)
            .map(|value| format!("`{value}`"))
            .collect::<Vec<_>>()
            .join(" or ");
    }
    if let Some(choices) = target
        .get("oneOf")
        .or_else(|| target.get("anyOf"))
        .and_then(Value::as_array)
    {
        let kinds: Vec<_> = choices
            .iter()
            .map(|choice| match choice.get("const") {
                Some(value) => format!("`{}`", toml_value(value)),
                None => kind(root, choice),
            })
            .collect();
        return kinds.join(" or ");
    }
    let of = |name: &str| match name {
        "array" => {
            let items = target
                .get("items")
                .map_or_else(|| "value".to_owned(), |items| kind(root, items));
            format!("list of {items}")
        }
        "object" => match target
            .get("additionalProperties")
            .filter(|inner| inner.is_object())
        {
            Some(values) => format!("table of {}", kind(root, values)),
            None => "table".to_owned(),
        },
        other => other.to_owned(),
    };
    match target.get("type") {
        Some(Value::String(name)) => of(name),
        Some(Value::Array(names)) => {
            let names: Vec<_> = names
                .iter()
                .filter_map(Value::as_str)
                .filter(|name| *name != "null")
                .map(of)
                .collect();
            names.join(" or ")
        }
        _ => "value".to_owned(),
    }
}

fn default_of(property: &Value) -> Option<String> {
    property
        .get("default")
        .filter(|value| !value.is_null())
        .map(toml_value)
}

fn description(schema: &Value) -> Option<String> {
    schema
        .get("description")
        .and_then(Value::as_str)
        .map(str::to_owned)
}

fn toml_value(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            format!(
                "[{}]",
                items.iter().map(toml_value).collect::<Vec<_>>().join(", ")
            )
        }
        Value::Object(fields) => inline_table(fields),
        other => other.to_string(),
    }
}

fn inline_table(fields: &Map<String, Value>) -> String {
    let fields: Vec<_> = fields
        .iter()
        .map(|(key, value)| format!("{key} = {}", toml_value(value)))
        .collect();
    format!("{{ {} }}", fields.join(", "))
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};

    #[derive(Deserialize, JsonSchema)]
    #[serde(rename_all = "kebab-case")]
    #[expect(dead_code, reason = "only its shape matters")]
    struct Hub {
        /// Where to
        /// listen | serve.
        listen: String,
        /// Ports.
        #[serde(default)]
        ports: Vec<u16>,
        /// The certificate.
        #[serde(default)]
        tls: Tls,
        /// Who there is.
        #[serde(default)]
        people: Vec<Person>,
        /// Sometimes.
        limit: Option<u32>,
    }

    #[derive(Default, Deserialize, JsonSchema, Serialize)]
    #[serde(default, rename_all = "kebab-case")]
    struct Tls {
        /// How.
        mode: Mode,
    }

    #[derive(Default, Deserialize, JsonSchema, Serialize)]
    #[serde(rename_all = "kebab-case")]
    enum Mode {
        /// From files.
        Files,
        /// Made here.
        #[default]
        SelfSigned,
    }

    #[derive(Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "only its shape matters")]
    struct Person {
        /// Whose.
        subject: String,
    }

    #[test]
    fn every_key_stands_in_its_table() {
        let page = markdown("hub.toml", "Read at start.", &schemars::schema_for!(Hub));
        assert_eq!(
            page,
            "# hub.toml\n\nRead at start.\n\n\
             | key | value | default | meaning |\n|---|---|---|---|\n\
             | `limit` | integer | – | Sometimes. |\n\
             | `listen` | string | required | Where to listen \\| serve. |\n\
             | `ports` | list of integer | `[]` | Ports. |\n\n\
             ## `[[people]]`\n\n\
             | key | value | default | meaning |\n|---|---|---|---|\n\
             | `subject` | string | required | Whose. |\n\n\
             ## `[tls]`\n\n\
             | key | value | default | meaning |\n|---|---|---|---|\n\
             | `mode` | `\"files\"` or `\"self-signed\"` | `\"self-signed\"` | How. |\n"
        );
    }
}
