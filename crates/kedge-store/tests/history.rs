//! The history in the embedded store's file: how an older file gets one, what a full disk and damage leave of it,
//! and that it keeps nobody waiting.

#![cfg(test)]

mod common;

use common::{history, limited};
use kedge_api::resources::ServerSpec;
use kedge_api::{AccessPolicy, Resource, Server, Time};
use kedge_store::{EmbeddedStore, HistoryLine, HistoryQuery, Precondition, StoreError};
use proptest::prelude::*;
use rusqlite::Connection;
use tempfile::TempDir;

#[tokio::test]
async fn a_file_without_a_history_gets_one_and_keeps_its_objects() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let connection = Connection::open(&path).unwrap();
    // As version 1 wrote it.
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL;
             BEGIN IMMEDIATE;
             CREATE TABLE objects (
                 kind TEXT NOT NULL,
                 name TEXT NOT NULL,
                 version INTEGER NOT NULL,
                 body TEXT NOT NULL,
                 PRIMARY KEY (kind, name)
             ) STRICT;
             CREATE TABLE meta (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) STRICT;
             INSERT INTO meta (key, value) VALUES ('resource-version', '7');
             INSERT INTO meta (key, value) VALUES ('hub-id', 'h-old');
             INSERT INTO objects (kind, name, version, body) VALUES ('servers', 'web01', 7,
                 '{\"apiVersion\":\"kedge.dev/v1alpha1\",\"kind\":\"Server\",\"metadata\":{\"name\":\"web01\",
                   \"resourceVersion\":\"7\"},\"spec\":{},\"status\":{}}');
             INSERT INTO objects (kind, name, version, body) VALUES ('accesspolicies', 'short', 6,
                 '{\"apiVersion\":\"kedge.dev/v1alpha1\",\"kind\":\"AccessPolicy\",\"metadata\":{\"name\":\"short\",
                   \"resourceVersion\":\"6\"},\"spec\":{\"subjects\":{\"users\":[\"alice\"]},
                   \"servers\":{\"names\":[\"*\"]},\"logins\":[\"{login}\"],\"permissions\":[\"ssh\"],
                   \"constraints\":{\"sourceRanges\":[\"10.0.0.0/8\"],\"maxSessionSeconds\":5400}},\"status\":{}}');
             INSERT INTO objects (kind, name, version, body) VALUES ('accesspolicies', 'without', 5,
                 '{\"apiVersion\":\"kedge.dev/v1alpha1\",\"kind\":\"AccessPolicy\",\"metadata\":{\"name\":\"without\",
                   \"resourceVersion\":\"5\"},\"spec\":{\"subjects\":{\"users\":[\"alice\"]},
                   \"servers\":{\"names\":[\"*\"]},\"logins\":[\"{login}\"],\"permissions\":[\"ssh\"]},
                   \"status\":{}}');
             PRAGMA application_id = 1801806951;
             PRAGMA user_version = 1;
             COMMIT;",
        )
        .unwrap();
    connection.close().unwrap();
    for round in 0..2 {
        let store = EmbeddedStore::open(&path).unwrap().shared();
        let server = store.get::<Server>("web01").await.unwrap();
        assert_eq!(server.metadata.resource_version.unwrap().value(), 7);
        // What was renamed since goes by its name of now, and nothing else is touched.
        let short = store.get::<AccessPolicy>("short").await.unwrap();
        let constraints = &short.spec.constraints;
        assert_eq!(constraints.max_session.unwrap().to_string(), "1h30m");
        assert_eq!(constraints.source_ranges.len(), 1);
        let without = store.get::<AccessPolicy>("without").await.unwrap();
        assert!(without.spec.constraints.is_empty());
        assert_eq!(
            store
                .meta(kedge_store::MetaKey::HubId)
                .await
                .unwrap()
                .as_deref(),
            Some("h-old")
        );
        assert_eq!(history(&store).await.len(), round);
        store.append(vec![line(1, "x")]).await.unwrap();
    }
    let connection = Connection::open(&path).unwrap();
    let version = connection.query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0));
    assert_eq!(version.unwrap(), 2);
}

#[tokio::test]
async fn an_older_file_without_room_is_left_as_it_is() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    drop(EmbeddedStore::open(&path).unwrap());
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch("DROP TABLE history; PRAGMA user_version = 1; VACUUM;")
        .unwrap();
    let pages: u32 = connection
        .query_row("PRAGMA page_count", [], |row| row.get(0))
        .unwrap();
    connection.close().unwrap();
    let error = EmbeddedStore::open_with(&path, limited(pages)).unwrap_err();
    assert!(
        matches!(error, kedge_store::OpenError::Full { .. }),
        "{error}"
    );
    let store = EmbeddedStore::open(&path).unwrap().shared();
    store.append(vec![line(1, "x")]).await.unwrap();
    assert_eq!(history(&store).await.len(), 1);
}

#[tokio::test]
async fn a_history_that_does_not_fit_is_not_there_in_part() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let store = EmbeddedStore::open_with(&path, limited(60))
        .unwrap()
        .shared();
    let batch = || {
        let body = "x".repeat(5000);
        vec![
            HistoryLine {
                body,
                ..line(1, "x")
            };
            8
        ]
    };
    let mut appended = 0;
    let error = loop {
        match store.append(batch()).await {
            Ok(()) => appended += 8,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert!(appended > 0);
    assert_eq!(history(&store).await.len(), appended);
    // Pruning makes room, for objects as well.
    let removed = store.prune(at(0), 8).await.unwrap();
    assert_eq!(removed, u64::try_from(appended).unwrap() - 8);
    store.create(&server("web01")).await.unwrap();
    store.append(batch()).await.unwrap();
    drop(store);
    let store = EmbeddedStore::open(&path).unwrap().shared();
    assert_eq!(history(&store).await.len(), 16);
    assert_eq!(store.prune(at(0), 10).await.unwrap(), 6);
}

#[tokio::test]
async fn a_damaged_history_hinders_no_object() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let store = EmbeddedStore::open(&path).unwrap().shared();
    store.create(&server("web01")).await.unwrap();
    store.append(vec![line(1, "x")]).await.unwrap();
    drop(store);
    // What no check of the file finds, because every page of it is well.
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(
            "CREATE TEMP TABLE kept AS SELECT * FROM history;
             DROP TABLE history;
             CREATE TABLE history (id INTEGER PRIMARY KEY, at INTEGER, about TEXT, body BLOB);
             CREATE INDEX history_at ON history (at);
             CREATE INDEX history_about ON history (about, at);
             INSERT INTO history SELECT id, at, about, x'ff00' FROM kept;",
        )
        .unwrap();
    connection.close().unwrap();
    let store = EmbeddedStore::open(&path).unwrap().shared();
    let query = HistoryQuery {
        limit: 9,
        ..HistoryQuery::default()
    };
    let error = store.history(query).await.unwrap_err();
    assert!(
        matches!(error, StoreError::HistoryDamaged { .. }),
        "{error}"
    );
    let error = store.history_about("x".to_owned(), 1).await.unwrap_err();
    assert!(
        matches!(error, StoreError::HistoryDamaged { .. }),
        "{error}"
    );
    store.create(&server("web02")).await.unwrap();
    store
        .delete::<Server>("web01", Precondition::None)
        .await
        .unwrap();
}

/// Reading and pruning a long history is done in pieces: a write in between waits for one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_long_history_keeps_no_write_waiting_to_its_end() {
    let folder = TempDir::new().unwrap();
    let store = EmbeddedStore::open(folder.path().join("store.db"))
        .unwrap()
        .shared();
    for batch in 0..40 {
        let lines = (0..250).map(|n| line(batch * 250 + n, "x")).collect();
        store.append(lines).await.unwrap();
    }
    let pruning = {
        let store = store.clone();
        async move { store.prune(at(9_999), u64::MAX).await.unwrap() }
    };
    let writing = async {
        let mut seen = Vec::new();
        for number in 0..5 {
            store
                .create(&server(&format!("web{number}")))
                .await
                .unwrap();
            seen.push(history(&store).await.len());
        }
        seen
    };
    let (removed, seen) = tokio::join!(pruning, writing);
    assert_eq!(removed, 9_999);
    assert!(
        seen.iter().any(|&left| left > 1),
        "the first write came after all of the pruning: {seen:?}"
    );
    assert_eq!(history(&store).await.len(), 1);
}

#[derive(Clone, Debug)]
enum Operation {
    Append(Vec<i64>),
    Prune(i64, u64),
    Reopen,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_history_is_what_the_model_says(
        operations in prop::collection::vec(prop_oneof![
            4 => prop::collection::vec(0..20_i64, 0..9).prop_map(Operation::Append),
            2 => (0..20_i64, 0..30_u64).prop_map(|(before, keep)| Operation::Prune(before, keep)),
            1 => Just(Operation::Reopen),
        ], 1..30),
    ) {
        wait(check(operations));
    }
}

async fn check(operations: Vec<Operation>) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let mut store = EmbeddedStore::open(&path).unwrap().shared();
    let mut model: Vec<(i64, u32)> = Vec::new();
    let mut number = 0;
    for operation in operations {
        match operation {
            Operation::Append(times) => {
                let mut lines = Vec::new();
                for time in times {
                    number += 1;
                    model.push((time, number));
                    lines.push(HistoryLine {
                        body: number.to_string(),
                        ..line(time, "x")
                    });
                }
                store.append(lines).await.unwrap();
                model.sort_unstable();
            }
            Operation::Prune(before, keep) => {
                let old = model.len();
                let surplus = old.saturating_sub(usize::try_from(keep).unwrap());
                model.drain(..surplus);
                model.retain(|(time, _)| *time >= before);
                let removed = store.prune(at(before), keep).await.unwrap();
                assert_eq!(usize::try_from(removed).unwrap(), old - model.len());
            }
            Operation::Reopen => {
                drop(store);
                store = EmbeddedStore::open(&path).unwrap().shared();
            }
        }
        let stored: Vec<_> = history(&store)
            .await
            .into_iter()
            .map(|line| {
                (
                    line.at.as_second() - at(0).as_second(),
                    line.body.parse().unwrap(),
                )
            })
            .collect();
        assert_eq!(stored, model);
    }
}

fn line(seconds: i64, about: &str) -> HistoryLine {
    HistoryLine {
        at: at(seconds),
        about: about.to_owned(),
        body: "{}".to_owned(),
    }
}

fn at(seconds: i64) -> Time {
    let start: Time = "2026-01-31T12:00:00Z".parse().unwrap();
    start.saturating_add(std::time::Duration::from_secs(seconds.unsigned_abs()))
}

fn server(name: &str) -> Server {
    Server::new(name.parse().unwrap(), ServerSpec::default())
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}
