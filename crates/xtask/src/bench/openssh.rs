//! The ways by which `ssh` reaches one and the same sshd: through kedge, and by something else.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use kedge_testkit::defaults as limits;
use kedge_testkit::person::Person;
use kedge_testkit::sshd::{Sshd, SshdOptions};

use super::measure::Side;
use super::others::{Entry, Program, Started};
use super::stage::{Route, SERVER, Stage};
use super::timed::timed;

/// The other way's host in its ssh configuration, and its name in `known_hosts`.
const OTHER: &str = "other";

/// The jump host there.
const JUMP: &str = "jump";

/// What kedge is compared with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    /// `ssh` connects to the sshd.
    Direct,
    /// Through another sshd on this machine.
    ProxyJump,
    /// Through a program of the same purpose.
    Through(Program),
}

/// An sshd and two ways to it. Dropped in this order: the ways first.
pub(crate) struct Ways {
    theirs: Person,
    _started: Option<Started>,
    _jump: Option<Sshd>,
    ours: Route,
    host: String,
    _sshd: Sshd,
}

impl Ways {
    /// Starts it all, and goes each way once.
    ///
    /// # Errors
    ///
    /// When a part does not start, or a way leads nowhere.
    pub(crate) fn open(stage: &Stage, way: Way) -> Result<Self> {
        let sshd = start(stage, "sshd")?;
        let key = sshd.user_key();
        let ours = stage.route_by(sshd.address(), &sshd.host_keys(), Some(key.clone()), |_| {})?;
        let host = format!("{SERVER}.{}", ours.hub.suffix());

        let theirs = Person::new(&stage.subdir("neighbour")?, stage.bins(), Some(key.clone()))?;
        let mut known = known_host(OTHER, &sshd)?;
        let (mut jump, mut started) = (None, None);
        let lines = match way {
            Way::Direct => address(sshd.address()),
            Way::ProxyJump => {
                let jump = jump.insert(start(stage, JUMP)?);
                // The same key logs in at both.
                fs::copy(sshd.file("authorized_keys"), jump.file("authorized_keys"))?;
                known.push_str(&known_host(JUMP, jump)?);
                let jumped = address(jump.address());
                let last = address(sshd.address());
                format!("{last}  ProxyJump {JUMP}\nHost {JUMP}\n  HostKeyAlias {JUMP}\n{jumped}")
            }
            Way::Through(program) => {
                let started = started.insert(program.start(stage, sshd.address())?);
                match started.entry() {
                    Entry::Address(open) => address(*open),
                    Entry::ProxyCommand(command) => format!("  ProxyCommand {command}\n"),
                }
            }
        };
        let known_hosts = theirs.home().join("known_hosts");
        fs::write(&known_hosts, known).context("write known_hosts")?;
        theirs.configure_ssh(&configuration(&lines, &known_hosts))?;

        let ways = Self {
            theirs,
            _started: started,
            _jump: jump,
            ours,
            host,
            _sshd: sshd,
        };
        for side in [Side::Ours, Side::Theirs] {
            // Says early and in ssh's own words what is wrong; the first time is also the slowest.
            timed(quiet(ways.ssh(side, "true")), limits::COMMAND)?;
        }
        Ok(ways)
    }

    /// `ssh HOST WORD`, one way or the other.
    pub(crate) fn ssh(&self, side: Side, word: &str) -> Command {
        self.openssh("ssh", side, &[self.host(side), word])
    }

    /// `scp -rq FROM HOST:TO`, one way or the other.
    pub(crate) fn scp(&self, side: Side, from: &Path, to: &Path) -> Command {
        let from = from.display().to_string();
        let to = format!("{}:{}", self.host(side), to.display());
        self.openssh("scp", side, &["-rq", &from, &to])
    }

    fn host(&self, side: Side) -> &str {
        match side {
            Side::Ours => &self.host,
            Side::Theirs => OTHER,
        }
    }

    fn openssh(&self, program: &str, side: Side, words: &[&str]) -> Command {
        match side {
            Side::Ours => self.ours.person.openssh(program, words),
            Side::Theirs => self.theirs.openssh(program, words),
        }
    }
}

/// A command with nothing to read, whose output nobody wants.
pub(crate) fn quiet(mut command: Command) -> Command {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// A file of zeros that costs no disk, made unless it is there, and in the page cache when this returns. `ssh` does
/// not compress.
pub(crate) fn zeros(path: PathBuf, bytes: u64) -> Result<PathBuf> {
    if !path.exists() {
        let file = File::create(&path).with_context(|| format!("make {}", path.display()))?;
        file.set_len(bytes).context("make a file large")?;
    }
    io::copy(&mut File::open(&path)?, &mut io::sink()).context("read a file")?;
    Ok(path)
}

/// An sshd whose sessions begin with an empty home: a shell's start-up files can cost more than any path.
pub(crate) fn start(stage: &Stage, name: &str) -> Result<Sshd> {
    let home = stage.subdir("home")?;
    Sshd::start(&SshdOptions {
        dir: &stage.subdir(name)?,
        logs: &stage.logs(),
        name: &stage.unique(name),
        extra: &format!("SetEnv HOME={}\nPermitUserRC no\n", home.display()),
    })
}

/// The lines by which a host is reached at an address.
fn address(address: SocketAddr) -> String {
    format!("  HostName {}\n  Port {}\n", address.ip(), address.port())
}

/// What `known_hosts` says about an sshd under this name.
fn known_host(name: &str, sshd: &Sshd) -> Result<String> {
    let key =
        fs::read_to_string(sshd.file("ssh_host_ed25519_key.pub")).context("read a host key")?;
    Ok(format!("{name} {}\n", key.trim()))
}

/// As careful as the configuration that kedge generates, and with the cipher that it prefers.
fn configuration(lines: &str, known_hosts: &Path) -> String {
    let mut text = format!("Host {OTHER}\n  HostKeyAlias {OTHER}\n{lines}Host *\n");
    let known_hosts = known_hosts.display();
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "  UserKnownHostsFile {known_hosts}\n  GlobalKnownHostsFile none\n  StrictHostKeyChecking yes\n  \
         UpdateHostKeys no\n  CheckHostIP no\n  Ciphers ^aes128-gcm@openssh.com\n"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_way_checks_host_keys_and_uses_the_same_cipher() {
        let text = configuration(&address(([127, 0, 0, 1], 7).into()), Path::new("/known"));
        assert!(
            text.starts_with(
                "Host other\n  HostKeyAlias other\n  HostName 127.0.0.1\n  Port 7\nHost *\n"
            ),
            "{text}"
        );
        for line in [
            "  UserKnownHostsFile /known",
            "  StrictHostKeyChecking yes",
            "  Ciphers ^aes128-gcm@openssh.com",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}: {text}");
        }
    }

    #[test]
    fn zeros_are_as_many_as_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let path = zeros(dir.path().join("zeros"), 100_000).unwrap();
            assert_eq!(fs::read(path).unwrap(), vec![0; 100_000]);
        }
    }
}
