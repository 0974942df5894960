//! After an input/output error it is not known what the file holds: reading goes on, nothing more is
//! written, and nothing acknowledged is missing when the store is opened again.

#![cfg(test)]

mod common;

use std::path::Path;
use std::process::Command;

use common::large;
use kedge_api::resources::ServerSpec;
use kedge_api::{LabelSelector, Resource, Server};
use kedge_store::{EmbeddedStore, StoreError};
use tempfile::TempDir;

/// Run by itself, this is the test; run by itself with the variable, it is the process whose files
/// may not grow, so that writing fails with EFBIG, which no disk is full of.
#[tokio::test]
async fn an_io_error_ends_writing_and_loses_nothing() {
    if let Some(path) = std::env::var_os(CHILD) {
        return write_until_broken(Path::new(&path)).await;
    }
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let output = Command::new("/bin/sh")
        .args([
            "-c",
            r#"trap "" XFSZ; ulimit -f 320; exec "$0" --exact "$1" --nocapture"#,
        ])
        .arg(std::env::current_exe().unwrap())
        .arg("an_io_error_ends_writing_and_loses_nothing")
        .env(CHILD, &path)
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{printed}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let stored: Vec<_> = printed
        .lines()
        .filter_map(|line| line.strip_prefix("stored "))
        .collect();
    assert!(stored.len() > 3, "{printed}");

    let store = EmbeddedStore::open(&path).unwrap().shared();
    let list = store
        .list::<Server>(&LabelSelector::default())
        .await
        .unwrap();
    let names: Vec<_> = list
        .items
        .iter()
        .map(|server| server.metadata.name.as_str())
        .collect();
    assert_eq!(names, stored);
    store.create(&large("works-again", BYTES)).await.unwrap();
}

async fn write_until_broken(path: &Path) {
    let store = EmbeddedStore::open(path).unwrap().shared();
    let mut count = 0;
    let error = loop {
        let name = format!("web{count:03}");
        match store.create(&large(&name, BYTES)).await {
            Ok(_) => println!("\nstored {name}"),
            Err(error) => break error,
        }
        count += 1;
    };
    let StoreError::Broken { path: named, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(named, path);
    assert!(error.to_string().contains("restart kedge-hub"), "{error}");
    let small = Server::new("small".parse().unwrap(), ServerSpec::default());
    let again = store.create(&small).await.unwrap_err();
    assert!(matches!(again, StoreError::Broken { .. }), "{again}");
    store.get::<Server>("web000").await.unwrap();
}

/// Bytes of each server: a few fill the file that may not grow.
const BYTES: usize = 8 * 1024;

const CHILD: &str = "KEDGE_STORE_TEST_BREAK";
