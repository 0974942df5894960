//! A running `kedge-hub` with a configuration, a state folder and people of its own.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::census::{self, Census};
use crate::hub_options::{configuration, state_dir};
use crate::process::Daemon;
use crate::{defaults, wait};

pub use crate::hub_options::{
    HubOptions, KnownPerson, Tls, Trust, TrustedIssuer, new_token, quoted,
};

/// A running hub.
#[derive(Debug)]
pub struct Hub {
    options: HubOptions,
    daemon: Option<Daemon>,
    tokens: BTreeMap<String, String>,
    hashes: BTreeMap<String, String>,
    https: SocketAddr,
    admin: SocketAddr,
    pin: Option<String>,
}

impl Hub {
    /// Writes the configuration, makes the people's tokens and starts the hub on free ports.
    ///
    /// # Errors
    ///
    /// When it does not listen in time; shows its log.
    pub fn start(options: HubOptions) -> Result<Self> {
        fs::create_dir_all(&options.dir)
            .with_context(|| format!("make {}", options.dir.display()))?;
        let mut tokens = BTreeMap::new();
        let mut hashes = BTreeMap::new();
        for person in &options.people {
            let (token, hash) = new_token(&options.bins)?;
            tokens.insert(person.subject.clone(), token);
            hashes.insert(person.subject.clone(), hash);
        }
        fs::write(
            options.dir.join("hub.toml"),
            configuration(&options, &hashes),
        )?;
        let unspecified = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut hub = Self {
            options,
            daemon: None,
            tokens,
            hashes,
            https: unspecified,
            admin: unspecified,
            pin: None,
        };
        hub.launch()?;
        Ok(hub)
    }

    /// Starts the process again with the same configuration and state, on new ports.
    ///
    /// # Errors
    ///
    /// When one runs already, or it does not listen in time.
    pub fn launch(&mut self) -> Result<()> {
        ensure!(self.daemon.is_none(), "the hub runs already");
        let mut daemon =
            Daemon::spawn(&self.log_name(), self.command(&["run"]), &self.options.logs)?;
        let (https, admin, pin) = daemon.event("the hub to listen", defaults::START, |event| {
            let fields = event.get("fields").unwrap_or(event);
            let field = |name: &str| {
                fields
                    .get(name)
                    .and_then(|value| value.as_str())
                    .map(str::to_owned)
            };
            if field("message")? != "hub listening" {
                return None;
            }
            let address = |name: &str| -> Option<SocketAddr> {
                let text = field(name)?;
                let bare = text
                    .trim_start_matches("https://")
                    .trim_start_matches("http://");
                bare.trim_end_matches('/').parse().ok()
            };
            Some((
                address("https")?,
                address("admin")?,
                field("pin").filter(|pin| !pin.is_empty()),
            ))
        })?;
        (self.https, self.admin, self.pin) = (https, admin, pin);
        self.daemon = Some(daemon);
        Ok(())
    }

    /// Writes its configuration anew, with the same people's tokens, and has it read (SIGHUP).
    ///
    /// # Errors
    ///
    /// When the file cannot be written or the hub does not run.
    pub fn reconfigure(&mut self, change: impl FnOnce(&mut HubOptions)) -> Result<()> {
        change(&mut self.options);
        fs::write(
            self.config_path(),
            configuration(&self.options, &self.hashes),
        )?;
        self.signal(Signal::HUP)
    }

    /// Writes its configuration anew, for the next [`Self::launch`].
    ///
    /// # Errors
    ///
    /// When the change fails, or the file cannot be written.
    pub fn change(&mut self, change: impl FnOnce(&mut HubOptions) -> Result<()>) -> Result<()> {
        change(&mut self.options)?;
        let text = configuration(&self.options, &self.hashes);
        fs::write(self.config_path(), text).context("write hub.toml")
    }

    /// A `kedge-hub` command with this hub's configuration.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.options.bins.join("kedge-hub"));
        command.args(words).arg("--config").arg(self.config_path());
        command
            .env_remove("NOTIFY_SOCKET")
            .envs(self.options.environment.iter().cloned());
        command
    }

    /// Where its configuration is.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.options.dir.join("hub.toml")
    }

    /// Where its state is.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        state_dir(&self.options)
    }

    /// Its URL for agents and people.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_at(self.https)
    }

    /// Its URL as seen through a relay at `address`.
    #[must_use]
    pub fn url_at(&self, address: SocketAddr) -> String {
        match self.options.tls {
            Tls::Off => format!("http://{address}"),
            Tls::Files { .. } | Tls::SelfSigned => format!("https://{address}"),
        }
    }

    /// Where it listens for agents and people.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.https
    }

    /// Whether it speaks TLS.
    #[must_use]
    pub fn speaks_tls(&self) -> bool {
        !matches!(self.options.tls, Tls::Off)
    }

    /// Where its admin endpoint listens.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// How agents and people know that it is this hub.
    #[must_use]
    pub fn trust(&self) -> &Trust {
        &self.options.trust
    }

    /// The options by which `kedge login` and `kedge-agent join` know that it is this hub.
    #[must_use]
    pub fn trust_words(&self) -> Vec<String> {
        match (&self.options.trust, &self.pin) {
            (Trust::CaFile(path), _) => vec!["--ca-file".to_owned(), path.display().to_string()],
            (Trust::Pin, Some(pin)) => vec!["--pin".to_owned(), pin.clone()],
            (Trust::Pin, None) => Vec::new(),
        }
    }

    /// The pin of its certificate, as it printed it.
    #[must_use]
    pub fn pin(&self) -> Option<&str> {
        self.pin.as_deref()
    }

    /// The suffix of its servers' host names.
    #[must_use]
    pub fn suffix(&self) -> &str {
        &self.options.suffix
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// A person's token.
    ///
    /// # Errors
    ///
    /// For people it does not know.
    pub fn token(&self, subject: &str) -> Result<&str> {
        self.tokens
            .get(subject)
            .map(String::as_str)
            .with_context(|| format!("the hub knows no {subject}"))
    }

    /// The process.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn daemon(&mut self) -> Result<&mut Daemon> {
        self.daemon.as_mut().context("the hub does not run")
    }

    /// What it holds now.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn census(&mut self) -> Result<Census> {
        Census::of(self.daemon()?.pid())
    }

    /// Its metrics now.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn metrics(&self) -> Result<BTreeMap<String, f64>> {
        census::metrics(self.admin)
    }

    /// Waits until a metric, summed over its labels, is as wanted.
    ///
    /// # Errors
    ///
    /// When the time is up.
    pub fn metric(&self, name: &str, limit: Duration, wanted: impl Fn(f64) -> bool) -> Result<f64> {
        wait::until(&format!("the metric {name}"), limit, || {
            Ok(census::total(&self.metrics()?, name).filter(|value| wanted(*value)))
        })
    }

    /// SIGTERM and an orderly end.
    ///
    /// # Errors
    ///
    /// When it does not leave in time.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.daemon.take().context("the hub does not run")?.stop()
    }

    /// SIGKILL.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.daemon.take().context("the hub does not run")?.kill();
        Ok(())
    }

    /// A signal to the process.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.daemon()?.signal(signal)
    }

    /// Lets it live on; whoever reads the id ends it.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn leave(mut self) -> Result<u32> {
        Ok(self.daemon.take().context("the hub does not run")?.leave())
    }

    /// The audit events of this start, in order.
    ///
    /// # Errors
    ///
    /// When the log cannot be read.
    pub fn audit(&mut self) -> Result<Vec<serde_json::Value>> {
        let events = self.daemon()?.events()?;
        Ok(events.into_iter().filter(is_audit).collect())
    }

    /// Waits for an audit event that `wanted` accepts.
    ///
    /// # Errors
    ///
    /// When the time is up; shows the end of the log.
    pub fn audited(
        &mut self,
        what: &str,
        wanted: impl Fn(&serde_json::Value) -> bool,
    ) -> Result<serde_json::Value> {
        self.daemon()?.event(what, defaults::SOON, |event| {
            (is_audit(event) && wanted(event)).then(|| event.clone())
        })
    }

    fn log_name(&self) -> String {
        format!("hub-{}", self.options.name)
    }
}

/// A field of a log event, wherever the format puts it.
#[must_use]
pub fn field<'a>(event: &'a serde_json::Value, name: &str) -> Option<&'a serde_json::Value> {
    event
        .get("fields")
        .and_then(|fields| fields.get(name))
        .or_else(|| event.get(name))
}

/// A field of a log event as text.
#[must_use]
pub fn text<'a>(event: &'a serde_json::Value, name: &str) -> &'a str {
    field(event, name)
        .and_then(serde_json::Value::as_str)
        .unwrap_or_default()
}

fn is_audit(event: &serde_json::Value) -> bool {
    text(event, "target").contains("audit")
}
