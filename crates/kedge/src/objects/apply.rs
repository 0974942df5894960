//! `kedge apply`: makes the hub's objects what files say.
//!
//! Merged as RFC 7396 has it: a field that the file has replaces the hub's, `null` removes it, and what
//! the file does not mention stays. So a file with labels does not lose a server its host keys.
//!
//! A file with a `metadata.resourceVersion` was made from that version, and changes no other: what
//! somebody else did since then is not undone unseen.

use kedge_api::{JoinToken, Resource, StatusReason};
use kedge_service::Failure;
use serde_json::Value;

use super::get::is_not_found;
use super::manifest::{self, Manifest};
use super::print;
use crate::app::{App, block_on};
use crate::cli::{ApplyArgs, OutputFormat};
use crate::defaults;
use crate::exit::Exit;
use crate::failure::{IntoFailure, failure, usage};
use crate::hub::{Hub, HubError};

/// What became of an object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    Configured,
    Created,
    Unchanged,
}

/// Runs the command. Every file is read before anything is changed.
///
/// # Errors
///
/// Files that cannot be read, and whatever the hub refuses; what was done before stays done and was
/// said.
pub fn run(app: &mut App<'_>, arguments: &ApplyArgs) -> Result<(), Failure> {
    let mut manifests = Vec::new();
    for path in &arguments.filename {
        manifests.extend(manifest::read(app, path)?);
    }
    if manifests
        .iter()
        .any(|manifest| manifest.kind.kind == JoinToken::KIND)
    {
        // Its secret is shown once, in the answer to its creation, and would be lost here.
        return Err(usage("join tokens are not applied").hint("kedge token create"));
    }
    let hub = app.default_client()?;
    for manifest in &manifests {
        let (outcome, object) = block_on(apply(&hub, manifest))?;
        let qualified = manifest.kind.qualified(manifest.name.as_str());
        match arguments.output {
            Some(OutputFormat::Json) => app.print(&print::json(&object))?,
            Some(OutputFormat::Yaml) => {
                let text = format!("---\n{}", print::yaml(&object)?);
                app.print(&text)?;
            }
            Some(OutputFormat::Name) => app.say(&qualified)?,
            Some(OutputFormat::Wide) | None => {
                let done = match outcome {
                    Outcome::Configured => "configured",
                    Outcome::Created => "created",
                    Outcome::Unchanged => "unchanged",
                };
                app.say(&format!("{qualified} {done}"))?;
            }
        }
    }
    Ok(())
}

async fn apply(hub: &Hub, manifest: &Manifest) -> Result<(Outcome, Value), Failure> {
    let Manifest { kind, name, object } = manifest;
    let path = format!("{}/{name}", kind.plural);
    let about = |error: HubError| error.into_failure();
    let version = version_of(object);
    for _ in 0..defaults::CONFLICT_TRIES {
        let live = match hub.fetch(&path).await {
            Ok(live) => live,
            Err(error) if is_not_found(&error) => {
                if version.is_some() {
                    let qualified = kind.qualified(name.as_str());
                    let text =
                        format!("{qualified} has been deleted since the file was made of it");
                    return Err(failure(Exit::Failure, text)
                        .hint("to make it anew, remove metadata.resourceVersion from the file"));
                }
                let mut new = object.clone();
                drop_hub_fields(&mut new);
                match hub.create(kind.plural, &new).await {
                    Ok(created) => {
                        let created = serde_json::from_slice(&created).unwrap_or_default();
                        return Ok((Outcome::Created, created));
                    }
                    Err(error) if is_conflict(&error) => continue,
                    Err(error) => return Err(about(error)),
                }
            }
            Err(error) => return Err(about(error)),
        };
        let mut wanted = object.clone();
        drop_hub_fields(&mut wanted);
        let mut merged = live.clone();
        merge(&mut merged, &wanted);
        if merged == live {
            return Ok((Outcome::Unchanged, live));
        }
        if version.is_some() && version != version_of(&live) {
            let qualified = kind.qualified(name.as_str());
            let text = format!("{qualified} has changed since the file was made of it");
            let hint = format!(
                "kedge get {} {name} -o yaml shows it as it is now",
                kind.singular
            );
            return Err(failure(Exit::Failure, text).hint(hint));
        }
        match hub.replace(&path, &merged).await {
            Ok(stored) => return Ok((Outcome::Configured, stored)),
            Err(error) if is_conflict(&error) => {}
            Err(error) => return Err(about(error)),
        }
    }
    let text = format!(
        "{} is being changed by somebody else",
        kind.qualified(name.as_str())
    );
    Err(failure(Exit::Failure, text).hint("try again"))
}

fn is_conflict(error: &HubError) -> bool {
    matches!(
        error.reason(),
        Some(StatusReason::Conflict | StatusReason::AlreadyExists)
    )
}

/// The version that an object says it is. YAML reads one without quotes as a number.
fn version_of(object: &Value) -> Option<String> {
    match object.pointer("/metadata/resourceVersion")? {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        _ => None,
    }
}

/// Leaves out what the hub gives an object: a file that came from `kedge get -o yaml` has it too.
fn drop_hub_fields(object: &mut Value) {
    let Some(fields) = object.as_object_mut() else {
        return;
    };
    fields.remove("status");
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        for key in ["creationTimestamp", "generation", "resourceVersion", "uid"] {
            metadata.remove(key);
        }
    }
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Some(target) = target.as_object_mut() else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_mentioned_stays() {
        let mut live =
            json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"keys": [1], "x": 1}});
        merge(
            &mut live,
            &json!({"metadata": {"labels": {"b": null, "c": "3"}}, "spec": {"keys": [2, 3]}}),
        );
        assert_eq!(
            live,
            json!({"metadata": {"labels": {"a": "1", "c": "3"}}, "spec": {"keys": [2, 3], "x": 1}})
        );
    }

    #[test]
    fn a_version_is_one_with_and_without_quotes() {
        let of = |version: Value| version_of(&json!({"metadata": {"resourceVersion": version}}));
        assert_eq!(of(json!("7")), Some("7".to_owned()));
        assert_eq!(of(json!(7)), Some("7".to_owned()));
        assert_eq!(of(json!("")), None);
        assert_eq!(of(Value::Null), None);
        assert_eq!(version_of(&json!({"metadata": {}})), None);
    }

    #[test]
    fn what_the_hub_gives_is_left_out() {
        let mut object = json!({
            "metadata": {"name": "a", "uid": "u", "resourceVersion": "1", "generation": 2, "creationTimestamp": "t"},
            "spec": {}, "status": {"phase": "Online"}
        });
        drop_hub_fields(&mut object);
        assert_eq!(object, json!({"metadata": {"name": "a"}, "spec": {}}));
    }
}
