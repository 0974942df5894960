//! Where the hub reads private keys from: one trait, and its implementations.
//!
//! ```text
//!  session ── field(secret, key) ──▶ FolderSecrets ──▶ <root>/<namespace>/<name>/<key>
//!                                └─▶ Kubernetes   ──▶ GET …/namespaces/<namespace>/secrets/<name>
//! ```
//!
//! A Secret is read when it is needed, every time: a rotated key is used by the next session, a deleted one by none.

mod beneath;
mod folder;

use std::fmt;
use std::sync::Arc;

use kedge_api::{SecretDataKey, SecretRef};
use zeroize::Zeroizing;

pub use folder::FolderSecrets;

use crate::raw::BoxFuture;

/// A place that keeps Secrets, as everybody holds it.
pub type SharedSecrets = Arc<dyn Secrets>;

/// A place that keeps Secrets.
pub trait Secrets: fmt::Debug + Send + Sync + 'static {
    /// One field of one Secret, as it is now. Nothing is cached.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is changed.
    ///
    /// # Errors
    /// [`SecretError`] says which Secret, and why it cannot be had.
    fn field<'a>(
        &'a self,
        secret: &'a SecretRef,
        key: &'a SecretDataKey,
    ) -> BoxFuture<'a, Result<SecretField, SecretError>>;
}

/// One field of a Secret, and what its owner says about the Secret.
pub struct SecretField {
    /// What is in it; at most [`SECRET_FIELD_BYTES`].
    pub bytes: Zeroizing<Vec<u8>>,
    /// The annotation [`SERVERS_ANNOTATION`](kedge_api::SERVERS_ANNOTATION) as it stands there. `None` when the Secret
    /// has no such annotation, which is something else than an empty one.
    pub servers: Option<String>,
}

impl fmt::Debug for SecretField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretField")
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

/// Why a field of a Secret cannot be had. Never contains what is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The Secret is there, and has no such field.
    #[error("secret {secret} has no key `{key}`")]
    FieldMissing {
        /// The Secret.
        secret: SecretRef,
        /// The field that was asked for.
        key: SecretDataKey,
    },
    /// The hub is not allowed to read it.
    #[error("the hub may not read secret {secret}: {cause}")]
    Forbidden {
        /// The Secret.
        secret: SecretRef,
        /// Who says so.
        cause: String,
    },
    /// There is no such Secret.
    #[error("secret {secret} not found")]
    NotFound {
        /// The Secret.
        secret: SecretRef,
    },
    /// The field is larger than any private key.
    #[error("key `{key}` of secret {secret} has more than {limit} bytes")]
    TooLarge {
        /// The Secret.
        secret: SecretRef,
        /// The field.
        key: SecretDataKey,
        /// How many bytes it may have.
        limit: usize,
    },
    /// The place that keeps it does not answer, or not in time.
    #[error("secret {secret} cannot be read now: {cause}")]
    Unavailable {
        /// The Secret.
        secret: SecretRef,
        /// What happened.
        cause: String,
    },
    /// What stands in its place is no field of a Secret, or is not kept as a secret.
    #[error("key `{key}` of secret {secret} cannot be used: {cause}")]
    Unreadable {
        /// The Secret.
        secret: SecretRef,
        /// The field.
        key: SecretDataKey,
        /// What is wrong with it.
        cause: String,
    },
}

impl SecretError {
    /// Which Secret it is about.
    #[must_use]
    pub fn secret(&self) -> &SecretRef {
        match self {
            Self::FieldMissing { secret, .. }
            | Self::Forbidden { secret, .. }
            | Self::NotFound { secret }
            | Self::TooLarge { secret, .. }
            | Self::Unavailable { secret, .. }
            | Self::Unreadable { secret, .. } => secret,
        }
    }

    /// Why, in one CamelCase word: the `reason` of a condition.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::FieldMissing { .. } => "SecretKeyMissing",
            Self::Forbidden { .. } => "SecretForbidden",
            Self::NotFound { .. } => "SecretNotFound",
            Self::TooLarge { .. } => "SecretTooLarge",
            Self::Unavailable { .. } => "SecretUnavailable",
            Self::Unreadable { .. } => "SecretUnreadable",
        }
    }
}

pub use crate::defaults::SECRET_FIELD_BYTES;
