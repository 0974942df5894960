//! Where etcd, kube-apiserver and kubectl are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The version of kube-apiserver and kubectl, as `crates/xtask/kube/kubernetes/go.mod` has it.
pub const VERSION: &str = "1.34.3";

/// What a folder of programs holds.
pub const PROGRAMS: [&str; 3] = ["etcd", "kube-apiserver", "kubectl"];

/// What a node runs besides, and what makes a cluster of nodes work. Only `cargo xtask test cluster` builds them, into
/// [`cache`], from the same module.
pub const NODE_PROGRAMS: [&str; 4] = [
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubelet",
];

/// The variable that names a folder of programs, as envtest and its kin read it.
pub const ASSETS: &str = "KUBEBUILDER_ASSETS";

/// The folder with the programs: `KUBEBUILDER_ASSETS`, else [`cache`].
///
/// # Errors
///
/// When they are not there, with the command that builds them.
pub fn programs() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os(ASSETS).filter(|folder| !folder.is_empty()) {
        let folder = PathBuf::from(folder);
        ensure!(
            is_installed(&folder, &PROGRAMS),
            "{ASSETS} names {}, which does not hold {}",
            folder.display(),
            PROGRAMS.join(", ")
        );
        return Ok(folder);
    }
    let folder = cache()?;
    ensure!(
        is_installed(&folder, &PROGRAMS),
        "no {} in {}; `cargo xtask tools` builds them",
        PROGRAMS.join(", "),
        folder.display()
    );
    Ok(folder)
}

/// The folder with [`NODE_PROGRAMS`]: that of [`programs`] if they are there, else [`cache`].
///
/// # Errors
///
/// When they are in neither, with the command that builds them.
pub fn node_programs() -> Result<PathBuf> {
    let folder = programs()?;
    if is_installed(&folder, &NODE_PROGRAMS) {
        return Ok(folder);
    }
    let folder = cache()?;
    ensure!(
        is_installed(&folder, &NODE_PROGRAMS),
        "no {} in {}; `cargo xtask test cluster` builds them",
        NODE_PROGRAMS.join(", "),
        folder.display()
    );
    Ok(folder)
}

/// The folder in the user's cache where `cargo xtask tools` puts them, whether it did or not.
///
/// # Errors
///
/// When the user has no home.
pub fn cache() -> Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|dir| Path::new(dir).is_absolute());
    let cache = match cache {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    Ok(cache.join("kedge/kube").join(VERSION))
}

/// Whether a folder holds all of these.
#[must_use]
pub fn is_installed(folder: &Path, names: &[&str]) -> bool {
    names.iter().all(|name| folder.join(name).is_file())
}
