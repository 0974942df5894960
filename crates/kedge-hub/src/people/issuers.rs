//! The issuers' keys: fetched, kept fresh, remembered, and told of where operators look.
//!
//! * [`Verifier`](kedge_identity::Verifier) fetches them, each issuer with the authorities of its configuration and the
//!   proxy of the environment;
//! * `/ready` has a line for each issuer whose keys are old or missing, and stays ready: whoever shows a token that can
//!   be verified goes on, and a hub that is taken out of a balancer would cut them off;
//! * the keys are kept in the store, so that a hub that starts while an issuer is down still knows its people.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use kedge_identity::{HttpClient, HttpError, IssuerHealth, IssuerRules, IssuerState};
use kedge_service::{Stage, report};
use kedge_tunnel::{ProxyEnvironment, ProxyPolicy, Trust, WebClient};

use crate::{app::App, config::IssuerSettings};

/// How each issuer's tokens are judged, and how it is reached.
pub(super) fn rules(issuers: &[Arc<IssuerSettings>]) -> Vec<IssuerRules> {
    let proxy =
        ProxyPolicy::FromEnvironment(ProxyEnvironment::read(|name| std::env::var(name).ok()));
    issuers
        .iter()
        .map(|issuer| IssuerRules {
            url: issuer.url.clone(),
            audiences: issuer.audiences.clone(),
            authorized_parties: issuer.authorized_parties.clone(),
            algorithms: issuer.algorithms.clone(),
            user_claim: issuer.user_claim.clone(),
            groups_claim: issuer.groups_claim.clone(),
            http: client(issuer, proxy.clone()),
        })
        .collect()
}

/// What asks an issuer. Authorities that cannot be used are an issuer that cannot be reached: the hub starts, and says
/// so.
fn client(issuer: &IssuerSettings, proxy: ProxyPolicy) -> HttpClient {
    let trust = match &issuer.authorities {
        Some(pem) => Trust::Pem(Bytes::from(pem.clone())),
        None => Trust::System,
    };
    let agent = concat!("kedge-hub/", env!("CARGO_PKG_VERSION"));
    let web = WebClient::new(trust, proxy)
        .map(|web| web.with_user_agent(agent))
        .map_err(|error| report::chain(&error));
    HttpClient::new(move |request, limit| Box::pin(send(web.clone(), request, limit)))
}

async fn send(
    web: Result<WebClient, String>,
    request: Request<Bytes>,
    limit: usize,
) -> Result<Response<Bytes>, HttpError> {
    let url = request.uri().to_string();
    match web {
        Ok(web) => web.fetch(request, limit).await.map_err(|error| HttpError {
            url,
            cause: report::chain(&error),
        }),
        Err(cause) => Err(HttpError { url, cause }),
    }
}

/// Keeps the issuers' keys fresh, and tells how it stands with them, until the hub is cut.
///
/// # Cancel safety
/// When dropped, keys grow old.
pub async fn run(app: App) {
    let stop = app.shutdown.reached(Stage::Cut);
    let fetch = app.people.verifier.run(stop);
    tokio::join!(fetch, tell(&app));
}

async fn tell(app: &App) {
    let mut changes = app.people.verifier.changes();
    // Before the first fetch there is nothing to say in the log, and for whoever asks there is.
    let mut told = None;
    loop {
        changes.mark_unchanged();
        let health = app.people.verifier.health();
        if told.as_ref() != Some(&health) {
            if let Some(told) = &told {
                log(app, told, &health);
            }
            app.readiness.note(notes(app, &health));
            app.metrics.issuers(&health);
            told = Some(health);
        }
        tokio::select! {
            () = app.shutdown.reached(Stage::Cut) => return,
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

/// The lines in `/ready`.
fn notes(app: &App, health: &[IssuerHealth]) -> Vec<String> {
    let roster = app.people.roster();
    health
        .iter()
        .filter(|issuer| !matches!(issuer.state, IssuerState::Working { .. }))
        .filter_map(|issuer| {
            let name = &roster.issuer(issuer.issuer.as_str())?.name;
            Some(format!("issuer {name}: {}", issuer.state))
        })
        .collect()
}

fn log(app: &App, before: &[IssuerHealth], now: &[IssuerHealth]) {
    let roster = app.people.roster();
    for health in now {
        let earlier = before
            .iter()
            .find(|earlier| earlier.issuer == health.issuer)
            .map(|earlier| &earlier.state);
        let issuer = roster
            .issuer(health.issuer.as_str())
            .map(|issuer| issuer.name.to_string())
            .unwrap_or_default();
        let (keys, skipped) = (health.keys, health.skipped);
        if earlier == Some(&health.state) {
            continue;
        }
        match &health.state {
            IssuerState::Working { .. } => {
                tracing::info!(issuer, keys, skipped, "an issuer's keys were fetched");
            }
            IssuerState::Stale { cause, .. } => {
                tracing::warn!(
                    issuer,
                    cause,
                    "an issuer's keys cannot be refreshed; the old ones stay in use"
                );
            }
            IssuerState::Unreachable { cause } => {
                tracing::warn!(
                    issuer,
                    cause,
                    "an issuer's keys cannot be had; its people are told to come back"
                );
            }
        }
    }
}
