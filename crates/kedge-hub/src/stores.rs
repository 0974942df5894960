//! Opens what the configuration says objects and Secrets are kept in.

use std::path::PathBuf;
use std::sync::Arc;

use kedge_store::{
    ConnectError, EmbeddedStore, FolderSecrets, Health, KubernetesOptions, KubernetesStore, Lease,
    SharedSecrets, SharedStore,
};
use tokio::sync::watch;

use crate::{
    config::{Settings, StoreSettings},
    defaults,
};

/// Where a hub keeps what.
#[derive(Clone, Debug)]
pub struct Stores {
    /// Objects and history.
    pub store: SharedStore,
    /// The keys of servers.
    pub secrets: SharedSecrets,
    /// Of a store that hubs share: what there is besides.
    pub shared: Option<SharedParts>,
}

/// What comes with a store that hubs share.
#[derive(Clone, Debug)]
pub struct SharedParts {
    /// Whose turn it is to work.
    pub lease: Lease,
    /// Whether the store is heard of.
    pub health: watch::Receiver<Health>,
}

impl Stores {
    /// Opens them.
    ///
    /// # Errors
    /// [`OpenError`], whatever the store fails with. A folder of Secrets that is not there is no error: it is when
    /// somebody needs one.
    ///
    /// # Cancel safety
    /// Cancel safe: what was opened is closed.
    pub async fn open(settings: &Settings) -> Result<Self, OpenError> {
        let folder = settings
            .secrets
            .folder
            .clone()
            .map(|folder| -> SharedSecrets { Arc::new(FolderSecrets::new(folder)) });
        match &settings.store {
            StoreSettings::Embedded => {
                let path = embedded_path(settings);
                let store = tokio::task::spawn_blocking(move || EmbeddedStore::open(path))
                    .await
                    .map_err(|_| OpenError::Interrupted)??;
                let folder = folder.unwrap_or_else(|| {
                    let usual = settings.state_dir.join(defaults::SECRETS_FOLDER);
                    Arc::new(FolderSecrets::new(usual))
                });
                Ok(Self {
                    store: store.shared(),
                    secrets: folder,
                    shared: None,
                })
            }
            StoreSettings::Kubernetes {
                kubeconfig,
                namespace,
            } => {
                let store = KubernetesStore::connect(KubernetesOptions {
                    kubeconfig: kubeconfig.clone(),
                    namespace: namespace.clone(),
                    history: settings.state_dir.join(defaults::HISTORY_FILE),
                    identity: machine(),
                })
                .await?;
                Ok(Self {
                    shared: Some(SharedParts {
                        lease: store.lease()?,
                        health: store.health(),
                    }),
                    secrets: folder.unwrap_or_else(|| Arc::new(store.clone())),
                    store: store.shared(),
                })
            }
        }
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file.
    #[error(transparent)]
    Embedded(#[from] kedge_store::OpenError),
    /// The process ends.
    #[error("the hub ends before its store is open")]
    Interrupted,
    /// The cluster.
    #[error(transparent)]
    Kubernetes(#[from] ConnectError),
}

/// This machine's name, or the pod's.
fn machine() -> String {
    let system = rustix::system::uname();
    system.nodename().to_string_lossy().into_owned()
}

/// The embedded store's file of a hub with this state directory.
#[must_use]
pub fn embedded_path(settings: &Settings) -> PathBuf {
    settings.state_dir.join("hub.db")
}
