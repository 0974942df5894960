//! Reading the configuration again, without dropping a session.

use std::path::PathBuf;
use std::sync::Arc;

use kedge_service::{ConfigError, LogConfig, LogHandle, report};
use tokio::sync::{Notify, watch};

use crate::config::AgentConfig;
use crate::standing::Standing;

/// Changes a running agent's configuration. Clones are handles.
#[derive(Clone, Debug)]
pub struct Reloader {
    pub(crate) path: Option<PathBuf>,
    pub(crate) settings: watch::Sender<Arc<AgentConfig>>,
    pub(crate) log: Option<LogHandle>,
    pub(crate) standing: Standing,
    pub(crate) nudge: Arc<Notify>,
}

impl Reloader {
    /// Reads the file that the configuration came from, and does as [`Self::reload`].
    ///
    /// # Errors
    ///
    /// As [`Self::reload`].
    pub fn again(&self) -> Result<Vec<&'static str>, ConfigError> {
        self.reload(AgentConfig::load(self.path.as_deref()))
    }

    /// Takes over what `newer` says about target, host keys, joining, limits and log level, and returns the keys that
    /// differ and need a restart. Sessions that are open keep the target they have. An agent that has not joined looks
    /// again whether it has.
    ///
    /// The service manager hears that a reload begins, and that it is over, whatever comes of it.
    ///
    /// # Errors
    ///
    /// The configuration's own, which then has changed nothing.
    pub fn reload(
        &self,
        newer: Result<AgentConfig, ConfigError>,
    ) -> Result<Vec<&'static str>, ConfigError> {
        self.standing.reloading();
        let done = newer.map(|newer| self.take_over(newer));
        let stale = done.as_ref().err().map(|error| {
            let reason = report::chain(error);
            tracing::error!(error = reason, "cannot reload; the old configuration stays");
            format!("the old configuration stays: {reason}")
        });
        self.standing.reloaded(stale);
        self.nudge.notify_one();
        done
    }

    fn take_over(&self, newer: AgentConfig) -> Vec<&'static str> {
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
            join: newer.join,
            limits: newer.limits,
            log: LogConfig {
                level: newer.log.level,
                format: older.log.format,
            },
            ..AgentConfig::clone(&older)
        };
        self.settings.send_replace(Arc::new(settings));
        waiting
    }
}
