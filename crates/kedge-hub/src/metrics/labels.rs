//! The labels of the hub's numbers, each a word of a fixed list.

use kedge_identity::IssuerState;
use prometheus_client::encoding::EncodeLabelSet;

/// A part of the way from a TCP connection to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The bearer token or assertion.
    Authenticate,
    /// Server, login, policy.
    Authorize,
    /// The agent and its target.
    Open,
    /// The TLS handshake, waiting for its turn included.
    Tls,
    /// From the answer 101 to a running link.
    Upgrade,
}

/// Who authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// An agent's assertion.
    Agent,
    /// A person's token.
    Person,
}

/// Whether it worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did.
    Accepted,
    /// It did not, and neither did many before it from the same source.
    Limited,
    /// It did not.
    Refused,
    /// Nobody can tell now.
    Unavailable,
}

/// What became of a record of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// There was no room for it.
    Dropped,
    /// It is in the store.
    Written,
}

/// Why a connection was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// The TLS handshake failed or took too long.
    Handshake,
    /// Too many connections.
    Limit,
    /// Too many connections of one address that have said nothing yet.
    Share,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct AuthenticationLabels {
    pub(super) caller: &'static str,
    pub(super) result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CodeLabels {
    pub(super) code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct DirectionLabels {
    pub(super) direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct HowLabels {
    pub(super) how: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReasonLabels {
    pub(super) reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RequestLabels {
    pub(super) method: &'static str,
    pub(super) code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ResultLabels {
    pub(super) result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StateLabels {
    pub(super) state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StageLabels {
    pub(super) stage: &'static str,
}

impl Stage {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Authenticate => "authenticate",
            Self::Authorize => "authorize",
            Self::Open => "open",
            Self::Tls => "tls",
            Self::Upgrade => "upgrade",
        }
    }
}

impl Caller {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Person => "person",
        }
    }
}

impl Kept {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Dropped => "dropped",
            Self::Written => "written",
        }
    }
}

impl Outcome {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Limited => "limited",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
        }
    }
}

impl Turned {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Limit => "limit",
            Self::Share => "share",
        }
    }
}

pub(super) const STAGES: [Stage; 5] = [
    Stage::Authenticate,
    Stage::Authorize,
    Stage::Open,
    Stage::Tls,
    Stage::Upgrade,
];

pub(super) const ISSUER_STATES: [&str; 3] = ["stale", "unreachable", "working"];

pub(super) fn issuer_state(state: &IssuerState) -> &'static str {
    match state {
        IssuerState::Stale { .. } => "stale",
        IssuerState::Unreachable { .. } => "unreachable",
        IssuerState::Working { .. } => "working",
    }
}
