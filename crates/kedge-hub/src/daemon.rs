//! The hub as a whole: built from its settings and listeners, then run to its end.
//!
//! ```text
//!  Settings + Listeners + Store ── build ─▶ Daemon ── run ─▶ StopReport
//!                                   │ join tokens reconciled, nobody Online
//! ```

use std::net::SocketAddr;

use kedge_api::HubId;
use kedge_service::{Admin, Metrics, Readiness, Shards, Shutdown, Stage, StopLimits, StopReport};
use kedge_store::{Health, MetaKey, StoreError};
use tokio::{net::TcpListener, sync::watch};
use tracing::{error, info, warn};

use crate::{
    app::{App, Parts},
    clock::Clock,
    config::Settings,
    defaults, enrol, history,
    metrics::HubMetrics,
    people, presence,
    serve::Server,
    stores::Stores,
    tls::{Certificate, Reload, TlsError},
    watcher,
};

/// Ports, bound by the caller.
#[derive(Debug)]
pub struct Listeners {
    /// For people, servers and agents.
    pub https: Vec<TcpListener>,
    /// For operators and probes.
    pub admin: Vec<TcpListener>,
}

/// Why a hub cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A listener has no address.
    #[error("learn the address of a listener")]
    Address(#[source] std::io::Error),
    /// There is nothing to listen on.
    #[error("no listener for {what}")]
    NoListener {
        /// Which.
        what: &'static str,
    },
    /// No randomness for the hub's id.
    #[error("make the hub's id")]
    Random(#[source] kedge_api::random::RandomError),
    /// The store failed.
    #[error("prepare the store")]
    Store(#[source] StoreError),
    /// The id in the store is none.
    #[error("the store holds a hub id that is none")]
    StoredId(#[source] kedge_api::NameError),
    /// The certificate.
    #[error("prepare the certificate")]
    Tls(#[source] TlsError),
}

/// A hub that is about to run.
#[derive(Debug)]
pub struct Daemon {
    app: App,
    health: Option<watch::Receiver<Health>>,
    server: Server,
    admins: Vec<Admin>,
    certificate: Option<Certificate>,
    https: SocketAddr,
    admin: SocketAddr,
}

/// Changes what a running hub may change without a restart.
#[derive(Clone, Debug)]
pub struct Reloader {
    app: App,
    certificate: Option<Certificate>,
}

impl Daemon {
    /// Builds a hub, and puts what a killed one left behind in order: servers that nobody is connected to are not
    /// `Online`, uses of join tokens without a server are given back.
    ///
    /// # Errors
    /// [`BuildError`].
    ///
    /// # Cancel safety
    /// When dropped, nothing is half-done that the next start does not finish.
    pub async fn build(
        settings: Settings,
        listeners: Listeners,
        stores: Stores,
        clock: Clock,
        shards: Shards,
        shutdown: Shutdown,
    ) -> Result<Self, BuildError> {
        let Listeners { https, admin } = listeners;
        let Stores {
            store,
            secrets,
            shared,
        } = stores;
        let address = |listeners: &[TcpListener], what| {
            let first = listeners.first().ok_or(BuildError::NoListener { what })?;
            first.local_addr().map_err(BuildError::Address)
        };
        let https_address = address(&https, "https")?;
        let admin_address = address(&admin, "admin")?;
        let certificate = Certificate::load(&settings.tls).map_err(BuildError::Tls)?;
        let pin = certificate
            .as_ref()
            .filter(|c| c.is_self_signed())
            .map(Certificate::pin);
        let fresh = HubId::from_bytes(kedge_api::random::bytes().map_err(BuildError::Random)?);
        let id = store
            .init_meta(MetaKey::HubId, fresh.as_str().to_owned())
            .await
            .map_err(BuildError::Store)?
            .parse()
            .map_err(BuildError::StoredId)?;
        let metrics = Metrics::new("hub", env!("CARGO_PKG_VERSION"));
        let readiness = Readiness::new();
        let app = App::new(Parts {
            settings,
            id,
            pin,
            store,
            secrets,
            clock,
            metrics: HubMetrics::new(&metrics),
            readiness: readiness.clone(),
            shards,
            shutdown: shutdown.clone(),
        });
        enrol::reconcile(&app).await.map_err(BuildError::Store)?;
        presence::settle_all(&app)
            .await
            .map_err(BuildError::Store)?;
        if let Err(error) = app.policies.current(&*app.store).await {
            // The administrators of the configuration can still repair it, so the hub starts.
            error!(cause = %error, "nobody is let in while a policy cannot be read; remove it and write it anew");
        }
        people::restore(&app).await;
        let tls = match &certificate {
            Some(certificate) => Some(certificate.server_config().map_err(BuildError::Tls)?),
            None => None,
        };
        let server = Server::new(app.clone(), https, tls);
        let admins = admin
            .into_iter()
            .map(|listener| {
                Admin::new(
                    listener,
                    readiness.clone(),
                    metrics.clone(),
                    shutdown.clone(),
                )
            })
            .collect();
        Ok(Self {
            app,
            health: shared.map(|shared| shared.health),
            server,
            admins,
            certificate,
            https: https_address,
            admin: admin_address,
        })
    }

    /// Where people, servers and agents connect.
    #[must_use]
    pub fn https(&self) -> SocketAddr {
        self.https
    }

    /// Where operators and probes connect.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The shared state, for tests.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.app
    }

    /// The pin of a self-signed certificate.
    #[must_use]
    pub fn pin(&self) -> Option<String> {
        self.app.pin.map(|pin| pin.to_string())
    }

    /// What SIGHUP does.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        Reloader {
            app: self.app.clone(),
            certificate: self.certificate.clone(),
        }
    }

    /// Runs until somebody begins the shutdown, and through it.
    ///
    /// # Cancel safety
    /// When dropped, the hub's tasks go on without anybody who ends them.
    pub async fn run(self) -> StopReport {
        let Self {
            app,
            health,
            server,
            admins,
            certificate,
            ..
        } = self;
        let shutdown = app.shutdown.clone();
        for admin in admins {
            shutdown.tasks().spawn("admin", admin.run(shutdown.clone()));
        }
        shutdown
            .tasks()
            .spawn("presence", presence::run(app.clone()));
        shutdown.tasks().spawn("watcher", watcher::run(app.clone()));
        shutdown.tasks().spawn("history", history::run(app.clone()));
        shutdown
            .tasks()
            .spawn("history-pruning", history::prune(app.clone()));
        shutdown.tasks().spawn("issuers", people::run(app.clone()));
        if let Some(certificate) = certificate {
            shutdown
                .tasks()
                .spawn("certificate", look_at(certificate, shutdown.clone()));
        }
        if let Some(health) = health {
            shutdown
                .tasks()
                .spawn("store-health", note_health(app.clone(), health));
        }
        shutdown.tasks().spawn("https", server.run());
        let times = &app.settings.shutdown;
        let limits = StopLimits {
            not_ready: times.lame_duck,
            drain: times.drain,
            cut: defaults::CUT,
            ..StopLimits::default()
        };
        let report = shutdown.sequence(limits).await;
        info!(
            cut_sessions = report.cut_sessions,
            left_tasks = report.left_tasks,
            "hub stopped"
        );
        report
    }
}

impl Reloader {
    /// Takes people, issuers, administrators and login mappings from `settings`, and the certificate from its files.
    /// Sessions of people who are no longer there, or whose issuer is not, end within seconds.
    pub fn reload(&self, settings: &Settings) {
        self.app.people.replace(settings.roster.clone());
        info!(
            people = settings.roster.people.len(),
            issuers = settings.roster.issuers.len(),
            "configuration reloaded"
        );
        if let Some(certificate) = &self.certificate {
            reload_certificate(certificate);
        }
    }
}

/// Has `/ready` say when the store is not heard of. It stays ready: what is known is served, and no other hub knows more.
async fn note_health(app: App, mut health: watch::Receiver<Health>) {
    loop {
        let lines = match &*health.borrow_and_update() {
            Health::Connected { .. } => Vec::new(),
            ill => vec![format!("store: {ill}")],
        };
        app.readiness.note("store", lines);
        tokio::select! {
            () = app.shutdown.reached(Stage::Cut) => return,
            changed = health.changed() => if changed.is_err() { return },
        }
    }
}

async fn look_at(certificate: Certificate, shutdown: Shutdown) {
    let mut ticks = tokio::time::interval(defaults::CERTIFICATE_POLL);
    loop {
        tokio::select! {
            () = shutdown.reached(Stage::Cut) => return,
            _ = ticks.tick() => reload_certificate(&certificate),
        }
    }
}

fn reload_certificate(certificate: &Certificate) {
    match certificate.reload() {
        Ok(Reload::Replaced) => info!(pin = %certificate.pin(), "another certificate is in use"),
        Ok(Reload::Unchanged) => {}
        Err(error) => {
            let cause = kedge_service::report::chain(&error);
            warn!(
                cause,
                "the certificate's files changed and cannot be used; the old one stays"
            );
        }
    }
}
