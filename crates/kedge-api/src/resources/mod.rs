//! The kinds of the group `kedge.dev/v1alpha1`.

mod access_policy;
mod join_token;
mod kind;
mod server;

pub use access_policy::{
    AccessPolicy, AccessPolicySpec, AccessPolicyStatus, Constraints, Day, Effect, HubGrant,
    HubResource, HubRole, HubRule, IssuerRule, LoginRule, Permission, PermissionRule, ResourceRule,
    ServerRule, Servers, SubjectRule, Subjects, TimeOfDay, TimeWindow, Verb, VerbRule, Zone,
};
pub use join_token::{IssuedJoinToken, JoinToken, JoinTokenSpec, JoinTokenStatus};
pub use kind::{ApiVersion, KindTag};
pub use server::{
    CONNECTED, CREDENTIALS_RESOLVED, HOST_KEY_VERIFIED, READY, Server, ServerPhase, ServerSpec,
    ServerStatus,
};
