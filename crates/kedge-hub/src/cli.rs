//! The command line of `kedge-hub`.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{CommandFactory as _, Parser, Subcommand};
use kedge_api::{AccessPolicy, JoinToken, PersonToken, Server, crd};
use kedge_service::{
    Activated, ConfigError, Failure, LogHandle, Notifier, Shards, Shutdown, Signal, Signals,
    listen::ListenError, logging, paths, reference,
};
use tokio::net::TcpListener;
use tracing::{error, info, warn};
use zeroize::Zeroizing;

use crate::{
    carry,
    clock::Clock,
    config::{Config, Settings},
    daemon::{Daemon, Listeners, Reloader},
    defaults,
    standby::{self, Turn},
    stores::Stores,
    tls::{Certificate, Tls},
};

/// The hub of kedge: agents dial it, people reach servers through it.
#[derive(Debug, Parser)]
#[command(
    name = "kedge-hub",
    version,
    about = "Keep the agents' tunnels, decide who may reach which server, and relay the sessions",
    after_long_help = "\
Examples:
  Make a token for a person, and see whether the configuration that has its hash is right:
    kedge-hub new-token
    kedge-hub check-config

  Run it in the foreground, with a configuration of another place:
    kedge-hub run --config ./hub.toml

  Move to another store, while the hub is stopped:
    kedge-hub export > hub.export
    kedge-hub import --config ./new.toml < hub.export

Files:
  /etc/kedge/hub.toml            configuration; every key may be left out
  /var/lib/kedge-hub/            the store, and the certificate that the hub made itself

Signals:
  SIGTERM, SIGINT                stop: not ready, no new connections, GOAWAY, drain, cut
  SIGHUP                         read people, issuers, administrators, log level and certificate
                                 again"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a configuration, and the certificate it names, without starting anything
    CheckConfig(ConfigArgument),
    /// Print the CustomResourceDefinition of a kind, for Kubernetes
    #[command(hide = true)]
    Crd {
        /// The kind, in plural
        #[arg(value_enum)]
        kind: Kind,
    },
    /// Write every object of the store, the hub's id and the issuers' keys to standard output; not the history. Stop the
    /// hub before
    Export(ConfigArgument),
    /// Read an export from standard input, check all of it, and write it into the configured store, which must be empty.
    /// An import that was cut goes on when it is run again
    Import(ConfigArgument),
    /// Print this program's man page
    #[command(hide = true)]
    Man,
    /// Make a static token for a person: the token goes to standard output, once; the line for hub.toml to standard
    /// error
    NewToken,
    /// Print the reference page of the configuration
    #[command(hide = true)]
    Reference,
    /// Run the hub until SIGTERM; SIGHUP reads people, issuers, administrators, log level and certificate again
    Run(ConfigArgument),
}

/// A kind, as its path in the API calls it.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
#[value(rename_all = "lower")]
enum Kind {
    AccessPolicies,
    JoinTokens,
    Servers,
}

#[derive(Debug, clap::Args)]
struct ConfigArgument {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = defaults::CONFIG_FILE)]
    config: PathBuf,
}

/// Parses the arguments, does what they say, and reports.
#[must_use]
pub fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::CheckConfig(argument) => check_config(&argument.config),
        Command::Crd { kind } => definition(kind),
        Command::Export(argument) => export(&argument.config),
        Command::Import(argument) => import(&argument.config),
        Command::Man => man(),
        Command::NewToken => new_token(),
        Command::Reference => print(&reference_page()),
        Command::Run(argument) => run(&argument.config),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.exit(),
    }
}

/// The reference page of `hub.toml`, from the types that parse it.
#[must_use]
pub fn reference_page() -> String {
    let introduction = "The hub's configuration, `/etc/kedge/hub.toml` unless `--config` names another file. Every \
                        key is optional. An unknown key is refused with file, line and the nearest name.";
    reference::markdown("hub.toml", introduction, &schemars::schema_for!(Config))
}

fn check_config(path: &Path) -> Result<(), Failure> {
    let settings = Config::check(path).map_err(|error| {
        let failure = Failure::from_error(&error);
        if is_missing(&error) {
            return failure.hint("kedge-hub check-config --config FILE");
        }
        // It says where and what; the same command again would say the same.
        failure
    })?;
    // A self-signed certificate is made at start; checking makes nothing, and reads no credential that is not here.
    if let Tls::Files { certificate, key } = &settings.tls
        && !paths::is_elsewhere(certificate)
        && !paths::is_elsewhere(key)
    {
        Certificate::load(&settings.tls).map_err(|error| Failure::from_error(&error))?;
    }
    print(&format!("{}: ok\n", path.display()))
}

fn new_token() -> Result<(), Failure> {
    let random = kedge_api::random::bytes::<32>().map_err(|error| Failure::from_error(&error))?;
    let token = PersonToken::from_bytes(&Zeroizing::new(random));
    let mut line = Zeroizing::new(token.reveal().to_owned());
    line.push('\n');
    print(&line)?;
    let hash = format!("token-sha256 = \"{}\"\n", token.hash());
    io::stderr()
        .write_all(hash.as_bytes())
        .map_err(|error| Failure::from_error(&error))
}

fn export(path: &Path) -> Result<(), Failure> {
    let settings = or_hint(path, Config::check(path))?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    // It needs no certificate, and a person's shell has no credentials.
    alone(carry::export(&settings, &mut out, &mut io::stderr()))
}

fn import(path: &Path) -> Result<(), Failure> {
    let settings = or_hint(path, Config::check(path))?;
    let input = io::BufReader::new(io::stdin());
    alone(carry::import(&settings, input, &mut io::stderr()))
}

/// Runs something that is no hub to its end, in a runtime of its own.
fn alone(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start the runtime: {error}")))?;
    runtime.block_on(Box::pin(work))
}

fn definition(kind: Kind) -> Result<(), Failure> {
    let definition = match kind {
        Kind::AccessPolicies => crd::definition::<AccessPolicy>(),
        Kind::JoinTokens => crd::definition::<JoinToken>(),
        Kind::Servers => crd::definition::<Server>(),
    };
    let yaml = serde_norway::to_string(&definition).map_err(|error| Failure::from_error(&error))?;
    print(&format!(
        "# Written by `kedge-hub crd`, from the types of kedge-api; `cargo xtask generate` writes it anew.\n{yaml}"
    ))
}

fn man() -> Result<(), Failure> {
    let page =
        kedge_service::man::page(Cli::command()).map_err(|error| Failure::from_error(&error))?;
    print(&page)
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(format!("cannot write to standard output: {error}")))
}

fn load(path: &Path) -> Result<Settings, Failure> {
    or_hint(path, Config::load(path))
}

fn or_hint(path: &Path, settings: Result<Settings, ConfigError>) -> Result<Settings, Failure> {
    settings.map_err(|error| {
        let failure = Failure::from_error(&error);
        if is_missing(&error) {
            return failure.hint("kedge-hub run --config FILE");
        }
        failure.hint(format!(
            "kedge-hub check-config --config {}",
            path.display()
        ))
    })
}

/// Whether there is no configuration to read, so that looking at it again says nothing new.
fn is_missing(error: &ConfigError) -> bool {
    matches!(error, ConfigError::Read(_))
}

fn run(path: &Path) -> Result<(), Failure> {
    let settings = load(path)?;
    let log = logging::init(&settings.log).map_err(|error| Failure::from_error(&error))?;
    // The second of two installations would fail and change nothing: there is one provider in this build.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    open_files(&settings);
    let unable = |error: io::Error| Failure::new(format!("cannot start the runtime: {error}"));
    // This thread accepts, keeps the books and watches; the shards carry what was accepted.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(unable)?;
    let shutdown = Shutdown::new();
    let (shards, threads) =
        Shards::start(settings.threads, shutdown.tasks(), defaults::CUT).map_err(unable)?;
    let result = runtime.block_on(Box::pin(serve(path, settings, log, shards, shutdown)));
    threads.end();
    runtime.shutdown_timeout(defaults::CUT);
    result
}

/// Sees to it that there are descriptors for all connections that are allowed, and says when there are not.
fn open_files(settings: &Settings) {
    let needed = files(settings);
    match kedge_service::descriptors::raise() {
        Ok(Some(allowed)) if allowed < needed => warn!(
            allowed,
            needed,
            "fewer files may be open than limits.connections needs; raise LimitNOFILE= of the unit, or lower that"
        ),
        Ok(_) => {}
        Err(error) => warn!(%error, "the limit of open files cannot be raised"),
    }
}

/// Files that are open when all connections that are allowed are there.
fn files(settings: &Settings) -> u64 {
    u64::from(settings.limits.connections)
        .saturating_add(defaults::OVERFLOW_CONNECTIONS as u64)
        .saturating_add(settings.threads.get() as u64 * defaults::THREAD_FILES)
        .saturating_add(defaults::OTHER_FILES)
}

async fn serve(
    path: &Path,
    settings: Settings,
    log: LogHandle,
    shards: Shards,
    shutdown: Shutdown,
) -> Result<(), Failure> {
    let notifier = Notifier::from_environment();
    let mut signals =
        Signals::new().map_err(|error| Failure::new(format!("cannot take signals: {error}")))?;
    let given = Given::take().map_err(|error| Failure::from_error(&error))?;
    let admin =
        or_bind(given.admin, settings.admin_listen).map_err(|error| Failure::from_error(&error))?;
    let stores = Stores::open(&settings)
        .await
        .map_err(|error| Failure::from_error(&error))?;
    let held = match &stores.shared {
        None => None,
        Some(shared) => match standby::wait(&shared.lease, &admin, &notifier, &mut signals).await {
            Turn::Ours(held) => Some(held),
            Turn::Stopped => return Ok(()),
        },
    };
    let vouched = shards.clone();
    let build = async {
        carry::whole(&*stores.store).await?;
        // Now, and not before: whoever connects is served.
        let https =
            or_bind(given.https, settings.listen).map_err(|error| Failure::from_error(&error))?;
        let listeners = Listeners { https, admin };
        let clock = Clock::system();
        Daemon::build(settings, listeners, stores, clock, shards, shutdown.clone())
            .await
            .map_err(|error| Failure::from_error(&error))
    };
    // A hub that stood by has said READY already, so that the service manager listens for its heartbeat.
    let daemon = tokio::select! {
        biased;
        daemon = Box::pin(build) => daemon?,
        () = notifier.feed_watchdog(std::future::pending()) => return Ok(()),
    };
    if let Some(held) = held {
        let keeping = standby::keep(daemon.app().clone(), held);
        shutdown.tasks().spawn("lease", keeping);
    }
    let pin = daemon.pin().unwrap_or_default();
    info!(https = %daemon.https(), admin = %daemon.admin(), pin, "hub listening");
    let listening = format!("listening on {}", daemon.https());
    notifier.ready(&listening);
    let hands = Hands {
        path,
        notifier: &notifier,
        listening,
        log,
        reloader: daemon.reloader(),
        shutdown: shutdown.clone(),
    };
    // Connections are on the shards: a hub of which one is stuck is as good as stuck.
    let turn = async || vouched.turn(shutdown.tasks()).await;
    let watchdog =
        notifier.feed_watchdog_after(turn, shutdown.reached(kedge_service::Stage::Report));
    let report = tokio::select! {
        (report, ()) = async { tokio::join!(daemon.run(), watchdog) } => report,
        never = hands.obey(signals) => match never {},
    };
    if report.left_tasks > 0 {
        return Err(Failure::new(format!(
            "{} tasks did not end in time",
            report.left_tasks
        )));
    }
    Ok(())
}

/// The sockets that the service manager gave.
struct Given {
    https: Vec<TcpListener>,
    admin: Vec<TcpListener>,
}

impl Given {
    fn take() -> Result<Self, ListenError> {
        let mut activated = Activated::from_environment()?;
        let https = activated.tcp("https")?;
        let admin = activated.tcp("admin")?;
        activated.finish()?;
        Ok(Self { https, admin })
    }
}

/// Those sockets, or one of our own.
fn or_bind(given: Vec<TcpListener>, address: SocketAddr) -> Result<Vec<TcpListener>, ListenError> {
    if given.is_empty() {
        return Ok(vec![kedge_service::listen::bind(address)?]);
    }
    Ok(given)
}

/// What signals move.
struct Hands<'a> {
    path: &'a Path,
    notifier: &'a Notifier,
    listening: String,
    log: LogHandle,
    reloader: Reloader,
    shutdown: Shutdown,
}

impl Hands<'_> {
    async fn obey(&self, mut signals: Signals) -> std::convert::Infallible {
        loop {
            match signals.next().await {
                Signal::Reload => self.reload(),
                signal => {
                    info!(?signal, "stopping");
                    self.notifier.stopping("draining sessions");
                    self.shutdown.begin();
                }
            }
        }
    }

    /// The service manager hears that it is over whatever comes of it, and `systemctl status` says what did.
    fn reload(&self) {
        self.notifier.reloading();
        let status = match Config::load(self.path) {
            Ok(settings) => {
                self.log.set_level(&settings.log.level);
                self.reloader.reload(&settings);
                self.listening.clone()
            }
            Err(error) => {
                let cause = kedge_service::report::chain(&error);
                error!(
                    cause,
                    "the configuration cannot be reloaded; the old one stays"
                );
                format!("{}; the old configuration stays: {cause}", self.listening)
            }
        };
        self.notifier.ready(&status);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn each_thread_has_files_of_its_own() {
        let settings = |threads: u16| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("hub.toml");
            std::fs::write(&path, format!("threads = {threads}\n")).unwrap();
            load(&path).unwrap()
        };
        let open = || std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
        let shutdown = Shutdown::new();
        let before = open();
        let count = settings(64).threads;
        let (_shards, threads) = Shards::start(count, shutdown.tasks(), defaults::CUT).unwrap();
        // Other tests of this process open and close files too; not by the hundred.
        assert!(open() - before >= 128, "{} files", open() - before);
        assert!(open() - before <= 64 * defaults::THREAD_FILES + 64);
        threads.end();
        let more = files(&settings(1024)) - files(&settings(1));
        assert_eq!(more, 1023 * defaults::THREAD_FILES);
    }

    #[test]
    fn help_has_examples_and_hides_what_is_for_packagers() {
        let help = Cli::command().render_long_help().to_string();
        for expected in ["Examples:", "new-token", "hub.toml", "SIGHUP"] {
            assert!(help.contains(expected), "{expected} in\n{help}");
        }
        assert!(!help.contains("reference"), "{help}");
    }

    #[test]
    fn no_hint_is_the_command_that_was_just_run() {
        let shown = |failed: Failure| {
            let mut out = Vec::new();
            failed.write(&mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing.toml");
        let checked = shown(check_config(&missing).unwrap_err());
        assert!(
            checked.ends_with("hint: kedge-hub check-config --config FILE\n"),
            "{checked}"
        );
        let ran = shown(load(&missing).unwrap_err());
        assert!(
            ran.ends_with("hint: kedge-hub run --config FILE\n"),
            "{ran}"
        );

        let wrong = folder.path().join("hub.toml");
        std::fs::write(&wrong, "lisen = \"127.0.0.1:0\"\n").unwrap();
        let checked = shown(check_config(&wrong).unwrap_err());
        assert!(!checked.contains("hint: "), "{checked}");
        let ran = shown(load(&wrong).unwrap_err());
        let look = format!(
            "hint: kedge-hub check-config --config {}\n",
            wrong.display()
        );
        assert!(ran.ends_with(&look), "{ran}");
    }

    #[test]
    fn every_key_of_the_configuration_is_explained() {
        let page = reference_page();
        for key in reference::keys(&schemars::schema_for!(Config)) {
            assert!(
                !key.description.is_empty(),
                "{} has no description",
                key.name
            );
        }
        assert!(page.contains("`token-sha256`"), "{page}");
    }
}
