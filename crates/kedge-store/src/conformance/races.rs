//! Many at once.

use kedge_api::meta::Changed;
use kedge_api::{LabelValue, Server};
use tokio::task::JoinSet;

use super::{labelled, server};
use crate::{SharedStore, StoreError};

/// Of many who create one name, one does; the others learn it exists, and what is stored is the
/// winner's.
pub async fn raced_creations_have_one_winner(store: SharedStore) {
    let mut tasks = JoinSet::new();
    for index in 0..RACERS {
        let store = store.clone();
        tasks.spawn(async move {
            let wanted = labelled("web01", &[("racer", &index.to_string())]);
            store.create(&wanted).await
        });
    }
    let (won, lost): (Vec<_>, Vec<_>) = tasks.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, RACERS - 1));
    for loss in lost {
        let error = loss.unwrap_err();
        assert!(matches!(error, StoreError::AlreadyExists { .. }), "{error}");
    }
    let winner = won.into_iter().next().unwrap().unwrap();
    assert_eq!(store.get::<Server>("web01").await.unwrap(), winner);
}

/// Of many who change one version, one does; the others conflict.
pub async fn raced_updates_have_one_winner(store: SharedStore) {
    let made = store.create(&server("web01")).await.unwrap();
    let mut tasks = JoinSet::new();
    for index in 0..RACERS {
        let (store, mut wanted) = (store.clone(), made.clone());
        wanted
            .metadata
            .labels
            .insert("racer".parse().unwrap(), index.to_string().parse().unwrap());
        tasks.spawn(async move { store.update(&wanted).await });
    }
    let (won, lost): (Vec<_>, Vec<_>) = tasks.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, RACERS - 1));
    for loss in lost {
        let error = loss.unwrap_err();
        assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
    }
    let winner = won.into_iter().next().unwrap().unwrap();
    assert_eq!(store.get::<Server>("web01").await.unwrap(), winner);
}

/// Changes to the newest version are never lost: an acknowledged one has happened once, and one
/// that gave up after its rounds has not happened at all.
pub async fn raced_modifications_lose_nothing(store: SharedStore) {
    store
        .create(&labelled("web01", &[("count", "0")]))
        .await
        .unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..RACERS {
        let store = store.clone();
        tasks.spawn(async move {
            let mut done = 0;
            for _ in 0..ROUNDS {
                match store.modify("web01", count).await {
                    Ok(_) => done += 1,
                    Err(StoreError::Conflict { .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            done
        });
    }
    let acknowledged: usize = tasks.join_all().await.into_iter().sum();
    let stored = store.get::<Server>("web01").await.unwrap();
    assert_eq!(counted(&stored), acknowledged);
    assert!(acknowledged > 0);
}

fn count(server: &mut Server) -> Changed {
    let next: LabelValue = (counted(server) + 1).to_string().parse().unwrap();
    server
        .metadata
        .labels
        .insert("count".parse().unwrap(), next);
    Changed::Yes
}

fn counted(server: &Server) -> usize {
    server
        .metadata
        .labels
        .value("count")
        .unwrap()
        .as_str()
        .parse()
        .unwrap()
}

const RACERS: usize = 16;
const ROUNDS: usize = 8;
