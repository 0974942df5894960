//! The way back from the provider to the command line: only the answer to one's own question counts, and only once.

use std::io::{Read, Write};

use crate::prelude::*;
use crate::trusting::*;

/// A login that waits for its browser: the command, and the page that the browser was told to open.
fn waiting(t: &Case, trusting: &Trusting) -> Result<(Person, Live, String)> {
    let alice = trusting.stranger(t, "alice")?;
    let opened = alice.home().join("opened");
    let script = format!(
        "#!/bin/sh\necho \"$1\" >'{}.new'\nmv '{0}.new' '{0}'\n",
        opened.display()
    );
    let browser = t.write(&t.unique("silent-browser"), script)?;
    std::fs::set_permissions(
        &browser,
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )?;
    let mut command = alice.log_in_command(&trusting.cheap.hub, "alice", &[])?;
    command.env("BROWSER", browser);
    let live = Live::start(command)?;
    let url = wait::until("the browser to be opened", defaults::COMMAND, || {
        Ok(std::fs::read_to_string(&opened).ok())
    })
    .with_context(|| said(&live))?;
    Ok((alice, live, url.trim().to_owned()))
}

/// Where the answer is to be sent, with its parameters.
fn redirect(url: &str) -> Result<(String, String)> {
    let (_, query) = url.split_once('?').context("a query")?;
    let pairs = kedge_testkit::form::decode(query);
    let value = |name: &str| {
        kedge_testkit::form::value(&pairs, name)
            .map(str::to_owned)
            .with_context(|| format!("no {name} in {url}"))
    };
    ensure!(value("code_challenge_method")? == "S256");
    ensure!(value("response_type")? == "code");
    ensure!(!value("nonce")?.is_empty());
    Ok((value("redirect_uri")?, value("state")?))
}

#[test]
fn other_pages_and_wrong_states_do_not_disturb_a_login() -> Result<()> {
    case(|t| {
        let trusting = Trusting::start(t)?;
        let (alice, live, url) = waiting(t, &trusting)?;
        let (back, state) = redirect(&url)?;
        ensure!(back.starts_with("http://127.0.0.1:"), "{back}");
        let base = back.trim_end_matches(|letter| letter != '/').to_owned();
        let mut stranger = Browser::new("eve");
        let wrong = [
            format!("{base}favicon.ico"),
            format!("{base}somewhere?code=x&state={state}"),
            back.clone(),
            format!("{back}?code=stolen&state=wrong"),
            format!("{back}?code=stolen"),
            format!("{back}?error=access_denied&state=wrong"),
            format!("{back}?state={state}&code=stolen&iss=http://127.0.0.1:1"),
        ];
        for page in &wrong[..6] {
            let answer = stranger.look(page)?;
            ensure!(answer.status >= 400, "{page}: {}", answer.status);
            ensure!(
                !answer.body.contains("stolen"),
                "{page} echoes: {}",
                answer.body
            );
        }
        // A connection that says nothing, and one that never ends its request.
        let address = back
            .trim_start_matches("http://")
            .split('/')
            .next()
            .context("an address")?
            .to_owned();
        let _silent = std::net::TcpStream::connect(&address)?;
        let mut endless = std::net::TcpStream::connect(&address)?;
        endless.write_all(b"GET /callback?code=")?;
        let page = Browser::new("alice").open(&url)?.success()?;
        ensure!(!page.body.is_empty(), "an empty page");
        ensure!(!page.body.contains(".eyJ"), "a page shows a token");
        ensure!(
            page.headers
                .iter()
                .all(|(name, _)| name != "access-control-allow-origin"),
            "{:?}",
            page.headers
        );
        live.wait(defaults::COMMAND)?.success()?;
        alice.kedge(&["whoami"])?.success()?;
        // One use: nobody listens any more.
        ensure!(
            std::net::TcpStream::connect(&address).is_err(),
            "the redirect is still open"
        );
        ensure!(trusting.issuer.grants("authorization_code") == 1);
        Ok(())
    })
}

#[test]
fn a_login_comes_back_to_a_port_that_the_hub_lists_with_a_token_that_the_hub_takes() -> Result<()> {
    case(|t| {
        let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
        let free = std::net::TcpListener::bind("127.0.0.1:0")?;
        let (taken_port, port) = (taken.local_addr()?.port(), free.local_addr()?.port());
        let trusting = Trusting::with(t, IssuerOptions::default(), |options| {
            for issuer in &mut options.issuers {
                *issuer = issuer
                    .clone()
                    .with(&format!("redirect-ports = [{taken_port}, {port}]"))
                    .with("audiences = [\"https://hub.example\"]");
            }
        })?;
        let both = json!({
            "aud": [trusting.issuer.client_id(), "https://hub.example"],
            "azp": trusting.issuer.client_id(),
        });
        let both = both.as_object().cloned().context("an object")?;
        trusting.issuer.misbehave(Misbehaviour::TokensWith(both));
        drop(free);
        let (alice, live, url) = waiting(t, &trusting)?;
        let (back, _) = redirect(&url)?;
        ensure!(
            back == format!("http://127.0.0.1:{port}/callback"),
            "{back}"
        );
        // A second login at the same time finds no port.
        let bob = trusting.stranger(t, "bob")?;
        run(bob.log_in_command(&trusting.cheap.hub, "bob", &[])?)?
            .exits(1)?
            .says(&[
                &format!("ports {taken_port}, {port} of 127.0.0.1"),
                "--device",
            ])?;
        Browser::new("alice").open(&url)?.success()?;
        live.wait(defaults::COMMAND)?.success()?;
        alice.kedge(&["whoami"])?.success()?;
        run(bob.log_in_command(&trusting.cheap.hub, "bob", &[])?)?.success()?;
        Ok(())
    })
}

#[test]
fn the_same_answer_twice_is_taken_once() -> Result<()> {
    case(|t| {
        let trusting = Trusting::start(t)?;
        let (alice, live, url) = waiting(t, &trusting)?;
        let page = Browser::new("alice").open(&url)?.success()?;
        let twice = Browser::new("alice").look(&page.url);
        ensure!(
            twice.is_err() || twice.is_ok_and(|page| page.status >= 400),
            "the second was taken too"
        );
        live.wait(defaults::COMMAND)?.success()?;
        alice.kedge(&["whoami"])?.success()?;
        ensure!(trusting.issuer.grants("authorization_code") == 1);
        Ok(())
    })
}

#[test]
fn two_logins_at_once_do_not_meet() -> Result<()> {
    case(|t| {
        let trusting = Trusting::start(t)?;
        let (alice, first, for_alice) = waiting(t, &trusting)?;
        let (bob, second, for_bob) = waiting(t, &trusting)?;
        // alice's answer at bob's door is nobody's.
        let (bobs_door, _) = redirect(&for_bob)?;
        let (_, alices_state) = redirect(&for_alice)?;
        let crossed =
            Browser::new("eve").look(&format!("{bobs_door}?code=x&state={alices_state}"))?;
        ensure!(crossed.status >= 400, "{}", crossed.status);
        Browser::new("bob").open(&for_bob)?.success()?;
        Browser::new("alice").open(&for_alice)?.success()?;
        first.wait(defaults::COMMAND)?.success()?;
        second.wait(defaults::COMMAND)?.success()?;
        let said = alice.kedge(&["whoami"])?.success()?;
        ensure!(said.out().contains("alice"), "{said}");
        let said = bob.kedge(&["whoami"])?.success()?;
        ensure!(said.out().contains("bob"), "{said}");
        Ok(())
    })
}

#[test]
fn each_lie_of_an_issuer_ends_the_login_with_a_reason() -> Result<()> {
    case(|t| {
        let trusting = Trusting::start(t)?;
        let object = |value: Value| value.as_object().cloned().unwrap_or_default();
        let lies = [
            Misbehaviour::WrongIssuer(format!("{}/", trusting.issuer.url())),
            Misbehaviour::WrongIss("http://127.0.0.1:1".to_owned()),
            Misbehaviour::MissingIss,
            Misbehaviour::AuthorizationError("access_denied".to_owned()),
            Misbehaviour::TokenError("invalid_grant".to_owned()),
            Misbehaviour::TokenError("server_error".to_owned()),
            Misbehaviour::TokensWith(object(json!({"nonce": "another"}))),
            Misbehaviour::TokensWith(object(json!({"nonce": null}))),
            Misbehaviour::TokensWith(object(json!({"aud": "somebody"}))),
            Misbehaviour::TokensWith(object(json!({"iss": "http://127.0.0.1:1"}))),
            Misbehaviour::TokensSignedWith("HS256".to_owned()),
            Misbehaviour::TokensSignedWith("none".to_owned()),
            Misbehaviour::DiscoveryError,
            Misbehaviour::Discovery("{}".to_owned()),
            Misbehaviour::JwksError,
            Misbehaviour::JwksHuge,
        ];
        for lie in lies {
            let alice = trusting.stranger(t, "alice")?;
            trusting.issuer.misbehave(lie.clone());
            let ran = run(alice.log_in_command(&trusting.cheap.hub, "alice", &[])?)?;
            trusting.issuer.behave();
            ensure!(
                ran.code() != Some(0) && ran.err().contains("error: "),
                "{lie:?}: {ran}"
            );
            ran.never_says(".eyJ")?;
            alice.kedge(&["whoami"])?.exits(4)?;
        }
        Ok(())
    })
}

#[test]
fn an_issuer_that_is_not_there_is_named() -> Result<()> {
    case(|t| {
        let mut trusting = Trusting::start(t)?;
        let alice = trusting.stranger(t, "alice")?;
        trusting.issuer.down();
        for words in [&[][..], &["--device"]] {
            let ran = run(alice.log_in_command(&trusting.cheap.hub, "alice", words)?)?;
            ensure!(ran.code() != Some(0), "{ran}");
            ran.says(&["error: ", &trusting.issuer.url()])?;
        }
        Ok(())
    })
}

#[test]
fn who_is_to_log_in_anew_is_asked_anew() -> Result<()> {
    case(|t| {
        let trusting = Trusting::start(t)?;
        let alice = trusting.stranger(t, "alice")?;
        let words = ["--reauthenticate"];
        let ran = run(alice.log_in_command(&trusting.cheap.hub, "alice", &words)?)?.success()?;
        let page = url_in(
            &format!("{}\n{}", ran.out(), ran.err()),
            &format!("{}/authorize?", trusting.issuer.url()),
        )?;
        ensure!(
            page.contains("prompt=login") && page.contains("max_age=0"),
            "{page}"
        );
        Ok(())
    })
}

#[test]
fn what_an_issuer_says_cannot_draw_on_the_terminal() -> Result<()> {
    case(|t| {
        let trusting = Trusting::start(t)?;
        trusting
            .issuer
            .misbehave(Misbehaviour::TokenError("invalid_grant".to_owned()));
        trusting.issuer.misbehave(Misbehaviour::TokenDescription(
            "\u{1b}[2Jforged\r\nerror: \u{202e}<script>alert(1)</script>".to_owned(),
        ));
        let alice = trusting.stranger(t, "alice")?;
        let ran = run(alice.log_in_command(&trusting.cheap.hub, "alice", &[])?)?;
        ensure!(ran.code() != Some(0), "{ran}");
        for forbidden in ["\u{1b}[2J", "\r\nerror", "\u{202e}"] {
            ensure!(!ran.err().contains(forbidden), "{ran}");
        }
        // And the page in the browser shows text as text.
        trusting.issuer.behave();
        trusting
            .issuer
            .misbehave(Misbehaviour::AuthorizationError("access_denied".to_owned()));
        trusting.issuer.misbehave(Misbehaviour::TokenDescription(
            "<script>alert(1)</script>".to_owned(),
        ));
        let (_, live, url) = waiting(t, &trusting)?;
        let page = Browser::new("alice").open(&url)?;
        ensure!(!page.body.contains("<script>alert"), "{}", page.body);
        let ran = live.wait(defaults::COMMAND)?;
        ensure!(ran.code() != Some(0), "{ran}");
        Ok(())
    })
}

#[test]
fn a_clock_that_is_ten_minutes_off_is_named() -> Result<()> {
    case(|t| {
        let trusting = Trusting::start(t)?;
        trusting.issuer.skew(600);
        let alice = trusting.stranger(t, "alice")?;
        let ran = run(alice.log_in_command(&trusting.cheap.hub, "alice", &[])?)?;
        ensure!(ran.code() != Some(0), "{ran}");
        ensure!(
            ran.err().contains("clock"),
            "no word about the clock: {ran}"
        );
        // The hub itself says so to its operator.
        let token = trusting.issuer.id_token("alice")?;
        ensure!(trusting.status(&token)? == 401);
        trusting.issuer.skew(0);
        // The same when it is the person's own machine.
        let program = machine::find_program("faketime").context("faketime")?;
        let login = alice.log_in_command(&trusting.cheap.hub, "alice", &[])?;
        let mut command = alice.command(program);
        command
            .args(["-f", "-10m"])
            .arg(login.get_program())
            .args(login.get_args())
            .env("BROWSER", alice.browser("alice")?);
        let ran = run(command)?;
        ensure!(ran.code() != Some(0), "{ran}");
        ensure!(
            ran.err().contains("clock"),
            "no word about the clock: {ran}"
        );
        Ok(())
    })
}

#[test]
fn an_interrupted_login_leaves_nothing() -> Result<()> {
    case(|t| {
        let trusting = Trusting::start(t)?;
        let (alice, live, url) = waiting(t, &trusting)?;
        live.signal(rustix::process::Signal::INT)?;
        let ran = live.wait(defaults::SOON)?;
        ensure!(ran.code() != Some(0), "{ran}");
        let (back, _) = redirect(&url)?;
        let address = back.trim_start_matches("http://").split('/').next();
        let mut left = std::net::TcpStream::connect(address.context("an address")?);
        ensure!(
            left.as_mut().map(|stream| stream.read(&mut [0])).is_err(),
            "the redirect is still open"
        );
        alice.kedge(&["whoami"])?.exits(4)?;
        Ok(())
    })
}
