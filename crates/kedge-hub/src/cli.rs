//! The command line of `kedge-hub`.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{CommandFactory as _, Parser, Subcommand};
use kedge_api::PersonToken;
use kedge_service::{
    Activated, ConfigError, Failure, LogHandle, Notifier, Shards, Shutdown, Signal, Signals,
    logging, reference,
};
use tracing::{error, info, warn};
use zeroize::Zeroizing;

use crate::{
    clock::Clock,
    config::{Config, Settings},
    daemon::{self, Daemon, Listeners, Reloader},
    defaults,
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
    let settings = Config::load(path).map_err(|error| {
        let failure = Failure::from_error(&error);
        if is_missing(&error) {
            return failure.hint("kedge-hub check-config --config FILE");
        }
        // It says where and what; the same command again would say the same.
        failure
    })?;
    // A self-signed certificate is made at start; checking makes nothing.
    if let Tls::Files { .. } = &settings.tls {
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
    Config::load(path).map_err(|error| {
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
    let signals =
        Signals::new().map_err(|error| Failure::new(format!("cannot take signals: {error}")))?;
    let listeners = listeners(&settings).map_err(|error| Failure::from_error(&error))?;
    let store = daemon::open_store(&settings).map_err(|error| Failure::from_error(&error))?;
    let vouched = shards.clone();
    let daemon = Box::pin(Daemon::build(
        settings,
        listeners,
        store,
        Clock::system(),
        shards,
        shutdown.clone(),
    ))
    .await
    .map_err(|error| Failure::from_error(&error))?;
    let pin = daemon.pin().unwrap_or_default();
    info!(https = %daemon.https(), admin = %daemon.admin(), pin, "hub listening");
    notifier.ready(&format!("listening on {}", daemon.https()));
    let hands = Hands {
        path,
        notifier: &notifier,
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

fn listeners(settings: &Settings) -> Result<Listeners, kedge_service::listen::ListenError> {
    let mut activated = Activated::from_environment()?;
    let mut https = activated.tcp("https")?;
    let mut admin = activated.tcp("admin")?;
    activated.finish()?;
    if https.is_empty() {
        https.push(kedge_service::listen::bind(settings.listen)?);
    }
    if admin.is_empty() {
        admin.push(kedge_service::listen::bind(settings.admin_listen)?);
    }
    Ok(Listeners { https, admin })
}

/// What signals move.
struct Hands<'a> {
    path: &'a Path,
    notifier: &'a Notifier,
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

    fn reload(&self) {
        self.notifier.reloading();
        match Config::load(self.path) {
            Ok(settings) => {
                self.log.set_level(&settings.log.level);
                self.reloader.reload(&settings);
            }
            Err(error) => {
                let cause = kedge_service::report::chain(&error);
                error!(
                    cause,
                    "the configuration cannot be reloaded; the old one stays"
                );
            }
        }
        self.notifier.ready("listening");
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
