//! `cargo xtask demo` is what README's quick start says, and leaves nothing behind.

use std::fs;
use std::path::Path;
use std::process::Command;

use kedge_testkit::process::is_alive;
use rustix::process::Signal;

use crate::prelude::*;

fn demo(t: &Case, dir: &Path, words: &[&str]) -> Option<Command> {
    let program = std::env::var_os("KEDGE_XTASK")?;
    let mut command = Command::new(program);
    command
        .arg("demo")
        .args(words)
        .arg("--dir")
        .arg(dir)
        .arg("--bins")
        .arg(t.bins());
    Some(command)
}

const SKIP: &str = "`cargo xtask test e2e` names the xtask to run; this was started without it";

#[test]
fn the_demo_goes_the_whole_way_and_cleans_up() -> Result<()> {
    case(|t| {
        let dir = t.dir().join("demo");
        let Some(command) = demo(t, &dir, &[]) else {
            return skip(SKIP);
        };
        let ran = feed(command, Vec::new(), defaults::BULK)?.success()?;
        for words in [
            "kedge login",
            "kedge whoami",
            "kedge-admin",
            "kedge explain",
            "kedge get servers",
            "web01",
            "through kedge",
            "scp",
            "rsync",
        ] {
            ensure!(ran.out().contains(words), "no `{words}`: {ran}");
        }
        // A reader copies it: without the pin it would not work.
        let out = ran.out();
        let mut lines = out.lines().map(str::trim);
        let pin = lines.find(|line| line.starts_with("sha256:"));
        let pin = pin.with_context(|| format!("no pin: {ran}"))?;
        let typed = lines.find(|line| line.starts_with("$ kedge login"));
        let typed = typed.with_context(|| format!("no login: {ran}"))?;
        ensure!(
            typed.starts_with("$ kedge login https://") && typed.ends_with(&format!("--pin {pin}")),
            "`{typed}` has no pin {pin}"
        );
        ensure!(!dir.exists(), "{} is left", dir.display());
        Ok(())
    })
}

#[test]
fn a_kept_demo_works_in_every_shell_until_it_is_stopped() -> Result<()> {
    case(|t| {
        let dir = t.dir().join("demo");
        let Some(command) = demo(t, &dir, &["--keep"]) else {
            return skip(SKIP);
        };
        let kept = feed(command, Vec::new(), defaults::BULK)?.success()?;
        let outcome = in_every_shell(t, &dir);
        let pids = pids(&dir)?;
        ensure!(
            pids.len() == 4 && pids.iter().all(|pid| is_alive(*pid)),
            "{pids:?} of {kept}"
        );
        let twice = demo(t, &dir, &["--keep"]).context("xtask")?;
        let twice = run(twice)?.exits(1)?.says(&["--stop"])?;
        let stop = demo(t, &dir, &["--stop"]).context("xtask")?;
        let stopped = run(stop)?.success()?;
        ensure!(
            !pids.iter().any(|pid| is_alive(*pid)),
            "{pids:?} live after {stopped} and {twice}"
        );
        ensure!(!dir.exists(), "{} is left", dir.display());
        outcome
    })
}

fn in_every_shell(t: &Case, dir: &Path) -> Result<()> {
    let sent = t.write("sent", noise(100_000))?.display().to_string();
    let there = t.dir().join("there").display().to_string();
    let lines = format!(
        ". '{env}'\nset -e\nkedge logout\nkedge-demo-login\nkedge whoami\nkedge get servers\nkedge ssh web01 -- echo one\nssh web01.kedge echo two\n\
         scp -q {sent} web01.kedge:{there}\nrsync -a web01.kedge:{there} {there}.back\ncmp {sent} {there}.back\n\
         rm -f {there} {there}.back\necho three\n",
        env = dir.join("env").display()
    );
    let mut tried = 0;
    for shell in ["sh", "bash", "zsh", "dash"] {
        let Some(program) = machine::find_program(shell) else {
            continue;
        };
        tried += 1;
        let home = t.subdir("home")?;
        let mut command = Command::new(program);
        command
            .args(["-c", &lines])
            .env("HOME", home)
            .current_dir(t.dir());
        let ran = run(command)?
            .success()
            .with_context(|| format!("in {shell}"))?;
        for word in ["web01", "one", "two", "three"] {
            ensure!(ran.out().contains(word), "{shell}: no `{word}`: {ran}");
        }
    }
    ensure!(tried > 0, "no shell was found");
    Ok(())
}

#[test]
fn a_signal_ends_the_demo_and_all_it_started() -> Result<()> {
    case(|t| {
        for signal in [Signal::INT, Signal::TERM] {
            let dir = t.subdir("demo")?;
            let Some(command) = demo(t, &dir, &[]) else {
                return skip(SKIP);
            };
            let mut live = Live::start(command)?;
            live.expect("A hub listens", defaults::START)?;
            let family = kedge_testkit::process::descendants(live.pid());
            ensure!(!family.is_empty(), "nothing was started");
            live.signal(signal)?;
            let ran = live.wait(defaults::SOON)?;
            // A demo that had already shown everything when the signal came is as good.
            ensure!(matches!(ran.code(), Some(130 | 0)), "{ran}");
            ensure!(
                !family.iter().any(|pid| is_alive(*pid)),
                "{family:?} live after {ran}"
            );
            ensure!(!dir.exists(), "{} is left", dir.display());
        }
        Ok(())
    })
}

#[test]
fn a_demo_that_fails_ends_all_it_started_and_keeps_its_logs() -> Result<()> {
    case(|t| {
        let dir = t.dir().join("demo");
        // An agent that cannot run: the step that needs it fails.
        let broken = t.subdir("broken")?;
        for name in ["kedge", "kedge-hub", "kedge-demo-issuer"] {
            std::os::unix::fs::symlink(t.bins().join(name), broken.join(name))?;
        }
        fs::write(
            broken.join("kedge-agent"),
            "#!/bin/sh\necho broken >&2\nexit 1\n",
        )?;
        fs::set_permissions(
            broken.join("kedge-agent"),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )?;
        let Some(program) = std::env::var_os("KEDGE_XTASK") else {
            return skip(SKIP);
        };
        let mut command = Command::new(program);
        command
            .arg("demo")
            .arg("--dir")
            .arg(&dir)
            .arg("--bins")
            .arg(&broken);
        let ran = feed(command, Vec::new(), defaults::BULK)?
            .exits(1)?
            .says(&["broken"])?;
        ensure!(dir.join("logs").is_dir(), "no logs: {ran}");
        for entry in fs::read_dir("/proc")?.flatten() {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            ensure!(
                !line.contains(&dir.display().to_string()),
                "it still runs: {line}"
            );
        }
        Ok(())
    })
}

fn pids(dir: &Path) -> Result<Vec<u32>> {
    let list: Value = serde_json::from_str(&fs::read_to_string(dir.join("processes.json"))?)?;
    let list = list.as_array().cloned().unwrap_or_default();
    Ok(list
        .iter()
        .filter_map(|one| one.get("pid")?.as_u64()?.try_into().ok())
        .collect())
}
