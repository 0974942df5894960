//! `hub.toml`: what it may say, and what the hub makes of it.
//!
//! [`Config`] is the file as written, [`Settings`] is what the hub runs on: every name a type, every pair of keys
//! that exclude each other settled, every error with its file, line and key.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;
use kedge_api::{Group, HubName, LoginMapping, Subject, Suffix, TokenHash};
use kedge_service::{ConfigError, LogConfig, Source};
use schemars::JsonSchema;
use serde::Deserialize;

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
    /// Networks of proxies whose `X-Forwarded-For` is believed. From anybody else it is ignored.
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Vec<IpNet>,
    /// The certificate.
    pub tls: TlsConfig,
    /// The endpoint for operators and probes.
    pub admin: AdminConfig,
    /// Who may read and change everything.
    pub admins: AdminsConfig,
    /// How a person becomes a unix user.
    pub login: LoginConfig,
    /// People known by a static token, for trying out. A hub without people refuses people.
    pub people: Vec<PersonConfig>,
    /// How much at once.
    pub limits: LimitsConfig,
    /// How the hub stops.
    pub shutdown: ShutdownConfig,
    /// What is logged, and how.
    pub log: LogConfig,
}

/// The certificate of the HTTPS port.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TlsConfig {
    /// Where the certificate comes from. Unless given: `files` when `certificate` is set, else `self-signed`.
    pub mode: Option<TlsMode>,
    /// PEM file with the certificate and its chain. Read again when it changes.
    #[schemars(with = "Option<String>")]
    pub certificate: Option<PathBuf>,
    /// PEM file with the private key.
    #[schemars(with = "Option<String>")]
    pub key: Option<PathBuf>,
    /// Names in the self-signed certificate. Clients pin its fingerprint and do not need them.
    pub names: Vec<String>,
}

/// Where the certificate comes from.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// `certificate` and `key`.
    Files,
    /// Plain HTTP: a proxy in front terminates TLS.
    Off,
    /// Made by the hub, kept in `state-dir`, pinned by clients.
    SelfSigned,
}

/// The endpoint for operators and probes.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct AdminConfig {
    /// Address and port of `/live`, `/ready` and `/metrics`: plain HTTP without authentication, so keep it local.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
}

/// Who may read and change everything.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct AdminsConfig {
    /// Subjects.
    pub users: BTreeSet<String>,
    /// Groups.
    pub groups: BTreeSet<String>,
}

/// How a person becomes a unix user, where the server does not say (`spec.sshUser`).
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LoginConfig {
    /// The claim that holds the login; `preferred_username` unless given.
    pub claim: Option<String>,
    /// Domains whose `alice@domain` becomes `alice`. With none, an address is refused.
    pub local_part_domains: Vec<String>,
}

/// One person with a static token.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PersonConfig {
    /// Who it is.
    pub subject: String,
    /// SHA-256 of the token in hex, as `kedge-hub new-token` prints it.
    pub token_sha256: String,
    /// Groups for policies.
    #[serde(default)]
    pub groups: BTreeSet<String>,
    /// Claims for the login mapping and for policies.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub claims: BTreeMap<String, toml::Value>,
}

/// How much at once.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LimitsConfig {
    /// Connections served at once; more are told to come back. One address has a quarter of them for connections that
    /// have sent no request yet, unless it is a trusted proxy.
    #[schemars(range(min = 1))]
    pub connections: u32,
    /// TLS handshakes and tunnel admissions under way at once; one address has a quarter of the handshakes, unless it is
    /// a trusted proxy.
    #[schemars(range(min = 1))]
    pub handshakes: u32,
    /// Live sessions.
    pub sessions: u32,
    /// Live sessions of one person.
    pub sessions_per_person: u32,
    /// Longest session, seconds; a policy may say less. Unless given there is no end.
    pub session_seconds: Option<u64>,
}

/// How the hub stops.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ShutdownConfig {
    /// Seconds between "not ready" and closing the port, so that load balancers notice.
    pub lame_duck_seconds: u64,
    /// Seconds over which agents are asked to spread their reconnects.
    pub goaway_spread_seconds: u64,
    /// Seconds that live sessions get to end by themselves.
    pub drain_seconds: u64,
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
    /// Limits.
    pub limits: Limits,
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
    /// Subjects that are administrators.
    pub admin_users: BTreeSet<String>,
    /// Groups whose members are administrators.
    pub admin_groups: BTreeSet<String>,
    /// People with static tokens.
    pub people: Vec<Person>,
    /// How people become unix users.
    pub mapping: LoginMapping,
}

/// How much at once.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections.
    pub connections: u32,
    /// Handshakes.
    pub handshakes: u32,
    /// Sessions.
    pub sessions: u32,
    /// Sessions of one principal.
    pub sessions_per_principal: u32,
    /// Longest session.
    pub session: Option<Duration>,
}

/// How the hub stops.
#[derive(Clone, Debug)]
pub struct ShutdownTimes {
    /// From "not ready" to closed listeners.
    pub lame_duck: Duration,
    /// Over which reconnects are spread.
    pub goaway_spread: Duration,
    /// For sessions to end by themselves.
    pub drain: Duration,
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

    /// Checks what single values cannot show.
    ///
    /// # Errors
    /// The first thing that is wrong, named with its key.
    pub fn settle(self, source: &Source) -> Result<Settings, ConfigError> {
        let tls = self.tls.settle(source, &self.state_dir)?;
        let name = self
            .name
            .parse::<HubName>()
            .map_err(|error| source.refuse("name", error.to_string()))?;
        let suffix = self
            .suffix
            .parse::<Suffix>()
            .map_err(|error| source.refuse("suffix", error.to_string()))?;
        let mut mapping = LoginMapping::default();
        if let Some(claim) = self.login.claim {
            if claim.is_empty() {
                return Err(source.refuse("login.claim", "must not be empty"));
            }
            mapping.claim = claim;
        }
        for domain in &self.login.local_part_domains {
            if domain.is_empty() || domain.contains('@') {
                return Err(source.refuse(
                    "login.local-part-domains",
                    format!("`{}` is not a domain", domain.escape_debug()),
                ));
            }
        }
        mapping.local_part_domains = self.login.local_part_domains;
        let people = settle_people(self.people, source)?;
        for (key, value) in [
            ("limits.connections", self.limits.connections),
            ("limits.handshakes", self.limits.handshakes),
        ] {
            if value == 0 {
                return Err(source.refuse(key, "must be at least 1"));
            }
        }
        Ok(Settings {
            listen: self.listen,
            admin_listen: self.admin.listen,
            state_dir: self.state_dir,
            name,
            suffix,
            tls,
            limits: Limits {
                connections: self.limits.connections,
                handshakes: self.limits.handshakes,
                sessions: self.limits.sessions,
                sessions_per_principal: self.limits.sessions_per_person,
                session: self.limits.session_seconds.map(Duration::from_secs),
            },
            shutdown: ShutdownTimes {
                lame_duck: Duration::from_secs(self.shutdown.lame_duck_seconds),
                goaway_spread: Duration::from_secs(self.shutdown.goaway_spread_seconds),
                drain: Duration::from_secs(self.shutdown.drain_seconds),
            },
            trusted_proxies: self.trusted_proxies,
            roster: Roster {
                admin_users: self.admins.users,
                admin_groups: self.admins.groups,
                people,
                mapping,
            },
            log: self.log,
        })
    }
}

impl TlsConfig {
    fn settle(self, source: &Source, state_dir: &Path) -> Result<Tls, ConfigError> {
        let mode = self
            .mode
            .unwrap_or(if self.certificate.is_some() || self.key.is_some() {
                TlsMode::Files
            } else {
                TlsMode::SelfSigned
            });
        let unused = |key: &str, mode: &str| {
            source.refuse(
                key,
                format!("has no meaning with `mode = \"{mode}\"`; remove one of the two"),
            )
        };
        match (mode, self.certificate, self.key) {
            (TlsMode::Files, Some(certificate), Some(key)) => Ok(Tls::Files { certificate, key }),
            (TlsMode::Files, None, _) => {
                Err(source.refuse("tls.certificate", "is needed beside `key`"))
            }
            (TlsMode::Files, _, None) => {
                Err(source.refuse("tls.key", "is needed beside `certificate`"))
            }
            (TlsMode::Off, Some(_), _) => Err(unused("tls.certificate", "off")),
            (TlsMode::Off, _, Some(_)) => Err(unused("tls.key", "off")),
            (TlsMode::Off, None, None) => Ok(Tls::Off),
            (TlsMode::SelfSigned, Some(_), _) => Err(unused("tls.certificate", "self-signed")),
            (TlsMode::SelfSigned, _, Some(_)) => Err(unused("tls.key", "self-signed")),
            (TlsMode::SelfSigned, None, None) => {
                let mut names = self.names;
                if names.is_empty() {
                    names = vec![
                        "localhost".to_owned(),
                        "127.0.0.1".to_owned(),
                        "::1".to_owned(),
                    ];
                }
                Ok(Tls::SelfSigned {
                    directory: state_dir.to_owned(),
                    names,
                })
            }
        }
    }
}

fn settle_people(people: Vec<PersonConfig>, source: &Source) -> Result<Vec<Person>, ConfigError> {
    if people.len() > defaults::PEOPLE {
        return Err(source.refuse("people", format!("more than {} people", defaults::PEOPLE)));
    }
    let mut subjects = BTreeSet::new();
    let mut tokens = BTreeSet::new();
    let mut settled = Vec::with_capacity(people.len());
    for person in people {
        let shown = person.subject.escape_debug().to_string();
        let subject = person
            .subject
            .parse::<Subject>()
            .map_err(|error| source.refuse("people", format!("subject `{shown}`: {error}")))?;
        // What stands there may be the token itself by mistake, so it is not repeated.
        let token = person.token_sha256.to_ascii_lowercase().parse::<TokenHash>().map_err(|_| {
            source.refuse(
                "people",
                format!("token-sha256 of `{shown}` is not 64 hex digits; `kedge-hub new-token` prints one"),
            )
        })?;
        let groups = person
            .groups
            .iter()
            .map(|group| group.parse::<Group>())
            .collect::<Result<_, _>>()
            .map_err(|error| source.refuse("people", format!("groups of `{shown}`: {error}")))?;
        if !subjects.insert(person.subject.clone()) {
            return Err(source.refuse("people", format!("subject `{shown}` is listed twice")));
        }
        if !tokens.insert(token.to_string()) {
            return Err(source.refuse(
                "people",
                format!("`{shown}` has the token of somebody else"),
            ));
        }
        let claims = person
            .claims
            .into_iter()
            .map(|(name, value)| match serde_json::to_value(&value) {
                Ok(value) => Ok((name, value)),
                Err(error) => Err(source.refuse("people", format!("claim of `{shown}`: {error}"))),
            })
            .collect::<Result<_, _>>()?;
        settled.push(Person {
            subject,
            token,
            groups,
            claims,
        });
    }
    Ok(settled)
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: address(defaults::LISTEN),
            state_dir: PathBuf::from(defaults::STATE_DIR),
            name: "main".to_owned(),
            suffix: "kedge".to_owned(),
            trusted_proxies: Vec::new(),
            tls: TlsConfig::default(),
            admin: AdminConfig::default(),
            admins: AdminsConfig::default(),
            login: LoginConfig::default(),
            people: Vec::new(),
            limits: LimitsConfig::default(),
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

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            connections: defaults::CONNECTIONS,
            handshakes: defaults::HANDSHAKES,
            sessions: defaults::SESSIONS,
            sessions_per_person: defaults::SESSIONS_PER_PRINCIPAL,
            session_seconds: defaults::SESSION_SECONDS,
        }
    }
}

impl Default for ShutdownConfig {
    fn default() -> Self {
        Self {
            lame_duck_seconds: defaults::LAME_DUCK.as_secs(),
            goaway_spread_seconds: defaults::GOAWAY_SPREAD.as_secs(),
            drain_seconds: defaults::DRAIN.as_secs(),
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

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn settle(text: &str) -> Result<Settings, String> {
        let source = Source::from_text("hub.toml", text);
        source
            .parse::<Config>()
            .and_then(|config| config.settle(&source))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_file_is_a_hub_that_refuses_people() {
        let settings = settle("").unwrap();
        assert_eq!(settings.listen.port(), 8443);
        assert!(settings.admin_listen.ip().is_loopback());
        assert!(settings.roster.people.is_empty());
        assert!(matches!(settings.tls, Tls::SelfSigned { .. }));
    }

    #[test]
    fn everything_that_can_be_said() {
        let settings = settle(&format!(
            r#"
            listen = "127.0.0.1:0"
            state-dir = "/tmp/x"
            name = "lab"
            suffix = "lab.example"
            trusted-proxies = ["10.0.0.0/8"]
            [tls]
            mode = "off"
            [admin]
            listen = "127.0.0.1:0"
            [admins]
            users = ["alice"]
            groups = ["ops"]
            [login]
            claim = "email"
            local-part-domains = ["corp.example"]
            [[people]]
            subject = "alice"
            token-sha256 = "{HASH}"
            groups = ["dev"]
            claims = {{ preferred_username = "alice", level = 3, tags = ["a"] }}
            [limits]
            connections = 5
            sessions-per-person = 2
            session-seconds = 60
            [shutdown]
            drain-seconds = 1
            "#
        ))
        .unwrap();
        assert_eq!(settings.tls, Tls::Off);
        assert_eq!(settings.limits.session, Some(Duration::from_secs(60)));
        assert_eq!(settings.roster.mapping.claim, "email");
        assert_eq!(settings.roster.people.len(), 1);
        assert_eq!(settings.shutdown.drain, Duration::from_secs(1));
    }

    #[test]
    fn each_mistake_names_its_key() {
        let person = |subject: &str, hash: &str| {
            format!("[[people]]\nsubject = \"{subject}\"\ntoken-sha256 = \"{hash}\"\n")
        };
        let twice = person("a", HASH) + &person("b", HASH);
        let same = person("a", HASH) + &person("a", &HASH.replace('b', "c"));
        for (text, wanted) in [
            (
                "lisen = \"x\"",
                "hub.toml:1:1: unknown key `lisen`; did you mean `listen`?",
            ),
            ("[limits]\nconections = 3", "did you mean `connections`?"),
            (
                "[limits]\nconnections = 0",
                "`limits.connections`: must be at least 1",
            ),
            (
                "[tls]\ncertificate = \"/x\"",
                "`tls.key`: is needed beside `certificate`",
            ),
            (
                "[tls]\nkey = \"/x\"",
                "`tls.certificate`: is needed beside `key`",
            ),
            (
                "[tls]\nmode = \"off\"\ncertificate = \"/x\"",
                "has no meaning with `mode = \"off\"`",
            ),
            ("[tls]\nmode = \"none\"", "unknown variant"),
            ("suffix = \".kedge\"", "`suffix`"),
            ("suffix = \"ke dge\"", "`suffix`"),
            ("suffix = \"*\"", "`suffix`"),
            ("name = \"\"", "`name`"),
            ("listen = \"example.org\"", "`listen`"),
            (
                "[[people]]\nsubject = \"a\"\ntoken-sha256 = \"kpt_x\"",
                "is not 64 hex digits",
            ),
            (
                "[[people]]\nsubject = \"a\"\ntoken = \"kpt_x\"",
                "unknown key `people[0].token`",
            ),
            (twice.as_str(), "`b` has the token of somebody else"),
            (same.as_str(), "subject `a` is listed twice"),
            (person("", HASH).as_str(), "people"),
            (
                "[login]\nlocal-part-domains = [\"a@b\"]",
                "login.local-part-domains",
            ),
            ("trusted-proxies = [\"10.0.0.0/99\"]", "trusted-proxies"),
        ] {
            let error = settle(text).unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }

    #[test]
    fn the_default_addresses_parse() {
        let _ = Config::default();
    }
}
