//! What every part of the hub shares.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use kedge_api::{
    HubId, Line,
    rest::{Discovery, IssuerInfo},
};
use kedge_proto::SharedBudget;
use kedge_service::{Readiness, Shards, Shutdown};
use kedge_store::{SharedSecrets, SharedStore};
use kedge_tunnel::{CertificatePin, LinkConfig};
use tokio::sync::Semaphore;

use crate::{
    clock::Clock,
    config::Settings,
    defaults,
    enrol::Ledger,
    history::History,
    keyring::Keyring,
    metrics::HubMetrics,
    people::Directory,
    policies::Policies,
    presence::Presence,
    rate::{Rate, RateLimiter},
    registry::Registry,
    replay::ReplayCache,
    session::{Quota, Sessions},
    tunnel::Tunnel,
    watcher::Epoch,
};

/// The hub's shared state; clones are handles to the same.
#[derive(Clone, Debug)]
pub struct App(Arc<Inner>);

/// The parts of an [`App`].
#[derive(Debug)]
pub struct Inner {
    /// What the configuration says and a reload does not change.
    pub settings: Settings,
    /// Who this hub is to agents.
    pub id: HubId,
    /// The pin to tell, when the certificate is self-signed.
    pub pin: Option<CertificatePin>,
    /// Where objects are kept.
    pub store: SharedStore,
    /// The keys that servers are reached with.
    pub keyring: Keyring,
    /// What time it is.
    pub clock: Clock,
    /// Who the people are.
    pub people: Directory,
    /// The policies, ready to be evaluated.
    pub policies: Policies,
    /// Changes that live sessions must look at.
    pub epoch: Epoch,
    /// Which server is reached how.
    pub tunnels: Registry<kedge_api::ServerName, Tunnel>,
    /// What the streams of all links may hold.
    pub budget: SharedBudget,
    /// How that gets into the store.
    pub presence: Presence,
    /// Connections of people, so that one of them cannot take every place of the port.
    pub clients: Quota,
    /// What is going on.
    pub sessions: Sessions,
    /// What was.
    pub history: History,
    /// Numbers.
    pub metrics: HubMetrics,
    /// Assertions seen.
    pub replay: ReplayCache,
    /// Failed authentications by source.
    pub failures: RateLimiter,
    /// Enrolments by source and join token.
    pub enrolments: RateLimiter<(IpAddr, String)>,
    /// The uses of join tokens.
    pub ledger: Ledger,
    /// How often one person may ask for a session.
    pub openings: RateLimiter<(String, String)>,
    /// How often one person may ask the signer.
    pub signatures: RateLimiter<(String, String)>,
    /// Tunnels being admitted.
    pub admissions: Arc<Semaphore>,
    /// Watches open.
    pub watches: Arc<Semaphore>,
    /// What is missing for the hub to do its work.
    pub readiness: Readiness,
    /// The threads that carry connections.
    pub shards: Shards,
    /// How far the end has come.
    pub shutdown: Shutdown,
}

impl App {
    /// The shared state of a hub that is about to run.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts {
            settings,
            id,
            pin,
            store,
            secrets,
            clock,
            metrics,
            readiness,
            shards,
            shutdown,
        } = parts;
        let admissions = usize::try_from(settings.limits.handshakes).unwrap_or(usize::MAX);
        Self(Arc::new(Inner {
            id,
            pin,
            store,
            keyring: Keyring::new(secrets, settings.secrets.clone()),
            people: Directory::new(settings.roster.clone(), clock.clone()),
            clock,
            policies: Policies::default(),
            epoch: Epoch::default(),
            tunnels: Registry::new(),
            budget: SharedBudget::new(settings.tunnel.budget),
            presence: Presence::default(),
            clients: Quota::new(
                settings.limits.connections,
                settings
                    .limits
                    .sessions_per_principal
                    .saturating_mul(2)
                    .saturating_add(defaults::SPARE_CLIENTS),
            ),
            sessions: Sessions::new(
                settings.limits.sessions,
                settings.limits.sessions_per_principal,
            ),
            history: History::default(),
            metrics,
            replay: ReplayCache::new(defaults::REPLAY_ENTRIES),
            failures: RateLimiter::new(
                Rate {
                    burst: defaults::FAILURES_BURST,
                    refill: defaults::FAILURES_REFILL,
                },
                defaults::RATE_SOURCES,
            ),
            ledger: Ledger::default(),
            openings: RateLimiter::new(
                Rate {
                    burst: defaults::OPENINGS_BURST,
                    refill: defaults::OPENINGS_REFILL,
                },
                defaults::RATE_SOURCES,
            ),
            signatures: RateLimiter::new(
                Rate {
                    burst: defaults::SIGNATURES_BURST,
                    refill: defaults::SIGNATURES_REFILL,
                },
                defaults::RATE_SOURCES,
            ),
            enrolments: RateLimiter::new(
                Rate {
                    burst: defaults::ENROLMENTS_BURST,
                    refill: defaults::ENROLMENTS_REFILL,
                },
                defaults::RATE_SOURCES,
            ),
            admissions: Arc::new(Semaphore::new(admissions.min(Semaphore::MAX_PERMITS))),
            watches: Arc::new(Semaphore::new(defaults::WATCHES)),
            readiness,
            shards,
            shutdown,
            settings,
        }))
    }

    /// What a link with at most so many streams may.
    #[must_use]
    pub fn link_config(&self, max_streams: u32) -> LinkConfig {
        let tunnel = &self.settings.tunnel;
        LinkConfig {
            max_streams,
            budget: tunnel.link_budget,
            shared: Some(self.budget.clone()),
            initial_window: tunnel.window,
            window_cap: tunnel.window_max,
            ..LinkConfig::default()
        }
    }

    /// What the hub tells everybody about itself.
    #[must_use]
    pub fn discovery(&self) -> Discovery {
        let roster = self.people.roster();
        let mut methods = Vec::new();
        if !roster.issuers.is_empty() {
            methods.push(kedge_api::AuthMethod::Oidc);
        }
        if !roster.people.is_empty() {
            methods.push(kedge_api::AuthMethod::StaticToken);
        }
        let issuers = roster
            .issuers
            .iter()
            .filter_map(|issuer| {
                let client_id = issuer.client_id.clone()?;
                let besides = |accepted: &BTreeSet<String>| {
                    let mut besides = accepted.clone();
                    besides.remove(&client_id);
                    besides
                };
                Some(IssuerInfo {
                    name: issuer.name.clone(),
                    issuer: issuer.url.clone(),
                    audiences: besides(&issuer.audiences),
                    authorized_parties: besides(&issuer.authorized_parties),
                    client_id,
                    scopes: issuer.scopes.clone(),
                    public_client_secret: issuer.public_client_secret.clone(),
                    certificate_authorities: issuer.authorities.clone(),
                    authorization_parameters: issuer.authorization_parameters.clone(),
                    redirect_ports: issuer.redirect_ports.clone(),
                })
            })
            .collect();
        Discovery {
            id: self.id.clone(),
            name: self.settings.name.clone(),
            version: version(),
            protocols: kedge_tunnel::PROTOCOLS
                .iter()
                .rev()
                .map(|&name| name.to_owned())
                .collect(),
            authentication: kedge_api::rest::Authentication { methods, issuers },
            suffix: self.settings.suffix.clone(),
            certificate_pin: self.pin.map(|pin| pin.to_string()),
        }
    }
}

impl std::ops::Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// What a hub is made of.
#[derive(Debug)]
pub struct Parts {
    /// The configuration.
    pub settings: Settings,
    /// Who this hub is to agents.
    pub id: HubId,
    /// The pin to tell, when the certificate is self-signed.
    pub pin: Option<CertificatePin>,
    /// Where objects are kept.
    pub store: SharedStore,
    /// Where keys are kept.
    pub secrets: SharedSecrets,
    /// What time it is.
    pub clock: Clock,
    /// Numbers.
    pub metrics: HubMetrics,
    /// What is missing for the hub to do its work.
    pub readiness: Readiness,
    /// The threads that carry connections.
    pub shards: Shards,
    /// How far the end has come.
    pub shutdown: Shutdown,
}

/// This build's version.
#[expect(
    clippy::expect_used,
    reason = "a constant of this build, parsed by every test that starts a hub"
)]
pub(crate) fn version() -> Line {
    env!("CARGO_PKG_VERSION")
        .parse()
        .expect("a version is a line")
}
