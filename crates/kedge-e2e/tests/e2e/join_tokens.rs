//! A join token is good once, for a while, for whoever it was made for, and nobody can guess or keep it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::prelude::*;

fn enrol(endpoint: Endpoint, name: &str, token: &str) -> Result<u16> {
    Ok(FakeAgent::new(endpoint, name)?.enrol(token)?.status)
}

#[test]
fn twice_revoked_and_guessed_are_refused() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let admin = t.person(&hub, "admin", None)?;
        let endpoint = Endpoint::of(&hub);
        let once = admin.join_token(&[])?;
        ensure!(enrol(endpoint, "first", &once)? == 201);
        let second = enrol(endpoint, "second", &once)?;
        ensure!(matches!(second, 401 | 403), "used twice: {second}");

        let listed = admin
            .kedge(&["get", "servers", "-o", "name"])?
            .success()?
            .out();
        ensure!(!listed.contains("second"), "{listed}");

        let revoked = admin.join_token(&[])?;
        let name = revoked.split('_').nth(1).context("a token has a name")?;
        admin.kedge(&["token", "revoke", name])?.success()?;
        ensure!(matches!(enrol(endpoint, "third", &revoked)?, 401 | 403));

        let real = admin.join_token(&[])?;
        // The secret is base64url and may itself contain `_`.
        let name = real.split('_').nth(1).context("a token has a name")?;
        let guessed = format!("kjt_{name}_{}", "A".repeat(43));
        ensure!(
            matches!(enrol(endpoint, "fourth", &guessed)?, 401 | 403),
            "a guess was right"
        );
        ensure!(
            enrol(endpoint, "fourth", &real)? == 201,
            "a wrong guess used the token up"
        );
        Ok(())
    })
}

#[test]
fn an_expired_token_is_refused() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let admin = t.person(&hub, "admin", None)?;
        let brief = admin.join_token(&["--ttl", "3s"])?;
        let name = brief.split('_').nth(1).context("a token has a name")?;
        wait::until_true("its time to pass", defaults::SOON, || {
            let token = admin.get("jointoken", name)?;
            let until = token
                .pointer("/spec/expiresAt")
                .and_then(Value::as_str)
                .context("expiresAt")?
                .to_owned();
            let mut date = std::process::Command::new("date");
            date.args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]);
            Ok(run(date)?.success()?.out().trim() > until.as_str())
        })?;
        let status = enrol(Endpoint::of(&hub), "late", &brief)?;
        ensure!(matches!(status, 401 | 403), "{status}");
        Ok(())
    })
}

#[test]
fn two_agents_that_race_for_one_token_are_one_server() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let admin = t.person(&hub, "admin", None)?;
        let endpoint = Endpoint::of(&hub);
        for round in 0..5 {
            let token = admin.join_token(&[])?;
            let barrier = std::sync::Barrier::new(8);
            let winners = std::thread::scope(|scope| {
                let racers: Vec<_> = (0..8)
                    .map(|racer| {
                        let (token, barrier) = (&token, &barrier);
                        scope.spawn(move || -> Result<u16> {
                            let agent = FakeAgent::new(endpoint, &format!("racer{round}-{racer}"))?;
                            barrier.wait();
                            Ok(agent.enrol(token)?.status)
                        })
                    })
                    .collect();
                let joined = racers
                    .into_iter()
                    .map(|racer| racer.join().map_err(|_| anyhow::anyhow!("panicked"))?);
                joined.collect::<Result<Vec<u16>>>()
            })?;
            ensure!(
                winners.iter().filter(|status| **status == 201).count() == 1,
                "{winners:?}"
            );
        }
        Ok(())
    })
}

#[test]
fn only_its_hash_is_kept_and_it_is_shown_once() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let admin = t.person(&hub, "admin", None)?;
        let token = admin.join_token(&["--uses", "3", "--ttl", "2h", "--label", "env=prod"])?;
        let secret = token.splitn(3, '_').nth(2).context("a secret")?;
        ensure!(
            secret.len() == 43,
            "{} characters for 32 bytes",
            secret.len()
        );
        for words in [
            &["token", "list"][..],
            &["get", "jointokens", "-o", "yaml"],
            &["describe", "jointokens"],
        ] {
            let ran = admin.kedge(words)?;
            ensure!(
                !ran.out().contains(secret) && !ran.err().contains(secret),
                "{words:?} tells the secret"
            );
        }
        let listed = admin.kedge(&["token", "list"])?.success()?;
        ensure!(
            listed
                .out()
                .contains(token.split('_').nth(1).context("a name")?),
            "{listed}"
        );
        for entry in fs::read_dir(hub.state_dir())? {
            let path = entry?.path();
            let content = fs::read(&path).unwrap_or_default();
            let there = content
                .windows(secret.len())
                .any(|window| window == secret.as_bytes());
            ensure!(!there, "{} has the secret", path.display());
        }
        let alice = t.person(&hub, "alice", None)?;
        alice.kedge(&["token", "list"])?.exits(5)?;
        alice.kedge(&["token", "create"])?.exits(5)?;
        Ok(())
    })
}

#[test]
fn a_token_for_one_name_and_with_labels() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let admin = t.person(&hub, "admin", None)?;
        let endpoint = Endpoint::of(&hub);
        let token = admin.join_token(&["--server", "db01", "--label", "env=prod"])?;
        let status = enrol(endpoint, "web01", &token)?;
        ensure!(matches!(status, 401 | 403 | 422), "another name: {status}");
        ensure!(enrol(endpoint, "db01", &token)? == 201);
        let server = admin.get("server", "db01")?;
        ensure!(
            server.pointer("/metadata/labels/env") == Some(&json!("prod")),
            "{server}"
        );
        Ok(())
    })
}

#[test]
fn join_leaves_a_0600_key_or_nothing() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let admin = t.person(&hub, "admin", None)?;
        let keys = host_key_file(t)?;
        let agent = Agent::new(t.agent_options(&hub, SERVER, "tcp:127.0.0.1:22", &keys)?)?;
        let garbage = format!("kjt_{}_{}", "a".repeat(10), "A".repeat(43));
        let ran = agent.join(&garbage)?;
        ensure!(ran.code() != Some(0), "garbage joined: {ran}");
        ensure!(ran.err().starts_with("error: "), "{ran}");
        let left: Vec<_> = fs::read_dir(agent.state_dir())
            .into_iter()
            .flatten()
            .flatten()
            .collect();
        ensure!(
            left.iter().all(|file| file.file_name() != "identity.json"),
            "half done: {left:?}"
        );

        let token = admin.join_token(&[])?;
        agent.join(&token)?.success()?.never_says(&token)?;
        for name in ["agent.key", "identity.json"] {
            let path = agent.state_dir().join(name);
            let mode = fs::metadata(&path)
                .with_context(|| path.display().to_string())?
                .permissions()
                .mode()
                & 0o7777;
            ensure!(mode & 0o077 == 0, "{name} is {mode:o}");
        }
        let mode = fs::metadata(agent.state_dir().join("agent.key"))?
            .permissions()
            .mode()
            & 0o7777;
        ensure!(mode == 0o600, "agent.key is {mode:o}");
        Ok(())
    })
}

#[test]
fn a_join_with_the_wrong_pin_shows_the_token_to_nobody() -> Result<()> {
    case(|t| {
        let (hub, other) = (t.hub()?, t.hub()?);
        let admin = t.person(&hub, "admin", None)?;
        let keys = host_key_file(t)?;
        let mut options = t.agent_options(&hub, SERVER, "tcp:127.0.0.1:22", &keys)?;
        options.pin = other.pin().map(str::to_owned);
        let agent = Agent::new(options)?;
        let token = admin.join_token(&[])?;
        let ran = agent.join(&token)?;
        ensure!(ran.code() != Some(0), "{ran}");
        ensure!(
            ran.err().contains("pin") || ran.err().contains("certificate"),
            "no reason: {ran}"
        );
        ensure!(
            enrol(Endpoint::of(&hub), SERVER, &token)? == 201,
            "the token was used"
        );
        Ok(())
    })
}
