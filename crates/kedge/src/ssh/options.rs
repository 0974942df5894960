//! What `ssh` is told so that it goes through the hub and trusts the hub's host keys alone.
//!
//! The same for `kedge ssh` (as `-o`) and for the generated configuration, so that both behave alike.

use std::path::{Path, PathBuf};

use kedge_api::HubName;
use thiserror::Error;

use crate::cli::Globals;
use crate::environment::Environment;

/// What goes with every session, whatever the person's own configuration says. Each line's reason is
/// on the reference page of the generated configuration.
pub const STRICT: &[(&str, &str)] = &[
    ("StrictHostKeyChecking", "yes"),
    ("UserKnownHostsFile", "none"),
    ("GlobalKnownHostsFile", "none"),
    ("UpdateHostKeys", "no"),
    ("VerifyHostKeyDNS", "no"),
    ("CheckHostIP", "no"),
    ("CanonicalizeHostname", "no"),
    ("ProxyUseFdpass", "no"),
];

/// A preference, which the person's own `-c` or `-o Ciphers` may overrule.
pub const CIPHERS: (&str, &str) = ("Ciphers", "^aes128-gcm@openssh.com");

/// What goes with sessions to a server that the hub signs for: its one key is offered and no other, and nobody is asked
/// for a password that would be of no use.
pub const INJECTED: &[(&str, &str)] = &[
    ("IdentitiesOnly", "no"),
    ("IdentityFile", "none"),
    ("PreferredAuthentications", "publickey"),
];

/// How `ssh` calls this program back.
#[derive(Clone, Debug)]
pub struct Callback {
    program: String,
    globals: Vec<(&'static str, String)>,
    agent_folder: Option<String>,
}

/// A path that cannot stand in an ssh configuration.
#[derive(Debug, Error)]
#[error(
    "cannot write a safe ssh configuration: the path {} has characters other than letters, digits, \
     spaces and `/ . _ - + @ , : =`",
    path.display()
)]
pub struct UnsafePath {
    path: PathBuf,
}

impl Callback {
    /// The way back to this program with the files it uses now.
    ///
    /// # Errors
    ///
    /// [`UnsafePath`] for a path that `ssh` or a shell could read as something else.
    pub fn new(
        environment: &Environment,
        globals: &Globals,
        agent_folder: Option<&Path>,
    ) -> Result<Self, UnsafePath> {
        let program = plain(&environment.lasting_program())?;
        let globals = environment
            .lasting_globals(globals)
            .into_iter()
            .map(|(option, path)| Ok((option, plain(&path)?)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            program,
            globals,
            agent_folder: agent_folder.map(plain).transpose()?,
        })
    }

    /// What `ssh` is told as its `IdentityAgent`, and what its ProxyCommand is told so that both mean the same socket.
    #[must_use]
    pub fn agent(&self) -> Option<(String, String)> {
        let folder = self.agent_folder.as_ref()?;
        let socket = format!("{folder}/%C");
        Some((socket, format!("--agent-folder='{folder}'")))
    }

    /// A shell command: `ssh` runs `ProxyCommand` and `Match exec` by the person's shell. Every word
    /// from outside stands between single quotes; see [`crate::ssh_config::render`] for why nothing
    /// in it can end them.
    #[must_use]
    pub fn shell(&self, hub: &HubName, words: &str) -> String {
        let mut line = format!("'{}'", self.program);
        for (option, value) in &self.globals {
            line.push_str(&format!(" {option} '{value}'"));
        }
        format!("{line} --hub {hub} {words}")
    }

    /// A command without a shell: `ssh` splits `KnownHostsCommand` itself and runs it directly.
    #[must_use]
    pub fn direct(&self, hub: &HubName, words: &str) -> String {
        let mut line = format!("\"{}\"", self.program);
        for (option, value) in &self.globals {
            line.push_str(&format!(" {option} \"{value}\""));
        }
        format!("{line} --hub {hub} {words}")
    }
}

/// A path as text that means itself in a shell's single quotes, in `ssh`'s double quotes, to `ssh`'s
/// own expansion (`%`, `$`, `~` in front) and to glob. Letters of any language do: none of the three
/// looks into the bytes of one. What is invisible or turns text around is no letter.
///
/// # Errors
///
/// [`UnsafePath`] when it does not.
pub fn plain(path: &Path) -> Result<String, UnsafePath> {
    let wrong = || UnsafePath {
        path: path.to_owned(),
    };
    let text = path.to_str().ok_or_else(wrong)?;
    let legal = |c: char| c.is_alphanumeric() || " /._-+@,:=".contains(c);
    if path.is_absolute() && text.chars().all(legal) {
        Ok(text.to_owned())
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths_pass() {
        assert_eq!(
            plain(Path::new("/usr/bin/kedge")).unwrap(),
            "/usr/bin/kedge"
        );
        for path in ["/home/a b/kedge", "/home/jörg/à/Å", "/home/日本"] {
            assert_eq!(plain(Path::new(path)).unwrap(), path);
        }
        for path in [
            "kedge",
            "/a'b",
            "/a\"b",
            "/a%h",
            "/a$b",
            "/a\\b",
            "/a\nb",
            "/a*",
            "/a`b",
            "/a\u{a0}b",
            "/a\u{2028}b",
            "/a\u{202e}b",
            "/a\u{200b}b",
            "/a\u{85}b",
            "/a\u{3000}b",
            "/a😀",
        ] {
            assert!(plain(Path::new(path)).is_err(), "{path}");
        }
    }
}
