//! Others write as well: kubectl, controllers, other hubs.

use kedge_api::meta::Changed;
use kedge_api::resources::JoinTokenSpec;
use kedge_api::{JoinToken, Resource, Server, ServerPhase};
use kedge_store::{Precondition, StoreError};
use serde_json::{Value, json};

use crate::site::{
    PATIENCE, Site, apply, eventually, everything, manifest, next, options, own_cluster,
    permissive_kinds, server, watch,
};

/// What people apply is seen at once, and what the hub says of it does not come in their way.
#[tokio::test(flavor = "multi_thread")]
async fn kubectl_and_the_hub_write_to_one_object() {
    let site = Site::new().await;
    let store = site.store().await.shared();
    let mut events = watch(&store).await;
    site.apply(manifest("web01", "ubuntu")).await;
    assert_eq!(next(&mut events).await, "+web01");
    let seen: Server = store.get("web01").await.unwrap();
    assert_eq!(seen.spec.ssh_user.as_ref().unwrap().as_str(), "ubuntu");
    assert_eq!(seen.status.phase, ServerPhase::Pending);

    let online = |server: &mut Server| {
        server.status.phase = ServerPhase::Online;
        Changed::Yes
    };
    store
        .modify_status::<Server>("web01", online)
        .await
        .unwrap();
    site.apply(manifest("web01", "admin")).await;
    eventually("the change is seen", || async {
        let seen: Server = store.get("web01").await.unwrap();
        seen.spec.ssh_user.unwrap().as_str() == "admin"
    })
    .await;
    let seen: Server = store.get("web01").await.unwrap();
    assert_eq!(seen.status.phase, ServerPhase::Online, "the status stays");
    assert_eq!(seen.metadata.generation, Some(2));

    site.kubectl(&["delete", "servers", "web01"])
        .await
        .success()
        .unwrap();
    eventually("the deletion is seen", || async {
        store.find::<Server>("web01").await.unwrap().is_none()
    })
    .await;
}

/// Finalizers and owners of others stay through every change of ours.
#[tokio::test(flavor = "multi_thread")]
async fn what_others_put_into_the_metadata_stays() {
    let site = Site::new().await;
    let store = site.store().await.shared();
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner"}});
    site.apply(owner).await;
    let uid = [
        "get",
        "configmap",
        "owner",
        "--output",
        "jsonpath={.metadata.uid}",
    ];
    let uid = site.kubectl(&uid).await.out();
    let mut object = manifest("web01", "ubuntu");
    object["metadata"]["finalizers"] = json!(["example.com/theirs"]);
    object["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}]);
    site.apply(object).await;
    eventually("it is seen", || async {
        store.find::<Server>("web01").await.unwrap().is_some()
    })
    .await;
    let label = |server: &mut Server| {
        let labels = &mut server.metadata.labels;
        labels.insert("env".parse().unwrap(), "prod".parse().unwrap());
        server.spec.ssh_user = None;
        Changed::Yes
    };
    store.modify::<Server>("web01", label).await.unwrap();
    store
        .modify_status::<Server>("web01", |server| {
            server.status.phase = ServerPhase::Offline;
            Changed::Yes
        })
        .await
        .unwrap();
    let ran = site
        .kubectl(&["get", "server", "web01", "--output", "json"])
        .await;
    let object: Value = serde_json::from_str(&ran.out()).unwrap();
    assert_eq!(
        object["metadata"]["finalizers"],
        json!(["example.com/theirs"])
    );
    assert_eq!(object["metadata"]["ownerReferences"][0]["name"], "owner");
    assert_eq!(object["metadata"]["labels"], json!({"env": "prod"}));
    assert_eq!(object["spec"].get("sshUser"), None);
    assert_eq!(object["status"]["phase"], "Offline");

    // Gone for the hub as soon as it is to go, whoever else still holds it.
    let mut events = watch(&store).await;
    let before: Server = store.get("web01").await.unwrap();
    let gone = store
        .delete::<Server>("web01", Precondition::None)
        .await
        .unwrap();
    assert_eq!(gone.metadata.uid, before.metadata.uid);
    assert!(gone.metadata.resource_version > before.metadata.resource_version);
    assert_eq!(next(&mut events).await, "-web01");
    assert_eq!(store.find::<Server>("web01").await.unwrap(), None);
    let error = store.create(&server("web01")).await.unwrap_err();
    assert!(matches!(error, StoreError::AlreadyExists { .. }), "{error}");
    let error = store
        .delete::<Server>("web01", Precondition::None)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
    let finalizers = r#"{"metadata":{"finalizers":[]}}"#;
    let release = [
        "patch",
        "server",
        "web01",
        "--type=merge",
        "--patch",
        finalizers,
    ];
    site.kubectl(&release).await.success().unwrap();
    let mut made = store.create(&server("web01")).await;
    let end = tokio::time::Instant::now() + PATIENCE;
    while made.is_err() && tokio::time::Instant::now() < end {
        made = store.create(&server("web01")).await;
    }
    assert_ne!(made.unwrap().metadata.uid, before.metadata.uid);
    assert_eq!(next(&mut events).await, "+web01");
}

/// Two hubs see each other's writes, and of two changes of one version one is made.
#[tokio::test(flavor = "multi_thread")]
async fn two_stores_share_one_namespace() {
    let site = Site::new().await;
    let (one, two) = (site.store().await.shared(), site.store().await.shared());
    let made = one.create(&server("web01")).await.unwrap();
    eventually("the other sees it", || async {
        two.find::<Server>("web01").await.unwrap().is_some()
    })
    .await;
    let mut changes = [made.clone(), made];
    changes[0].spec.ssh_user = Some("one".parse().unwrap());
    changes[1].spec.ssh_user = Some("two".parse().unwrap());
    let (first, second) = tokio::join!(one.update(&changes[0]), two.update(&changes[1]));
    let lost = match (first, second) {
        (Ok(_), Err(lost)) | (Err(lost), Ok(_)) => lost,
        other => panic!("{other:?}"),
    };
    assert!(matches!(lost, StoreError::Conflict { .. }), "{lost}");
    // Whoever lost has seen what it lost against, so the next attempt is made with that.
    for (store, value) in [(&one, "a"), (&two, "b")] {
        let label = |server: &mut Server| {
            let labels = &mut server.metadata.labels;
            labels.insert(value.parse().unwrap(), value.parse().unwrap());
            Changed::Yes
        };
        store.modify::<Server>("web01", label).await.unwrap();
    }
    eventually("both changes are there", || async {
        one.get::<Server>("web01")
            .await
            .unwrap()
            .metadata
            .labels
            .len()
            == 2
    })
    .await;
}

/// What others wrote into the status is not left beside what the hub says.
#[tokio::test(flavor = "multi_thread")]
async fn the_status_is_what_the_hub_says_and_nothing_else() {
    let site = Site::new().await;
    let store = site.store().await.shared();
    store.create(&server("web01")).await.unwrap();
    let theirs = r#"{"status":{"phase":"Online","os":"theirs","arch":"theirs"}}"#;
    site.kubectl(&[
        "patch",
        "server",
        "web01",
        "--subresource=status",
        "--type=merge",
        "--patch",
        theirs,
    ])
    .await
    .success()
    .unwrap();
    eventually("it is seen", || async {
        store
            .get::<Server>("web01")
            .await
            .unwrap()
            .status
            .os
            .is_some()
    })
    .await;
    let written = store
        .modify_status::<Server>("web01", |server| {
            server.status.os = None;
            server.status.arch = Some("amd64".parse().unwrap());
            Changed::Yes
        })
        .await
        .unwrap();
    assert_eq!(written.status.os, None);
    assert_eq!(written.status.arch.as_ref().unwrap().as_str(), "amd64");
    assert_eq!(store.get::<Server>("web01").await.unwrap(), written);
}

/// A token is created with its hash, or not at all.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_created_with_a_status_has_it() {
    let site = Site::new().await;
    let store = site.store().await.shared();
    let mut token = JoinToken::new("aaaaaaaaaa".parse().unwrap(), JoinTokenSpec::default());
    token.status.used = 3;
    let made = store.create(&token).await.unwrap();
    assert_eq!(made.status, token.status);
    assert_eq!(store.get::<JoinToken>("aaaaaaaaaa").await.unwrap(), made);

    // Who may create and not say what became of it leaves nothing half-done.
    let rules = json!([
        {
            "apiGroups": ["kedge.dev"],
            "resources": ["servers", "jointokens", "accesspolicies"],
            "verbs": ["get", "list", "watch", "create", "delete"],
        },
    ]);
    let store = site
        .store_by(site.account("halfway", rules).await)
        .await
        .shared();
    token.metadata.name = "bbbbbbbbbb".parse().unwrap();
    let error = store.create(&token).await.unwrap_err();
    assert!(matches!(error, StoreError::Forbidden { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("patch jointokens.kedge.dev/status"),
        "{error}"
    );
    let ran = site
        .kubectl(&["get", "jointokens", "--output", "name"])
        .await;
    assert_eq!(ran.out().trim(), "jointoken.kedge.dev/aaaaaaaaaa");
}

/// A change goes on to its end when whoever wanted it is gone: a token without its hash would be left behind otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_nobody_waits_for_is_made_whole() {
    let site = Site::new().await;
    let store = site.store().await.shared();
    for patience in 0..12_u64 {
        let name = format!("cccccccc{patience:02}").parse().unwrap();
        let mut token = JoinToken::new(name, JoinTokenSpec::default());
        token.status.used = 3;
        let gone = std::time::Duration::from_millis(patience);
        let _ = tokio::time::timeout(gone, store.create(&token)).await;
    }
    eventually("all of them are whole", || async {
        let tokens = store.list::<JoinToken>(&everything()).await.unwrap();
        tokens.items.len() == 12 && tokens.items.iter().all(|token| token.status.used == 3)
    })
    .await;
}

/// One object that nobody can read does not keep anybody from the others.
#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_object_hinders_nobody() {
    let cluster = own_cluster().await;
    let folder = tempfile::TempDir::new().unwrap();
    let namespace = "default".parse().unwrap();
    for definition in permissive_kinds() {
        apply(&cluster, &namespace, definition).await;
    }
    let wait = [
        "wait",
        "--for=condition=Established",
        "--timeout=60s",
        "crd",
        "--all",
    ];
    cluster.admin(&wait).unwrap();
    apply(&cluster, &namespace, manifest("bad01", "-oProxyCommand=x")).await;
    let kubeconfig = cluster.kubeconfig(cluster.admin_token()).unwrap();
    let store = kedge_store::KubernetesStore::connect(options(kubeconfig, &namespace, &folder));
    let store = store.await.unwrap().shared();
    let error = store.get::<Server>("bad01").await.unwrap_err();
    assert!(matches!(error, StoreError::Unreadable { .. }), "{error}");
    store.create(&server("good01")).await.unwrap();
    let mut odd = manifest("bad02", "ubuntu");
    odd["spec"]["unknown"] = json!({"deep": [1, null, "\u{202e}"]});
    odd["status"] = json!({"phase": 7});
    apply(&cluster, &namespace, odd).await;
    apply(&cluster, &namespace, manifest("good02", "ubuntu")).await;
    eventually("the last one is seen", || async {
        store.find::<Server>("good02").await.unwrap().is_some()
    })
    .await;
    let kind = kedge_store::Kind::of::<Server>();
    let all = store.read_all(kind, &everything()).await.unwrap();
    let names: Vec<_> = all
        .items
        .iter()
        .filter_map(kedge_store::Snapshot::name)
        .collect();
    assert_eq!(names, ["bad01", "bad02", "good01", "good02"]);
    let error = store.list::<Server>(&everything()).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreadable { .. }), "{error}");
    // It is removed, or put right, like any other.
    store
        .delete::<Server>("bad02", Precondition::None)
        .await
        .unwrap_err();
    assert!(
        store.find::<Server>("bad02").await.unwrap().is_none(),
        "removed all the same"
    );
    apply(&cluster, &namespace, manifest("bad01", "ubuntu")).await;
    eventually("it is readable", || async {
        store.get::<Server>("bad01").await.is_ok()
    })
    .await;
}
