//! What every bench is made of: real daemons on loopback in a scratch folder, and the programs that load them.

use std::cell::Cell;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kedge_testkit::agent::{Agent, AgentOptions, tcp};
use kedge_testkit::hub::{Hub, HubOptions};
use kedge_testkit::person::Person;
use kedge_testkit::run::{self, Live};
use kedge_testkit::{defaults as limits, stack};
use serde_json::Value;
use tempfile::TempDir;

use super::leftovers::{self, PREFIX};
use crate::defaults;
use crate::owner::Owner;

/// The name of the server behind a [`Route`].
pub(crate) const SERVER: &str = "web01";

/// The person who measures.
pub(crate) const PERSON: &str = "alice";

/// A scratch folder, the programs to measure and the program that loads them.
#[derive(Debug)]
pub(crate) struct Stage {
    bins: PathBuf,
    load: PathBuf,
    scratch: TempDir,
    used: Cell<usize>,
}

impl Stage {
    /// Over the programs in a folder.
    ///
    /// # Errors
    ///
    /// When one is not there.
    pub(crate) fn new(bins: &Path, load: &Path) -> Result<Self> {
        let programs = ["kedge", "kedge-hub", "kedge-agent"].map(|name| bins.join(name));
        for program in programs.iter().chain([&load.to_owned()]) {
            ensure!(program.is_file(), "there is no {}", program.display());
        }
        leftovers::remove(&std::env::temp_dir());
        let scratch = tempfile::Builder::new()
            .prefix(&Owner::me().new_name(PREFIX))
            .rand_bytes(0)
            .tempdir()
            .context("make a scratch folder")?;
        Ok(Self {
            bins: bins.to_owned(),
            load: load.to_owned(),
            scratch,
            used: Cell::new(0),
        })
    }

    /// Where `kedge`, `kedge-hub` and `kedge-agent` are.
    pub(crate) fn bins(&self) -> &Path {
        &self.bins
    }

    /// Where the daemons' logs are.
    pub(crate) fn logs(&self) -> PathBuf {
        self.scratch.path().join("logs")
    }

    /// A new empty folder.
    pub(crate) fn subdir(&self, name: &str) -> Result<PathBuf> {
        let dir = self.scratch.path().join(self.unique(name));
        fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
        Ok(dir)
    }

    /// A name that was not used yet.
    pub(crate) fn unique(&self, name: &str) -> String {
        let used = self.used.get();
        self.used.set(used.saturating_add(1));
        format!("{name}-{used}")
    }

    /// A hub with TLS, as the change wants it.
    pub(crate) fn hub(&self, change: impl FnOnce(&mut HubOptions)) -> Result<Hub> {
        let mut options = HubOptions::new(&self.subdir("hub")?, &self.logs(), &self.bins)?;
        options.name = self.unique("bench");
        change(&mut options);
        Hub::start(options)
    }

    /// Somebody who is logged in to a hub.
    pub(crate) fn person(&self, hub: &Hub, subject: &str, key: Option<PathBuf>) -> Result<Person> {
        let person = Person::new(&self.subdir(subject)?, &self.bins, key)?;
        person.log_in(hub, &hub.url(), subject)?;
        Ok(person)
    }

    /// What an agent of a hub is made from.
    pub(crate) fn agent_options(
        &self,
        hub: &Hub,
        name: &str,
        target: SocketAddr,
        host_keys: &str,
    ) -> Result<AgentOptions> {
        Ok(AgentOptions {
            dir: self.subdir(&format!("agent-{name}"))?,
            logs: self.logs(),
            bins: self.bins.clone(),
            name: name.to_owned(),
            hub: hub.url(),
            pin: hub.pin().map(str::to_owned),
            ca_file: None,
            target: tcp(target),
            host_keys: host_keys.to_owned(),
            labels: Vec::new(),
            extra: String::new(),
            environment: Vec::new(),
        })
    }

    /// The glob of a host key for servers behind which there is no sshd.
    pub(crate) fn host_keys(&self) -> Result<String> {
        let key = self.scratch.path().join("host_key");
        if !key.exists() {
            let mut command = Command::new("ssh-keygen");
            command.args(["-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f"]);
            run::run({
                command.arg(&key);
                command
            })?
            .success()?;
        }
        Ok(key.with_extension("pub").display().to_string())
    }

    /// The whole path to a target that is no sshd: hub, connected agent, and a person who may go there.
    pub(crate) fn route(&self, target: SocketAddr) -> Result<Route> {
        self.route_by(target, &self.host_keys()?, None, |_| {})
    }

    /// The whole path, with these host keys, this key of the person, and the hub as the change wants it.
    pub(crate) fn route_by(
        &self,
        target: SocketAddr,
        host_keys: &str,
        key: Option<PathBuf>,
        change: impl FnOnce(&mut HubOptions),
    ) -> Result<Route> {
        let hub = self.hub(change)?;
        self.route_of(hub, target, host_keys, key, |_| {})
    }

    /// The whole path over a hub that runs already, with the agent as the change wants it.
    pub(crate) fn route_of(
        &self,
        hub: Hub,
        target: SocketAddr,
        host_keys: &str,
        key: Option<PathBuf>,
        change: impl FnOnce(&mut AgentOptions),
    ) -> Result<Route> {
        let admin = self.person(&hub, "admin", None)?;
        let mut options = self.agent_options(&hub, SERVER, target, host_keys)?;
        change(&mut options);
        let mut agent = Agent::new(options)?;
        agent.join(&admin.join_token(&[])?)?.success()?;
        agent.start()?;
        admin.apply(&Person::policy("bench", &[PERSON])?)?;
        let person = self.person(&hub, PERSON, key)?;
        stack::phase(&admin, SERVER, "Online", limits::SOON)?;
        let token = self.token_file(&hub, PERSON)?;
        Ok(Route {
            person,
            admin,
            agent,
            token,
            hub,
        })
    }

    /// A file with the token of somebody whom a hub knows.
    pub(crate) fn token_file(&self, hub: &Hub, subject: &str) -> Result<PathBuf> {
        self.secret(hub.token(subject)?)
    }

    /// A file that only its owner reads.
    pub(crate) fn secret(&self, secret: &str) -> Result<PathBuf> {
        let file = self.subdir("secret")?.join("secret");
        fs::write(&file, secret)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        Ok(file)
    }

    /// A command of the loading program, such as `client --tcp ADDR open --count 100`.
    pub(crate) fn load_command<S: AsRef<std::ffi::OsStr>>(&self, words: &[S]) -> Command {
        let mut command = Command::new(&self.load);
        // By this folder a later run knows whose it was.
        command.args(words).current_dir(self.scratch.path());
        command
    }

    /// Runs the loading program to its end and answers the last line it printed.
    ///
    /// # Errors
    ///
    /// When it fails.
    pub(crate) fn load<S: AsRef<std::ffi::OsStr>>(&self, words: &[S]) -> Result<Value> {
        answer(self.load_command(words), defaults::BENCH_LOAD)
    }

    /// Starts a server of the loading program: `target`, `relay`, `delay`.
    ///
    /// # Errors
    ///
    /// When it does not say where it listens in time.
    pub(crate) fn serve<S: AsRef<std::ffi::OsStr>>(&self, words: &[S]) -> Result<Server> {
        Server::start(self.load_command(words))
    }
}

/// Runs a command of the loading program and answers the last line it printed.
///
/// # Errors
///
/// When it fails, or says nothing that is JSON.
pub(crate) fn answer(command: Command, limit: Duration) -> Result<Value> {
    let ran = run::feed(command, Vec::new(), limit)?.success()?;
    let out = ran.out();
    let last = out.lines().last();
    let last = last.with_context(|| format!("it answered nothing: {ran}"))?;
    serde_json::from_str(last).with_context(|| format!("not JSON: {ran}"))
}

/// A number of an answer.
///
/// # Errors
///
/// When there is none of that name.
pub(crate) fn number(answer: &Value, name: &str) -> Result<f64> {
    let found = answer.get(name).and_then(Value::as_f64);
    found.with_context(|| format!("no number `{name}` in {answer}"))
}

/// A server of the loading program. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Server {
    live: Live,
    address: SocketAddr,
}

impl Server {
    /// Starts a command whose first line says where it listens.
    ///
    /// # Errors
    ///
    /// When it does not say so in time.
    pub(crate) fn start(command: Command) -> Result<Self> {
        let mut live = Live::start(command)?;
        live.expect("\n", limits::START)?;
        let out = String::from_utf8_lossy(&live.out()).into_owned();
        let first = out.lines().next().unwrap_or_default();
        let said: Value =
            serde_json::from_str(first).with_context(|| format!("not JSON: `{first}`"))?;
        let address = said.get("address").and_then(Value::as_str);
        let address = address.with_context(|| format!("no address in `{first}`"))?;
        let address = address
            .parse()
            .with_context(|| format!("read the address `{address}`"))?;
        Ok(Self { live, address })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.live.pid()
    }
}

/// A path through kedge to one target. Dropped in this order.
#[derive(Debug)]
pub(crate) struct Route {
    /// May go to [`SERVER`]; has an ssh configuration.
    pub(crate) person: Person,
    /// Administers the hub.
    pub(crate) admin: Person,
    /// In front of the target.
    pub(crate) agent: Agent,
    /// A file with the person's token.
    pub(crate) token: PathBuf,
    /// The hub.
    pub(crate) hub: Hub,
}

impl Route {
    /// The words by which `kedge-load client` goes this way.
    ///
    /// # Errors
    ///
    /// When the hub has no pin.
    pub(crate) fn words(&self) -> Result<Vec<String>> {
        self.words_at(self.hub.address())
    }

    /// The same, with the hub reached through something at `address`.
    ///
    /// # Errors
    ///
    /// When the hub has no pin.
    pub(crate) fn words_at(&self, address: SocketAddr) -> Result<Vec<String>> {
        self.words_as(&self.token, address)
    }

    /// The same, by another person's token.
    ///
    /// # Errors
    ///
    /// When the hub has no pin.
    pub(crate) fn words_as(&self, token: &Path, address: SocketAddr) -> Result<Vec<String>> {
        let pin = self.hub.pin().context("the hub has a pin")?;
        Ok([
            "client",
            "--hub",
            &self.hub.url_at(address),
            "--pin",
            pin,
            "--token-file",
            &token.display().to_string(),
            "--server",
            SERVER,
        ]
        .map(str::to_owned)
        .to_vec())
    }

    /// Lets these people go to every server.
    ///
    /// # Errors
    ///
    /// When the hub refuses.
    pub(crate) fn admit(&self, people: &[String]) -> Result<()> {
        let people: Vec<&str> = people.iter().map(String::as_str).collect();
        self.admin.apply(&Person::policy("crew", &people)?)
    }

    /// The processor time of hub and agent so far.
    ///
    /// # Errors
    ///
    /// When one is gone.
    pub(crate) fn cpu(&mut self) -> Result<(Duration, Duration)> {
        Ok((
            cpu(self.hub.daemon()?.pid())?,
            cpu(self.agent.daemon()?.pid())?,
        ))
    }
}

/// Names of some more people: one person alone may only ask for so many sessions at once.
pub(crate) fn crew(people: usize) -> Vec<String> {
    (0..people).map(|number| format!("crew{number}")).collect()
}

/// Makes them known to a hub.
pub(crate) fn enlist(options: &mut HubOptions, people: &[String]) {
    let model = options.people.first().cloned();
    options.people.extend(people.iter().filter_map(|name| {
        let mut person = model.clone()?;
        person.subject.clone_from(name);
        Some(person)
    }));
}

/// The words by which `kedge-load client` goes to a TCP address.
pub(crate) fn tcp_words(address: SocketAddr) -> Vec<String> {
    ["client", "--tcp", &address.to_string()]
        .map(str::to_owned)
        .to_vec()
}

/// The processor time a process has used, in user and kernel mode, threads that ended included.
///
/// # Errors
///
/// When it is gone.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("look at process {pid}"))?;
    let ticks = cpu_ticks(&stat).with_context(|| format!("no times in `{stat}`"))?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "a process's ticks are far below 2^52"
    )]
    let seconds = ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
    Ok(Duration::from_secs_f64(seconds))
}

/// proc(5): utime and stime are fields 14 and 15; what follows the command's name begins with field 3.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

/// What a process has in memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Memory {
    /// Pages that are its own and were written: what it adds to the machine's use, in KiB.
    pub(crate) private_kib: f64,
    /// Its own pages, and its share of those it has with others, in KiB.
    pub(crate) share_kib: f64,
}

/// What a process has in memory now.
///
/// # Errors
///
/// When it is gone.
pub(crate) fn memory(pid: u32) -> Result<Memory> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let field = |name: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(name));
        let kib = found.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse().ok());
        kib.with_context(|| format!("no {name} in {path}"))
    };
    Ok(Memory {
        private_kib: field("Private_Dirty:")?,
        share_kib: field("Pss:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 250 31 0 0 20 0 1 0 5 1 1 1";
        assert_eq!(cpu_ticks(stat), Some(281));
        assert_eq!(cpu_ticks("7 (a) S 1"), None);
        assert_eq!(cpu_ticks("nothing"), None);
    }

    #[test]
    fn this_process_uses_memory_and_time() {
        let me = std::process::id();
        let memory = memory(me).unwrap();
        assert!(memory.private_kib > 0.0 && memory.share_kib >= memory.private_kib);
        assert!(cpu(me).is_ok());
        assert!(cpu(u32::MAX).is_err());
    }
}
