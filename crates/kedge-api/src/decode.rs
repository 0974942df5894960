//! Reading what somebody wants written: strict, and with the path of what is wrong.
//!
//! Bytes that are no JSON, or JSON that is no such object, are `BadRequest`; an object that is one
//! and has wrong or unknown fields is `Invalid`, with every field named.

use serde::de::DeserializeOwned;

use crate::defaults::{JSON_MAX_DEPTH, OBJECT_MAX_BYTES};
use crate::meta::{FieldError, Resource};
use crate::status::{Status, StatusReason};
use crate::text::Printable;

/// Reads an object that is to be created, or to replace `old`, and validates it.
///
/// # Errors
/// A [`Status`] that is the answer to the caller.
pub fn object<R: Resource>(bytes: &[u8], old: Option<&R>) -> Result<R, Status> {
    let object: R = body(bytes)?;
    let verdict = match old {
        Some(old) => object.validate_change(old),
        None => object.validate(),
    };
    match verdict {
        Ok(()) => Ok(object),
        Err(errors) => Err(Status::invalid::<R>(
            object.metadata().name.as_str(),
            &errors,
        )),
    }
}

/// Reads any body, refusing fields that its type does not have.
///
/// # Errors
/// A [`Status`] that is the answer to the caller.
pub fn body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Status> {
    named(bytes, "the body")
}

/// The same for something that is no body; `what` is what errors call it.
pub(crate) fn named<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, Status> {
    if bytes.len() > OBJECT_MAX_BYTES {
        let message = format!(
            "{what} has {} bytes, at most {OBJECT_MAX_BYTES}",
            bytes.len()
        );
        return Err(Status::new(StatusReason::RequestEntityTooLarge, message));
    }
    if depth(bytes) > JSON_MAX_DEPTH {
        return Err(Status::bad_request(format!(
            "{what} nests deeper than {JSON_MAX_DEPTH}"
        )));
    }
    let mut unknown = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut deserializer, &mut track);
    let result = serde_ignored::deserialize(tracked, |path| {
        if unknown.len() < UNKNOWN_SHOWN_MAX {
            unknown.push(path.to_string());
        }
    });
    let value: T = result.map_err(|error: serde_json::Error| {
        let path = track.path().to_string();
        failure(what, &path, &error)
    })?;
    deserializer
        .end()
        .map_err(|error| failure(what, ".", &error))?;
    if unknown.is_empty() {
        return Ok(value);
    }
    let errors: Vec<_> = unknown
        .iter()
        .map(|path| FieldError::new(Printable::new(path).to_string(), "unknown field"))
        .collect();
    Err(invalid(&errors))
}

fn failure(what: &str, path: &str, error: &serde_json::Error) -> Status {
    let message = error.to_string();
    // Where in the text is of no use to somebody who wrote YAML, or a command; the path is.
    let place = format!(" at line {} column {}", error.line(), error.column());
    let message = match message.strip_suffix(&place) {
        Some(short) if error.is_data() => short,
        _ => &message,
    };
    if error.is_data() && path != "." {
        let shown = Printable::new(message).to_string();
        invalid(&[FieldError::new(Printable::new(path).to_string(), shown)])
    } else {
        Status::bad_request(format!(
            "{what} cannot be read: {}",
            Printable::new(message)
        ))
    }
}

/// The error that names each field that is wrong.
pub(crate) fn invalid(errors: &[FieldError]) -> Status {
    let list: Vec<_> = errors.iter().map(ToString::to_string).collect();
    let mut status = Status::new(StatusReason::Invalid, list.join("; "));
    status.details.get_or_insert_default().causes = errors.iter().map(Into::into).collect();
    status
}

/// How deep brackets nest, without building anything.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

const UNKNOWN_SHOWN_MAX: usize = 16;
