//! What an operator brings to the manifests as they are shipped, as docs/kubernetes.md tells: an image, a
//! configuration, a certificate, a volume, a load balancer, and keys.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use kedge_testkit::hub::{new_token, quoted};
use kedge_testkit::{machine, run};
use serde_json::json;

use super::network::{BALANCED, HUB};
use super::node::Node;
use crate::defaults;
use crate::image::Reference;

/// What was made for a hub that is about to be applied.
pub(super) struct Prepared {
    /// The overlay on top of `single`.
    pub(super) overlay: PathBuf,
    /// The certificate by which everybody knows the hub.
    pub(super) certificate: PathBuf,
    /// The tokens of people.
    pub(super) admin: String,
    pub(super) alice: String,
    /// Where the hub's history is on the node.
    pub(super) volume: PathBuf,
}

/// Makes everything that the overlay `single` refers to, and an overlay of one's own on top of it.
pub(super) fn prepare(node: &Node, dir: &Path, bins: &Path, manifests: &Path) -> Result<Prepared> {
    for namespace in ["kedge", "ssh-keys"] {
        node.kubectl(&["create", "namespace", namespace])?;
    }
    let (certificate, key) = certificate(dir)?;
    let (cert, key) = (
        format!("--cert={}", certificate.display()),
        format!("--key={}", key.display()),
    );
    node.kubectl(&[
        "--namespace=kedge",
        "create",
        "secret",
        "tls",
        "kedge-hub-tls",
        &cert,
        &key,
    ])?;
    let volume = volume(node)?;
    let overlay = dir.join("manifests/overlays/mine");
    let mut copy = Command::new("cp");
    copy.arg("-r").arg(manifests).arg(dir.join("manifests"));
    run::run(copy)?.success()?;
    fs::create_dir(&overlay)?;
    let image = Reference::of_the_hub();
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["../single"],
        "images": [{ "name": "kedge-hub", "newName": image.repository(), "newTag": image.tag() }],
        "configMapGenerator": [{
            "name": "kedge-hub-config", "namespace": "kedge", "behavior": "replace", "files": ["hub.toml"],
        }],
    });
    fs::write(
        overlay.join("kustomization.yaml"),
        kustomization.to_string(),
    )?;
    let shipped = fs::read_to_string(manifests.join("overlays/single/hub.toml"))?;
    let mut toml = format!("{shipped}\n[admins]\nusers = [\"admin\"]\n");
    let mut person = |name: &str| -> Result<String> {
        let (token, hash) = new_token(bins)?;
        toml.push_str(&format!(
            "[[people]]\nsubject = {}\ntoken-sha256 = {}\nclaims = {{ preferred_username = {} }}\n",
            quoted(name),
            quoted(&hash),
            quoted(&machine::me()?)
        ));
        Ok(token)
    };
    let (admin, alice) = (person("admin")?, person("alice")?);
    fs::write(overlay.join("hub.toml"), toml)?;
    Ok(Prepared {
        overlay,
        certificate,
        admin,
        alice,
        volume,
    })
}

/// A certificate that vouches for itself, and its key.
fn certificate(dir: &Path) -> Result<(PathBuf, PathBuf)> {
    let (certificate, key) = (dir.join("hub.crt"), dir.join("hub.key"));
    let config = dir.join("certificate.cnf");
    let lines = format!(
        "[req]\ndistinguished_name = name\nx509_extensions = extensions\nprompt = no\n\
         [name]\nCN = {HUB}\n\
         [extensions]\nsubjectAltName = DNS:{HUB}\nbasicConstraints = critical, CA:FALSE\n"
    );
    fs::write(&config, lines)?;
    let mut command = Command::new("openssl");
    command
        .args(["req", "-x509", "-nodes", "-days", "2", "-newkey", "ec"])
        .args(["-pkeyopt", "ec_paramgen_curve:prime256v1", "-config"])
        .arg(&config)
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate);
    run::run(command)?.success()?;
    Ok((certificate, key))
}

/// A folder of the node for the overlay's claim: what a provisioner would make where there is one.
fn volume(node: &Node) -> Result<PathBuf> {
    // Of a kind whose owner the kubelet sets to the pod's fsGroup.
    let path = PathBuf::from("/var/lib/history");
    fs::create_dir(&path)?;
    node.apply(&[json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": "history" },
        "spec": {
            "capacity": { "storage": "2Gi" },
            "accessModes": ["ReadWriteOnce"],
            "local": { "path": path },
            "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [
                { "key": "kubernetes.io/hostname", "operator": "Exists" },
            ] }] } },
        },
    })])?;
    Ok(path)
}

/// Does what the load balancer of a cloud does: gives the hub's Service an address.
pub(super) fn balance(node: &Node) -> Result<()> {
    let status = json!({ "status": { "loadBalancer": { "ingress": [{ "ip": BALANCED }] } } });
    node.kubectl(&[
        "--namespace=kedge",
        "patch",
        "service",
        "kedge-hub",
        "--subresource=status",
        "--type=merge",
        "--patch",
        &status.to_string(),
    ])
    .map(drop)
}

/// Puts a private key into a Secret for a server, and has the server refer to it.
pub(super) fn give_key(node: &Node, server: &str, key: &Path) -> Result<()> {
    let from = format!("--from-file=ssh-privatekey={}", key.display());
    let offered = format!("kedge.dev/servers={server}");
    for words in [
        &[
            "create",
            "secret",
            "generic",
            server,
            "--type=kubernetes.io/ssh-auth",
            &from,
        ][..],
        &["annotate", "secret", server, &offered],
    ] {
        node.kubectl(&[&["--namespace=ssh-keys"], words].concat())?;
    }
    let patch =
        json!({ "spec": { "sshKeySecretRef": { "name": server, "namespace": "ssh-keys" } } });
    let words = [
        "--namespace=kedge",
        "patch",
        "server",
        server,
        "--type=merge",
        "--patch",
    ];
    let patch = patch.to_string();
    node.kubectl(&[&words, [patch.as_str()].as_slice()].concat())
        .map(drop)
}

/// Waits until the hub's Deployment has what was asked for.
pub(super) fn rolled_out(node: &Node) -> Result<()> {
    let limit = format!("--timeout={}s", defaults::CLUSTER_STEP.as_secs());
    let words = [
        "--namespace=kedge",
        "rollout",
        "status",
        "deployment/kedge-hub",
    ];
    node.kubectl(&[&words, [limit.as_str()].as_slice()].concat())
        .map(drop)
        .context("wait for the hub's probes")
}
