//! `target/demo/env`: what a shell sources to play with the demo. Plain POSIX sh, so that bash, zsh and dash read it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use kedge_testkit::machine;
use kedge_testkit::person::Person;
use kedge_testkit::sshd::Sshd;

/// Writes `env`, and a folder of `ssh`, `scp` and `sftp` that use the demo's configuration. OpenSSH reads the
/// configuration of the user's real home whatever `HOME` says, and that one stays untouched.
pub(crate) fn write(dir: &Path, bins: &Path, you: &Person, sshd: &Sshd) -> Result<()> {
    // The demo's key is for the demo's servers; every other host is as the user configured it.
    let generated = you.kedge(&["ssh-config"])?.success()?.out();
    let key = sshd.user_key();
    let config = format!(
        "{generated}\nMatch host \"*.kedge\"\n  IdentityFile \"{}\"\n  IdentitiesOnly yes\n  IdentityAgent none\n\n\
         Match all\n  Include ~/.ssh/config\n  Include /etc/ssh/ssh_config\n",
        key.display()
    );
    let config_path = you.home().join("ssh_config");
    fs::write(&config_path, config)?;

    let wrappers = dir.join("bin");
    fs::create_dir_all(&wrappers)?;
    for name in ["ssh", "scp", "sftp"] {
        let program =
            machine::find_program(name).with_context(|| format!("{name} is not installed"))?;
        let script = format!(
            "#!/bin/sh\nexec {} -F {} \"$@\"\n",
            word(&program.display().to_string()),
            word(&config_path.display().to_string())
        );
        let path = wrappers.join(name);
        fs::write(&path, script)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }

    let mut env =
        String::from("# Written by `cargo xtask demo --keep`. Source it in bash, zsh or dash.\n");
    let path = |path: &Path| word(&path.display().to_string());
    env.push_str(&format!("PATH={}:{}:$PATH\n", path(&wrappers), path(bins)));
    env.push_str(&format!("XDG_CONFIG_HOME={}\n", path(&you.config_home())));
    env.push_str(&format!("XDG_STATE_HOME={}\n", path(&you.state_home())));
    env.push_str("export PATH XDG_CONFIG_HOME XDG_STATE_HOME\n");
    fs::write(dir.join("env"), env).context("write env")
}

/// What to type next.
pub(crate) fn tell(dir: &Path) {
    println!("\nEverything keeps running. In this or another shell, type:\n");
    println!("   . {}", word(&dir.join("env").display().to_string()));
    println!("   kedge get servers");
    println!("   kedge ssh web01");
    println!("   ssh web01.kedge");
    println!("   scp /etc/hostname web01.kedge:/tmp/");
    println!("   rsync -av web01.kedge:/etc/hostname /tmp/");
    println!(
        "\nLogs are in {}. To end it: cargo xtask demo --stop",
        dir.join("logs").display()
    );
}

/// One word of a shell, whatever it contains.
fn word(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_stays_one_word() {
        assert_eq!(word("/a b"), "'/a b'");
        assert_eq!(word("it's"), r"'it'\''s'");
    }
}
