//! The public host keys of the sshd, as the agent reports them.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use kedge_api::{HostKey, HostKeys};
use kedge_service::files::{self, FileError};
use thiserror::Error;

use crate::defaults;

/// Why there are no host keys to report.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HostKeysError {
    /// A folder cannot be listed.
    #[error("cannot list {}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A file is no public key.
    #[error("{} is no public host key", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: kedge_api::names::HostKeyError,
    },
    /// No file matches, or none holds a key that OpenSSH would offer.
    #[error("no host key in {patterns}")]
    None {
        /// Where they were looked for.
        patterns: String,
    },
    /// A file cannot be read.
    #[error("cannot read a host key")]
    Read(#[source] FileError),
    /// There are more keys than a server may have.
    #[error("too many host keys in {patterns}")]
    TooMany {
        /// Where they were looked for.
        patterns: String,
        /// How many.
        source: kedge_api::names::HostKeyError,
    },
}

impl HostKeysError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::None { .. } => Some(
                "is sshd installed? Make its keys with `ssh-keygen -A`, or name its public keys by \
                 host-keys in agent.toml"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

/// Reads all keys that `patterns` name. Keys of an algorithm that OpenSSH no longer offers
/// (`ssh-dss`) are passed over.
///
/// # Errors
///
/// [`HostKeysError`]; an incomplete set is never reported, since the hub would take it for a change.
pub fn read(patterns: &[String]) -> Result<HostKeys, HostKeysError> {
    let shown = || patterns.join(", ");
    let mut paths = BTreeSet::new();
    for pattern in patterns {
        paths.extend(expand(Path::new(pattern))?);
    }
    let mut keys = Vec::new();
    for path in paths {
        let text =
            files::read_text(&path, defaults::HOST_KEY_BYTES).map_err(HostKeysError::Read)?;
        match text.trim().parse::<HostKey>() {
            Ok(key) => keys.push(key),
            Err(kedge_api::names::HostKeyError::Algorithm { algorithm }) => {
                tracing::debug!(path = %path.display(), algorithm, "host key passed over");
            }
            Err(source) => return Err(HostKeysError::Malformed { path, source }),
        }
    }
    if keys.is_empty() {
        return Err(HostKeysError::None { patterns: shown() });
    }
    HostKeys::new(keys).map_err(|source| HostKeysError::TooMany {
        patterns: shown(),
        source,
    })
}

/// The files whose name matches the last part of `pattern`. A path without wild cards must exist.
fn expand(pattern: &Path) -> Result<Vec<PathBuf>, HostKeysError> {
    let name = pattern
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let (Some(folder), Some(name)) = (pattern.parent(), name) else {
        return Ok(Vec::new());
    };
    if !name.contains(['*', '?']) {
        return Ok(vec![pattern.to_owned()]);
    }
    let failed = |source| HostKeysError::Folder {
        folder: folder.to_owned(),
        source,
    };
    let entries = match std::fs::read_dir(folder) {
        // A machine without sshd has no such folder; that no key was found is said elsewhere.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut paths = Vec::new();
    for entry in entries.take(defaults::HOST_KEY_ENTRIES) {
        let entry = entry.map_err(failed)?;
        if matches(&name, &entry.file_name().to_string_lossy()) {
            paths.push(entry.path());
        }
    }
    Ok(paths)
}

/// Whether `name` is one that `pattern` (with `*` and `?`) stands for. Like a shell, a pattern does
/// not find hidden files by chance.
fn matches(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    // reach[i]: whether the first i characters of the pattern stand for what was read of the name.
    let mut reach: Vec<bool> = Vec::with_capacity(pattern.len() + 1);
    reach.push(true);
    for symbol in &pattern {
        reach.push(*symbol == '*' && reach.last() == Some(&true));
    }
    for character in name {
        let mut next = Vec::with_capacity(reach.len());
        next.push(false);
        for (symbol, pair) in pattern.iter().zip(reach.windows(2)) {
            let (before, here) = (pair.first() == Some(&true), pair.last() == Some(&true));
            let reached = match symbol {
                '*' => here || next.last() == Some(&true),
                '?' => before,
                exact => before && *exact == character,
            };
            next.push(reached);
        }
        reach = next;
    }
    reach.last() == Some(&true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ+dMkKPOVV8C8IY4sNbNN1eLBvHNBdHYlnLtoSsn6zF root@web01\n";

    #[test]
    fn patterns_match_like_a_shell() {
        for (pattern, name, expected) in [
            ("ssh_host_*_key.pub", "ssh_host_ed25519_key.pub", true),
            ("ssh_host_*_key.pub", "ssh_host__key.pub", true),
            ("ssh_host_*_key.pub", "ssh_host_ed25519_key", false),
            ("ssh_host_*_key.pub", "ssh_host_ed25519_key.pub.bak", false),
            ("*", "anything", true),
            ("*", ".hidden", false),
            (".*", ".hidden", true),
            ("?.pub", "a.pub", true),
            ("?.pub", "ab.pub", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("**", "", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
        // No pattern takes long: this one is the terror of matchers that try everything.
        assert!(!matches(
            &"a*".repeat(40),
            &"a".repeat(200).replace("aaaaa", "aaaab")[..39]
        ));
    }

    #[test]
    fn keys_are_read_and_old_algorithms_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ssh_host_ed25519_key.pub"), ED25519).unwrap();
        std::fs::write(
            folder.path().join("ssh_host_dsa_key.pub"),
            "ssh-dss AAAAB3NzaC1kc3M=\n",
        )
        .unwrap();
        let pattern = format!("{}/ssh_host_*_key.pub", folder.path().display());
        let keys = read(std::slice::from_ref(&pattern)).unwrap();
        assert_eq!(keys.len(), 1);
        // A file that is named twice is one key.
        let exact = format!("{}/ssh_host_ed25519_key.pub", folder.path().display());
        assert_eq!(read(&[pattern, exact]).unwrap(), keys);
    }

    #[test]
    fn what_cannot_be_reported_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let pattern = format!("{}/*.pub", folder.path().display());
        let error = read(std::slice::from_ref(&pattern)).unwrap_err();
        assert_eq!(error.to_string(), format!("no host key in {pattern}"));
        assert!(error.hint().unwrap().contains("ssh-keygen -A"));
        let missing = format!("{}/key.pub", folder.path().display());
        assert!(matches!(read(&[missing]), Err(HostKeysError::Read(_))));
        std::fs::write(folder.path().join("broken.pub"), "ssh-ed25519 AAAA\n").unwrap();
        let error = read(&[pattern]).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("broken.pub is no public host key"),
            "{error}"
        );
    }
}
