//! Which protocol two sides speak: the newest both know, or an error that says which side to upgrade.

use std::fmt;

/// A version of the protocol, written `kedge.v1` in `Sec-WebSocket-Protocol` and in the hub's discovery document.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Version(u32);

impl Version {
    /// What `docs/protocol.md` describes.
    pub const V1: Self = Self(1);
    /// What this build speaks, oldest first.
    pub const SUPPORTED: &[Self] = &[Self::V1];

    /// Reads a subprotocol's name; `None` for what is none of kedge's.
    #[must_use]
    pub fn from_subprotocol(name: &str) -> Option<Self> {
        let digits = name.trim().strip_prefix("kedge.v")?;
        let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
        plain.then(|| digits.parse().ok().map(Self)).flatten()
    }

    /// The newest version that both this build and the peer speak. `offered` are subprotocol names, in any order; those
    /// of other protocols are passed over.
    ///
    /// # Errors
    /// When there is none in common.
    pub fn negotiate<'a>(offered: impl IntoIterator<Item = &'a str>) -> Result<Self, VersionError> {
        negotiate(Self::SUPPORTED, offered)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kedge.v{}", self.0)
    }
}

/// The two sides have no version in common.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum VersionError {
    /// The peer offers no version of kedge at all.
    #[error("the peer does not offer the kedge protocol; this side speaks up to {newest}")]
    NotKedge {
        /// The newest version of this side.
        newest: Version,
    },
    /// The peer only speaks what this side has dropped: the peer is to be upgraded.
    #[error("the peer speaks up to {theirs}, this side needs {oldest} or newer: upgrade the peer")]
    PeerTooOld {
        /// The newest version of the peer.
        theirs: Version,
        /// The oldest version of this side.
        oldest: Version,
    },
    /// The peer only speaks what this side does not know yet: this side is to be upgraded.
    #[error("the peer needs {theirs} or newer, this side speaks up to {newest}: upgrade this side")]
    SelfTooOld {
        /// The oldest version of the peer.
        theirs: Version,
        /// The newest version of this side.
        newest: Version,
    },
}

fn negotiate<'a>(
    ours: &[Version],
    offered: impl IntoIterator<Item = &'a str>,
) -> Result<Version, VersionError> {
    let theirs: Vec<Version> = offered
        .into_iter()
        .filter_map(Version::from_subprotocol)
        .collect();
    if let Some(common) = theirs.iter().filter(|version| ours.contains(version)).max() {
        return Ok(*common);
    }
    let oldest = ours.iter().min().copied().unwrap_or(Version::V1);
    let newest = ours.iter().max().copied().unwrap_or(Version::V1);
    match (theirs.iter().min(), theirs.iter().max()) {
        (Some(_), Some(theirs)) if *theirs < oldest => Err(VersionError::PeerTooOld {
            theirs: *theirs,
            oldest,
        }),
        (Some(theirs), Some(_)) => Err(VersionError::SelfTooOld {
            theirs: *theirs,
            newest,
        }),
        _ => Err(VersionError::NotKedge { newest }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &[Version] = &[Version(2), Version(3), Version(4)];

    #[test]
    fn the_newest_both_know_is_taken() {
        assert_eq!(
            negotiate(OURS, ["kedge.v1", "kedge.v3", "kedge.v2", "chat"]),
            Ok(Version(3))
        );
        assert_eq!(negotiate(OURS, ["kedge.v9", "kedge.v4"]), Ok(Version(4)));
    }

    #[test]
    fn the_error_says_which_side_to_upgrade() {
        let older = negotiate(OURS, ["kedge.v1"]).unwrap_err().to_string();
        assert_eq!(
            older,
            "the peer speaks up to kedge.v1, this side needs kedge.v2 or newer: upgrade the peer"
        );
        let newer = negotiate(OURS, ["kedge.v5", "kedge.v6"])
            .unwrap_err()
            .to_string();
        assert_eq!(
            newer,
            "the peer needs kedge.v5 or newer, this side speaks up to kedge.v4: upgrade this side"
        );
        assert_eq!(
            negotiate(OURS, ["chat"]),
            Err(VersionError::NotKedge { newest: Version(4) })
        );
    }

    #[test]
    fn only_the_exact_spelling_is_a_version() {
        for other in [
            "kedge.v01",
            "kedge.v",
            "kedge.v+1",
            "KEDGE.v1",
            "kedge.v99999999999",
            "kedge.v1x",
        ] {
            assert_eq!(Version::from_subprotocol(other), None, "{other}");
        }
        assert_eq!(
            Version::from_subprotocol(crate::SUBPROTOCOL),
            Some(Version::V1)
        );
    }
}
