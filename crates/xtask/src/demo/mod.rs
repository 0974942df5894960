//! `cargo xtask demo`: the whole path on one machine, every step in plain words.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use kedge_testkit::agent::{Agent, AgentOptions, tcp};
use kedge_testkit::demo_issuer::DemoIssuer;
use kedge_testkit::hub::{Hub, HubOptions, TrustedIssuer};
use kedge_testkit::person::Person;
use kedge_testkit::run::{self, Ran};
use kedge_testkit::sshd::{Sshd, SshdOptions};
use kedge_testkit::{defaults, machine, stack};
use serde_json::{Value, json};

use crate::builder::Workspace;
use crate::{interrupt, packages};

mod kept;
mod shell;

use kept::Kept;

/// The demo's server.
const SERVER: &str = "web01";

/// Somebody whom the provider knows and no policy lets in.
const GUEST: &str = "guest";

/// What the demo is asked for.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Leave everything running, and write a file to source.
    #[arg(long, conflicts_with = "stop")]
    keep: bool,
    /// End what an earlier --keep left running.
    #[arg(long)]
    stop: bool,
    /// Keep the demo's files here instead of in target/demo.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// Use the programs in this folder instead of building them.
    #[arg(long, value_name = "FOLDER")]
    bins: Option<PathBuf>,
}

/// Runs it.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let dir = match &arguments.dir {
        Some(dir) => std::path::absolute(dir)?,
        None => workspace.target.join("demo"),
    };
    if arguments.stop {
        return stop(&dir);
    }
    if Kept::is_running(&dir)? {
        bail!(
            "a demo runs already in {}; end it with: cargo xtask demo --stop",
            dir.display()
        );
    }
    packages::ensure()?;
    let bins = match &arguments.bins {
        Some(bins) => std::path::absolute(bins)?,
        None => {
            say(
                "Building kedge, kedge-hub and kedge-agent. The first time this takes some minutes.",
            );
            workspace.programs()?
        }
    };
    // The folder is the demo's own; whatever an earlier one left in it is of no use.
    empty(&dir)?;
    let outcome = play(&dir, &bins, arguments.keep);
    if let Err(error) = outcome {
        let logs = dir.join("logs");
        if interrupt::happened() {
            empty(&dir)?;
            say("Interrupted. Everything that was started has been ended, and its files are gone.");
        } else {
            say(&format!(
                "It failed, and everything that was started has been ended. Logs: {}",
                logs.display()
            ));
        }
        return Err(error);
    }
    Ok(ExitCode::SUCCESS)
}

fn play(dir: &Path, bins: &Path, keep: bool) -> Result<()> {
    let parts = Parts::start(dir, bins)?;
    parts.show(bins)?;
    if keep {
        shell::write(dir, bins, &parts.you, &parts.sshd, &parts.login)?;
        let (issuer, sshd) = (parts.issuer.leave(), parts.sshd.leave());
        let (agent, hub) = (parts.agent.leave()?, parts.hub.leave()?);
        Kept::write(dir, &[agent, hub, issuer, sshd])?;
        shell::tell(dir, &parts.me, &parts.login);
        return Ok(());
    }
    drop(parts);
    empty(dir)?;
    say("\nEverything that was started has been ended, and its files are gone.");
    say("To keep it running and try it by hand: cargo xtask demo --keep");
    Ok(())
}

fn stop(dir: &Path) -> Result<ExitCode> {
    if Kept::end(dir)? {
        say("The demo has been ended, and its files are gone.");
    } else {
        say("No demo was running.");
    }
    empty(dir)?;
    Ok(ExitCode::SUCCESS)
}

/// What runs during the demo. Dropped in this order.
struct Parts {
    /// The unix user who runs the demo, and who logs in.
    me: String,
    login: shell::Login,
    you: Person,
    agent: Agent,
    hub: Hub,
    issuer: DemoIssuer,
    sshd: Sshd,
}

impl Parts {
    fn start(dir: &Path, bins: &Path) -> Result<Self> {
        let me = machine::me()?;
        let logs = dir.join("logs");
        fs::create_dir_all(&logs)?;

        let options = SshdOptions {
            dir: &dir.join("sshd"),
            logs: &logs,
            name: "sshd",
            extra: "",
        };
        let sshd = Sshd::start(&options)?;
        step(&format!(
            "A scratch sshd listens on {}, with host keys of its own.",
            sshd.address()
        ));

        let people = [
            json!({ "name": me, "claims": { "groups": ["demo"], "roles": ["kedge-admin"] } }),
            json!({ "name": GUEST, "claims": { "groups": ["guests"] } }),
        ];
        let issuer = DemoIssuer::start(bins, &logs, &people)?;
        step(&format!(
            "An OpenID provider listens on {}. It stands for the one your company has, and knows {me} and {GUEST}.",
            issuer.url()
        ));

        let mut options = HubOptions::new(&dir.join("hub"), &logs, bins)?;
        options.name = "demo".to_owned();
        options.people = Vec::new();
        options.admins = Vec::new();
        options.admin_claims = vec!["roles = [\"kedge-admin\"]".to_owned()];
        options.issuers = vec![TrustedIssuer::new(issuer.url()).with("name = \"demo\"")];
        let hub = Hub::start(options)?;
        step(&format!(
            "A hub listens on {}. It trusts that provider. It made a certificate, and everybody pins it:",
            hub.url()
        ));
        say(&format!(
            "   {}",
            hub.pin().context("the hub shows its pin")?
        ));

        let you = Person::new(&dir.join("home"), bins, Some(sshd.user_key()))?;
        step(&format!(
            "You log in as {me}. $BROWSER is a browser without a window here, which types your name into the provider's form:"
        ));
        let ran = run::run(you.log_in_command(&hub, &me, &[])?)?.success()?;
        let login = shell::Login::of(&hub, &you, &me)?;
        say(&format!("   $ {}", login.words()));
        indent(&ran.err());
        indent(&ran.out());
        you.install_ssh_config()?;
        shown("kedge whoami", you.kedge(&["whoami"])?)?;
        say(
            "   You administer the hub, because the provider says that you have the role kedge-admin.",
        );

        let token = you.join_token(&[])?;
        step("The hub gave out a join token, good for one agent and one hour.");

        let mut agent = Agent::new(AgentOptions {
            dir: dir.join("agent"),
            logs,
            bins: bins.to_owned(),
            name: SERVER.to_owned(),
            hub: hub.url(),
            pin: hub.pin().map(str::to_owned),
            ca_file: None,
            target: tcp(sshd.address()),
            host_keys: sshd.host_keys(),
            labels: vec!["env=demo".to_owned()],
            extra: String::new(),
            environment: Vec::new(),
        })?;
        agent.join(&token)?.success()?;
        agent.start()?;
        stack::phase(&you, SERVER, "Online", defaults::SOON)?;
        step(&format!(
            "An agent joined as {SERVER} and dialled out to the hub. It opened no port."
        ));

        you.apply(&policy(&me))?;
        step(&format!(
            "A policy lets the group demo log in as {me}. Without one, nobody gets in."
        ));
        interrupt::check()?;
        Ok(Self {
            me,
            login,
            you,
            agent,
            hub,
            issuer,
            sshd,
        })
    }

    /// The part a person came for.
    fn show(&self, bins: &Path) -> Result<()> {
        let you = &self.you;
        step("What the hub knows:");
        shown("kedge get servers", you.kedge(&["get", "servers"])?)?;

        step("An SSH session through the hub, with the system's own ssh:");
        let words = "echo hello from $(hostname), through kedge; exit 3";
        let ran = you.kedge_ssh(&[SERVER, "--", words])?;
        say(&format!("   $ kedge ssh {SERVER} -- '{words}'"));
        indent(&ran.out());
        let ran = ran.exits(3)?;
        ensure!(
            ran.out().contains("through kedge"),
            "the session said something else: {ran}"
        );
        say("   The exit status is the remote command's: 3.");

        let host = format!("{SERVER}.{}", self.hub.suffix());
        step("The same without any wrapper, by the configuration that `kedge ssh-config` prints:");
        shown(
            &format!("ssh {host} uptime"),
            run::run(you.openssh("ssh", &[host.as_str(), "uptime"]))?,
        )?;

        let (here, there) = (you.home().join("sent"), you.home().join("received"));
        let content: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
        fs::write(&here, &content)?;
        let (here, there) = (here.display().to_string(), there.display().to_string());
        let copied = run::run(you.openssh("scp", &["-q", &here, &format!("{host}:{there}")]))?;
        shown(&format!("scp FILE {host}:FILE"), copied)?;
        let mut rsync = you.command("rsync");
        let shell = format!("ssh -F {}", you.ssh_config().display());
        rsync.args([
            "-a",
            "--checksum",
            "-e",
            &shell,
            &format!("{host}:{there}"),
            &format!("{here}.back"),
        ]);
        shown(&format!("rsync -a {host}:FILE FILE"), run::run(rsync)?)?;
        ensure!(
            fs::read(format!("{here}.back"))? == content,
            "the file came back changed"
        );
        say("   4 MB went there with scp and came back with rsync, byte for byte the same.");

        step("Why you were let in, and why others are not:");
        let target = format!("{}@{SERVER}", self.me);
        let ran = you.kedge(&["explain", &self.me, "ssh", &target])?;
        shown(&format!("kedge explain {} ssh {target}", self.me), ran)?;
        let words = ["explain", GUEST, "ssh", &target, "--groups", "guests"];
        let ran = you.kedge(&words)?;
        say(&format!("   $ kedge {}", words.join(" ")));
        indent(&ran.out());
        ran.exits(5)?;

        step(
            "What the hub wrote down about it is in its log: who, as whom, where, why allowed, bytes, result.",
        );
        ensure!(
            bins.join("kedge").is_file(),
            "the programs vanished from {}",
            bins.display()
        );
        interrupt::check()
    }
}

/// The group demo may log in everywhere as the user who runs the demo.
fn policy(login: &str) -> Value {
    json!({
        "apiVersion": "kedge.dev/v1alpha1",
        "kind": "AccessPolicy",
        "metadata": { "name": "demo" },
        "spec": {
            "subjects": { "groups": ["demo"] },
            "servers": { "names": ["*"] },
            "logins": [login],
            "permissions": ["ssh"],
        },
    })
}

fn shown(command: &str, ran: Ran) -> Result<()> {
    say(&format!("   $ {command}"));
    let ran = ran.success()?;
    indent(&ran.out());
    Ok(())
}

fn indent(text: &str) {
    for line in text.lines() {
        say(&format!("   {line}"));
    }
}

fn step(text: &str) {
    say(&format!("\n* {text}"));
}

fn say(text: &str) {
    println!("{text}");
}

fn empty(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("remove {}", dir.display())),
    }
}
