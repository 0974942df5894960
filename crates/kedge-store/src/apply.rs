//! What a write makes of an object, whatever the store. Pure.

use kedge_api::{ResourceVersion, Time, Uid};
use serde_json::{Map, Value, json};

use crate::error::StoreError;
use crate::kind::Kind;
use crate::raw::{Change, Precondition, Snapshot, Write};

/// What a write comes to.
pub(crate) enum Outcome {
    /// The object is to be stored, or removed.
    Changes(Change),
    /// It is already so.
    Nothing(Snapshot),
}

/// What the store adds to an object.
pub(crate) struct Stamp {
    pub(crate) version: ResourceVersion,
    pub(crate) now: Time,
    pub(crate) uid: Uid,
}

/// The name a write is about.
pub(crate) fn name_of(write: &Write) -> &str {
    match write {
        Write::Create(_, object) | Write::Update(_, object) | Write::UpdateStatus(_, object) => {
            object
                .pointer("/metadata/name")
                .and_then(Value::as_str)
                .unwrap_or_default()
        }
        Write::Delete(_, name, _) => name,
    }
}

/// The kind a write is about.
pub(crate) fn kind_of(write: &Write) -> Kind {
    match write {
        Write::Create(kind, _)
        | Write::Delete(kind, _, _)
        | Write::Update(kind, _)
        | Write::UpdateStatus(kind, _) => *kind,
    }
}

/// Applies a write to what is there.
pub(crate) fn apply(
    current: Option<&Snapshot>,
    write: &Write,
    stamp: &Stamp,
) -> Result<Outcome, StoreError> {
    let kind = kind_of(write);
    let name = name_of(write).to_owned();
    match write {
        Write::Create(..) if current.is_some() => Err(StoreError::AlreadyExists { kind, name }),
        Write::Create(_, object) => Ok(Outcome::Changes(Change::Added(Snapshot::of(&created(
            object.clone(),
            stamp,
        ))))),
        Write::Delete(_, _, precondition) => {
            let current = current.ok_or_else(|| not_found(kind, &name))?.tree();
            if let Precondition::Version(version) = precondition
                && version_of(&current) != Some(*version)
            {
                return Err(StoreError::Conflict { kind, name });
            }
            let mut gone = current;
            set(&mut gone, "resourceVersion", json!(stamp.version));
            Ok(Outcome::Changes(Change::Deleted(Snapshot::of(&gone))))
        }
        Write::Update(_, object) => {
            let before = current.ok_or_else(|| not_found(kind, &name))?;
            let current = before.tree();
            check_version(kind, &name, &current, object)?;
            let after = updated(&current, object.clone());
            Ok(changed(before, &current, after, stamp))
        }
        Write::UpdateStatus(_, object) => {
            let before = current.ok_or_else(|| not_found(kind, &name))?;
            let current = before.tree();
            check_version(kind, &name, &current, object)?;
            let mut after = current.clone();
            let status = object.get("status").cloned().unwrap_or_default();
            if let Some(fields) = after.as_object_mut() {
                fields.insert("status".to_owned(), status);
            }
            Ok(changed(before, &current, after, stamp))
        }
    }
}

/// The version an object carries.
pub(crate) fn version_of(object: &Value) -> Option<ResourceVersion> {
    object
        .pointer("/metadata/resourceVersion")?
        .as_str()?
        .parse()
        .ok()
}

fn created(mut object: Value, stamp: &Stamp) -> Value {
    set(&mut object, "uid", json!(stamp.uid));
    set(&mut object, "resourceVersion", json!(stamp.version));
    set(&mut object, "generation", json!(1));
    set(&mut object, "creationTimestamp", json!(stamp.now));
    object
}

/// The stored object with spec, labels and annotations of the new one.
fn updated(current: &Value, object: Value) -> Value {
    let mut after = object;
    if let (Some(fields), Some(old)) = (after.as_object_mut(), current.as_object()) {
        match old.get("status") {
            Some(status) => fields.insert("status".to_owned(), status.clone()),
            None => fields.remove("status"),
        };
    }
    for key in ["uid", "resourceVersion", "generation", "creationTimestamp"] {
        let kept = current
            .pointer("/metadata")
            .and_then(|metadata| metadata.get(key))
            .cloned();
        set(&mut after, key, kept.unwrap_or_default());
    }
    if after.get("spec") != current.get("spec") {
        let generation = current
            .pointer("/metadata/generation")
            .and_then(Value::as_u64);
        set(
            &mut after,
            "generation",
            json!(generation.unwrap_or_default().saturating_add(1)),
        );
    }
    after
}

/// `current` is what `before` says.
fn changed(before: &Snapshot, current: &Value, mut after: Value, stamp: &Stamp) -> Outcome {
    if after == *current {
        return Outcome::Nothing(before.clone());
    }
    set(&mut after, "resourceVersion", json!(stamp.version));
    Outcome::Changes(Change::Modified {
        before: before.clone(),
        after: Snapshot::of(&after),
    })
}

fn check_version(
    kind: Kind,
    name: &str,
    current: &Value,
    object: &Value,
) -> Result<(), StoreError> {
    let Some(version) = version_of(object) else {
        return Err(StoreError::VersionMissing {
            kind,
            name: name.to_owned(),
        });
    };
    let uid = object.pointer("/metadata/uid").filter(|uid| !uid.is_null());
    let same_uid = uid.is_none_or(|uid| Some(uid) == current.pointer("/metadata/uid"));
    if version_of(current) == Some(version) && same_uid {
        Ok(())
    } else {
        Err(StoreError::Conflict {
            kind,
            name: name.to_owned(),
        })
    }
}

fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        let metadata = fields
            .entry("metadata")
            .or_insert_with(|| Value::Object(Map::new()));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert(key.to_owned(), value);
        }
    }
}

fn not_found(kind: Kind, name: &str) -> StoreError {
    StoreError::NotFound {
        kind,
        name: name.to_owned(),
    }
}
