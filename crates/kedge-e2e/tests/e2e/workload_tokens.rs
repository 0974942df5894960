//! Workloads without a browser: a token in a file that somebody renews, or from a command.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::prelude::*;
use crate::trusting::*;

fn place(path: &std::path::Path, content: &str, mode: u32) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, content)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(mode))?;
    Ok(fs::rename(&new, path)?)
}

fn log_in(person: &Person, hub: &Hub, words: &[&str]) -> Result<kedge_testkit::run::Ran> {
    let mut command = person.log_in_command(hub, "nobody", words)?;
    command.env_remove("BROWSER");
    run(command)
}

#[test]
fn a_token_file_is_read_again_at_each_use() -> Result<()> {
    case(|t| {
        let trusting = Trusting::start(t)?;
        let job = trusting.stranger(t, "job")?;
        let file = job.home().join("id-token");
        let path = file.display().to_string();
        place(&file, &trusting.issuer.id_token("alice")?, 0o600)?;
        log_in(&job, &trusting.cheap.hub, &["--token-file", &path])?.success()?;
        let said = job.kedge(&["whoami"])?.success()?;
        ensure!(said.out().contains("alice"), "{said}");
        place(&file, &trusting.issuer.id_token("bob")?, 0o600)?;
        let said = job.kedge(&["whoami"])?.success()?;
        ensure!(
            said.out().contains("bob"),
            "the old token is still used: {said}"
        );
        fs::remove_file(&file)?;
        let ran = job.kedge(&["whoami"])?;
        ensure!(ran.code() == Some(4) || ran.code() == Some(1), "{ran}");
        ran.says(&["id-token"])?;
        ensure!(trusting.issuer.requests_to("/token") == 0);
        Ok(())
    })
}

#[test]
fn a_token_file_that_others_can_read_or_own_is_refused() -> Result<()> {
    case(|t| {
        let trusting = Trusting::start(t)?;
        let job = trusting.stranger(t, "job")?;
        let file = job.home().join("id-token");
        let path = file.display().to_string();
        for mode in [0o644, 0o640, 0o666, 0o604] {
            place(&file, &trusting.issuer.id_token("alice")?, mode)?;
            let ran = log_in(&job, &trusting.cheap.hub, &["--token-file", &path])?;
            ensure!(ran.code() != Some(0), "{mode:o} was taken: {ran}");
            ran.says(&["id-token", "hint: "])?.never_says(".eyJ")?;
        }
        if machine::am_root() {
            place(&file, &trusting.issuer.id_token("alice")?, 0o600)?;
            std::os::unix::fs::chown(&file, Some(65_534), None)?;
            let ran = log_in(&job, &trusting.cheap.hub, &["--token-file", &path])?;
            ensure!(
                ran.code() != Some(0),
                "somebody else's file was taken: {ran}"
            );
        }
        job.kedge(&["whoami"])?.exits(4)?;
        Ok(())
    })
}

#[test]
fn a_token_command_is_asked_when_its_token_has_run_out() -> Result<()> {
    case(|t| {
        let trusting = Trusting::start(t)?;
        let job = trusting.stranger(t, "job")?;
        let (token, count) = (job.home().join("token"), job.home().join("count"));
        place(&token, &trusting.issuer.id_token("alice")?, 0o600)?;
        let command = format!(
            "echo asked >>'{}'; cat '{}'",
            count.display(),
            token.display()
        );
        log_in(&job, &trusting.cheap.hub, &["--token-command", &command])?.success()?;
        for _ in 0..3 {
            job.kedge(&["whoami"])?.success()?;
        }
        let asked = fs::read_to_string(&count)?.lines().count();
        ensure!(
            asked <= 2,
            "the command was asked {asked} times for one good token"
        );
        Ok(())
    })
}

#[test]
fn a_token_command_that_fails_says_so() -> Result<()> {
    case(|t| {
        let trusting = Trusting::start(t)?;
        let job = trusting.stranger(t, "job")?;
        for command in [
            "echo no such token >&2; exit 3",
            "true",
            "echo",
            "head -c 200000 /dev/zero | tr '\\0' x",
            "printf 'a\\nb\\n'",
        ] {
            let ran = log_in(&job, &trusting.cheap.hub, &["--token-command", command])?;
            ensure!(
                ran.code() != Some(0) && ran.err().contains("error: "),
                "`{command}`: {ran}"
            );
            job.kedge(&["whoami"])?.exits(4)?;
        }
        Ok(())
    })
}

#[test]
fn workloads_of_an_issuer_without_a_client_get_in_by_audience() -> Result<()> {
    case(|t| {
        let ci = Issuer::start(IssuerOptions::default())?;
        let trusting = Trusting::with(t, IssuerOptions::default(), |options| {
            let people = options.issuers.remove(0).with("home = true");
            let jobs = TrustedIssuer::for_workloads(&ci.url(), &["kedge-ci"])
                .with("name = \"jobs\"")
                .with("user-claim = \"repository\"")
                .with("[issuers.login]")
                .with("claim = \"environment\"");
            options.issuers = vec![people, jobs];
        })?;
        let claims = json!({
            "aud": "kedge-ci",
            "sub": "repo:corp/app:environment:deploy",
            "repository": "corp/app",
            "environment": "deploy",
        });
        let token = ci.id_token_with("bob", &claims)?;
        let who = trusting.whoami(&token)?;
        ensure!(who["user"] == "corp/app", "{who}");
        trusting.cheap.admin.apply(&policy(
            "deployments",
            json!({"users": ["corp/app"], "issuers": [ci.url()]}),
            &["deploy"],
        ))?;
        trusting
            .open(&token, None)?
            .map_err(|(code, said)| anyhow::anyhow!("{code:?} {said}"))?;
        // Nobody logs in there, so the hub does not offer it.
        let discovery = Request::new("GET", "/.well-known/kedge")
            .send(trusting.cheap.endpoint())?
            .json()?;
        ensure!(!discovery.to_string().contains(&ci.url()), "{discovery}");
        // And the audience of people is not that of jobs.
        ensure!(trusting.status(&ci.id_token("alice")?)? == 401);
        Ok(())
    })
}
