//! Everything is carried from the embedded store to Kubernetes and back.

use std::io::Cursor;

use kedge_api::meta::Changed;
use kedge_api::resources::JoinTokenSpec;
use kedge_api::{AccessPolicy, JoinToken, Resource, Server, ServerPhase};
use kedge_store::transfer::{Export, ImportError, Imported, Package};
use kedge_store::{EmbeddedStore, MetaKey, SharedStore};
use serde_json::json;
use tempfile::TempDir;

use crate::site::{Site, everything, server};

async fn fill(store: &SharedStore) {
    let id = "h-aaaaaaaaaaaaaaaaaaaaaaaaaa";
    store
        .init_meta(MetaKey::HubId, id.to_owned())
        .await
        .unwrap();
    store
        .set_meta(MetaKey::IssuerKeys, "{\"keys\":[]}".to_owned())
        .await
        .unwrap();
    for index in 0..20 {
        let mut object = server(&format!("web{index:02}"));
        let labels = &mut object.metadata.labels;
        labels.insert("index".parse().unwrap(), index.to_string().parse().unwrap());
        let annotations = &mut object.metadata.annotations;
        annotations.insert("note".parse().unwrap(), "größe \0 \"x\"\n".to_owned());
        object.spec.ssh_user = Some("ubuntu".parse().unwrap());
        store.create(&object).await.unwrap();
    }
    let online = |server: &mut Server| {
        server.status.phase = ServerPhase::Online;
        Changed::Yes
    };
    store.modify_status("web07", online).await.unwrap();
    let mut token = JoinToken::new("aaaaaaaaaa".parse().unwrap(), JoinTokenSpec::default());
    token.spec.uses = 7;
    token.status.used = 3;
    token.status.used_by = vec!["web01".parse().unwrap()];
    store.create(&token).await.unwrap();
    let policy = serde_json::from_value(json!({
        "subjects": {"users": ["alice"]},
        "servers": {"names": ["*"]},
        "logins": ["{login}"],
    }));
    let policy = AccessPolicy::new("everybody".parse().unwrap(), policy.unwrap());
    store.create(&policy).await.unwrap();
}

/// What is to be the same in both: everything but what a store gives by itself.
async fn contents(store: &SharedStore) -> Vec<serde_json::Value> {
    fn bare<R: Resource>(mut object: R) -> serde_json::Value {
        let metadata = object.metadata_mut();
        metadata.uid = None;
        metadata.resource_version = None;
        metadata.creation_timestamp = None;
        metadata.generation = None;
        serde_json::to_value(object).unwrap()
    }
    let everything = everything();
    let servers = store.list::<Server>(&everything).await.unwrap().items;
    let tokens = store.list::<JoinToken>(&everything).await.unwrap().items;
    let policies = store.list::<AccessPolicy>(&everything).await.unwrap().items;
    let mut all: Vec<_> = servers.into_iter().map(bare).collect();
    all.extend(tokens.into_iter().map(bare));
    all.extend(policies.into_iter().map(bare));
    for key in [MetaKey::HubId, MetaKey::IssuerKeys] {
        all.push(json!(store.meta(key).await.unwrap()));
    }
    all
}

async fn exported(store: &SharedStore) -> String {
    let export = Export::of(&**store).await.unwrap();
    assert!(export.unreadable().is_empty());
    export.lines().map(|line| line + "\n").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_goes_to_kubernetes_and_back() {
    let folder = TempDir::new().unwrap();
    let old = EmbeddedStore::open(folder.path().join("old.db"))
        .unwrap()
        .shared();
    fill(&old).await;
    let first = exported(&old).await;
    let package = Package::read(Cursor::new(&first)).unwrap();

    let site = Site::new().await;
    let store = site.store().await.shared();
    let imported = package.write(&*store).await.unwrap();
    assert_eq!(
        imported,
        Imported {
            written: 22,
            there: 0
        }
    );
    assert_eq!(contents(&store).await, contents(&old).await);
    assert_eq!(
        store
            .get::<JoinToken>("aaaaaaaaaa")
            .await
            .unwrap()
            .status
            .used,
        3
    );

    // Not into a store with something in it, whichever it is; and nothing was written.
    let error = package.write(&*store).await.unwrap_err();
    assert!(matches!(error, ImportError::NotEmpty { .. }), "{error}");
    let error = package.write(&*old).await.unwrap_err();
    assert!(matches!(error, ImportError::NotEmpty { .. }), "{error}");

    let back = EmbeddedStore::open(folder.path().join("new.db"))
        .unwrap()
        .shared();
    let package = Package::read(Cursor::new(exported(&store).await)).unwrap();
    package.write(&*back).await.unwrap();
    assert_eq!(contents(&back).await, contents(&old).await);
}

/// An import that the API server stops in the middle says so, and the same import goes on.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_was_cut_goes_on() {
    let folder = TempDir::new().unwrap();
    let old = EmbeddedStore::open(folder.path().join("old.db"))
        .unwrap()
        .shared();
    fill(&old).await;
    let text = exported(&old).await;
    let package = Package::read(Cursor::new(&text)).unwrap();
    let site = Site::new().await;
    // Who may not create policies, which come last.
    let rules = json!([
        {
            "apiGroups": ["kedge.dev"],
            "resources": ["servers", "jointokens", "accesspolicies"],
            "verbs": ["get", "list", "watch", "delete"],
        },
        {
            "apiGroups": ["kedge.dev"],
            "resources": ["servers", "servers/status", "jointokens", "jointokens/status"],
            "verbs": ["create", "patch"],
        },
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "create", "patch"]},
    ]);
    let part = site
        .store_by(site.account("part", rules).await)
        .await
        .shared();
    let error = package.write(&*part).await.unwrap_err();
    let ImportError::Cut { there, total, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!((*there, *total), (21, 22));
    let said = error.to_string();
    assert!(
        said.contains("accesspolicy `everybody`") && said.contains("21 of 22"),
        "{said}"
    );

    let store = site.store().await.shared();
    let other = Package::read(Cursor::new(exported(&old).await)).unwrap();
    let error = other.write(&*store).await.unwrap_err();
    assert!(matches!(error, ImportError::Other { .. }), "{error}");
    // As if the status had been cut off.
    store
        .modify_status::<JoinToken>("aaaaaaaaaa", |token| {
            token.status = kedge_api::resources::JoinTokenStatus::default();
            Changed::Yes
        })
        .await
        .unwrap();
    let imported = package.write(&*store).await.unwrap();
    assert_eq!(
        imported,
        Imported {
            written: 2,
            there: 20
        }
    );
    assert_eq!(contents(&store).await, contents(&old).await);
    let error = package.write(&*store).await.unwrap_err();
    assert!(matches!(error, ImportError::NotEmpty { .. }), "{error}");
}
