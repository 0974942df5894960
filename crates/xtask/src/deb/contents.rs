//! What is in the packages.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::stage::Stage;
use super::{Common, Wanted};
use crate::builder::{Step, Workspace};
use crate::defaults;

/// A package.
#[derive(Debug)]
pub(super) struct Package {
    /// Its name, and that of its one program.
    pub(super) name: &'static str,
    /// The first line of its description.
    pub(super) summary: &'static str,
    /// The rest, one paragraph.
    pub(super) description: &'static str,
    /// The part of Debian's archive where it would be.
    pub(super) section: &'static str,
    /// What it needs besides what its program is linked with.
    pub(super) depends: &'static [&'static str],
    /// What is of use beside it.
    pub(super) recommends: &'static [&'static str],
    /// What runs as a service; none for a program that people type.
    pub(super) daemon: Option<Daemon>,
}

/// The units of a package.
#[derive(Debug)]
pub(super) struct Daemon {
    /// Sockets that are enabled and started with its service, which is called as the package is.
    pub(super) sockets: &'static [&'static str],
    /// Units that an administrator may enable, and that are stopped when the package is removed.
    pub(super) optional: &'static [&'static str],
    /// Units that other units start.
    pub(super) started: &'static [&'static str],
    /// Its configuration in /etc/kedge.
    pub(super) configuration: &'static str,
    /// Drop-ins to copy.
    pub(super) examples: &'static [&'static str],
}

/// All of them.
pub(super) const PACKAGES: &[Package] = &[
    Package {
        name: "kedge",
        summary: "SSH to any server through one hub: the command line",
        description: "Logs people in with the identity that they have, and brings the ssh, scp, sftp and rsync that are \
                      there to servers behind NAT, through a hub that relays ciphertext.",
        section: "net",
        depends: &[],
        recommends: &["ca-certificates", "openssh-client (>= 1:8.5)"],
        daemon: None,
    },
    Package {
        name: "kedge-agent",
        summary: "SSH to any server through one hub: the agent on a server",
        description: "Keeps one outbound tunnel to a hub and hands the sessions that come through it to this server's \
                      sshd. It opens no port.",
        section: "net",
        depends: &["init-system-helpers (>= 1.54)", "systemd"],
        recommends: &["ca-certificates", "openssh-server"],
        daemon: Some(Daemon {
            sockets: &["kedge-agent.socket"],
            optional: &["kedge-sshd.socket"],
            started: &["kedge-sshd@.service"],
            configuration: "agent.toml",
            examples: &[],
        }),
    },
    Package {
        name: "kedge-hub",
        summary: "SSH to any server through one hub: the hub",
        description: "Decides who may open a session to which server, and relays it. Sessions are encrypted from ssh to \
                      sshd: the hub never speaks SSH.",
        section: "net",
        depends: &["init-system-helpers (>= 1.54)", "systemd"],
        recommends: &["ca-certificates"],
        daemon: Some(Daemon {
            sockets: &["kedge-hub.socket", "kedge-hub-admin.socket"],
            optional: &[],
            started: &[],
            configuration: "hub.toml",
            examples: &["kedge-hub-tls.conf"],
        }),
    },
];

/// Shells, where Debian keeps their completions, and how the file is called.
const COMPLETIONS: &[(&str, &str)] = &[
    ("bash", "usr/share/bash-completion/completions/kedge"),
    ("fish", "usr/share/fish/vendor_completions.d/kedge.fish"),
    ("zsh", "usr/share/zsh/vendor-completions/_kedge"),
];

/// Puts everything into a package but what is dpkg's own.
pub(super) fn fill(
    stage: &mut Stage,
    workspace: &Workspace,
    wanted: &Wanted,
    common: &Common,
    package: &Package,
) -> Result<()> {
    let name = package.name;
    let packaging = workspace.root.join("packaging");
    stage.stripped(&format!("usr/bin/{name}"), &wanted.bins.join(name))?;
    manuals(stage, workspace, package)?;
    let documentation = format!("usr/share/doc/{name}");
    stage.file(
        &format!("{documentation}/copyright"),
        read(&packaging.join("debian/copyright"))?,
    )?;
    stage.compressed(
        &format!("{documentation}/changelog"),
        read(&workspace.root.join("CHANGELOG.md"))?,
    )?;
    stage.compressed(
        &format!("{documentation}/changelog.Debian"),
        changelog(common, name)?,
    )?;
    match &package.daemon {
        Some(daemon) => services(stage, &packaging, package, daemon),
        None => person(stage, &packaging, wanted),
    }
}

/// The man pages of its program, or of that program's commands.
fn manuals(stage: &mut Stage, workspace: &Workspace, package: &Package) -> Result<()> {
    let folder = workspace.root.join("docs/man");
    let mut names = fs::read_dir(&folder)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<Vec<String>>>()?;
    names.sort();
    for name in names {
        let Some((page, section)) = name.rsplit_once('.') else {
            continue;
        };
        // `kedge-agent.1` is the page of `kedge agent`, the one of section 8 is the daemon's.
        let is_its = match package.daemon {
            Some(_) => page == package.name && section == "8",
            None => section == "1",
        };
        if is_its {
            let content = read(&folder.join(&name))?;
            stage.compressed(&format!("usr/share/man/man{section}/{name}"), content)?;
        }
    }
    Ok(())
}

/// What a person's program brings: completions, and an example for ssh.
fn person(stage: &mut Stage, packaging: &Path, wanted: &Wanted) -> Result<()> {
    for (shell, path) in COMPLETIONS {
        let mut command = Command::new(wanted.bins.join("kedge"));
        command.args(["completion", shell]);
        let script = Step::new(command).quietly(defaults::PRINT)?.stdout;
        stage.file(path, script)?;
    }
    stage.file(
        "etc/ssh/ssh_config.d/50-kedge.conf",
        read(&packaging.join("ssh_config.d/50-kedge.conf"))?,
    )
}

/// What a daemon brings: units, its user, its configuration, and how it is restarted.
fn services(stage: &mut Stage, packaging: &Path, package: &Package, daemon: &Daemon) -> Result<()> {
    let name = package.name;
    let service = format!("{name}.service");
    let units = [service.as_str()];
    let units = units
        .iter()
        .chain(daemon.sockets)
        .chain(daemon.optional)
        .chain(daemon.started);
    for unit in units {
        let content = read(&packaging.join("systemd").join(unit))?;
        stage.file(&format!("usr/lib/systemd/system/{unit}"), content)?;
    }
    let debian = packaging.join("debian");
    stage.file(
        &format!("usr/lib/systemd/system/{name}-restart.service"),
        written(&debian.join("daemon-restart.service"), package)?,
    )?;
    stage.program(
        &format!("usr/libexec/{name}/restart-after-dpkg"),
        written(&debian.join("restart-after-dpkg"), package)?,
    )?;
    stage.file(
        &format!("usr/lib/sysusers.d/{name}.conf"),
        read(&packaging.join(format!("sysusers.d/{name}.conf")))?,
    )?;
    stage.file(
        &format!("etc/kedge/{}", daemon.configuration),
        read(&debian.join(daemon.configuration))?,
    )?;
    for example in daemon.examples {
        stage.file(
            &format!("usr/share/doc/{name}/examples/{example}"),
            read(&packaging.join("systemd/examples").join(example))?,
        )?;
    }
    Ok(())
}

/// A file that both daemons share, with this one's names.
pub(super) fn written(template: &Path, package: &Package) -> Result<String> {
    let daemon = package.daemon.as_ref().context("no daemon")?;
    Ok(read(template)?
        .replace(" #STOPPED#", &with_space(daemon.optional))
        .replace("#SOCKETS#", &daemon.sockets.join(" "))
        .replace("#PACKAGE#", package.name))
}

fn with_space(units: &[&str]) -> String {
    units.iter().map(|unit| format!(" {unit}")).collect()
}

/// The packaging has no history of its own: what changed is in the program's.
fn changelog(common: &Common, package: &str) -> Result<String> {
    let seconds = i64::try_from(common.epoch)?;
    let date = jiff::Timestamp::from_second(seconds)?.strftime("%a, %d %b %Y %H:%M:%S +0000");
    Ok(format!(
        "{package} ({}) unstable; urgency=medium\n\n  * See changelog.gz.\n\n -- {}  {date}\n",
        common.version,
        super::control::MAINTAINER,
    ))
}

pub(super) fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}
