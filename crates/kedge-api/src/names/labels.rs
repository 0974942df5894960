//! Labels, by Kubernetes' rules.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ids::check_characters;
use super::{ObjectName, text_type};
use crate::defaults::{LABEL_PART_MAX_BYTES, NAME_MAX_BYTES};

text_type! {
    /// A label's key: `[prefix/]name`; the prefix is a DNS name, the name at most 63 characters of
    /// `A-Za-z0-9-_.` with a letter or digit at both ends.
    LabelKey, "label key", max LABEL_KEY_MAX_BYTES,
    pattern "^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$",
    check_key
}

text_type! {
    /// A label's value: empty, or like the name part of a [`LabelKey`].
    LabelValue, "label value", max LABEL_PART_MAX_BYTES,
    pattern "^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$",
    check_value
}

/// The labels of an object, in the order of their keys.
#[derive(
    Clone,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct Labels(BTreeMap<LabelKey, LabelValue>);

impl Labels {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The value of a key.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&LabelValue> {
        self.0.get(key)
    }

    /// Sets a label, and gives back the value it replaces.
    pub fn insert(&mut self, key: LabelKey, value: LabelValue) -> Option<LabelValue> {
        self.0.insert(key, value)
    }

    /// Removes a label.
    pub fn remove(&mut self, key: &str) -> Option<LabelValue> {
        self.0.remove(key)
    }

    /// All labels in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&LabelKey, &LabelValue)> {
        self.0.iter()
    }

    /// Whether every one of these labels is also in `other`. No labels are contained in anything.
    #[must_use]
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.0
            .iter()
            .all(|(key, value)| other.0.get(key) == Some(value))
    }
}

impl FromIterator<(LabelKey, LabelValue)> for Labels {
    fn from_iter<I: IntoIterator<Item = (LabelKey, LabelValue)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl Extend<(LabelKey, LabelValue)> for Labels {
    fn extend<I: IntoIterator<Item = (LabelKey, LabelValue)>>(&mut self, pairs: I) {
        self.0.extend(pairs);
    }
}

fn check_key(text: &str) -> Result<(), String> {
    match text.split_once('/') {
        Some((prefix, name)) => {
            prefix
                .parse::<ObjectName>()
                .map_err(|e| format!("its prefix: {}", e.problem()))?;
            check_part(name)
        }
        None => check_part(text),
    }
}

fn check_value(text: &str) -> Result<(), String> {
    if text.is_empty() {
        Ok(())
    } else {
        check_part(text)
    }
}

fn check_part(part: &str) -> Result<(), String> {
    if part.len() > LABEL_PART_MAX_BYTES {
        return Err(format!("a part longer than {LABEL_PART_MAX_BYTES} bytes"));
    }
    check_characters(
        part,
        |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'),
        "letters, digits, `-`, `_` and `.`",
    )?;
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if edge(part.chars().next()) && edge(part.chars().next_back()) {
        Ok(())
    } else {
        Err("must begin and end with a letter or digit".into())
    }
}

const LABEL_KEY_MAX_BYTES: usize = NAME_MAX_BYTES + 1 + LABEL_PART_MAX_BYTES;
