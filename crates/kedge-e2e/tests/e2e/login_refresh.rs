//! A token that runs out is refreshed once, whoever asks, and a refresh token that is lost or refused ends in a login.

use crate::prelude::*;
use crate::trusting::*;

/// Alice with a token that has half a minute left, from an issuer whose next tokens last an hour.
fn running_out(t: &Case) -> Result<(Trusting, Person)> {
    let trusting = Trusting::start(t)?;
    trusting.issuer.skew(30 - 3600);
    let alice = trusting.logged_in(t, "alice")?;
    trusting.issuer.skew(0);
    age(&alice)?;
    Ok((trusting, alice))
}

#[test]
fn fifty_processes_make_one_refresh_request() -> Result<()> {
    case(|t| {
        let (trusting, alice) = running_out(t)?;
        ensure!(trusting.issuer.grants("refresh_token") == 0);
        // `kedge proxy` is what each `ssh` starts.
        let mut started = Vec::new();
        for _ in 0..50 {
            started.push(Live::start(alice.kedge_command(&["proxy", SERVER]))?);
        }
        for live in &mut started {
            live.expect(std::str::from_utf8(BANNER)?, defaults::BULK)?;
        }
        for live in started {
            live.finish(defaults::COMMAND)?.success()?;
        }
        let made = trusting.issuer.grants("refresh_token");
        ensure!(made == 1, "{made} refresh requests");
        Ok(())
    })
}

#[test]
fn a_rotated_refresh_token_that_was_used_elsewhere_ends_in_a_new_login() -> Result<()> {
    case(|t| {
        let trusting = Trusting::start(t)?;
        trusting.issuer.skew(2 - 3600);
        let alice = trusting.logged_in(t, "alice")?;
        trusting.issuer.skew(0);
        trusting.issuer.revoke_all("alice");
        ends(&alice)?;
        let asked = trusting.issuer.grants("refresh_token");
        ensure!(asked == 1, "{asked} requests");
        alice.kedge(&["get", "servers"])?.exits(4)?;
        alice
            .kedge(&["proxy", SERVER])?
            .exits(255)?
            .says(&["kedge login"])?;
        ensure!(
            trusting.issuer.grants("refresh_token") == asked,
            "it asks again and again"
        );
        Ok(())
    })
}

#[test]
fn an_issuer_that_is_down_costs_nothing_while_the_token_lasts() -> Result<()> {
    case(|t| {
        let (mut trusting, alice) = running_out(t)?;
        trusting.issuer.down();
        alice.kedge(&["get", "servers"])?.success()?;
        trusting.issuer.up()?;
        wait::until_true("the refresh", defaults::SOON, || {
            alice.kedge(&["get", "servers"])?.success()?;
            Ok(trusting.issuer.grants("refresh_token") > 0)
        })
    })
}

#[test]
fn a_refresh_without_an_id_token_or_with_somebody_elses_is_not_taken() -> Result<()> {
    case(|t| {
        for how in [
            Misbehaviour::NoIdTokenOnRefresh,
            Misbehaviour::TokensWith(claims(json!({"sub": "bob"}))),
            Misbehaviour::TokensWith(claims(json!({"aud": "somebody"}))),
            Misbehaviour::TokensWith(claims(json!({"iss": "http://127.0.0.1:1"}))),
            Misbehaviour::TokensSignedWith("none".to_owned()),
        ] {
            let (trusting, alice) = running_out(t)?;
            trusting.issuer.misbehave(how.clone());
            let ran = alice.kedge(&["whoami"])?;
            // The token of before is still good; what came instead must not have taken its place.
            ensure!(
                ran.code() == Some(0) || ran.code() == Some(4) || ran.code() == Some(1),
                "{how:?}: {ran}"
            );
            ran.never_says("bob")?;
        }
        Ok(())
    })
}

#[test]
fn a_login_that_cannot_be_written_down_is_not_lost() -> Result<()> {
    case(|t| {
        let (trusting, alice) = running_out(t)?;
        let mut command = alice.command("sh");
        // Nothing can be written to any file; pipes are not concerned.
        command.args(["-c", "trap '' XFSZ; ulimit -f 0; exec kedge get servers"]);
        let ran = run(command)?;
        ensure!(
            ran.code() == Some(0) || !ran.err().trim().is_empty(),
            "a token was lost without a word: {ran}"
        );
        // The refresh token of before is still there and still good: it was not used for what could not be kept.
        wait::until_true("a refresh that could be kept", defaults::SOON, || {
            alice.kedge(&["get", "servers"])?.success()?;
            Ok(trusting.issuer.grants("refresh_token") > 0)
        })?;
        alice.kedge(&["whoami"])?.success()?;
        ensure!(
            trusting.issuer.grants("refresh_token") == 1,
            "it was used and lost"
        );
        Ok(())
    })
}

#[test]
fn a_full_disk_loses_no_refresh_token() -> Result<()> {
    case(|t| {
        if !machine::am_root() {
            return skip("only root can mount a small file system");
        }
        let (trusting, alice) = running_out(t)?;
        let state = alice.state_home();
        let Ok(disk) = SmallDisk::over(&state, t) else {
            return skip("this machine lets nobody mount a file system");
        };
        let filler = state.join("filler");
        disk.fill(&filler)?;
        let ran = alice.kedge(&["get", "servers"])?;
        ensure!(
            ran.code() == Some(0) || !ran.err().trim().is_empty(),
            "a full disk without a word: {ran}"
        );
        std::fs::remove_file(&filler)?;
        // Whatever it did with the full disk: the login lives.
        alice.kedge(&["get", "servers"])?.success()?;
        wait::until_true("a refresh that could be kept", defaults::SOON, || {
            alice.kedge(&["get", "servers"])?.success()?;
            Ok(trusting.issuer.grants("refresh_token") > 0)
        })?;
        Ok(())
    })
}

fn claims(value: Value) -> serde_json::Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

/// A file system of 256 KiB over a folder, holding what the folder held.
struct SmallDisk {
    at: std::path::PathBuf,
}

impl SmallDisk {
    fn over(folder: &std::path::Path, t: &Case) -> Result<Self> {
        let kept = t.dir().join("kept");
        let shell = |line: String| -> Result<()> {
            let mut command = std::process::Command::new("sh");
            command.args(["-ec", &line]);
            run(command)?.success().map(drop)
        };
        let (at, kept) = (folder.display(), kept.display());
        shell(format!(
            "cp -a '{at}' '{kept}'; mount -t tmpfs -o size=256k,mode=700 kedge-test '{at}'; cp -a '{kept}/.' '{at}/'"
        ))?;
        Ok(Self {
            at: folder.to_owned(),
        })
    }

    fn fill(&self, file: &std::path::Path) -> Result<()> {
        use std::io::Write;
        let mut file = std::fs::File::create(file)?;
        while file.write_all(&[0; 512]).is_ok() {}
        Ok(())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let mut command = std::process::Command::new("umount");
        command.arg(&self.at);
        let _ = run(command);
    }
}
