//! Names of Secrets and of what is in them, by Kubernetes' rules.

use super::ids::{check_characters, check_label, check_subdomain};
use super::text_type;
use crate::defaults::{NAME_LABEL_MAX_BYTES, NAME_MAX_BYTES, SECRET_DATA_KEY_MAX_BYTES};

text_type! {
    /// A Kubernetes namespace, or a folder of Secrets: one RFC 1123 label in lower case.
    Namespace, "namespace", max NAME_LABEL_MAX_BYTES,
    pattern "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$",
    check_label
}

text_type! {
    /// The name of a Secret: an RFC 1123 subdomain in lower case.
    SecretName, "secret name", max NAME_MAX_BYTES,
    pattern "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$",
    check_subdomain
}

text_type! {
    /// The key of one field of a Secret: letters, digits, `-`, `_` and `.`; neither `.` nor anything that begins with
    /// `..`, so it is the name of a file and never the way out of its folder.
    SecretDataKey, "secret data key", max SECRET_DATA_KEY_MAX_BYTES,
    pattern "^([-_a-zA-Z0-9]|\\.[-_a-zA-Z0-9])[-._a-zA-Z0-9]*$",
    check_data_key
}

impl Default for SecretDataKey {
    /// `ssh-privatekey`, as Kubernetes has it in Secrets of the type `kubernetes.io/ssh-auth`.
    fn default() -> Self {
        Self("ssh-privatekey".to_owned())
    }
}

fn check_data_key(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("empty".into());
    }
    check_characters(
        text,
        |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'),
        "letters, digits, `-`, `_` and `.`",
    )?;
    if text == "." || text.starts_with("..") {
        return Err("is `.` or begins with `..`".into());
    }
    Ok(())
}
