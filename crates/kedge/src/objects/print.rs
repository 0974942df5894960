//! Whole objects as JSON and YAML.
//!
//! Both may end on a terminal, and strings in them are other people's. So what could move a cursor or
//! turn text around is written as an escape, which any reader of JSON or YAML turns back.

use kedge_service::Failure;
use serde_json::Value;

use crate::cli::DataFormat;
use crate::exit::Exit;
use crate::failure::failure;

/// A value in the format that was asked for.
///
/// # Errors
///
/// As [`yaml`].
pub fn data(format: DataFormat, value: &Value) -> Result<String, Failure> {
    match format {
        DataFormat::Json => Ok(json(value)),
        DataFormat::Yaml => yaml(value),
    }
}

/// Pretty JSON with a line end.
#[must_use]
pub fn json(value: &Value) -> String {
    escaped(value, |shown, odd| {
        let mut units = [0; 2];
        for unit in odd.encode_utf16(&mut units) {
            shown.push_str(&format!("\\u{unit:04x}"));
        }
    })
}

/// YAML; a value with odd characters comes in JSON's form, which YAML reads too.
///
/// # Errors
///
/// None that can happen: JSON fits into YAML.
pub fn yaml(value: &Value) -> Result<String, Failure> {
    if has_odd(value) {
        // YAML has one escape for any character, and not JSON's two for the higher ones.
        return Ok(escaped(value, |shown, odd| {
            shown.push_str(&format!("\\U{:08x}", u32::from(odd)));
        }));
    }
    serde_norway::to_string(value)
        .map_err(|error| failure(Exit::Failure, format!("cannot write YAML: {error}")))
}

/// JSON in which odd characters are escaped: only strings can hold them, and strings have escapes.
fn escaped(value: &Value, escape: impl Fn(&mut String, char)) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    let mut shown = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if is_odd(c) {
            escape(&mut shown, c);
        } else {
            shown.push(c);
        }
    }
    shown.push('\n');
    shown
}

fn has_odd(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(has_odd),
        Value::Object(fields) => fields
            .iter()
            .any(|(key, value)| key.chars().any(is_odd) || has_odd(value)),
        Value::String(text) => text.chars().any(|c| is_odd(c) && c != '\n'),
        _ => false,
    }
}

/// Control characters but line ends, and characters that are invisible or change direction.
fn is_odd(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_characters_are_escaped_and_come_back() {
        let value = serde_json::json!({ "a": "x\u{202e}\u{9b}\u{e0041}\u{1b}\n", "b": ["é"] });
        for text in [json(&value), yaml(&value).unwrap()] {
            assert!(
                !text.contains(['\u{202e}', '\u{9b}', '\u{e0041}', '\u{1b}']),
                "{text:?}"
            );
        }
        assert_eq!(
            serde_norway::from_str::<Value>(&yaml(&value).unwrap()).unwrap(),
            value
        );
        assert_eq!(serde_json::from_str::<Value>(&json(&value)).unwrap(), value);
    }

    #[test]
    fn ordinary_values_are_ordinary_yaml() {
        let value = serde_json::json!({ "kind": "Server", "spec": { "on": "true" } });
        assert_eq!(yaml(&value).unwrap(), "kind: Server\nspec:\n  on: 'true'\n");
    }
}
