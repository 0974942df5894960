//! Why a policy matches a request, or does not.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a policy matches a request, or the first of its parts that does not.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error,
)]
#[serde(tag = "code", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PolicyReason {
    /// The person proved who they are too long ago, or nobody knows when.
    #[error("the login at the issuer is too old, or of unknown age (spec.constraints.maxAuthAge)")]
    AuthenticationAge,
    /// A claim of the person is not what the policy is about.
    #[error("the person's claims are other ones (spec.subjects.claims[{index}])")]
    Claim {
        /// Which condition.
        index: usize,
    },
    /// The policy has ended.
    #[error("it ended (spec.constraints.notAfter)")]
    Ended,
    /// The right at the hub is in no role and no rule.
    #[error("the right is not listed (spec.hub)")]
    HubRight,
    /// The person is another issuer's.
    #[error("the person is another issuer's (spec.subjects.issuers)")]
    Issuer,
    /// The login is in no rule.
    #[error("the login is not listed (spec.logins)")]
    Login,
    /// Every part matches.
    #[error("every part matches")]
    Matches,
    /// The policy has not begun.
    #[error("it has not begun (spec.constraints.notBefore)")]
    NotYet,
    /// The permission is not listed.
    #[error("the permission is not listed (spec.permissions)")]
    Permission,
    /// A claim that the policy requires is not there, or says something else.
    #[error("a required claim is missing or another (spec.constraints.requiredClaims[{index}])")]
    RequiredClaim {
        /// Which condition.
        index: usize,
    },
    /// The login is `root`, and `root` is not listed literally.
    #[error("root is not listed literally (spec.logins)")]
    Root,
    /// The server is neither named nor has the labels.
    #[error("the server is not selected (spec.servers)")]
    Server,
    /// The person has as many sessions as they may.
    #[error("the person has as many sessions as it allows (spec.constraints.maxSessions)")]
    Sessions,
    /// The source address is in none of the networks, or not known.
    #[error("the source address is outside its networks (spec.constraints.sourceRanges)")]
    Source,
    /// The person is in no list.
    #[error("the person is not among its subjects (spec.subjects)")]
    Subject,
    /// It is outside of every time window.
    #[error("it is outside of its hours (spec.constraints.timeWindows)")]
    TimeWindow,
    /// A reason of a newer version.
    #[error("a reason that this version does not know")]
    #[serde(other)]
    Unknown,
}
