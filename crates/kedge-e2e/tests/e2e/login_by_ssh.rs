//! `kedge ssh` without a login: on a terminal it logs in, without one it says what to do.

use crate::prelude::*;
use crate::trusting::*;

/// A hub that trusts an issuer, with a real sshd behind the server, and everybody let in.
fn trusting_stack(t: &Case) -> Result<(Stack, Issuer)> {
    let issuer = Issuer::start(people_who_are_me()?)?;
    let mut options = t.hub_options()?;
    options.issuers = vec![TrustedIssuer::new(&issuer.url())];
    let stack = t.stack_with(options)?;
    let me = machine::me()?;
    stack
        .admin
        .apply(&policy("everybody", json!({"users": ["*"]}), &[&me]))?;
    Ok((stack, issuer))
}

/// Somebody whose login is over: logged in once, and logged out.
fn logged_out(t: &Case, stack: &Stack) -> Result<Person> {
    let alice = t.stranger("alice", Some(&stack.sshd))?;
    alice.log_in_by_browser(&stack.hub, "alice")?;
    alice.kedge(&["logout"])?.success()?;
    Ok(alice)
}

#[test]
fn without_a_terminal_it_fails_at_once_and_says_what_to_do() -> Result<()> {
    case(|t| {
        let (stack, issuer) = trusting_stack(t)?;
        let alice = logged_out(t, &stack)?;
        let asked = issuer.requests_to("/authorize");
        let mut command = alice.kedge_ssh_command(&[SERVER, "true"]);
        command.env("BROWSER", alice.browser("alice")?);
        let ran = run(command)?.exits(255)?.says(&["kedge login"])?;
        ensure!(ran.took < defaults::SOON, "it took {:?}", ran.took);
        let host = stack.host();
        run(alice.openssh("ssh", &[host.as_str(), "true"]))?.exits(255)?;
        ensure!(
            issuer.requests_to("/authorize") == asked,
            "a browser was opened where nobody sits"
        );
        Ok(())
    })
}

#[test]
fn on_a_terminal_it_logs_in_and_goes_on() -> Result<()> {
    case(|t| {
        let (stack, issuer) = trusting_stack(t)?;
        let alice = logged_out(t, &stack)?;
        let line = format!(
            "kedge ssh -F {} {SERVER} -- echo through the terminal",
            alice.ssh_config().display()
        );
        // `script` gives what it runs a terminal.
        let mut command = alice.command("script");
        command
            .args(["-qec", &line, "/dev/null"])
            .env("BROWSER", alice.browser("alice")?)
            .env("TERM", "xterm");
        let ran = Live::start(command)?.wait(defaults::BULK)?.success()?;
        ensure!(ran.out().contains("through the terminal"), "{ran}");
        ensure!(
            issuer.grants("authorization_code") == 2,
            "no login took place"
        );
        Ok(())
    })
}

#[test]
fn a_dozen_plain_ssh_at_once_make_one_refresh_request() -> Result<()> {
    case(|t| {
        let (stack, issuer) = trusting_stack(t)?;
        let alice = t.stranger("alice", Some(&stack.sshd))?;
        issuer.skew(30 - 3600);
        alice.log_in_by_browser(&stack.hub, "alice")?;
        issuer.skew(0);
        age(&alice)?;
        let host = stack.host();
        let mut started = Vec::new();
        for number in 0..12 {
            let line = format!("echo number {number}");
            started.push(Live::start(
                alice.openssh("ssh", &[host.as_str(), line.as_str()]),
            )?);
        }
        for (number, live) in started.into_iter().enumerate() {
            let ran = live.wait(defaults::BULK)?.success()?;
            ensure!(ran.out().trim() == format!("number {number}"), "{ran}");
        }
        let made = issuer.grants("refresh_token");
        ensure!(made == 1, "{made} refresh requests");
        Ok(())
    })
}

#[test]
fn whoami_tells_the_login_on_each_server_and_when_it_ends() -> Result<()> {
    case(|t| {
        let (stack, issuer) = trusting_stack(t)?;
        let alice = t.stranger("alice", Some(&stack.sshd))?;
        alice.log_in_by_browser(&stack.hub, "alice")?;
        let me = machine::me()?;
        let url = issuer.url();
        let said = alice.kedge(&["whoami", "--server", SERVER])?.success()?;
        for words in [SERVER, &me, &url, "alice", "dev", "Expires"] {
            ensure!(said.out().contains(words), "no `{words}`: {said}");
        }
        let said = alice.kedge(&["whoami", "-o", "json"])?.success()?.json()?;
        ensure!(said.to_string().contains("expiresAt"), "{said}");
        // Somebody whom no policy names is told so, and not lied to.
        stack
            .admin
            .kedge(&["delete", "accesspolicy", "everybody"])?
            .success()?;
        let bob = t.stranger("bob", None)?;
        bob.log_in_by_browser(&stack.hub, "bob")?;
        bob.kedge(&["whoami"])?.success()?.never_says(SERVER)?;
        Ok(())
    })
}
