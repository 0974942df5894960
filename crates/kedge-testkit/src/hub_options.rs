//! What a test's hub is started with, and its configuration file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::{machine, run};

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

/// An issuer that a hub trusts: one `[[issuers]]` block.
#[derive(Clone, Debug)]
pub struct TrustedIssuer {
    /// What the issuer calls itself, exactly.
    pub url: String,
    /// More lines of the block, in TOML. Tables such as `[issuers.login]` come last.
    pub more: String,
}

impl TrustedIssuer {
    /// One where people log in as the client `kedge`.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            more: "client-id = \"kedge\"\n".to_owned(),
        }
    }

    /// One that only vouches for workloads, by these audiences.
    #[must_use]
    pub fn for_workloads(url: &str, audiences: &[&str]) -> Self {
        let audiences: Vec<String> = audiences.iter().map(|one| quoted(one)).collect();
        Self {
            url: url.to_owned(),
            more: format!("audiences = [{}]\n", audiences.join(", ")),
        }
    }

    /// Adds a line, or a table at the end.
    #[must_use]
    pub fn with(mut self, line: &str) -> Self {
        self.more.push_str(line);
        self.more.push('\n');
        self
    }
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
    /// Where it listens for agents and people, such as `127.0.0.1:0`.
    pub listen: String,
    /// How it serves.
    pub tls: Tls,
    /// Whom it knows.
    pub people: Vec<KnownPerson>,
    /// Subjects who administer it.
    pub admins: Vec<String>,
    /// Claims that make an administrator, by claim, as TOML: `roles = ["kedge-admin"]`.
    pub admin_claims: Vec<String>,
    /// Whose tokens it takes.
    pub issuers: Vec<TrustedIssuer>,
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
            listen: "127.0.0.1:0".to_owned(),
            tls: Tls::default(),
            people: vec![
                person("admin", "ops"),
                person("alice", "dev"),
                person("bob", "guests"),
            ],
            admins: vec!["admin".to_owned()],
            admin_claims: Vec::new(),
            issuers: Vec::new(),
            trust: Trust::default(),
            first: String::new(),
            extra: String::new(),
            environment: Vec::new(),
        })
    }
}

/// Asks the hub in a folder for a new static token, and its hash for the configuration.
///
/// # Errors
///
/// When there is no such program, or it fails.
pub fn new_token(bins: &Path) -> Result<(String, String)> {
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

/// Where a hub keeps its state.
pub(crate) fn state_dir(options: &HubOptions) -> PathBuf {
    options.dir.join("state")
}

/// `hub.toml`.
pub(crate) fn configuration(options: &HubOptions, hashes: &BTreeMap<String, String>) -> String {
    let mut toml = options.first.clone();
    toml.push_str(&format!(
        "listen = {}\nstate-dir = {}\nname = {}\nsuffix = {}\nadmins = {{ users = [{}]{} }}\n",
        quoted(&options.listen),
        quoted(&state_dir(options).display().to_string()),
        quoted(&options.name),
        quoted(&options.suffix),
        options
            .admins
            .iter()
            .map(|name| quoted(name))
            .collect::<Vec<_>>()
            .join(", "),
        if options.admin_claims.is_empty() {
            String::new()
        } else {
            format!(", claims = {{ {} }}", options.admin_claims.join(", "))
        },
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
    for issuer in &options.issuers {
        let _ = write!(
            toml,
            "[[issuers]]\nurl = {}\n{}",
            quoted(&issuer.url),
            issuer.more
        );
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
