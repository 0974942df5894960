//! The objects in memory, what happened to them lately, and who wants to know.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kedge_api::{LabelSelector, ResourceVersion};

use crate::defaults::{
    BOOKMARK_EVERY, HISTORY_AGE, HISTORY_BYTES, HISTORY_EVENTS, WATCH_QUEUE, WATCHERS_MAX,
};
use crate::error::StoreError;
use crate::kind::Kind;
use crate::raw::{
    Change, Happening, MetaKey, RawList, RawWatch, RawWatchSender, Snapshot, WatchFrom, select,
};

/// Objects by the plural of their kind and their name.
pub(crate) type Objects = BTreeMap<String, BTreeMap<String, Snapshot>>;
/// The hub's own texts.
pub(crate) type Meta = BTreeMap<String, String>;

/// What readers see: everything that is committed, and nothing else.
pub(crate) struct View {
    state: Mutex<State>,
    limits: ViewLimits,
}

/// What a view keeps of the past, and for whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ViewLimits {
    /// Events kept for watchers that come back.
    pub(crate) history_events: usize,
    /// Bytes of events kept for watchers that come back.
    pub(crate) history_bytes: usize,
    /// How long events are kept.
    pub(crate) history_age: Duration,
    /// Events that may wait in one watcher.
    pub(crate) watch_queue: usize,
}

impl Default for ViewLimits {
    fn default() -> Self {
        Self {
            history_events: HISTORY_EVENTS,
            history_bytes: HISTORY_BYTES,
            history_age: HISTORY_AGE,
            watch_queue: WATCH_QUEUE,
        }
    }
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
pub(crate) struct Past {
    pub(crate) kind: Kind,
    pub(crate) happening: Happening,
    pub(crate) bytes: usize,
    pub(crate) at: Timestamp,
}

struct Watcher {
    kind: Kind,
    selector: LabelSelector,
    sender: RawWatchSender,
    told: ResourceVersion,
}

impl View {
    pub(crate) fn new(
        objects: Objects,
        meta: Meta,
        version: ResourceVersion,
        limits: ViewLimits,
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
            limits,
        }
    }

    pub(crate) fn version(&self) -> ResourceVersion {
        self.lock().version
    }

    pub(crate) fn read(&self, kind: Kind, name: &str) -> Result<Snapshot, StoreError> {
        self.find(kind, name).ok_or_else(|| StoreError::NotFound {
            kind,
            name: name.to_owned(),
        })
    }

    pub(crate) fn find(&self, kind: Kind, name: &str) -> Option<Snapshot> {
        self.lock().objects.get(kind.plural)?.get(name).cloned()
    }

    pub(crate) fn read_all(&self, kind: Kind, selector: &LabelSelector) -> RawList {
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

    pub(crate) fn follow(
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
        let (watch, sender) = RawWatch::new(backlog, self.limits.watch_queue.max(1));
        let told = state.version;
        state.watchers.push(Watcher {
            kind,
            selector: selector.clone(),
            sender,
            told,
        });
        Ok(watch)
    }

    pub(crate) fn meta(&self, key: MetaKey) -> Option<String> {
        self.lock().meta.get(key.as_str()).cloned()
    }

    /// All objects of a kind by their names.
    pub(crate) fn all_of(&self, kind: Kind) -> BTreeMap<String, Snapshot> {
        let state = self.lock();
        state.objects.get(kind.plural).cloned().unwrap_or_default()
    }

    /// The newest deletion of which this holds, if the history still knows it.
    pub(crate) fn deletion(
        &self,
        kind: Kind,
        mut holds: impl FnMut(&Snapshot) -> bool,
    ) -> Option<Snapshot> {
        let state = self.lock();
        let newest_first = state.history.iter().rev();
        let mut of_kind = newest_first.filter(|past| past.kind == kind);
        of_kind.find_map(|past| match &past.happening.change {
            Change::Deleted(object) if holds(object) => Some(object.clone()),
            _ => None,
        })
    }

    /// Begins anew with other objects. What happened in between is not known, so everybody who watches is told to list
    /// again.
    pub(crate) fn reset(&self, objects: Objects, version: ResourceVersion) {
        let mut state = self.lock();
        state.objects = objects;
        state.version = version;
        state.reaches_back_to = version;
        state.history.clear();
        state.history_bytes = 0;
        for mut watcher in state.watchers.drain(..) {
            watcher.sender.fail(StoreError::Expired);
        }
    }

    /// Makes a commit visible, all of it at once, and tells the watchers.
    pub(crate) fn publish(&self, events: Vec<Past>, meta: Meta) {
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
            if state.history.len() <= self.limits.history_events
                && state.history_bytes <= self.limits.history_bytes
                && age <= self.limits.history_age
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
