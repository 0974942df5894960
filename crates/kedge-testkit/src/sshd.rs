//! A real sshd on a free loopback port, with host keys and accounts' files of its own.
//!
//! It takes nothing from the machine but the program: its configuration, host keys and `authorized_keys` live in the
//! folder it is given. People log in as the user who runs it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::Daemon;
use crate::{defaults, machine, run, wait};

/// What to start.
#[derive(Debug)]
pub struct SshdOptions<'a> {
    /// The folder for everything it needs.
    pub dir: &'a Path,
    /// The folder for its log.
    pub logs: &'a Path,
    /// Name of its log file.
    pub name: &'a str,
    /// More lines for its configuration.
    pub extra: &'a str,
}

/// A running sshd.
#[derive(Debug)]
pub struct Sshd {
    daemon: Daemon,
    dir: PathBuf,
    address: SocketAddr,
}

impl Sshd {
    /// Makes host keys and a user key, and starts sshd on a free port.
    ///
    /// # Errors
    ///
    /// When sshd is not installed or does not listen in time.
    pub fn start(options: &SshdOptions<'_>) -> Result<Self> {
        let dir = options.dir;
        fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
        keygen(&dir.join("ssh_host_ed25519_key"), "ed25519")?;
        keygen(&dir.join("ssh_host_ecdsa_key"), "ecdsa")?;
        keygen(&dir.join("user_key"), "ed25519")?;
        let public = fs::read(dir.join("user_key.pub"))?;
        fs::write(dir.join("authorized_keys"), public)?;
        if machine::am_root() {
            // sshd's privilege separation insists on this folder; a machine whose sshd never ran has none.
            fs::create_dir_all("/run/sshd").context("make /run/sshd")?;
        }
        let program = machine::find_program("sshd")
            .context("sshd is not installed: apt-get install openssh-server")?;
        for _ in 0..defaults::PORT_ATTEMPTS {
            let port = machine::free_port()?;
            let config = dir.join("sshd_config");
            fs::write(&config, configuration(dir, port, options.extra)?)?;
            let mut command = Command::new(&program);
            command.arg("-D").arg("-e").arg("-f").arg(&config);
            let mut daemon = Daemon::spawn(options.name, command, options.logs)?;
            let listening = wait::until("sshd to listen", defaults::START, || {
                let (ended, log) = (daemon.exited()?.is_some(), daemon.log()?);
                if log.contains("Server listening on") && !ended {
                    return Ok(Some(true));
                }
                if log.contains("Address already in use") || log.contains("Cannot bind any address")
                {
                    return Ok(Some(false));
                }
                if ended {
                    bail!("sshd ended:\n{log}");
                }
                Ok(None)
            })?;
            if listening {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                return Ok(Self {
                    daemon,
                    dir: dir.to_owned(),
                    address,
                });
            }
        }
        bail!(
            "no free port for sshd in {} attempts",
            defaults::PORT_ATTEMPTS
        )
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The glob of its public host keys, as the agent's configuration wants it.
    #[must_use]
    pub fn host_keys(&self) -> String {
        self.dir.join("ssh_host_*_key.pub").display().to_string()
    }

    /// A file of its folder.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The private key that may log in.
    #[must_use]
    pub fn user_key(&self) -> PathBuf {
        self.dir.join("user_key")
    }

    /// The process.
    #[must_use]
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// Ends it and the sessions it serves.
    pub fn kill(self) {
        self.daemon.kill();
    }

    /// Lets it live on; whoever reads the id ends it.
    #[must_use]
    pub fn leave(self) -> u32 {
        self.daemon.leave()
    }

    /// Number of connections it has accepted in its life, by its log.
    ///
    /// # Errors
    ///
    /// When the log cannot be read.
    pub fn accepted(&self) -> Result<usize> {
        Ok(self
            .daemon
            .log()?
            .lines()
            .filter(|line| line.starts_with("Connection from "))
            .count())
    }

    /// Whether somebody listens there now.
    #[must_use]
    pub fn is_listening(&self) -> bool {
        TcpStream::connect_timeout(&self.address, defaults::SOON).is_ok()
    }
}

/// Makes a key pair without a passphrase, unless it is there.
///
/// # Errors
///
/// When `ssh-keygen` fails.
pub fn keygen(path: &Path, kind: &str) -> Result<()> {
    keygen_with(path, kind, &[])
}

/// The same, with more words for `ssh-keygen`: `-m PEM` for those who do not read OpenSSH's own format.
///
/// # Errors
///
/// When `ssh-keygen` fails.
pub fn keygen_with(path: &Path, kind: &str, words: &[&str]) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let mut command = Command::new("ssh-keygen");
    command
        .args(["-q", "-t", kind, "-N", "", "-C", "kedge scratch key"])
        .args(words)
        .arg("-f")
        .arg(path);
    run::run(command)?.success().map(drop)
}

fn configuration(dir: &Path, port: u16, extra: &str) -> Result<String> {
    let dir = dir.display();
    let mut lines = format!(
        "ListenAddress 127.0.0.1:{port}\n\
         HostKey {dir}/ssh_host_ed25519_key\n\
         HostKey {dir}/ssh_host_ecdsa_key\n\
         AuthorizedKeysFile {dir}/authorized_keys\n\
         PidFile none\n\
         UsePAM no\n\
         StrictModes no\n\
         PermitRootLogin yes\n\
         PasswordAuthentication no\n\
         KbdInteractiveAuthentication no\n\
         PrintMotd no\n\
         PrintLastLog no\n\
         LogLevel VERBOSE\n\
         MaxStartups 1000\n\
         MaxSessions 1000\n\
         LoginGraceTime 60\n\
         Subsystem sftp internal-sftp\n"
    );
    if machine::openssh_version()? >= (9, 8) {
        lines.push_str("PerSourcePenalties no\n");
    }
    lines.push_str(extra);
    lines.push('\n');
    Ok(lines)
}
