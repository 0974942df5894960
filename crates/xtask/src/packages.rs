//! What the demo and the tests need from the system: named in one line, or installed when that is allowed.

use std::process::Command;

use anyhow::{Result, bail};
use kedge_testkit::machine;

use crate::builder::Step;
use crate::defaults;

/// A program, and the Debian package that brings it.
const NEEDED: &[(&str, &str)] = &[
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("scp", "openssh-client"),
    ("sftp", "openssh-client"),
    ("sshd", "openssh-server"),
    ("rsync", "rsync"),
];

/// Makes sure that everything is there: as root by apt-get, otherwise by saying what to type.
pub(crate) fn ensure() -> Result<()> {
    let mut missing: Vec<&str> = Vec::new();
    for (program, package) in NEEDED {
        if machine::find_program(program).is_none() && !missing.contains(package) {
            missing.push(package);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if machine::find_program("apt-get").is_none() {
        bail!("these programs are missing; install what your system calls {list}");
    }
    if !machine::am_root() {
        bail!("please type: sudo apt-get install --yes {list}");
    }
    println!("Installing {list} with apt-get.");
    let guarded = NoServiceStart::new()?;
    let mut update = Command::new("apt-get");
    update.args(["--quiet", "update"]);
    // Old lists may still do; the installation below has the last word.
    let _ = Step::new(update).quietly(defaults::APT);
    let mut install = Command::new("apt-get");
    install
        .args(["--quiet", "--yes", "--no-install-recommends", "install"])
        .args(&missing);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    let installed = Step::new(install).quietly(defaults::APT);
    drop(guarded);
    installed.map(drop)
}

/// While this lives, installing openssh-server does not start the machine's own sshd: nobody asked for that.
struct NoServiceStart {
    made: bool,
}

/// Where Debian looks for the rule that says whether a package may start its service.
const POLICY: &str = "/usr/sbin/policy-rc.d";

impl NoServiceStart {
    fn new() -> Result<Self> {
        let made = !std::path::Path::new(POLICY).exists();
        if made {
            std::fs::write(POLICY, "#!/bin/sh\nexit 101\n")?;
            std::fs::set_permissions(POLICY, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        }
        Ok(Self { made })
    }
}

impl Drop for NoServiceStart {
    fn drop(&mut self) {
        if self.made {
            let _ = std::fs::remove_file(POLICY);
        }
    }
}
