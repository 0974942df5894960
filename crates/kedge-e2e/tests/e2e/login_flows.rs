//! `kedge login` at a certified provider: by browser and by device, refreshed, rotated, revoked.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use kedge_testkit::provider::{Provider, ProviderOptions};

use crate::prelude::*;
use crate::trusting::*;

/// A hub that trusts a certified provider, with a real sshd behind the server.
struct Certified {
    stack: Stack,
    provider: Provider,
}

impl Certified {
    fn start(t: &Case, algorithm: &str) -> Result<Self> {
        let me = machine::me()?;
        let provider = people_are_me(
            t,
            ProviderOptions {
                algorithm: algorithm.to_owned(),
                ..ProviderOptions::default()
            },
        )?;
        let mut options = t.hub_options()?;
        let trusted = trusted(&provider)
            .with(&format!("algorithms = [\"{algorithm}\"]"))
            .with("name = \"certified\"");
        options.issuers = vec![trusted];
        let stack = t.stack_with(options)?;
        let group = policy("developers", json!({"groups": ["dev"]}), &[&me]);
        stack.admin.apply(&group)?;
        Ok(Self { stack, provider })
    }

    fn person(&self, t: &Case, name: &str) -> Result<Person> {
        t.stranger(name, Some(&self.stack.sshd))
    }
}

/// A certified provider whose people the scratch sshd lets in: their claim is the user who runs the tests.
fn people_are_me(t: &Case, mut options: ProviderOptions) -> Result<Provider> {
    let me = machine::me()?;
    for claims in options.people.values_mut() {
        claims.insert("preferred_username".to_owned(), json!(me));
    }
    Provider::start(t, &options)
}

/// This provider gives refresh tokens only to those who ask for consent.
fn trusted(provider: &Provider) -> TrustedIssuer {
    TrustedIssuer::new(provider.url()).with("authorization-parameters = { prompt = \"consent\" }")
}

#[test]
fn by_browser_and_then_ssh() -> Result<()> {
    case(|t| {
        let mut certified = Certified::start(t, "RS256")?;
        let alice = certified.person(t, "alice")?;
        let ran = run(alice.log_in_command(&certified.stack.hub, "alice", &[])?)?.success()?;
        ensure!(
            ran.err().contains(certified.provider.url())
                || ran.out().contains(certified.provider.url()),
            "the URL is not printed, for whom no browser opens: {ran}"
        );
        alice.install_ssh_config()?;
        let said = alice.kedge(&["whoami"])?.success()?;
        for words in ["alice", "dev", certified.provider.url()] {
            ensure!(said.out().contains(words), "no `{words}`: {said}");
        }
        let ran = alice.kedge_ssh(&[SERVER, "id -un"])?.success()?;
        ensure!(ran.out().trim() == machine::me()?, "{ran}");
        let host = certified.stack.host();
        let ran = run(alice.openssh("ssh", &[host.as_str(), "echo plain"]))?.success()?;
        ensure!(ran.out().trim() == "plain", "{ran}");
        let url = certified.provider.url().to_owned();
        let opened = certified.stack.hub.audited("the session", |event| {
            text(event, "event") == "session.opened" && text(event, "issuer") == url
        })?;
        ensure!(text(&opened, "subject") == "alice", "{opened}");
        ensure!(text(&opened, "method") == "oidc", "{opened}");

        // The provider's keys change: nobody notices.
        certified.provider.rotate()?;
        let again = certified.person(t, "alice")?;
        again.log_in_by_browser(&certified.stack.hub, "alice")?;
        again.kedge_ssh(&[SERVER, "true"])?.success()?;

        // bob is somebody, and no policy names his group.
        let bob = certified.person(t, "bob")?;
        bob.log_in_by_browser(&certified.stack.hub, "bob")?;
        bob.kedge_ssh(&[SERVER, "true"])?.exits(255)?;
        Ok(())
    })
}

#[test]
fn by_device() -> Result<()> {
    case(|t| {
        let certified = Certified::start(t, "ES256")?;
        let alice = certified.person(t, "alice")?;
        let mut command = alice.log_in_command(&certified.stack.hub, "alice", &["--device"])?;
        command.env_remove("BROWSER");
        let live = Live::start(command)?;
        let start = format!("{}/device?", certified.provider.url());
        let shown = heard(&live, &start)?;
        certified
            .provider
            .log_in("alice", &url_in(&shown, &start)?)?;
        let ran = live.wait(defaults::COMMAND)?.success()?;
        ensure!(!ran.err().contains(".eyJ"), "a token is shown: {ran}");
        alice.install_ssh_config()?;
        alice.kedge_ssh(&[SERVER, "true"])?.success()?;
        Ok(())
    })
}

#[test]
fn by_device_when_there_is_no_display() -> Result<()> {
    case(|t| {
        let trusting = Trusting::start(t)?;
        for (name, value) in [
            ("LANG", "C"),
            ("SSH_CONNECTION", "192.0.2.1 1 192.0.2.2 22"),
        ] {
            let alice = trusting.stranger(t, "alice")?;
            let mut command = alice.log_in_command(&trusting.cheap.hub, "alice", &[])?;
            command.env_remove("BROWSER").env(name, value);
            let live = Live::start(command)?;
            let start = format!("{}/device?", trusting.issuer.url());
            let shown = heard(&live, &start)?;
            let mut browser = Browser::new("alice");
            browser.open(&url_in(&shown, &start)?)?.success()?;
            live.wait(defaults::COMMAND)?.success()?;
            alice.kedge(&["whoami"])?.success()?;
        }
        Ok(())
    })
}

#[test]
fn a_device_that_is_turned_away_or_forgotten_is_told() -> Result<()> {
    case(|t| {
        let trusting = Trusting::start(t)?;
        let alice = trusting.stranger(t, "alice")?;
        let command = alice.log_in_command(&trusting.cheap.hub, "alice", &["--device"])?;
        let live = Live::start(command)?;
        let start = format!("{}/device?", trusting.issuer.url());
        let shown = heard(&live, &start)?;
        let mut browser = Browser::new("alice").press("deny");
        browser.open(&url_in(&shown, &start)?)?.success()?;
        let ran = live.wait(defaults::COMMAND)?;
        ensure!(ran.code() != Some(0), "{ran}");
        ensure!(ran.err().contains("error: "), "{ran}");
        alice.kedge(&["whoami"])?.exits(4)?;
        Ok(())
    })
}

#[test]
fn every_algorithm_of_the_provider() -> Result<()> {
    case(|t| {
        for algorithm in ["PS256", "EdDSA"] {
            let certified = Certified::start(t, algorithm)?;
            let alice = certified.person(t, "alice")?;
            alice
                .log_in_by_browser(&certified.stack.hub, "alice")
                .context(algorithm)?;
            alice.kedge(&["whoami"])?.success()?;
        }
        Ok(())
    })
}

/// A certified provider whose tokens last shorter than the minute before their end when they are renewed, a hub that
/// trusts it, and alice, who is logged in.
fn briefly(t: &Case) -> Result<(Provider, Hub, Person)> {
    let provider = people_are_me(
        t,
        ProviderOptions {
            token_life: Duration::from_secs(20),
            ..ProviderOptions::default()
        },
    )?;
    let mut options = t.hub_options()?;
    options.issuers = vec![trusted(&provider)];
    let hub = Hub::start(options)?;
    let alice = t.stranger("alice", None)?;
    alice.log_in_by_browser(&hub, "alice")?;
    Ok((provider, hub, alice))
}

/// Requests to one of a provider's paths so far.
fn asked(provider: &mut Provider, path: &str) -> Result<u64> {
    Ok(provider.requests()?.get(path).copied().unwrap_or_default())
}

#[test]
fn a_refresh_token_is_used_and_a_revoked_one_ends_in_a_new_login() -> Result<()> {
    case(|t| {
        let (mut provider, hub, alice) = briefly(t)?;
        let tokens = |provider: &mut Provider| asked(provider, "/token");
        let before = tokens(&mut provider)?;
        for times in 1..3 {
            age(&alice)?;
            alice.kedge(&["get", "servers"])?.success()?;
            let asked = tokens(&mut provider)? - before;
            ensure!(asked == times, "{asked} refreshes after {times} times");
        }
        provider.revoke("alice")?;
        age(&alice)?;
        ends(&alice)?;
        // Never a loop: who has no refresh token any more asks nobody.
        let before = tokens(&mut provider)?;
        for _ in 0..3 {
            alice.kedge(&["get", "servers"])?.exits(4)?;
        }
        ensure!(tokens(&mut provider)? == before, "it goes on asking");
        alice.log_in_by_browser(&hub, "alice")?;
        alice.kedge(&["get", "servers"])?.success()?;
        Ok(())
    })
}

#[test]
fn a_copy_of_a_login_is_worth_nothing_after_the_logout() -> Result<()> {
    case(|t| {
        let (mut provider, _hub, alice) = briefly(t)?;
        let copies = kept(&alice)?
            .into_iter()
            .map(|file| Ok((std::fs::read(&file)?, file)))
            .collect::<Result<Vec<_>>>()?;
        let ran = alice.kedge(&["logout"])?.success()?;
        ensure!(ran.err().is_empty(), "{ran}");
        let revoked = asked(&mut provider, "/token/revocation")?;
        ensure!(revoked == 1, "{revoked} revocations");
        for (content, file) in copies {
            let mut copy = std::fs::OpenOptions::new();
            let copy = copy.write(true).create_new(true).mode(0o600).open(&file);
            copy?.write_all(&content)?;
        }
        age(&alice)?;
        let ran = alice.kedge(&["get", "servers"])?.exits(4)?;
        ran.says(&["does not renew the login", "invalid_grant"])?;
        Ok(())
    })
}

#[test]
fn one_of_several_issuers_is_chosen_by_name() -> Result<()> {
    case(|t| {
        let second = Issuer::start(IssuerOptions::default())?;
        let trusting = Trusting::with(t, IssuerOptions::default(), |options| {
            let first = options.issuers.remove(0);
            options.issuers = vec![
                first.with("name = \"corp\"").with("home = true"),
                TrustedIssuer::new(&second.url()).with("name = \"partners\""),
            ];
        })?;
        let alice = trusting.stranger(t, "alice")?;
        let ran = run(alice.log_in_command(&trusting.cheap.hub, "alice", &[])?)?;
        ensure!(ran.code() == Some(2) || ran.code() == Some(1), "{ran}");
        ran.says(&["corp", "partners", "--issuer"])?;
        let words = ["--issuer", "partners"];
        run(alice.log_in_command(&trusting.cheap.hub, "alice", &words)?)?.success()?;
        let said = alice.kedge(&["whoami"])?.success()?;
        ensure!(said.out().contains(&second.url()), "{said}");
        let words = ["--issuer", "nobody"];
        let ran = run(alice.log_in_command(&trusting.cheap.hub, "alice", &words)?)?;
        ensure!(ran.code() != Some(0), "{ran}");
        Ok(())
    })
}

#[test]
fn what_is_kept_is_0600_and_gone_after_logout() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    case(|t| {
        let trusting = Trusting::start(t)?;
        let alice = trusting.logged_in(t, "alice")?;
        let holders = || -> Result<Vec<std::path::PathBuf>> {
            let mut found = Vec::new();
            let mut folders = vec![alice.state_home(), alice.config_home()];
            while let Some(folder) = folders.pop() {
                for entry in std::fs::read_dir(folder)?.flatten() {
                    let path = entry.path();
                    if path.is_dir() {
                        folders.push(path);
                    } else if std::fs::read_to_string(&path)
                        .is_ok_and(|content| content.contains(".eyJ"))
                    {
                        found.push(path);
                    }
                }
            }
            Ok(found)
        };
        let there = holders()?;
        ensure!(there.len() == 1, "{there:?}");
        for path in there {
            let mode = std::fs::metadata(&path)?.permissions().mode() & 0o7777;
            ensure!(mode == 0o600, "{} is {mode:o}", path.display());
        }
        alice.kedge(&["logout"])?.success()?;
        ensure!(holders()?.is_empty(), "{:?}", holders()?);
        alice.kedge(&["whoami"])?.exits(4)?;
        Ok(())
    })
}
