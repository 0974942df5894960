//! A power cut leaves the write-ahead log cut off anywhere: the store then is what it was after one
//! of its commits, and never damaged.

#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;

use kedge_api::resources::ServerSpec;
use kedge_api::{LabelSelector, Resource, Server};
use kedge_store::EmbeddedStore;
use tempfile::TempDir;

#[tokio::test]
async fn a_log_cut_anywhere_gives_some_earlier_commit() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let store = EmbeddedStore::open(&path).unwrap().shared();
    for index in 0..WRITES {
        let name = format!("web{index:02}").parse().unwrap();
        store
            .create(&Server::new(name, ServerSpec::default()))
            .await
            .unwrap();
    }
    // The store is open and idle, so the files are what a power cut would leave.
    let file = fs::read(&path).unwrap();
    let log = fs::read(folder.path().join("store.db-wal")).unwrap();
    assert!(log.len() > WRITES * 4096, "{} bytes of log", log.len());
    drop(store);

    let mut lengths_seen = BTreeSet::new();
    for at in (0..=CUTS).map(|cut| log.len() * cut / CUTS) {
        let cut = TempDir::new().unwrap();
        let path = cut.path().join("store.db");
        fs::write(&path, &file).unwrap();
        fs::write(cut.path().join("store.db-wal"), &log[..at]).unwrap();
        let store = EmbeddedStore::open(&path).unwrap().shared();
        let list = store
            .list::<Server>(&LabelSelector::default())
            .await
            .unwrap();
        for (index, server) in list.items.iter().enumerate() {
            assert_eq!(server.metadata.name.as_str(), format!("web{index:02}"));
        }
        assert_eq!(
            list.metadata.resource_version.value(),
            1 + list.items.len() as u64
        );
        lengths_seen.insert(list.items.len());
    }
    assert_eq!(lengths_seen.first(), Some(&0));
    assert_eq!(lengths_seen.last(), Some(&WRITES));
    assert!(lengths_seen.len() > WRITES / 2, "{lengths_seen:?}");
}

const WRITES: usize = 20;
const CUTS: usize = 97;
