//! What the API server knows of join tokens besides their fields.

use super::access_policy::{LABEL_KEYS, LABEL_KEYS_MESSAGE};
use super::{Cell, Column, Rule};

/// As `kedge get jointokens` shows them, but for moments to come, which `kubectl` cannot shorten.
pub(crate) const COLUMNS: &[Column] = &[
    Column::new("Used", Cell::Number, ".status.used"),
    Column::new("Uses", Cell::Number, ".spec.uses"),
    Column::new("Expires", Cell::Text, ".spec.expiresAt"),
    Column::new("Server", Cell::Text, ".spec.serverName"),
    Column::new("Age", Cell::Age, ".metadata.creationTimestamp"),
    Column::wide("Used by", Cell::Text, ".status.usedBy"),
    Column::wide("Labels", Cell::Text, ".spec.labels"),
];

pub(crate) const RULES: &[Rule] = &[
    Rule {
        at: "",
        holds: "self.metadata.name.matches('^[a-z0-9]{10}$')",
        message: "not ten characters of a-z and 0-9",
        field: ".metadata.name",
    },
    Rule {
        at: "spec",
        holds: "self == oldSelf",
        message: "cannot be changed; revoke the token and make another",
        field: "",
    },
    Rule {
        at: "spec",
        holds: "!has(self.serverName) || !has(self.uses) || self.uses == 1",
        message: "must be 1 when spec.serverName allows one name only",
        field: ".uses",
    },
    Rule {
        at: "spec.labels",
        holds: LABEL_KEYS,
        message: LABEL_KEYS_MESSAGE,
        field: "",
    },
];
