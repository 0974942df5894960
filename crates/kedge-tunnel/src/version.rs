//! Which protocol both sides speak: the newest that both know, or a word on who is behind.

use std::fmt;

use kedge_proto::SUBPROTOCOL;
use thiserror::Error;

/// The protocols this build speaks, newest first, as `Sec-WebSocket-Protocol` names them.
pub const PROTOCOLS: &[&str] = &[SUBPROTOCOL];

/// The header in which a hub that refused says what it would have spoken.
pub const PROTOCOLS_HEADER: &str = "kedge-protocols";

/// Two sides without a common protocol.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("no common protocol: {here} speaks {ours} and {there} {theirs}; upgrade {behind}")]
pub struct VersionMismatch {
    here: Party,
    there: Party,
    ours: String,
    theirs: String,
    behind: Party,
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

/// The newest of our protocols that the other side `offers`.
///
/// # Errors
///
/// [`VersionMismatch`] says which side to upgrade: the one whose newest protocol is older.
pub fn choose<'a>(
    here: Party,
    offers: impl IntoIterator<Item = &'a str>,
) -> Result<&'static str, VersionMismatch> {
    let offers: Vec<&str> = offers
        .into_iter()
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    if let Some(common) = PROTOCOLS.iter().find(|name| offers.contains(name)) {
        return Ok(common);
    }
    let there = match here {
        Party::Caller => Party::Hub,
        Party::Hub => Party::Caller,
    };
    let newest = |names: &[&str]| names.iter().filter_map(|name| number(name)).max();
    // Who names no protocol of ours at all is behind, or no kedge.
    let behind = if newest(&offers) > newest(PROTOCOLS) {
        here
    } else {
        there
    };
    let theirs = offers
        .iter()
        .take(8)
        .map(|name| shown(name))
        .collect::<Vec<_>>()
        .join(", ");
    Err(VersionMismatch {
        here,
        there,
        ours: PROTOCOLS.join(", "),
        theirs: if theirs.is_empty() {
            "none that it names".to_owned()
        } else {
            theirs
        },
        behind,
    })
}

fn number(name: &str) -> Option<u32> {
    name.strip_prefix("kedge.v")?.parse().ok()
}

/// What the other side names is printed as it is only when it looks like a name.
fn shown(name: &str) -> String {
    name.chars()
        .take(32)
        .map(|c| if c.is_ascii_graphic() { c } else { '?' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
            (Party::Hub, vec!["kedge.v2"], "upgrade the hub"),
            (Party::Hub, vec!["kedge.v0"], "upgrade the caller"),
            (Party::Hub, vec![], "upgrade the caller"),
            (Party::Hub, vec!["chat"], "upgrade the caller"),
            (Party::Caller, vec!["kedge.v2"], "upgrade the caller"),
            (Party::Caller, vec!["kedge.v0"], "upgrade the hub"),
        ];
        for (here, offers, expected) in cases {
            let text = choose(here, offers.clone()).unwrap_err().to_string();
            assert!(text.ends_with(expected), "{offers:?}: {text}");
        }
    }

    #[test]
    fn a_hostile_offer_is_shortened_and_cleaned() {
        let long = format!("\u{1b}[2J{}", "x".repeat(1 << 16));
        let text = choose(Party::Hub, std::iter::repeat_n(long.as_str(), 1000))
            .unwrap_err()
            .to_string();
        assert!(
            text.len() < 512 && !text.contains('\u{1b}'),
            "{}",
            text.len()
        );
    }
}
