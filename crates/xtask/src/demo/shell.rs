//! `target/demo/env`: what a shell sources to play with the demo. Plain POSIX sh, so that bash, zsh and dash read it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kedge_testkit::hub::Hub;
use kedge_testkit::machine;
use kedge_testkit::person::Person;
use kedge_testkit::sshd::Sshd;

/// The command that logs in without a window.
const WITHOUT_A_WINDOW: &str = "kedge-demo-login";

/// How to log in to the demo's hub.
pub(crate) struct Login {
    /// The words of `kedge login`, each fit for a shell.
    words: String,
    /// A program for `$BROWSER` that needs no window.
    browser: PathBuf,
}

impl Login {
    /// At this hub, as this user of the provider.
    pub(crate) fn of(hub: &Hub, you: &Person, user: &str) -> Result<Self> {
        let mut words = vec!["kedge".to_owned()];
        for argument in you.log_in_command(hub, user, &[])?.get_args() {
            words.push(typed(argument.to_str().context("the login's words")?));
        }
        Ok(Self {
            words: words.join(" "),
            browser: you.browser(user)?,
        })
    }

    /// What a person types, with all that it takes: this hub is trusted by its pin alone.
    pub(crate) fn words(&self) -> &str {
        &self.words
    }
}

/// Writes `env`, and a folder of `ssh`, `scp` and `sftp` that use the demo's configuration. OpenSSH reads the
/// configuration of the user's real home whatever `HOME` says, and that one stays untouched.
pub(crate) fn write(
    dir: &Path,
    bins: &Path,
    you: &Person,
    sshd: &Sshd,
    login: &Login,
) -> Result<()> {
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
    let script = |name: &str, line: &str| -> Result<()> {
        let path = wrappers.join(name);
        fs::write(&path, format!("#!/bin/sh\n{line}\n"))?;
        Ok(fs::set_permissions(
            &path,
            fs::Permissions::from_mode(0o755),
        )?)
    };
    for name in ["ssh", "scp", "sftp"] {
        let program =
            machine::find_program(name).with_context(|| format!("{name} is not installed"))?;
        let line = format!(
            "exec {} -F {} \"$@\"",
            word(&program.display().to_string()),
            word(&config_path.display().to_string())
        );
        script(name, &line)?;
    }
    let browser = word(&login.browser.display().to_string());
    script(
        WITHOUT_A_WINDOW,
        &format!("BROWSER={browser} exec {} \"$@\"", login.words),
    )?;

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
pub(crate) fn tell(dir: &Path, me: &str, login: &Login) {
    println!("\nEverything keeps running. In this or another shell, type:\n");
    println!("   . {}", word(&dir.join("env").display().to_string()));
    println!("   kedge get servers");
    println!("   kedge ssh web01");
    println!("   ssh web01.kedge");
    println!("   scp /etc/hostname web01.kedge:/tmp/");
    println!("   rsync -av web01.kedge:/etc/hostname /tmp/");
    println!("\nYou are logged in, and may do it again:\n");
    println!(
        "   {}   # the provider's form asks for a name: {me}",
        login.words
    );
    println!("   {WITHOUT_A_WINDOW}   # the same, with a browser without a window");
    println!("   kedge whoami");
    println!("   kedge explain {me} ssh web01");
    println!(
        "\nLogs are in {}. To end it: cargo xtask demo --stop",
        dir.join("logs").display()
    );
}

/// A word as a person types it: quoted if it must be.
fn typed(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=+,@".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => word(text),
    }
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

    #[test]
    fn what_is_typed_is_quoted_only_where_it_must_be() {
        for plain in ["--pin", "sha256:a1B/+_-=", "https://127.0.0.1:8443"] {
            assert_eq!(typed(plain), plain);
        }
        for (odd, quoted) in [("", "''"), ("a b", "'a b'"), ("$x", "'$x'"), ("~", "'~'")] {
            assert_eq!(typed(odd), quoted);
        }
    }
}
