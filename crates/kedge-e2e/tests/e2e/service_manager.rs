//! A daemon tells its service manager the truth: a heartbeat while it turns and none while it is stuck, the end of each
//! reload whatever came of it, and audit events with the journal's fields.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Instant;

use rustix::process::Signal;

use crate::prelude::*;

/// The service manager's end of `NOTIFY_SOCKET`, or the journal's.
struct Ear(UnixDatagram);

impl Ear {
    fn at(path: &Path) -> Result<Self> {
        let socket = UnixDatagram::bind(path)?;
        socket.set_read_timeout(Some(defaults::START))?;
        Ok(Self(socket))
    }

    fn hear(&self) -> Result<Vec<u8>> {
        let mut message = vec![0; 64 << 10];
        let length = self.0.recv(&mut message)?;
        message.truncate(length);
        Ok(message)
    }

    /// The next message that begins so.
    fn hear_of(&self, beginning: &str) -> Result<String> {
        let begun = Instant::now();
        while begun.elapsed() < defaults::START {
            let said = String::from_utf8(self.hear()?)?;
            if said.starts_with(beginning) {
                return Ok(said);
            }
        }
        bail!("never heard of {beginning}")
    }

    /// Whether nothing comes for so long.
    fn is_quiet(&self, time: Duration) -> Result<bool> {
        self.0.set_read_timeout(Some(time))?;
        let quiet = self.hear().is_err();
        self.0.set_read_timeout(Some(defaults::START))?;
        Ok(quiet)
    }

    fn forget(&self) -> Result<()> {
        while !self.is_quiet(Duration::from_millis(1))? {}
        Ok(())
    }
}

/// Half a second between two heartbeats.
const WATCHDOG: &str = "1000000";

fn environment(socket: &Path) -> Vec<(String, String)> {
    let socket = socket.display().to_string();
    vec![
        ("NOTIFY_SOCKET".to_owned(), socket),
        ("WATCHDOG_USEC".to_owned(), WATCHDOG.to_owned()),
    ]
}

#[test]
fn a_hub_that_is_stuck_has_no_heartbeat() -> Result<()> {
    case(|t| {
        let mut hub = t.hub()?;
        hub.stop()?;
        let socket = t.dir().join("notify");
        let ear = Ear::at(&socket)?;
        hub.change(|options| {
            options.environment = environment(&socket);
            Ok(())
        })?;
        hub.launch()?;
        beats(&ear, |signal| hub.signal(signal))
    })
}

#[test]
fn an_agent_that_is_stuck_has_no_heartbeat() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let keys = host_key_file(t)?;
        let mut options = t.agent_options(&hub, SERVER, "tcp:127.0.0.1:22", &keys)?;
        let socket = t.dir().join("notify");
        let ear = Ear::at(&socket)?;
        options.environment = environment(&socket);
        let mut agent = Agent::new(options)?;
        agent.launch()?;
        beats(&ear, |signal| agent.signal(signal))
    })
}

/// The heart beats, stops with the process, and beats again.
fn beats(ear: &Ear, mut signal: impl FnMut(Signal) -> Result<()>) -> Result<()> {
    ear.hear_of("READY=1")?;
    for _ in 0..3 {
        ear.hear_of("WATCHDOG=1")?;
    }
    signal(Signal::STOP)?;
    // What was said before it stopped.
    std::thread::sleep(Duration::from_millis(50));
    ear.forget()?;
    ensure!(
        ear.is_quiet(Duration::from_millis(1500))?,
        "a heart beats in a stopped process"
    );
    signal(Signal::CONT)?;
    ear.hear_of("WATCHDOG=1")?;
    Ok(())
}

#[test]
fn a_reload_of_the_hub_is_over_when_it_failed_as_well() -> Result<()> {
    case(|t| {
        let mut hub = t.hub()?;
        hub.stop()?;
        let socket = t.dir().join("notify");
        let ear = Ear::at(&socket)?;
        hub.change(|options| {
            options.environment = environment(&socket);
            Ok(())
        })?;
        hub.launch()?;
        let ready = ear.hear_of("READY=1")?;
        ensure!(ready.contains("STATUS=listening on "), "{ready}");
        let path = hub.config_path();
        let good = fs::read_to_string(&path)?;
        fs::write(&path, "lisen = 1\n")?;
        hub.signal(Signal::HUP)?;
        ear.hear_of("RELOADING=1\nMONOTONIC_USEC=")?;
        let stale = ear.hear_of("READY=1")?;
        ensure!(
            stale.contains("; the old configuration stays: ") && stale.contains("lisen"),
            "{stale}"
        );
        fs::write(&path, good)?;
        hub.signal(Signal::HUP)?;
        ear.hear_of("RELOADING=1\nMONOTONIC_USEC=")?;
        let fresh = ear.hear_of("READY=1")?;
        ensure!(fresh == ready, "{fresh}");
        Ok(())
    })
}

#[test]
fn audit_events_have_their_message_id_in_the_journal() -> Result<()> {
    if !machine::am_root() {
        return skip("only root can put a journal's socket in its place");
    }
    case(|t| {
        let mut hub = t.hub()?;
        hub.stop()?;
        // In a mount namespace of its own the hub sees this socket as the journal's.
        let journal = t.subdir("journal")?;
        let ear = Ear::at(&journal.join("socket"))?;
        let mut command = std::process::Command::new("unshare");
        let script = "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && \
                      mount --bind \"$1\" /run/systemd/journal && shift && \
                      JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec \"$@\"";
        command
            .args(["--mount", "sh", "-c", script, "sh"])
            .arg(&journal);
        let run = hub.command(&["run"]);
        command.arg(run.get_program()).args(run.get_args());
        // What the hub's own lines would say as JSON goes to the journal: its configuration leaves the choice.
        let path = hub.config_path();
        let config = fs::read_to_string(&path)?.replace("format = \"json\"", "format = \"auto\"");
        fs::write(&path, config)?;
        let daemon = kedge_testkit::process::Daemon::spawn("journalled", command, t.dir())?;
        let mut kinds = BTreeMap::new();
        let begun = Instant::now();
        let listening = loop {
            ensure!(begun.elapsed() < defaults::START, "{}", daemon.log_tail());
            let entry = fields(&ear.hear()?);
            if entry
                .get("MESSAGE")
                .is_some_and(|said| said == "hub listening")
            {
                break entry;
            }
        };
        for (name, wanted) in [("PRIORITY", "6"), ("SYSLOG_IDENTIFIER", "kedge-hub")] {
            ensure!(
                listening.get(name).is_some_and(|value| value == wanted),
                "{listening:?}"
            );
        }
        let address = listening
            .get("KEDGE_HTTPS")
            .context("the address")?
            .parse()?;
        let endpoint = Endpoint {
            address,
            ..Endpoint::of(&hub)
        };
        let _ = Client::dial(endpoint, "kpt_garbage-that-nobody-has")?;
        while !kinds.contains_key("authentication.refused") {
            ensure!(begun.elapsed() < defaults::START, "{kinds:?}");
            let entry = fields(&ear.hear()?);
            if let Some(event) = entry.get("EVENT").cloned() {
                kinds.insert(event, entry);
            }
        }
        let entry = &kinds["authentication.refused"];
        for (name, wanted) in [
            ("MESSAGE_ID", "d6daa651594d4805a6e70552f56662a8"),
            ("MESSAGE", "authentication refused"),
            ("TARGET", "kedge::audit"),
            ("FROM", "127.0.0.1"),
            ("PRIORITY", "6"),
        ] {
            ensure!(
                entry.get(name).is_some_and(|value| value == wanted),
                "{name} of {entry:?}"
            );
        }
        ensure!(daemon.log()?.is_empty(), "said twice: {}", daemon.log()?);
        daemon.stop()?;
        Ok(())
    })
}

/// An entry in the journal's native form: `NAME\n`, the length in eight bytes, the value, `\n`; or `NAME=value\n`.
fn fields(mut entry: &[u8]) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    while let Some(end) = entry.iter().position(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(&entry[..end]).into_owned();
        entry = &entry[end + 1..];
        if let Some((name, value)) = line.split_once('=') {
            fields.insert(name.to_owned(), value.to_owned());
        } else if let Some((length, rest)) = entry.split_first_chunk::<8>() {
            let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
            let value = rest.get(..length).unwrap_or(rest);
            fields.insert(line, String::from_utf8_lossy(value).into_owned());
            entry = rest.get(length + 1..).unwrap_or_default();
        }
    }
    fields
}
