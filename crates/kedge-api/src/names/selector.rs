//! Label selectors, in the text form of `kubectl -l`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{LabelKey, LabelValue, Labels, NameError};
use crate::defaults::SELECTOR_MAX_BYTES;

/// Which labels an object must have: `a=b,c!=d,e in (x,y),f notin (z),!g,h`.
///
/// All requirements must hold. No requirement at all selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct LabelSelector(Vec<Requirement>);

/// One requirement of a [`LabelSelector`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Requirement {
    /// `!key`: the label is absent.
    Absent(LabelKey),
    /// `key=value`, `key==value` or `key in (value, …)`.
    In(LabelKey, BTreeSet<LabelValue>),
    /// `key!=value` or `key notin (value, …)`: absent, or another value.
    NotIn(LabelKey, BTreeSet<LabelValue>),
    /// `key`: the label is there, with any value.
    Present(LabelKey),
}

impl LabelSelector {
    /// Whether an object with these labels is selected.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| requirement.holds(labels))
    }

    /// Whether it selects everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The requirements, in the order they were written.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.0
    }
}

impl Requirement {
    fn holds(&self, labels: &Labels) -> bool {
        match self {
            Self::Absent(key) => labels.value(key.as_str()).is_none(),
            Self::In(key, values) => labels
                .value(key.as_str())
                .is_some_and(|value| values.contains(value)),
            Self::NotIn(key, values) => labels
                .value(key.as_str())
                .is_none_or(|value| !values.contains(value)),
            Self::Present(key) => labels.value(key.as_str()).is_some(),
        }
    }
}

impl FromStr for LabelSelector {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = |problem: String| NameError::new("label selector", text, problem);
        if text.len() > SELECTOR_MAX_BYTES {
            return Err(wrong(format!(
                "{} bytes, at most {SELECTOR_MAX_BYTES}",
                text.len()
            )));
        }
        if text.trim_matches(' ').is_empty() {
            return Ok(Self::default());
        }
        split_outside_parentheses(text)
            .map_err(wrong)?
            .into_iter()
            .map(requirement)
            .collect::<Result<_, _>>()
            .map(Self)
            .map_err(wrong)
    }
}

/// The parts between commas that are not inside parentheses.
fn split_outside_parentheses(text: &str) -> Result<Vec<&str>, String> {
    let mut parts = Vec::new();
    let (mut rest, mut from) = (text, 0);
    loop {
        match rest
            .get(from..)
            .and_then(|tail| tail.find([',', '(']).map(|at| at + from))
        {
            Some(at) if rest.get(at..).is_some_and(|tail| tail.starts_with('(')) => {
                let close = rest.get(at..).and_then(|tail| tail.find(')'));
                from = at + close.ok_or("`(` without `)`")?;
            }
            Some(at) => {
                let (part, tail) = rest.split_at(at);
                parts.push(part);
                rest = tail.get(1..).unwrap_or_default();
                from = 0;
            }
            None => {
                parts.push(rest);
                return Ok(parts);
            }
        }
    }
}

fn requirement(part: &str) -> Result<Requirement, String> {
    let part = part.trim_matches(' ');
    if let Some(key) = part.strip_prefix('!') {
        return Ok(Requirement::Absent(key_of(key)?));
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Ok(Requirement::NotIn(
            key_of(key)?,
            BTreeSet::from([value_of(value)?]),
        ));
    }
    if let Some((key, value)) = part.split_once('=') {
        let value = value.strip_prefix('=').unwrap_or(value);
        return Ok(Requirement::In(
            key_of(key)?,
            BTreeSet::from([value_of(value)?]),
        ));
    }
    let Some((head, list)) = part.split_once('(') else {
        return Ok(Requirement::Present(key_of(part)?));
    };
    let list = list.strip_suffix(')').ok_or("something follows `)`")?;
    let values = list
        .split(',')
        .map(value_of)
        .collect::<Result<BTreeSet<_>, _>>()?;
    match head.trim_matches(' ').rsplit_once(' ') {
        Some((key, "in")) => Ok(Requirement::In(key_of(key)?, values)),
        Some((key, "notin")) => Ok(Requirement::NotIn(key_of(key)?, values)),
        _ => Err("expected `key in (…)` or `key notin (…)`".into()),
    }
}

fn key_of(text: &str) -> Result<LabelKey, String> {
    text.trim_matches(' ')
        .parse()
        .map_err(|e: NameError| e.to_string())
}

fn value_of(text: &str) -> Result<LabelValue, String> {
    text.trim_matches(' ')
        .parse()
        .map_err(|e: NameError| e.to_string())
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{requirement}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = |values: &BTreeSet<LabelValue>| {
            values
                .iter()
                .map(LabelValue::as_str)
                .collect::<Vec<_>>()
                .join(",")
        };
        match self {
            Self::Absent(key) => write!(f, "!{key}"),
            Self::In(key, values) if values.len() == 1 => write!(f, "{key}={}", set(values)),
            Self::In(key, values) => write!(f, "{key} in ({})", set(values)),
            Self::NotIn(key, values) if values.len() == 1 => write!(f, "{key}!={}", set(values)),
            Self::NotIn(key, values) => write!(f, "{key} notin ({})", set(values)),
            Self::Present(key) => write!(f, "{key}"),
        }
    }
}

impl TryFrom<String> for LabelSelector {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<LabelSelector> for String {
    fn from(selector: LabelSelector) -> Self {
        selector.to_string()
    }
}
