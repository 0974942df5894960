//! The hub's errors, in the shape of Kubernetes' `Status`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::meta::{FieldError, Resource};
use crate::names::SessionId;
use crate::resources::HubResource;
use crate::text::Printable;
use crate::wire_enum::wire_enum;

wire_enum! {
    /// What went wrong, in one word for programs.
    StatusReason {
        /// There is an object of that name.
        AlreadyExists = "AlreadyExists",
        /// The request is not one the hub can read.
        BadRequest = "BadRequest",
        /// The object has changed since it was read.
        Conflict = "Conflict",
        /// The key that a server is reached with cannot be used.
        CredentialsUnavailable = "CredentialsUnavailable",
        /// The resource version is older than the watch history: list again.
        Expired = "Expired",
        /// Authenticated, and not allowed.
        Forbidden = "Forbidden",
        /// It was there, and will not come back.
        Gone = "Gone",
        /// The hub's fault.
        InternalError = "InternalError",
        /// The object's fields are wrong; `details.causes` says which.
        Invalid = "Invalid",
        /// The path does not offer this method.
        MethodNotAllowed = "MethodNotAllowed",
        /// There is no such object, or the caller may not know of it.
        NotFound = "NotFound",
        /// The body is larger than the hub reads.
        RequestEntityTooLarge = "RequestEntityTooLarge",
        /// The hub cannot do it now.
        ServiceUnavailable = "ServiceUnavailable",
        /// Slow down.
        TooManyRequests = "TooManyRequests",
        /// Not authenticated.
        Unauthorized = "Unauthorized",
        /// The body is of a media type the hub does not read.
        UnsupportedMediaType = "UnsupportedMediaType",
        /// No version of the tunnel protocol that both know; the message says which side to upgrade.
        UpgradeRequired = "UpgradeRequired",
    }
}

impl StatusReason {
    /// The HTTP status that goes with it.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::AlreadyExists | Self::Conflict => 409,
            Self::Expired | Self::Gone => 410,
            Self::RequestEntityTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::Invalid => 422,
            Self::UpgradeRequired => 426,
            Self::TooManyRequests => 429,
            Self::CredentialsUnavailable => 502,
            Self::ServiceUnavailable => 503,
            Self::InternalError | Self::Unknown(_) => 500,
        }
    }
}

/// An error of the hub, as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "camelCase")]
#[error("{message}")]
pub struct Status {
    /// Always `v1`, as in Kubernetes.
    #[serde(default = "v1")]
    pub api_version: String,
    /// Always `Status`.
    pub kind: StatusKind,
    /// Always empty; there because every Kubernetes object has it.
    #[serde(default)]
    pub metadata: EmptyMetadata,
    /// Always `Failure`.
    #[serde(default = "failure")]
    pub status: String,
    /// One sentence for people.
    #[serde(default)]
    pub message: String,
    /// One word for programs.
    #[serde(default = "unknown_reason")]
    pub reason: StatusReason,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<StatusDetails>>,
    /// The HTTP status.
    pub code: u16,
}

/// The word `Status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StatusKind {
    /// The one there is.
    #[default]
    Status,
}

/// `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EmptyMetadata {}

/// What an error is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusDetails {
    /// The object's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The API group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The object's kind, in plural as in the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Each field that is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<StatusCause>,
    /// When to try again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u32>,
}

/// One field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatusCause {
    /// `FieldValueInvalid`.
    #[serde(default)]
    pub reason: String,
    /// What is wrong.
    #[serde(default)]
    pub message: String,
    /// Where: `spec.logins[0]`.
    #[serde(default)]
    pub field: String,
}

impl Status {
    /// An error of any reason, about no object in particular.
    #[must_use]
    pub fn new(reason: StatusReason, message: impl Into<String>) -> Self {
        Self {
            api_version: v1(),
            kind: StatusKind::Status,
            metadata: EmptyMetadata {},
            status: failure(),
            message: message.into(),
            code: reason.code(),
            reason,
            details: None,
        }
    }

    /// The same, about an object of kind `R`.
    #[must_use]
    pub fn about<R: Resource>(mut self, name: &str) -> Self {
        let details = self.details.get_or_insert_default();
        details.name = Some(Printable::new(name).to_string());
        details.group = Some(crate::API_GROUP.to_owned());
        details.kind = Some(R::PLURAL.to_owned());
        self
    }

    /// The same, with a time to wait before trying again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.details.get_or_insert_default().retry_after_seconds = Some(seconds);
        self
    }

    /// No such object.
    #[must_use]
    pub fn not_found<R: Resource>(name: &str) -> Self {
        let message = format!("{} `{}` not found", R::SINGULAR, Printable::new(name));
        Self::new(StatusReason::NotFound, message).about::<R>(name)
    }

    /// No such object, or none the caller may know of: the same words for both.
    #[must_use]
    pub fn not_found_or_hidden<R: Resource>(name: &str) -> Self {
        let shown = Printable::new(name);
        let message = format!("{} `{shown}` not found, or you may not see it", R::SINGULAR);
        Self::new(StatusReason::NotFound, message).about::<R>(name)
    }

    /// No such session that lives, or none the caller may know of: the same words for both.
    #[must_use]
    pub fn no_session(id: &SessionId) -> Self {
        let message = format!("session `{id}` not found, or you may not see it");
        let mut status = Self::new(StatusReason::NotFound, message);
        let details = status.details.get_or_insert_default();
        details.name = Some(id.to_string());
        details.group = Some(crate::API_GROUP.to_owned());
        details.kind = Some(HubResource::Sessions.as_str().to_owned());
        status
    }

    /// There is an object of that name.
    #[must_use]
    pub fn already_exists<R: Resource>(name: &str) -> Self {
        let message = format!("{} `{}` already exists", R::SINGULAR, Printable::new(name));
        Self::new(StatusReason::AlreadyExists, message).about::<R>(name)
    }

    /// The object has changed since it was read.
    #[must_use]
    pub fn conflict<R: Resource>(name: &str) -> Self {
        let shown = Printable::new(name);
        let message = format!(
            "{} `{shown}` has changed since it was read; read it again and repeat the change",
            R::SINGULAR
        );
        Self::new(StatusReason::Conflict, message).about::<R>(name)
    }

    /// Some fields of an object are wrong.
    #[must_use]
    pub fn invalid<R: Resource>(name: &str, errors: &[FieldError]) -> Self {
        let list: Vec<_> = errors.iter().map(ToString::to_string).collect();
        let shown = Printable::new(name);
        let message = format!(
            "{} `{shown}` is not valid: {}",
            R::SINGULAR,
            list.join("; ")
        );
        let mut status = Self::new(StatusReason::Invalid, message).about::<R>(name);
        status.details.get_or_insert_default().causes =
            errors.iter().map(StatusCause::from).collect();
        status
    }

    /// Not authenticated. Says nothing of why: that is for the hub's log.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(StatusReason::Unauthorized, "not authenticated")
    }

    /// Authenticated, and not allowed.
    #[must_use]
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusReason::Forbidden, message)
    }

    /// The request is not one the hub can read.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusReason::BadRequest, message)
    }

    /// The resource version is older than the watch history.
    #[must_use]
    pub fn expired() -> Self {
        let message =
            "the resource version is too old to watch from; list again and watch from there";
        Self::new(StatusReason::Expired, message)
    }

    /// The hub's fault; the details are for its log.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(
            StatusReason::InternalError,
            "internal error; the hub's log says more",
        )
    }
}

impl From<&FieldError> for StatusCause {
    fn from(error: &FieldError) -> Self {
        Self {
            reason: "FieldValueInvalid".to_owned(),
            message: error.message.clone(),
            field: error.path.clone(),
        }
    }
}

fn v1() -> String {
    "v1".to_owned()
}

fn failure() -> String {
    "Failure".to_owned()
}

fn unknown_reason() -> StatusReason {
    StatusReason::Unknown(String::new())
}
