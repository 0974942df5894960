//! A kind of object, as far as a store cares.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use kedge_api::{AccessPolicy, JoinToken, Resource, Server};
use serde_json::Value;

/// A kind of object. Two are the same when their objects are called the same in a path.
#[derive(Clone, Copy)]
pub struct Kind {
    /// `Server`
    pub name: &'static str,
    /// `servers`
    pub plural: &'static str,
    /// `server`
    pub singular: &'static str,
    /// An object of this kind as its type writes it, or what its type cannot read.
    pub shape: fn(&Value) -> Result<Value, serde_json::Error>,
    /// The status of an object that nobody has said anything about.
    pub default_status: fn() -> Value,
}

impl Kind {
    /// Every kind there is, in the order in which they are carried from one store to another: policies last, so that
    /// nobody is let in by a part of them.
    pub const ALL: [Self; 3] = [
        Self::of::<Server>(),
        Self::of::<JoinToken>(),
        Self::of::<AccessPolicy>(),
    ];

    /// The kind of a type.
    #[must_use]
    pub const fn of<R: Resource>() -> Self {
        Self {
            name: R::KIND,
            plural: R::PLURAL,
            singular: R::SINGULAR,
            shape: shape::<R>,
            default_status: default_status::<R>,
        }
    }
}

fn shape<R: Resource>(object: &Value) -> Result<Value, serde_json::Error> {
    serde_json::to_value(R::deserialize(object)?)
}

fn default_status<R: Resource>() -> Value {
    // A default has nothing in it that JSON could not hold.
    serde_json::to_value(R::Status::default()).unwrap_or_default()
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.plural)
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.plural == other.plural
    }
}

impl Eq for Kind {}

impl PartialOrd for Kind {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Kind {
    fn cmp(&self, other: &Self) -> Ordering {
        self.plural.cmp(other.plural)
    }
}

impl Hash for Kind {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.plural.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kinds_are_what_their_plural_says() {
        let twin = Kind {
            default_status: || json!("another"),
            ..Kind::of::<Server>()
        };
        assert_eq!(twin, Kind::of::<Server>());
        assert_ne!(Kind::of::<Server>(), Kind::of::<JoinToken>());
        assert_eq!(format!("{twin:?}"), "servers");
    }

    #[test]
    fn an_object_takes_the_shape_that_its_type_writes() {
        let kind = Kind::of::<Server>();
        let bare = json!({
            "apiVersion": "kedge.dev/v1alpha1",
            "kind": "Server",
            "metadata": {"name": "web01", "labels": {}},
            "spec": {},
        });
        let shaped = (kind.shape)(&bare).unwrap();
        assert_eq!(shaped["status"], (kind.default_status)());
        assert_eq!(shaped["metadata"], json!({"name": "web01"}));
        assert_eq!((kind.shape)(&shaped).unwrap(), shaped);
        let mut wrong = bare;
        wrong["spec"]["sshUser"] = json!("-oProxyCommand=x");
        (kind.shape)(&wrong).unwrap_err();
    }
}
