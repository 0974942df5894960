//! What this machine has: who runs the tests, free ports, the built binaries, OpenSSH's version.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::run;

/// The unix name of the user who runs this.
///
/// # Errors
///
/// When the system does not know its own user.
pub fn me() -> Result<String> {
    let mut id = Command::new("id");
    id.arg("-un");
    Ok(run::run(id)?.success()?.out().trim().to_owned())
}

/// Whether this runs as root.
#[must_use]
pub fn am_root() -> bool {
    rustix::process::getuid().is_root()
}

/// A loopback port that nobody listens on at this moment. Somebody may be faster: whoever starts a program on it tries
/// again with another when the program cannot bind.
///
/// # Errors
///
/// When the machine has no port left.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("look for a free port")?;
    Ok(listener.local_addr()?.port())
}

/// The folder with the built `kedge`, `kedge-hub` and `kedge-agent`: `KEDGE_BIN_DIR`, else beside the running test.
///
/// # Errors
///
/// When they are not there, with the command that builds them.
pub fn bin_dir() -> Result<PathBuf> {
    let dir = match std::env::var_os("KEDGE_BIN_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => {
            let test = std::env::current_exe().context("find the running test")?;
            let deps = test.parent().context("a test has a folder")?;
            deps.parent().unwrap_or(deps).to_owned()
        }
    };
    for name in ["kedge", "kedge-hub", "kedge-agent"] {
        let path = dir.join(name);
        ensure!(
            path.is_file(),
            "no {}; `cargo xtask test e2e` builds it and runs these tests",
            path.display()
        );
    }
    Ok(dir)
}

/// Finds a program on `PATH` or where daemons live.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let daemons = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(daemons)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// OpenSSH's version, such as (9, 2).
///
/// # Errors
///
/// When `ssh -V` says nothing that looks like one.
pub fn openssh_version() -> Result<(u32, u32)> {
    let mut ssh = Command::new("ssh");
    ssh.arg("-V");
    let said = run::run(ssh)?.success()?.err();
    parse_openssh_version(&said).with_context(|| format!("no version in `{}`", said.trim()))
}

fn parse_openssh_version(said: &str) -> Option<(u32, u32)> {
    let (_, version) = said.split_once("OpenSSH_")?;
    let (major, rest) = version.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openssh_versions_are_read() {
        assert_eq!(
            parse_openssh_version("OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.19"),
            Some((9, 2))
        );
        assert_eq!(
            parse_openssh_version("OpenSSH_10.0p2, LibreSSL"),
            Some((10, 0))
        );
        assert_eq!(parse_openssh_version("Sun_SSH_1.1.5"), None);
    }
}
