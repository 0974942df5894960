//! The objects in memory, what happened to them lately, and who wants to know.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kedge_api::{LabelSelector, ResourceVersion};

use super::Options;
use crate::defaults::{BOOKMARK_EVERY, WATCHERS_MAX};
use crate::error::StoreError;
use crate::raw::{
    Change, Happening, Kind, MetaKey, RawList, RawWatch, RawWatchSender, Snapshot, WatchFrom,
    select,
};

/// Objects by the plural of their kind and their name.
pub(super) type Objects = BTreeMap<String, BTreeMap<String, Snapshot>>;
/// The hub's own texts.
pub(super) type Meta = BTreeMap<String, String>;

/// What readers see: everything that is committed, and nothing else.
pub(super) struct View {
    state: Mutex<State>,
    history_events: usize,
    history_bytes: usize,
    history_age: Duration,
    watch_queue: usize,
}

struct State {
    objects: Objects,
    meta: Meta,
    version: ResourceVersion,
    history: VecDeque<Past>,
    history_bytes: usize,
    // The version before the oldest event of the history: what can still be watched from.
    reaches_back_to: ResourceVersion,
    watchers: Vec<Watcher>,
}

/// One event of the history.
pub(super) struct Past {
    pub(super) kind: Kind,
    pub(super) happening: Happening,
    pub(super) bytes: usize,
    pub(super) at: Timestamp,
}

struct Watcher {
    kind: Kind,
    selector: LabelSelector,
    sender: RawWatchSender,
    told: ResourceVersion,
}

impl View {
    pub(super) fn new(
        objects: Objects,
        meta: Meta,
        version: ResourceVersion,
        options: &Options,
    ) -> Self {
        Self {
            state: Mutex::new(State {
                objects,
                meta,
                version,
                history: VecDeque::new(),
                history_bytes: 0,
                reaches_back_to: version,
                watchers: Vec::new(),
            }),
            history_events: options.history_events,
            history_bytes: options.history_bytes,
            history_age: options.history_age,
            watch_queue: options.watch_queue,
        }
    }

    pub(super) fn version(&self) -> ResourceVersion {
        self.lock().version
    }

    pub(super) fn read(&self, kind: Kind, name: &str) -> Result<Snapshot, StoreError> {
        self.find(kind, name).ok_or_else(|| StoreError::NotFound {
            kind,
            name: name.to_owned(),
        })
    }

    pub(super) fn find(&self, kind: Kind, name: &str) -> Option<Snapshot> {
        self.lock().objects.get(kind.plural)?.get(name).cloned()
    }

    pub(super) fn read_all(&self, kind: Kind, selector: &LabelSelector) -> RawList {
        let (items, version) = {
            let state = self.lock();
            (state.all(kind), state.version)
        };
        // Selecting parses labels, so it is done after the lock is given back.
        let selected =
            |object: &Snapshot| selector.is_empty() || selector.matches(&object.labels());
        RawList {
            version,
            items: items.into_iter().filter(selected).collect(),
        }
    }

    pub(super) fn follow(
        &self,
        kind: Kind,
        selector: &LabelSelector,
        from: WatchFrom,
    ) -> Result<RawWatch, StoreError> {
        let mut state = self.lock();
        state.watchers.retain(|watcher| !watcher.sender.is_over());
        if state.watchers.len() >= WATCHERS_MAX {
            return Err(StoreError::TooManyWatches);
        }
        let backlog = match from {
            WatchFrom::Start => state.as_added(kind, selector),
            WatchFrom::After(version) => state.since(kind, selector, version)?,
        };
        let (watch, sender) = RawWatch::new(backlog, self.watch_queue.max(1));
        let told = state.version;
        state.watchers.push(Watcher {
            kind,
            selector: selector.clone(),
            sender,
            told,
        });
        Ok(watch)
    }

    pub(super) fn meta(&self, key: MetaKey) -> Option<String> {
        self.lock().meta.get(key.as_str()).cloned()
    }

    /// Makes a commit visible, all of it at once, and tells the watchers.
    pub(super) fn publish(&self, events: Vec<Past>, meta: Meta) {
        let mut state = self.lock();
        state.meta.extend(meta);
        for event in events {
            state.take_in(&event);
            state.tell(&event);
            state.history_bytes = state.history_bytes.saturating_add(event.bytes);
            state.history.push_back(event);
        }
        self.forget_old(&mut state);
    }

    fn forget_old(&self, state: &mut State) {
        let Some(newest) = state.history.back().map(|event| event.at) else {
            return;
        };
        while let Some(oldest) = state.history.front() {
            let age = Duration::try_from(newest.duration_since(oldest.at)).unwrap_or_default();
            if state.history.len() <= self.history_events
                && state.history_bytes <= self.history_bytes
                && age <= self.history_age
            {
                return;
            }
            state.reaches_back_to = oldest.happening.version;
            state.history_bytes = state.history_bytes.saturating_sub(oldest.bytes);
            state.history.pop_front();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while holding it, and no reader is helped by a second panic if it did.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn all(&self, kind: Kind) -> Vec<Snapshot> {
        self.objects
            .get(kind.plural)
            .map(|all| all.values().cloned().collect())
            .unwrap_or_default()
    }

    fn as_added(&self, kind: Kind, selector: &LabelSelector) -> Vec<Happening> {
        let version = self.version;
        let mut backlog: Vec<_> = self
            .all(kind)
            .into_iter()
            .map(|object| Happening {
                change: Change::Added(object),
                version,
            })
            .filter_map(|happening| select(&happening, selector))
            .collect();
        // So that a watcher of an empty kind knows where it stands.
        backlog.push(Happening {
            change: Change::Bookmark,
            version,
        });
        backlog
    }

    fn since(
        &self,
        kind: Kind,
        selector: &LabelSelector,
        version: ResourceVersion,
    ) -> Result<Vec<Happening>, StoreError> {
        // A version from the future is one of another store, or of this one before it was restored.
        if version < self.reaches_back_to || version > self.version {
            return Err(StoreError::Expired);
        }
        let from = self
            .history
            .partition_point(|event| event.happening.version <= version);
        Ok(self
            .history
            .range(from..)
            .filter(|event| event.kind == kind)
            .filter_map(|event| select(&event.happening, selector))
            .collect())
    }

    fn take_in(&mut self, event: &Past) {
        self.version = event.happening.version;
        let objects = self
            .objects
            .entry(event.kind.plural.to_owned())
            .or_default();
        match &event.happening.change {
            Change::Added(object) | Change::Modified { after: object, .. } => {
                if let Some(name) = object.name() {
                    objects.insert(name, object.clone());
                }
            }
            Change::Deleted(object) => {
                if let Some(name) = object.name() {
                    objects.remove(&name);
                }
            }
            Change::Bookmark => {}
        }
    }

    fn tell(&mut self, event: &Past) {
        let version = event.happening.version;
        self.watchers.retain_mut(|watcher| {
            let news = if watcher.kind == event.kind {
                select(&event.happening, &watcher.selector)
            } else {
                None
            };
            let quiet_for = version.value().saturating_sub(watcher.told.value());
            let news = news.or_else(|| {
                (quiet_for >= BOOKMARK_EVERY).then_some(Happening {
                    change: Change::Bookmark,
                    version,
                })
            });
            match news {
                None => !watcher.sender.is_over(),
                Some(news) => {
                    watcher.told = version;
                    watcher.sender.send(news).is_ok()
                }
            }
        });
    }
}
