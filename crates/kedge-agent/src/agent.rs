//! The agent itself: [`Agent::build`] constructs, [`Agent::run`] runs until it is told to stop.

use std::path::PathBuf;
use std::sync::Arc;

use kedge_service::{
    Admin, ConfigError, LogHandle, Notifier, Readiness, Shutdown, Stage, StopLimits, StopReport,
    report,
};
use kedge_tunnel::DialError;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::config::AgentConfig;
use crate::hub::{self, HubClient};
use crate::identity::{Identity, IdentityError, StateDir};
use crate::lock::{LockError, StateLock};
use crate::metrics::AgentMetrics;
use crate::tunnel::Tunnel;

/// What an agent is given by whoever starts it.
#[derive(Debug)]
pub struct Surroundings {
    /// Where the administration endpoint listens, if it is wanted.
    pub admin: Option<TcpListener>,
    /// The running log, whose level a reload may change.
    pub log: Option<LogHandle>,
    /// The service manager.
    pub notifier: Notifier,
    /// When to stop.
    pub shutdown: Shutdown,
}

/// Why an agent cannot start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The hub's URL, certificate or proxy cannot be used.
    #[error("cannot prepare the way to the hub")]
    Dialer(#[source] DialError),
    /// Key or identity cannot be read.
    #[error("cannot read who this agent is")]
    Identity(#[source] IdentityError),
    /// The state folder is another agent's.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// It has not joined a hub.
    #[error("this agent has not joined a hub: there is no {}", path.display())]
    NotJoined {
        /// The file that joining would have written.
        path: PathBuf,
    },
}

impl BuildError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Dialer(error) => error.hint(),
            Self::Identity(error) => error.hint(),
            Self::Lock(error) => error.hint(),
            Self::NotJoined { .. } => Some("kedge-agent join HUB --token-file FILE".to_owned()),
        }
    }
}

/// An agent, built and not yet running.
#[derive(Debug)]
pub struct Agent {
    identity: Identity,
    tunnel: Tunnel,
    admin: Option<Admin>,
    reloader: Reloader,
    lock: StateLock,
}

impl Agent {
    /// Takes the state folder for itself, reads key and identity, and prepares the way to the hub.
    /// Nothing is dialled yet.
    ///
    /// # Errors
    ///
    /// [`BuildError`].
    pub fn build(config: AgentConfig, around: Surroundings) -> Result<Self, BuildError> {
        let Surroundings {
            admin,
            log,
            notifier,
            shutdown,
        } = around;
        let state = StateDir::new(&config.state_dir);
        let identity = state.identity().map_err(BuildError::Identity)?;
        let Some(identity) = identity else {
            return Err(BuildError::NotJoined {
                path: state.identity_path(),
            });
        };
        let lock = StateLock::take(&state)?;
        let key = state.key().map_err(BuildError::Identity)?;
        let trust = match config.trust() {
            Some(trust) => trust,
            None => identity.trust(&state).map_err(BuildError::Identity)?,
        };
        let url = config.hub.as_ref().unwrap_or(&identity.hub);
        let dialer = hub::dialer(url, trust).map_err(BuildError::Dialer)?;
        let client = HubClient::new(dialer, identity.name.clone(), identity.hub_id.clone(), key);
        let (metrics, readiness) = (AgentMetrics::new(), Readiness::new());
        readiness.missing("hub", "not dialled yet");
        let admin = admin.map(|listener| {
            Admin::new(
                listener,
                readiness.clone(),
                metrics.registry.clone(),
                shutdown.clone(),
            )
        });
        let (sender, settings) = watch::channel(Arc::new(config));
        let reloader = Reloader {
            settings: sender,
            log,
            notifier: notifier.clone(),
        };
        let client = Arc::new(client);
        let tunnel = Tunnel {
            client,
            settings,
            metrics,
            readiness,
            notifier,
            shutdown,
        };
        Ok(Self {
            identity,
            tunnel,
            admin,
            reloader,
            lock,
        })
    }

    /// The way to change its configuration while it runs.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Its counters.
    #[must_use]
    pub fn metrics(&self) -> AgentMetrics {
        self.tunnel.metrics.clone()
    }

    /// Runs until its [`Shutdown`] begins, and then through to the end.
    ///
    /// The service manager hears READY at once: whether the hub answers is no reason to hold up a
    /// boot.
    ///
    /// # Cancel safety
    ///
    /// Dropping it leaves its tasks to the [`Shutdown`].
    pub async fn run(self) -> StopReport {
        let Self {
            identity,
            tunnel,
            admin,
            reloader,
            lock,
        } = self;
        let shutdown = tunnel.shutdown.clone();
        let notifier = tunnel.notifier.clone();
        let tasks = shutdown.tasks();
        if let Some(admin) = admin {
            tasks.spawn("admin", admin.run(shutdown.clone()));
        }
        if notifier.watchdog_period().is_some() {
            let (notifier, shutdown) = (notifier.clone(), shutdown.clone());
            let feed = async move { notifier.feed_watchdog(shutdown.reached(Stage::Cut)).await };
            tasks.spawn("watchdog", feed);
        }
        let url = tunnel
            .client
            .dialer()
            .url()
            .as_str()
            .trim_end_matches('/')
            .to_owned();
        let target = reloader.settings.borrow().target.clone();
        tracing::info!(
            hub = url,
            server = identity.name.as_str(),
            %target,
            version = crate::VERSION,
            "agent started"
        );
        notifier.ready(&format!("connecting to {url} as {}", identity.name));
        tasks.spawn("tunnel", tunnel.keep());
        tokio::select! {
            () = shutdown.reached(Stage::NotReady) => {}
            () = tasks.panicked() => shutdown.begin(),
            () = shutdown.sessions().panicked() => shutdown.begin(),
        }
        let open = shutdown.sessions().count();
        notifier.stopping(&format!("stopping; {open} sessions may finish"));
        tracing::info!(sessions = open, "agent stopping");
        let drain = reloader.settings.borrow().limits.drain();
        let report = shutdown
            .sequence(StopLimits {
                drain,
                ..StopLimits::default()
            })
            .await;
        tracing::info!(
            cut_sessions = report.cut_sessions,
            left_tasks = report.left_tasks,
            "agent stopped"
        );
        drop(lock);
        report
    }
}

/// Changes a running agent's configuration. Clones are handles.
#[derive(Clone, Debug)]
pub struct Reloader {
    settings: watch::Sender<Arc<AgentConfig>>,
    log: Option<LogHandle>,
    notifier: Notifier,
}

impl Reloader {
    /// Takes over what `newer` says about target, host keys, limits and log level. Sessions that
    /// are open keep the target they have. A configuration that cannot be read changes nothing.
    pub fn reload(&self, newer: Result<AgentConfig, ConfigError>) {
        self.notifier.reloading();
        match newer {
            Ok(newer) => self.take_over(newer),
            Err(error) => {
                let reason = report::chain(&error);
                tracing::error!(error = reason, "cannot reload; the old configuration stays");
                self.notifier
                    .ready(&format!("the old configuration stays: {reason}"));
            }
        }
    }

    fn take_over(&self, newer: AgentConfig) {
        let older = Arc::clone(&self.settings.borrow());
        let waiting = older.fixed_changes(&newer);
        if !waiting.is_empty() {
            tracing::warn!(
                keys = waiting.join(", "),
                "these keys take effect at the next start"
            );
        }
        if let Some(log) = &self.log {
            log.set_level(&newer.log.level);
        }
        tracing::info!(target = %newer.target, level = %newer.log.level, "configuration reloaded");
        // What needs a restart stays as it is, so that the next reload names it again.
        let settings = AgentConfig {
            target: newer.target,
            host_keys: newer.host_keys,
            limits: newer.limits,
            log: kedge_service::LogConfig {
                level: newer.log.level,
                format: older.log.format,
            },
            ..AgentConfig::clone(&older)
        };
        self.settings.send_replace(Arc::new(settings));
        self.notifier.ready("configuration reloaded");
    }
}
