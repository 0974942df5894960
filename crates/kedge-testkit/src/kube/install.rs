//! kedge in a cluster, from its own manifests.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use anyhow::{Context, Result};
use serde_json::json;

use super::Cluster;

/// kedge's manifests, as they were applied to a namespace.
#[derive(Clone, Debug)]
pub struct Installation {
    /// The namespace of the hub, and of its objects.
    pub namespace: String,
    /// The hub's service account, as RBAC calls it.
    pub account: String,
    /// A kubeconfig of that account in that namespace: what a hub outside of the cluster runs with, and is allowed by it
    /// what a pod is.
    pub kubeconfig: PathBuf,
    /// What was applied.
    pub manifests: String,
}

impl Cluster {
    /// Makes kedge's kinds known to the server, and waits until it serves them. Many may do so at once.
    ///
    /// # Errors
    ///
    /// When the server refuses them.
    pub fn install_kinds(&self) -> Result<()> {
        let folder = manifests().join("base/crd");
        let mut files = Vec::new();
        for kind in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
            let path = kind?.path();
            if !path.ends_with("kustomization.yaml") {
                files.extend(["--filename".to_owned(), path.display().to_string()]);
            }
        }
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let apply = ["apply", "--server-side", "--force-conflicts"];
        self.admin(&[&apply, files.as_slice()].concat())?;
        let wait = ["wait", "--for=condition=Established", "--timeout=60s"];
        self.admin(&[&wait, files.as_slice()].concat()).map(drop)
    }

    /// Applies `manifests/base` to a namespace that is there, and the component that lets the hub read Secrets to each of
    /// some others. Nothing runs by that: there is no kubelet.
    ///
    /// # Errors
    ///
    /// When the server refuses something.
    pub fn install(&self, namespace: &str, secrets: &[&str]) -> Result<Installation> {
        self.install_kinds()?;
        let manifests = self.rendered(namespace, secrets, &[])?;
        self.apply(&manifests, &["--server-side", "--force-conflicts"])?
            .success()?;
        let token = self.token_of(namespace, HUB)?;
        Ok(Installation {
            namespace: namespace.to_owned(),
            account: format!("system:serviceaccount:{namespace}:{HUB}"),
            kubeconfig: self.kubeconfig_in(&token, namespace)?,
            manifests,
        })
    }

    /// The manifests for a namespace, with Secrets in some others, and with more components of theirs.
    ///
    /// # Errors
    ///
    /// When kustomize cannot make them.
    pub fn rendered(
        &self,
        namespace: &str,
        secrets: &[&str],
        components: &[&str],
    ) -> Result<String> {
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        let folder = self.scratch.path().join(format!("{number}.kustomize"));
        fs::create_dir(&folder)?;
        let there = relative(&folder, &manifests())?;
        let components: Vec<_> = components
            .iter()
            .map(|name| format!("{there}/components/{name}"))
            .collect();
        let kustomization = json!({
            "namespace": namespace,
            "resources": [format!("{there}/base")],
            "components": components,
        });
        fs::write(folder.join("kustomization.yaml"), kustomization.to_string())?;
        let words = ["kustomize", folder.to_str().context("a path that is text")?];
        let mut rendered = self.admin(&words)?.out();
        let readable = manifests().join("components/secrets-namespace/rbac.yaml");
        let readable = fs::read_to_string(readable)?;
        for other in secrets {
            rendered.push_str("---\n");
            let readable =
                readable.replace("namespace: kedge\n", &format!("namespace: {namespace}\n"));
            rendered.push_str(
                &readable.replace("namespace: ssh-keys\n", &format!("namespace: {other}\n")),
            );
        }
        Ok(rendered)
    }
}

/// The folder of the manifests in the repository.
#[must_use]
pub fn manifests() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../manifests"))
}

/// The way from a folder to another: kustomize takes no absolute ones.
fn relative(from: &Path, to: &Path) -> Result<String> {
    let (from, to) = (from.canonicalize()?, to.canonicalize()?);
    let up = "../".repeat(from.components().count().saturating_sub(1));
    let down = to.to_str().context("a path that is text")?;
    Ok(format!("{up}{}", down.trim_start_matches('/')))
}

/// What the manifests call the hub and its service account.
const HUB: &str = "kedge-hub";
