//! What is dpkg's own in a package: what it is, what it needs, and what runs when it comes and goes.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::Common;
use super::contents::{Package, written};
use super::stage::Stage;
use crate::builder::{Step, Workspace};
use crate::defaults;

/// Who answers for the packages.
pub(super) const MAINTAINER: &str = "The kedge authors <kedge@kedge.dev>";

/// Scripts of a daemon, all made of the same templates.
const SCRIPTS: &[&str] = &["postinst", "postrm", "prerm"];

/// Puts it into the package, whose other files are all there.
pub(super) fn fill(
    stage: &mut Stage,
    workspace: &Workspace,
    common: &Common,
    package: &Package,
) -> Result<()> {
    let files = stage.files()?;
    let mut size = 0_u64;
    let mut configuration = String::new();
    for file in &files {
        size = size.saturating_add(fs::metadata(stage.root().join(file))?.len().div_ceil(1024));
        if file.starts_with("etc") {
            configuration.push_str(&format!("/{}\n", file.display()));
        }
    }
    let linked = linked(&stage.root().join("usr/bin").join(package.name))?;
    let mut depends: Vec<&str> = linked.split(", ").filter(|one| !one.is_empty()).collect();
    depends.extend(package.depends);
    stage.file(
        "DEBIAN/control",
        control(common, package, &depends.join(", "), size),
    )?;
    if !configuration.is_empty() {
        stage.file("DEBIAN/conffiles", configuration)?;
    }
    let mut sums = Command::new("md5sum");
    sums.args(&files).current_dir(stage.root());
    let sums = Step::new(sums).quietly(defaults::PACKAGE)?.out();
    stage.file("DEBIAN/md5sums", sums)?;
    if package.daemon.is_some() {
        for script in SCRIPTS {
            let template = workspace
                .root
                .join(format!("packaging/debian/daemon.{script}"));
            stage.program(&format!("DEBIAN/{script}"), written(&template, package)?)?;
        }
    }
    Ok(())
}

fn control(common: &Common, package: &Package, depends: &str, size: u64) -> String {
    let recommends = package.recommends.join(", ");
    format!(
        "Package: {}\nSource: kedge\nVersion: {}\nArchitecture: {}\nMaintainer: {MAINTAINER}\nInstalled-Size: {size}\n\
         Depends: {depends}\nRecommends: {recommends}\nSection: {}\nPriority: optional\nDescription: {}\n{}",
        package.name,
        common.version,
        common.architecture,
        package.section,
        package.summary,
        folded(package.description),
    )
}

/// A paragraph as control files have it: lines of at most 80 characters that begin with a space.
fn folded(paragraph: &str) -> String {
    let mut lines = String::new();
    let mut line = String::new();
    for word in paragraph.split_whitespace() {
        if !line.is_empty() && line.len() + word.len() >= 78 {
            lines.push_str(&format!(" {line}\n"));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push_str(&format!(" {line}\n"));
    lines
}

/// The packages of the libraries that a program is linked with, and the versions that have all that it uses.
fn linked(program: &Path) -> Result<String> {
    let folder = tempfile::tempdir()?;
    fs::create_dir(folder.path().join("debian"))?;
    // It reads the names of source and package from here, and nothing else.
    let control = "Source: kedge\n\nPackage: kedge\nArchitecture: any\n";
    fs::write(folder.path().join("debian/control"), control)?;
    let mut command = Command::new("dpkg-shlibdeps");
    command
        .args(["-O", "--warnings=0"])
        .arg(program)
        .current_dir(folder.path());
    let said = Step::new(command).quietly(defaults::PACKAGE)?.out();
    let found = said
        .lines()
        .find_map(|line| line.strip_prefix("shlibs:Depends="))
        .with_context(|| format!("dpkg-shlibdeps said `{}`", said.trim()))?;
    Ok(found.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_folded_as_control_files_want_it() {
        let words = "word ".repeat(40);
        let folded = folded(&words);
        assert!(folded.lines().count() > 1);
        for line in folded.lines() {
            assert!(line.starts_with(" word") && line.len() <= 80, "{line}");
        }
        assert_eq!(folded.split_whitespace().count(), 40);
    }
}
