//! The objects of one kind as the API server last told of them, for readers and watchers.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kedge_api::ResourceVersion;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::diff::{Difference, difference};
use super::shape::{Event, Seen, uid_of};
use crate::kind::Kind;
use crate::raw::{Change, Happening, Snapshot};
use crate::view::{Meta, Objects, Past, View, ViewLimits};

/// A view of one kind, kept up to date by a reflector.
///
/// Each kind has a view of its own: the API server tells of each kind separately, so no version says how far all of them
/// are.
pub(super) struct Mirror {
    kind: Kind,
    view: View,
    // Counts what was made visible, for those who wait for something of it.
    moved: watch::Sender<u64>,
}

/// An event does not follow from what is known: something was missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap;

impl Mirror {
    /// Begins with a list.
    pub(super) fn new(
        kind: Kind,
        listed: &BTreeMap<String, Seen>,
        version: ResourceVersion,
    ) -> Self {
        let view = View::new(objects(kind, listed), Meta::new(), version, limits());
        Self {
            kind,
            view,
            moved: watch::Sender::new(0),
        }
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn view(&self) -> &View {
        &self.view
    }

    /// The object of that name.
    pub(super) fn find(&self, name: &str) -> Option<Snapshot> {
        self.view.find(self.kind, name)
    }

    /// Takes in an event of a watch.
    pub(super) fn take(&self, event: Event) -> Result<(), Gap> {
        let (seen, gone) = match event {
            Event::Is(seen) => (seen, false),
            Event::Was(seen) => (seen, true),
            Event::Bookmark(_) | Event::Over(_) => return Ok(()),
        };
        if seen.version <= self.view.version() {
            return Err(Gap);
        }
        let change = match (self.find(&seen.name), gone) {
            (None, true) => return Ok(()),
            (None, false) => Change::Added(seen.snapshot),
            (Some(_), true) => Change::Deleted(seen.snapshot),
            (Some(before), false) if uid_of(&before).as_ref() == Some(&seen.uid) => {
                Change::Modified {
                    before,
                    after: seen.snapshot,
                }
            }
            (Some(_), false) => return Err(Gap),
        };
        self.publish(vec![Happening {
            change,
            version: seen.version,
        }]);
        Ok(())
    }

    /// Takes in a list, which may be of another past than the one that is known.
    pub(super) fn replace(&self, listed: &BTreeMap<String, Seen>, version: ResourceVersion) {
        let known = self.view.all_of(self.kind);
        match difference(&known, self.view.version(), listed, version) {
            Difference::AnotherPast => {
                tracing::warn!(
                    kind = self.kind.plural,
                    "the Kubernetes API tells of another past; every watch begins anew"
                );
                self.view.reset(objects(self.kind, listed), version);
                self.moved.send_modify(|count| *count += 1);
            }
            Difference::These(found) => self.publish(found),
        }
    }

    fn publish(&self, found: Vec<Happening>) {
        let at = Timestamp::now();
        let past = found.into_iter().map(|happening| Past {
            kind: self.kind,
            bytes: held(&happening.change),
            happening,
            at,
        });
        let past: Vec<_> = past.collect();
        if !past.is_empty() {
            self.view.publish(past, Meta::new());
            self.moved.send_modify(|count| *count += 1);
        }
    }

    /// Waits until something holds of the view; `false` when it did not come to that in time.
    pub(super) async fn until(&self, end: Instant, mut holds: impl FnMut(&Self) -> bool) -> bool {
        let mut moved = self.moved.subscribe();
        loop {
            // What moves after this look ends the wait below.
            if holds(self) {
                return true;
            }
            if !matches!(timeout_at(end, moved.changed()).await, Ok(Ok(()))) {
                return holds(self);
            }
        }
    }
}

/// All kinds together keep as much of the past as a store of one view.
fn limits() -> ViewLimits {
    let limits = ViewLimits::default();
    ViewLimits {
        history_bytes: limits.history_bytes / Kind::ALL.len(),
        ..limits
    }
}

/// What an event holds in memory; the object before is shared with the event before.
fn held(change: &Change) -> usize {
    match change {
        Change::Added(object)
        | Change::Deleted(object)
        | Change::Modified { after: object, .. } => object.text().len(),
        Change::Bookmark => 0,
    }
}

fn objects(kind: Kind, listed: &BTreeMap<String, Seen>) -> Objects {
    let there = listed.iter().filter(|(_, seen)| !seen.leaving);
    let there = there.map(|(name, seen)| (name.clone(), seen.snapshot.clone()));
    Objects::from([(kind.plural.to_owned(), there.collect())])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kedge_api::{LabelSelector, Server};
    use serde_json::json;

    use super::*;
    use crate::error::StoreError;
    use crate::raw::WatchFrom;

    fn seen(name: &str, uid: u64, version: u64) -> Seen {
        let object = json!({
            "metadata": {
                "name": name,
                "uid": format!("00000000-0000-4000-8000-{uid:012}"),
                "resourceVersion": version.to_string(),
            },
        });
        super::super::shape::seen(Kind::of::<Server>(), object).unwrap()
    }

    fn mirror() -> Mirror {
        let listed = BTreeMap::from([("a".to_owned(), seen("a", 1, 5))]);
        Mirror::new(Kind::of::<Server>(), &listed, ResourceVersion::new(7))
    }

    #[test]
    fn events_change_what_is_seen_and_gaps_are_noticed() {
        let mirror = mirror();
        assert_eq!(mirror.view().version().value(), 7);
        mirror.take(Event::Is(seen("b", 2, 8))).unwrap();
        mirror.take(Event::Is(seen("a", 1, 9))).unwrap();
        mirror.take(Event::Was(seen("b", 2, 10))).unwrap();
        // One that was never seen, because it was leaving already.
        mirror.take(Event::Was(seen("c", 3, 11))).unwrap();
        mirror
            .take(Event::Bookmark(ResourceVersion::new(50)))
            .unwrap();
        assert_eq!(mirror.view().version().value(), 10);
        assert!(mirror.find("a").is_some() && mirror.find("b").is_none());
        assert_eq!(mirror.take(Event::Is(seen("a", 1, 10))), Err(Gap));
        assert_eq!(mirror.take(Event::Is(seen("a", 9, 12))), Err(Gap));
        assert_eq!(mirror.view().version().value(), 10);
    }

    #[tokio::test]
    async fn another_past_ends_every_watch() {
        let mirror = mirror();
        let mut watch = mirror
            .view()
            .follow(mirror.kind(), &LabelSelector::default(), WatchFrom::Start)
            .unwrap();
        mirror.replace(&BTreeMap::new(), ResourceVersion::new(3));
        let mut last = watch.next().await;
        while let Some(Ok(_)) = last {
            last = watch.next().await;
        }
        assert!(matches!(last, Some(Err(StoreError::Expired))));
        assert_eq!(mirror.view().version().value(), 3);
        assert!(mirror.find("a").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_sees_it_or_is_told_that_it_did_not_come() {
        let mirror = mirror();
        let end = || Instant::now() + Duration::from_secs(5);
        assert!(mirror.until(end(), |m| m.find("a").is_some()).await);
        assert!(!mirror.until(end(), |m| m.find("b").is_some()).await);
        let (came, ()) = tokio::join!(mirror.until(end(), |m| m.find("b").is_some()), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            mirror.take(Event::Is(seen("b", 2, 8))).unwrap();
        });
        assert!(came);
    }
}
