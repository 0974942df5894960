//! What a store refuses to open, and how it keeps its file.

#![cfg(test)]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use common::with_one_server;
use kedge_api::resources::ServerSpec;
use kedge_api::{Resource, Server};
use kedge_store::{EmbeddedStore, OpenError, Options, StoreError};
use rusqlite::Connection;
use tempfile::TempDir;

#[test]
fn the_file_is_for_its_owner_only() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("deep/er/store.db");
    let store = EmbeddedStore::open(&path).unwrap();
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert_eq!(mode(path.parent().unwrap().parent().unwrap()), 0o700);
    for entry in fs::read_dir(path.parent().unwrap()).unwrap() {
        let entry = entry.unwrap().path();
        assert_eq!(mode(&entry), 0o600, "{}", entry.display());
    }
    drop(store);
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let _store = EmbeddedStore::open(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn two_stores_cannot_share_a_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let first = EmbeddedStore::open(&path).unwrap();
    let error = EmbeddedStore::open(&path).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    let clone = first.clone();
    drop(first);
    assert!(matches!(
        EmbeddedStore::open(&path),
        Err(OpenError::InUse { .. })
    ));
    drop(clone);
    EmbeddedStore::open(&path).unwrap();
}

/// Run by itself, this is the test; run by itself with the variable, it is the second process.
#[test]
fn two_processes_cannot_share_a_file() {
    if let Some(path) = std::env::var_os(CHILD) {
        let error = EmbeddedStore::open(path).unwrap_err();
        println!("child: {error}");
        return;
    }
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let _store = EmbeddedStore::open(&path).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "two_processes_cannot_share_a_file",
            "--nocapture",
        ])
        .env(CHILD, &path)
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}");
    let expected = format!(
        "child: store {} is in use by another process",
        path.display()
    );
    assert!(printed.contains(&expected), "{printed}");
}

#[tokio::test]
async fn a_newer_store_is_refused_and_left_as_it_is() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    with_one_server(&path).await;
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 7).unwrap();
    connection.close().unwrap();
    let before = fs::read(&path).unwrap();
    let error = EmbeddedStore::open(&path).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "store {} has schema version 7, and this kedge-hub knows versions up to 2; upgrade kedge-hub",
            path.display()
        )
    );
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn other_files_are_refused_and_left_as_they_are() {
    let folder = TempDir::new().unwrap();
    let text = folder.path().join("notes.txt");
    fs::write(
        &text,
        "not a database, and longer than a header of one hundred bytes. ".repeat(9),
    )
    .unwrap();
    let foreign = folder.path().join("foreign.db");
    let connection = Connection::open(&foreign).unwrap();
    connection.execute_batch("CREATE TABLE theirs (x)").unwrap();
    connection.close().unwrap();
    let marked = folder.path().join("marked.db");
    let connection = Connection::open(&marked).unwrap();
    connection
        .pragma_update(None, "application_id", 42)
        .unwrap();
    connection.close().unwrap();
    for path in [text, foreign, marked] {
        let before = fs::read(&path).unwrap();
        let error = EmbeddedStore::open(&path).unwrap_err();
        assert!(matches!(error, OpenError::NotAStore { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

#[test]
fn a_folder_or_an_unwritable_place_is_named() {
    let folder = TempDir::new().unwrap();
    let error = EmbeddedStore::open(folder.path().join(".")).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
    let error = EmbeddedStore::open("/proc/kedge/store.db").unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot make the folder of store /proc/kedge/store.db"
    );
}

#[tokio::test]
async fn an_object_that_is_not_of_its_kind_is_named() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    with_one_server(&path).await;
    let connection = Connection::open(&path).unwrap();
    connection
        .execute(
            "UPDATE objects SET body = replace(body, '\"Server\"', '\"Sever\"')",
            [],
        )
        .unwrap();
    connection.close().unwrap();
    let store = EmbeddedStore::open(&path).unwrap().shared();
    let error = store.get::<Server>("web01").await.unwrap_err();
    assert!(matches!(error, StoreError::Unreadable { .. }));
    assert_eq!(
        error.to_string(),
        "server `web01` in the store is unreadable: expected `Server`, found `Sever`"
    );
    drop(store);

    let connection = Connection::open(&path).unwrap();
    connection
        .execute("UPDATE objects SET body = 'x'", [])
        .unwrap();
    connection.close().unwrap();
    let error = EmbeddedStore::open(&path).unwrap_err();
    assert!(
        error.to_string().contains("servers \"web01\" is not JSON"),
        "{error}"
    );
}

#[tokio::test]
async fn what_was_written_is_there_after_reopening() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let made = with_one_server(&path).await;
    let store = EmbeddedStore::open_with(&path, Options::default())
        .unwrap()
        .shared();
    assert_eq!(store.get::<Server>("web01").await.unwrap(), made);
    let second = Server::new("web02".parse().unwrap(), ServerSpec::default());
    let next = store.create(&second);
    assert!(next.await.unwrap().metadata.resource_version > made.metadata.resource_version);
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

const CHILD: &str = "KEDGE_STORE_TEST_OPEN";
