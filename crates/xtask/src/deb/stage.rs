//! The tree that becomes a package: every folder and file with the mode and the time that it will have there.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use crate::builder::Step;
use crate::defaults;

/// A tree in the making.
#[derive(Debug)]
pub(super) struct Stage {
    root: PathBuf,
    time: SystemTime,
}

impl Stage {
    /// In a folder that is not there yet.
    pub(super) fn new(root: &Path, epoch: u64) -> Result<Self> {
        fs::create_dir(root)?;
        Ok(Self {
            root: root.to_owned(),
            time: SystemTime::UNIX_EPOCH + Duration::from_secs(epoch),
        })
    }

    /// Where it is.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Writes a file, 0644.
    pub(super) fn file(&mut self, path: &str, content: impl AsRef<[u8]>) -> Result<()> {
        self.put(path, content.as_ref(), 0o644)
    }

    /// Writes something that is run, 0755.
    pub(super) fn program(&mut self, path: &str, content: impl AsRef<[u8]>) -> Result<()> {
        self.put(path, content.as_ref(), 0o755)
    }

    /// Writes a file as documentation is shipped: with `gzip`, which notes neither name nor time.
    pub(super) fn compressed(&mut self, path: &str, content: impl AsRef<[u8]>) -> Result<()> {
        let mut command = Command::new("gzip");
        command.args(["-9", "-n", "-c"]);
        let ran = kedge_testkit::run::feed(command, content.as_ref().to_vec(), defaults::PRINT)?;
        self.put(&format!("{path}.gz"), &ran.success()?.stdout, 0o644)
    }

    /// Takes a program over without what only a debugger reads.
    pub(super) fn stripped(&mut self, path: &str, from: &Path) -> Result<()> {
        let target = self.place(path)?;
        let mut command = Command::new("strip");
        command
            .args(["--strip-unneeded", "--remove-section=.comment", "-o"])
            .arg(&target)
            .arg(from);
        Step::new(command)
            .quietly(defaults::PACKAGE)
            .with_context(|| format!("strip {}", from.display()))?;
        Ok(fs::set_permissions(&target, Permissions::from_mode(0o755))?)
    }

    /// Every file but those that are dpkg's own, by its path from the root, in order.
    pub(super) fn files(&self) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for path in walk(&self.root)? {
            let inside = path.strip_prefix(&self.root)?;
            if path.is_file() && !inside.starts_with("DEBIAN") {
                found.push(inside.to_owned());
            }
        }
        Ok(found)
    }

    /// Gives every folder its mode, and everything its time.
    pub(super) fn finish(&self) -> Result<()> {
        for path in walk(&self.root)?.iter().rev().chain([&self.root]) {
            if path.is_dir() {
                fs::set_permissions(path, Permissions::from_mode(0o755))?;
            }
            File::open(path)?.set_modified(self.time)?;
        }
        Ok(())
    }

    fn put(&self, path: &str, content: &[u8], mode: u32) -> Result<()> {
        let target = self.place(path)?;
        fs::write(&target, content).with_context(|| format!("write {path}"))?;
        Ok(fs::set_permissions(&target, Permissions::from_mode(mode))?)
    }

    fn place(&self, path: &str) -> Result<PathBuf> {
        let target = self.root.join(path);
        fs::create_dir_all(target.parent().context("a file has a folder")?)?;
        Ok(target)
    }
}

/// Everything below a folder, in order, folders before what is in them.
fn walk(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut here = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    here.sort();
    let mut found = Vec::new();
    for path in here {
        let below = if path.is_dir() {
            walk(&path)?
        } else {
            Vec::new()
        };
        found.push(path);
        found.extend(below);
    }
    Ok(found)
}
