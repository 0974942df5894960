//! `cargo xtask bench` measures, reports what it found and what it could not find, and leaves nothing behind.

use std::fs;
use std::path::Path;
use std::process::Command;

use kedge_testkit::process::is_alive;
use rustix::process::Signal;

use crate::prelude::*;

/// A benchmark whose scratch folder is `scratch`. Debug builds are slow and the machine is busy: nothing here looks at
/// a figure.
fn bench(bins: &Path, scratch: &Path, words: &[&str]) -> Option<Command> {
    let program = std::env::var_os("KEDGE_XTASK")?;
    let mut command = Command::new(program);
    command
        .arg("bench")
        .args(words)
        .arg("--bins")
        .arg(bins)
        .arg("--out")
        .arg(scratch.join("out"))
        .env("TMPDIR", scratch);
    Some(command)
}

const SKIP: &str = "`cargo xtask test e2e` names the xtask to run; this was started without it";

/// What lies in the scratch folder beside the report.
fn left(scratch: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(scratch)?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names: Vec<String> = names.collect::<Result<_>>()?;
    names.retain(|name| name != "out");
    Ok(names)
}

#[test]
fn a_row_is_measured_reported_and_cleaned_up_after() -> Result<()> {
    case(|t| {
        let scratch = t.subdir("bench")?;
        let words = ["session-loopback", "--quick"];
        let Some(command) = bench(t.bins(), &scratch, &words) else {
            return skip(SKIP);
        };
        let ran = feed(command, Vec::new(), defaults::BULK)?.success()?;
        ensure!(ran.out().contains("session-loopback"), "no table: {ran}");
        let list = fs::read(scratch.join("out/report.json"))?;
        let list: Value = serde_json::from_slice(&list)?;
        let number = |name: &str| list.pointer(&format!("/0/{name}")).and_then(Value::as_f64);
        ensure!(
            list.as_array().is_some_and(|list| list.len() == 1),
            "{list}"
        );
        ensure!(number("rounds") == Some(3.0), "{list}");
        for name in ["ours", "theirs", "ratio", "low", "high"] {
            ensure!(
                number(name).is_some_and(|figure| figure > 0.0),
                "{name}: {list}"
            );
        }
        let page = fs::read_to_string(scratch.join("out/report.html"))?;
        ensure!(page.contains("session-loopback"), "{page}");
        ensure!(left(&scratch)?.is_empty(), "{:?} is left", left(&scratch)?);
        Ok(())
    })
}

#[test]
fn rows_that_fail_are_each_said() -> Result<()> {
    case(|t| {
        let scratch = t.subdir("bench")?;
        // A command line that cannot log in: no row of the path can be set up.
        let broken = t.subdir("broken")?;
        for name in ["kedge-hub", "kedge-agent", "kedge-load"] {
            std::os::unix::fs::symlink(t.bins().join(name), broken.join(name))?;
        }
        let kedge = broken.join("kedge");
        fs::write(&kedge, "#!/bin/sh\necho broken >&2\nexit 1\n")?;
        fs::set_permissions(&kedge, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let words = ["session-loopback", "sessions-1000", "--quick"];
        let Some(command) = bench(&broken, &scratch, &words) else {
            return skip(SKIP);
        };
        let ran = feed(command, Vec::new(), defaults::BULK)?.exits(1)?;
        for row in ["session-loopback", "sessions-1000"] {
            let said = format!("{row}: FAILED: ");
            ensure!(ran.out().contains(&said), "no `{said}`: {ran}");
        }
        let list = fs::read_to_string(scratch.join("out/report.json"))?;
        ensure!(list.trim() == "[]", "{list}");
        ensure!(left(&scratch)?.is_empty(), "{:?} is left", left(&scratch)?);
        Ok(())
    })
}

#[test]
fn a_report_is_written_also_when_nobody_reads_the_table() -> Result<()> {
    case(|t| {
        let scratch = t.subdir("bench")?;
        let words = ["session-loopback", "--quick"];
        let Some(bench) = bench(t.bins(), &scratch, &words) else {
            return skip(SKIP);
        };
        let mut shell = Command::new("sh");
        shell.args(["-c", "\"$@\" | :", "sh"]);
        shell.arg(bench.get_program()).args(bench.get_args());
        shell.env("TMPDIR", &scratch);
        feed(shell, Vec::new(), defaults::BULK)?.success()?;
        let list = fs::read(scratch.join("out/report.json"))?;
        let list: Value = serde_json::from_slice(&list)?;
        ensure!(list[0]["name"] == json!("session-loopback"), "{list}");
        Ok(())
    })
}

#[test]
fn words_that_mean_no_row_are_refused_with_what_is_near() -> Result<()> {
    case(|t| {
        let scratch = t.subdir("bench")?;
        let Some(command) = bench(t.bins(), &scratch, &["bulk-dwn-1"]) else {
            return skip(SKIP);
        };
        run(command)?
            .exits(1)?
            .says(&["bulk-dwn-1", "`bulk-down-1`"])?;
        ensure!(!scratch.join("out").exists(), "a report was written");
        Ok(())
    })
}

#[test]
fn a_signal_ends_the_benchmark_and_all_it_started() -> Result<()> {
    case(|t| {
        for signal in [Signal::INT, Signal::TERM] {
            let scratch = t.subdir("bench")?;
            let Some(command) = bench(t.bins(), &scratch, &["stream-50ms"]) else {
                return skip(SKIP);
            };
            let live = Live::start(command)?;
            wait::until_true("the first round", defaults::START, || {
                Ok(live.err().contains("round 1"))
            })?;
            let family = kedge_testkit::process::descendants(live.pid());
            ensure!(family.len() >= 3, "nothing was started: {family:?}");
            live.signal(signal)?;
            let ran = live.wait(defaults::SOON)?.exits(130)?;
            ensure!(
                !family.iter().any(|pid| is_alive(*pid)),
                "{family:?} live after {ran}"
            );
            ensure!(left(&scratch)?.is_empty(), "{:?} is left", left(&scratch)?);
        }
        Ok(())
    })
}

/// `kill -9` leaves no time to clean up.
#[test]
fn what_a_killed_benchmark_left_is_ended_by_the_next() -> Result<()> {
    case(|t| {
        let scratch = t.subdir("bench")?;
        let Some(killed) = bench(t.bins(), &scratch, &["stream-50ms"]) else {
            return skip(SKIP);
        };
        let mut live = Live::start(killed)?;
        wait::until_true("the first round", defaults::START, || {
            Ok(live.err().contains("round 1"))
        })?;
        let family = kedge_testkit::process::descendants(live.pid());
        live.signal(Signal::KILL)?;
        // Its programs live on, as after any end that it could not see coming.
        let until = wait::until_true("its end", defaults::SOON, || Ok(!live.is_running()?));
        until?;
        ensure!(family.iter().any(|pid| is_alive(*pid)), "nothing is left");
        ensure!(!left(&scratch)?.is_empty(), "no folder is left");
        let words = ["session-loopback", "--quick"];
        let Some(next) = bench(t.bins(), &scratch, &words) else {
            return skip(SKIP);
        };
        feed(next, Vec::new(), defaults::BULK)?.success()?;
        ensure!(
            !family.iter().any(|pid| is_alive(*pid)),
            "{family:?} live on"
        );
        ensure!(left(&scratch)?.is_empty(), "{:?} is left", left(&scratch)?);
        Ok(())
    })
}

/// The words by which agents join with one token.
fn fleet(t: &Case, hub: &Hub, token: &str) -> Result<Command> {
    let token = t.write("join-token", token)?;
    fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let mut command = Command::new(t.bins().join("kedge-load"));
    command.args(["fleet", "--hub", &hub.url(), "--agents", AGENTS]);
    command.args(["--pin", hub.pin().context("the hub has a pin")?]);
    command.arg("--join-token-file").arg(token);
    Ok(command)
}

const AGENTS: &str = "7";

#[test]
fn a_fleet_joins_comes_back_and_ends_with_its_input() -> Result<()> {
    case(|t| {
        // The same port before and after: agents are told one address.
        let mut options = t.hub_options()?;
        options.listen = format!("127.0.0.1:{}", machine::free_port()?);
        let mut hub = Hub::start(options)?;
        let admin = t.person(&hub, "admin", None)?;
        let token = admin.join_token(&["--uses", AGENTS])?;
        let mut fleet = Live::start(fleet(t, &hub, &token)?)?;
        fleet.expect("\"event\":\"connected\"", defaults::START)?;
        hub.kill()?;
        hub.launch()?;
        fleet.send("restarted\n")?;
        fleet.expect("\"event\":\"reconnected\"", defaults::SILENT_LOSS)?;
        let ran = fleet.finish(defaults::SOON)?.success()?;
        let out = ran.out();
        let lines: Result<Vec<Value>, _> = out.lines().map(serde_json::from_str).collect();
        let lines = lines?;
        let events: Vec<&str> = lines.iter().map(|line| text(line, "event")).collect();
        ensure!(events == ["joined", "connected", "reconnected"], "{ran}");
        for line in &lines {
            ensure!(line["agents"] == json!(7), "{ran}");
            ensure!(line["seconds"].as_f64().is_some(), "{ran}");
        }
        ensure!(lines[2]["lost"] == json!(0), "{ran}");
        Ok(())
    })
}

#[test]
fn a_fleet_says_which_agent_cannot_join() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let admin = t.person(&hub, "admin", None)?;
        let token = admin.join_token(&["--uses", "3"])?;
        let ran = Live::start(fleet(t, &hub, &token)?)?.wait(defaults::START)?;
        ran.exits(1)?.says(&["error: load-", " cannot join: "])?;
        Ok(())
    })
}
