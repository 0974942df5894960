//! What every object has: metadata, conditions, and the trait that ties a kind together.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::crd::{Column, Rule};
use crate::defaults::{ANNOTATIONS_MAX_BYTES, LABELS_MAX};
use crate::names::{LabelKey, Labels, NameError, ObjectName};
use crate::time::Time;
use crate::wire_enum::wire_enum;

/// A kind of object: how it is called, and where its parts are.
pub trait Resource:
    Clone + fmt::Debug + PartialEq + Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static
{
    /// `Server`
    const KIND: &'static str;
    /// `servers`, as in the path
    const PLURAL: &'static str;
    /// `server`
    const SINGULAR: &'static str;
    /// `srv`, …: what `kedge get` takes as well
    const SHORT_NAMES: &'static [&'static str];
    /// What `kubectl get` shows beside the name.
    const COLUMNS: &'static [Column];
    /// What [`Self::validate`] and [`Self::validate_change`] refuse, as far as a Kubernetes API server can.
    const RULES: &'static [Rule];

    /// What people and agents ask for.
    type Spec: Clone + fmt::Debug + PartialEq + Serialize + DeserializeOwned + JsonSchema;
    /// What the hub has seen.
    type Status: Clone
        + Default
        + fmt::Debug
        + PartialEq
        + Serialize
        + DeserializeOwned
        + JsonSchema;

    /// An object that is not stored yet.
    fn new(name: ObjectName, spec: Self::Spec) -> Self;
    /// Name, labels, version and so on.
    fn metadata(&self) -> &ObjectMeta;
    /// The same, to change.
    fn metadata_mut(&mut self) -> &mut ObjectMeta;
    /// What is asked for.
    fn spec(&self) -> &Self::Spec;
    /// The same, to change.
    fn spec_mut(&mut self) -> &mut Self::Spec;
    /// What was seen.
    fn status(&self) -> &Self::Status;
    /// The same, to change.
    fn status_mut(&mut self) -> &mut Self::Status;

    /// What the types alone cannot say, on creation and on change.
    ///
    /// # Errors
    /// Every field that is wrong, with its path.
    fn validate(&self) -> Result<(), Vec<FieldError>>;

    /// What a person's change may not do to the object that is there; includes [`Self::validate`].
    ///
    /// # Errors
    /// Every field that is wrong, with its path.
    fn validate_change(&self, _old: &Self) -> Result<(), Vec<FieldError>> {
        self.validate()
    }
}

/// Metadata of an object, as in Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectMeta {
    /// Unique among objects of its kind.
    pub name: ObjectName,
    /// Given by the store: two objects of one name in different times differ in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Uid>,
    /// Given by the store, changed by every write. A change must name the version it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<ResourceVersion>,
    /// Counts changes of `spec`, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// When the store first wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<Time>,
    /// What selectors select by.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Notes of tools and people; never interpreted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<LabelKey, String>,
}

impl ObjectMeta {
    /// Metadata of an object that is not stored yet.
    #[must_use]
    pub fn new(name: ObjectName) -> Self {
        Self {
            name,
            uid: None,
            resource_version: None,
            generation: None,
            creation_timestamp: None,
            labels: Labels::default(),
            annotations: BTreeMap::new(),
        }
    }

    /// The limits on labels and annotations.
    pub(crate) fn check(&self, errors: &mut Vec<FieldError>) {
        if self.labels.len() > LABELS_MAX {
            let message = format!("{} labels, at most {LABELS_MAX}", self.labels.len());
            errors.push(FieldError::new("metadata.labels", message));
        }
        let bytes: usize = self
            .annotations
            .iter()
            .map(|(k, v)| k.as_str().len() + v.len())
            .sum();
        if bytes > ANNOTATIONS_MAX_BYTES {
            let message = format!("{bytes} bytes, at most {ANNOTATIONS_MAX_BYTES}");
            errors.push(FieldError::new("metadata.annotations", message));
        }
    }
}

/// One field of an object that is wrong, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct FieldError {
    /// Where it is: `spec.logins[2]`.
    pub path: String,
    /// What is wrong with it.
    pub message: String,
}

impl FieldError {
    /// A complaint about one field.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
        }
    }
}

/// The store's counter at the last write of an object. A string in JSON, as in Kubernetes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ResourceVersion(u64);

impl ResourceVersion {
    /// From the store's counter.
    #[must_use]
    pub const fn new(counter: u64) -> Self {
        Self(counter)
    }

    /// The store's counter.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }
}

impl FromStr for ResourceVersion {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = |problem: String| NameError::new("resource version", text, problem);
        if text.starts_with('+') {
            return Err(wrong("not a whole number".into()));
        }
        text.parse()
            .map(Self)
            .map_err(|e: ParseIntError| wrong(e.to_string()))
    }
}

impl TryFrom<String> for ResourceVersion {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ResourceVersion> for String {
    fn from(version: ResourceVersion) -> Self {
        version.to_string()
    }
}

impl fmt::Display for ResourceVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for ResourceVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl JsonSchema for ResourceVersion {
    fn schema_name() -> Cow<'static, str> {
        "ResourceVersion".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]{1,20}$" })
    }
}

crate::names::text_type! {
    /// The store's id of an object, in the form of a random UUID (RFC 9562 version 4).
    Uid, "uid", max 36,
    pattern "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
    check_uid
}

impl Uid {
    /// The UUID for 16 random bytes; six bits of them become version and variant.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let bits =
            u128::from_be_bytes(bytes) & !(0xf << 76) & !(0b11 << 62) | (4 << 76) | (2 << 62);
        let (a, b, c, d, e) = (
            bits >> 96,
            (bits >> 80) & 0xffff,
            (bits >> 64) & 0xffff,
            (bits >> 48) & 0xffff,
            bits & 0xffff_ffff_ffff,
        );
        Self(format!("{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}"))
    }
}

fn check_uid(text: &str) -> Result<(), String> {
    let mut lengths = [8, 4, 4, 4, 12].into_iter();
    let legal = text.split('-').all(|part| {
        lengths.next() == Some(part.len())
            && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    });
    if legal && lengths.next().is_none() {
        Ok(())
    } else {
        Err("not a UUID in lower case".into())
    }
}

/// One thing that is known, or not, about an object, as in Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What is said: `Ready`, `Connected`, `HostKeyVerified`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, in one CamelCase word for programs.
    pub reason: String,
    /// Why, in a sentence for people.
    #[serde(default)]
    pub message: String,
    /// When `status` last changed.
    pub last_transition_time: Time,
    /// The `metadata.generation` this was seen for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<u64>,
}

wire_enum! {
    /// Whether a condition holds.
    ConditionStatus {
        /// It does not hold.
        False = "False",
        /// It holds.
        True = "True",
        /// Nobody can say.
        Undetermined = "Unknown",
    }
}

/// Sets one condition among others, sorted by type. The transition time moves only when the status
/// does. Returns whether anything but the time changed.
pub fn set_condition(
    conditions: &mut Vec<Condition>,
    kind: &str,
    status: ConditionStatus,
    reason: &str,
    message: &str,
    now: Time,
) -> Changed {
    match conditions.binary_search_by(|c| c.kind.as_str().cmp(kind)) {
        Ok(at) => {
            let Some(there) = conditions.get_mut(at) else {
                return Changed::No;
            };
            if there.status == status && there.reason == reason && there.message == message {
                return Changed::No;
            }
            if there.status != status {
                there.last_transition_time = now;
            }
            there.status = status;
            reason.clone_into(&mut there.reason);
            message.clone_into(&mut there.message);
        }
        Err(at) => conditions.insert(
            at,
            Condition {
                kind: kind.to_owned(),
                status,
                reason: reason.to_owned(),
                message: message.to_owned(),
                last_transition_time: now,
                observed_generation: None,
            },
        ),
    }
    Changed::Yes
}

/// Whether a write would change anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It is as it was.
    No,
    /// It must be written.
    Yes,
}
