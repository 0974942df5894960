//! Which protocol a hub and its caller speak: the newest that both know, or a word on who is
//! behind. The rule is [`kedge_proto`]'s; here it gets the names of the two sides and a header.

use std::fmt;

use kedge_proto::SUBPROTOCOL;
use kedge_proto::version::{Version, VersionError};
use thiserror::Error;

/// The protocols this build speaks, newest first, as `Sec-WebSocket-Protocol` names them.
pub const PROTOCOLS: &[&str] = &[SUBPROTOCOL];

/// The header in which a hub that refused says what it would have spoken.
pub const PROTOCOLS_HEADER: &str = "kedge-protocols";

/// Two sides without a common protocol.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("no common protocol: {problem}; upgrade {behind}")]
pub struct VersionMismatch {
    problem: Problem,
    /// The side to upgrade.
    pub behind: Party,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Problem {
    /// The other side names no version of kedge.
    NotKedge { there: Party, ours: Version },
    /// The other side's newest and our oldest, or the other way round.
    Apart {
        there: Party,
        theirs: Version,
        ours: Version,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotKedge { there, ours } => {
                write!(
                    f,
                    "{there} does not name any version of kedge, this side speaks {ours}"
                )
            }
            Self::Apart {
                there,
                theirs,
                ours,
            } => {
                write!(f, "{there} speaks {theirs}, this side {ours}")
            }
        }
    }
}

/// A side of a dial, as an error names it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Party {
    /// The side that dialled: an agent or a command line.
    Caller,
    /// The side that was dialled.
    Hub,
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Caller => "the caller",
            Self::Hub => "the hub",
        })
    }
}

/// The newest of our protocols that the other side `offers`; `here` is who we are.
///
/// # Errors
///
/// [`VersionMismatch`] says which side to upgrade.
pub fn choose<'a>(
    here: Party,
    offers: impl IntoIterator<Item = &'a str>,
) -> Result<&'static str, VersionMismatch> {
    let there = match here {
        Party::Caller => Party::Hub,
        Party::Hub => Party::Caller,
    };
    let mismatch = match Version::negotiate(offers) {
        Ok(version) => {
            let name = version.to_string();
            if let Some(protocol) = PROTOCOLS.iter().find(|known| **known == name) {
                return Ok(protocol);
            }
            (
                Problem::NotKedge {
                    there,
                    ours: version,
                },
                there,
            )
        }
        Err(VersionError::PeerTooOld { theirs, oldest }) => (
            Problem::Apart {
                there,
                theirs,
                ours: oldest,
            },
            there,
        ),
        Err(VersionError::SelfTooOld { theirs, newest }) => (
            Problem::Apart {
                there,
                theirs,
                ours: newest,
            },
            here,
        ),
        Err(VersionError::NotKedge { newest }) => (
            Problem::NotKedge {
                there,
                ours: newest,
            },
            there,
        ),
        Err(_) => (
            Problem::NotKedge {
                there,
                ours: Version::V1,
            },
            there,
        ),
    };
    let (problem, behind) = mismatch;
    Err(VersionMismatch { problem, behind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_that_is_spoken_is_offered_newest_first() {
        let mut supported: Vec<_> = Version::SUPPORTED.to_vec();
        supported.sort();
        let names: Vec<_> = supported.iter().rev().map(ToString::to_string).collect();
        assert_eq!(PROTOCOLS, names);
    }

    #[test]
    fn the_common_protocol_is_found_among_others() {
        assert_eq!(
            choose(Party::Hub, ["kedge.v2", " kedge.v1 "]),
            Ok("kedge.v1")
        );
    }

    #[test]
    fn the_side_that_is_behind_is_named() {
        let cases = [
            (
                Party::Hub,
                vec!["kedge.v2"],
                Party::Hub,
                "the caller speaks kedge.v2, this side",
            ),
            (
                Party::Hub,
                vec![],
                Party::Caller,
                "the caller does not name any version",
            ),
            (
                Party::Hub,
                vec!["chat"],
                Party::Caller,
                "the caller does not name any version",
            ),
            (
                Party::Caller,
                vec!["kedge.v2"],
                Party::Caller,
                "the hub speaks kedge.v2",
            ),
            (
                Party::Caller,
                vec![],
                Party::Hub,
                "the hub does not name any version",
            ),
        ];
        for (here, offers, behind, expected) in cases {
            let error = choose(here, offers.clone()).unwrap_err();
            assert_eq!(error.behind, behind, "{offers:?}: {error}");
            let text = error.to_string();
            assert!(text.contains(expected), "{offers:?}: {text}");
            assert!(text.ends_with(&format!("upgrade {behind}")), "{text}");
        }
    }

    #[test]
    fn a_hostile_offer_is_not_repeated() {
        let long = format!("\u{1b}[2J{}", "x".repeat(1 << 16));
        let offers = std::iter::repeat_n(long.as_str(), 1000);
        let text = choose(Party::Hub, offers).unwrap_err().to_string();
        assert!(
            text.len() < 512 && !text.contains('\u{1b}'),
            "{}",
            text.len()
        );
    }
}
