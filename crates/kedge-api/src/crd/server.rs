//! What the API server knows of servers besides their fields.

use super::{Cell, Column, Rule};

/// As `kedge get servers` shows them.
pub(crate) const COLUMNS: &[Column] = &[
    Column::new("Phase", Cell::Text, ".status.phase"),
    Column::new("Last seen", Cell::Age, ".status.lastSeen"),
    Column::new("Host key", Cell::Text, ".status.hostKeyFingerprint"),
    Column::new("Version", Cell::Text, ".status.agentVersion"),
    Column::new("Age", Cell::Age, ".metadata.creationTimestamp"),
    Column::wide("OS", Cell::Text, ".status.os"),
    Column::wide("Login", Cell::Text, ".spec.sshUser"),
    Column::wide("Address", Cell::Text, ".status.remoteAddress"),
    Column::wide("Secret", Cell::Text, ".spec.sshKeySecretRef.name"),
];

pub(crate) const RULES: &[Rule] = &[
    Rule {
        at: "spec",
        // The hub itself sets it, when the agent of a server joins that an operator described before.
        holds: "!has(oldSelf.agentKey) || (has(self.agentKey) && self.agentKey == oldSelf.agentKey)",
        message: "cannot be changed; delete the server and enrol its agent again",
        field: ".agentKey",
    },
    Rule {
        at: "spec",
        holds: "!has(self.sshKeySecretDataKey) || has(self.sshKeySecretRef)",
        message: "means nothing without `spec.sshKeySecretRef`",
        field: ".sshKeySecretDataKey",
    },
];
