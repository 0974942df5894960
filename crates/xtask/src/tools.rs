//! `cargo xtask tools`: etcd, kube-apiserver and kubectl for the tests, built once into the user's cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use kedge_testkit::kube::{
    ASSETS, NODE_PROGRAMS, PROGRAMS, VERSION, cache, is_installed, node_programs, programs,
};
use kedge_testkit::{machine, run};

use crate::builder::{Step, Workspace};
use crate::{defaults, packages};

/// Builds what is missing, and says where it is.
pub(crate) fn run() -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    ensure_built(&workspace)?;
    println!("{} are in {}", PROGRAMS.join(", "), programs()?.display());
    Ok(ExitCode::SUCCESS)
}

/// Builds etcd, kube-apiserver and kubectl unless they are there. A cache that is filled needs neither Go nor a network.
pub(crate) fn ensure_built(workspace: &Workspace) -> Result<()> {
    if std::env::var_os(ASSETS).is_some_and(|folder| !folder.is_empty()) {
        // Whoever names a folder has the programs, or a mistake that must be seen.
        return programs().map(drop);
    }
    fill(
        workspace,
        "etcd and Kubernetes",
        &PROGRAMS,
        &[ETCD, KUBERNETES],
    )
}

/// Builds what a node runs, too, unless it is there.
pub(crate) fn ensure_built_for_node(workspace: &Workspace) -> Result<()> {
    ensure_built(workspace)?;
    if node_programs().is_ok() {
        return Ok(());
    }
    fill(
        workspace,
        "the programs of a node of Kubernetes",
        &NODE_PROGRAMS,
        &[NODE],
    )
}

/// Builds programs into the cache, from commands of our modules.
fn fill(workspace: &Workspace, what: &str, names: &[&str], builds: &[Build]) -> Result<()> {
    let folder = cache()?;
    if is_installed(&folder, names) {
        return Ok(());
    }
    let go = go()?;
    println!(
        "Building {what} {VERSION} into {}; this is done once, and takes minutes.",
        folder.display()
    );
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    // Beside its place, and then renamed: two at once do no harm, and half a program is never taken for one.
    let making = tempfile::tempdir_in(folder.parent().context("a folder has a parent")?)?;
    for one in builds {
        let module = workspace.root.join("crates/xtask/kube").join(one.module);
        build(&go, &module, &making.path().join(one.into), one.commands)?;
    }
    for name in names {
        let to = folder.join(name);
        fs::rename(making.path().join(name), &to)
            .with_context(|| format!("move {name} to {}", to.display()))?;
    }
    ensure!(
        is_installed(&folder, names),
        "{} is not whole",
        folder.display()
    );
    Ok(())
}

fn build(go: &Path, module: &Path, into: &Path, commands: &[&str]) -> Result<()> {
    let mut command = Command::new(go);
    command
        .current_dir(module)
        .args(["build", "-mod=readonly", "-trimpath", "-ldflags", "-s -w"])
        .arg("-o")
        .arg(into)
        .args(commands)
        // They are run on the machine that builds them, and need no C compiler for it.
        .env("CGO_ENABLED", "0")
        .env_remove("GOFLAGS");
    Step::new(command)
        .quietly(defaults::GO_BUILD)
        .with_context(|| format!("build {}", commands.join(" and ")))
        .map(drop)
}

/// A Go that is new enough: the one on the path, one of Debian's beside it, or Debian's package.
fn go() -> Result<PathBuf> {
    if let Some(go) = new_enough() {
        return Ok(go);
    }
    packages::ensure_go().with_context(|| {
        let (major, minor) = defaults::GO;
        format!(
            "the tests' API server is built with Go {major}.{minor} or newer; install that, or name a folder with {} \
             in {ASSETS}",
            PROGRAMS.join(", ")
        )
    })?;
    new_enough().context("Go was installed, and is still not found")
}

fn new_enough() -> Option<PathBuf> {
    let beside = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let beside = beside
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with("go-"))
        })
        .map(|path| path.join("bin/go"));
    machine::find_program("go")
        .into_iter()
        .chain(beside)
        .find(|go| version(go).is_ok_and(|version| version >= defaults::GO))
}

/// The version of a Go, such as (1, 24).
fn version(go: &Path) -> Result<(u32, u32)> {
    let mut command = Command::new(go);
    // Its own, and not one that it would fetch for the module in this folder.
    command.arg("version").env("GOTOOLCHAIN", "local");
    let said = run::run(command)?.success()?.out();
    match parse_version(&said) {
        Some(version) => Ok(version),
        None => bail!("no version in `{}`", said.trim()),
    }
}

fn parse_version(said: &str) -> Option<(u32, u32)> {
    let (_, version) = said.split_once("go version go")?;
    let (major, rest) = version.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// One run of `go build`.
struct Build {
    /// The folder of the module in `crates/xtask/kube`.
    module: &'static str,
    /// The packages of the programs.
    commands: &'static [&'static str],
    /// The program that is made; empty for those that are called as their packages are.
    into: &'static str,
}

const ETCD: Build = Build {
    module: "etcd",
    commands: &["go.etcd.io/etcd/server/v3"],
    into: "etcd",
};
const KUBERNETES: Build = Build {
    module: "kubernetes",
    commands: &[
        "k8s.io/kubernetes/cmd/kube-apiserver",
        "k8s.io/kubernetes/cmd/kubectl",
    ],
    into: "",
};
const NODE: Build = Build {
    module: "kubernetes",
    commands: &[
        "k8s.io/kubernetes/cmd/kube-controller-manager",
        "k8s.io/kubernetes/cmd/kube-proxy",
        "k8s.io/kubernetes/cmd/kube-scheduler",
        "k8s.io/kubernetes/cmd/kubelet",
    ],
    into: "",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_go_are_read() {
        for (said, version) in [
            ("go version go1.26.8 linux/amd64", Some((1, 26))),
            ("go version go1.24 linux/arm64", Some((1, 24))),
            ("go version go1.25rc1 linux/amd64", Some((1, 25))),
            ("go version devel +b7a85e0003 linux/amd64", None),
            ("gccgo (Debian 12.2.0) 12.2.0", None),
        ] {
            assert_eq!(parse_version(said), version, "{said}");
        }
    }

    #[test]
    fn the_cache_is_named_for_the_version_that_is_built() {
        let module = concat!(env!("CARGO_MANIFEST_DIR"), "/kube/kubernetes/go.mod");
        let module = fs::read_to_string(module).unwrap();
        let wanted = format!("require k8s.io/kubernetes v{VERSION}\n");
        assert!(module.contains(&wanted), "no {wanted}");
        // Its staging modules have the same version with another first number.
        let staging = format!(" v0.{}", VERSION.split_once('.').unwrap().1);
        let replaced = module
            .lines()
            .filter(|line| line.contains("=> k8s.io/"))
            .collect::<Vec<_>>();
        assert!(replaced.len() > 20, "{replaced:?}");
        for line in replaced {
            assert!(line.ends_with(&staging), "{line}");
        }
    }
}
