//! The Lease as the API server has it, and the calls that read and change it.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use kedge_api::Namespace;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Lost;
use crate::defaults::{LEASE_DEADLINE, LEASE_SECONDS, LEASE_SECONDS_MAX};
use crate::kubernetes::wire::{Call, CallError, Wire};

/// A candidate's place at the API server.
pub(super) struct Site {
    pub(super) wire: Arc<Wire>,
    pub(super) namespace: Namespace,
    pub(super) identity: String,
}

/// What a Lease says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) version: String,
    pub(super) holder: Option<String>,
    pub(super) duration: Duration,
    pub(super) transitions: u64,
}

impl Site {
    /// Renews. Answers with who has the Lease when it is another.
    pub(super) async fn confirm(&self, record: &mut Record) -> Result<Option<Lost>, CallError> {
        match self.patch(record, self.renewed()).await {
            Ok(renewed) => {
                *record = renewed;
                return Ok(None);
            }
            Err(error) if is_raced(&error) || error.code() == Some(StatusCode::NOT_FOUND) => {}
            Err(error) => return Err(error),
        }
        // It changed, or is gone.
        let Some(now) = self.fetch().await? else {
            *record = self.create().await?;
            return Ok(None);
        };
        match &now.holder {
            Some(holder) if *holder == self.identity => {
                *record = self.patch(&now, self.renewed()).await?;
                Ok(None)
            }
            // Somebody took it from this hub, and gave it to nobody.
            None => {
                *record = self.take(&now).await?;
                Ok(None)
            }
            Some(holder) => Ok(Some(Lost {
                holder: holder.clone(),
            })),
        }
    }

    pub(super) async fn give_back(&self, record: &Record) {
        let given = self.patch(record, json!({"holderIdentity": null})).await;
        if let Err(error) = given {
            tracing::debug!(cause = %error, "the lease cannot be given back; it ends by itself");
        }
    }

    pub(super) async fn fetch(&self) -> Result<Option<Record>, CallError> {
        let call = Call::get(self.object()).deadline(LEASE_DEADLINE);
        match self.wire.json(&call).await {
            Ok(object) => parse(object).map(Some),
            Err(error) if error.code() == Some(StatusCode::NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn create(&self) -> Result<Record, CallError> {
        let mut spec = self.renewed();
        merge(
            &mut spec,
            json!({"acquireTime": now(), "leaseTransitions": 0}),
        );
        let object = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": NAME},
            "spec": spec,
        });
        let call = Call::post(self.collection(), &object).deadline(LEASE_DEADLINE);
        parse(self.wire.json(&call).await?)
    }

    pub(super) async fn take(&self, record: &Record) -> Result<Record, CallError> {
        let mut spec = self.renewed();
        merge(
            &mut spec,
            json!({
                "acquireTime": now(),
                "leaseTransitions": record.transitions.saturating_add(1),
            }),
        );
        self.patch(record, spec).await
    }

    fn renewed(&self) -> Value {
        json!({
            "holderIdentity": self.identity,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": now(),
        })
    }

    async fn patch(&self, record: &Record, spec: Value) -> Result<Record, CallError> {
        let patch = json!({
            "metadata": {"resourceVersion": record.version},
            "spec": spec,
        });
        let call = Call::merge_patch(self.object(), &patch).deadline(LEASE_DEADLINE);
        parse(self.wire.json(&call).await?)
    }

    fn collection(&self) -> String {
        let namespace = &self.namespace;
        format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases")
    }

    fn object(&self) -> String {
        format!("{}/{NAME}", self.collection())
    }
}

fn parse(object: Value) -> Result<Record, CallError> {
    #[derive(Deserialize)]
    struct Object {
        metadata: Metadata,
        #[serde(default)]
        spec: Spec,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Metadata {
        resource_version: String,
    }
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Spec {
        holder_identity: Option<String>,
        lease_duration_seconds: Option<u32>,
        lease_transitions: Option<u64>,
    }
    let object: Object = serde_json::from_value(object).map_err(|error| CallError::Unanswered {
        cause: format!("its answer is no Lease: {error}"),
    })?;
    let seconds = object.spec.lease_duration_seconds.unwrap_or(LEASE_SECONDS);
    Ok(Record {
        version: object.metadata.resource_version,
        holder: object
            .spec
            .holder_identity
            .filter(|holder| !holder.is_empty()),
        duration: Duration::from_secs(seconds.clamp(1, LEASE_SECONDS_MAX).into()),
        transitions: object.spec.lease_transitions.unwrap_or_default(),
    })
}

fn merge(into: &mut Value, more: Value) {
    if let (Some(into), Value::Object(more)) = (into.as_object_mut(), more) {
        into.extend(more);
    }
}

/// As Kubernetes' `MicroTime` has it.
fn now() -> String {
    format!("{:.6}", Timestamp::now())
}

/// Whether somebody else was quicker.
pub(super) fn is_raced(error: &CallError) -> bool {
    error.code() == Some(StatusCode::CONFLICT)
}

/// The Lease's name.
pub(super) const NAME: &str = "kedge-hub";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_are_read_whoever_wrote_them() {
        let read = |spec: Value| {
            parse(json!({"metadata": {"resourceVersion": "7"}, "spec": spec})).unwrap()
        };
        assert_eq!(read(json!({})).holder, None);
        assert_eq!(read(json!({"holderIdentity": ""})).holder, None);
        let long = read(json!({"holderIdentity": "x", "leaseDurationSeconds": 4_000_000}));
        assert_eq!(long.duration, Duration::from_secs(60));
        assert_eq!(long.holder.as_deref(), Some("x"));
        assert!(parse(json!({"spec": {}})).is_err());
        assert!(parse(json!({"metadata": {"resourceVersion": "7"}})).is_ok());
    }

    #[test]
    fn times_have_the_form_of_a_micro_time() {
        let now = now();
        assert_eq!(now.len(), "2026-01-31T12:00:00.000000Z".len(), "{now}");
        assert!(now.ends_with('Z'));
    }
}
