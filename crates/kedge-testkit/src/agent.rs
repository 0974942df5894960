//! A `kedge-agent` with a configuration and a state folder of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::census::Census;
use crate::hub::{quoted, text};
use crate::process::Daemon;
use crate::run::{self, Ran};
use crate::{defaults, hub};

/// What to make.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// The folder for its configuration and state.
    pub dir: PathBuf,
    /// The folder for its log.
    pub logs: PathBuf,
    /// Where the binaries are.
    pub bins: PathBuf,
    /// Name of its server.
    pub name: String,
    /// The hub's URL.
    pub hub: String,
    /// The hub's pin.
    pub pin: Option<String>,
    /// The authority of the hub's certificate.
    pub ca_file: Option<PathBuf>,
    /// Where sessions go, such as `tcp:127.0.0.1:22`.
    pub target: String,
    /// Glob of the host keys it reports.
    pub host_keys: String,
    /// `--label` values.
    pub labels: Vec<String>,
    /// More TOML for the top of its configuration.
    pub extra: String,
    /// Environment for the process.
    pub environment: Vec<(String, String)>,
}

/// An agent that has a configuration; joined or not, running or not.
#[derive(Debug)]
pub struct Agent {
    options: AgentOptions,
    daemon: Option<Daemon>,
}

impl Agent {
    /// Writes the configuration. The agent has neither joined nor started.
    ///
    /// # Errors
    ///
    /// When the files cannot be written.
    pub fn new(options: AgentOptions) -> Result<Self> {
        fs::create_dir_all(&options.dir)
            .with_context(|| format!("make {}", options.dir.display()))?;
        let agent = Self {
            options,
            daemon: None,
        };
        agent.configure()?;
        Ok(agent)
    }

    /// Writes the configuration again, after a change of [`Self::options_mut`].
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn configure(&self) -> Result<()> {
        let options = &self.options;
        let mut toml = format!("hub = {}\n", quoted(&options.hub));
        if let Some(pin) = &options.pin {
            toml.push_str(&format!("pin = {}\n", quoted(pin)));
        }
        if let Some(path) = &options.ca_file {
            toml.push_str(&format!(
                "ca-file = {}\n",
                quoted(&path.display().to_string())
            ));
        }
        toml.push_str(&format!(
            "state-dir = {}\ntarget = {}\nhost-keys = [{}]\n{}\n[log]\nformat = \"json\"\nlevel = \"info\"\n",
            quoted(&self.state_dir().display().to_string()),
            quoted(&options.target),
            quoted(&options.host_keys),
            options.extra,
        ));
        fs::write(self.config_path(), toml).context("write agent.toml")
    }

    /// What it was made from.
    #[must_use]
    pub fn options(&self) -> &AgentOptions {
        &self.options
    }

    /// What it was made from, to change before [`Self::configure`].
    pub fn options_mut(&mut self) -> &mut AgentOptions {
        &mut self.options
    }

    /// Where its configuration is.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.options.dir.join("agent.toml")
    }

    /// Where its key and identity are.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.options.dir.join("state")
    }

    /// The arguments of `kedge-agent join` for this agent, without the token.
    #[must_use]
    pub fn join_command(&self) -> Command {
        let mut command = self.command("join");
        command
            .arg(&self.options.hub)
            .args(["--name", &self.options.name]);
        for label in &self.options.labels {
            command.args(["--label", label]);
        }
        if let Some(pin) = &self.options.pin {
            command.args(["--pin", pin]);
        }
        if let Some(path) = &self.options.ca_file {
            command.arg("--ca-file").arg(path);
        }
        command
    }

    /// Runs `kedge-agent join` with a token from a file.
    ///
    /// # Errors
    ///
    /// When it cannot be run; whether it succeeded is in the answer.
    pub fn join(&self, token: &str) -> Result<Ran> {
        let file = self.options.dir.join("join-token");
        fs::write(&file, token)?;
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        let mut command = self.join_command();
        command.arg("--token-file").arg(&file);
        let ran = run::run(command);
        let _ = fs::remove_file(&file);
        ran
    }

    /// Starts `kedge-agent run`; does not wait for the hub.
    ///
    /// # Errors
    ///
    /// When one runs already.
    pub fn launch(&mut self) -> Result<()> {
        ensure!(self.daemon.is_none(), "the agent runs already");
        let daemon = Daemon::spawn(
            &format!("agent-{}", self.options.name),
            self.command("run"),
            &self.options.logs,
        )?;
        self.daemon = Some(daemon);
        Ok(())
    }

    /// Starts it and waits until it is connected.
    ///
    /// # Errors
    ///
    /// When it does not connect in time; shows its log.
    pub fn start(&mut self) -> Result<()> {
        self.launch()?;
        self.connected(1)
    }

    /// Waits until this start's log says `agent connected` this many times.
    ///
    /// # Errors
    ///
    /// When the time is up; shows its log.
    pub fn connected(&mut self, times: usize) -> Result<()> {
        let daemon = self.daemon()?;
        let waited = crate::wait::until_true("the agent to be connected", defaults::START, || {
            ensure!(daemon.exited()?.is_none(), "the agent ended");
            let events = daemon.events()?;
            Ok(events
                .iter()
                .filter(|event| text(event, "message") == "agent connected")
                .count()
                >= times)
        });
        waited.with_context(|| format!("the agent's log ends:\n{}", daemon.log_tail()))
    }

    /// The process.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn daemon(&mut self) -> Result<&mut Daemon> {
        self.daemon.as_mut().context("the agent does not run")
    }

    /// What it holds now.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn census(&mut self) -> Result<Census> {
        Census::of(self.daemon()?.pid())
    }

    /// SIGTERM and an orderly end.
    ///
    /// # Errors
    ///
    /// When it does not leave in time.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.daemon.take().context("the agent does not run")?.stop()
    }

    /// SIGKILL.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.daemon.take().context("the agent does not run")?.kill();
        Ok(())
    }

    /// A signal to the process.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.daemon()?.signal(signal)
    }

    /// Lets it live on; whoever reads the id ends it.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn leave(mut self) -> Result<u32> {
        Ok(self
            .daemon
            .take()
            .context("the agent does not run")?
            .leave())
    }

    /// A `kedge-agent` command with this agent's configuration.
    #[must_use]
    pub fn command(&self, word: &str) -> Command {
        let mut command = Command::new(self.options.bins.join("kedge-agent"));
        command.arg(word).arg("--config").arg(self.config_path());
        for name in [
            "HTTPS_PROXY",
            "https_proxy",
            "HTTP_PROXY",
            "http_proxy",
            "NO_PROXY",
            "no_proxy",
            "NOTIFY_SOCKET",
        ] {
            command.env_remove(name);
        }
        command.envs(self.options.environment.iter().cloned());
        command
    }
}

/// A target of an agent's configuration.
#[must_use]
pub fn tcp(address: SocketAddr) -> String {
    format!("tcp:{address}")
}

/// Whether an event of the agent's log has this message.
#[must_use]
pub fn says(event: &serde_json::Value, message: &str) -> bool {
    hub::text(event, "message").contains(message)
}
