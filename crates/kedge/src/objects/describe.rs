//! `kedge describe`: everything about an object, laid out for people.

use jiff::Timestamp;
use kedge_api::HostKey;
use kedge_api::text::Printable;
use kedge_service::Failure;
use serde_json::{Map, Value};

use super::columns::{NONE, duration};
use super::get::{self, name_of};
use super::kinds::{self, Kind};
use super::table;
use crate::app::{App, block_on};
use crate::cli::DescribeArgs;

/// Runs the command.
///
/// # Errors
///
/// As [`get::run`].
pub fn run(app: &mut App<'_>, arguments: &DescribeArgs) -> Result<(), Failure> {
    let selection = kinds::selection(&arguments.objects, arguments.selector.as_ref())?;
    let hub = app.default_client()?;
    let found = block_on(get::fetch(&hub, &selection))?;
    let pages: Vec<_> = found
        .objects
        .iter()
        .map(|(kind, object)| page(kind, object, app.now()))
        .collect();
    app.print(&pages.join("\n\n"))?;
    found.into_missing()
}

/// One object's page.
#[must_use]
pub fn page(kind: &Kind, object: &Value, now: Timestamp) -> String {
    let mut lines = Lines::default();
    lines.pair(0, "Name", &printable(name_of(object)));
    lines.pair(0, "Kind", kind.kind);
    let map = |key: &str| object.pointer(key).and_then(Value::as_object);
    if object.get("metadata").is_none() {
        // What is no object of the store, a session for one, is flat.
        for (key, value) in object.as_object().into_iter().flatten() {
            if key != "id" {
                lines.value(0, &heading(key), value, now);
            }
        }
        return lines.text;
    }
    lines.map(0, "Labels", map("/metadata/labels"));
    if map("/metadata/annotations").is_some() {
        lines.map(0, "Annotations", map("/metadata/annotations"));
    }
    if let Some(created) = object
        .pointer("/metadata/creationTimestamp")
        .and_then(Value::as_str)
    {
        lines.pair(0, "Created", &moment(created, now));
    }
    for part in ["spec", "status"] {
        let Some(fields) = object.get(part).and_then(Value::as_object) else {
            continue;
        };
        lines.heading(0, &heading(part));
        for (key, value) in fields.iter().filter(|(key, _)| *key != "conditions") {
            lines.value(1, &heading(key), value, now);
        }
    }
    let conditions = object
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    if let Some(conditions) = conditions.filter(|conditions| !conditions.is_empty()) {
        lines.heading(0, "Conditions");
        lines.text.push_str(&condition_table(conditions, now));
    }
    lines.text
}

fn condition_table(conditions: &[Value], now: Timestamp) -> String {
    let cell = |condition: &Value, key: &str| {
        let text = condition
            .get(key)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty());
        printable(text.unwrap_or("-"))
    };
    let rows: Vec<_> = conditions
        .iter()
        .map(|condition| {
            let since = condition.get("lastTransitionTime").and_then(Value::as_str);
            let since = since.and_then(|text| text.parse::<Timestamp>().ok());
            let age = since.map(|then| duration(now.as_second() - then.as_second()));
            vec![
                format!("  {}", cell(condition, "type")),
                cell(condition, "status"),
                age.unwrap_or_else(|| "-".to_owned()),
                cell(condition, "reason"),
                cell(condition, "message"),
            ]
        })
        .collect();
    table::table(
        Some(&["  TYPE", "STATUS", "SINCE", "REASON", "MESSAGE"]),
        &rows,
    )
}

#[derive(Default)]
struct Lines {
    text: String,
}

impl Lines {
    fn pair(&mut self, depth: usize, key: &str, value: &str) {
        let key = format!("{:indent$}{key}:", "", indent = depth * 2);
        self.text.push_str(format!("{key:<24}{value}").trim_end());
        self.text.push('\n');
    }

    fn heading(&mut self, depth: usize, key: &str) {
        self.pair(depth, key, "");
    }

    fn map(&mut self, depth: usize, key: &str, map: Option<&Map<String, Value>>) {
        let pairs = map.into_iter().flatten().map(|(key, value)| match value {
            Value::String(value) => format!("{}={}", printable(key), printable(value)),
            other => format!("{}={}", printable(key), printable(&other.to_string())),
        });
        let pairs: Vec<_> = pairs.collect();
        self.column(depth, key, &pairs);
    }

    fn column(&mut self, depth: usize, key: &str, values: &[String]) {
        let Some((first, rest)) = values.split_first() else {
            return self.pair(depth, key, NONE);
        };
        self.pair(depth, key, first);
        for value in rest {
            self.text.push_str(&format!("{:<24}{value}\n", ""));
        }
    }

    fn value(&mut self, depth: usize, key: &str, value: &Value, now: Timestamp) {
        match value {
            Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
                self.heading(depth, key);
                for item in items {
                    self.value(depth + 1, "-", item, now);
                }
            }
            Value::Array(items) => {
                let items: Vec<_> = items.iter().map(|item| scalar(item, now)).collect();
                self.column(depth, key, &items);
            }
            Value::Object(fields) if fields.values().all(Value::is_string) => {
                self.map(depth, key, Some(fields));
            }
            Value::Object(fields) => {
                self.heading(depth, key);
                for (key, value) in fields {
                    self.value(depth + 1, &heading(key), value, now);
                }
            }
            scalar_value => self.pair(depth, key, &scalar(scalar_value, now)),
        }
    }
}

fn scalar(value: &Value, now: Timestamp) -> String {
    match value {
        Value::Null => NONE.to_owned(),
        Value::String(text) => {
            if let Ok(key) = text.parse::<HostKey>() {
                // What people compare, not what machines read.
                return format!("{} {}", key.fingerprint(), key.algorithm());
            }
            if text.contains('T') && text.parse::<Timestamp>().is_ok() {
                return moment(text, now);
            }
            printable(text)
        }
        other => printable(&other.to_string()),
    }
}

fn moment(text: &str, now: Timestamp) -> String {
    match text.parse::<Timestamp>() {
        Ok(then) if then <= now => {
            format!(
                "{} ({} ago)",
                printable(text),
                duration(now.as_second() - then.as_second())
            )
        }
        Ok(then) => {
            format!(
                "{} (in {})",
                printable(text),
                duration(then.as_second() - now.as_second())
            )
        }
        Err(_) => printable(text),
    }
}

/// `hostKeyFingerprint` as `Host Key Fingerprint`.
fn heading(key: &str) -> String {
    let mut text = String::new();
    for (index, c) in key.chars().enumerate() {
        if index == 0 {
            text.extend(c.to_uppercase());
        } else {
            if c.is_uppercase() {
                text.push(' ');
            }
            text.push(c);
        }
    }
    printable(&text)
}

fn printable(text: &str) -> String {
    Printable::new(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_server() {
        let object = serde_json::json!({
            "apiVersion": "kedge.dev/v1alpha1", "kind": "Server",
            "metadata": {
                "name": "web01", "resourceVersion": "7", "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": { "env": "prod", "tier": "web" }
            },
            "spec": {
                "hostKeys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"],
                "sshUser": "deploy"
            },
            "status": {
                "phase": "Blocked", "lastSeen": "2026-01-02T00:00:00Z", "agentVersion": "0.1.0",
                "os": "evil\u{1b}[2J\u{202e}",
                "conditions": [{
                    "type": "HostKeyVerified", "status": "False", "reason": "Changed",
                    "message": "the agent reports other host keys", "lastTransitionTime": "2026-01-02T00:00:00Z"
                }]
            }
        });
        let now = "2026-01-02T00:01:30Z".parse().unwrap();
        insta::assert_snapshot!(page(kinds::kind("server").unwrap(), &object, now));
    }

    #[test]
    fn a_session_shows_its_fields() {
        let object = serde_json::json!({
            "id": "s-aa", "subject": "eve\u{1b}[2J", "login": "root", "server": "web01",
            "since": "2026-01-02T00:00:00Z", "bytesUp": 7
        });
        let now = "2026-01-02T00:01:30Z".parse().unwrap();
        insta::assert_snapshot!(page(kinds::kind("sessions").unwrap(), &object, now), @r"
        Name:                   s-aa
        Kind:                   Session
        Bytes Up:               7
        Login:                  root
        Server:                 web01
        Since:                  2026-01-02T00:00:00Z (90s ago)
        Subject:                eve\u{1b}[2J
        ");
    }
}
