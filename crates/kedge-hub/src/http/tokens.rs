//! `POST …/jointokens`: the hub makes the secret, shows it once and keeps its hash.

use axum::{body::Body, extract::State, response::Response};
use http::{HeaderMap, StatusCode};
use kedge_api::{
    FieldError, JoinToken, JoinTokenName, JoinTokenSecret, Resource as _, Status, decode,
    resources::{HubResource, IssuedJoinToken, JoinTokenStatus, Verb},
};
use kedge_store::StoreError;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{
    auth::Person,
    body,
    reply::{self, Failure},
};
use crate::{app::App, audit, defaults, enrol};

pub(super) async fn create(
    State(app): State<App>,
    person: Person,
    headers: HeaderMap,
    raw: Body,
) -> Result<Response, Failure> {
    let bytes = body::read(&headers, raw).await?;
    let rights = person.rights(&app).await?;
    let name = given_name(&bytes);
    let shown = name.as_deref().unwrap_or_default();
    rights
        .require(Verb::Create, HubResource::JoinTokens, name.as_deref())
        .map_err(person.refused_write(&app, Verb::Create, JoinToken::SINGULAR, shown))?;
    for _ in 1..defaults::TOKEN_NAME_TRIES {
        match issue(&app, &person, &bytes).await {
            // Nobody chose this name, so nobody minds another one.
            Err((Named::ByHub, StoreError::AlreadyExists { .. })) => {}
            done => return finish(done),
        }
    }
    finish(issue(&app, &person, &bytes).await)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    ByCaller,
    ByHub,
}

type Issued = Result<Result<IssuedJoinToken, Failure>, (Named, StoreError)>;

fn finish(issued: Issued) -> Result<Response, Failure> {
    let issued = issued.map_err(|(_, error)| Failure::from(error))??;
    let value = issued
        .to_json()
        .map_err(|error| Failure::internal(error.to_string()))?;
    Ok(reply::json(StatusCode::CREATED, &value))
}

async fn issue(app: &App, person: &Person, bytes: &[u8]) -> Issued {
    let (named, mut token) = match prepare(app, bytes) {
        Ok(prepared) => prepared,
        Err(failure) => return Ok(Err(failure)),
    };
    let name = match token.metadata.name.as_str().parse::<JoinTokenName>() {
        Ok(name) => name,
        Err(error) => return Ok(Err(Status::bad_request(error.to_string()).into())),
    };
    let random = match kedge_api::random::bytes::<32>() {
        Ok(random) => Zeroizing::new(random),
        Err(error) => return Ok(Err(error.into())),
    };
    let secret = JoinTokenSecret::from_parts(name, &random);
    token.status = JoinTokenStatus {
        hash: Some(secret.hash()),
        ..JoinTokenStatus::default()
    };
    let object = app
        .store
        .create(&token)
        .await
        .map_err(|error| (named, error))?;
    audit::object_changed(
        person.actor(),
        audit::Verb::Created,
        JoinToken::SINGULAR,
        object.metadata.name.as_str(),
    );
    Ok(Ok(IssuedJoinToken { object, secret }))
}

fn prepare(app: &App, bytes: &[u8]) -> Result<(Named, JoinToken), Failure> {
    let now = app.clock.now();
    let (named, bytes) = with_name(bytes)?;
    let mut token: JoinToken = decode::object(&bytes, None)?;
    let end = *token
        .spec
        .expires_at
        .get_or_insert_with(|| now.saturating_add(defaults::JOIN_TOKEN_LIFE));
    let wrong = |message: &str| {
        let field = FieldError::new("spec.expiresAt", message);
        Failure::from(Status::invalid::<JoinToken>(
            token.metadata.name.as_str(),
            &[field],
        ))
    };
    if end <= now {
        return Err(wrong("is in the past"));
    }
    if end > enrol::latest_end(now) {
        return Err(wrong("is more than 30 days away"));
    }
    Ok((named, token))
}

/// The name that the caller chose, if any.
fn given_name(bytes: &[u8]) -> Option<String> {
    let object: Value = serde_json::from_slice(bytes).ok()?;
    Some(object.pointer("/metadata/name")?.as_str()?.to_owned())
}

/// Fills in a name where the caller gave none: a join token's name is part of its secret and means nothing.
fn with_name(bytes: &[u8]) -> Result<(Named, Vec<u8>), Failure> {
    // What is no JSON object is left to the strict reader, which has the words for it.
    let Ok(Value::Object(mut object)) = serde_json::from_slice::<Value>(bytes) else {
        return Ok((Named::ByCaller, bytes.to_vec()));
    };
    let metadata = object
        .entry("metadata")
        .or_insert_with(|| Value::Object(serde_json::Map::new()));
    let Value::Object(metadata) = metadata else {
        return Ok((Named::ByCaller, bytes.to_vec()));
    };
    if metadata.get("name").is_some_and(|name| !name.is_null()) {
        return Ok((Named::ByCaller, bytes.to_vec()));
    }
    let name = JoinTokenName::from_bytes(kedge_api::random::bytes()?);
    metadata.insert("name".to_owned(), Value::String(name.as_str().to_owned()));
    let bytes =
        serde_json::to_vec(&object).map_err(|error| Failure::internal(error.to_string()))?;
    Ok((Named::ByHub, bytes))
}
