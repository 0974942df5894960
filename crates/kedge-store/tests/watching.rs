//! The embedded store's history is bounded in number, bytes and age; its watchers are bounded too.

#![cfg(test)]

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use kedge_api::resources::ServerSpec;
use kedge_api::{LabelSelector, Resource, ResourceVersion, Server, WatchEvent};
use kedge_store::{EmbeddedStore, Options, SharedStore, StoreError, WatchFrom};
use tempfile::TempDir;

#[tokio::test]
async fn a_slow_watcher_is_told_and_harms_nobody() {
    let (store, _folder) = fresh(Options {
        watch_queue: 4,
        ..Options::default()
    });
    let mut slow = store
        .watch::<Server>(&everything(), WatchFrom::After(ONE))
        .await
        .unwrap();
    let mut quick = store
        .watch::<Server>(&everything(), WatchFrom::After(ONE))
        .await
        .unwrap();
    for index in 0..10 {
        create(&store, index).await;
        assert!(matches!(quick.next().await, Some(Ok(WatchEvent::Added(_)))));
    }
    for index in 0..4 {
        let Some(Ok(WatchEvent::Added(server))) = slow.next().await else {
            panic!("{index}")
        };
        assert_eq!(server.metadata.name.as_str(), format!("web{index}"));
    }
    assert!(matches!(slow.next().await, Some(Err(StoreError::Expired))));
    assert!(slow.next().await.is_none());
    // It can begin again where it was, because the history is longer than the queue.
    let resumed = ResourceVersion::new(ONE.value() + 4);
    let mut again = store
        .watch::<Server>(&everything(), WatchFrom::After(resumed))
        .await
        .unwrap();
    let Some(Ok(WatchEvent::Added(server))) = again.next().await else {
        panic!()
    };
    assert_eq!(server.metadata.name.as_str(), "web4");
}

#[tokio::test]
async fn the_history_is_bounded_in_number() {
    let (store, _folder) = fresh(Options {
        history_events: 3,
        ..Options::default()
    });
    for index in 0..5 {
        create(&store, index).await;
    }
    assert_reaches_back(&store, &[3, 4, 5, 6], &[1, 2, 7]).await;
}

#[tokio::test]
async fn the_history_is_bounded_in_bytes() {
    let (store, _folder) = fresh(Options {
        history_bytes: 1,
        ..Options::default()
    });
    for index in 0..5 {
        create(&store, index).await;
    }
    assert_reaches_back(&store, &[6], &[1, 2, 3, 4, 5]).await;
}

#[tokio::test]
async fn the_history_is_bounded_in_age() {
    static NOW: AtomicI64 = AtomicI64::new(1_700_000_000);
    let clock = || jiff::Timestamp::from_second(NOW.load(Ordering::SeqCst)).unwrap();
    let options = Options {
        clock,
        history_age: Duration::from_secs(60),
        ..Options::default()
    };
    let (store, _folder) = fresh(options);
    create(&store, 0).await;
    NOW.fetch_add(50, Ordering::SeqCst);
    create(&store, 1).await;
    assert_reaches_back(&store, &[1, 2, 3], &[]).await;
    NOW.fetch_add(50, Ordering::SeqCst);
    create(&store, 2).await;
    assert_reaches_back(&store, &[2, 3, 4], &[1]).await;
    // A clock that is set back forgets nothing it should keep, and keeps nothing for ever.
    NOW.fetch_sub(500, Ordering::SeqCst);
    create(&store, 3).await;
    assert_reaches_back(&store, &[2, 3, 4, 5], &[1]).await;
}

#[tokio::test]
async fn a_watcher_of_a_quiet_kind_is_carried_along() {
    let (store, _folder) = fresh(Options {
        history_events: 1100,
        ..Options::default()
    });
    let mut quiet = store
        .watch::<kedge_api::AccessPolicy>(&everything(), WatchFrom::After(ONE))
        .await
        .unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..1500 {
        let store = store.clone();
        tasks.spawn(async move { create(&store, index).await });
    }
    tasks.join_all().await;
    let Some(Ok(WatchEvent::Bookmark(bookmark))) = quiet.next().await else {
        panic!()
    };
    let carried = WatchFrom::After(bookmark.metadata.resource_version);
    store
        .watch::<kedge_api::AccessPolicy>(&everything(), carried)
        .await
        .unwrap();
    let error = store
        .watch::<kedge_api::AccessPolicy>(&everything(), WatchFrom::After(ONE))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Expired), "{error}");
}

#[tokio::test]
async fn watches_end_when_the_store_closes() {
    let (store, _folder) = fresh(Options::default());
    let mut watch = store
        .watch::<Server>(&everything(), WatchFrom::After(ONE))
        .await
        .unwrap();
    create(&store, 0).await;
    drop(store);
    assert!(matches!(watch.next().await, Some(Ok(WatchEvent::Added(_)))));
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn a_reopened_store_has_no_history_but_its_own_version() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let store = EmbeddedStore::open(&path).unwrap().shared();
    create(&store, 0).await;
    drop(store);
    let store = EmbeddedStore::open(&path).unwrap().shared();
    assert_reaches_back(&store, &[2], &[1, 3]).await;
}

async fn assert_reaches_back(store: &SharedStore, known: &[u64], unknown: &[u64]) {
    for (versions, expired) in [(known, false), (unknown, true)] {
        for version in versions {
            let from = WatchFrom::After(ResourceVersion::new(*version));
            let watch = store.watch::<Server>(&everything(), from).await;
            match watch {
                Ok(_) => assert!(!expired, "{version} is still known"),
                Err(StoreError::Expired) => assert!(expired, "{version} has expired"),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

async fn create(store: &SharedStore, index: usize) {
    let name = format!("web{index}").parse().unwrap();
    store
        .create(&Server::new(name, ServerSpec::default()))
        .await
        .unwrap();
}

fn fresh(options: Options) -> (SharedStore, TempDir) {
    let folder = TempDir::new().unwrap();
    let store = EmbeddedStore::open_with(folder.path().join("store.db"), options).unwrap();
    (store.shared(), folder)
}

fn everything() -> LabelSelector {
    LabelSelector::default()
}

/// The version of a store that nothing was written to.
const ONE: ResourceVersion = ResourceVersion::new(1);
