//! The API server of the tests is a real one, comes back as it was, and leaves nothing behind.

#![cfg(test)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kedge_testkit::kube::{self, Asked, Cluster};
use kedge_testkit::process::is_alive;
use kedge_testkit::run::{Live, run};
use kedge_testkit::{defaults, wait};
use serde_json::json;

#[test]
fn an_outage_keeps_address_certificate_and_data() -> Result<()> {
    let mut cluster = Cluster::start()?;
    let (url, authority) = (cluster.url().to_owned(), fs::read(cluster.ca_file())?);
    let namespace = cluster.namespace("outage")?;
    let account = [
        "create",
        "serviceaccount",
        "somebody",
        "--namespace",
        &namespace,
    ];
    cluster.admin(&account)?;
    let token = cluster.token_of(&namespace, "somebody")?;

    cluster.stop_api()?;
    let away = run(cluster.kubectl(&["get", "namespace", &namespace]))?;
    ensure!(away.code() == Some(1), "{away}");
    cluster.start_api()?;
    ensure!(cluster.url() == url && fs::read(cluster.ca_file())? == authority);
    cluster.admin(&["get", "namespace", &namespace])?;

    // The token of before is still one, and RBAC is on.
    let config = cluster.kubeconfig_in(&token, &namespace)?;
    let asked = run(cluster.kubectl_by(&config, &["get", "secrets"]))?;
    asked
        .exits(1)?
        .says(&["cannot list resource \"secrets\""])?;

    let user = format!("system:serviceaccount:{namespace}:somebody");
    let asked = wait::until("the audit log", defaults::SOON, || {
        let asked = cluster.asked_by(&user)?;
        Ok(asked.into_iter().find(|asked| asked.resource == "secrets"))
    })?;
    let expected = Asked {
        verb: "list".to_owned(),
        resource: "secrets".to_owned(),
        namespace,
        name: String::new(),
        status: 403,
    };
    ensure!(asked == expected, "{asked:?}");

    let (pids, folder) = (cluster.pids(), cluster.folder().to_owned());
    ensure!(pids.len() == 3, "{pids:?}");
    drop(cluster);
    ensure!(pids.iter().all(|pid| !is_alive(*pid)) && !folder.exists());
    Ok(())
}

#[test]
fn one_is_shared_by_a_process_and_by_those_it_tells() -> Result<()> {
    let (one, same) = (kube::shared()?, kube::shared()?);
    ensure!(std::ptr::eq(one, same));
    let namespace = one.namespace("shared")?;
    let other = Cluster::attach(one.folder())?;
    other.admin(&["get", "namespace", &namespace])?;
    ensure!(other.url() == one.url());
    let folder = other.folder().to_owned();
    drop(other);
    ensure!(!folder.exists());
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", "namespace": namespace}});
    one.apply(&secret.to_string(), &[])?.success()?;
    Ok(())
}

#[test]
fn nothing_outlives_a_process_that_is_killed() -> Result<()> {
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.args(["--exact", CHILD, "--ignored", "--nocapture"]);
    let mut child = Live::start(command)?;
    child.expect("started\n", defaults::START)?;
    let said = String::from_utf8_lossy(&child.out()).into_owned();
    let line = |name: &str| -> Result<String> {
        let found = said.lines().find_map(|line| line.strip_prefix(name));
        Ok(found.with_context(|| said.clone())?.to_owned())
    };
    let (folder, pids) = (line("folder ")?, line("pids ")?);
    let pids: Vec<u32> = pids.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    ensure!(
        pids.len() == 3 && pids.iter().all(|pid| is_alive(*pid)),
        "{pids:?}"
    );
    child.signal(rustix::process::Signal::KILL)?;
    wait::until_true("all to be gone", defaults::SOON, || {
        Ok(pids.iter().all(|pid| !is_alive(*pid)) && !Path::new(&folder).exists())
    })
}

const CHILD: &str = "a_process_that_starts_a_server_and_is_killed";

#[test]
#[ignore = "the other half, started by nothing_outlives_a_process_that_is_killed"]
fn a_process_that_starts_a_server_and_is_killed() -> Result<()> {
    // In the static that nobody drops.
    let cluster = kube::shared()?;
    let pids: Vec<String> = cluster.pids().iter().map(u32::to_string).collect();
    println!(
        "folder {}\npids {}\nstarted",
        cluster.folder().display(),
        pids.join(" ")
    );
    std::thread::sleep(Duration::from_secs(600));
    Ok(())
}
