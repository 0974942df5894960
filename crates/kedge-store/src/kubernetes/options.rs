//! Where the API server is and who the hub is to it.

use std::path::{Path, PathBuf};

use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kedge_api::Namespace;
use kube::client::ConfigExt;
use kube::config::Kubeconfig;
use tower::{BoxError, ServiceBuilder};

use super::wire::{CallError, Wire, chain};
use crate::defaults::{CALLS_MAX, DIAL_DEADLINE, IDLE_CONNECTION};
use crate::embedded::OpenError;
use crate::kind::Kind;

/// What a Kubernetes store must be told.
#[derive(Clone, Debug)]
pub struct KubernetesOptions {
    /// The file that says where the API server is and how to log in there; without it the hub is in a pod, and its
    /// service account says so.
    pub kubeconfig: Option<PathBuf>,
    /// Where the hub's objects are; without it, the kubeconfig's or the pod's own namespace.
    pub namespace: Option<Namespace>,
    /// The file for the history, which stays on this machine: etcd is no place for it.
    pub history: PathBuf,
    /// How this hub calls itself in the Lease: its pod's or its machine's name. It need not be unique.
    pub identity: String,
}

/// Why a Kubernetes store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The way to the API server cannot be prepared: a wrong certificate, a token that cannot be read, …
    #[error("cannot prepare the way to the Kubernetes API at {url}: {cause}")]
    Client {
        /// Where it is.
        url: String,
        /// What is wrong.
        cause: String,
    },
    /// A right is missing.
    #[error("the Kubernetes API at {url} does not let the hub {right}: {cause}")]
    Forbidden {
        /// Where it is.
        url: String,
        /// What was wanted.
        right: String,
        /// What it said.
        cause: String,
    },
    /// The file for the history cannot be opened.
    #[error(transparent)]
    History(#[from] OpenError),
    /// There is no kubeconfig, and this is no pod.
    #[error("no kubeconfig is given, and this is no pod with a service account: {cause}")]
    InCluster {
        /// What is missing.
        cause: String,
    },
    /// The kubeconfig is no such thing.
    #[error("cannot use the kubeconfig {}: {cause}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The namespace that the kubeconfig or the pod names cannot be one.
    #[error("cannot use a namespace: {cause}")]
    Namespace {
        /// Which, and why not.
        cause: String,
    },
    /// The system gave no randomness.
    #[error("cannot make a name for the Lease")]
    Random(#[from] kedge_api::random::RandomError),
    /// The API server cannot be reached, or is out of order.
    #[error("the Kubernetes API at {url} cannot be reached: {cause}")]
    Unavailable {
        /// Where it is.
        url: String,
        /// What happened.
        cause: String,
    },
    /// The API server does not know a kind.
    #[error(
        "the Kubernetes API at {url} does not serve {}.kedge.dev: install kedge's CustomResourceDefinitions first",
        kind.plural
    )]
    Unserved {
        /// Where it is.
        url: String,
        /// The kind.
        kind: Kind,
    },
}

/// Reads the configuration and prepares the client; connects to nothing. It reads files, and may run the program that a
/// kubeconfig names for a token: call it where blocking is allowed, within a runtime.
pub(super) fn prepare(options: &KubernetesOptions) -> Result<(Wire, Namespace), ConnectError> {
    let config = match &options.kubeconfig {
        Some(path) => from_file(path)?,
        None => kube::Config::incluster().map_err(|error| ConnectError::InCluster {
            cause: chain(&error),
        })?,
    };
    let namespace =
        match &options.namespace {
            Some(namespace) => namespace.clone(),
            None => config.default_namespace.trim().parse().map_err(|error| {
                ConnectError::Namespace {
                    cause: chain(&error),
                }
            })?,
        };
    let url = shown(&config.cluster_url);
    let client = client(&config).map_err(|error| ConnectError::Client {
        url: url.clone(),
        cause: chain(&error),
    })?;
    Ok((Wire::new(client, url), namespace))
}

fn from_file(path: &Path) -> Result<kube::Config, ConnectError> {
    let failed = |cause: String| ConnectError::Kubeconfig {
        path: path.to_owned(),
        cause,
    };
    let kubeconfig = Kubeconfig::read_from(path).map_err(|error| failed(chain(&error)))?;
    let clusters = kubeconfig.clusters.iter();
    if clusters
        .filter_map(|named| named.cluster.as_ref())
        .any(|cluster| cluster.proxy_url.is_some())
    {
        return Err(failed(
            "a cluster in it has `proxy-url`, and the hub goes to the API server directly"
                .to_owned(),
        ));
    }
    kube::Config::try_from(kubeconfig).map_err(|error| failed(chain(&error)))
}

/// A client without kube's own retries and logs: whether a call may be made again is for [`Wire`] to say, and an outage
/// is one line for an operator and not one for each call.
fn client(config: &kube::Config) -> Result<kube::Client, kube::Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(DIAL_DEADLINE));
    tcp.set_keepalive(Some(IDLE_CONNECTION / 2));
    let tls = config.rustls_https_connector_with_connector(tcp)?;
    let http = legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_CONNECTION)
        .pool_max_idle_per_host(CALLS_MAX)
        .build(tls);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(kube::Client::new(service, config.default_namespace.clone()))
}

/// The URL without what must not be shown, should somebody have put a password there.
fn shown(url: &http::Uri) -> String {
    let host = url.host().unwrap_or_default();
    let port = url.port_u16().map(|port| format!(":{port}"));
    let scheme = url.scheme_str().unwrap_or("https");
    format!("{scheme}://{host}{}", port.unwrap_or_default())
}

impl ConnectError {
    /// What a call means that was made to open the store.
    pub(super) fn of(wire: &Wire, kind: Kind, right: String, error: CallError) -> Self {
        let url = wire.url().to_owned();
        let cause = error.to_string();
        match error.code().map(|code| code.as_u16()) {
            Some(403) => Self::Forbidden { url, right, cause },
            Some(404) => Self::Unserved { url, kind },
            _ => Self::Unavailable { url, cause },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(kubeconfig: PathBuf) -> KubernetesOptions {
        KubernetesOptions {
            kubeconfig: Some(kubeconfig),
            namespace: None,
            history: PathBuf::new(),
            identity: "hub".to_owned(),
        }
    }

    fn refusal(text: &str) -> String {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("kubeconfig");
        std::fs::write(&path, text).unwrap();
        match prepare(&options(path)) {
            Ok(_) => panic!("it was taken"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_kubeconfig_that_cannot_be_used_is_named_with_its_cause() {
        let missing = prepare(&options("/nowhere/kubeconfig".into()))
            .err()
            .unwrap();
        assert!(
            missing
                .to_string()
                .starts_with("cannot use the kubeconfig /nowhere/kubeconfig: ")
        );
        assert!(refusal("{]").contains("cannot use the kubeconfig"));
        assert!(refusal("apiVersion: v1\nkind: Config\n").contains("current context"));
        let proxy = CONFIG.replace("server:", "proxy-url: http://proxy:3128\n      server:");
        assert!(refusal(&proxy).contains("proxy-url"));
        let namespace = CONFIG.replace("namespace: team-a", "namespace: ../team");
        assert!(refusal(&namespace).starts_with("cannot use a namespace: "));
    }

    #[tokio::test]
    async fn the_namespace_is_the_given_one_or_that_of_the_kubeconfig() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("kubeconfig");
        std::fs::write(&path, CONFIG).unwrap();
        let mut options = options(path);
        let (wire, namespace) = prepare(&options).unwrap();
        assert_eq!(wire.url(), "https://kube.example:6443");
        assert_eq!(namespace.as_str(), "team-a");
        options.namespace = Some("team-b".parse().unwrap());
        assert_eq!(prepare(&options).unwrap().1.as_str(), "team-b");
    }

    const CONFIG: &str = "
apiVersion: v1
kind: Config
current-context: it
contexts:
  - name: it
    context: {cluster: it, user: it, namespace: team-a}
clusters:
  - name: it
    cluster:
      server: https://kube.example:6443
users:
  - name: it
    user: {token: secret}
";
}
