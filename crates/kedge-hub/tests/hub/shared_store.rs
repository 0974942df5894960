//! What a hub does for a store that many watch: it writes no more than it must.

use std::collections::BTreeMap;
use std::time::Duration;

use kedge_api::ServerPhase;
use kedge_testkit::kube::{self, Asked};
use kedge_tunnel::CloseReason;

use crate::harness::{Hub, host_keys};

/// Agents that come and go.
const AGENTS: usize = 12;

/// How often each does.
const TIMES: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_that_come_and_go_are_written_down_twice_a_minute_at_most() {
    let prepared = tokio::task::spawn_blocking(|| {
        let cluster = kube::shared().unwrap();
        cluster.install_kinds().unwrap();
        let namespace = cluster.namespace("flapping").unwrap();
        let words = [
            "create",
            "serviceaccount",
            "hub",
            "--namespace",
            namespace.as_str(),
        ];
        cluster.admin(&words).unwrap();
        let account = format!("--serviceaccount={namespace}:hub");
        let words = [
            "create",
            "rolebinding",
            "hub",
            "--clusterrole=cluster-admin",
            &account,
            "--namespace",
            namespace.as_str(),
        ];
        cluster.admin(&words).unwrap();
        let token = cluster.token_of(&namespace, "hub").unwrap();
        let kubeconfig = cluster.kubeconfig_in(&token, &namespace).unwrap();
        (namespace, kubeconfig)
    });
    let (namespace, kubeconfig) = prepared.await.unwrap();
    let user = format!("system:serviceaccount:{namespace}:hub");
    let hub = Hub::with(&format!(
        "[store]\nkind = \"kubernetes\"\n[store.kubernetes]\nkubeconfig = \"{}\"\n",
        kubeconfig.display()
    ))
    .await;
    let mut agents = Vec::new();
    for number in 0..AGENTS {
        let agent = hub.agent(&format!("web{number:02}")).await;
        agents.push((agent, number));
    }
    let writes = async || -> BTreeMap<String, usize> {
        let user = user.clone();
        let asked = tokio::task::spawn_blocking(move || kube::shared()?.asked_by(&user));
        let mut count = BTreeMap::new();
        for asked in asked.await.unwrap().unwrap() {
            let Asked {
                resource,
                name,
                status,
                ..
            } = asked;
            // What was refused, because somebody else had written meanwhile, was not written.
            if resource == "servers/status" && status == 200 {
                *count.entry(name).or_default() += 1;
            }
        }
        count
    };
    // What joining writes is not what is counted.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = writes().await;
    let begun = std::time::Instant::now();
    let mut peers = BTreeMap::new();
    for (agent, number) in &agents {
        let peer = agent.dial(&hub).await;
        agent.report(&hub, &host_keys(&[1])).await;
        peers.insert(*number, peer);
    }
    for _ in 0..TIMES {
        for (agent, number) in &agents {
            let peer = peers.remove(number).unwrap();
            peer.link.close(CloseReason::Finished);
            peer.end().await;
            let peer = agent.dial(&hub).await;
            let report = agent.report(&hub, &host_keys(&[1])).await;
            assert!(report.status.is_success(), "{report:?}");
            peers.insert(*number, peer);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for (agent, _) in &agents {
        hub.phase(agent.name.as_str(), ServerPhase::Online).await;
    }
    let took = begun.elapsed();
    let after = writes().await;
    let allowed = 1 + usize::try_from(took.as_secs() / 30).unwrap();
    for (agent, _) in &agents {
        let name = agent.name.as_str();
        let written = after[name] - before[name];
        assert!(
            written <= allowed,
            "{name} was written {written} times in {took:?}"
        );
    }
    hub.stop().await;
}
