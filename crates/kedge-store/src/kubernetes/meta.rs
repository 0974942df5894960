//! The hub's own texts, in one ConfigMap.
//!
//! They are few and small, and read when the hub starts; so they are asked for when they are wanted, and what was seen
//! last is the answer while the API server is away.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::StatusCode;
use kedge_api::Namespace;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::pause::jittered;
use super::wire::{Call, CallError, Wire};
use super::write::unavailable;
use crate::defaults::{CALL_PAUSE, META_RETRIES};
use crate::error::StoreError;
use crate::raw::MetaKey;

/// The ConfigMap.
pub(super) struct MetaMap {
    wire: Arc<Wire>,
    namespace: Namespace,
    seen: Mutex<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct ConfigMap {
    metadata: Metadata,
    #[serde(default)]
    data: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    resource_version: String,
}

impl MetaMap {
    pub(super) fn new(wire: Arc<Wire>, namespace: Namespace) -> Self {
        Self {
            wire,
            namespace,
            seen: Mutex::default(),
        }
    }

    /// A text, as it is now, or as it was seen last while the API server is away.
    pub(super) async fn read(&self, key: MetaKey) -> Result<Option<String>, StoreError> {
        match self.fetch().await {
            Ok(map) => Ok(map.and_then(|map| map.data.get(key.as_str()).cloned())),
            Err(error) => {
                let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
                let known = seen.get(key.as_str()).cloned();
                match known {
                    Some(text) if error.code().is_none() => Ok(Some(text)),
                    _ => Err(self.failure("get", error)),
                }
            }
        }
    }

    /// Sets a text unless it is there, and answers with the one that is.
    pub(super) async fn init(&self, key: MetaKey, text: &str) -> Result<String, StoreError> {
        for _ in 0..META_RETRIES {
            let there = self.fetch().await;
            let done = match there.map_err(|error| self.failure("get", error))? {
                None => self.create(key, text).await,
                Some(map) => {
                    if let Some(there) = map.data.get(key.as_str()) {
                        return Ok(there.clone());
                    }
                    // Only if nobody else changed it meanwhile.
                    let version = map.metadata.resource_version;
                    self.patch(&json!({
                        "metadata": {"resourceVersion": version},
                        "data": {key.as_str(): text},
                    }))
                    .await
                }
            };
            match done {
                Ok(()) => return Ok(text.to_owned()),
                Err(error) if is_raced(&error) => sleep(jittered(CALL_PAUSE)).await,
                Err(error) => return Err(self.failure("patch", error)),
            }
        }
        Err(self.contended())
    }

    /// Sets a text, whatever it was.
    pub(super) async fn set(&self, key: MetaKey, text: &str) -> Result<(), StoreError> {
        for _ in 0..META_RETRIES {
            let patch = json!({"data": {key.as_str(): text}});
            let done = match self.patch(&patch).await {
                Err(error) if error.code() == Some(StatusCode::NOT_FOUND) => {
                    self.create(key, text).await
                }
                done => done,
            };
            match done {
                Ok(()) => return Ok(()),
                Err(error) if is_raced(&error) => sleep(jittered(CALL_PAUSE)).await,
                Err(error) => return Err(self.failure("patch", error)),
            }
        }
        Err(self.contended())
    }

    async fn fetch(&self) -> Result<Option<ConfigMap>, CallError> {
        let path = format!("{}/{NAME}", self.collection());
        match self.wire.json(&Call::get(path)).await {
            Ok(object) => self.remember(object).map(Some),
            Err(error) if error.code() == Some(StatusCode::NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn create(&self, key: MetaKey, text: &str) -> Result<(), CallError> {
        let object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": NAME},
            "data": {key.as_str(): text},
        });
        let call = Call::post(self.collection(), &object);
        self.remember(self.wire.json(&call).await?).map(drop)
    }

    async fn patch(&self, patch: &Value) -> Result<(), CallError> {
        let path = format!("{}/{NAME}", self.collection());
        let call = Call::merge_patch(path, patch);
        self.remember(self.wire.json(&call).await?).map(drop)
    }

    /// Keeps what the API server says, for when it is away.
    fn remember(&self, object: Value) -> Result<ConfigMap, CallError> {
        let map: ConfigMap =
            serde_json::from_value(object).map_err(|error| CallError::Unanswered {
                cause: format!("its answer is no ConfigMap: {error}"),
            })?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone_from(&map.data);
        Ok(map)
    }

    fn collection(&self) -> String {
        format!("/api/v1/namespaces/{}/configmaps", self.namespace)
    }

    fn failure(&self, verb: &str, error: CallError) -> StoreError {
        if error.code() == Some(StatusCode::FORBIDDEN) {
            return StoreError::Forbidden {
                right: format!("{verb} configmap {NAME} in namespace {}", self.namespace),
                cause: error.to_string(),
            };
        }
        unavailable(format!("the Kubernetes API at {}", self.wire.url()), &error)
    }

    fn contended(&self) -> StoreError {
        let cause = format!("others change configmap {NAME} all the time");
        unavailable(
            format!("the Kubernetes API at {}", self.wire.url()),
            &CallError::Unsent { cause },
        )
    }
}

/// Whether somebody else was quicker, or removed it in between.
fn is_raced(error: &CallError) -> bool {
    matches!(
        error.code(),
        Some(StatusCode::CONFLICT | StatusCode::NOT_FOUND)
    )
}

/// The ConfigMap's name.
const NAME: &str = "kedge-hub-state";
