//! A running `kedge-hub` with a configuration, a state folder and people of its own.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use crate::census::{self, Census};
use crate::process::Daemon;
use crate::{defaults, machine, run, wait};

/// How a hub serves.
#[derive(Clone, Debug, Default)]
pub enum Tls {
    /// With these files.
    Files {
        /// The certificate chain, PEM.
        certificate: PathBuf,
        /// Its private key, PEM.
        key: PathBuf,
    },
    /// Plain HTTP, as behind a proxy that ends TLS.
    Off,
    /// With a certificate that the hub makes.
    #[default]
    SelfSigned,
}

/// How agents and people know that it is this hub.
#[derive(Clone, Debug, Default)]
pub enum Trust {
    /// By the authority in this PEM file.
    CaFile(PathBuf),
    /// By the pin it prints, if it prints one.
    #[default]
    Pin,
}

/// A person the hub knows by a static token.
#[derive(Clone, Debug)]
pub struct KnownPerson {
    /// The subject, and the name tests use.
    pub subject: String,
    /// Groups.
    pub groups: Vec<String>,
    /// The claim logins are mapped from; none leaves it out.
    pub preferred_username: Option<String>,
}

/// What to start.
#[derive(Clone, Debug)]
pub struct HubOptions {
    /// The folder for its configuration and state.
    pub dir: PathBuf,
    /// The folder for its log.
    pub logs: PathBuf,
    /// Where the binaries are.
    pub bins: PathBuf,
    /// The name it shows, and of its log file.
    pub name: String,
    /// The suffix of its servers' host names.
    pub suffix: String,
    /// How it serves.
    pub tls: Tls,
    /// Whom it knows.
    pub people: Vec<KnownPerson>,
    /// Subjects who administer it.
    pub admins: Vec<String>,
    /// How it is known.
    pub trust: Trust,
    /// More TOML for the top of its configuration.
    pub first: String,
    /// More TOML for the end of its configuration.
    pub extra: String,
    /// Environment for the process.
    pub environment: Vec<(String, String)>,
}

impl HubOptions {
    /// A hub with `admin`, `alice` and `bob`. alice and bob are mapped to the user who runs the tests, the only one
    /// whom the scratch sshd lets in. Only policies tell them apart.
    ///
    /// # Errors
    ///
    /// When the system does not know its own user.
    pub fn new(dir: &Path, logs: &Path, bins: &Path) -> Result<Self> {
        let me = machine::me()?;
        let person = |subject: &str, group: &str| KnownPerson {
            subject: subject.to_owned(),
            groups: vec![group.to_owned()],
            preferred_username: Some(me.clone()),
        };
        Ok(Self {
            dir: dir.to_owned(),
            logs: logs.to_owned(),
            bins: bins.to_owned(),
            name: "main".to_owned(),
            suffix: "kedge".to_owned(),
            tls: Tls::default(),
            people: vec![
                person("admin", "ops"),
                person("alice", "dev"),
                person("bob", "guests"),
            ],
            admins: vec!["admin".to_owned()],
            trust: Trust::default(),
            first: String::new(),
            extra: String::new(),
            environment: Vec::new(),
        })
    }
}

/// A running hub.
#[derive(Debug)]
pub struct Hub {
    options: HubOptions,
    daemon: Option<Daemon>,
    tokens: BTreeMap<String, String>,
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

/// Asks the hub for a new static token and its hash.
fn new_token(bins: &Path) -> Result<(String, String)> {
    let mut command = Command::new(bins.join("kedge-hub"));
    command.arg("new-token");
    let ran = run::run(command)?.success()?;
    let said = format!("{}\n{}", ran.out(), ran.err());
    let token = said
        .split_whitespace()
        .find(|word| word.starts_with("kpt_"));
    let hash = said
        .split(|letter: char| !letter.is_ascii_hexdigit())
        .find(|word| word.len() == 64);
    match (token, hash) {
        (Some(token), Some(hash)) => Ok((token.to_owned(), hash.to_owned())),
        _ => bail!("`kedge-hub new-token` said no token and hash: {said}"),
    }
}

fn state_dir(options: &HubOptions) -> PathBuf {
    options.dir.join("state")
}

fn configuration(options: &HubOptions, hashes: &BTreeMap<String, String>) -> String {
    let mut toml = options.first.clone();
    toml.push_str(&format!(
        "listen = \"127.0.0.1:0\"\nstate-dir = {}\nname = {}\nsuffix = {}\nadmins = {{ users = [{}] }}\n",
        quoted(&state_dir(options).display().to_string()),
        quoted(&options.name),
        quoted(&options.suffix),
        options
            .admins
            .iter()
            .map(|name| quoted(name))
            .collect::<Vec<_>>()
            .join(", "),
    ));
    match &options.tls {
        Tls::Files { certificate, key } => {
            let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
            let _ = write!(
                toml,
                "[tls]\nmode = \"files\"\ncertificate = {}\nkey = {}\n",
                quoted(&certificate),
                quoted(&key)
            );
        }
        Tls::Off => toml.push_str("[tls]\nmode = \"off\"\n"),
        Tls::SelfSigned => {}
    }
    toml.push_str(
        "[admin]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\nlevel = \"info\"\n",
    );
    for person in &options.people {
        let groups = person
            .groups
            .iter()
            .map(|group| quoted(group))
            .collect::<Vec<_>>()
            .join(", ");
        let hash = hashes
            .get(&person.subject)
            .map(String::as_str)
            .unwrap_or_default();
        let _ = write!(
            toml,
            "[[people]]\nsubject = {}\ntoken-sha256 = {}\ngroups = [{groups}]\n",
            quoted(&person.subject),
            quoted(hash)
        );
        if let Some(name) = &person.preferred_username {
            let _ = writeln!(toml, "claims = {{ preferred_username = {} }}", quoted(name));
        }
    }
    toml.push_str(&options.extra);
    toml.push('\n');
    toml
}

/// A TOML basic string.
#[must_use]
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
