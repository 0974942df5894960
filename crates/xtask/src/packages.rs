//! What the demo and the tests need from the system: named in one line, or installed when that is allowed.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use kedge_testkit::{machine, provider};

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

/// What the tests need besides: Node runs the OpenID provider that they log in at.
const NEEDED_BY_TESTS: &[(&str, &str)] = &[
    ("faketime", "faketime"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("script", "bsdutils"),
];

/// What the checks of the Nix side need.
const NEEDED_BY_NIX: &[(&str, &str)] = &[("nix", "nix-bin"), ("python3", "python3")];

/// What the benchmark needs besides: links of a limited rate.
const NEEDED_BY_BENCH: &[(&str, &str)] = &[("ip", "iproute2"), ("tc", "iproute2")];

/// What an image of the hub is made with.
const NEEDED_BY_IMAGE: &[(&str, &str)] = &[
    ("strip", "binutils"),
    ("update-ca-certificates", "ca-certificates"),
];

/// What a node of Kubernetes is made of, besides the programs that are built.
const NEEDED_BY_CLUSTER: &[(&str, &str)] = &[
    ("containerd", "containerd"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("openssl", "openssl"),
    ("runc", "runc"),
    ("setpriv", "util-linux"),
];

/// Where Debian puts the programs that wire pods, which are on nobody's path; its package is called like this.
const NETWORK_PLUGINS: (&str, &str) = ("/usr/lib/cni/ptp", "containernetworking-plugins");

/// What packages are built with.
const NEEDED_BY_DEB: &[(&str, &str)] = &[
    ("dpkg-deb", "dpkg"),
    ("dpkg-shlibdeps", "dpkg-dev"),
    ("strip", "binutils"),
];

/// What machines are made with.
const NEEDED_BY_MACHINES: &[(&str, &str)] = &[
    ("ip", "iproute2"),
    ("mmdebstrap", "mmdebstrap"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("nsenter", "util-linux"),
    ("openssl", "openssl"),
    ("python3", "python3"),
    ("systemd-nspawn", "systemd-container"),
    ("unshare", "util-linux"),
];

/// Makes sure that all is there that the demo needs: as root by apt-get, otherwise by saying what to type.
pub(crate) fn ensure() -> Result<()> {
    install(NEEDED)
}

/// Makes sure that all is there that the benchmark drives kedge with. What it compares with is left to whoever runs it.
pub(crate) fn ensure_for_bench() -> Result<()> {
    install(&[NEEDED, NEEDED_BY_BENCH].concat())
}

/// Makes sure that all is there that an image is made with.
pub(crate) fn ensure_for_image() -> Result<()> {
    install(NEEDED_BY_IMAGE)
}

/// Makes sure that all is there that the test on a node of Kubernetes needs.
pub(crate) fn ensure_for_cluster() -> Result<()> {
    install(&[NEEDED, NEEDED_BY_IMAGE, NEEDED_BY_CLUSTER].concat())?;
    let (plugin, package) = NETWORK_PLUGINS;
    if std::path::Path::new(plugin).exists() {
        return Ok(());
    }
    install_packages(&[package])
}

/// Makes sure that all is there that the checks of the Nix side need: an evaluator of any age, and no daemon.
pub(crate) fn ensure_for_nix() -> Result<()> {
    install(NEEDED_BY_NIX)
}

/// Makes sure that all is there that Debian packages are built with.
pub(crate) fn ensure_for_deb() -> Result<()> {
    install(NEEDED_BY_DEB)
}

/// Makes sure that all is there that the end-to-end tests need.
pub(crate) fn ensure_for_tests() -> Result<()> {
    install(&[NEEDED, NEEDED_BY_TESTS, NEEDED_BY_IMAGE].concat())?;
    ensure_provider()
}

/// Makes sure that all is there that the machine tests need.
pub(crate) fn ensure_for_machines() -> Result<()> {
    install(&[NEEDED_BY_DEB, NEEDED_BY_MACHINES].concat())?;
    ensure_provider()
}

/// Installs the OpenID provider into the user's cache, once for each lock file. A cache that is filled needs no
/// network.
fn ensure_provider() -> Result<()> {
    let folder = provider::folder()?;
    if provider::is_installed(&folder) {
        return Ok(());
    }
    println!(
        "Installing oidc-provider with npm into {}.",
        folder.display()
    );
    let parent = folder.parent().context("a folder has a parent")?;
    fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
    // Beside its place, and then renamed: two at once do no harm, and half an installation is never taken for one.
    let making = tempfile::tempdir_in(parent)?;
    for (name, content) in provider::manifest() {
        fs::write(making.path().join(name), content)?;
    }
    let mut command = Command::new("npm");
    command
        .args([
            "ci",
            "--ignore-scripts",
            "--prefer-offline",
            "--no-audit",
            "--no-fund",
        ])
        .current_dir(making.path());
    Step::new(command)
        .quietly(defaults::INSTALL)
        .context("install oidc-provider, which the tests log in at")?;
    let made = making.keep();
    if let Err(error) = fs::rename(&made, &folder) {
        let _ = fs::remove_dir_all(&made);
        ensure!(
            provider::is_installed(&folder),
            "move the installation to {}: {error}",
            folder.display()
        );
    }
    Ok(())
}

/// Installs Debian's Go, when that is new enough to build the tests' API server.
pub(crate) fn ensure_go() -> Result<()> {
    const PACKAGE: &str = "golang-go";
    ensure!(
        machine::find_program("apt-cache").is_some(),
        "there is none, and no apt-get to ask for it"
    );
    let mut policy = Command::new("apt-cache");
    policy.args(["policy", PACKAGE]);
    let said = Step::new(policy).quietly(defaults::PRINT)?.out();
    let (major, minor) = candidate(&said).context("there is none, and no package of it")?;
    ensure!(
        (major, minor) >= defaults::GO,
        "there is none, and this system's package is {major}.{minor}"
    );
    install_packages(&[PACKAGE])
}

/// The version that apt would install: `2:1.24~2` is (1, 24).
fn candidate(policy: &str) -> Option<(u32, u32)> {
    let line = policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    let version = line.split_once(':').map_or(line, |(_, version)| version);
    let (major, rest) = version.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn install(needed: &[(&'static str, &'static str)]) -> Result<()> {
    let mut missing: Vec<&str> = Vec::new();
    for (program, package) in needed {
        if machine::find_program(program).is_none() && !missing.contains(package) {
            missing.push(package);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    install_packages(&missing)
}

fn install_packages(missing: &[&str]) -> Result<()> {
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
        .args(missing);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_that_apt_would_install_is_read() {
        let policy = |candidate: &str| {
            format!("golang-go:\n  Installed: (none)\n  Candidate: {candidate}\n  Version table:\n")
        };
        for (shown, version) in [
            ("2:1.24~2", Some((1, 24))),
            ("2:1.19~1", Some((1, 19))),
            ("1.26.1-1", Some((1, 26))),
            ("(none)", None),
        ] {
            assert_eq!(candidate(&policy(shown)), version, "{shown}");
        }
        assert_eq!(candidate(""), None);
    }
}
