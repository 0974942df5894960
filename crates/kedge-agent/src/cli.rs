//! The command line of `kedge-agent`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{ArgGroup, Args, CommandFactory, Parser, Subcommand};
use http::Method;
use kedge_api::control::{AgentState, AgentStatus, JOINED_PATH};
use kedge_api::text::Printable;
use kedge_api::{HubUrl, JoinTokenSecret, LabelKey, LabelValue, Labels, ServerName};
use kedge_service::control::{self, ClaimError, SocketFile};
use kedge_service::{
    Activated, ConfigError, Failure, Notifier, Shutdown, Signal, Signals, files, listen, logging,
    reference, report,
};
use kedge_tunnel::CertificatePin;
use schemars::schema_for;
use secrecy::{ExposeSecret, SecretString};
use tokio::net::UnixListener;
use tokio::runtime::{Builder, Runtime};

use crate::agent::{Agent, Surroundings};
use crate::config::{AgentConfig, ControlSocket};
use crate::defaults;
use crate::identity::StateDir;
use crate::join::{self, Join};
use crate::owner::AsOwner;
use crate::reload::Reloader;

/// Makes this server reachable by SSH through a kedge hub, without an open port.
///
/// The agent dials out to the hub and keeps one tunnel; sessions that the hub lets through end at
/// the sshd of this machine, and nowhere else.
#[derive(Debug, Parser)]
#[command(
    name = "kedge-agent",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_long_help = "\
Examples:
  Join a hub, before or after the service was started:
    kedge-agent join https://hub.example.com --token-file /root/join-token
    kedge agent wait --connected

  Join a hub that made its own certificate; it printed the pin at its start:
    kedge-agent join https://10.0.0.5:8443 --pin sha256:... --token-file -

  Try a change of the configuration before the service reads it:
    kedge-agent check-config && systemctl reload kedge-agent

Files:
  /etc/kedge/agent.toml          configuration; every key may be left out
  /run/kedge-agent/control.sock  what `kedge agent` asks; for root
  /var/lib/kedge-agent/          the agent's key and identity

Exit status:
  0 done, 1 failure, 2 wrong usage, 5 the hub refused"
)]
pub struct Cli {
    /// Configuration file [default: /etc/kedge/agent.toml, if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Read the configuration and say whether it can be used
    ///
    /// Nothing is dialled, and neither key nor identity are read: this also works where the
    /// configuration is built.
    CheckConfig,
    /// Enrol this server at a hub
    ///
    /// Makes an Ed25519 key that never leaves this machine, proves it to the hub, and reports the
    /// host keys of this server's sshd, which people's ssh will believe from then on. A join whose
    /// answer was lost may be repeated. An agent that runs already begins at once. Root joins as the
    /// user that the state folder belongs to.
    #[command(after_long_help = "\
Examples:
  kedge-agent join https://hub.example.com --token-file /root/join-token
  kedge-agent join https://hub.example.com --token-file - < join-token
  kedge-agent join https://hub.example.com --token-file - --name web01 \\
      --label role=web --label site=fra1

A join token comes from `kedge token create`, admits one server unless it says otherwise, and
expires. Prefer --token-file: other users of this machine can read a command line.")]
    Join(Box<JoinArguments>),
    /// Print the manual page
    #[command(hide = true)]
    Man,
    /// Print the reference of the configuration as Markdown
    #[command(hide = true)]
    Reference,
    /// Keep the tunnel to the hub
    ///
    /// Runs in the foreground until SIGTERM; SIGHUP reads target, host-keys, limits and log.level
    /// again without dropping a session. HTTPS_PROXY and NO_PROXY are obeyed. Where nobody has joined
    /// it, it waits for `kedge-agent join`, or joins by itself if its configuration says where.
    Run,
}

/// What `join` takes.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("secret").args(["token_file", "token"]).required(true))]
pub struct JoinArguments {
    /// The hub's URL
    #[arg(value_name = "HUB")]
    pub hub: HubUrl,
    /// The join token
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<Token>,
    /// A file with the join token, readable by nobody else; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The server's name [default: this machine's host name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<ServerName>,
    /// A label, for policies to select by; may be given several times
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<Label>,
    /// The SHA-256 of the hub's certificate, as the hub printed it
    #[arg(long, value_name = "sha256:...", conflicts_with = "ca_file")]
    pub pin: Option<CertificatePin>,
    /// Root certificates (PEM) to believe instead of the system's
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// The folder for the agent's key and identity [default: that of the configuration]
    #[arg(long, value_name = "FOLDER")]
    pub state_dir: Option<PathBuf>,
}

/// A secret on the command line: not printed, not checked before it is used.
#[derive(Clone, Debug)]
pub struct Token(SecretString);

impl FromStr for Token {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(SecretString::from(text)))
    }
}

/// `KEY=VALUE`.
#[derive(Clone, Debug)]
pub struct Label(LabelKey, LabelValue);

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or("a label is KEY=VALUE")?;
        let key = key
            .parse()
            .map_err(|error| report::chain(&error as &kedge_api::NameError))?;
        let value = value
            .parse()
            .map_err(|error| report::chain(&error as &kedge_api::NameError))?;
        Ok(Self(key, value))
    }
}

/// `kedge-agent check-config`.
///
/// # Errors
///
/// What is wrong with the configuration.
pub fn check_config(path: Option<&Path>) -> Result<(), Failure> {
    let config = AgentConfig::check(path).map_err(|error| unusable(&error))?;
    print(&format!(
        "the configuration is good; sessions go to {}\n",
        config.target
    ))
}

/// `kedge-agent join`.
///
/// # Errors
///
/// Why the agent did not join.
pub fn join(path: Option<&Path>, arguments: JoinArguments) -> Result<(), Failure> {
    let config = AgentConfig::load(path).map_err(|error| unusable(&error))?;
    let token = token(&arguments)?;
    let absolute = |path: PathBuf| {
        std::path::absolute(&path)
            .map_err(|error| Failure::new(format!("{}: {error}", path.display())))
    };
    let state = match arguments.state_dir {
        Some(path) => absolute(path)?,
        None => config.state_dir.clone(),
    };
    // The agent that runs with this configuration has another folder, if one was named here.
    let running = match &config.control_socket {
        ControlSocket::Path(socket) if state == config.state_dir => Some(socket.clone()),
        _ => None,
    };
    let mut labels = Labels::default();
    for Label(key, value) in arguments.labels {
        if labels.insert(key.clone(), value).is_some() {
            return Err(Failure::new(format!("the label {key} was given twice")).code(2));
        }
    }
    let given = arguments.pin.is_some() || arguments.ca_file.is_some();
    let join = Join {
        hub: arguments.hub,
        token,
        name: arguments.name,
        labels,
        pin: arguments
            .pin
            .or(config.pin.filter(|_| !given).map(|pin| pin.0)),
        ca_file: match arguments.ca_file {
            Some(path) => Some(absolute(path)?),
            None => match config.ca_file.filter(|_| !given) {
                Some(path) => Some(path.find().map_err(|error| Failure::from_error(&error))?),
                None => None,
            },
        },
        state: StateDir::new(&state),
        host_keys: config.host_keys,
    };
    let joined = {
        let _owner = AsOwner::of(&state).map_err(|error| {
            let shown = state.display();
            Failure::new(format!("cannot act as the owner of {shown}: {error}"))
        })?;
        runtime()?.block_on(join::join(&join))
    };
    let joined = joined.map_err(|error| error.failure())?;
    print(&format!("{}\n", join::announcement(&joined)))?;
    if let Some(note) = running.and_then(|socket| tell(&socket)) {
        // It has joined, whether anybody reads this or not.
        let _ = writeln!(io::stderr(), "note: {note}");
    }
    Ok(())
}

/// Tells the agent that runs, and so starts the one whose socket the service manager holds. What the person should
/// know about it comes back; an agent that does not run needs no telling.
fn tell(socket: &Path) -> Option<String> {
    let asked = runtime().ok()?.block_on(control::call(
        socket,
        Method::POST,
        JOINED_PATH,
        defaults::TELL_TIME,
    ));
    let why = match asked {
        Err(error) if error.connect().is_some() => return None,
        Err(error) => report::chain(&error),
        Ok(answer) if answer.status().is_success() => {
            let status: AgentStatus = serde_json::from_slice(answer.body()).ok()?;
            match status.state {
                AgentState::Joining | AgentState::NotJoined => status.reason?,
                _ => return None,
            }
        }
        Ok(answer) => match serde_json::from_slice::<kedge_api::Status>(answer.body()) {
            Ok(status) => status.message,
            Err(_) => answer.status().to_string(),
        },
    };
    Some(format!(
        "the running agent did not begin: {}",
        Printable::new(&why)
    ))
}

/// `kedge-agent run`.
///
/// # Errors
///
/// Why the agent cannot start, or did not stop in order.
pub fn run(path: Option<&Path>) -> Result<(), Failure> {
    let config = AgentConfig::load(path).map_err(|error| unusable(&error))?;
    let log = logging::init(&config.log).map_err(|error| Failure::from_error(&error))?;
    runtime()?.block_on(async {
        let mut activated = Activated::from_environment().map_err(|e| Failure::from_error(&e))?;
        let given = activated.unix("control").map_err(|e| Failure::from_error(&e))?;
        activated.finish().map_err(|e| Failure::from_error(&e))?;
        let admin = match config.admin {
            Some(admin) => {
                let bound = listen::bind(admin.listen).map_err(|e| Failure::from_error(&e))?;
                tracing::info!(admin = ?bound.local_addr().ok(), "administration endpoint listening");
                Some(bound)
            }
            None => None,
        };
        let signals = Signals::new()
            .map_err(|error| Failure::new(format!("cannot listen to signals: {error}")))?;
        let shutdown = Shutdown::new();
        let notifier = Notifier::from_environment();
        let wanted = config.control_socket.clone();
        let around = Surroundings {
            admin,
            config: path.map(Path::to_owned),
            log: Some(log),
            notifier,
            shutdown: shutdown.clone(),
        };
        let mut agent = Agent::build(config, around).map_err(|error| {
            let failure = Failure::from_error(&error);
            error.hint().into_iter().fold(failure, Failure::hint)
        })?;
        let (control, _socket) = control_ends(given, &wanted);
        agent.answer_on(control);
        let panics = shutdown.clone();
        let obey = obey(signals, shutdown, agent.reloader());
        let report = tokio::select! {
            report = agent.run() => report,
            never = obey => match never {},
        };
        if panics.tasks().has_panicked() || panics.sessions().has_panicked() {
            return Err(Failure::new("a task panicked; the log has its message"));
        }
        match report.left_tasks {
            0 => Ok(()),
            left => Err(Failure::new(format!("{left} tasks did not end in time"))),
        }
    })
}

/// `kedge-agent man`.
///
/// # Errors
///
/// When standard output is closed.
pub fn man() -> Result<(), Failure> {
    let page = kedge_service::man::page(Cli::command())
        .map_err(|error| Failure::new(format!("cannot make the manual page: {error}")))?;
    print(&page)
}

/// `kedge-agent reference`.
///
/// # Errors
///
/// When standard output is closed.
pub fn reference() -> Result<(), Failure> {
    print(&reference::markdown(
        "agent.toml",
        "The configuration of `kedge-agent`, at `/etc/kedge/agent.toml` unless `--config` names \
         another. Every key may be left out. Unknown keys are refused; `kedge-agent check-config` \
         says where.\n\nMade by `kedge-agent reference`.",
        &schema_for!(AgentConfig),
    ))
}

/// The control sockets that the service manager gave, or one of our own. An agent without one does its work all the
/// same.
fn control_ends(
    given: Vec<UnixListener>,
    wanted: &ControlSocket,
) -> (Vec<UnixListener>, Option<SocketFile>) {
    if !given.is_empty() {
        tracing::info!("control socket taken from the service manager");
        return (given, None);
    }
    let ControlSocket::Path(path) = wanted else {
        return (Vec::new(), None);
    };
    match control::claim(path) {
        Ok((listener, file)) => {
            tracing::info!(path = %path.display(), "control socket listening");
            (vec![listener], Some(file))
        }
        // As when somebody tries an agent out by hand: there is no unit that makes the folder.
        Err(ClaimError::Folder { folder, .. }) => {
            let reason = format!("the folder {} cannot be used", folder.display());
            tracing::info!(path = %path.display(), reason, "no control socket");
            (Vec::new(), None)
        }
        Err(error) => {
            let reason = report::chain(&error);
            tracing::warn!(path = %path.display(), reason, "no control socket");
            (Vec::new(), None)
        }
    }
}

/// Does what signals ask for, for ever.
async fn obey(
    mut signals: Signals,
    shutdown: Shutdown,
    reloader: Reloader,
) -> std::convert::Infallible {
    loop {
        match signals.next().await {
            // It has told whoever can be told: the log and the service manager.
            Signal::Reload => drop(reloader.again()),
            _ => shutdown.begin(),
        }
    }
}

/// One thread moves all bytes: for an agent that is faster than several (measured).
fn runtime() -> Result<Runtime, Failure> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start the runtime: {error}")))
}

fn token(arguments: &JoinArguments) -> Result<JoinTokenSecret, Failure> {
    let text = match (&arguments.token, &arguments.token_file) {
        (Some(token), _) => token.0.clone(),
        (None, Some(path)) => {
            let read = match path == Path::new("-") {
                true => files::read_secret_from_stdin(),
                false => files::read_secret(path),
            };
            read.map_err(|error| {
                let failure = Failure::new(format!(
                    "cannot read the join token: {}",
                    report::chain(&error)
                ));
                error.hint().into_iter().fold(failure, Failure::hint)
            })?
        }
        (None, None) => return Err(Failure::new("no join token was given").code(2)),
    };
    text.expose_secret()
        .trim()
        .parse()
        .map_err(|error: kedge_api::tokens::TokenError| {
            Failure::from_error(&error).hint("kedge token create")
        })
}

fn unusable(error: &ConfigError) -> Failure {
    let failure = Failure::from_error(error);
    match error {
        ConfigError::Read(file) => file.hint().into_iter().fold(failure, Failure::hint),
        _ => failure,
    }
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(format!("cannot write to standard output: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_token_on_the_command_line_is_not_printed() {
        let cli = Cli::parse_from([
            "kedge-agent",
            "join",
            "https://hub",
            "--token",
            "kjt_secret",
        ]);
        assert!(!format!("{cli:?}").contains("secret"));
    }

    #[test]
    fn join_needs_exactly_one_token_and_at_most_one_trust() {
        let parse = |more: &[&str]| {
            let words = ["kedge-agent", "join", "https://hub"];
            Cli::try_parse_from(words.iter().chain(more)).map(|_| ())
        };
        assert!(parse(&[]).is_err());
        assert!(parse(&["--token", "a", "--token-file", "b"]).is_err());
        let pin = CertificatePin::of(b"").to_string();
        assert!(parse(&["--token", "a", "--pin", &pin]).is_ok());
        assert!(parse(&["--token", "a", "--pin", &pin, "--ca-file", "/x"]).is_err());
        assert!(parse(&["--token", "a", "--pin", "sha256:short"]).is_err());
        assert!(parse(&["--token", "a", "--label", "a=b", "--label", "c="]).is_ok());
        assert!(parse(&["--token", "a", "--label", "a"]).is_err());
        assert!(parse(&["--token", "a", "--name", "-oProxyCommand=x"]).is_err());
    }

    #[test]
    fn every_configuration_key_is_in_the_reference() {
        let keys = reference::keys(&schema_for!(AgentConfig));
        let names: Vec<_> = keys.iter().map(|key| key.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "ca-file",
                "control-socket",
                "host-keys",
                "hub",
                "pin",
                "state-dir",
                "target",
                "admin.listen",
                "join.ca-file",
                "join.hub",
                "join.labels",
                "join.name",
                "join.pin",
                "join.token-file",
                "limits.drain-seconds",
                "limits.max-sessions",
                "log.format",
                "log.level",
            ]
        );
        assert!(keys.iter().all(|key| !key.description.is_empty()));
    }
}
