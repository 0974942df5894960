//! What an agent tells about the machine it runs on.

use std::path::Path;

use kedge_api::{Line, ServerName};
use kedge_service::files;
use thiserror::Error;

/// The machine's name is no name for a server.
#[derive(Debug, Error)]
#[error("the host name of this machine is no server name")]
pub struct HostNameError(#[source] kedge_api::NameError);

/// The machine's host name as a server's name.
///
/// # Errors
///
/// [`HostNameError`] when it is not a legal one: nothing is quietly rewritten but upper case, in
/// which host names are equal.
pub fn host_name() -> Result<ServerName, HostNameError> {
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .to_ascii_lowercase();
    name.parse().map_err(HostNameError)
}

/// The operating system as it calls itself: `Debian GNU/Linux 12 (bookworm)`.
#[must_use]
pub fn operating_system() -> Option<Line> {
    let text = files::read_text(Path::new("/etc/os-release"), OS_RELEASE_BYTES).ok()?;
    pretty_name(&text)?.parse().ok()
}

/// The processor architecture: `x86_64`, `aarch64`.
#[must_use]
pub fn architecture() -> Option<Line> {
    std::env::consts::ARCH.parse().ok()
}

/// `PRETTY_NAME` of `os-release(5)`, which is quoted as in a shell.
fn pretty_name(text: &str) -> Option<String> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))?
        .trim();
    let inner = value.trim_matches(['"', '\'']);
    Some(inner.replace("\\\"", "\"").replace("\\$", "$"))
}

/// Bytes of `os-release(5)`: it has a few hundred.
const OS_RELEASE_BYTES: u64 = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pretty_name_is_found_among_others() {
        let text = "NAME=\"Debian GNU/Linux\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n";
        assert_eq!(
            pretty_name(text).as_deref(),
            Some("Debian GNU/Linux 12 (bookworm)")
        );
        assert_eq!(pretty_name("PRETTY_NAME=Arch\n").as_deref(), Some("Arch"));
        assert_eq!(pretty_name("ID=x\n"), None);
    }
}
