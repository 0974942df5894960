//! The lines of an export.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One line, as JSON.
#[derive(Debug, Deserialize, Serialize)]
#[serde(
    tag = "line",
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub(super) enum Line {
    /// The last one: everything was written.
    End {
        /// The export's id once more.
        export: String,
        /// How many lines there are, this one included.
        lines: usize,
    },
    /// The first one.
    Header {
        /// The version of this format.
        format: u32,
        /// The export's id, by which an import that was cut knows it again.
        export: String,
        /// How many objects of each kind follow.
        objects: BTreeMap<String, usize>,
    },
    /// A text of the hub's own.
    Meta {
        /// Which.
        key: String,
        /// What it is.
        value: String,
    },
    /// An object.
    Object {
        /// All of it.
        object: Value,
    },
}

impl Line {
    /// As it stands in a file, without its end.
    pub(super) fn text(&self) -> String {
        // A line has no keys that JSON could not hold.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The version of this format. One that is not known is refused.
pub(super) const FORMAT: u32 = 1;
