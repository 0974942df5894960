//! The door: who calls, before anything is done for them.
//!
//! A token is read from `Authorization: Bearer` alone: never from the URL, where logs and histories keep it. Whoever
//! fails is told that they failed and nothing else; the audit log has the reason. A source that fails too often is
//! answered 429, without a line in the audit log for each; what proves itself passes from there all the same, because
//! an address may stand for a whole site behind a NAT. Whose token cannot be verified, because its issuer does not answer,
//! is told so (503): that is nobody's failure.

use std::{net::IpAddr, time::Instant};

use axum::extract::{FromRequestParts, OriginalUri};
use http::{HeaderMap, header, request::Parts};
use kedge_api::{AgentPublicKey, AuthMethod, JoinTokenSecret, Line, Server, ServerName, assertion};

use super::{
    reply::Failure,
    source::{self, Peer},
};
use crate::{
    app::App,
    audit, defaults,
    metrics::{Caller, Outcome, Stage},
    people::{Authenticated, UnknownToken},
    replay::ReplayError,
};

/// A person who has proved who they are.
#[derive(Clone, Debug)]
pub struct Person {
    /// Who.
    pub who: Authenticated,
    /// From where.
    pub from: IpAddr,
}

impl Person {
    /// Who did it, for the audit log.
    pub fn actor(&self) -> audit::Actor<'_> {
        audit::Actor {
            principal: &self.who.principal,
            from: self.from,
        }
    }
}

impl Person {
    /// Whether one more of their refusals is written down. Somebody who is refused without end is, as often as they may
    /// ask for sessions.
    pub(crate) fn may_be_noted(&self, app: &App) -> bool {
        let principal = &self.who.principal;
        let source = (
            principal.issuer.as_str().to_owned(),
            principal.subject.as_str().to_owned(),
        );
        app.openings.take(source, Instant::now()).is_ok()
    }
}

/// An agent that has proved which server it is.
#[derive(Clone, Debug)]
pub struct Agent {
    /// The server as stored.
    pub server: Server,
    /// The key that proved it.
    pub key: AgentPublicKey,
    /// From where.
    pub from: IpAddr,
}

/// Somebody with a join token that is yet to be looked at.
#[derive(Debug)]
pub struct Joiner {
    /// What they showed.
    pub secret: JoinTokenSecret,
    /// From where.
    pub from: IpAddr,
}

/// Anybody, known by address alone.
#[derive(Clone, Copy, Debug)]
pub struct Anybody {
    /// From where.
    pub from: IpAddr,
}

impl FromRequestParts<App> for Anybody {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let peer = parts
            .extensions
            .get::<Peer>()
            .copied()
            .ok_or_else(|| Failure::internal("a request without its peer's address"))?;
        Ok(Self {
            from: source::address(peer, &parts.headers, &app.settings.trusted_proxies),
        })
    }
}

impl FromRequestParts<App> for Person {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let begun = Instant::now();
        let Anybody { from } = Anybody::from_request_parts(parts, app).await?;
        let refuse = |reason: &str| refused(app, Caller::Person, from, path(parts), reason);
        let token = bearer(&parts.headers).map_err(refuse)?;
        let who = match app.people.authenticate(token).await {
            Ok(who) => who,
            Err(UnknownToken::Unavailable { issuer, cause }) => {
                return Err(unavailable(app, issuer.as_ref(), &cause));
            }
            Err(error) => {
                if let UnknownToken::Invalid(error) = &error {
                    app.metrics.token_verified(error.reason());
                }
                return Err(refuse(&kedge_service::report::chain(&error)));
            }
        };
        if who.principal.method == AuthMethod::Oidc {
            app.metrics.token_verified("accepted");
        }
        app.metrics.authenticated(Caller::Person, Outcome::Accepted);
        app.metrics.stage(Stage::Authenticate, begun.elapsed());
        Ok(Self { who, from })
    }
}

impl FromRequestParts<App> for Agent {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let begun = Instant::now();
        let Anybody { from } = Anybody::from_request_parts(parts, app).await?;
        let refuse = |reason: &str| refused(app, Caller::Agent, from, path(parts), reason);
        let token = bearer(&parts.headers).map_err(refuse)?;
        let claimed =
            assertion::claimed_server(token).map_err(|error| refuse(&error.to_string()))?;
        let stored = app.store.find::<Server>(&claimed).await?;
        let key = stored.as_ref().and_then(|server| server.spec.agent_key);
        // A name that is not there is verified like one that is, so that the time does not tell them apart.
        let now = app.clock.now();
        let verified = assertion::verify(token, &key.unwrap_or_else(nobodys_key), &app.id, now);
        let (Some(server), Some(key)) = (stored, key) else {
            return Err(refuse(&format!("server `{claimed}` is not enrolled")));
        };
        let verified = verified.map_err(|error| refuse(&kedge_service::report::chain(&error)))?;
        spend(app, &verified, now).map_err(|error| match error {
            ReplayError::Full => {
                Failure::unavailable("too many agents at once", defaults::RETRY_AFTER)
            }
            ReplayError::Replayed => refuse(&error.to_string()),
        })?;
        app.metrics.authenticated(Caller::Agent, Outcome::Accepted);
        app.metrics.stage(Stage::Authenticate, begun.elapsed());
        Ok(Self { server, key, from })
    }
}

impl FromRequestParts<App> for Joiner {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let Anybody { from } = Anybody::from_request_parts(parts, app).await?;
        let secret = bearer(&parts.headers)
            .and_then(|token| token.parse().map_err(|_| "not a join token"))
            .map_err(|reason| refused(app, Caller::Agent, from, path(parts), reason))?;
        Ok(Self { secret, from })
    }
}

/// Remembers an assertion so that it is good once.
///
/// # Errors
/// [`ReplayError`].
pub fn spend(
    app: &App,
    verified: &assertion::Verified,
    now: kedge_api::Time,
) -> Result<(), ReplayError> {
    app.replay.spend(
        verified.server.as_str(),
        verified.nonce.as_str(),
        verified.expires.timestamp(),
        now.timestamp(),
    )
}

/// Says no, counts it against the source, and tells the audit log why, unless the source fails too often.
fn refused(app: &App, caller: Caller, from: IpAddr, path: &str, reason: &str) -> Failure {
    match failed(app, caller, from) {
        Ok(failure) => {
            audit::authentication_refused(caller.label(), from, path, reason);
            failure
        }
        Err(limited) => limited,
    }
}

/// Says that nobody can tell now whether a token holds. It is not the caller's fault, so it counts against nobody; and
/// not a line for each in the audit log, because one who has no good token at all could write as many.
fn unavailable(app: &App, issuer: Option<&Line>, cause: &str) -> Failure {
    app.metrics
        .authenticated(Caller::Person, Outcome::Unavailable);
    app.metrics.token_verified("unavailable");
    let issuer = issuer.map(Line::as_str).unwrap_or_default();
    tracing::debug!(issuer, cause, "a token cannot be verified");
    let whose = if issuer.is_empty() {
        "its issuer".to_owned()
    } else {
        format!("the issuer `{issuer}`")
    };
    let words = format!(
        "the hub cannot verify your token, because it cannot get the keys of {whose}; try again later"
    );
    Failure::unavailable(words, defaults::ISSUER_RETRY_AFTER)
}

/// Counts a failure against its source. The answer is for the audit log too.
///
/// # Errors
/// The answer to a source that fails too often; the audit log has had enough of it.
pub fn failed(app: &App, caller: Caller, from: IpAddr) -> Result<Failure, Failure> {
    match app.failures.take(from, Instant::now()) {
        Ok(()) => {
            app.metrics.authenticated(caller, Outcome::Refused);
            Ok(Failure::unauthorized())
        }
        Err(wait) => {
            app.metrics.authenticated(caller, Outcome::Limited);
            let words = "too many failed authentications from your address";
            Err(Failure::too_many(words, wait))
        }
    }
}

/// The path as it was asked for: routes that are nested see only what is left of it.
fn path(parts: &Parts) -> &str {
    match parts.extensions.get::<OriginalUri>() {
        Some(OriginalUri(uri)) => uri.path(),
        None => parts.uri.path(),
    }
}

/// The one bearer token of a request.
fn bearer(headers: &HeaderMap) -> Result<&str, &'static str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err("not exactly one Authorization header");
    };
    let value = value
        .to_str()
        .map_err(|_| "an Authorization header that is no text")?;
    if value.len() > defaults::TOKEN_BYTES {
        return Err("a token longer than any");
    }
    let (scheme, token) = value
        .split_once(' ')
        .ok_or("an Authorization header without a token")?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err("an Authorization header of another scheme");
    }
    Ok(token.trim())
}

/// A key whose private half nobody has: the neutral point of the curve verifies nothing that was not made for it, and
/// its answer is not looked at.
#[expect(
    clippy::expect_used,
    reason = "a constant of this crate, parsed by a test"
)]
fn nobodys_key() -> AgentPublicKey {
    "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
        .parse()
        .expect("32 bytes in base64")
}

/// The name in a path, or the answer that it is none.
///
/// # Errors
/// 400 with the reason.
pub(super) fn server_name(text: &str) -> Result<ServerName, Failure> {
    text.parse().map_err(|error: kedge_api::NameError| {
        kedge_api::Status::bad_request(error.to_string()).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Result<String, &'static str> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::AUTHORIZATION, line.parse().unwrap());
        }
        bearer(&headers).map(str::to_owned)
    }

    #[test]
    fn exactly_one_bearer_token_is_read() {
        assert_eq!(read(&["Bearer kpt_x"]).unwrap(), "kpt_x");
        assert_eq!(read(&["bearer  kpt_x "]).unwrap(), "kpt_x");
        for bad in [
            &[][..],
            &["Bearer a", "Bearer b"],
            &["Basic a"],
            &["kpt_x"],
            &[""],
        ] {
            read(bad).unwrap_err();
        }
        read(&[&format!("Bearer {}", "x".repeat(defaults::TOKEN_BYTES))]).unwrap_err();
    }

    #[test]
    fn the_key_of_nobody_parses() {
        let _ = nobodys_key();
    }
}
