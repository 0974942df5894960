//! What an implementation provides: objects as JSON, so that the trait can be an object itself.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use kedge_api::{LabelSelector, Labels, ResourceVersion, Time};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::error::StoreError;
use crate::history::{HistoryLine, HistoryPage, HistoryQuery, Pruned, StoredLine};
use crate::kind::Kind;

/// A store that everybody holds.
pub type SharedStore = Arc<dyn Store>;
/// A future of the trait's methods.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One version of one object: its JSON as text, which takes an eighth of what a tree of it takes in memory. Never changes;
/// clones share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot(Arc<str>);

impl Snapshot {
    /// Of an object as it is now.
    #[must_use]
    pub fn of(object: &Value) -> Self {
        Self(object.to_string().into())
    }

    /// Its JSON.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The object, to be changed.
    #[must_use]
    pub fn tree(&self) -> Value {
        // It was written from a tree, so it is one.
        serde_json::from_str(&self.0).unwrap_or_default()
    }

    /// The object as one of its type.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read<R: DeserializeOwned>(&self) -> Result<R, serde_json::Error> {
        // The second way says what is wrong by what it is and not by where it stands in a text that nobody wrote.
        serde_json::from_str(&self.0).or_else(|_| R::deserialize(self.tree()))
    }

    /// Whether both are the very same version of one object, which is known without a look at them.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The object's name; none when it is unreadable.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Named {
            metadata: NamedMetadata,
        }
        #[derive(Deserialize)]
        struct NamedMetadata {
            name: String,
        }
        let named: Named = serde_json::from_str(&self.0).ok()?;
        Some(named.metadata.name)
    }

    /// The object's labels; none when they are unreadable.
    pub(crate) fn labels(&self) -> Labels {
        #[derive(Deserialize)]
        struct Labelled {
            metadata: LabelledMetadata,
        }
        #[derive(Deserialize)]
        struct LabelledMetadata {
            labels: Labels,
        }
        serde_json::from_str(&self.0)
            .map(|labelled: Labelled| labelled.metadata.labels)
            .unwrap_or_default()
    }
}

/// A place that keeps objects. Callers use the typed methods of `dyn Store`.
///
/// A write whose future is dropped may still happen. Versions grow from write to write, whatever the kind; the version of
/// a list says how far the objects *of its kind* are seen, and a watch begins with a version of its own kind.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// One object.
    fn read<'a>(&'a self, kind: Kind, name: &'a str)
    -> BoxFuture<'a, Result<Snapshot, StoreError>>;

    /// All selected objects of a kind in the order of their names, at one moment.
    fn read_all<'a>(
        &'a self,
        kind: Kind,
        selector: &'a LabelSelector,
    ) -> BoxFuture<'a, Result<RawList, StoreError>>;

    /// What happens to the selected objects of a kind.
    fn follow<'a>(
        &'a self,
        kind: Kind,
        selector: &'a LabelSelector,
        from: WatchFrom,
    ) -> BoxFuture<'a, Result<RawWatch, StoreError>>;

    /// Changes one object, and answers with what is stored now (or was, before a deletion).
    fn write(&self, write: Write) -> BoxFuture<'_, Result<Snapshot, StoreError>>;

    /// A small text the hub keeps for itself.
    fn meta(&self, key: MetaKey) -> BoxFuture<'_, Result<Option<String>, StoreError>>;

    /// Sets such a text unless it is there, and answers with the one that is.
    fn init_meta(&self, key: MetaKey, value: String) -> BoxFuture<'_, Result<String, StoreError>>;

    /// Sets such a text, whatever it was.
    fn set_meta(&self, key: MetaKey, value: String) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Adds lines to the history, all of them or none; they are on disk when it answers.
    fn append(&self, lines: Vec<HistoryLine>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// A page of the history in the order of time, and within a second in the order of appending.
    fn history(&self, query: HistoryQuery) -> BoxFuture<'_, Result<HistoryPage, StoreError>>;

    /// The newest lines about a name, the newest first; at most `limit`, and fewer when they are large.
    fn history_about(
        &self,
        about: String,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredLine>, StoreError>>;

    /// Removes a small batch of the oldest lines beyond `keep_at_most`, or of those older than `before`. Callers use
    /// `prune`.
    fn prune_some(
        &self,
        before: Time,
        keep_at_most: u64,
    ) -> BoxFuture<'_, Result<Pruned, StoreError>>;
}

/// The texts a hub keeps for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetaKey {
    /// Its id.
    HubId,
    /// The export that is being imported; empty or absent when none is.
    Import,
    /// The keys of token issuers as last fetched, so that tokens can be verified while an issuer is down.
    IssuerKeys,
}

impl MetaKey {
    /// Its name in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HubId => "hub-id",
            Self::Import => "import",
            Self::IssuerKeys => "issuer-keys",
        }
    }
}

/// A change of one object.
#[derive(Clone, Debug)]
pub enum Write {
    /// A new object.
    Create(Kind, Value),
    /// The removal of an object.
    Delete(Kind, String, Precondition),
    /// Another spec, other labels, other annotations.
    Update(Kind, Value),
    /// Another status.
    UpdateStatus(Kind, Value),
}

/// What must hold for an object to be deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Precondition {
    /// Whatever it is now.
    #[default]
    None,
    /// It is still this version.
    Version(ResourceVersion),
}

/// All objects of a kind at one moment.
#[derive(Clone, Debug)]
pub struct RawList {
    /// The moment.
    pub version: ResourceVersion,
    /// The objects in the order of their names.
    pub items: Vec<Snapshot>,
}

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchFrom {
    /// With what happens after this version.
    After(ResourceVersion),
    /// With every object there is now as `Added`, then what happens.
    Start,
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub struct Happening {
    /// What.
    pub change: Change,
    /// The store's version after it.
    pub version: ResourceVersion,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Change {
    /// There is a new object.
    Added(Snapshot),
    /// Nothing, up to this version.
    Bookmark,
    /// An object is gone; its last state, with the version of its deletion.
    Deleted(Snapshot),
    /// An object changed.
    Modified {
        /// What it was.
        before: Snapshot,
        /// What it is.
        after: Snapshot,
    },
}

/// What a happening is to a watcher with a selector: an object that begins to match is `Added`, one
/// that ceases to is `Deleted`, and what does not concern it is nothing.
#[must_use]
pub fn select(happening: &Happening, selector: &LabelSelector) -> Option<Happening> {
    if selector.is_empty() {
        return Some(happening.clone());
    }
    let selected = |object: &Snapshot| selector.matches(&object.labels());
    let change = match &happening.change {
        Change::Bookmark => Change::Bookmark,
        Change::Added(object) | Change::Deleted(object) if !selected(object) => return None,
        Change::Modified { before, after } => match (selected(before), selected(after)) {
            (false, false) => return None,
            (false, true) => Change::Added(after.clone()),
            (true, false) => Change::Deleted(after.clone()),
            (true, true) => happening.change.clone(),
        },
        unchanged => unchanged.clone(),
    };
    Some(Happening {
        change,
        version: happening.version,
    })
}

/// A watch under way: first what is known already, then what is sent.
#[derive(Debug)]
pub struct RawWatch {
    backlog: std::vec::IntoIter<Happening>,
    live: mpsc::Receiver<Happening>,
    end: Option<oneshot::Receiver<StoreError>>,
}

/// The store's end of a watch.
#[derive(Debug)]
pub struct RawWatchSender {
    live: mpsc::Sender<Happening>,
    end: Option<oneshot::Sender<StoreError>>,
}

impl RawWatch {
    /// A watch that begins with `backlog`, and the store's end of it, which holds at most `queue`
    /// happenings that the watcher has not taken.
    #[must_use]
    pub fn new(backlog: Vec<Happening>, queue: usize) -> (Self, RawWatchSender) {
        // Backpressure: none on the store. A watcher that falls behind by `queue` is ended.
        let (sender, live) = mpsc::channel(queue);
        let (end_sender, end) = oneshot::channel();
        let watch = Self {
            backlog: backlog.into_iter(),
            live,
            end: Some(end),
        };
        (
            watch,
            RawWatchSender {
                live: sender,
                end: Some(end_sender),
            },
        )
    }

    /// The next happening; `None` once the store is closed, or after an error.
    ///
    /// # Errors
    /// [`StoreError::Expired`] when the watcher was too slow, after what it still had coming.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is lost.
    pub async fn next(&mut self) -> Option<Result<Happening, StoreError>> {
        if let Some(happening) = self.backlog.next() {
            return Some(Ok(happening));
        }
        if let Some(happening) = self.live.recv().await {
            return Some(Ok(happening));
        }
        // The sender says why before it goes, so there is nothing to wait for.
        self.end
            .take()
            .and_then(|mut end| end.try_recv().ok())
            .map(Err)
    }
}

impl RawWatchSender {
    /// Passes a happening on, or ends the watch with [`StoreError::Expired`] when the watcher is too
    /// far behind. `Err` means that this watch is over.
    ///
    /// # Errors
    /// The watcher is gone or was just ended; forget this sender.
    pub fn send(&mut self, happening: Happening) -> Result<(), WatchOver> {
        match self.live.try_send(happening) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.fail(StoreError::Expired);
                Err(WatchOver)
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(WatchOver),
        }
    }

    /// Whether the watcher is gone.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.live.is_closed()
    }

    /// Says why the watch ends. Drop the sender after it.
    pub fn fail(&mut self, error: StoreError) {
        if let Some(end) = self.end.take() {
            // A watcher that is gone does not care.
            let _ = end.send(error);
        }
    }
}

/// A watch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the watch is over")]
pub struct WatchOver;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_snapshot_is_the_object_and_tells_name_and_labels_or_nothing() {
        let object = json!({"metadata": {"name": "web01", "labels": {"role": "web"}}, "spec": {"a": [1, null]}});
        let snapshot = Snapshot::of(&object);
        assert_eq!(snapshot.tree(), object);
        assert_eq!(snapshot.name().unwrap(), "web01");
        assert_eq!(snapshot.labels().len(), 1);
        let clone = snapshot.clone();
        assert!(clone.is_same(&snapshot), "kept once");
        assert!(!Snapshot::of(&object).is_same(&snapshot));
        for odd in [
            json!(null),
            json!([]),
            json!({"metadata": null}),
            json!({"metadata": {"name": 3, "labels": {"role": ["web"]}}}),
            json!({"metadata": {"labels": {"-": "\u{0}"}}}),
        ] {
            let snapshot = Snapshot::of(&odd);
            assert_eq!(snapshot.tree(), odd);
            assert_eq!((snapshot.name(), snapshot.labels().len()), (None, 0));
        }
    }
}
