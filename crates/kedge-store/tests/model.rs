//! Any sequence of operations leaves the store as a simple model says, also after reopening.

#![cfg(test)]

use std::collections::BTreeMap;

use kedge_api::resources::ServerSpec;
use kedge_api::{LabelSelector, Resource, ResourceVersion, Server, ServerPhase};
use kedge_store::{EmbeddedStore, Precondition, SharedStore, StoreError};
use proptest::prelude::*;
use tempfile::TempDir;

#[derive(Clone, Copy, Debug)]
enum Operation {
    Create(u8),
    Delete(u8, Aim),
    Reopen,
    Update(u8, Aim, u8),
    UpdateStatus(u8, Aim, u8),
}

/// Whether a change names the newest version or an older one.
#[derive(Clone, Copy, Debug)]
enum Aim {
    Newest,
    Stale,
}

#[derive(Clone, Debug)]
struct Expected {
    user: u8,
    phase: u8,
    generation: u64,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn the_store_is_what_the_model_says(operations in prop::collection::vec(operation(), 1..50)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(check(operations));
    }
}

fn operation() -> impl Strategy<Value = Operation> {
    let aim = || prop_oneof![3 => Just(Aim::Newest), 1 => Just(Aim::Stale)];
    let name = 0..4_u8;
    prop_oneof![
        4 => name.clone().prop_map(Operation::Create),
        2 => (name.clone(), aim()).prop_map(|(name, aim)| Operation::Delete(name, aim)),
        1 => Just(Operation::Reopen),
        4 => (name.clone(), aim(), 0..3_u8).prop_map(|(n, aim, v)| Operation::Update(n, aim, v)),
        4 => (name, aim(), 0..3_u8).prop_map(|(n, aim, v)| Operation::UpdateStatus(n, aim, v)),
    ]
}

async fn check(operations: Vec<Operation>) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let mut store = EmbeddedStore::open(&path).unwrap().shared();
    let mut model: BTreeMap<u8, Expected> = BTreeMap::new();
    for operation in operations {
        match operation {
            Operation::Reopen => {
                drop(store);
                store = EmbeddedStore::open(&path).unwrap().shared();
            }
            other => step(&store, &mut model, other).await,
        }
        compare(&store, &model).await;
    }
}

async fn step(store: &SharedStore, model: &mut BTreeMap<u8, Expected>, operation: Operation) {
    let (which, result) = match operation {
        Operation::Create(which) => (which, store.create(&server(which)).await),
        Operation::Delete(which, aim) => {
            let precondition = match aim {
                Aim::Newest => Precondition::None,
                Aim::Stale => Precondition::Version(ResourceVersion::new(0)),
            };
            (
                which,
                store.delete::<Server>(name(which), precondition).await,
            )
        }
        Operation::Update(which, aim, value) => {
            let mut server = aimed(store, which, aim).await;
            server.spec.ssh_user = Some(format!("user{value}").parse().unwrap());
            (which, store.update(&server).await)
        }
        Operation::UpdateStatus(which, aim, value) => {
            let mut server = aimed(store, which, aim).await;
            server.status.phase = phase(value);
            (which, store.update_status(&server).await)
        }
        Operation::Reopen => return,
    };
    let stale = matches!(
        operation,
        Operation::Delete(_, Aim::Stale)
            | Operation::Update(_, Aim::Stale, _)
            | Operation::UpdateStatus(_, Aim::Stale, _)
    );
    match (operation, model.get_mut(&which)) {
        (Operation::Create(_), None) => {
            result.unwrap();
            model.insert(
                which,
                Expected {
                    user: u8::MAX,
                    phase: 0,
                    generation: 1,
                },
            );
        }
        (Operation::Create(_), Some(_)) => {
            assert!(matches!(result, Err(StoreError::AlreadyExists { .. })));
        }
        (_, None) => assert!(matches!(result, Err(StoreError::NotFound { .. }))),
        (_, Some(_)) if stale => assert!(matches!(result, Err(StoreError::Conflict { .. }))),
        (Operation::Delete(..), Some(_)) => {
            result.unwrap();
            model.remove(&which);
        }
        (Operation::Update(_, _, value), Some(expected)) => {
            result.unwrap();
            expected.generation += u64::from(expected.user != value);
            expected.user = value;
        }
        (Operation::UpdateStatus(_, _, value), Some(expected)) => {
            result.unwrap();
            expected.phase = value;
        }
        (Operation::Reopen, Some(_)) => {}
    }
}

async fn compare(store: &SharedStore, model: &BTreeMap<u8, Expected>) {
    let list = store
        .list::<Server>(&LabelSelector::default())
        .await
        .unwrap();
    assert_eq!(list.items.len(), model.len());
    for (server, (which, expected)) in list.items.iter().zip(model) {
        assert_eq!(server.metadata.name.as_str(), name(*which));
        assert_eq!(server.metadata.generation, Some(expected.generation));
        assert_eq!(server.status.phase, phase(expected.phase));
        let user = server.spec.ssh_user.as_ref().map(ToString::to_string);
        let wanted = (expected.user != u8::MAX).then(|| format!("user{}", expected.user));
        assert_eq!(user, wanted);
    }
}

async fn aimed(store: &SharedStore, which: u8, aim: Aim) -> Server {
    let mut there = store
        .find(name(which))
        .await
        .unwrap()
        .unwrap_or_else(|| server(which));
    if matches!(aim, Aim::Stale) || there.metadata.resource_version.is_none() {
        there.metadata.resource_version = Some(ResourceVersion::new(0));
    }
    there
}

fn server(which: u8) -> Server {
    Server::new(name(which).parse().unwrap(), ServerSpec::default())
}

fn name(which: u8) -> String {
    format!("web{which}")
}

fn phase(value: u8) -> ServerPhase {
    match value {
        0 => ServerPhase::Pending,
        1 => ServerPhase::Online,
        _ => ServerPhase::Blocked,
    }
}
