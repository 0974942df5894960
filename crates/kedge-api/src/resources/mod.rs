//! The kinds of the group `kedge.dev/v1alpha1`.

mod access_policy;
mod join_token;
mod kind;
mod server;

pub use access_policy::{
    AccessPolicy, AccessPolicySpec, AccessPolicyStatus, Constraints, LoginRule, Permission,
    ServerRule, Servers, SubjectRule, Subjects,
};
pub use join_token::{IssuedJoinToken, JoinToken, JoinTokenSpec, JoinTokenStatus};
pub use kind::{ApiVersion, KindTag};
pub use server::{
    CONNECTED, HOST_KEY_VERIFIED, READY, Server, ServerPhase, ServerSpec, ServerStatus,
};
