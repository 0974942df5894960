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
use kedge_api::text::Printable;
use kedge_identity::{HttpClient, HttpError, IssuerHealth, IssuerRules, IssuerState, KeySnapshot};
use kedge_service::{Stage, report};
use kedge_store::MetaKey;
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

/// Takes the keys that another hub left in the store, so that its people are known before their issuers answer, and also
/// when these are down. Keys that cannot be read are fetched again; that is no reason not to start.
///
/// # Cancel safety
/// Safe: it takes them or does not.
pub async fn restore(app: &App) {
    let saved = match app.store.meta(MetaKey::IssuerKeys).await {
        Ok(Some(saved)) => saved,
        Ok(None) => return,
        Err(error) => {
            tracing::warn!(cause = %error, "the issuers' keys cannot be read from the store");
            return;
        }
    };
    match serde_json::from_str::<KeySnapshot>(&saved) {
        Ok(snapshot) => {
            let issuers = app.people.verifier.restore(snapshot);
            tracing::info!(issuers, "issuers' keys were taken from the store");
        }
        Err(error) => {
            tracing::warn!(cause = %error, "the issuers' keys in the store are unreadable");
        }
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
    let mut saved = app.people.verifier.snapshot();
    loop {
        changes.mark_unchanged();
        let health = app.people.verifier.health();
        app.readiness.note("issuers", notes(app, &health));
        app.metrics.issuers(&health);
        let snapshot = app.people.verifier.snapshot();
        if snapshot != saved {
            save(app, &snapshot).await;
            saved = snapshot;
        }
        tokio::select! {
            () = app.shutdown.reached(Stage::Cut) => return,
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

async fn save(app: &App, snapshot: &KeySnapshot) {
    let text = match serde_json::to_string(snapshot) {
        Ok(text) => text,
        Err(error) => {
            tracing::warn!(cause = %error, "the issuers' keys cannot be written down");
            return;
        }
    };
    if let Err(error) = app.store.set_meta(MetaKey::IssuerKeys, text).await {
        // They are in use all the same; only a restart while an issuer is down would miss them.
        tracing::warn!(cause = %error, "the issuers' keys cannot be kept in the store");
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
            // Why it cannot be reached may be in the issuer's own words.
            let state = issuer.state.to_string();
            Some(format!("issuer {name}: {}", Printable::new(&state)))
        })
        .collect()
}
