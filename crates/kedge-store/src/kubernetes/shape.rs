//! Objects as the API server has them, and as the store has them. Pure.

use std::collections::BTreeMap;

use kedge_api::{API_VERSION, ResourceVersion};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::kind::Kind;
use crate::raw::Snapshot;

/// An object that the API server told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) version: ResourceVersion,
    /// Whether it waits for others before it goes.
    pub(super) leaving: bool,
    /// The store's own part of it.
    pub(super) snapshot: Snapshot,
    /// What its type cannot read of it.
    pub(super) fault: Option<String>,
}

/// A page of a list.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) version: ResourceVersion,
    pub(super) rest: Option<String>,
    pub(super) items: Vec<Seen>,
}

/// An event of a watch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Nothing, up to this version.
    Bookmark(ResourceVersion),
    /// There is such an object, new or changed.
    Is(Seen),
    /// The watch cannot go on: what the server said.
    Over(String),
    /// It is gone.
    Was(Seen),
}

/// What the API server said is not what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not what an API server says: {0}")]
pub(super) struct Malformed(&'static str);

/// Takes from an object what is the store's: its own metadata, spec and status. Managed fields, finalizers, owners and
/// whatever else others put there stay with the API server.
///
/// The object takes the shape that its type writes, so that what is written and what is read compare as equal. One that
/// its type cannot read is kept as it is: whoever reads it is told, and nobody else is hindered.
pub(super) fn seen(kind: Kind, mut object: Value) -> Result<Seen, Malformed> {
    let metadata = object
        .get_mut("metadata")
        .and_then(Value::as_object_mut)
        .ok_or(Malformed("an object without metadata"))?;
    let text = |metadata: &Map<String, Value>, key| {
        let text = metadata.get(key).and_then(Value::as_str);
        text.map(str::to_owned)
    };
    let name = text(metadata, "name").ok_or(Malformed("an object without a name"))?;
    let uid = text(metadata, "uid").ok_or(Malformed("an object without a uid"))?;
    let version = text(metadata, "resourceVersion")
        .and_then(|version| version.parse().ok())
        .ok_or(Malformed("an object without a version that is a number"))?;
    let leaving = metadata.contains_key("deletionTimestamp");
    metadata.retain(|key, value| OURS.contains(&key.as_str()) && !is_nothing(value));
    let own = json!({
        "apiVersion": API_VERSION,
        "kind": kind.name,
        "metadata": metadata,
        "spec": object.get_mut("spec").map_or_else(|| json!({}), Value::take),
        "status": match object.get_mut("status").map(Value::take) {
            None | Some(Value::Null) => (kind.default_status)(),
            Some(status) => status,
        },
    });
    let (snapshot, fault) = match (kind.shape)(&own) {
        Ok(shaped) => (Snapshot::of(&shaped), None),
        Err(error) => (Snapshot::of(&own), Some(error.to_string())),
    };
    Ok(Seen {
        name,
        uid,
        version,
        leaving,
        snapshot,
        fault,
    })
}

/// Reads a page of a list.
pub(super) fn page(kind: Kind, answer: &[u8]) -> Result<Page, Malformed> {
    #[derive(Deserialize)]
    struct Answer {
        metadata: Metadata,
        // Go writes no list as null.
        items: Option<Vec<Value>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Metadata {
        resource_version: ResourceVersion,
        #[serde(rename = "continue")]
        rest: Option<String>,
    }
    let answer: Answer = serde_json::from_slice(answer).map_err(|_| Malformed("a list"))?;
    let items = answer.items.unwrap_or_default().into_iter();
    Ok(Page {
        version: answer.metadata.resource_version,
        rest: answer.metadata.rest.filter(|rest| !rest.is_empty()),
        items: items
            .map(|item| seen(kind, item))
            .collect::<Result<_, _>>()?,
    })
}

/// Reads an event of a watch.
pub(super) fn event(kind: Kind, line: &[u8]) -> Result<Event, Malformed> {
    #[derive(Deserialize)]
    struct Line {
        #[serde(rename = "type")]
        what: String,
        object: Value,
    }
    let line: Line = serde_json::from_slice(line).map_err(|_| Malformed("an event"))?;
    match line.what.as_str() {
        "ADDED" | "MODIFIED" => {
            let seen = seen(kind, line.object)?;
            Ok(if seen.leaving {
                Event::Was(seen)
            } else {
                Event::Is(seen)
            })
        }
        "DELETED" => seen(kind, line.object).map(Event::Was),
        "BOOKMARK" => line
            .object
            .pointer("/metadata/resourceVersion")
            .and_then(|version| version.as_str()?.parse().ok())
            .map(Event::Bookmark)
            .ok_or(Malformed("a bookmark without a version")),
        "ERROR" => {
            let message = line.object.get("message").and_then(Value::as_str);
            Ok(Event::Over(message.unwrap_or("no reason given").to_owned()))
        }
        _ => Err(Malformed("an event of an unknown type")),
    }
}

/// A new object as it is posted: what the API server gives it is left out, and the status, which it ignores.
pub(super) fn posted(kind: Kind, object: &Value) -> Value {
    let metadata = object.get("metadata").and_then(Value::as_object);
    let given: BTreeMap<_, _> = metadata
        .into_iter()
        .flatten()
        .filter(|(key, _)| ["name", "labels", "annotations"].contains(&key.as_str()))
        .collect();
    json!({
        "apiVersion": API_VERSION,
        "kind": kind.name,
        "metadata": given,
        "spec": object.get("spec"),
    })
}

/// The steps that give a stored object the spec, labels and annotations of this one, if it is still this version. What
/// others put beside them (finalizers, owners) stays.
pub(super) fn replaced(object: &Value, version: ResourceVersion) -> Value {
    let part = |pointer: &str| {
        let part = object.pointer(pointer);
        part.cloned().unwrap_or_else(|| json!({}))
    };
    json!([
        {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
        {"op": "add", "path": "/metadata/labels", "value": part("/metadata/labels")},
        {"op": "add", "path": "/metadata/annotations", "value": part("/metadata/annotations")},
        {"op": "add", "path": "/spec", "value": part("/spec")},
    ])
}

/// What the hub says of an object, for server-side apply. With a version it must still be that; with a uid it must still
/// be that very object.
pub(super) fn applied(kind: Kind, name: &str, lock: Lock<'_>, status: &Value) -> Value {
    let metadata = match lock {
        Lock::Uid(uid) => json!({"name": name, "uid": uid}),
        Lock::Version(version) => json!({"name": name, "resourceVersion": version}),
    };
    json!({
        "apiVersion": API_VERSION,
        "kind": kind.name,
        "metadata": metadata,
        "status": status,
    })
}

/// The steps that make the status what it is wanted to be and nothing else, if the object is still this version.
pub(super) fn status_replaced(status: &Value, version: ResourceVersion) -> Value {
    json!([
        {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
        {"op": "add", "path": "/status", "value": status},
    ])
}

/// What must still hold for a change to be made.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lock<'a> {
    /// It is this object, whatever became of it.
    Uid(&'a str),
    /// It is this version.
    Version(ResourceVersion),
}

/// Which object a text of ours is of.
pub(super) fn uid_of(object: &Snapshot) -> Option<String> {
    #[derive(Deserialize)]
    struct Object {
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    struct Metadata {
        uid: String,
    }
    let object: Object = serde_json::from_str(object.text()).ok()?;
    Some(object.metadata.uid)
}

/// The same object, with the version at which it went.
pub(super) fn gone_at(object: &Snapshot, version: ResourceVersion) -> Snapshot {
    let mut tree = object.tree();
    if let Some(own) = tree.pointer_mut("/metadata/resourceVersion") {
        *own = json!(version);
    }
    Snapshot::of(&tree)
}

fn is_nothing(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(Map::is_empty)
}

/// The metadata that is the store's.
const OURS: [&str; 7] = [
    "annotations",
    "creationTimestamp",
    "generation",
    "labels",
    "name",
    "resourceVersion",
    "uid",
];

#[cfg(test)]
mod tests {
    use kedge_api::{Server, ServerPhase};

    use super::*;

    fn server() -> Value {
        json!({
            "apiVersion": "kedge.dev/v1alpha1",
            "kind": "Server",
            "metadata": {
                "name": "web01",
                "namespace": "kedge",
                "uid": "6f6b2f9e-2a9e-4a53-9d2f-0d5d5d5d5d5d",
                "resourceVersion": "42",
                "generation": 1,
                "creationTimestamp": "2026-01-31T12:00:00Z",
                "labels": {"env": "prod"},
                "annotations": {},
                "managedFields": [{"manager": "kubectl"}],
                "finalizers": ["example.com/theirs"],
                "ownerReferences": [],
            },
            "spec": {"sshUser": "ubuntu"},
        })
    }

    fn of(object: Value) -> Seen {
        seen(Kind::of::<Server>(), object).unwrap()
    }

    #[test]
    fn only_what_is_ours_is_kept_and_reads_as_its_type_writes_it() {
        let seen = of(server());
        assert_eq!((seen.name.as_str(), seen.version.value()), ("web01", 42));
        assert_eq!((seen.leaving, &seen.fault), (false, &None));
        let tree = seen.snapshot.tree();
        let keys: Vec<_> = tree["metadata"].as_object().unwrap().keys().collect();
        let kept = [
            "creationTimestamp",
            "generation",
            "labels",
            "name",
            "resourceVersion",
            "uid",
        ];
        assert_eq!(keys.len(), kept.len());
        assert!(
            kept.iter().all(|key| keys.iter().any(|k| k == key)),
            "{keys:?}"
        );
        let typed: Server = seen.snapshot.read().unwrap();
        assert_eq!(typed.status.phase, ServerPhase::Pending);
        assert_eq!(serde_json::to_value(&typed).unwrap(), tree);
    }

    #[test]
    fn an_object_that_no_type_reads_is_kept_with_what_is_wrong() {
        let mut object = server();
        object["spec"] = json!({"sshUser": 7, "theirs": true});
        let seen = of(object);
        assert!(seen.fault.is_some());
        let tree = seen.snapshot.tree();
        assert_eq!(tree["spec"], json!({"sshUser": 7, "theirs": true}));
        assert_eq!(tree["status"]["phase"], "Pending");
        assert_eq!(tree["metadata"].get("managedFields"), None);
    }

    #[test]
    fn an_object_that_waits_to_be_deleted_is_gone() {
        let mut object = server();
        object["metadata"]["deletionTimestamp"] = json!("2026-01-31T12:00:00Z");
        let line = json!({"type": "MODIFIED", "object": object}).to_string();
        let event = event(Kind::of::<Server>(), line.as_bytes()).unwrap();
        assert!(matches!(event, Event::Was(seen) if seen.name == "web01"));
    }

    #[test]
    fn events_are_read_and_what_is_none_is_refused() {
        let read = |line: &str| event(Kind::of::<Server>(), line.as_bytes());
        let added = json!({"type": "ADDED", "object": server()}).to_string();
        assert!(matches!(read(&added), Ok(Event::Is(_))));
        let deleted = json!({"type": "DELETED", "object": server()}).to_string();
        assert!(matches!(read(&deleted), Ok(Event::Was(_))));
        let bookmark = r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"77"}}}"#;
        assert_eq!(
            read(bookmark),
            Ok(Event::Bookmark(ResourceVersion::new(77)))
        );
        let over = r#"{"type":"ERROR","object":{"code":410,"message":"too old"}}"#;
        assert_eq!(read(over), Ok(Event::Over("too old".to_owned())));
        for wrong in [
            "",
            "{}",
            "[]",
            r#"{"type":"ADDED"}"#,
            r#"{"type":"ADDED","object":[]}"#,
            r#"{"type":"ADDED","object":{"metadata":{"name":"x","uid":"y"}}}"#,
            r#"{"type":"ADDED","object":{"metadata":{"name":"x","uid":"y","resourceVersion":"a"}}}"#,
            r#"{"type":"BOOKMARK","object":{}}"#,
            r#"{"type":"REMOVED","object":{}}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn pages_are_read_also_empty_ones() {
        let kind = Kind::of::<Server>();
        let answer = json!({
            "metadata": {"resourceVersion": "9", "continue": "abc"},
            "items": [server()],
        });
        let read = page(kind, answer.to_string().as_bytes()).unwrap();
        assert_eq!((read.version.value(), read.items.len()), (9, 1));
        assert_eq!(read.rest.as_deref(), Some("abc"));
        let empty = br#"{"metadata":{"resourceVersion":"9","continue":""},"items":null}"#;
        let read = page(kind, empty).unwrap();
        assert!(read.rest.is_none() && read.items.is_empty());
        for wrong in [&b"{}"[..], b"[]", br#"{"metadata":{},"items":[]}"#] {
            assert!(page(kind, wrong).is_err());
        }
    }

    #[test]
    fn a_patch_names_the_version_and_touches_only_what_is_ours() {
        let steps = replaced(&server(), ResourceVersion::new(42));
        let paths: Vec<_> = steps
            .as_array()
            .unwrap()
            .iter()
            .map(|s| &s["path"])
            .collect();
        assert_eq!(
            paths,
            [
                "/metadata/resourceVersion",
                "/metadata/labels",
                "/metadata/annotations",
                "/spec"
            ]
        );
        assert_eq!(steps[0]["value"], "42");
        let posted = posted(Kind::of::<Server>(), &server());
        assert_eq!(
            posted["metadata"],
            json!({"name": "web01", "labels": {"env": "prod"}, "annotations": {}})
        );
        assert_eq!(posted.get("status"), None);
    }
}
