//! What the tests of the Kubernetes store begin with: a real API server, a namespace, stores.
#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "helpers of tests, of which each file uses its own part"
)]

use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use kedge_api::resources::ServerSpec;
use kedge_api::{LabelSelector, Namespace, Resource, Server};
use kedge_store::{
    ConnectError, Health, HistoryLine, KubernetesOptions, KubernetesStore, SharedStore, Watch,
    WatchFrom,
};
use kedge_testkit::kube::{self, Cluster};
use kedge_testkit::run::Ran;
use tempfile::TempDir;

/// A namespace of its own on the cluster that all tests share.
pub struct Site {
    pub namespace: Namespace,
    folder: TempDir,
}

/// What must live as long as a store.
pub struct Guard(#[expect(dead_code, reason = "it is removed when it is dropped")] TempDir);

impl Site {
    /// Blocks while the cluster starts, once per process.
    pub async fn new() -> Self {
        tokio::task::spawn_blocking(|| Self {
            namespace: cluster().namespace("store").unwrap().parse().unwrap(),
            folder: TempDir::new().unwrap(),
        })
        .await
        .unwrap()
    }

    /// A store of the administrator's.
    pub async fn store(&self) -> KubernetesStore {
        let kubeconfig = cluster().kubeconfig(cluster().admin_token()).unwrap();
        self.store_by(kubeconfig).await
    }

    /// A store by another kubeconfig, whose rights may take a moment to be known everywhere.
    pub async fn store_by(&self, kubeconfig: PathBuf) -> KubernetesStore {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            match KubernetesStore::connect(self.options(kubeconfig.clone())).await {
                Err(ConnectError::Forbidden { .. }) if tokio::time::Instant::now() < end => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                connected => return connected.unwrap(),
            }
        }
    }

    pub fn options(&self, kubeconfig: PathBuf) -> KubernetesOptions {
        options(kubeconfig, &self.namespace, &self.folder)
    }

    /// `kubectl` as the administrator, in this namespace, for the caller to judge.
    pub async fn kubectl(&self, words: &[&str]) -> Ran {
        kubectl(cluster(), &self.namespace, words).await
    }

    /// `kubectl apply`, which must succeed.
    pub async fn apply(&self, object: serde_json::Value) -> Ran {
        apply(cluster(), &self.namespace, object).await
    }

    /// A kubeconfig of a service account that may do what these rules say.
    pub async fn account(&self, name: &str, rules: serde_json::Value) -> PathBuf {
        let namespace = self.namespace.as_str();
        let named = serde_json::json!({"name": name, "namespace": namespace});
        self.apply(
            serde_json::json!({"apiVersion": "v1", "kind": "List", "items": [
                {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": named},
                {
                    "apiVersion": "rbac.authorization.k8s.io/v1",
                    "kind": "Role",
                    "metadata": named,
                    "rules": rules,
                },
                {
                    "apiVersion": "rbac.authorization.k8s.io/v1",
                    "kind": "RoleBinding",
                    "metadata": named,
                    "roleRef": {
                        "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name,
                    },
                    "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
                },
            ]}),
        )
        .await;
        let (namespace, name) = (self.namespace.clone(), name.to_owned());
        tokio::task::spawn_blocking(move || {
            let token = cluster().token_of(namespace.as_str(), &name).unwrap();
            cluster().kubeconfig(&token).unwrap()
        })
        .await
        .unwrap()
    }

    /// A folder that is removed after the test.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub fn into_guard(self) -> Guard {
        Guard(self.folder)
    }
}

/// Each store gets a file of its own for the history.
pub fn options(kubeconfig: PathBuf, namespace: &Namespace, folder: &TempDir) -> KubernetesOptions {
    static STORES: Mutex<u32> = Mutex::new(0);
    let mut stores = STORES.lock().unwrap();
    *stores += 1;
    KubernetesOptions {
        kubeconfig: Some(kubeconfig),
        namespace: Some(namespace.clone()),
        history: folder.path().join(format!("history-{stores}.db")),
        identity: "hub".to_owned(),
    }
}

/// The cluster of this process, with kedge's kinds.
pub fn cluster() -> &'static Cluster {
    static READY: OnceLock<&'static Cluster> = OnceLock::new();
    READY.get_or_init(|| {
        let cluster = kube::shared().unwrap();
        cluster.install_kinds().unwrap();
        cluster
    })
}

/// A cluster for one test, which may stop its API server.
pub async fn own_cluster() -> Cluster {
    tokio::task::spawn_blocking(|| Cluster::start().unwrap())
        .await
        .unwrap()
}

/// `kubectl` as the administrator, for the caller to judge.
pub async fn kubectl(cluster: &Cluster, namespace: &Namespace, words: &[&str]) -> Ran {
    let command = cluster.kubectl(&[&["--namespace", namespace.as_str()], words].concat());
    let ran = tokio::task::spawn_blocking(|| kedge_testkit::run::run(command));
    ran.await.unwrap().unwrap()
}

/// `kubectl apply`, which must succeed.
pub async fn apply(cluster: &Cluster, namespace: &Namespace, object: serde_json::Value) -> Ran {
    let words = [
        "--namespace",
        namespace.as_str(),
        "apply",
        "--filename",
        "-",
    ];
    let command = cluster.kubectl(&words);
    let fed = tokio::task::spawn_blocking(move || {
        kedge_testkit::run::feed(command, object.to_string().into_bytes(), PATIENCE)
    });
    fed.await.unwrap().unwrap().success().unwrap()
}

/// A kubeconfig whose API server is somewhere else, as behind a relay.
pub fn redirected(cluster: &Cluster, to: std::net::SocketAddr, folder: &TempDir) -> PathBuf {
    let path = cluster.kubeconfig(cluster.admin_token()).unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.replace(cluster.url(), &format!("https://{to}"));
    let path = folder.path().join("redirected.kubeconfig");
    std::fs::write(&path, text).unwrap();
    path
}

/// Where the API server of a cluster listens.
pub fn address(cluster: &Cluster) -> std::net::SocketAddr {
    let url = cluster.url();
    url.strip_prefix("https://").unwrap().parse().unwrap()
}

pub fn server(name: &str) -> Server {
    Server::new(name.parse().unwrap(), ServerSpec::default())
}

/// As `kubectl apply` takes it.
pub fn manifest(name: &str, user: &str) -> serde_json::Value {
    serde_json::json!({
        "apiVersion": "kedge.dev/v1alpha1",
        "kind": "Server",
        "metadata": {"name": name},
        "spec": {"sshUser": user},
    })
}

pub fn everything() -> LabelSelector {
    LabelSelector::default()
}

pub fn line(body: &str) -> HistoryLine {
    HistoryLine {
        at: "2026-01-31T12:00:00Z".parse().unwrap(),
        about: String::new(),
        body: body.to_owned(),
    }
}

pub async fn watch(store: &SharedStore) -> Watch<Server> {
    let list = store.list::<Server>(&everything()).await.unwrap();
    let from = WatchFrom::After(list.metadata.resource_version);
    store.watch::<Server>(&everything(), from).await.unwrap()
}

/// The next event, as `+web01`, `~web01` or `-web01`; bookmarks are left out.
pub async fn next(watch: &mut Watch<Server>) -> String {
    use kedge_api::WatchEvent;
    loop {
        let event = tokio::time::timeout(PATIENCE, watch.next()).await;
        match event.unwrap().unwrap().unwrap() {
            WatchEvent::Added(server) => return format!("+{}", server.metadata.name),
            WatchEvent::Modified(server) => return format!("~{}", server.metadata.name),
            WatchEvent::Deleted(server) => return format!("-{}", server.metadata.name),
            _ => {}
        }
    }
}

/// Waits until something holds of the store's health.
pub async fn until(store: &KubernetesStore, mut holds: impl FnMut(&Health) -> bool) -> Health {
    let mut health = store.health();
    let found = tokio::time::timeout(PATIENCE, health.wait_for(|health| holds(health))).await;
    found.unwrap().unwrap().clone()
}

pub fn is_connected(health: &Health) -> bool {
    matches!(health, Health::Connected { .. })
}

/// Waits until a question is answered with yes.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut asks: impl FnMut() -> F) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !asks().await {
        assert!(tokio::time::Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// kedge's kinds with schemas that take everything.
pub fn permissive_kinds() -> Vec<serde_json::Value> {
    let define = |kind: &str, plural: &str, singular: &str| {
        serde_json::json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.kedge.dev")},
            "spec": {
                "group": "kedge.dev",
                "scope": "Namespaced",
                "names": {"kind": kind, "plural": plural, "singular": singular},
                "versions": [{
                    "name": "v1alpha1",
                    "served": true,
                    "storage": true,
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": true,
                    }},
                }],
            },
        })
    };
    vec![
        define("Server", "servers", "server"),
        define("JoinToken", "jointokens", "jointoken"),
        define("AccessPolicy", "accesspolicies", "accesspolicy"),
    ]
}

pub const PATIENCE: Duration = Duration::from_secs(60);
