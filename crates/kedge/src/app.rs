//! What every command has at hand: configuration, state, clock, terminal.

use std::future::Future;
use std::io::{self, BufRead, Write};
use std::path::PathBuf;

use jiff::Timestamp;
use kedge_api::HubName;
use kedge_service::Failure;

use crate::cli::Globals;
use crate::config::{Config, HubConfig};
use crate::credentials::Credentials;
use crate::defaults;
use crate::environment::{Environment, config_file};
use crate::exit::Exit;
use crate::failure::{IntoFailure, failure};
use crate::hub::{Asker, Hub};
use crate::identity_agent;
use crate::names::{self, Place};
use crate::state::HubState;

/// Where a command reads and writes.
pub struct Terminal<'a> {
    /// Standard output.
    pub out: &'a mut dyn Write,
    /// Standard error.
    pub err: &'a mut dyn Write,
    /// Standard input.
    pub input: &'a mut dyn BufRead,
    /// Whether a person sits at standard input and can be asked.
    pub interactive: bool,
}

impl std::fmt::Debug for Terminal<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terminal")
            .field("interactive", &self.interactive)
            .finish_non_exhaustive()
    }
}

/// A command at work.
#[derive(Debug)]
pub struct App<'a> {
    /// What the process found around it.
    pub environment: &'a Environment,
    /// The options of every command.
    pub globals: Globals,
    /// The hubs.
    pub config: Config,
    /// Where the person is.
    pub terminal: Terminal<'a>,
}

impl<'a> App<'a> {
    /// Reads the configuration.
    ///
    /// # Errors
    ///
    /// A configuration that cannot be read.
    pub fn new(
        environment: &'a Environment,
        globals: Globals,
        terminal: Terminal<'a>,
    ) -> Result<Self, Failure> {
        let path = globals.config.clone();
        let path = path.unwrap_or_else(|| config_file(&environment.config_folder()));
        let config = Config::load(&path).map_err(IntoFailure::into_failure)?;
        Ok(Self {
            environment,
            globals,
            config,
            terminal,
        })
    }

    /// Refuses to go on without a configuration that was named and is not there. The one that is
    /// looked for by itself need not be.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub fn require_named_config(&self) -> Result<(), Failure> {
        match &self.globals.config {
            Some(path) if !path.exists() => {
                let text = format!("there is no configuration file {}", path.display());
                Err(failure(Exit::Usage, text)
                    .hint("kedge login HUB makes it, with the same --config"))
            }
            _ => Ok(()),
        }
    }

    /// The configuration's file.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        let asked = self.globals.config.clone();
        asked.unwrap_or_else(|| config_file(&self.environment.config_folder()))
    }

    /// The hub that is meant where no name's suffix says it.
    ///
    /// # Errors
    ///
    /// When nothing says which hub is meant.
    pub fn chosen_hub(&self) -> Result<(&HubName, &HubConfig), Failure> {
        self.config
            .hub(self.globals.hub.as_ref())
            .map_err(IntoFailure::into_failure)
    }

    /// The server that a name means.
    ///
    /// # Errors
    ///
    /// No legal name, or no hub.
    pub fn place(&self, text: &str) -> Result<Place<'_>, Failure> {
        names::place(&self.config, self.globals.hub.as_ref(), text)
            .map_err(IntoFailure::into_failure)
    }

    /// A connection-to-be to the hub that is meant.
    ///
    /// # Errors
    ///
    /// As [`Self::chosen_hub`] and [`Self::hub`].
    pub fn default_client(&self) -> Result<Hub, Failure> {
        let (name, hub) = self.chosen_hub()?;
        self.client(name, hub)
    }

    /// A connection-to-be to a hub, with the stored login.
    ///
    /// # Errors
    ///
    /// Certificates that cannot be loaded.
    pub fn client(&self, name: &HubName, hub: &HubConfig) -> Result<Hub, Failure> {
        self.client_as(name, hub, Asker::Stored(self.credentials(name)))
    }

    /// A connection-to-be to a hub, with some other login than the stored one.
    ///
    /// # Errors
    ///
    /// As [`Self::client`].
    pub fn client_as(&self, name: &HubName, hub: &HubConfig, asker: Asker) -> Result<Hub, Failure> {
        let proxies = self.environment.proxies.clone();
        Hub::new(name.clone(), hub.url.clone(), hub.trust(), asker, proxies)
            .map_err(IntoFailure::into_failure)
    }

    /// The login at a hub.
    #[must_use]
    pub fn credentials(&self, hub: &HubName) -> Credentials {
        let proxies = self.environment.proxies.clone();
        Credentials::new(self.state(hub).store(), proxies)
    }

    /// The folder of a hub's state.
    #[must_use]
    pub fn state(&self, hub: &HubName) -> HubState {
        let folder = self.globals.state_dir.clone();
        HubState::new(
            &folder.unwrap_or_else(|| self.environment.state_folder()),
            hub,
        )
    }

    /// The folder of the agents' sockets that `ssh` is told of; none where their paths would be too long.
    #[must_use]
    pub fn agent_folder(&self) -> Option<PathBuf> {
        let folder = match &self.globals.state_dir {
            Some(folder) => {
                let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.clone());
                folder.join(defaults::AGENT_FOLDER)
            }
            None => self.environment.agent_folder(),
        };
        identity_agent::fits(&folder).then_some(folder)
    }

    /// The socket of the person's own agent: as the configuration says, or the environment.
    #[must_use]
    pub fn own_agent(&self) -> Option<PathBuf> {
        let own = self.config.own_agent.clone();
        own.or_else(|| self.environment.own_agent.clone())
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// Prints a line to standard output.
    ///
    /// # Errors
    ///
    /// When it is closed or full.
    pub fn say(&mut self, line: &str) -> Result<(), Failure> {
        writeln!(self.terminal.out, "{line}").map_err(output_failed)
    }

    /// Prints text as it is to standard output.
    ///
    /// # Errors
    ///
    /// When it is closed or full.
    pub fn print(&mut self, text: &str) -> Result<(), Failure> {
        self.terminal
            .out
            .write_all(text.as_bytes())
            .map_err(output_failed)?;
        self.terminal.out.flush().map_err(output_failed)
    }

    /// Prints a line to standard error, beside the output proper.
    pub fn note(&mut self, line: &str) {
        // Nobody is left to tell when standard error is closed.
        let _ = writeln!(self.terminal.err, "{line}");
    }
}

/// The failure for standard output that cannot be written.
pub fn output_failed(error: io::Error) -> Failure {
    match error.kind() {
        // `kedge get servers | head -1`: the reader has what it wanted. As if SIGPIPE had come.
        io::ErrorKind::BrokenPipe => broken_pipe(),
        _ => failure(
            Exit::Failure,
            format!("cannot write to standard output: {error}"),
        ),
    }
}

/// The failure that nobody needs to read of: the reader has gone.
pub(crate) fn broken_pipe() -> Failure {
    Failure::new("standard output was closed").code(BROKEN_PIPE)
}

/// What a shell sees of a program that SIGPIPE ended.
const BROKEN_PIPE: u8 = 141;

/// Runs a future on this thread: a command line needs no more, and starts faster with less.
///
/// # Errors
///
/// When the system gives no event queue.
pub fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failure(Exit::Failure, format!("cannot start: {error}")))?;
    let result = runtime.block_on(future);
    // A thread that still waits for a name server or a terminal is not waited for.
    runtime.shutdown_background();
    result
}
