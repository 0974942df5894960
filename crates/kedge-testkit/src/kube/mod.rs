//! A real Kubernetes API server for tests: etcd and kube-apiserver on free loopback ports, RBAC on.
//!
//! No kubelet, no controllers: CustomResourceDefinitions, Secrets, RBAC and Leases work as on every cluster; pods never
//! run, and what a controller would clean up (the objects of a deleted namespace) stays. [`Cluster::start_for_node`] is
//! for whoever brings both.
//!
//! ```text
//!  test ── kubectl / kube client ── TLS, bearer token ──► kube-apiserver ──► etcd
//! ```
//!
//! [`shared`] is the one server that the tests of a process, or of a whole `cargo xtask test e2e`, have in common: each
//! test takes a [`Cluster::namespace`] of its own. [`Cluster::start`] is for those that stop it.
//!
//! The programs come from [`programs`]; `cargo xtask tools` builds them, nothing here downloads anything.

mod install;
mod keeper;
mod programs;
mod server;

use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

pub use self::install::{Installation, manifests};
use self::keeper::Scratch;
pub use self::programs::{
    ASSETS, NODE_PROGRAMS, PROGRAMS, VERSION, cache, is_installed, node_programs, programs,
};
use self::server::{Pods, Server};
use crate::run::{self, Ran};
use crate::{defaults, wait};

/// The variable by which `cargo xtask test e2e` names the folder of the cluster that its tests share.
pub const SHARED: &str = "KEDGE_KUBE";

/// An API server. It and all of its files are gone when this value is, or when the process ends, however it does.
#[derive(Debug)]
pub struct Cluster {
    /// None when somebody else runs it.
    server: Option<Server>,
    site: Site,
    programs: PathBuf,
    admin_config: PathBuf,
    files: AtomicUsize,
    // Last: the processes end before their folder is removed.
    scratch: Scratch,
}

/// What it takes to talk to a server.
#[derive(Clone, Debug)]
struct Site {
    url: String,
    ca_file: PathBuf,
    admin_token: String,
    audit: PathBuf,
}

/// One request that an API server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`.
    pub verb: String,
    /// The resource, with its subresource if there is one: `servers`, `servers/status`.
    pub resource: String,
    /// Where.
    pub namespace: String,
    /// The object's name; empty for lists and watches.
    pub name: String,
    /// The HTTP status of the answer.
    pub status: u64,
}

/// The cluster that the tests of this process share: the one of `cargo xtask test`, or one of its own, which is started
/// by the first call and ends with the process.
///
/// # Errors
///
/// When it does not start; the next call tries again.
pub fn shared() -> Result<&'static Cluster> {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    static STARTING: Mutex<()> = Mutex::new(());
    let _one = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(cluster) = CLUSTER.get() {
        return Ok(cluster);
    }
    let cluster = match std::env::var_os(SHARED) {
        Some(folder) => Cluster::attach(Path::new(&folder))?,
        None => Cluster::start()?,
    };
    Ok(CLUSTER.get_or_init(|| cluster))
}

impl Cluster {
    /// Starts etcd and kube-apiserver, and waits until the server says that it is ready.
    ///
    /// # Errors
    ///
    /// When the programs are not there (says how to get them), or do not start; shows the end of the log.
    pub fn start() -> Result<Self> {
        Self::start_with(Pods::Never)
    }

    /// The same for a cluster with a node: the server listens at an address of this machine's that is not a loopback one,
    /// under which the node and its pods find it, and gives pods their service account's token. kube-controller-manager,
    /// a scheduler and a kubelet are the caller's to start.
    ///
    /// # Errors
    ///
    /// As [`Self::start`], and when the address is not this machine's.
    pub fn start_for_node(node: Ipv4Addr) -> Result<Self> {
        Self::start_with(Pods::On(node))
    }

    fn start_with(pods: Pods) -> Result<Self> {
        let scratch = Scratch::new()?;
        let token = random_word()?;
        let server = Server::start(&programs()?, scratch.path(), &token, pods)?;
        let site = Site {
            url: server.url(),
            ca_file: server.ca_file(),
            admin_token: token,
            audit: server.audit(),
        };
        write_private(&scratch.path().join(SITE), site.to_json().to_string())?;
        let cluster = Self::new(Some(server), site, scratch)?;
        cluster.wait_until_ready()?;
        Ok(cluster)
    }

    /// Talks to a cluster that another process started, by its [`Self::folder`].
    ///
    /// # Errors
    ///
    /// When the folder is not that of a cluster.
    pub fn attach(folder: &Path) -> Result<Self> {
        let path = folder.join(SITE);
        let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let site = Site::from_json(&serde_json::from_slice(&text)?)?;
        Self::new(None, site, Scratch::new()?)
    }

    fn new(server: Option<Server>, site: Site, scratch: Scratch) -> Result<Self> {
        let admin_config = scratch.path().join("admin.kubeconfig");
        write_private(&admin_config, site.kubeconfig(&site.admin_token, "default"))?;
        Ok(Self {
            server,
            site,
            programs: programs()?,
            admin_config,
            files: AtomicUsize::new(0),
            scratch,
        })
    }

    /// Where everything of it is, for [`Self::attach`].
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// The processes that end with this value.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        let server = self.server.as_ref().map(Server::pids);
        let mut pids = server.unwrap_or_default();
        pids.push(self.scratch.pid());
        pids
    }

    /// Where the API server listens: `https://ADDRESS:PORT`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.site.url
    }

    /// The PEM file of the authority that vouches for the server's certificate.
    #[must_use]
    pub fn ca_file(&self) -> &Path {
        &self.site.ca_file
    }

    /// The bearer token of somebody who may do everything (`system:masters`).
    #[must_use]
    pub fn admin_token(&self) -> &str {
        &self.site.admin_token
    }

    /// Writes a kubeconfig with this token, mode 0600.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn kubeconfig(&self, token: &str) -> Result<PathBuf> {
        self.kubeconfig_in(token, "default")
    }

    /// The same, with a namespace that is meant where none is named.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn kubeconfig_in(&self, token: &str, namespace: &str) -> Result<PathBuf> {
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        let path = self.scratch.path().join(format!("{number}.kubeconfig"));
        write_private(&path, self.site.kubeconfig(token, namespace))?;
        Ok(path)
    }

    /// `kubectl` as the administrator.
    #[must_use]
    pub fn kubectl(&self, words: &[&str]) -> Command {
        self.kubectl_by(&self.admin_config, words)
    }

    /// `kubectl` by a kubeconfig. Its caches are in the cluster's folder, and not in the home of who runs the tests.
    #[must_use]
    pub fn kubectl_by(&self, kubeconfig: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join("kubectl"));
        command
            .args(words)
            .env("KUBECONFIG", kubeconfig)
            .env("HOME", self.scratch.path());
        command
    }

    /// Runs `kubectl` as the administrator, who must succeed.
    ///
    /// # Errors
    ///
    /// With its output when it does not.
    pub fn admin(&self, words: &[&str]) -> Result<Ran> {
        run::run(self.kubectl(words))?.success()
    }

    /// `kubectl apply` by the administrator, of YAML or JSON; for the caller to judge.
    ///
    /// # Errors
    ///
    /// When kubectl cannot be run.
    pub fn apply(&self, objects: &str, words: &[&str]) -> Result<Ran> {
        let words = [&["apply", "--filename", "-"], words].concat();
        run::feed(
            self.kubectl(&words),
            objects.as_bytes().to_vec(),
            defaults::COMMAND,
        )
    }

    /// Makes a namespace with a name that no other test has: `PREFIX-` and some characters.
    ///
    /// # Errors
    ///
    /// When the server refuses.
    pub fn namespace(&self, prefix: &str) -> Result<String> {
        let word = random_word()?;
        let name = format!("{prefix}-{}", word.get(..8).unwrap_or(&word));
        self.admin(&["create", "namespace", &name])?;
        Ok(name)
    }

    /// A token of a service account, as a pod would have it (TokenRequest); good for an hour.
    ///
    /// # Errors
    ///
    /// When there is no such account.
    pub fn token_of(&self, namespace: &str, service_account: &str) -> Result<String> {
        let words = ["create", "token", service_account, "--namespace", namespace];
        Ok(self.admin(&words)?.out().trim().to_owned())
    }

    /// What a user (`system:serviceaccount:NAMESPACE:NAME`) has asked of the server so far, in order. Watches are
    /// listed once they have begun.
    ///
    /// # Errors
    ///
    /// When the server's audit log cannot be read.
    pub fn asked_by(&self, user: &str) -> Result<Vec<Asked>> {
        let path = &self.site.audit;
        let log = match fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            read => read.with_context(|| format!("read {}", path.display()))?,
        };
        // The last line may be half-written.
        let events = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        Ok(events
            .filter(|event: &Value| is(event, "/user/username", user))
            // A watch is complete when it ends; everything else is when it is answered.
            .filter(|event| match is(event, "/verb", "watch") {
                true => is(event, "/stage", "ResponseStarted"),
                false => is(event, "/stage", "ResponseComplete"),
            })
            .map(|event| Asked::from_event(&event))
            .collect())
    }

    /// Ends the API server at once, as a crash would; etcd goes on.
    ///
    /// # Errors
    ///
    /// When this process does not run it.
    pub fn stop_api(&mut self) -> Result<()> {
        let server = self.server.as_mut().context("somebody else's server")?;
        server.stop_api();
        Ok(())
    }

    /// Starts the API server again, on the same port with the same data, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When this process does not run it, or it does not start.
    pub fn start_api(&mut self) -> Result<()> {
        let server = self.server.as_mut().context("somebody else's server")?;
        server.start_api()?;
        self.wait_until_ready()
    }

    fn wait_until_ready(&self) -> Result<()> {
        let answers = |words: &[&str]| -> Result<bool> {
            Ok(run::run(self.kubectl(words))?.code() == Some(0))
        };
        let waited =
            wait::until_true("the API server to be ready", defaults::START, || {
                if let Some(server) = &self.server {
                    server.check()?;
                }
                // The second is made by a controller of the server's own, a moment after it is ready.
                Ok(answers(&["get", "--raw", "/readyz"])?
                    && answers(&["get", "namespace", "default"])?)
            });
        match (waited, &self.server) {
            (Err(error), Some(server)) => bail!("{error:#}; its log ends:\n{}", server.log_tail()),
            (waited, _) => waited,
        }
    }
}

impl Site {
    /// A kubeconfig; JSON is YAML.
    fn kubeconfig(&self, token: &str, namespace: &str) -> String {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {
                "server": self.url,
                "certificate-authority": self.ca_file,
            }}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {
                "cluster": "test", "user": "test", "namespace": namespace,
            }}],
        });
        config.to_string()
    }

    fn to_json(&self) -> Value {
        json!({
            "url": self.url,
            "caFile": self.ca_file,
            "adminToken": self.admin_token,
            "audit": self.audit,
        })
    }

    fn from_json(value: &Value) -> Result<Self> {
        let text = |name: &str| -> Result<String> {
            let found = value.get(name).and_then(Value::as_str);
            Ok(found.with_context(|| format!("no {name}"))?.to_owned())
        };
        Ok(Self {
            url: text("url")?,
            ca_file: text("caFile")?.into(),
            admin_token: text("adminToken")?,
            audit: text("audit")?.into(),
        })
    }
}

impl Asked {
    fn from_event(event: &Value) -> Self {
        let text = |pointer: &str| {
            let found = event.pointer(pointer).and_then(Value::as_str);
            found.unwrap_or_default().to_owned()
        };
        let mut resource = text("/objectRef/resource");
        let below = text("/objectRef/subresource");
        if !below.is_empty() {
            resource = format!("{resource}/{below}");
        }
        let code = event.pointer("/responseStatus/code");
        Self {
            verb: text("/verb"),
            resource,
            namespace: text("/objectRef/namespace"),
            name: text("/objectRef/name"),
            status: code.and_then(Value::as_u64).unwrap_or_default(),
        }
    }
}

fn is(event: &Value, pointer: &str, wanted: &str) -> bool {
    event.pointer(pointer).and_then(Value::as_str) == Some(wanted)
}

/// 128 random bits in hex.
fn random_word() -> Result<String> {
    let mut bytes = [0_u8; 16];
    let mut source = fs::File::open("/dev/urandom").context("open /dev/urandom")?;
    std::io::Read::read_exact(&mut source, &mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Writes a file that only its owner may read.
fn write_private(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    let mut file = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("write {}", path.display()))?;
    Ok(file.write_all(content.as_ref())?)
}

/// In a cluster's folder: what [`Cluster::attach`] reads.
const SITE: &str = "cluster.json";
