//! A certified OpenID provider, run by Node: panva's `oidc-provider`, as `oidc-provider/` pins it.
//!
//! `cargo xtask test` installs it into the user's cache; nothing here downloads anything. Where a test wants an issuer
//! that misbehaves, `issuer` is the part to take.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

use crate::browser::{Browser, Page};
use crate::run::Live;
use crate::{Case, defaults, machine, wait};

/// What `npm ci` reads.
const PACKAGE: &str = include_str!("../oidc-provider/package.json");
/// The exact versions, with their hashes.
const LOCK: &str = include_str!("../oidc-provider/package-lock.json");
/// The program.
const PROGRAM: &str = include_str!("../oidc-provider/provider.mjs");

/// What to start.
#[derive(Clone, Debug)]
pub struct ProviderOptions {
    /// What ID tokens are signed with: `RS256`, `PS256`, `ES256`, `ES384` or `EdDSA`.
    pub algorithm: String,
    /// The client people log in with.
    pub client_id: String,
    /// How long an ID token is good.
    pub token_life: Duration,
    /// The redirects that are allowed, on any port.
    pub redirects: Vec<String>,
    /// Claims by name. A name is also the subject.
    pub people: BTreeMap<String, Map<String, Value>>,
}

impl Default for ProviderOptions {
    fn default() -> Self {
        let mut people = BTreeMap::new();
        for (name, group) in [("alice", "dev"), ("bob", "guests"), ("admin", "ops")] {
            let mut claims = Map::new();
            claims.insert("preferred_username".to_owned(), json!(name));
            claims.insert("email".to_owned(), json!(format!("{name}@example.com")));
            claims.insert("email_verified".to_owned(), json!(true));
            claims.insert("groups".to_owned(), json!([group]));
            people.insert(name.to_owned(), claims);
        }
        if let Some(admin) = people.get_mut("admin") {
            admin.insert("roles".to_owned(), json!(["kedge-admin"]));
        }
        Self {
            algorithm: "RS256".to_owned(),
            client_id: "kedge".to_owned(),
            token_life: Duration::from_secs(3600),
            redirects: ["http://127.0.0.1/", "http://127.0.0.1/callback"]
                .map(str::to_owned)
                .to_vec(),
            people,
        }
    }
}

/// A running provider. It ends with this value.
#[derive(Debug)]
pub struct Provider {
    live: Live,
    url: String,
    client_id: String,
    asked: usize,
}

impl Provider {
    /// Starts it on a free port.
    ///
    /// # Errors
    ///
    /// When Node or the installed packages are missing, or it does not say that it is ready.
    pub fn start(case: &Case, options: &ProviderOptions) -> Result<Self> {
        let node = machine::find_program("node").context("Node is not installed")?;
        let folder = folder()?;
        ensure!(
            is_installed(&folder),
            "{} is not there; `cargo xtask test e2e` installs it",
            folder.display()
        );
        let program = case.write(&format!("{}.mjs", case.unique("provider")), PROGRAM)?;
        let told = json!({
            "port": 0,
            "algorithm": options.algorithm,
            "clientId": options.client_id,
            "tokenLife": options.token_life.as_secs(),
            "redirects": options.redirects,
            "people": options.people,
        });
        let mut command = Command::new(node);
        command
            .arg("--no-warnings")
            .arg(program)
            .arg(&folder)
            .arg(told.to_string())
            .current_dir(case.dir());
        let mut live = Live::start(command)?;
        live.expect("\n", defaults::START)?;
        let said = String::from_utf8_lossy(&live.out()).into_owned();
        let url = said
            .lines()
            .find_map(|line| line.strip_prefix("ready "))
            .with_context(|| format!("the provider said {said}"))?
            .to_owned();
        Ok(Self {
            live,
            url,
            client_id: options.client_id.clone(),
            asked: 0,
        })
    }

    /// What it calls itself, exactly.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The client people log in with.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Other signing keys from now on. What was given out stays as it was.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn rotate(&mut self) -> Result<()> {
        self.ask("rotate").map(drop)
    }

    /// Ends every grant of somebody, refresh tokens included.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn revoke(&mut self, person: &str) -> Result<()> {
        self.ask(&format!("revoke {person}")).map(drop)
    }

    /// Requests so far, by path.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn requests(&mut self) -> Result<BTreeMap<String, u64>> {
        let said = self.ask("requests")?;
        let counts = said.strip_prefix("requests ").context("counts")?;
        let counts: Map<String, Value> = serde_json::from_str(counts)?;
        Ok(counts
            .into_iter()
            .map(|(path, count)| (path, count.as_u64().unwrap_or_default()))
            .collect())
    }

    /// Opens a login page as somebody, and goes through with it.
    ///
    /// # Errors
    ///
    /// When a page does not answer or says an error.
    pub fn log_in(&self, person: &str, url: &str) -> Result<Page> {
        Browser::new(person).open(url)?.success()
    }

    fn ask(&mut self, command: &str) -> Result<String> {
        self.asked = self.asked.saturating_add(1);
        let start = format!("{} ", self.asked);
        self.live.send(format!("{command}\n"))?;
        let live = &self.live;
        wait::until("the provider's answer", defaults::SOON, || {
            let said = String::from_utf8_lossy(&live.out()).into_owned();
            // A line is an answer once its end has come.
            let whole = said.rsplit_once('\n').map_or("", |(whole, _)| whole);
            let mut lines = whole.lines();
            Ok(lines.find_map(|line| line.strip_prefix(&start).map(str::to_owned)))
        })
        .with_context(|| self.live.err())
    }
}

/// The folder in the user's cache where these exact versions are installed.
///
/// # Errors
///
/// When the user has no home.
pub fn folder() -> Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|dir| Path::new(dir).is_absolute());
    let cache = match cache {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    // FNV-1a: it names a folder, and vouches for nothing; `npm ci` checks what it installs by the lock file's hashes.
    let hash = PACKAGE
        .bytes()
        .chain(LOCK.bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    Ok(cache
        .join("kedge/oidc-provider")
        .join(format!("{hash:016x}")))
}

/// Whether a folder holds an installed provider.
#[must_use]
pub fn is_installed(folder: &Path) -> bool {
    folder
        .join("node_modules/oidc-provider/package.json")
        .is_file()
}

/// The files that `npm ci` installs from, by name.
#[must_use]
pub fn manifest() -> [(&'static str, &'static str); 2] {
    [("package.json", PACKAGE), ("package-lock.json", LOCK)]
}
