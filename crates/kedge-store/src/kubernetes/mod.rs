//! Objects in Kubernetes: custom resources in one namespace, watched into memory.
//!
//! - Opening: read the configuration, list every kind, and begin to watch each.
//! - Reading never asks the API server: what it last told of is in memory.
//! - A write is one call that names the version it changes, and is answered once the view has it.
//! - While the API server is away, what is known is served on and writes are refused; when it is back, what was missed
//!   is told.
//! - The history is in a file on this machine, and the hub's own texts are in a ConfigMap.

mod diff;
mod health;
mod lease;
mod meta;
mod mirror;
mod options;
mod pause;
mod reflect;
mod secrets;
mod shape;
mod wire;
mod write;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use kedge_api::{LabelSelector, Namespace, SecretDataKey, SecretRef, Time};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

pub use health::Health;
pub use lease::{Held, Lease, Lost, Standing};
pub use options::{ConnectError, KubernetesOptions};

use crate::apply::kind_of;
use crate::defaults::{CONNECT_PATIENCE, REFLECT_PAUSE, REFLECT_PAUSE_MAX};
use crate::embedded::EmbeddedStore;
use crate::error::StoreError;
use crate::history::{HistoryLine, HistoryPage, HistoryQuery, Pruned, StoredLine};
use crate::kind::Kind;
use crate::raw::{
    BoxFuture, MetaKey, RawList, RawWatch, SharedStore, Snapshot, Store, WatchFrom, Write,
};
use crate::secrets::{SecretError, SecretField, Secrets};
use health::Pulse;
use meta::MetaMap;
use mirror::Mirror;
use pause::Pauses;
use reflect::{Listed, ReflectError, Reflector};
use wire::Wire;
use write::Writer;

/// The store in Kubernetes. Cheap to clone; watching ends when the last clone is dropped.
#[derive(Clone)]
pub struct KubernetesStore(Arc<Inner>);

struct Inner {
    wire: Arc<Wire>,
    namespace: Namespace,
    identity: String,
    mirrors: BTreeMap<Kind, Arc<Mirror>>,
    meta: Arc<MetaMap>,
    pulse: Arc<Pulse>,
    history: SharedStore,
    runtime: Handle,
    // Calls under way, which go on when whoever wanted them is gone.
    calls: TaskTracker,
    _reflectors: JoinSet<()>,
}

impl KubernetesStore {
    /// Opens the store: finds the API server, lists every kind, and begins to watch. Waits up to 20 s for an API server
    /// that does not answer.
    ///
    /// Watches and calls run in the runtime in which this is called.
    ///
    /// # Errors
    /// [`ConnectError`]: the configuration cannot be used, the API server cannot be reached, it does not know kedge's
    /// kinds, a right is missing, or the file of the history cannot be opened.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing was changed.
    pub async fn connect(options: KubernetesOptions) -> Result<Self, ConnectError> {
        let identity = options.identity.clone();
        let prepared = tokio::task::spawn_blocking(move || {
            let (wire, namespace) = options::prepare(&options)?;
            let history = EmbeddedStore::open(&options.history)?;
            Ok::<_, ConnectError>((wire, namespace, history))
        });
        let (wire, namespace, history) = prepared.await.unwrap_or_else(|error| {
            // Nobody cancels it.
            std::panic::resume_unwind(error.into_panic())
        })?;
        let wire = Arc::new(wire);
        let pulse = Pulse::new(wire.url().to_owned());
        let end = Instant::now() + CONNECT_PATIENCE;
        let mut mirrors = BTreeMap::new();
        let mut reflectors = JoinSet::new();
        for kind in Kind::ALL {
            let listed = first_list(&wire, &namespace, kind, end).await?;
            let mirror = Arc::new(Mirror::new(kind, &listed.objects, listed.version));
            let reflector = Reflector::new(
                Arc::clone(&wire),
                namespace.clone(),
                Arc::clone(&mirror),
                Arc::clone(&pulse),
                listed.version,
            );
            reflectors.spawn(reflector.run());
            mirrors.insert(kind, mirror);
        }
        Ok(Self(Arc::new(Inner {
            meta: Arc::new(MetaMap::new(Arc::clone(&wire), namespace.clone())),
            wire,
            namespace,
            identity,
            mirrors,
            pulse,
            history: history.shared(),
            runtime: Handle::current(),
            calls: TaskTracker::new(),
            _reflectors: reflectors,
        })))
    }

    /// As the trait's object.
    #[must_use]
    pub fn shared(self) -> SharedStore {
        Arc::new(self)
    }

    /// The namespace that the objects are in.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.0.namespace
    }

    /// Where the API server is, for people.
    #[must_use]
    pub fn url(&self) -> &str {
        self.0.wire.url()
    }

    /// Whether the store hears from the API server, now and whenever that changes.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.0.pulse.watch()
    }

    /// A candidate for the Lease by which one hub of several is the one that serves.
    ///
    /// # Errors
    /// [`ConnectError::Random`] when the system has no randomness for its name.
    pub fn lease(&self) -> Result<Lease, ConnectError> {
        Ok(Lease::new(
            Arc::clone(&self.0.wire),
            self.0.namespace.clone(),
            &self.0.identity,
            self.0.runtime.clone(),
        )?)
    }

    fn mirror(&self, kind: Kind) -> Result<&Arc<Mirror>, StoreError> {
        // There is one for every kind there is.
        self.0.mirrors.get(&kind).ok_or(StoreError::Closed)
    }

    /// Does something in the store's runtime, to its end: a change that was begun is not left half-way because whoever
    /// wanted it is gone.
    async fn call<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        match self.0.calls.spawn_on(work, &self.0.runtime).await {
            Ok(done) => done,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(StoreError::Closed),
        }
    }
}

/// Lists a kind until that works, or it is clear that it will not.
async fn first_list(
    wire: &Wire,
    namespace: &Namespace,
    kind: Kind,
    end: Instant,
) -> Result<Listed, ConnectError> {
    let mut pauses = Pauses::new(REFLECT_PAUSE, REFLECT_PAUSE_MAX);
    loop {
        let error = match reflect::list(wire, namespace, kind).await {
            Ok(listed) => return Ok(listed),
            Err(ReflectError::Call(error)) => {
                let right = format!(
                    "list {}.{} in namespace {namespace}",
                    kind.plural,
                    kedge_api::API_GROUP
                );
                ConnectError::of(wire, kind, right, error)
            }
            // It is something else that answers, and it will be the next time.
            Err(other) => {
                return Err(ConnectError::Unavailable {
                    url: wire.url().to_owned(),
                    cause: other.to_string(),
                });
            }
        };
        let pause = pauses.next();
        let hopeless = !matches!(error, ConnectError::Unavailable { .. });
        if hopeless || Instant::now() + pause >= end {
            return Err(error);
        }
        sleep(pause).await;
    }
}

impl Store for KubernetesStore {
    fn read<'a>(
        &'a self,
        kind: Kind,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Snapshot, StoreError>> {
        let read = self
            .mirror(kind)
            .and_then(|mirror| mirror.view().read(kind, name));
        Box::pin(std::future::ready(read))
    }

    fn read_all<'a>(
        &'a self,
        kind: Kind,
        selector: &'a LabelSelector,
    ) -> BoxFuture<'a, Result<RawList, StoreError>> {
        let mirror = self.mirror(kind);
        let read = mirror.map(|mirror| mirror.view().read_all(kind, selector));
        Box::pin(std::future::ready(read))
    }

    fn follow<'a>(
        &'a self,
        kind: Kind,
        selector: &'a LabelSelector,
        from: WatchFrom,
    ) -> BoxFuture<'a, Result<RawWatch, StoreError>> {
        let watch = self
            .mirror(kind)
            .and_then(|mirror| mirror.view().follow(kind, selector, from));
        Box::pin(std::future::ready(watch))
    }

    fn write(&self, write: Write) -> BoxFuture<'_, Result<Snapshot, StoreError>> {
        Box::pin(async move {
            let writer = Writer {
                wire: Arc::clone(&self.0.wire),
                namespace: self.0.namespace.clone(),
                mirror: Arc::clone(self.mirror(kind_of(&write))?),
            };
            self.call(async move { writer.write(&write).await }).await
        })
    }

    fn meta(&self, key: MetaKey) -> BoxFuture<'_, Result<Option<String>, StoreError>> {
        let meta = Arc::clone(&self.0.meta);
        Box::pin(self.call(async move { meta.read(key).await }))
    }

    fn init_meta(&self, key: MetaKey, value: String) -> BoxFuture<'_, Result<String, StoreError>> {
        let meta = Arc::clone(&self.0.meta);
        Box::pin(self.call(async move { meta.init(key, &value).await }))
    }

    fn set_meta(&self, key: MetaKey, value: String) -> BoxFuture<'_, Result<(), StoreError>> {
        let meta = Arc::clone(&self.0.meta);
        Box::pin(self.call(async move { meta.set(key, &value).await }))
    }

    fn append(&self, lines: Vec<HistoryLine>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.0.history.append(lines)
    }

    fn history(&self, query: HistoryQuery) -> BoxFuture<'_, Result<HistoryPage, StoreError>> {
        self.0.history.history(query)
    }

    fn history_about(
        &self,
        about: String,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredLine>, StoreError>> {
        self.0.history.history_about(about, limit)
    }

    fn prune_some(
        &self,
        before: Time,
        keep_at_most: u64,
    ) -> BoxFuture<'_, Result<Pruned, StoreError>> {
        self.0.history.prune_some(before, keep_at_most)
    }
}

impl Secrets for KubernetesStore {
    fn field<'a>(
        &'a self,
        secret: &'a SecretRef,
        key: &'a SecretDataKey,
    ) -> BoxFuture<'a, Result<SecretField, SecretError>> {
        Box::pin(async move {
            let wire = Arc::clone(&self.0.wire);
            let (of, at) = (secret.clone(), key.clone());
            let read = async move { secrets::field(&wire, &of, &at).await };
            match self.0.calls.spawn_on(read, &self.0.runtime).await {
                Ok(done) => done,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => Err(SecretError::Unavailable {
                    secret: secret.clone(),
                    cause: "the hub is ending".to_owned(),
                }),
            }
        })
    }
}

impl fmt::Debug for KubernetesStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubernetesStore")
            .field("url", &self.url())
            .field("namespace", self.namespace())
            .finish_non_exhaustive()
    }
}
