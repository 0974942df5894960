//! What can go wrong in a store, whatever the implementation.

use std::fmt;
use std::path::PathBuf;

use kedge_api::status::{Status, StatusReason};
use kedge_api::text::Printable;

use crate::kind::Kind;

/// Why a store did not do what it was asked. Nothing is half-done: it happened, or it did not; [`Self::Unavailable`] says
/// when nobody knows which.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is an object of that name.
    #[error("{} `{}` already exists", kind.singular, Printable::new(name))]
    AlreadyExists {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// The store had an input/output error, and writes nothing more until it is opened again.
    #[error("store {} is broken: {cause}; restart kedge-hub once the disk is well", path.display())]
    Broken {
        /// Where it is.
        path: PathBuf,
        /// What the engine said.
        cause: String,
    },
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// The object is not what it was when it was read.
    #[error("{} `{}` has changed since it was read", kind.singular, Printable::new(name))]
    Conflict {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// The version to watch from is older than the history, or the watcher was too slow.
    #[error("the resource version is too old to watch from")]
    Expired,
    /// The Kubernetes API does not let the hub do it: a right is missing, or the namespace takes nothing.
    #[error("the Kubernetes API does not let the hub {right}: {cause}")]
    Forbidden {
        /// What was wanted: `patch servers.kedge.dev/status in namespace kedge`.
        right: String,
        /// What the API server said.
        cause: String,
    },
    /// The disk is full. Reading goes on, and so does writing once there is room.
    #[error("no room left to write the store {}", path.display())]
    Full {
        /// Where it is.
        path: PathBuf,
    },
    /// The history cannot be read or added to. The objects are not concerned.
    #[error("the history in store {} is damaged: {cause}", path.display())]
    HistoryDamaged {
        /// Where it is.
        path: PathBuf,
        /// What the engine said.
        cause: String,
    },
    /// There is no such object.
    #[error("{} `{}` not found", kind.singular, Printable::new(name))]
    NotFound {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// The system gave no randomness for a uid.
    #[error("cannot make a uid")]
    Random(#[source] kedge_api::random::RandomError),
    /// The Kubernetes API does not take the object as it is.
    #[error("the Kubernetes API refuses {} `{}`: {cause}", kind.singular, Printable::new(name))]
    Refused {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
        /// What the API server said.
        cause: String,
    },
    /// More than the store takes in one piece.
    #[error("too many {what}: {found}, and {limit} are the most")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// More watchers than the store serves.
    #[error("too many watches at once")]
    TooManyWatches,
    /// The store is somewhere else, and out of reach or out of order. What is known of it can still be read.
    #[error("{what} cannot be reached: {cause}; {written}")]
    Unavailable {
        /// What: `the Kubernetes API at https://10.0.0.1`.
        what: String,
        /// Why not.
        cause: String,
        /// What is known of the change.
        written: Written,
    },
    /// An object in the store is not of its kind, or could not be written as JSON.
    #[error("{} `{}` in the store is unreadable: {cause}", kind.singular, Printable::new(name))]
    Unreadable {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
        /// What is wrong.
        cause: String,
    },
    /// A change does not say which version it changes.
    #[error("{} `{}`: metadata.resourceVersion is needed to change it", kind.singular, Printable::new(name))]
    VersionMissing {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
    },
}

/// What is known of a change that got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It was not made.
    Nothing,
    /// It may have been made.
    Perhaps,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing was written",
            Self::Perhaps => "the change may have been written",
        })
    }
}

impl From<StoreError> for Status {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        let about = |reason, kind: Kind, name: &str| {
            let mut status = Self::new(reason, message.clone());
            let details = status.details.get_or_insert_default();
            details.name = Some(Printable::new(name).to_string());
            details.group = Some(kedge_api::API_GROUP.to_owned());
            details.kind = Some(kind.plural.to_owned());
            status
        };
        match &error {
            StoreError::AlreadyExists { kind, name } => {
                about(StatusReason::AlreadyExists, *kind, name)
            }
            StoreError::Conflict { kind, name } => about(StatusReason::Conflict, *kind, name),
            StoreError::NotFound { kind, name } => about(StatusReason::NotFound, *kind, name),
            StoreError::VersionMissing { kind, name } => about(StatusReason::Invalid, *kind, name),
            StoreError::Expired => Self::expired(),
            StoreError::TooManyWatches => Self::new(StatusReason::TooManyRequests, message),
            // The path of a file is for the log, not for a caller.
            StoreError::Full { .. } => {
                Self::new(StatusReason::ServiceUnavailable, "the hub's store is full")
            }
            StoreError::Refused { kind, name, .. } => about(StatusReason::Invalid, *kind, name),
            // Where it is, and which right is missing, is for the log as well.
            StoreError::Unavailable { written, .. } => Self::new(
                StatusReason::ServiceUnavailable,
                format!("the hub's store cannot be reached; {written}"),
            ),
            StoreError::Forbidden { .. } => Self::new(
                StatusReason::ServiceUnavailable,
                "the hub's store does not let the hub do that",
            ),
            StoreError::Broken { .. } | StoreError::Closed => Self::new(
                StatusReason::ServiceUnavailable,
                "the hub's store does not take writes",
            ),
            StoreError::HistoryDamaged { .. } => Self::new(
                StatusReason::ServiceUnavailable,
                "the hub's history cannot be read",
            ),
            StoreError::Random(_) | StoreError::TooLarge { .. } | StoreError::Unreadable { .. } => {
                Self::internal()
            }
        }
    }
}
