//! A person at a terminal: a home folder, the `kedge` command, and OpenSSH with a configuration of their own.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::hub::Hub;
use crate::run::{self, Ran};
use crate::{defaults, machine};

/// A person with a scratch home. OpenSSH finds the user's real home through the password file and not through `HOME`,
/// so every `ssh` gets `-F`.
#[derive(Clone, Debug)]
pub struct Person {
    home: PathBuf,
    bins: PathBuf,
    key: Option<PathBuf>,
}

impl Person {
    /// A new home under `dir`.
    ///
    /// # Errors
    ///
    /// When its folders cannot be made.
    pub fn new(dir: &Path, bins: &Path, key: Option<PathBuf>) -> Result<Self> {
        let person = Self {
            home: dir.to_owned(),
            bins: bins.to_owned(),
            key,
        };
        for folder in ["", "config", "state", "run", "cache"] {
            fs::create_dir_all(dir.join(folder))
                .with_context(|| format!("make {}", dir.display()))?;
        }
        fs::set_permissions(dir.join("run"), fs::Permissions::from_mode(0o700))?;
        person.configure_ssh("")?;
        Ok(person)
    }

    /// The home folder.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// `$XDG_CONFIG_HOME`.
    #[must_use]
    pub fn config_home(&self) -> PathBuf {
        self.home.join("config")
    }

    /// `$XDG_STATE_HOME`.
    #[must_use]
    pub fn state_home(&self) -> PathBuf {
        self.home.join("state")
    }

    /// Any program, in this person's environment.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(
            std::iter::once(self.bins.clone()).chain(std::env::split_paths(&path)),
        );
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs(self.environment())
            .env("PATH", path.unwrap_or_default())
            .current_dir(&self.home);
        command
    }

    /// The variables that make the scratch home theirs, without `PATH`.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let shown = |path: PathBuf| path.display().to_string();
        vec![
            ("HOME".to_owned(), shown(self.home.clone())),
            ("XDG_CONFIG_HOME".to_owned(), shown(self.config_home())),
            ("XDG_STATE_HOME".to_owned(), shown(self.state_home())),
            ("XDG_RUNTIME_DIR".to_owned(), shown(self.home.join("run"))),
            ("XDG_CACHE_HOME".to_owned(), shown(self.home.join("cache"))),
            ("LC_ALL".to_owned(), "C.UTF-8".to_owned()),
        ]
    }

    /// Runs `kedge WORDS`.
    ///
    /// # Errors
    ///
    /// When it cannot be run; whether it succeeded is in the answer.
    pub fn kedge<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<Ran> {
        run::run(self.kedge_command(words))
    }

    /// The command `kedge WORDS`.
    #[must_use]
    pub fn kedge_command<S: AsRef<OsStr>>(&self, words: &[S]) -> Command {
        let mut command = self.command(self.bins.join("kedge"));
        command.args(words);
        command
    }

    /// Runs `kedge ssh` with this person's ssh configuration.
    ///
    /// # Errors
    ///
    /// When it cannot be run.
    pub fn kedge_ssh<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<Ran> {
        run::run(self.kedge_ssh_command(words))
    }

    /// The command `kedge ssh -F CONFIG WORDS`.
    #[must_use]
    pub fn kedge_ssh_command<S: AsRef<OsStr>>(&self, words: &[S]) -> Command {
        let mut command = self.kedge_command(&["ssh", "-F"]);
        command.arg(self.ssh_config()).args(words);
        command
    }

    /// An OpenSSH program (`ssh`, `scp`, `sftp`) with this person's configuration.
    #[must_use]
    pub fn openssh<S: AsRef<OsStr>>(&self, program: &str, words: &[S]) -> Command {
        let mut command = self.command(program);
        command.arg("-F").arg(self.ssh_config()).args(words);
        command
    }

    /// Where this person's ssh configuration is.
    #[must_use]
    pub fn ssh_config(&self) -> PathBuf {
        self.home.join("ssh_config")
    }

    /// Logs in to a hub with a token file, and writes the ssh configuration that `kedge ssh-config` prints.
    ///
    /// # Errors
    ///
    /// When the hub refuses.
    pub fn log_in(&self, hub: &Hub, url: &str, subject: &str) -> Result<()> {
        self.log_in_with(hub, url, hub.token(subject)?)?.success()?;
        self.install_ssh_config()
    }

    /// Runs `kedge login` with any token.
    ///
    /// # Errors
    ///
    /// When it cannot be run; whether it succeeded is in the answer.
    pub fn log_in_with(&self, hub: &Hub, url: &str, token: &str) -> Result<Ran> {
        let file = self.home.join("token-to-store");
        fs::write(&file, token)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        let mut command = self.kedge_command(&["login", url, "--name", hub.name(), "--token-file"]);
        command.arg(&file);
        command.args(hub.trust_words());
        let ran = run::run(command);
        fs::remove_file(&file)?;
        ran
    }

    /// The command `kedge login` at a hub's issuers, with these words more. Its browser is `$BROWSER`: a script that
    /// logs in without a window, under the name `user`.
    ///
    /// # Errors
    ///
    /// When the script cannot be written.
    pub fn log_in_command(&self, hub: &Hub, user: &str, words: &[&str]) -> Result<Command> {
        let browser = self.browser(user)?;
        let url = hub.url();
        let mut command = self.kedge_command(&["login", url.as_str(), "--name", hub.name()]);
        command
            .args(hub.trust_words())
            .args(words)
            .env("BROWSER", browser);
        Ok(command)
    }

    /// Logs in by a browser without a window, and writes the ssh configuration.
    ///
    /// # Errors
    ///
    /// When the login fails.
    pub fn log_in_by_browser(&self, hub: &Hub, user: &str) -> Result<()> {
        run::run(self.log_in_command(hub, user, &[])?)?.success()?;
        self.install_ssh_config()
    }

    /// A program for `$BROWSER` that logs in under the name `user`, without a window.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn browser(&self, user: &str) -> Result<PathBuf> {
        let path = self.home.join(format!("browser-{user}"));
        let program = self.bins.join("kedge-demo-issuer");
        let script = format!(
            "#!/bin/sh\nexec '{}' browse --as '{user}' \"$1\" >>'{}' 2>&1\n",
            program.display(),
            self.home.join("browser.log").display()
        );
        fs::write(&path, script).with_context(|| format!("write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }

    /// Puts what `kedge ssh-config` prints into this person's ssh configuration.
    ///
    /// # Errors
    ///
    /// When there is none to print.
    pub fn install_ssh_config(&self) -> Result<()> {
        let generated = self.kedge(&["ssh-config"])?.success()?.out();
        self.configure_ssh(&generated)
    }

    /// Writes the ssh configuration: what is given, then what keeps OpenSSH off the machine's own keys and agents.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn configure_ssh(&self, first: &str) -> Result<()> {
        let mut config = first.to_owned();
        config.push_str("\nHost *\n  BatchMode yes\n  IdentitiesOnly yes\n  IdentityAgent none\n");
        config.push_str(&format!(
            "  ConnectTimeout {}\n",
            defaults::COMMAND.as_secs()
        ));
        if let Some(key) = &self.key {
            config.push_str(&format!("  IdentityFile {}\n", key.display()));
        }
        fs::write(self.ssh_config(), config).context("write ssh_config")
    }

    /// Applies an object.
    ///
    /// # Errors
    ///
    /// When the hub refuses it.
    pub fn apply(&self, object: &serde_json::Value) -> Result<()> {
        let command = self.kedge_command(&["apply", "-f", "-"]);
        run::feed(command, object.to_string().into_bytes(), defaults::COMMAND)?
            .success()
            .map(drop)
    }

    /// An object as JSON.
    ///
    /// # Errors
    ///
    /// When there is none, or this person may not see it.
    pub fn get(&self, kind: &str, name: &str) -> Result<serde_json::Value> {
        self.kedge(&["get", kind, name, "-o", "json"])?
            .success()?
            .json()
    }

    /// Makes a join token.
    ///
    /// # Errors
    ///
    /// When the hub refuses.
    pub fn join_token(&self, words: &[&str]) -> Result<String> {
        let all: Vec<&str> = ["token", "create"]
            .into_iter()
            .chain(words.iter().copied())
            .collect();
        let said = self.kedge(&all)?.success()?.out();
        let token =
            said.split(|letter: char| letter.is_whitespace() || letter == '"' || letter == '\'');
        let token = token.into_iter().find(|word| word.starts_with("kjt_"));
        token
            .map(str::to_owned)
            .with_context(|| format!("no token in `{said}`"))
    }

    /// A policy by which `users` may log in to every server as the user who runs the tests.
    ///
    /// # Errors
    ///
    /// When the system does not know its own user.
    pub fn policy(name: &str, users: &[&str]) -> Result<serde_json::Value> {
        let me = machine::me()?;
        Ok(serde_json::json!({
            "apiVersion": "kedge.dev/v1alpha1",
            "kind": "AccessPolicy",
            "metadata": { "name": name },
            "spec": {
                "subjects": { "users": users },
                "servers": { "names": ["*"] },
                "logins": [me],
                "permissions": ["ssh"],
            },
        }))
    }
}
