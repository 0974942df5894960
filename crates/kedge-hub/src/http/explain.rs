//! Asking why, and what if: explanations, the history, and trials of policies on it.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    response::Response,
};
use http::{HeaderMap, StatusCode};
use kedge_api::{
    AccessPolicy, Resource as _, Server, Status, Subject, Time, decode,
    resources::{HubResource, Verb},
    rest::{ExplanationRequest, History, ReplayRequest},
};
use kedge_store::{HistoryCursor, HistoryQuery};
use serde::Deserialize;

use super::{
    auth::Person,
    body, objects,
    reply::{self, Failure},
};
use crate::{
    app::App,
    defaults,
    explain::{self, Detail},
    history::{self, Trial},
};

/// `POST …/explanations`: may somebody open a session, and why?
pub(super) async fn explain(
    State(app): State<App>,
    person: Person,
    headers: HeaderMap,
    raw: Body,
) -> Result<Response, Failure> {
    let request: ExplanationRequest = decode::body(&body::read(&headers, raw).await?)?;
    let rights = person.rights(&app).await?;
    let may_ask = rights.may(Verb::Create, HubResource::Explanations, None);
    let assumed = match whom(&person, &request)? {
        Whom::Oneself => explain::assume_oneself(&person.who.principal, person.from, &request),
        Whom::Other(_) if !may_ask => return Err(others().into()),
        Whom::Other(name) => explain::assume(&app, &request, &name).await?,
    };
    if !may_ask && (request.groups.is_some() || !request.claims.is_empty()) {
        let words = "what if you had other groups or claims is a question for those who may create explanations";
        return Err(Status::forbidden(words).into());
    }
    let server = app.store.find::<Server>(&request.server).await?;
    let now = app.clock.now();
    let visible = |server: &Server| may_ask || rights.see(server, now);
    let Some(server) = server.filter(visible) else {
        let name = request.server.as_str();
        return Err(if may_ask {
            Status::not_found::<Server>(name)
        } else {
            Status::not_found_or_hidden::<Server>(name)
        }
        .into());
    };
    let detail = if may_ask { Detail::All } else { Detail::Own };
    let answer = explain::explain(
        &app,
        &rights.policies()?,
        &server,
        &request,
        assumed,
        detail,
    );
    Ok(reply::json(StatusCode::OK, &answer))
}

/// Whom a question is about.
enum Whom {
    /// Whoever asks it.
    Oneself,
    /// Somebody else, by this name.
    Other(Subject),
}

fn whom(person: &Person, request: &ExplanationRequest) -> Result<Whom, Failure> {
    let own = &person.who.principal;
    let ((Some(name), _) | (None, Some(name))) = (&request.user, &request.subject) else {
        return Err(
            Status::bad_request("whom it is about is missing: give `user` or `subject`").into(),
        );
    };
    let is_own = request.user.as_ref().is_none_or(|user| *user == own.user)
        && request
            .subject
            .as_ref()
            .is_none_or(|subject| *subject == own.subject)
        && request
            .issuer
            .as_ref()
            .is_none_or(|issuer| *issuer == own.issuer);
    Ok(if is_own {
        Whom::Oneself
    } else {
        Whom::Other(name.clone())
    })
}

fn others() -> Status {
    Status::forbidden("you may ask about yourself only; ask an administrator of this hub")
}

/// What `GET …/history` takes.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct PageQuery {
    since: Option<String>,
    limit: Option<String>,
    #[serde(rename = "continue")]
    continue_token: Option<String>,
}

/// `GET …/history`
pub(super) async fn list(
    State(app): State<App>,
    person: Person,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    let query = objects::query(query)?;
    person
        .rights(&app)
        .await?
        .require(Verb::List, HubResource::History, None)?;
    let since = query
        .since
        .as_deref()
        .map(str::parse::<Time>)
        .transpose()
        .map_err(|_| Status::bad_request("since is a time such as 2026-01-31T12:00:00Z"))?;
    let limit = match query.limit.as_deref() {
        None => defaults::HISTORY_PAGE,
        Some(text) => match text.parse::<usize>() {
            Ok(limit) if limit > 0 => limit,
            _ => return Err(Status::bad_request("limit is a number from 1").into()),
        },
    };
    let query = HistoryQuery {
        since,
        after: cursor(query.continue_token.as_deref())?,
        limit,
    };
    let (items, next) = history::page(&app, query).await?;
    let answer = History {
        items,
        continue_token: next.map(|next| next.to_string()),
    };
    Ok(reply::json(StatusCode::OK, &answer))
}

/// `POST …/policyreplays`: what would other policies have said?
pub(super) async fn replay(
    State(app): State<App>,
    person: Person,
    headers: HeaderMap,
    raw: Body,
) -> Result<Response, Failure> {
    let rights = person.rights(&app).await?;
    rights.require(Verb::Create, HubResource::Explanations, None)?;
    rights.require(Verb::List, HubResource::History, None)?;
    let request: ReplayRequest = decode::body(&body::read(&headers, raw).await?)?;
    for policy in &request.policies {
        policy.validate().map_err(|errors| {
            Status::invalid::<AccessPolicy>(policy.metadata().name.as_str(), &errors)
        })?;
    }
    let after = cursor(request.continue_token.as_deref())?;
    let trial = Trial::new(
        &rights.policies()?,
        request.policies,
        &request.remove,
        app.people.standings(),
    )
    .map_err(|error| Status::bad_request(error.to_string()))?;
    let permit = Arc::clone(&app.history.replays)
        .try_acquire_owned()
        .map_err(|_| {
            let words = "policies are being tried on the history for somebody else";
            Failure::unavailable(words, defaults::RETRY_AFTER)
        })?;
    let answer = history::replay(&app, trial, request.since, after, permit).await?;
    Ok(reply::json(StatusCode::OK, &answer))
}

fn cursor(text: Option<&str>) -> Result<Option<HistoryCursor>, Failure> {
    text.filter(|text| !text.is_empty())
        .map(str::parse)
        .transpose()
        .map_err(|error: kedge_store::CursorError| Status::bad_request(error.to_string()).into())
}
