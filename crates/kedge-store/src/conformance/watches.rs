//! Watching.

use std::collections::BTreeMap;
use std::time::Duration;

use kedge_api::meta::Changed;
use kedge_api::{ResourceVersion, Server, WatchEvent};
use tokio::task::JoinSet;

use super::{everything, labelled, online, policy, selector, server, short, version};
use crate::{Precondition, SharedStore, StoreError, Watch, WatchFrom};

/// Added, modified, deleted, each with a greater version than the one before, and nothing of other
/// kinds.
pub async fn a_watch_tells_in_order(store: SharedStore) {
    let from = store
        .list::<Server>(&everything())
        .await
        .unwrap()
        .metadata
        .resource_version;
    let mut watch = store
        .watch::<Server>(&everything(), WatchFrom::After(from))
        .await
        .unwrap();
    store.create(&server("web01")).await.unwrap();
    store.create(&policy("other-kind")).await.unwrap();
    store.modify_status("web01", online).await.unwrap();
    store
        .delete::<Server>("web01", Precondition::None)
        .await
        .unwrap();
    let mut seen = Vec::new();
    let mut last = from;
    for expected in ["+web01", "~web01", "-web01"] {
        let event = next(&mut watch).await;
        assert_eq!(short(&event), expected);
        let version = event.resource_version().unwrap();
        assert!(version > last, "{version:?} after {last:?}");
        last = version;
        seen.push(event);
    }
    // The same from the history, from any point of it.
    for skip in 0..=seen.len() {
        let from = skip
            .checked_sub(1)
            .map_or(from, |at| seen[at].resource_version().unwrap());
        let mut replay = store
            .watch(&everything(), WatchFrom::After(from))
            .await
            .unwrap();
        for event in &seen[skip..] {
            assert_eq!(next(&mut replay).await, *event);
        }
    }
}

/// With a selector, an object that begins to match is added, and one that ceases to is deleted.
pub async fn selection_is_left_and_entered(store: SharedStore) {
    let mut watch = store
        .watch(&selector("env=prod"), WatchFrom::Start)
        .await
        .unwrap();
    let relabel = |value: &'static str| {
        move |server: &mut Server| {
            server
                .metadata
                .labels
                .insert("env".parse().unwrap(), value.parse().unwrap());
            Changed::Yes
        }
    };
    store
        .create(&labelled("web01", &[("env", "dev")]))
        .await
        .unwrap();
    store.modify("web01", relabel("test")).await.unwrap();
    store.modify("web01", relabel("prod")).await.unwrap();
    store.modify_status("web01", online).await.unwrap();
    let left = store.modify("web01", relabel("dev")).await.unwrap();
    store
        .delete::<Server>("web01", Precondition::None)
        .await
        .unwrap();
    store
        .create(&labelled("web02", &[("env", "prod")]))
        .await
        .unwrap();
    for expected in ["+web01", "~web01", "-web01", "+web02"] {
        let event = next_news(&mut watch).await;
        assert_eq!(short(&event), expected);
        if expected == "-web01" {
            assert_eq!(event.resource_version(), Some(version(&left)));
        }
    }
}

/// Without a version, everything there is comes first, then a bookmark, then what happens.
pub async fn a_watch_from_the_start_begins_with_what_is_there(store: SharedStore) {
    for name in ["b", "a"] {
        store.create(&server(name)).await.unwrap();
    }
    let mut watch = store
        .watch::<Server>(&everything(), WatchFrom::Start)
        .await
        .unwrap();
    store.create(&server("c")).await.unwrap();
    let mut seen = Vec::new();
    while seen.last().map(String::as_str) != Some("+c") {
        seen.push(short(&next(&mut watch).await));
    }
    assert_eq!(seen, ["+a", "+b", "=", "+c"]);
}

/// A version this store has not reached is of another store, or of a past that was lost.
pub async fn a_version_from_the_future_has_expired(store: SharedStore) {
    let made = store.create(&server("web01")).await.unwrap();
    let future = ResourceVersion::new(version(&made).value() + 1);
    let error = store
        .watch::<Server>(&everything(), WatchFrom::After(future))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Expired), "{error}");
}

/// A list and the watch from it, taken at any moment while others write, end in the same objects as
/// the store.
pub async fn a_watch_from_a_list_misses_nothing(store: SharedStore) {
    let mut writers = JoinSet::new();
    for writer in 0..4 {
        let store = store.clone();
        writers.spawn(async move {
            for round in 0..30 {
                let name = format!("w{writer}-{}", round % 5);
                if store.create(&server(&name)).await.is_err() {
                    let done = if round % 2 == 0 {
                        store.modify(&name, |server: &mut Server| {
                            let value = round.to_string().parse().unwrap();
                            server
                                .metadata
                                .labels
                                .insert("round".parse().unwrap(), value);
                            Changed::Yes
                        })
                    } else {
                        // One writer has its names to itself, so nothing fails here.
                        store
                            .delete::<Server>(&name, Precondition::None)
                            .await
                            .unwrap();
                        continue;
                    };
                    done.await.unwrap();
                }
            }
        });
    }
    let mut watchers = JoinSet::new();
    for _ in 0..4 {
        let store = store.clone();
        watchers.spawn(async move {
            let list = store.list::<Server>(&everything()).await.unwrap();
            let from = list.metadata.resource_version;
            let watch = store
                .watch::<Server>(&everything(), WatchFrom::After(from))
                .await
                .unwrap();
            let objects = list.items.into_iter().map(|s| (s.metadata.name.clone(), s));
            (objects.collect::<BTreeMap<_, _>>(), watch)
        });
        tokio::task::yield_now().await;
    }
    let views = watchers.join_all().await;
    writers.join_all().await;
    let last = store.create(&server("last")).await.unwrap();
    let end = store.list::<Server>(&everything()).await.unwrap();
    for (mut objects, mut watch) in views {
        loop {
            match next(&mut watch).await {
                WatchEvent::Added(server) => {
                    let there = objects.insert(server.metadata.name.clone(), server.clone());
                    assert_eq!(there, None, "added twice");
                    if version(&server) == version(&last) {
                        break;
                    }
                }
                WatchEvent::Modified(server) => {
                    let there = objects.insert(server.metadata.name.clone(), server);
                    assert!(there.is_some(), "modified before it was added");
                }
                WatchEvent::Deleted(server) => {
                    let there = objects.remove(&server.metadata.name);
                    assert!(there.is_some(), "deleted before it was added");
                }
                _ => {}
            }
        }
        assert_eq!(objects.into_values().collect::<Vec<_>>(), end.items);
    }
}

/// A watcher that goes away, or never reads, costs the writers nothing.
pub async fn a_dropped_watch_hinders_nobody(store: SharedStore) {
    let gone = store
        .watch::<Server>(&everything(), WatchFrom::Start)
        .await
        .unwrap();
    let mut idle = store
        .watch::<Server>(&everything(), WatchFrom::Start)
        .await
        .unwrap();
    drop(gone);
    store.create(&server("web01")).await.unwrap();
    store.modify_status("web01", online).await.unwrap();
    assert_eq!(short(&next_news(&mut idle).await), "+web01");
    assert_eq!(short(&next_news(&mut idle).await), "~web01");
}

async fn next(watch: &mut Watch<Server>) -> WatchEvent<Server> {
    let event = tokio::time::timeout(PATIENCE, watch.next());
    event
        .await
        .expect("an event in time")
        .expect("an open watch")
        .expect("no error")
}

/// The next event that is no bookmark.
async fn next_news(watch: &mut Watch<Server>) -> WatchEvent<Server> {
    loop {
        match next(watch).await {
            WatchEvent::Bookmark(_) => {}
            event => return event,
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(20);
