//! What kedge's parts say to each other about servers, people and policy, as types.
//!
//! It is: names and ids whose values are always legal ([`names`]), the resource kinds of the API
//! group `kedge.dev/v1alpha1` ([`Server`], [`AccessPolicy`], [`JoinToken`]) in Kubernetes' JSON
//! shape, where servers' keys are kept ([`secrets`]), the other bodies of the hub's REST API ([`rest`]), its errors ([`status`]), who somebody is
//! ([`principal`]), as whom they log in ([`login`]), whether they may ([`policy`]), and how an agent
//! proves itself ([`assertion`]).
//!
//! [`crd`] says the kinds to a Kubernetes API server; [`control`] is what an agent says to its own machine.
//!
//! [`expectations`] checks policies against a table of what they must say, with the evaluator that the hub decides by.
//!
//! It is not: HTTP, storage, OpenID Connect, or anything that reads a clock or a file. Time and
//! randomness come in as arguments; [`random`] is there to make the latter.
//!
//! ```text
//!  bytes from outside ──decode──▶ typed object ──validate──▶ store
//!                        │                        │
//!                        └──── Status (400/422, with the path of the field) ◀──┘
//!
//!  Principal ──login──▶ MappedLogin ──policy::evaluate──▶ Decision { outcome, trace, … }
//! ```
//!
//! Reading what a peer sent is forgiving outside `spec` (an older reader meets a newer writer);
//! writing goes through [`decode`], which refuses every unknown field by its path.

pub mod assertion;
pub mod control;
pub mod crd;
pub mod decode;
pub mod defaults;
pub mod expectations;
pub mod expression;
pub mod list;
pub mod login;
pub mod meta;
pub mod names;
pub mod policy;
pub mod principal;
pub mod random;
pub mod resources;
pub mod rest;
pub mod secrets;
mod span;
pub mod status;
pub mod text;
pub mod time;
pub mod tokens;
mod wire_enum;

pub use assertion::{AgentKey, AgentPublicKey};
pub use list::{List, WatchEvent};
pub use login::{LocalPartTrust, LoginMapping, MappedLogin};
pub use meta::{
    Condition, ConditionStatus, FieldError, ObjectMeta, Resource, ResourceVersion, Uid,
};
pub use names::{
    ClaimName, Fingerprint, Group, HostKey, HostKeys, HubId, HubName, HubUrl, Issuer, IssuerUrl,
    LabelKey, LabelSelector, LabelValue, Labels, Line, Login, NameError, Namespace, Nonce,
    ObjectName, SecretDataKey, SecretName, ServerName, SessionId, Subject, Suffix,
};
pub use principal::{AuthMethod, Principal, Standing};
pub use resources::{AccessPolicy, JoinToken, Permission, Server, ServerPhase};
pub use secrets::{SERVERS_ANNOTATION, SecretRef, ServerOffer, SshKeySource};
pub use span::Span;
pub use status::{Status, StatusReason};
pub use time::Time;
pub use tokens::{JoinTokenName, JoinTokenSecret, PersonToken, TokenHash};

/// The API group of every kind here.
pub const API_GROUP: &str = "kedge.dev";
/// The same with its version.
pub const API_VERSION: &str = "kedge.dev/v1alpha1";
/// Where the group's resources are on the hub, without a trailing slash.
pub const API_PATH: &str = "/apis/kedge.dev/v1alpha1";
/// Where the hub describes itself.
pub const DISCOVERY_PATH: &str = "/.well-known/kedge";
/// Where agents open their tunnel.
pub const AGENT_PATH: &str = "/kedge/v1/agent";
/// Where people open theirs.
pub const CONNECT_PATH: &str = "/kedge/v1/connect";
