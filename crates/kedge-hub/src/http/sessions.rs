//! The sessions that live: whose they are sees them and may end them, and so may whom policies give the right.
//!
//! - Whoever may not `list` sessions sees their own.
//! - An id that nobody has and one of a session that the caller may not know of are the same 404.
//! - Who was ended is told by whom, and so is the audit log.

use axum::{
    extract::{Path, State, rejection::PathRejection},
    response::Response,
};
use http::StatusCode;
use kedge_api::{
    NameError, SessionId, Status,
    resources::{HubResource, Verb},
    rest::{SessionInfo, SessionList},
    text::Printable,
};

use super::{
    auth::Person,
    objects,
    reply::{self, Failure},
};
use crate::{app::App, audit};

/// What refused changes call it.
const SINGULAR: &str = "session";

/// `GET …/sessions`
pub(super) async fn list(State(app): State<App>, person: Person) -> Result<Response, Failure> {
    let rights = person.rights(&app).await?;
    let sees_all = rights.may(Verb::List, HubResource::Sessions, None);
    let items = app.sessions.list(|one| sees_all || person.has(one));
    Ok(reply::json(StatusCode::OK, &SessionList { items }))
}

/// `DELETE …/sessions/ID`
pub(super) async fn end(
    State(app): State<App>,
    person: Person,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Failure> {
    let id: SessionId = objects::name(path)?
        .parse()
        .map_err(|error: NameError| Failure::from(Status::bad_request(error.to_string())))?;
    let unknown = || Failure::from(Status::no_session(&id));
    let session = app.sessions.find(&id).ok_or_else(unknown)?;
    if !person.has(&session) {
        let rights = person.rights(&app).await?;
        let refused = person.refused_write(&app, Verb::Delete, SINGULAR, id.as_str());
        let may = |verb, name| rights.may(verb, HubResource::Sessions, name);
        let name = Some(id.as_str());
        if !may(Verb::Delete, name) {
            let is_visible = may(Verb::List, None) || may(Verb::Get, name);
            return Err(refused(match is_visible {
                true => Status::forbidden(
                    "you may not delete this session; ask an administrator of the hub",
                )
                .into(),
                false => unknown(),
            }));
        }
    }
    // Of two at once one ends it, and the other is told that it is gone.
    let taken = app.sessions.take(&id).ok_or_else(unknown)?;
    let session = taken.info();
    // Before the session's own last event.
    audit::session_killed(person.actor(), &session);
    let name = Printable::new(person.who.principal.user.as_str());
    taken.end(format!("ended by {name}"));
    Ok(reply::json(StatusCode::OK, &session))
}

impl Person {
    /// Whether the session is theirs.
    fn has(&self, session: &SessionInfo) -> bool {
        let principal = &self.who.principal;
        session.issuer == principal.issuer && session.subject == principal.subject
    }
}
