//! Lists and watches, in Kubernetes' shape.
//!
//! - `GET …/servers` answers a [`List`]; its `metadata.resourceVersion` is where to watch from.
//! - `GET …/servers?watch=1&resourceVersion=N` answers [`WatchEvent`]s, one JSON object to a line.
//! - `BOOKMARK` carries only a newer resource version; `ERROR` carries a [`Status`] and is the last.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::API_VERSION;
use crate::meta::{Resource, ResourceVersion};
use crate::resources::ApiVersion;
use crate::status::Status;

/// All objects of a kind at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[serde(bound = "R: Resource")]
#[schemars(bound = "R: Resource", rename = "{R}List")]
pub struct List<R> {
    /// Always `kedge.dev/v1alpha1`.
    pub api_version: ApiVersion,
    /// The kind's name and `List`.
    pub kind: String,
    /// The moment.
    pub metadata: ListMeta,
    /// The objects in the order of their names.
    pub items: Vec<R>,
}

/// The moment of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListMeta {
    /// Where to watch from.
    pub resource_version: ResourceVersion,
    /// Where the next page begins; never set today.
    #[serde(default, rename = "continue", skip_serializing_if = "Option::is_none")]
    pub continue_token: Option<String>,
}

impl<R: Resource> List<R> {
    /// The objects as of a version.
    #[must_use]
    pub fn new(resource_version: ResourceVersion, items: Vec<R>) -> Self {
        Self {
            api_version: ApiVersion,
            kind: format!("{}List", R::KIND),
            metadata: ListMeta {
                resource_version,
                continue_token: None,
            },
            items,
        }
    }
}

/// One thing that happened to a kind's objects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    content = "object",
    rename_all = "UPPERCASE",
    bound = "R: Resource"
)]
#[non_exhaustive]
pub enum WatchEvent<R> {
    /// It is new, or newly matches the selector.
    Added(R),
    /// Nothing happened up to this version.
    Bookmark(Bookmark),
    /// It is gone, or no longer matches the selector; its last state.
    Deleted(R),
    /// The watch ends here.
    Error(Status),
    /// It changed.
    Modified(R),
}

/// The object of a `BOOKMARK`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bookmark {
    /// `kedge.dev/v1alpha1`.
    pub api_version: Cow<'static, str>,
    /// The kind watched.
    pub kind: String,
    /// How far the watch has come.
    pub metadata: ListMeta,
}

impl<R: Resource> WatchEvent<R> {
    /// A bookmark at a version.
    #[must_use]
    pub fn bookmark(resource_version: ResourceVersion) -> Self {
        Self::Bookmark(Bookmark {
            api_version: Cow::Borrowed(API_VERSION),
            kind: R::KIND.to_owned(),
            metadata: ListMeta {
                resource_version,
                continue_token: None,
            },
        })
    }

    /// The version to watch on from after this event; none after an error.
    #[must_use]
    pub fn resource_version(&self) -> Option<ResourceVersion> {
        match self {
            Self::Added(object) | Self::Deleted(object) | Self::Modified(object) => {
                object.metadata().resource_version
            }
            Self::Bookmark(bookmark) => Some(bookmark.metadata.resource_version),
            Self::Error(_) => None,
        }
    }
}
