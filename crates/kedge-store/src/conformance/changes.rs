//! Creation, change, deletion.

use kedge_api::meta::Changed;
use kedge_api::{AccessPolicy, Server, ServerPhase};

use super::{everything, labelled, name, online, policy, selector, server, version};
use crate::{Precondition, SharedStore, StoreError};

/// Uid, version, generation and creation time are the store's, whatever the object says.
pub async fn creation_stamps_what_the_store_owns(store: SharedStore) {
    let mut wanted = server("web01");
    wanted.metadata.uid = Some("00000000-0000-4000-8000-000000000000".parse().unwrap());
    wanted.metadata.generation = Some(77);
    let made = store.create(&wanted).await.unwrap();
    assert!(made.metadata.uid.is_some() && made.metadata.uid != wanted.metadata.uid);
    assert_eq!(made.metadata.generation, Some(1));
    assert!(made.metadata.creation_timestamp.is_some());
    assert!(made.metadata.resource_version.is_some());
    assert_eq!(store.get::<Server>("web01").await.unwrap(), made);
    assert_eq!(store.find::<Server>("web01").await.unwrap(), Some(made));
}

/// A name is given once.
pub async fn what_is_there_already_exists(store: SharedStore) {
    let made = store.create(&server("web01")).await.unwrap();
    let error = store
        .create(&labelled("web01", &[("a", "b")]))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::AlreadyExists { .. }), "{error}");
    assert_eq!(store.get::<Server>("web01").await.unwrap(), made);
}

/// Every operation on nothing says so.
pub async fn what_is_not_there_is_not_found(store: SharedStore) {
    let mut ghost = store.create(&server("web01")).await.unwrap();
    ghost.metadata.name = name("ghost");
    for error in [
        store.get::<Server>("ghost").await.unwrap_err(),
        store.update(&ghost).await.unwrap_err(),
        store.update_status(&ghost).await.unwrap_err(),
        store
            .delete::<Server>("ghost", Precondition::None)
            .await
            .unwrap_err(),
        store.modify_status("ghost", online).await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
    }
    assert_eq!(store.find::<Server>("ghost").await.unwrap(), None);
}

/// Two kinds may have objects of the same name.
pub async fn kinds_do_not_mix(store: SharedStore) {
    store.create(&server("same")).await.unwrap();
    store.create(&policy("same")).await.unwrap();
    store
        .delete::<Server>("same", Precondition::None)
        .await
        .unwrap();
    store.get::<AccessPolicy>("same").await.unwrap();
    assert_eq!(
        store
            .list::<AccessPolicy>(&everything())
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    assert_eq!(store.list::<Server>(&everything()).await.unwrap().items, []);
}

/// A change says what it changes, and is refused when that is no longer there.
pub async fn an_update_needs_the_version(store: SharedStore) {
    let first = store.create(&server("web01")).await.unwrap();
    let mut blind = first.clone();
    blind.metadata.resource_version = None;
    let error = store.update(&blind).await.unwrap_err();
    assert!(
        matches!(error, StoreError::VersionMissing { .. }),
        "{error}"
    );

    let mut second = first.clone();
    second.spec.ssh_user = Some("ubuntu".parse().unwrap());
    let second = store.update(&second).await.unwrap();
    let mut stale = first.clone();
    stale.spec.ssh_user = Some("root".parse().unwrap());
    for error in [
        store.update(&stale).await.unwrap_err(),
        store.update_status(&stale).await.unwrap_err(),
        store
            .delete::<Server>("web01", Precondition::Version(version(&first)))
            .await
            .unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
    }

    let mut other = second.clone();
    other.metadata.uid = Some("00000000-0000-4000-8000-000000000000".parse().unwrap());
    let error = store.update(&other).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
    assert_eq!(store.get::<Server>("web01").await.unwrap(), second);
}

/// Spec, labels and annotations change; status, uid and creation time stay; only the spec counts
/// generations.
pub async fn an_update_changes_all_but_the_status(store: SharedStore) {
    store.create(&server("web01")).await.unwrap();
    let before = store.modify_status("web01", online).await.unwrap();

    let mut wanted = labelled("web01", &[("env", "prod")]);
    wanted.metadata.resource_version = before.metadata.resource_version;
    wanted
        .metadata
        .annotations
        .insert("note".parse().unwrap(), "x".to_owned());
    wanted.status.phase = ServerPhase::Blocked;
    let relabelled = store.update(&wanted).await.unwrap();
    assert_eq!(relabelled.metadata.labels, wanted.metadata.labels);
    assert_eq!(relabelled.metadata.annotations, wanted.metadata.annotations);
    assert_eq!(relabelled.status, before.status);
    assert_eq!(relabelled.metadata.uid, before.metadata.uid);
    assert_eq!(
        relabelled.metadata.creation_timestamp,
        before.metadata.creation_timestamp
    );
    assert_eq!(relabelled.metadata.generation, Some(1));

    let mut wanted = relabelled.clone();
    wanted.spec.ssh_user = Some("ubuntu".parse().unwrap());
    let changed = store.update(&wanted).await.unwrap();
    assert_eq!(changed.metadata.generation, Some(2));
    assert_eq!(changed.spec, wanted.spec);
}

/// The hub's word about an object cannot change what people asked for.
pub async fn status_updates_change_nothing_else(store: SharedStore) {
    let before = store
        .create(&labelled("web01", &[("env", "prod")]))
        .await
        .unwrap();
    let mut wanted = server("web01");
    wanted.metadata.resource_version = before.metadata.resource_version;
    wanted.spec.ssh_user = Some("root".parse().unwrap());
    wanted.status.phase = ServerPhase::Online;
    let after = store.update_status(&wanted).await.unwrap();
    assert_eq!(after.status.phase, ServerPhase::Online);
    assert_eq!(after.spec, before.spec);
    assert_eq!(after.metadata.labels, before.metadata.labels);
    assert_eq!(after.metadata.generation, Some(1));
    assert!(version(&after) > version(&before));
}

/// Writing what is there already gives back what is there already.
pub async fn no_change_is_no_write(store: SharedStore) {
    let there = store.create(&server("web01")).await.unwrap();
    assert_eq!(store.update(&there).await.unwrap(), there);
    assert_eq!(store.update_status(&there).await.unwrap(), there);
    let same = store
        .modify::<Server>("web01", |_| Changed::No)
        .await
        .unwrap();
    assert_eq!(same, there);
    assert_eq!(store.get::<Server>("web01").await.unwrap(), there);
}

/// A deletion answers with what it deleted; a later object of that name is another one.
pub async fn deletion_gives_the_last_state(store: SharedStore) {
    let made = store
        .create(&labelled("web01", &[("env", "prod")]))
        .await
        .unwrap();
    let precondition = Precondition::Version(version(&made));
    let gone = store.delete::<Server>("web01", precondition).await.unwrap();
    assert_eq!(gone.metadata.labels, made.metadata.labels);
    assert!(version(&gone) > version(&made));
    assert_eq!(store.find::<Server>("web01").await.unwrap(), None);
    let again = store.create(&server("web01")).await.unwrap();
    assert_ne!(again.metadata.uid, made.metadata.uid);
    assert_eq!(again.metadata.generation, Some(1));
}

/// Lists come in the order of names, and obey the selector.
pub async fn lists_are_sorted_and_selected(store: SharedStore) {
    for (name, env) in [
        ("web02", "prod"),
        ("db01", "dev"),
        ("web01", "prod"),
        ("a", "dev"),
    ] {
        store
            .create(&labelled(name, &[("env", env)]))
            .await
            .unwrap();
    }
    let names = async |text: &str| {
        let list = store.list::<Server>(&selector(text)).await.unwrap();
        list.items
            .iter()
            .map(|server| server.metadata.name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names("").await, ["a", "db01", "web01", "web02"]);
    assert_eq!(names("env=prod").await, ["web01", "web02"]);
    assert_eq!(names("env!=prod").await, ["a", "db01"]);
    assert_eq!(names("env in (dev,test)").await, ["a", "db01"]);
    assert!(names("!env").await.is_empty());
}

/// Whatever is written, the version is greater than any before.
pub async fn versions_only_grow(store: SharedStore) {
    let mut seen = Vec::new();
    seen.push(version(&store.create(&server("web01")).await.unwrap()));
    seen.push(version(&store.create(&policy("everybody")).await.unwrap()));
    seen.push(version(
        &store.modify_status("web01", online).await.unwrap(),
    ));
    seen.push(version(
        &store
            .delete::<Server>("web01", Precondition::None)
            .await
            .unwrap(),
    ));
    seen.push(version(&store.create(&server("web01")).await.unwrap()));
    assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
    let list = store.list::<Server>(&everything()).await.unwrap();
    // Others may write to a store that is shared.
    assert!(list.metadata.resource_version >= seen[4]);
}
