//! Where the agent's socket is: a name that `ssh` and its ProxyCommand compute alike.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::OfferError;

/// What `ssh` connects to, as its `%C` has it.
#[derive(Clone, Copy, Debug)]
pub struct Destination<'a> {
    /// `%h`: the host after the configuration was applied.
    pub host: &'a str,
    /// `%p`
    pub port: u16,
    /// `%r`
    pub login: &'a str,
}

/// The socket's path: `FOLDER/%C`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SocketPath {
    folder: PathBuf,
    name: String,
}

impl SocketPath {
    /// The path for a destination.
    #[must_use]
    pub fn new(folder: &Path, destination: Destination<'_>) -> Self {
        let machine = rustix::system::uname();
        let machine = machine.nodename().to_string_lossy();
        Self {
            folder: folder.to_owned(),
            name: connection_hash(&machine, destination),
        }
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    /// A file beside it.
    pub(super) fn beside(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{ending}", self.name))
    }

    /// Makes the folder, or sees to it that it is this person's alone.
    pub(super) fn prepare(&self) -> Result<(), OfferError> {
        let path = &self.folder;
        let failed = |operation| {
            move |source| OfferError::Io {
                operation,
                path: path.clone(),
                source,
            }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed("make"))?;
        let there = fs::symlink_metadata(path).map_err(failed("look at"))?;
        let problem = if !there.is_dir() {
            "it is no folder"
        } else if there.uid() != rustix::process::geteuid().as_raw() {
            "it is somebody else's"
        } else if there.mode() & 0o077 != 0 {
            "others may enter it (chmod 700 it)"
        } else {
            return Ok(());
        };
        Err(OfferError::Folder {
            path: path.clone(),
            problem: problem.to_owned(),
        })
    }
}

/// Whether a socket in this folder has a path that the system takes: `sun_path` holds 104 bytes on some, 108 on Linux,
/// a zero at the end included.
#[must_use]
pub fn fits(folder: &Path) -> bool {
    folder.as_os_str().len() + NAME_BYTES < SUN_PATH_BYTES
}

/// `%C`: SHA-1 over `%l%h%p%r%j` (ssh_config(5)). `%j` is empty, since nothing jumps to a hub, so that it does not matter
/// that OpenSSH before 9.6 has none. SHA-1 is `ssh`'s choice, for a name and nothing else.
fn connection_hash(machine: &str, destination: Destination<'_>) -> String {
    let Destination { host, port, login } = destination;
    let text = format!("{machine}{host}{port}{login}");
    let digest = aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY,
        text.as_bytes(),
    );
    digest.as_ref().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// A `/`, forty digits, and what [`turn`](super::turn) puts behind them while it makes a new one.
const NAME_BYTES: usize = 1 + 40 + 4;

/// The least that any system has.
const SUN_PATH_BYTES: usize = 104;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const WEB: Destination<'static> = Destination {
        host: "web01.kedge",
        port: 22,
        login: "alice",
    };

    #[test]
    fn the_name_is_the_hash_that_ssh_computes() {
        // printf %s laptopweb01.kedge22alice | sha1sum
        assert_eq!(
            connection_hash("laptop", WEB),
            "b4a3b75b4d179608e4f3a8110cc335593f09c2a9"
        );
    }

    #[test]
    fn a_folder_that_others_may_enter_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let ours = folder.path().join("kedge");
        SocketPath::new(&ours, WEB).prepare().unwrap();
        assert_eq!(fs::metadata(&ours).unwrap().mode() & 0o777, 0o700);
        fs::set_permissions(&ours, fs::Permissions::from_mode(0o750)).unwrap();
        let refused = SocketPath::new(&ours, WEB).prepare().unwrap_err();
        assert!(refused.to_string().contains("others"), "{refused}");
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        SocketPath::new(&file, WEB).prepare().unwrap_err();
        let link = folder.path().join("link");
        fs::set_permissions(&ours, fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink(&ours, &link).unwrap();
        let refused = SocketPath::new(&link, WEB).prepare().unwrap_err();
        assert!(refused.to_string().contains("no folder"), "{refused}");
    }

    #[test]
    fn a_path_that_is_too_long_is_known_to_be() {
        assert!(fits(Path::new("/run/user/1000/kedge")));
        assert!(!fits(Path::new(&format!("/{}", "x".repeat(60)))));
    }
}
