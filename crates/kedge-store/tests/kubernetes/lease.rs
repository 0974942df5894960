//! One hub of several serves: the Lease says which.

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use kedge_store::{Held, KubernetesStore, Lease, Standing};
use kedge_testkit::wire::Wire;
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::site::{PATIENCE, Site, address, cluster, eventually, options, own_cluster, redirected};

async fn candidate(site: &Site) -> (KubernetesStore, Lease) {
    let store = site.store().await;
    let lease = store.lease().unwrap();
    (store, lease)
}

/// Waits for it, and says how long that took.
async fn acquired(lease: &Lease) -> (Held, Duration) {
    let began = Instant::now();
    let held = timeout(PATIENCE, lease.acquire()).await.unwrap();
    (held, began.elapsed())
}

/// Somebody else waits for it.
fn waiting(lease: &Lease) -> JoinSet<(Held, Duration)> {
    let mut waiting = JoinSet::new();
    let lease = lease.clone();
    waiting.spawn(async move { acquired(&lease).await });
    waiting
}

async fn is_lost(held: &Held, within: Duration) -> Option<String> {
    timeout(within, held.lost())
        .await
        .ok()
        .map(|lost| lost.holder)
}

/// Of two, one holds it; when it gives the Lease back the other has it at once.
#[tokio::test(flavor = "multi_thread")]
async fn one_holds_it_and_what_is_given_back_is_taken_at_once() {
    let site = Site::new().await;
    let (_one, first) = candidate(&site).await;
    let (_two, second) = candidate(&site).await;
    assert_ne!(
        first.identity(),
        second.identity(),
        "though both are called `hub`"
    );
    let (held, took) = acquired(&first).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(*first.standing().borrow(), Standing::Holds);

    let mut waiting = waiting(&second);
    let mut standing = second.standing();
    let expected = Standing::Waits {
        holder: Some(first.identity().to_owned()),
    };
    timeout(PATIENCE, standing.wait_for(|now| *now == expected))
        .await
        .unwrap()
        .unwrap();
    // Longer than the Lease lasts: it is renewed, so nobody else has it.
    assert_eq!(is_lost(&held, Duration::from_secs(13)).await, None);
    assert!(waiting.try_join_next().is_none());

    let began = Instant::now();
    held.release().await;
    let (held, _) = waiting.join_next().await.unwrap().unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    held.release().await;
    let spec = ["get", "lease", "kedge-hub", "--output", "jsonpath={.spec}"];
    let ran = site.kubectl(&spec).await;
    let spec: serde_json::Value = serde_json::from_str(&ran.out()).unwrap();
    assert_eq!(spec.get("holderIdentity"), None);
    assert_eq!(spec["leaseTransitions"], 1);
    assert_eq!(spec["leaseDurationSeconds"], 10);
}

/// When the holder is killed, the other takes over within 15 s, and not before the Lease has ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_holder_is_followed_within_fifteen_seconds() {
    let site = Site::new().await;
    let (_one, first) = candidate(&site).await;
    let (_two, second) = candidate(&site).await;
    let (held, _) = acquired(&first).await;
    let mut waiting = waiting(&second);
    // It has been looked at before the holder dies.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let died = Instant::now();
    drop(held);
    let (held, _) = waiting.join_next().await.unwrap().unwrap();
    let took = died.elapsed();
    assert!(
        took > Duration::from_secs(5) && took < Duration::from_secs(15),
        "{took:?}"
    );
    held.release().await;
}

/// Many that want it at one moment: one gets it.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_want_it_one_gets_it() {
    let site = Site::new().await;
    let store = site.store().await;
    let mut racing = JoinSet::new();
    for _ in 0..8 {
        let lease = store.lease().unwrap();
        racing.spawn(async move { acquired(&lease).await.0 });
    }
    let mut held = Vec::new();
    let end = tokio::time::Instant::now() + Duration::from_secs(7);
    while let Ok(Some(won)) = tokio::time::timeout_at(end, racing.join_next()).await {
        held.push(won.unwrap());
    }
    assert_eq!(held.len(), 1);
}

/// A holder that is cut off goes on; when it is back and another holds the Lease, it learns that it lost it.
#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_was_cut_off_learns_that_another_took_over() {
    let site = Site::new().await;
    let folder = TempDir::new().unwrap();
    let wire = Wire::to(address(cluster())).unwrap();
    let far = site
        .store_by(redirected(cluster(), wire.address(), &folder))
        .await;
    let (_near, second) = candidate(&site).await;
    let first = far.lease().unwrap();
    let (held, _) = acquired(&first).await;
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap();
    wire.retarget(nobody);
    wire.cut();
    let (taken, _) = acquired(&second).await;
    assert_eq!(
        is_lost(&held, Duration::from_secs(3)).await,
        None,
        "it cannot know"
    );
    wire.retarget(address(cluster()));
    let lost = is_lost(&held, Duration::from_secs(10)).await;
    assert_eq!(lost.as_deref(), Some(second.identity()));
    assert_eq!(is_lost(&taken, Duration::from_secs(4)).await, None);
}

/// While the API server is away nobody takes over and nobody steps down, however long that is; after it, the holder has
/// all of its time to say that it is there.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_changes_no_holder() {
    let mut cluster = own_cluster().await;
    let folder = TempDir::new().unwrap();
    let namespace = "default".parse().unwrap();
    cluster.install_kinds().unwrap();
    let kubeconfig = cluster.kubeconfig(cluster.admin_token()).unwrap();
    let connect = || KubernetesStore::connect(options(kubeconfig.clone(), &namespace, &folder));
    let (one, two) = (connect().await.unwrap(), connect().await.unwrap());
    let (first, second) = (one.lease().unwrap(), two.lease().unwrap());
    let (held, _) = acquired(&first).await;
    let mut waiting = waiting(&second);
    let mut standing = second.standing();
    let waits = |now: &Standing| matches!(now, Standing::Waits { holder: Some(_) });
    timeout(PATIENCE, standing.wait_for(waits))
        .await
        .unwrap()
        .unwrap();
    cluster.stop_api().unwrap();
    let unknown = |now: &Standing| matches!(now, Standing::Unknown { .. });
    timeout(PATIENCE, standing.wait_for(unknown))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(is_lost(&held, Duration::from_secs(15)).await, None);
    let cluster = tokio::task::spawn_blocking(move || {
        cluster.start_api().unwrap();
        cluster
    })
    .await
    .unwrap();
    assert_eq!(is_lost(&held, Duration::from_secs(13)).await, None);
    assert!(waiting.try_join_next().is_none());
    timeout(PATIENCE, standing.wait_for(waits))
        .await
        .unwrap()
        .unwrap();
    held.release().await;
    waiting.join_next().await.unwrap().unwrap();
    drop(cluster);
}

/// A Lease that somebody deletes is made again by its holder, and one that somebody empties is kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_somebody_meddles_with_stays_with_its_holder() {
    let site = Site::new().await;
    let (_store, lease) = candidate(&site).await;
    let (held, _) = acquired(&lease).await;
    let holder = || async {
        let holder = [
            "get",
            "lease",
            "kedge-hub",
            "--output",
            "jsonpath={.spec.holderIdentity}",
        ];
        site.kubectl(&holder).await.out()
    };
    let empty = json!({"spec": {"holderIdentity": null}}).to_string();
    for meddling in [
        vec!["annotate", "lease", "kedge-hub", "note=x"],
        vec![
            "patch",
            "lease",
            "kedge-hub",
            "--type=merge",
            "--patch",
            &empty,
        ],
        vec!["delete", "lease", "kedge-hub"],
    ] {
        site.kubectl(&meddling).await.success().unwrap();
        tokio::time::sleep(Duration::from_secs(4)).await;
        eventually("it is held again", || async {
            holder().await == lease.identity()
        })
        .await;
    }
    assert_eq!(is_lost(&held, Duration::from_secs(4)).await, None);
}
