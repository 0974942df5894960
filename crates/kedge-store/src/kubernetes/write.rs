//! Changing an object: planned with what is known, made by one call, seen before it is answered.
//!
//! - What the view already says (it exists, it is not there, it changed, nothing changes) is answered without a call.
//! - The call names the version it changes, so that the API server refuses what was planned with an older one.
//! - The answer waits until the view has the change, so that whoever wrote reads what they wrote; and a conflict waits
//!   until the view has what it conflicts with, so that the next attempt is made with that.

use std::sync::Arc;

use http::StatusCode;
use kedge_api::{API_GROUP, Namespace, ResourceVersion, Time, Uid};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::mirror::Mirror;
use super::reflect;
use super::shape::{self, Lock, Seen, gone_at, uid_of};
use super::wire::{Call, CallError, Wire, segment};
use crate::apply::{Outcome, Stamp, apply, name_of, version_of};
use crate::defaults::{CONFLICT_PATIENCE, SEEN_PATIENCE};
use crate::error::{StoreError, Written};
use crate::kind::Kind;
use crate::raw::{Change, Precondition, Snapshot, Write};

/// A writer of one kind.
pub(super) struct Writer {
    pub(super) wire: Arc<Wire>,
    pub(super) namespace: Namespace,
    pub(super) mirror: Arc<Mirror>,
}

impl Writer {
    /// Makes a change, and answers with what is stored now (or was, before a deletion).
    pub(super) async fn write(&self, write: &Write) -> Result<Snapshot, StoreError> {
        let name = name_of(write);
        let current = self.mirror.find(name);
        // What the API server gives to the object, it gives itself.
        let stamp = Stamp {
            version: ResourceVersion::new(0),
            now: Time::from(jiff::Timestamp::UNIX_EPOCH),
            uid: Uid::from_bytes([0; 16]),
        };
        let change = match apply(current.as_ref(), write, &stamp)? {
            Outcome::Nothing(there) => return Ok(there),
            Outcome::Changes(change) => change,
        };
        match (write, change) {
            (Write::Create(_, object), _) => self.create(name, object).await,
            (Write::Delete(_, _, precondition), Change::Deleted(last)) => {
                self.delete(name, precondition, &last).await
            }
            (Write::Update(..), Change::Modified { before, after }) => {
                self.update(name, &before, &after.tree()).await
            }
            (Write::UpdateStatus(..), Change::Modified { before, after }) => {
                self.update_status(name, &before, &after.tree()).await
            }
            // No write comes to anything else.
            _ => Err(self.failure(
                name,
                "change",
                "",
                &CallError::Unsent {
                    cause: "the change is none".to_owned(),
                },
            )),
        }
    }

    async fn create(&self, name: &str, object: &Value) -> Result<Snapshot, StoreError> {
        let kind = self.mirror.kind();
        let path = format!("{}?{MANAGER}&{STRICT}", self.collection());
        let call = Call::post(path, &shape::posted(kind, object));
        let mut made = match self.wire.json(&call).await {
            Ok(made) => self.seen(name, made)?,
            Err(error) => {
                if error.is("AlreadyExists") {
                    // Whoever hears that it exists can read it.
                    self.settled(|mirror| mirror.find(name).is_some()).await;
                }
                return Err(self.failure(name, "create", "", &error));
            }
        };
        let wanted = wanted_status(kind, object);
        if status_of(&made) != wanted {
            let lock = Lock::Uid(&made.uid);
            match self.apply_status(name, lock, &wanted).await {
                Ok(whole) => made = whole,
                Err(error) => return Err(self.take_back(name, &made.uid, error).await),
            }
        }
        Ok(self.once_seen(made).await)
    }

    /// Removes what was created without its status: nothing is half-done.
    async fn take_back(&self, name: &str, uid: &str, error: CallError) -> StoreError {
        let call = Call::delete(
            self.object(name, ""),
            &json!({"preconditions": {"uid": uid}}),
        );
        match self.wire.bytes(&call).await {
            Ok(_) => self.failure(name, "patch", "/status", &error),
            Err(gone) if gone.code() == Some(StatusCode::NOT_FOUND) => {
                self.failure(name, "patch", "/status", &error)
            }
            Err(_) => StoreError::Unavailable {
                what: self.api(),
                cause: format!(
                    "{} `{name}` was made, but its status could not be written ({error}), and it could not be removed",
                    self.mirror.kind().singular
                ),
                written: Written::Perhaps,
            },
        }
    }

    async fn update(
        &self,
        name: &str,
        before: &Snapshot,
        after: &Value,
    ) -> Result<Snapshot, StoreError> {
        let version = self.version(name, before)?;
        let path = format!("{}?{MANAGER}&{STRICT}", self.object(name, ""));
        let call = Call::json_patch(path, &shape::replaced(after, version));
        match self.wire.json(&call).await {
            Ok(stored) => Ok(self.once_seen(self.seen(name, stored)?).await),
            Err(error) => Err(self.refusal(name, "patch", "", version, error).await),
        }
    }

    async fn update_status(
        &self,
        name: &str,
        before: &Snapshot,
        after: &Value,
    ) -> Result<Snapshot, StoreError> {
        let version = self.version(name, before)?;
        let status = after.get("status").cloned().unwrap_or_default();
        let lock = Lock::Version(version);
        match self.apply_status(name, lock, &status).await {
            Ok(stored) => Ok(self.once_seen(stored).await),
            Err(error) => Err(self.refusal(name, "patch", "/status", version, error).await),
        }
    }

    /// Says what the hub has seen. What others said beside it is removed: the status is the hub's.
    async fn apply_status(
        &self,
        name: &str,
        lock: Lock<'_>,
        status: &Value,
    ) -> Result<Seen, CallError> {
        let kind = self.mirror.kind();
        let path = self.object(name, "/status");
        let applied = Call::apply(
            format!("{path}?{MANAGER}&force=true"),
            &shape::applied(kind, name, lock, status),
        );
        let stored = self.read(self.wire.json(&applied).await?)?;
        if status_of(&stored) == *status || stored.fault.is_some() {
            return Ok(stored);
        }
        let steps = shape::status_replaced(status, stored.version);
        let replaced = Call::json_patch(format!("{path}?{MANAGER}"), &steps);
        self.read(self.wire.json(&replaced).await?)
    }

    async fn delete(
        &self,
        name: &str,
        precondition: &Precondition,
        last: &Snapshot,
    ) -> Result<Snapshot, StoreError> {
        let options = match precondition {
            Precondition::None => json!({"propagationPolicy": "Background"}),
            Precondition::Version(version) => json!({
                "propagationPolicy": "Background",
                "preconditions": {"resourceVersion": version},
            }),
        };
        let known = self.mirror.find(name);
        let version = known.as_ref().and_then(|known| version_of(&known.tree()));
        let answer = match self
            .wire
            .json(&Call::delete(self.object(name, ""), &options))
            .await
        {
            Ok(answer) => answer,
            Err(error) => {
                let version = version.unwrap_or(ResourceVersion::new(0));
                return Err(self.refusal(name, "delete", "", version, error).await);
            }
        };
        // The object, when others must let it go first; else a word about it.
        let uid = answer
            .pointer("/metadata/uid")
            .or_else(|| answer.pointer("/details/uid"))
            .and_then(Value::as_str);
        let uid = uid.map(str::to_owned).or_else(|| uid_of(last));
        let is_it = |object: &Snapshot| uid_of(object) == uid;
        let end = Instant::now() + SEEN_PATIENCE;
        self.mirror
            .until(end, |mirror| !mirror.find(name).as_ref().is_some_and(is_it))
            .await;
        let seen = self.mirror.view().deletion(self.mirror.kind(), is_it);
        Ok(seen.unwrap_or_else(|| match version {
            Some(version) => gone_at(last, version),
            None => last.clone(),
        }))
    }

    /// What a refusal of a change means, once the view has what it conflicts with.
    async fn refusal(
        &self,
        name: &str,
        verb: &str,
        part: &str,
        planned: ResourceVersion,
        error: CallError,
    ) -> StoreError {
        let behind = matches!(
            error.code(),
            Some(StatusCode::CONFLICT | StatusCode::NOT_FOUND)
        );
        if behind {
            self.settled(|mirror| {
                let now = mirror.find(name);
                now.and_then(|now| version_of(&now.tree())) != Some(planned)
            })
            .await;
        }
        self.failure(name, verb, part, &error)
    }

    async fn settled(&self, holds: impl FnMut(&Mirror) -> bool) {
        let end = Instant::now() + CONFLICT_PATIENCE;
        self.mirror.until(end, holds).await;
    }

    /// Waits until the view has what was stored. When it does not get there, as while watches are down, the change is
    /// made all the same.
    async fn once_seen(&self, stored: Seen) -> Snapshot {
        let end = Instant::now() + SEEN_PATIENCE;
        let version = stored.version;
        let seen = self
            .mirror
            .until(end, |mirror| mirror.view().version() >= version);
        if !seen.await {
            tracing::debug!(kind = self.mirror.kind().plural, %version, "written, and not seen yet");
        }
        match self.mirror.find(&stored.name) {
            // The same, and kept once.
            Some(known) if known == stored.snapshot => known,
            _ => stored.snapshot,
        }
    }

    fn seen(&self, name: &str, answer: Value) -> Result<Seen, StoreError> {
        let read = self.read(answer);
        read.map_err(|error| self.failure(name, "change", "", &error))
    }

    fn read(&self, answer: Value) -> Result<Seen, CallError> {
        let seen = shape::seen(self.mirror.kind(), answer);
        seen.map_err(|error| CallError::Unanswered {
            cause: error.to_string(),
        })
    }

    fn version(&self, name: &str, before: &Snapshot) -> Result<ResourceVersion, StoreError> {
        let version = version_of(&before.tree());
        version.ok_or_else(|| StoreError::VersionMissing {
            kind: self.mirror.kind(),
            name: name.to_owned(),
        })
    }

    /// What an error of a call means to whoever wanted the change.
    fn failure(&self, name: &str, verb: &str, part: &str, error: &CallError) -> StoreError {
        let kind = self.mirror.kind();
        let named = || (kind, name.to_owned());
        let cause = error.to_string();
        let code = error.code().map(|code| code.as_u16());
        match code {
            Some(403) => StoreError::Forbidden {
                right: format!(
                    "{verb} {}.{API_GROUP}{part} in namespace {}",
                    kind.plural, self.namespace
                ),
                cause,
            },
            Some(404) if verb != "create" => {
                let (kind, name) = named();
                StoreError::NotFound { kind, name }
            }
            Some(409) if error.is("AlreadyExists") => {
                let (kind, name) = named();
                StoreError::AlreadyExists { kind, name }
            }
            Some(409) => {
                let (kind, name) = named();
                StoreError::Conflict { kind, name }
            }
            Some(400 | 404 | 413 | 415 | 422) => {
                let (kind, name) = named();
                StoreError::Refused { kind, name, cause }
            }
            _ => unavailable(self.api(), error),
        }
    }

    fn api(&self) -> String {
        format!("the Kubernetes API at {}", self.wire.url())
    }

    fn collection(&self) -> String {
        reflect::path(&self.namespace, self.mirror.kind())
    }

    fn object(&self, name: &str, part: &str) -> String {
        format!("{}/{}{part}", self.collection(), segment(name))
    }
}

/// Says that the store is out of reach, and what is known of the change.
pub(super) fn unavailable(what: String, error: &CallError) -> StoreError {
    // What was answered with a refusal was not done; what came back as an error of the server's own may have been.
    let refused = error.code().is_some_and(|code| code.is_client_error());
    StoreError::Unavailable {
        what,
        cause: error.to_string(),
        written: if refused || error.is_undone() {
            Written::Nothing
        } else {
            Written::Perhaps
        },
    }
}

/// The status that an object is to have, as its type writes it.
fn wanted_status(kind: Kind, object: &Value) -> Value {
    match object.get("status") {
        None | Some(Value::Null) => (kind.default_status)(),
        Some(status) => status.clone(),
    }
}

fn status_of(seen: &Seen) -> Value {
    seen.snapshot
        .tree()
        .get("status")
        .cloned()
        .unwrap_or_default()
}

/// Who the changes are by, as `kubectl get --show-managed-fields` tells.
const MANAGER: &str = "fieldManager=kedge-hub";
/// A field that the API server does not know is refused, and not dropped: it may be the one that says no.
const STRICT: &str = "fieldValidation=Strict";
