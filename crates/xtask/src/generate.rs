//! `cargo xtask generate`: the reference pages, man pages and CustomResourceDefinitions, as the programs themselves print
//! them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use crate::builder::{Step, Workspace};
use crate::defaults;

/// A page, the program that prints it, and the words that make it do so.
const PRINTED: &[(&str, &str, &[&str])] = &[
    ("docs/man/kedge-agent.8", "kedge-agent", &["man"]),
    ("docs/man/kedge-hub.8", "kedge-hub", &["man"]),
    (
        "docs/reference/agent.toml.md",
        "kedge-agent",
        &["reference"],
    ),
    ("docs/reference/cli.md", "kedge", &["reference", "cli"]),
    (
        "docs/reference/config.toml.md",
        "kedge",
        &["reference", "config"],
    ),
    ("docs/reference/hub.toml.md", "kedge-hub", &["reference"]),
    (
        "manifests/base/crd/accesspolicies.yaml",
        "kedge-hub",
        &["crd", "accesspolicies"],
    ),
    (
        "manifests/base/crd/jointokens.yaml",
        "kedge-hub",
        &["crd", "jointokens"],
    ),
    (
        "manifests/base/crd/servers.yaml",
        "kedge-hub",
        &["crd", "servers"],
    ),
];

/// Writes what is generated into the repository.
pub(crate) fn run() -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let bins = workspace.programs()?;
    let pages = pages(&bins)?;
    for (path, content) in &pages {
        let path = workspace.root.join(path);
        fs::create_dir_all(path.parent().context("a page has a folder")?)?;
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
    }
    for stale in stale(&workspace.root, &pages)? {
        fs::remove_file(workspace.root.join(&stale))?;
        println!("removed {}", stale.display());
    }
    println!("{} generated files are up to date", pages.len());
    Ok(ExitCode::SUCCESS)
}

/// The generated files that are not in the repository as the programs would write them now.
pub(crate) fn drift(root: &Path, bins: &Path) -> Result<Vec<PathBuf>> {
    let pages = pages(bins)?;
    let changed = pages.iter().filter(|(path, content)| {
        fs::read_to_string(root.join(path)).map_or(true, |there| &there != *content)
    });
    let mut drift: Vec<PathBuf> = changed.map(|(path, _)| path.clone()).collect();
    drift.extend(stale(root, &pages)?);
    Ok(drift)
}

/// Every generated file, by its path in the repository.
fn pages(bins: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let mut pages = BTreeMap::new();
    for (path, program, words) in PRINTED {
        pages.insert(PathBuf::from(path), printed(bins, program, words)?);
    }
    for (name, page) in manuals(bins)? {
        pages.insert(PathBuf::from(format!("docs/man/{name}")), page);
    }
    Ok(pages)
}

/// The man pages of the command line, one for each command: `kedge man FOLDER` writes them.
fn manuals(bins: &Path) -> Result<BTreeMap<String, String>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().display().to_string();
    printed(bins, "kedge", &["man", &path])?;
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder.path())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        found.insert(name, fs::read_to_string(entry.path())?);
    }
    ensure!(!found.is_empty(), "`kedge man` wrote nothing");
    Ok(found)
}

fn printed(bins: &Path, program: &str, words: &[&str]) -> Result<String> {
    let mut command = Command::new(bins.join(program));
    command.args(words);
    Ok(Step::new(command).quietly(defaults::PRINT)?.out())
}

/// Man pages of commands that no longer exist.
fn stale(root: &Path, pages: &BTreeMap<PathBuf, String>) -> Result<Vec<PathBuf>> {
    let folder = root.join("docs/man");
    let mut found = Vec::new();
    if folder.is_dir() {
        for entry in fs::read_dir(&folder)? {
            let path = Path::new("docs/man").join(entry?.file_name());
            if !pages.contains_key(&path) {
                found.push(path);
            }
        }
    }
    Ok(found)
}
