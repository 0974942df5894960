//! Which host keys are trusted: pinned when the agent first names them, changed by an operator alone.
//!
//! ```text
//!  nothing pinned ── first report ─▶ pinned ── report ⊆ pinned ─▶ verified
//!                                      │  ▲
//!                 a key nobody pinned  │  │ operator accepts, by fingerprint
//!                                      ▼  │
//!                                   changed: no session, no prompt
//! ```

use std::collections::BTreeSet;

use kedge_api::{Fingerprint, HostKeys};

/// What an agent's report means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// It names a key that nobody pinned.
    Changed,
    /// It names nothing, so it says nothing.
    Empty,
    /// The first keys ever named: pin them.
    First,
    /// Every key it names is pinned. A key that went missing is no danger: clients trust the others only.
    Verified,
}

/// Judges a report against what is pinned.
#[must_use]
pub fn judge(pinned: &HostKeys, reported: &HostKeys) -> Report {
    if reported.is_empty() {
        Report::Empty
    } else if pinned.is_empty() {
        Report::First
    } else if reported.iter().all(|key| pinned.contains(key)) {
        Report::Verified
    } else {
        Report::Changed
    }
}

/// Where a server's host keys stand, from what is stored alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The agent reports keys that nobody accepted.
    Changed,
    /// None are known.
    Missing,
    /// They are pinned, and nothing speaks against them.
    Verified,
}

/// Where a server's host keys stand. `observed` is what the agent reported while it differed.
#[must_use]
pub fn standing(pinned: &HostKeys, observed: Option<&HostKeys>) -> Standing {
    match observed.map(|observed| judge(pinned, observed)) {
        Some(Report::Changed) => Standing::Changed,
        // A first report is pinned before it is stored as observed; so nothing pinned here means taken away since.
        Some(Report::First) => Standing::Missing,
        Some(Report::Empty | Report::Verified) | None if pinned.is_empty() => Standing::Missing,
        Some(Report::Empty | Report::Verified) | None => Standing::Verified,
    }
}

/// Why keys cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcceptError {
    /// The list is empty.
    #[error("lists no fingerprint")]
    Nothing,
    /// No key of that fingerprint is waiting.
    #[error("no reported host key has the fingerprint {fingerprint}")]
    NotReported {
        /// The fingerprint.
        fingerprint: Fingerprint,
    },
}

/// The keys to pin when an operator accepts these fingerprints out of what the agent reports.
///
/// # Errors
/// [`AcceptError`] when a fingerprint is of no reported key: an operator must never pin what nobody showed.
pub fn accept(
    observed: &HostKeys,
    accepted: &BTreeSet<Fingerprint>,
) -> Result<HostKeys, AcceptError> {
    if accepted.is_empty() {
        return Err(AcceptError::Nothing);
    }
    let reported: BTreeSet<_> = observed
        .iter()
        .map(kedge_api::HostKey::fingerprint)
        .collect();
    if let Some(fingerprint) = accepted
        .iter()
        .find(|fingerprint| !reported.contains(*fingerprint))
    {
        return Err(AcceptError::NotReported {
            fingerprint: *fingerprint,
        });
    }
    let keys = observed
        .iter()
        .filter(|key| accepted.contains(&key.fingerprint()))
        .cloned();
    // A subset of what already fitted.
    Ok(HostKeys::new(keys).unwrap_or_default())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    /// An Ed25519 host key whose 32 bytes are all `byte`.
    pub(crate) fn key(byte: u8) -> kedge_api::HostKey {
        let mut blob = Vec::new();
        for field in [b"ssh-ed25519".as_slice(), &[byte; 32]] {
            blob.extend_from_slice(&u32::try_from(field.len()).unwrap().to_be_bytes());
            blob.extend_from_slice(field);
        }
        format!("ssh-ed25519 {}", STANDARD.encode(blob))
            .parse()
            .unwrap()
    }

    /// The set of keys of these bytes.
    pub(crate) fn keys(bytes: &[u8]) -> HostKeys {
        HostKeys::new(bytes.iter().copied().map(key)).unwrap()
    }

    #[test]
    fn a_report_is_first_verified_changed_or_nothing() {
        for (pinned, reported, wanted) in [
            (&[][..], &[][..], Report::Empty),
            (&[], &[1], Report::First),
            (&[1], &[], Report::Empty),
            (&[1, 2], &[1, 2], Report::Verified),
            (&[1, 2], &[2], Report::Verified),
            (&[1], &[1, 2], Report::Changed),
            (&[1], &[2], Report::Changed),
        ] {
            assert_eq!(
                judge(&keys(pinned), &keys(reported)),
                wanted,
                "{pinned:?} {reported:?}"
            );
        }
    }

    #[test]
    fn only_unaccepted_keys_block() {
        assert_eq!(standing(&keys(&[1]), None), Standing::Verified);
        assert_eq!(standing(&keys(&[]), None), Standing::Missing);
        assert_eq!(standing(&keys(&[1]), Some(&keys(&[2]))), Standing::Changed);
        assert_eq!(
            standing(&keys(&[1, 2]), Some(&keys(&[2]))),
            Standing::Verified,
            "accepted meanwhile"
        );
    }

    #[test]
    fn an_operator_accepts_what_was_reported_and_nothing_else() {
        let observed = keys(&[2, 3]);
        let accept_bytes = |bytes: &[u8]| {
            accept(
                &observed,
                &bytes.iter().map(|byte| key(*byte).fingerprint()).collect(),
            )
        };
        assert_eq!(accept_bytes(&[2, 3]).unwrap(), observed);
        assert_eq!(accept_bytes(&[3]).unwrap(), keys(&[3]));
        assert_eq!(accept_bytes(&[]).unwrap_err(), AcceptError::Nothing);
        assert!(matches!(
            accept_bytes(&[1]),
            Err(AcceptError::NotReported { .. })
        ));
        assert!(matches!(
            accept_bytes(&[2, 9]),
            Err(AcceptError::NotReported { .. })
        ));
    }
}
