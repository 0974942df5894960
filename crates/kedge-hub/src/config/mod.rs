//! `hub.toml`: what it may say, and what the hub makes of it.
//!
//! [`Config`] is the file as written, [`Settings`] is what the hub runs on: every name a type, every pair of keys
//! that exclude each other settled, every error with its file, line and key. Each table has a file here.

mod issuers;
mod limits;
mod people;
mod store;
mod tls;

#[cfg(test)]
mod tests;

use std::{
    net::SocketAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
};

use ipnet::IpNet;
use kedge_api::{HubName, LoginMapping, Suffix};
use kedge_service::{ConfigError, LogConfig, Source};
use schemars::JsonSchema;
use serde::Deserialize;

pub use issuers::{IssuerConfig, IssuerSettings};
pub use limits::{
    HistoryConfig, HistorySettings, Limits, LimitsConfig, SessionConfig, SessionSettings,
    ShutdownConfig, ShutdownTimes, TunnelConfig, TunnelSettings,
};
pub use people::{Admins, AdminsConfig, LoginConfig, PersonConfig};
pub use store::{
    KubernetesConfig, SecretsConfig, SecretsSettings, StoreConfig, StoreKind, StoreSettings,
};
pub use tls::{TlsConfig, TlsMode};

use crate::{defaults, people::Person, tls::Tls};

/// The hub's configuration file.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Address and port for people, servers and agents: HTTPS, or plain HTTP with `tls.mode = "off"`.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// Folder of the store and of the self-signed certificate. Made with mode 0700 when it is absent.
    #[schemars(with = "String")]
    pub state_dir: PathBuf,
    /// Name of the hub, shown to people.
    pub name: String,
    /// Suffix of host names: with `kedge`, the server `web01` is `ssh web01.kedge`.
    pub suffix: String,
    /// Threads that carry connections, from 1 to 1024. Unless given there is one for each core that the hub may use.
    #[schemars(range(min = 1, max = 1024))]
    pub threads: Option<u16>,
    /// Where objects are kept.
    pub store: StoreConfig,
    /// The keys that servers are reached with, where the hub signs for people.
    pub secrets: SecretsConfig,
    /// Networks of proxies whose `X-Forwarded-For` is believed. From anybody else it is ignored.
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Vec<IpNet>,
    /// The certificate.
    pub tls: TlsConfig,
    /// The endpoint for operators and probes.
    pub admin: AdminConfig,
    /// Who may read and change everything, whatever policies say.
    pub admins: AdminsConfig,
    /// How a person with a static token becomes a unix user.
    pub login: LoginConfig,
    /// OpenID Connect issuers whose people and workloads are let in.
    pub issuers: Vec<IssuerConfig>,
    /// People known by a static token, for trying out. A hub without people and without issuers refuses people.
    pub people: Vec<PersonConfig>,
    /// How long sessions last.
    pub session: SessionConfig,
    /// How much at once.
    pub limits: LimitsConfig,
    /// How far the ends of a stream may run ahead of each other.
    pub tunnel: TunnelConfig,
    /// What the hub remembers of sessions that were.
    pub history: HistoryConfig,
    /// How the hub stops.
    pub shutdown: ShutdownConfig,
    /// What is logged, and how.
    pub log: LogConfig,
}

/// The endpoint for operators and probes.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct AdminConfig {
    /// Address and port of `/live`, `/ready` and `/metrics`: plain HTTP without authentication, so keep it local.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
}

/// What the hub runs on.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Address of the HTTPS port.
    pub listen: SocketAddr,
    /// Address of the admin endpoint.
    pub admin_listen: SocketAddr,
    /// Folder of the state.
    pub state_dir: PathBuf,
    /// Name of the hub.
    pub name: HubName,
    /// Suffix of host names.
    pub suffix: Suffix,
    /// The certificate.
    pub tls: Tls,
    /// Threads that carry connections.
    pub threads: NonZeroUsize,
    /// Where objects are kept.
    pub store: StoreSettings,
    /// The keys that servers are reached with.
    pub secrets: SecretsSettings,
    /// Limits.
    pub limits: Limits,
    /// How much streams may hold.
    pub tunnel: TunnelSettings,
    /// How long sessions last.
    pub session: SessionSettings,
    /// What is remembered of them.
    pub history: HistorySettings,
    /// Shutdown.
    pub shutdown: ShutdownTimes,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// What a reload may change.
    pub roster: Roster,
    /// Logging.
    pub log: LogConfig,
}

/// The part that SIGHUP reads again.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    /// Who administers the hub whatever policies say.
    pub admins: Admins,
    /// Issuers whose tokens are accepted.
    pub issuers: Vec<Arc<IssuerSettings>>,
    /// People with static tokens.
    pub people: Vec<Person>,
    /// How people with static tokens become unix users.
    pub mapping: Arc<LoginMapping>,
}

impl Settings {
    /// Whether other hubs may work with the same objects.
    #[must_use]
    pub fn shares_store(&self) -> bool {
        self.store != StoreSettings::Embedded
    }
}

impl Config {
    /// Reads `path` and settles it.
    ///
    /// # Errors
    /// The first thing that is wrong with it, with file, line and key.
    pub fn load(path: &Path) -> Result<Settings, ConfigError> {
        let source = Source::read(path)?;
        source.parse::<Self>()?.settle(&source)
    }

    /// The same where the hub does not run: credentials that it names are believed to be there.
    ///
    /// # Errors
    /// The first thing that is wrong with it, with file, line and key.
    pub fn check(path: &Path) -> Result<Settings, ConfigError> {
        let source = Source::read(path)?.only_checked();
        source.parse::<Self>()?.settle(&source)
    }

    /// Checks what single values cannot show.
    ///
    /// # Errors
    /// The first thing that is wrong, named with its key.
    pub fn settle(self, source: &Source) -> Result<Settings, ConfigError> {
        let name = self
            .name
            .parse::<HubName>()
            .map_err(|error| source.refuse("name", error.to_string()))?;
        let suffix = self
            .suffix
            .parse::<Suffix>()
            .map_err(|error| source.refuse("suffix", error.to_string()))?;
        let store = self.store.settle(source)?;
        Ok(Settings {
            listen: self.listen,
            admin_listen: self.admin.listen,
            tls: self.tls.settle(source, &self.state_dir)?,
            secrets: self.secrets.settle(source, &self.state_dir, &store)?,
            store,
            state_dir: self.state_dir,
            name,
            suffix,
            threads: threads(self.threads, source)?,
            limits: self.limits.settle(source)?,
            tunnel: self.tunnel.settle(source)?,
            session: self.session.settle(source)?,
            history: self.history.settle(source)?,
            shutdown: self.shutdown.settle(),
            trusted_proxies: self.trusted_proxies,
            roster: Roster {
                admins: self.admins.settle(source)?,
                issuers: issuers::settle(self.issuers, source)?,
                people: people::settle(self.people, source)?,
                mapping: Arc::new(self.login.settle_for_people(source)?),
            },
            log: self.log,
        })
    }
}

/// As many as asked for; else one for each core.
fn threads(asked: Option<u16>, source: &Source) -> Result<NonZeroUsize, ConfigError> {
    let Some(asked) = asked else {
        return Ok(kedge_service::shards::cores());
    };
    NonZeroUsize::new(usize::from(asked))
        .filter(|_| asked <= defaults::THREADS_MAX)
        .ok_or_else(|| {
            let problem = format!("must be from 1 to {}", defaults::THREADS_MAX);
            source.refuse("threads", problem)
        })
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: address(defaults::LISTEN),
            state_dir: PathBuf::from(defaults::STATE_DIR),
            name: "main".to_owned(),
            suffix: "kedge".to_owned(),
            threads: None,
            store: StoreConfig::default(),
            secrets: SecretsConfig::default(),
            trusted_proxies: Vec::new(),
            tls: TlsConfig::default(),
            admin: AdminConfig::default(),
            admins: AdminsConfig::default(),
            login: LoginConfig::default(),
            issuers: Vec::new(),
            people: Vec::new(),
            session: SessionConfig::default(),
            limits: LimitsConfig::default(),
            tunnel: TunnelConfig::default(),
            history: HistoryConfig::default(),
            shutdown: ShutdownConfig::default(),
            log: LogConfig::default(),
        }
    }
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            listen: address(defaults::ADMIN_LISTEN),
        }
    }
}

#[expect(
    clippy::expect_used,
    reason = "constants of this crate, parsed by a test"
)]
fn address(text: &str) -> SocketAddr {
    text.parse().expect("a default address parses")
}
