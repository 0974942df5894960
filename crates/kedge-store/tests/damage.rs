//! A damaged file is noticed when it is opened, whether it is checked as a whole or but for its history.
//!
//! By itself, because a process that another test is about to start holds what this one has locked.

#![cfg(test)]

mod common;

use std::fs;

use common::with_one_server;
use kedge_api::Server;
use kedge_store::{EmbeddedStore, OpenError, Options};
use tempfile::TempDir;

#[tokio::test]
async fn damage_is_noticed_when_opening() {
    notices_damage(Options::default()).await;
}

/// A file that is large because of its history is checked but for that.
#[tokio::test]
async fn damage_of_objects_is_noticed_when_opening_a_large_file() {
    let large = Options {
        check_bytes: 0,
        ..Options::default()
    };
    notices_damage(large).await;
}

async fn notices_damage(options: Options) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    with_one_server(&path).await;
    let whole = fs::read(&path).unwrap();
    let mut noticed = 0;
    for page in (0..whole.len()).step_by(4096) {
        let mut broken = whole.clone();
        broken[page..page + 512].fill(0xa5);
        fs::write(&path, &broken).unwrap();
        match EmbeddedStore::open_with(&path, options) {
            Err(OpenError::Damaged { .. } | OpenError::NotAStore { .. }) => noticed += 1,
            Err(error) => panic!("page {page}: {error}"),
            // A damaged page that holds nothing is no damage.
            Ok(store) => {
                store.shared().get::<Server>("web01").await.unwrap();
            }
        }
    }
    assert!(noticed >= 3, "{noticed} of {} pages", whole.len() / 4096);
}
