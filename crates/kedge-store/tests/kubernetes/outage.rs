//! The API server is away, or the way to it is: what is known is served on, changes are refused, and nothing is lost.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use kedge_api::Server;
use kedge_api::meta::Changed;
use kedge_store::{
    Health, HistoryQuery, KubernetesStore, MetaKey, Precondition, Store, StoreError, Written,
};
use kedge_testkit::wire::Wire;
use tempfile::TempDir;

use crate::site::{
    Site, address, apply, cluster, eventually, everything, is_connected, kubectl, line, manifest,
    next, options, own_cluster, redirected, server, until, watch,
};

/// A whole outage: the API server dies and comes back, and what others did before it came back to us is seen.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_survived_and_what_was_missed_is_told() {
    let mut cluster = own_cluster().await;
    let folder = TempDir::new().unwrap();
    let namespace = "default".parse().unwrap();
    let wire = Wire::to(address(&cluster)).unwrap();
    let kubeconfig = redirected(&cluster, wire.address(), &folder);
    let options = || options(kubeconfig.clone(), &namespace, &folder);

    let unserved = KubernetesStore::connect(options())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        unserved.contains("does not serve servers.kedge.dev"),
        "{unserved}"
    );
    cluster.install_kinds().unwrap();

    let kubernetes = KubernetesStore::connect(options()).await.unwrap();
    let store = kubernetes.clone().shared();
    store
        .init_meta(MetaKey::HubId, "hub-x".to_owned())
        .await
        .unwrap();
    for name in ["stays", "changes", "goes", "returns"] {
        store.create(&server(name)).await.unwrap();
    }
    let before: Server = store.get("changes").await.unwrap();
    let returns: Server = store.get("returns").await.unwrap();
    let mut events = watch(&store).await;

    // For us it is away; others still reach it.
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap();
    wire.retarget(nobody);
    wire.cut();
    let said = until(&kubernetes, |health| !is_connected(health)).await;
    assert!(matches!(&said, Health::Disconnected { .. }));
    assert!(said.to_string().contains(kubernetes.url()), "{said}");

    let list = store.list::<Server>(&everything()).await.unwrap();
    assert_eq!(list.items.len(), 4);
    assert_eq!(store.get::<Server>("changes").await.unwrap(), before);
    assert_eq!(
        store.meta(MetaKey::HubId).await.unwrap().as_deref(),
        Some("hub-x")
    );
    store.append(vec![line("{}")]).await.unwrap();
    let query = HistoryQuery {
        limit: 9,
        ..HistoryQuery::default()
    };
    assert_eq!(Store::history(&*store, query).await.unwrap().lines.len(), 1);
    let began = Instant::now();
    let mut wanted = before.clone();
    wanted.spec.ssh_user = Some("ubuntu".parse().unwrap());
    for error in [
        store.create(&server("new")).await.unwrap_err(),
        store.update(&wanted).await.unwrap_err(),
        store
            .delete::<Server>("stays", Precondition::None)
            .await
            .unwrap_err(),
        store
            .set_meta(MetaKey::IssuerKeys, "{}".to_owned())
            .await
            .unwrap_err(),
    ] {
        assert!(
            matches!(
                &error,
                StoreError::Unavailable {
                    written: Written::Perhaps | Written::Nothing,
                    ..
                }
            ),
            "{error}"
        );
        let said = error.to_string();
        assert!(
            said.contains(&format!("the Kubernetes API at {}", kubernetes.url())),
            "{said}"
        );
        assert!(said.contains("written"), "{said}");
    }
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "a clear answer, and soon"
    );
    assert!(store.find::<Server>("new").await.unwrap().is_none());

    apply(&cluster, &namespace, manifest("arrives", "ubuntu")).await;
    apply(&cluster, &namespace, manifest("changes", "ubuntu")).await;
    let gone = ["delete", "servers", "goes", "returns"];
    kubectl(&cluster, &namespace, &gone)
        .await
        .success()
        .unwrap();
    apply(&cluster, &namespace, manifest("returns", "ubuntu")).await;

    // And then it is away for everybody, and forgets what it could have told of the past.
    let mut cluster = tokio::task::spawn_blocking(move || {
        cluster.stop_api().unwrap();
        cluster.start_api().unwrap();
        cluster
    })
    .await
    .unwrap();
    wire.retarget(address(&cluster));
    until(&kubernetes, is_connected).await;

    let mut told = Vec::new();
    for _ in 0..5 {
        told.push(next(&mut events).await);
    }
    assert_eq!(told.iter().filter(|event| *event == "-returns").count(), 1);
    let (went, came) = ("-returns".to_owned(), "+returns".to_owned());
    let at = |wanted: &String| told.iter().position(|event| event == wanted).unwrap();
    assert!(at(&went) < at(&came), "{told:?}");
    told.sort();
    assert_eq!(
        told,
        ["+arrives", "+returns", "-goes", "-returns", "~changes"]
    );
    let user = |server: Server| server.spec.ssh_user.unwrap().to_string();
    assert_eq!(user(store.get("changes").await.unwrap()), "ubuntu");
    let returned: Server = store.get("returns").await.unwrap();
    assert_ne!(returned.metadata.uid, returns.metadata.uid);

    // Everything works again, also from what was known before.
    let label = |server: &mut Server| {
        let labels = &mut server.metadata.labels;
        labels.insert("env".parse().unwrap(), "prod".parse().unwrap());
        Changed::Yes
    };
    store.modify::<Server>("stays", label).await.unwrap();
    assert_eq!(next(&mut events).await, "~stays");
    store.create(&server("new")).await.unwrap();
    assert_eq!(next(&mut events).await, "+new");

    // The server itself dies, in the middle of everything.
    cluster.stop_api().unwrap();
    until(&kubernetes, |health| !is_connected(health)).await;
    assert_eq!(
        store
            .list::<Server>(&everything())
            .await
            .unwrap()
            .items
            .len(),
        5
    );
    let error = store.create(&server("never")).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    let _running = tokio::task::spawn_blocking(move || {
        cluster.start_api().unwrap();
        cluster
    })
    .await
    .unwrap();
    until(&kubernetes, is_connected).await;
    store.create(&server("newer")).await.unwrap();
    assert_eq!(next(&mut events).await, "+newer");
}

/// A store that cannot be opened says why, in time.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_opened_says_where_it_looked() {
    let site = Site::new().await;
    let folder = TempDir::new().unwrap();
    let nobody: SocketAddr = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap();
    let kubeconfig = redirected(cluster(), nobody, &folder);
    let error = KubernetesStore::connect(site.options(kubeconfig))
        .await
        .unwrap_err();
    let said = error.to_string();
    let expected = format!("the Kubernetes API at https://{nobody} cannot be reached: ");
    assert!(
        said.starts_with(&expected) && said.contains("refused"),
        "{said}"
    );
}

/// A connection that dies without a word is noticed within a minute, and what happened meanwhile is seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_connection_is_noticed() {
    let site = Site::new().await;
    let folder = TempDir::new().unwrap();
    let wire = Wire::to(address(cluster())).unwrap();
    let kubeconfig = redirected(cluster(), wire.address(), &folder);
    let kubernetes = site.store_by(kubeconfig).await;
    let store = kubernetes.clone().shared();
    store.create(&server("web01")).await.unwrap();
    wire.silence();
    let error = store.create(&server("web02")).await.unwrap_err();
    let perhaps = matches!(
        &error,
        StoreError::Unavailable {
            written: Written::Perhaps,
            ..
        }
    );
    assert!(perhaps, "nobody knows what became of it: {error}");
    site.apply(manifest("web03", "ubuntu")).await;
    until(&kubernetes, |health| !is_connected(health)).await;
    // What was silent stays so; new connections pass.
    wire.restore();
    wire.cut();
    eventually("what happened meanwhile is seen", || async {
        store.find::<Server>("web03").await.unwrap().is_some()
    })
    .await;
    until(&kubernetes, is_connected).await;
    // The one that may have been written can be told from one that was not.
    match store.create(&server("web02")).await {
        Ok(_) | Err(StoreError::AlreadyExists { .. }) => {}
        Err(other) => panic!("{other}"),
    }
}
