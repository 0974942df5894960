//! What the API server refuses, in words that say what to do.

use kedge_api::status::{Status, StatusReason};
use kedge_api::{AccessPolicy, Resource, Server};
use kedge_store::{ConnectError, KubernetesStore, MetaKey, Precondition, StoreError, Write};
use serde_json::json;

use crate::site::{Site, server};

/// Without a right, the error names it.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_is_named() {
    let site = Site::new().await;
    let rules = json!([{
        "apiGroups": ["kedge.dev"],
        "resources": ["servers", "jointokens", "accesspolicies"],
        "verbs": ["get", "list", "watch"],
    }]);
    site.store()
        .await
        .shared()
        .create(&server("web01"))
        .await
        .unwrap();
    let store = site
        .store_by(site.account("reader", rules).await)
        .await
        .shared();
    let mut there: Server = store.get("web01").await.unwrap();
    let namespace = site.namespace.as_str();
    let refused = |error: StoreError, right: &str| {
        let said = error.to_string();
        let expected =
            format!("the Kubernetes API does not let the hub {right} in namespace {namespace}: ");
        assert!(said.starts_with(&expected), "{said}");
        let status = Status::from(error);
        assert_eq!(status.reason, StatusReason::ServiceUnavailable);
        assert!(!status.message.contains(namespace), "{}", status.message);
    };
    refused(
        store.create(&server("web02")).await.unwrap_err(),
        "create servers.kedge.dev",
    );
    there.spec.ssh_user = Some("ubuntu".parse().unwrap());
    refused(
        store.update(&there).await.unwrap_err(),
        "patch servers.kedge.dev",
    );
    there.status.os = Some("debian".parse().unwrap());
    refused(
        store.update_status(&there).await.unwrap_err(),
        "patch servers.kedge.dev/status",
    );
    refused(
        store
            .delete::<Server>("web01", Precondition::None)
            .await
            .unwrap_err(),
        "delete servers.kedge.dev",
    );
    let init = store.init_meta(MetaKey::HubId, "x".to_owned()).await;
    refused(init.unwrap_err(), "get configmap kedge-hub-state");

    let nothing = site.account("nobody", json!([])).await;
    let error = KubernetesStore::connect(site.options(nothing))
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::Forbidden { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("list servers.kedge.dev in namespace"),
        "{error}"
    );
}

/// A field that the API server's definition does not have is refused, and not lost on the way.
#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_is_not_defined_is_refused_and_not_dropped() {
    let site = Site::new().await;
    let store = site.store().await.shared();
    let kind = kedge_store::Kind::of::<Server>();
    let mut object = serde_json::to_value(server("web01")).unwrap();
    object["spec"]["fromTheFuture"] = json!("only on Sundays");
    let error = store.write(Write::Create(kind, object)).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("fromTheFuture"), "{error}");
    assert_eq!(Status::from(error).reason, StatusReason::Invalid);
    assert!(store.find::<Server>("web01").await.unwrap().is_none());
    let made = store.create(&server("web01")).await.unwrap();
    let mut object = serde_json::to_value(&made).unwrap();
    object["spec"]["fromTheFuture"] = json!("only on Sundays");
    let error = store.write(Write::Update(kind, object)).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error}");
    assert_eq!(store.get::<Server>("web01").await.unwrap(), made);
}

/// A namespace that is not there is named by the API server, and its sentence is passed on.
#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_not_there_is_named() {
    let site = Site::new().await;
    let kubeconfig = crate::site::cluster()
        .kubeconfig(crate::site::cluster().admin_token())
        .unwrap();
    let mut options = site.options(kubeconfig);
    options.namespace = Some("no-such-namespace".parse().unwrap());
    let store = KubernetesStore::connect(options).await.unwrap().shared();
    let error = store.create(&server("web01")).await.unwrap_err();
    assert!(error.to_string().contains("no-such-namespace"), "{error}");
    assert!(
        store
            .list::<AccessPolicy>(&crate::site::everything())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    assert_eq!(Server::PLURAL, "servers");
}
