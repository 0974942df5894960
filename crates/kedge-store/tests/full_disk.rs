//! A full disk: one clear error, reading goes on, nothing acknowledged is lost, and writing goes on
//! once there is room.

#![cfg(test)]

mod common;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use common::limited;
use kedge_api::resources::ServerSpec;
use kedge_api::{LabelSelector, Resource, Server};
use kedge_store::{EmbeddedStore, OpenError, Precondition, SharedStore, StoreError};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

#[tokio::test]
async fn a_full_disk_loses_nothing() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let path = disk.path().join("state/store.db");
    let ballast = disk.path().join("ballast");
    let store = EmbeddedStore::open(&path).unwrap().shared();
    fs::write(&ballast, vec![0; 512 * 1024]).unwrap();
    let stored = fill(&store, &path).await;
    assert!(stored.len() > 3, "only {} fitted", stored.len());

    assert_eq!(names(&store).await, stored);
    let refused = store.create(&large("refused")).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!("no room left to write the store {}", path.display())
    );

    fs::remove_file(&ballast).unwrap();
    store.create(&large("zz-room-again")).await.unwrap();
    store
        .delete::<Server>(&stored[0], Precondition::None)
        .await
        .unwrap();
    let expected = names(&store).await;
    drop(store);
    let store = EmbeddedStore::open(&path).unwrap().shared();
    assert_eq!(names(&store).await, expected);
}

#[tokio::test]
async fn a_store_opens_on_a_full_disk() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let path = disk.path().join("state/store.db");
    let store = EmbeddedStore::open(&path).unwrap().shared();
    let stored = fill(&store, &path).await;
    drop(store);
    disk.stuff();
    let store = EmbeddedStore::open(&path).unwrap().shared();
    assert_eq!(names(&store).await, stored);
    let error = store.create(&large("refused")).await.unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
}

#[test]
fn a_new_store_on_a_full_disk_is_refused() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    disk.stuff();
    let error = EmbeddedStore::open(disk.path().join("store.db")).unwrap_err();
    assert!(matches!(error, OpenError::Full { .. }), "{error}");
    fs::remove_file(disk.path().join("stuffing")).unwrap();
    EmbeddedStore::open(disk.path().join("store.db")).unwrap();
}

#[tokio::test]
async fn a_file_at_its_limit_loses_nothing() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let store = EmbeddedStore::open_with(&path, limited(60))
        .unwrap()
        .shared();
    let mut stored = fill(&store, &path).await;
    assert_eq!(names(&store).await, stored);
    // What is removed makes room.
    let gone = stored.remove(0);
    store
        .delete::<Server>(&gone, Precondition::None)
        .await
        .unwrap();
    store.create(&large(&gone)).await.unwrap();
    stored.insert(0, gone);
    drop(store);
    let store = EmbeddedStore::open(&path).unwrap().shared();
    assert_eq!(names(&store).await, stored);
}

#[tokio::test]
async fn a_write_that_does_not_fit_takes_no_other_with_it() {
    let folder = TempDir::new().unwrap();
    let store = EmbeddedStore::open_with(folder.path().join("store.db"), limited(43))
        .unwrap()
        .shared();
    let mut writes = tokio::task::JoinSet::new();
    for index in 0..40 {
        let store = store.clone();
        writes.spawn(async move {
            let server = match index % 8 {
                0 => common::large(&format!("large{index}"), 60 * 1024),
                _ => Server::new(
                    format!("small{index}").parse().unwrap(),
                    ServerSpec::default(),
                ),
            };
            let result = store.create(&server).await;
            (server.metadata.name.to_string(), result)
        });
    }
    let results = writes.join_all().await;
    let mut refused = 0;
    for (name, result) in &results {
        match result {
            Err(StoreError::Full { .. }) => {
                assert!(name.starts_with("large"), "{name} was small and refused");
                refused += 1;
            }
            other => drop(other.as_ref().unwrap()),
        }
    }
    assert!(refused >= 1);
    assert_eq!(names(&store).await.len(), results.len() - refused);
}

/// Creates servers until the disk is full; gives the names of those that were acknowledged.
async fn fill(store: &SharedStore, path: &Path) -> Vec<String> {
    let mut stored = Vec::new();
    loop {
        let name = format!("web{:03}", stored.len());
        match store.create(&large(&name)).await {
            Ok(_) => stored.push(name),
            Err(StoreError::Full { path: full }) => {
                assert_eq!(full, path);
                return stored;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn large(name: &str) -> Server {
    common::large(name, 8 * 1024)
}

async fn names(store: &SharedStore) -> Vec<String> {
    let list = store
        .list::<Server>(&LabelSelector::default())
        .await
        .unwrap();
    list.items
        .iter()
        .map(|server| server.metadata.name.to_string())
        .collect()
}

/// A file system of one megabyte, unmounted on drop.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
        match mount("tmpfs", folder.path(), "tmpfs", flags, Some(c"size=1m")) {
            Ok(()) => Some(Self(folder)),
            Err(error) => {
                // Past libtest, which would swallow it.
                let reason = format!("kedge-testkit: skipped: cannot mount a tmpfs: {error}\n");
                std::io::stderr().write_all(reason.as_bytes()).unwrap();
                None
            }
        }
    }

    fn path(&self) -> PathBuf {
        self.0.path().to_path_buf()
    }

    /// Takes every byte that is left.
    fn stuff(&self) {
        let mut file = fs::File::create(self.path().join("stuffing")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Err(error) = unmount(self.0.path(), UnmountFlags::DETACH) {
            println!("cannot unmount {}: {error}", self.0.path().display());
        }
    }
}
