//! What people ask about themselves and about the hub.

use axum::{extract::State, response::Response};
use http::StatusCode;
use kedge_api::rest::WhoAmI;

use super::{
    auth::Person,
    reply::{self, Failure},
};
use crate::{app::App, people::Role};

/// `GET /.well-known/kedge`
pub(super) async fn discovery(State(app): State<App>) -> Response {
    reply::json(StatusCode::OK, &app.discovery())
}

/// `GET …/whoami`
pub(super) async fn whoami(State(app): State<App>, person: Person) -> Result<Response, Failure> {
    let hub_rights = person.rights(&app).await?.summary();
    let principal = &person.who.principal;
    let mapping = app.people.mapping(&principal.issuer).unwrap_or_default();
    let (login, login_error) = match mapping.from_claims(principal) {
        Ok(login) => (Some(login), None),
        Err(error) => (None, Some(kedge_service::report::chain(&error))),
    };
    let permissions = match person.who.role {
        Role::Admin => vec!["admin".to_owned()],
        Role::Person => Vec::new(),
    };
    let answer = WhoAmI {
        issuer: principal.issuer.clone(),
        subject: principal.subject.clone(),
        user: principal.user.clone(),
        groups: principal.groups.clone(),
        claims: principal.claims.clone(),
        method: principal.method.clone(),
        login,
        login_error,
        permissions,
        hub_rights,
        authenticated_at: principal.authenticated_at,
        expires_at: principal.expires_at,
    };
    Ok(reply::json(StatusCode::OK, &answer))
}
