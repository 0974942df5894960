//! The agent itself: [`Agent::build`] constructs, [`Agent::run`] runs until it is told to stop.

use std::path::PathBuf;
use std::sync::Arc;

use kedge_service::files::{self, FileError};
use kedge_service::paths::NoCredentials;
use kedge_service::{
    Admin, Control, LogHandle, Notifier, Readiness, Shutdown, Stage, StopLimits, StopReport,
};
use kedge_tunnel::DialError;
use thiserror::Error;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, watch};

use crate::config::AgentConfig;
use crate::hub::{self, HubClient};
use crate::identity::{Identity, IdentityError, StateDir};
use crate::lock::{LockError, StateLock};
use crate::metrics::AgentMetrics;
use crate::reload::Reloader;
use crate::standing::Standing;
use crate::tunnel::Tunnel;
use crate::{control, joining};

/// What an agent is given by whoever starts it.
#[derive(Debug)]
pub struct Surroundings {
    /// Where the administration endpoint listens, if it is wanted.
    pub admin: Option<TcpListener>,
    /// The file that the configuration came from, and that a reload reads again.
    pub config: Option<PathBuf>,
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
    /// A credential is not there.
    #[error("cannot tell whom to believe to be the hub")]
    Credentials(#[source] NoCredentials),
    /// The hub's URL, certificate or proxy cannot be used.
    #[error("cannot prepare the way to the hub")]
    Dialer(#[source] DialError),
    /// Key or identity cannot be read.
    #[error("cannot read who this agent is")]
    Identity(#[source] IdentityError),
    /// The state folder is another agent's.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The state folder is not there and cannot be made.
    #[error("cannot keep the agent's state")]
    State(#[source] FileError),
}

impl BuildError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Credentials(_) => None,
            Self::Dialer(error) => error.hint(),
            Self::Identity(error) => error.hint(),
            Self::Lock(error) => error.hint(),
            Self::State(error) => error.hint(),
        }
    }
}

/// What all parts of a running agent share. Clones are handles to the same.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Key and identity.
    pub state: StateDir,
    /// The configuration as it is now.
    pub settings: watch::Receiver<Arc<AgentConfig>>,
    /// Counters.
    pub metrics: AgentMetrics,
    /// What the agent is doing.
    pub standing: Standing,
    /// Something has changed that ends a pause: look again at once.
    pub nudge: Arc<Notify>,
    /// When to stop.
    pub shutdown: Shutdown,
}

/// An agent, built and not yet running.
#[derive(Debug)]
pub struct Agent {
    shared: Shared,
    /// The way to the hub; none before it has joined.
    client: Option<HubClient>,
    admin: Option<Admin>,
    control: Vec<Control>,
    reloader: Reloader,
    notifier: Notifier,
    lock: StateLock,
}

impl Agent {
    /// Takes the state folder for itself, reads key and identity, and prepares the way to the hub.
    /// Nothing is dialled yet. An agent that has not joined is an agent all the same.
    ///
    /// # Errors
    ///
    /// [`BuildError`].
    pub fn build(config: AgentConfig, around: Surroundings) -> Result<Self, BuildError> {
        let state = StateDir::new(&config.state_dir);
        let identity = state.identity().map_err(BuildError::Identity)?;
        files::create_private_folder(state.path()).map_err(BuildError::State)?;
        let lock = StateLock::take(&state)?;
        let (metrics, readiness) = (AgentMetrics::new(), Readiness::new());
        let shutdown = around.shutdown;
        let notifier = around.notifier;
        let standing = Standing::new(notifier.clone(), readiness.clone(), shutdown.clone());
        let client = match identity {
            Some(identity) => Some(begin(&config, &identity, &state, &standing)?),
            None => None,
        };
        let admin = around.admin.map(|listener| {
            let registry = metrics.registry.clone();
            Admin::new(listener, readiness, registry, shutdown.clone())
        });
        let nudge = Arc::new(Notify::new());
        let (sender, settings) = watch::channel(Arc::new(config));
        let reloader = Reloader {
            path: around.config,
            settings: sender,
            log: around.log,
            standing: standing.clone(),
            nudge: Arc::clone(&nudge),
        };
        let shared = Shared {
            state,
            settings,
            metrics,
            standing,
            nudge,
            shutdown,
        };
        Ok(Self {
            shared,
            client,
            admin,
            control: Vec::new(),
            reloader,
            notifier,
            lock,
        })
    }

    /// Answers on these control sockets as well, as soon as it runs. They come last, since an agent that cannot be
    /// built should not have touched another one's socket.
    pub fn answer_on(&mut self, listeners: impl IntoIterator<Item = UnixListener>) {
        let router = control::router(self.shared.clone(), self.reloader.clone());
        let listeners = listeners.into_iter();
        self.control
            .extend(listeners.map(|listener| Control::new(listener, router.clone())));
    }

    /// The way to change its configuration while it runs.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Its counters.
    #[must_use]
    pub fn metrics(&self) -> AgentMetrics {
        self.shared.metrics.clone()
    }

    /// Runs until its [`Shutdown`] begins, and then through to the end.
    ///
    /// The service manager hears READY at once: whether the hub answers, or anybody has joined it, is no
    /// reason to hold up a boot.
    ///
    /// # Cancel safety
    ///
    /// Dropping it leaves its tasks to the [`Shutdown`].
    pub async fn run(self) -> StopReport {
        let Self {
            shared,
            client,
            admin,
            control,
            reloader: _,
            notifier,
            lock,
        } = self;
        let shutdown = shared.shutdown.clone();
        let tasks = shutdown.tasks();
        if let Some(admin) = admin {
            tasks.spawn("admin", admin.run(shutdown.clone()));
        }
        for control in control {
            tasks.spawn("control", control.run(shutdown.clone()));
        }
        if notifier.watchdog_period().is_some() {
            let shutdown = shutdown.clone();
            let feed = async move { notifier.feed_watchdog(shutdown.reached(Stage::Cut)).await };
            tasks.spawn("watchdog", feed);
        }
        let identity = shared.standing.identity();
        tracing::info!(
            hub = identity.as_ref().map(|(_, hub)| hub.to_string()),
            server = identity.as_ref().map(|(name, _)| name.to_string()),
            target = %shared.settings.borrow().target,
            version = crate::VERSION,
            "agent started"
        );
        shared.standing.ready();
        tasks.spawn("tunnel", keep(shared.clone(), client));
        tokio::select! {
            () = shutdown.reached(Stage::NotReady) => {}
            () = tasks.panicked() => shutdown.begin(),
            () = shutdown.sessions().panicked() => shutdown.begin(),
        }
        shared.standing.draining();
        tracing::info!(sessions = shutdown.sessions().count(), "agent stopping");
        let drain = shared.settings.borrow().limits.drain();
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

/// Joins first, when it has to, and then keeps the tunnel.
async fn keep(shared: Shared, client: Option<HubClient>) {
    let client = match client {
        Some(client) => Some(client),
        None => joining::joined(&shared).await,
    };
    if let Some(client) = client {
        let client = Arc::new(client);
        Tunnel { shared, client }.keep().await;
    }
}

/// The way to the hub that an identity names, which is what the agent is from now on.
pub(crate) fn begin(
    config: &AgentConfig,
    identity: &Identity,
    state: &StateDir,
    standing: &Standing,
) -> Result<HubClient, BuildError> {
    let key = state.key().map_err(BuildError::Identity)?;
    let trust = match config.trust().map_err(BuildError::Credentials)? {
        Some(trust) => trust,
        None => identity.trust(state).map_err(BuildError::Identity)?,
    };
    let url = config.hub.as_ref().unwrap_or(&identity.hub);
    let dialer = hub::dialer(url, trust).map_err(BuildError::Dialer)?;
    standing.is(identity.name.clone(), url.clone());
    Ok(HubClient::new(
        dialer,
        identity.name.clone(),
        identity.hub_id.clone(),
        key,
    ))
}
