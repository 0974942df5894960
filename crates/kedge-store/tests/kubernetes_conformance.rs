//! The Kubernetes store does what every store must, against a real API server.

#![cfg(test)]

#[path = "kubernetes/site.rs"]
mod site;

use kedge_store::SharedStore;
use site::{Guard, Site};

async fn fresh() -> (SharedStore, Guard) {
    let site = Site::new().await;
    let store = site.store().await.shared();
    (store, site.into_guard())
}

kedge_store::conformance_suite!(fresh);
