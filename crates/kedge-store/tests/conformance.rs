//! The embedded store does what every store must.

#![cfg(test)]

use kedge_store::{EmbeddedStore, SharedStore};
use tempfile::TempDir;

async fn fresh() -> (SharedStore, TempDir) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state/store.db");
    let store = tokio::task::spawn_blocking(move || EmbeddedStore::open(path))
        .await
        .unwrap();
    (store.unwrap().shared(), folder)
}

kedge_store::conformance_suite!(fresh);
