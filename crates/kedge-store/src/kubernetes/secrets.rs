//! Secrets by `get`, one at a time: the hub has no right to list or to watch them, and keeps nothing of them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kedge_api::{SERVERS_ANNOTATION, SecretDataKey, SecretRef};
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use super::wire::{Call, CallError, Wire, segment};
use crate::defaults::{SECRET_ANSWER_BYTES, SECRET_FIELD_BYTES};
use crate::secrets::{SecretError, SecretField};

/// Reads one field of one Secret.
pub(super) async fn field(
    wire: &Wire,
    secret: &SecretRef,
    key: &SecretDataKey,
) -> Result<SecretField, SecretError> {
    let path = format!(
        "/api/v1/namespaces/{}/secrets/{}",
        secret.namespace,
        segment(secret.name.as_str())
    );
    let call = Call::get(path).limit(SECRET_ANSWER_BYTES);
    let answer = wire.bytes(&call).await;
    let answer = answer.map_err(|error| refusal(wire, secret, &error))?;
    read(&answer, secret, key)
}

/// Takes the field from a Secret as the API server has it.
fn read(
    answer: &[u8],
    secret: &SecretRef,
    key: &SecretDataKey,
) -> Result<SecretField, SecretError> {
    #[derive(Deserialize)]
    struct Object {
        #[serde(default)]
        metadata: Metadata,
        // Go writes no map as null, or not at all.
        #[serde(default)]
        data: Option<BTreeMap<String, Hidden>>,
    }
    #[derive(Default, Deserialize)]
    struct Metadata {
        #[serde(default)]
        annotations: Option<BTreeMap<String, String>>,
    }
    let unreadable = |cause: &str| SecretError::Unreadable {
        secret: secret.clone(),
        key: key.clone(),
        cause: cause.to_owned(),
    };
    // What serde says of it might quote it.
    let object: Object =
        serde_json::from_slice(answer).map_err(|_| unreadable("the answer is no Secret"))?;
    let mut data = object.data.unwrap_or_default();
    let Some(Hidden(text)) = data.remove(key.as_str()) else {
        return Err(SecretError::FieldMissing {
            secret: secret.clone(),
            key: key.clone(),
        });
    };
    let too_large = || SecretError::TooLarge {
        secret: secret.clone(),
        key: key.clone(),
        limit: SECRET_FIELD_BYTES,
    };
    // So much base64 are so many bytes, and up to two more.
    if text.len() / 4 > SECRET_FIELD_BYTES / 3 + 1 {
        return Err(too_large());
    }
    // Room for all of it at once: a vector that grows leaves a copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    STANDARD
        .decode_vec(text.as_bytes(), &mut bytes)
        .map_err(|_| unreadable("it is no base64"))?;
    if bytes.len() > SECRET_FIELD_BYTES {
        return Err(too_large());
    }
    let mut annotations = object.metadata.annotations.unwrap_or_default();
    Ok(SecretField {
        bytes,
        servers: annotations.remove(SERVERS_ANNOTATION),
    })
}

fn refusal(wire: &Wire, secret: &SecretRef, error: &CallError) -> SecretError {
    let owned = secret.clone();
    match error.code().map(|code| code.as_u16()) {
        Some(404) => SecretError::NotFound { secret: owned },
        Some(403) => SecretError::Forbidden {
            cause: format!(
                "grant the hub `get` on secrets by a Role in namespace {} ({error})",
                secret.namespace
            ),
            secret: owned,
        },
        _ => SecretError::Unavailable {
            cause: format!("the Kubernetes API at {}: {error}", wire.url()),
            secret: owned,
        },
    }
}

/// Text that is wiped.
struct Hidden(Zeroizing<String>);

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(answer: &str, key: &str) -> Result<SecretField, SecretError> {
        let secret = SecretRef {
            name: "ssh".parse().unwrap(),
            namespace: "team-a".parse().unwrap(),
        };
        read(answer.as_bytes(), &secret, &key.parse().unwrap())
    }

    #[test]
    fn a_field_is_decoded_and_the_owners_word_comes_with_it() {
        let answer = json!({
            "metadata": {"annotations": {"kedge.dev/servers": "", "other": "x"}},
            "data": {"a": "b25lDQo=", "b": ""},
        });
        let answer = answer.to_string();
        let field = of(&answer, "a").unwrap();
        assert_eq!(
            (&field.bytes[..], field.servers.as_deref()),
            (&b"one\r\n"[..], Some(""))
        );
        assert!(of(&answer, "b").unwrap().bytes.is_empty());
        assert!(matches!(
            of(&answer, "c"),
            Err(SecretError::FieldMissing { .. })
        ));
    }

    #[test]
    fn what_is_no_secret_is_refused_without_a_word_of_what_is_in_it() {
        for answer in [
            "",
            r#""hunter2""#,
            r#"{"data":{"a":"***hunter2***"}}"#,
            r#"{"data":{"a":["hunter2"]}}"#,
            r#"{"data":"hunter2"}"#,
        ] {
            let error = of(answer, "a").unwrap_err();
            assert!(matches!(error, SecretError::Unreadable { .. }), "{error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
        for empty in [
            r#"{"data":null}"#,
            "{}",
            r#"{"metadata":{"annotations":null}}"#,
        ] {
            assert!(
                matches!(of(empty, "a"), Err(SecretError::FieldMissing { .. })),
                "{empty}"
            );
        }
    }

    #[test]
    fn a_field_is_bounded_to_the_byte() {
        let field = |bytes: usize| {
            let text = STANDARD.encode(vec![b'x'; bytes]);
            of(&json!({"data": {"a": text}}).to_string(), "a")
        };
        assert_eq!(
            field(SECRET_FIELD_BYTES).unwrap().bytes.len(),
            SECRET_FIELD_BYTES
        );
        for more in [1, 2, 3, 4, 100_000] {
            let error = field(SECRET_FIELD_BYTES + more).unwrap_err();
            assert!(matches!(error, SecretError::TooLarge { .. }), "{error}");
        }
    }
}
