//! `[store]` and `[secrets]`: where objects and keys are kept, and which keys may be used.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use kedge_api::Namespace;
use kedge_service::{ConfigError, ConfigPath, Source};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::defaults;

/// Where the hub keeps its objects.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct StoreConfig {
    /// `embedded`: one file in `state-dir`. `kubernetes`: custom resources of a cluster, which several hubs share; the
    /// history of sessions stays in a file in `state-dir`. `kedge-hub export` and `kedge-hub import` carry objects over.
    pub kind: StoreKind,
    /// Which cluster, and where in it.
    pub kubernetes: KubernetesConfig,
}

/// What keeps the objects.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum StoreKind {
    /// One file.
    #[default]
    Embedded,
    /// A cluster's API server.
    Kubernetes,
}

/// Which cluster, and where in it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct KubernetesConfig {
    /// A kubeconfig file; `credential:NAME` is a credential of the service manager. Unless given, the hub uses its pod's
    /// service account.
    pub kubeconfig: Option<ConfigPath>,
    /// The namespace of the hub's objects. Unless given, it is the pod's own, or that of the kubeconfig's context.
    pub namespace: Option<String>,
}

/// The keys that servers are reached with.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SecretsConfig {
    /// Namespaces whose Secrets a server may refer to with `spec.sshKeySecretRef`. None means that no key is injected.
    pub namespaces: Vec<String>,
    /// Folder with Secrets as files, `NAMESPACE/NAME/KEY`, as mounted Secrets are laid out. Unless given it is `secrets`
    /// in `state-dir`; with the Kubernetes store, the cluster's own Secrets are read in its place.
    pub folder: Option<ConfigPath>,
    /// Refuse Secrets without the annotation `kedge.dev/servers`, by which their owner says for which servers they are.
    pub require_annotation: bool,
    /// Sign for clients that cannot prove which server they talk to: OpenSSH before 8.9. Whoever has such a client, and
    /// may reach one server with a key, can then use it on any other that takes the same key.
    pub allow_unbound_clients: bool,
}

/// Where the hub keeps its objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreSettings {
    /// One file in the state directory.
    Embedded,
    /// A cluster's API server.
    Kubernetes {
        /// The kubeconfig; none inside the cluster.
        kubeconfig: Option<PathBuf>,
        /// The namespace; none for the one that the connection implies.
        namespace: Option<Namespace>,
    },
}

/// The keys that servers are reached with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretsSettings {
    /// Namespaces that a server may refer to.
    pub namespaces: BTreeSet<Namespace>,
    /// Where Secrets are files; `None` when the store has them.
    pub folder: Option<PathBuf>,
    /// Whether their owner must have said for which servers they are.
    pub require_annotation: bool,
    /// Whether clients sign that cannot prove which server they talk to.
    pub allow_unbound_clients: bool,
}

impl StoreConfig {
    pub(super) fn settle(self, source: &Source) -> Result<StoreSettings, ConfigError> {
        let KubernetesConfig {
            kubeconfig,
            namespace,
        } = self.kubernetes;
        if self.kind == StoreKind::Embedded {
            for (key, given) in [
                ("store.kubernetes.kubeconfig", kubeconfig.is_some()),
                ("store.kubernetes.namespace", namespace.is_some()),
            ] {
                if given {
                    let problem = "has no meaning unless store.kind = \"kubernetes\"";
                    return Err(source.refuse(key, problem));
                }
            }
            return Ok(StoreSettings::Embedded);
        }
        let kubeconfig = kubeconfig
            .map(|path| found(&path, "store.kubernetes.kubeconfig", source))
            .transpose()?;
        let namespace = namespace
            .map(|text| namespace_of(&text, "store.kubernetes.namespace", source))
            .transpose()?;
        Ok(StoreSettings::Kubernetes {
            kubeconfig,
            namespace,
        })
    }
}

impl SecretsConfig {
    pub(super) fn settle(
        self,
        source: &Source,
        state_dir: &Path,
        store: &StoreSettings,
    ) -> Result<SecretsSettings, ConfigError> {
        let folder = self
            .folder
            .map(|path| found(&path, "secrets.folder", source))
            .transpose()?;
        let namespaces = self
            .namespaces
            .iter()
            .map(|text| namespace_of(text, "secrets.namespaces", source))
            .collect::<Result<_, _>>()?;
        let usual =
            (*store == StoreSettings::Embedded).then(|| state_dir.join(defaults::SECRETS_FOLDER));
        Ok(SecretsSettings {
            namespaces,
            folder: folder.or(usual),
            require_annotation: self.require_annotation,
            allow_unbound_clients: self.allow_unbound_clients,
        })
    }
}

fn namespace_of(text: &str, key: &str, source: &Source) -> Result<Namespace, ConfigError> {
    text.parse()
        .map_err(|error: kedge_api::NameError| source.refuse(key, error.to_string()))
}

fn found(path: &ConfigPath, key: &str, source: &Source) -> Result<PathBuf, ConfigError> {
    match path.is_absolute() {
        true => source.locate(key, path),
        false => Err(source.refuse(key, "must be an absolute path")),
    }
}
