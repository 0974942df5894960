//! `agent.toml`: what it may hold, and what of it may change while the agent runs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use kedge_api::{HubUrl, Labels, ServerName};
use kedge_service::paths::NoCredentials;
use kedge_service::{ConfigError, ConfigPath, LogConfig, Source};
use kedge_tunnel::{CertificatePin, Trust};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use crate::defaults;
use crate::target::LocalTarget;

/// The configuration of an agent. Every key may be left out: `join` tells the agent what it needs.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct AgentConfig {
    /// The hub's URL, `https://host[:port]`. The one that `join` noted unless given: give it when
    /// the hub has moved.
    #[schemars(with = "Option<String>")]
    pub hub: Option<HubUrl>,
    /// The SHA-256 of the hub's own certificate, as the hub prints it at its start:
    /// `sha256:…`. The one that `join` noted unless given.
    pub pin: Option<Pin>,
    /// A PEM file of root certificates to believe instead of the system's. The one that `join`
    /// noted unless given. Excludes `pin`. `credential:NAME` is a credential of the service manager.
    pub ca_file: Option<ConfigPath>,
    /// The folder of the agent's key and identity; `join` makes it with mode 0700.
    #[schemars(default = "default_state_dir")]
    pub state_dir: PathBuf,
    /// Where sessions go: `tcp:127.0.0.1:PORT`, `tcp:[::1]:PORT`, `tcp:localhost:PORT` or
    /// `unix:/PATH`. Nothing else can be reached through this agent. Read again at a reload.
    #[schemars(default = "default_target")]
    pub target: LocalTarget,
    /// The public host keys of that sshd: paths, whose last part may contain `*` and `?`. Read
    /// again every minute; a change blocks the server at the hub until an operator accepts it.
    #[schemars(default = "default_host_keys")]
    pub host_keys: Vec<String>,
    /// The control socket, which `kedge agent status` asks: a path, or `off`. Made with mode 0600 where its folder
    /// is there and can be written. One that the service manager hands over is used in its place.
    #[schemars(default = "default_control_socket")]
    pub control_socket: ControlSocket,
    /// Joining without anybody's hand.
    pub join: Option<JoinConfig>,
    /// Limits.
    pub limits: Limits,
    /// The administration endpoint.
    pub admin: Option<AdminConfig>,
    /// Logging.
    pub log: LogConfig,
}

/// `[join]`: an agent that has not joined does so by itself. Once it has, the table means nothing.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct JoinConfig {
    /// The URL of the hub to join.
    #[schemars(with = "String")]
    pub hub: HubUrl,
    /// A file with the join token, readable by nobody else; `credential:NAME` is a credential of the service manager.
    /// Read again at each attempt.
    pub token_file: ConfigPath,
    /// The server's name. This machine's host name unless given.
    #[schemars(with = "Option<String>")]
    pub name: Option<ServerName>,
    /// Labels, for policies to select by.
    #[serde(default)]
    #[schemars(with = "std::collections::BTreeMap<String, String>")]
    pub labels: Labels,
    /// The SHA-256 of the hub's own certificate. The `pin` above unless given here.
    pub pin: Option<Pin>,
    /// A PEM file of root certificates to believe instead of the system's. The `ca-file` above unless given here.
    /// Excludes `pin`.
    pub ca_file: Option<ConfigPath>,
}

/// Where an agent answers to root on its own machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ControlSocket {
    /// Nowhere, unless the service manager says otherwise.
    Off,
    /// On this Unix socket.
    Path(PathBuf),
}

/// `[limits]`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// Sessions at once; one more is refused with a reason. Read again at a reload.
    #[schemars(range(min = 1, max = 65536), default = "default_max_sessions")]
    pub max_sessions: u32,
    /// Seconds that sessions may still take when the agent stops. Read again at a reload.
    #[schemars(default = "default_drain_seconds")]
    pub drain_seconds: u64,
}

/// `[admin]`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AdminConfig {
    /// Where `/live`, `/ready` and `/metrics` are served, such as `127.0.0.1:9444`. Not served
    /// unless given.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
}

/// A [`CertificatePin`] in a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pin(pub CertificatePin);

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            hub: None,
            pin: None,
            ca_file: None,
            state_dir: default_state_dir(),
            target: LocalTarget::default(),
            host_keys: default_host_keys(),
            control_socket: ControlSocket::default(),
            join: None,
            limits: Limits::default(),
            admin: None,
            log: LogConfig::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_sessions: default_max_sessions(),
            drain_seconds: default_drain_seconds(),
        }
    }
}

impl Limits {
    /// How long sessions may still take when the agent stops.
    #[must_use]
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }
}

impl Default for ControlSocket {
    fn default() -> Self {
        Self::Path(default_control_socket().into())
    }
}

impl AgentConfig {
    /// Reads the file at `path`; without one, that at [`defaults::CONFIG_PATH`] if it is there,
    /// and else nothing but defaults.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with file, line, column and key, also about a credential that this process was not given.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        Self::read(path, |source| {
            let config = Self::parse(source)?;
            for (key, path) in config.files() {
                source.locate(key, path)?;
            }
            Ok(config)
        })
    }

    /// The same where the agent does not run: credentials are believed to be there.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with file, line, column and key.
    pub fn check(path: Option<&Path>) -> Result<Self, ConfigError> {
        Self::read(path, Self::parse)
    }

    fn read(
        path: Option<&Path>,
        parse: impl FnOnce(&Source) -> Result<Self, ConfigError>,
    ) -> Result<Self, ConfigError> {
        match path {
            Some(path) => parse(&Source::read(path)?),
            None => match Source::read(Path::new(defaults::CONFIG_PATH)) {
                Err(ConfigError::Read(error)) if error.is_not_found() => Ok(Self::default()),
                source => parse(&source?),
            },
        }
    }

    /// Every file that it names and the agent reads, by its key.
    fn files(&self) -> impl Iterator<Item = (&'static str, &ConfigPath)> {
        let join = self.join.as_ref();
        let named = [
            ("ca-file", self.ca_file.as_ref()),
            ("join.token-file", join.map(|join| &join.token_file)),
            ("join.ca-file", join.and_then(|join| join.ca_file.as_ref())),
        ];
        named
            .into_iter()
            .filter_map(|(key, path)| Some((key, path?)))
    }

    /// Reads a configuration's text, and checks what its types alone cannot say.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with file, line, column and key.
    pub fn parse(source: &Source) -> Result<Self, ConfigError> {
        let config: Self = source.parse()?;
        if config.pin.is_some() && config.ca_file.is_some() {
            return Err(source.refuse("ca-file", "cannot stand beside `pin`: one of them decides"));
        }
        if let Some(join) = &config.join
            && join.pin.is_some()
            && join.ca_file.is_some()
        {
            let message = "cannot stand beside `pin`: one of them decides";
            return Err(source.refuse("join.ca-file", message));
        }
        if !config.state_dir.is_absolute() {
            return Err(source.refuse("state-dir", RELATIVE));
        }
        for (key, path) in config.files() {
            if !path.is_absolute() {
                return Err(source.refuse(key, RELATIVE));
            }
        }
        let join = config.join.as_ref();
        for (key, hub, pin) in [
            ("pin", config.hub.as_ref(), config.pin),
            (
                "join.pin",
                join.map(|join| &join.hub),
                join.and_then(|join| join.pin),
            ),
        ] {
            if hub.is_some_and(|hub| !hub.is_tls()) && pin.is_some() {
                return Err(source.refuse(key, "a hub reached by http:// shows no certificate"));
            }
        }
        if config.host_keys.is_empty() {
            let message = "name at least one file: people's ssh believes only reported host keys";
            return Err(source.refuse("host-keys", message));
        }
        for pattern in &config.host_keys {
            let folder = pattern.rsplit_once('/').map_or("", |(folder, _)| folder);
            if !pattern.starts_with('/') || folder.contains(['*', '?']) {
                let message = format!(
                    "`{}` is no absolute path with `*` and `?` in its last part only",
                    pattern.escape_debug()
                );
                return Err(source.refuse("host-keys", message));
            }
        }
        if !(1..=65536).contains(&config.limits.max_sessions) {
            return Err(source.refuse("limits.max-sessions", "must be from 1 to 65536"));
        }
        Ok(config)
    }

    /// What this file says about whom to believe to be the hub.
    ///
    /// # Errors
    ///
    /// [`NoCredentials`], which [`Self::load`] has looked for.
    pub fn trust(&self) -> Result<Option<Trust>, NoCredentials> {
        Ok(match (&self.pin, &self.ca_file) {
            (Some(pin), _) => Some(Trust::Pinned(vec![pin.0])),
            (None, Some(path)) => Some(Trust::Roots(path.find()?)),
            (None, None) => None,
        })
    }

    /// The keys that differ in `newer` and need a restart to take effect.
    #[must_use]
    pub fn fixed_changes(&self, newer: &Self) -> Vec<&'static str> {
        let listen = |config: &Self| config.admin.map(|admin| admin.listen);
        let differs = [
            ("hub", self.hub != newer.hub),
            ("pin", self.pin != newer.pin),
            ("ca-file", self.ca_file != newer.ca_file),
            ("state-dir", self.state_dir != newer.state_dir),
            (
                "control-socket",
                self.control_socket != newer.control_socket,
            ),
            ("admin.listen", listen(self) != listen(newer)),
            ("log.format", self.log.format != newer.log.format),
        ];
        differs
            .into_iter()
            .filter(|(_, differs)| *differs)
            .map(|(key, _)| key)
            .collect()
    }
}

impl<'de> Deserialize<'de> for Pin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        CertificatePin::from_str(&text)
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for ControlSocket {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            OFF => Ok(Self::Off),
            path if path.starts_with('/') => Ok(Self::Path(path.into())),
            _ => {
                let message = format!("a path that begins with /, or `{OFF}`");
                Err(serde::de::Error::custom(message))
            }
        }
    }
}

impl JsonSchema for ControlSocket {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ControlSocket".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

impl JsonSchema for Pin {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Pin".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

fn default_state_dir() -> PathBuf {
    defaults::STATE_DIR.into()
}

fn default_control_socket() -> &'static str {
    kedge_api::control::SOCKET
}

fn default_target() -> &'static str {
    defaults::TARGET
}

fn default_host_keys() -> Vec<String> {
    vec![defaults::HOST_KEYS.to_owned()]
}

fn default_max_sessions() -> u32 {
    defaults::MAX_SESSIONS
}

fn default_drain_seconds() -> u64 {
    defaults::DRAIN_SECONDS
}

/// What stands in place of a path where there is to be no socket.
const OFF: &str = "off";

/// What is wrong with a path that depends on where the program was started.
const RELATIVE: &str = "a path here begins with /";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<AgentConfig, String> {
        AgentConfig::parse(&Source::from_text("agent.toml", text))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_file_is_a_whole_configuration() {
        let config = parse("").unwrap();
        assert_eq!(config.target.to_string(), "tcp:127.0.0.1:22");
        assert_eq!(config.state_dir, Path::new("/var/lib/kedge-agent"));
        assert_eq!(config.limits.max_sessions, 256);
        assert!(config.trust().unwrap().is_none());
        assert!(config.hub.is_none() && config.admin.is_none() && config.join.is_none());
        let usual = Path::new("/run/kedge-agent/control.sock").to_owned();
        assert_eq!(config.control_socket, ControlSocket::Path(usual));
    }

    #[test]
    fn every_key_is_read() {
        let config = parse(
            "hub = \"https://hub.example:8443\"\n\
             ca-file = \"/etc/kedge/ca.pem\"\n\
             state-dir = \"/srv/agent\"\n\
             target = \"unix:/run/sshd.sock\"\n\
             host-keys = [\"/etc/ssh/*.pub\", \"/srv/key.pub\"]\n\
             control-socket = \"off\"\n\
             [join]\nhub = \"https://hub.example\"\ntoken-file = \"credential:join-token\"\n\
             name = \"web01\"\nlabels = { role = \"web\" }\nca-file = \"/etc/kedge/ca.pem\"\n\
             [limits]\nmax-sessions = 3\ndrain-seconds = 0\n\
             [admin]\nlisten = \"127.0.0.1:0\"\n\
             [log]\nlevel = \"debug\"\nformat = \"json\"\n",
        )
        .unwrap();
        assert_eq!(config.target.to_string(), "unix:/run/sshd.sock");
        assert!(
            matches!(config.trust().unwrap(), Some(Trust::Roots(path)) if path == Path::new("/etc/kedge/ca.pem"))
        );
        assert_eq!(config.control_socket, ControlSocket::Off);
        let join = config.join.unwrap();
        assert_eq!(join.name.unwrap(), "web01");
        assert_eq!(join.token_file.to_string(), "credential:join-token");
        assert_eq!(join.labels.len(), 1);
        assert_eq!(config.limits.drain(), Duration::ZERO);
        assert_eq!(
            config.admin.unwrap().listen,
            SocketAddr::from(([127, 0, 0, 1], 0))
        );
    }

    #[test]
    fn each_mistake_names_its_place() {
        let pin = CertificatePin::of(b"x");
        let both = format!("pin = \"{pin}\"\nca-file = \"/ca.pem\"\n");
        let both_join = format!("[join]\nhub = \"https://h\"\ntoken-file = \"/t\"\n{both}");
        let plain = format!("hub = \"http://hub\"\npin = \"{pin}\"\n");
        for (text, expected) in [
            (
                "targt = \"tcp:127.0.0.1:22\"",
                "agent.toml:1:1: unknown key `targt`; did you mean `target`?",
            ),
            (
                "target = \"tcp:10.0.0.1:22\"",
                "agent.toml:1:10: `target`: an agent only connects to its own machine: 127.0.0.1, [::1] or localhost",
            ),
            (
                "hub = \"https://hub/path\"",
                "agent.toml:1:7: `hub`: hub URL",
            ),
            (
                "pin = \"md5:x\"",
                "agent.toml:1:7: `pin`: a certificate pin is",
            ),
            (
                both.as_str(),
                "agent.toml:2:1: `ca-file`: cannot stand beside `pin`",
            ),
            (
                plain.as_str(),
                "agent.toml:2:1: `pin`: a hub reached by http://",
            ),
            (
                "\nstate-dir = \"state\"",
                "agent.toml:2:1: `state-dir`: a path here begins with /",
            ),
            (
                "ca-file = \"ca.pem\"",
                "agent.toml:1:1: `ca-file`: a path here begins with /",
            ),
            (
                "ca-file = \"credential:../ca\"",
                "agent.toml:1:11: `ca-file`: `credential:../ca` names no credential",
            ),
            (
                "control-socket = \"on\"",
                "agent.toml:1:18: `control-socket`: a path that begins with /, or `off`",
            ),
            (
                "[join]\nhub = \"https://h\"",
                "agent.toml:1:1: `join`: missing field `token-file`",
            ),
            (
                "[join]\nhub = \"https://h\"\ntoken-file = \"token\"",
                "agent.toml:3:1: `join.token-file`: a path here begins with /",
            ),
            (
                both_join.as_str(),
                "agent.toml:5:1: `join.ca-file`: cannot stand beside `pin`",
            ),
            (
                "host-keys = []",
                "agent.toml:1:1: `host-keys`: name at least one file",
            ),
            (
                "host-keys = [\"/etc/*/x.pub\"]",
                "agent.toml:1:1: `host-keys`: `/etc/*/x.pub` is no",
            ),
            (
                "[limits]\nmax-sessions = 0",
                "agent.toml:2:1: `limits.max-sessions`: must be",
            ),
            (
                "[log]\nlevel = \"loud\"",
                "agent.toml:2:9: `log.level`: `loud` is no log level",
            ),
            (
                "[admin]\n",
                "agent.toml:1:1: `admin`: missing field `listen`",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(
                error.starts_with(expected),
                "{text}\n  got {error}\n want {expected}"
            );
        }
    }

    #[test]
    fn a_reload_names_what_needs_a_restart() {
        let old = parse("").unwrap();
        let new =
            parse("target = \"tcp:127.0.0.1:23\"\nhub = \"https://h\"\n[log]\nlevel = \"debug\"\n")
                .unwrap();
        assert_eq!(old.fixed_changes(&new), ["hub"]);
    }
}
