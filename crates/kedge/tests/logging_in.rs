//! Logging in at an issuer: in a browser, with a code, with whom, and what is left when it fails.
#![cfg(test)]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Context, Result};
use common::tls::self_signed;
use common::{FakeHub, Person, Takes};
use kedge_testkit::browser::Browser;
use kedge_testkit::issuer::{Issuer, IssuerOptions, IssuerPerson, Misbehaviour};
use kedge_testkit::run::Live;
use kedge_testkit::wait;
use rustix::process::Signal;
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(30);

fn issuer() -> Result<Issuer> {
    Issuer::start(IssuerOptions::default())
}

fn nothing_is_stored(person: &Person) {
    assert!(!person.path(".config/kedge/config.toml").exists());
    assert!(!person.credentials().exists());
}

#[test]
fn a_browser_logs_in_and_the_login_is_private() -> Result<()> {
    let (hub, issuer) = (FakeHub::start()?, issuer()?);
    let person = Person::logged_in(&hub, &issuer, "alice")?;
    let stored = person.stored()?;
    assert_eq!(stored["kind"], "oidc");
    assert_eq!(stored["issuer"], issuer.url());
    assert_eq!(stored["clientId"], issuer.client_id());
    assert!(stored["refreshToken"].is_string(), "{stored}");
    let mode = fs::metadata(person.credentials())?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    person.kedge(["get", "servers"]).run()?.success()?;
    assert_eq!(hub.shown(), [stored["idToken"].as_str().unwrap()]);
    // A good token is good: the issuer hears of nothing.
    assert_eq!(issuer.grants("refresh_token"), 0);
    person.kedge(["logout"]).run()?.success()?;
    assert!(!person.credentials().exists());
    let ran = person.kedge(["get", "servers"]).run()?.exits(4)?;
    assert_eq!(
        ran.err(),
        "error: not logged in at hub `main`\nhint: kedge login main\n"
    );
    Ok(())
}

#[test]
fn the_url_is_printed_and_no_token_ever_is() -> Result<()> {
    let (hub, issuer) = (FakeHub::start()?, issuer()?);
    hub.trust(&[("corp", &issuer)]);
    let person = Person::new()?;
    let (live, url) = person.begin_login(&["login", &hub.url()])?;
    Browser::new("alice").open(&url)?;
    let ran = live.finish(PATIENCE)?.success()?.says(&[&url])?;
    assert!(ran.out().starts_with("Logged in at hub `main`"), "{ran}");
    let stored = person.stored()?;
    for secret in ["idToken", "refreshToken"] {
        let secret = stored[secret].as_str().context("a token")?;
        assert!(!ran.err().contains(secret) && !ran.out().contains(secret));
    }
    Ok(())
}

#[test]
fn without_a_display_a_code_is_shown() -> Result<()> {
    let (hub, issuer) = (FakeHub::start()?, issuer()?);
    hub.trust(&[("corp", &issuer)]);
    let person = Person::new()?;
    let run = person.kedge(["login", &hub.url()]);
    let live = Live::start(run.command)?;
    let url = wait::until("a code", PATIENCE, || {
        let said = live.err();
        let rest = said.split("or open ").nth(1);
        Ok(rest.and_then(|rest| Some(rest.split_once('\n')?.0.to_owned())))
    })?;
    Browser::new("alice").open(&url)?;
    let ran = live.finish(PATIENCE)?.success()?;
    // No terminal, no line that is drawn again and again.
    assert!(!ran.err().contains('\r'), "{ran}");
    assert_eq!(person.stored()?["kind"], "oidc");
    Ok(())
}

#[test]
fn a_hub_that_does_not_take_the_login_leaves_nothing_behind() -> Result<()> {
    let (hub, issuer) = (FakeHub::start()?, issuer()?);
    hub.trust(&[("corp", &issuer)]);
    hub.state().takes = Takes::Nothing;
    let person = Person::new()?;
    let ran = person
        .log_in(&["login", &hub.url()], "alice")?
        .exits(4)?
        .says(&[
            "does not take the login of its issuer `corp`",
            "nothing was stored",
        ])?;
    assert_eq!(ran.out(), "");
    nothing_is_stored(&person);
    Ok(())
}

#[test]
fn what_the_issuer_does_wrong_is_said_and_leaves_nothing_behind() -> Result<()> {
    let (hub, mut issuer) = (FakeHub::start()?, issuer()?);
    hub.trust(&[("corp", &issuer)]);
    let person = Person::new()?;
    for (how, expected) in [
        (
            Misbehaviour::AuthorizationError("access_denied".into()),
            "access_denied",
        ),
        (
            Misbehaviour::WrongIss("https://evil.example".into()),
            "not from",
        ),
        (
            Misbehaviour::TokensWith(json!({"aud": "other"}).as_object().cloned().unwrap()),
            "cannot be believed",
        ),
        (Misbehaviour::TokenError("server_error".into()), "error: "),
    ] {
        issuer.misbehave(how.clone());
        let ran = person.log_in(&["login", &hub.url()], "alice")?.exits(1)?;
        assert!(ran.err().contains(expected), "{how:?}: {ran}");
        assert!(
            ran.err()
                .contains(&format!("cannot log in at the issuer {}", issuer.url())),
            "{ran}"
        );
        nothing_is_stored(&person);
        issuer.behave();
    }
    issuer.misbehave(Misbehaviour::WrongIssuer("https://evil.example".into()));
    let ran = person.kedge(["login", &hub.url()]).run()?.exits(1)?;
    assert!(ran.err().contains("discovery document"), "{ran}");
    issuer.behave();
    issuer.down();
    let ran = person.kedge(["login", &hub.url()]).run()?.exits(1)?;
    assert!(
        ran.err()
            .contains("hint: try again when the issuer answers"),
        "{ran}"
    );
    nothing_is_stored(&person);
    Ok(())
}

#[test]
fn an_issuer_that_knows_some_ports_only_has_one_of_them_or_a_code() -> Result<()> {
    let (hub, issuer) = (FakeHub::start()?, issuer()?);
    hub.trust(&[("corp", &issuer)]);
    let busy = TcpListener::bind("127.0.0.1:0")?;
    let port = busy.local_addr()?.port();
    hub.state().issuers[0]["redirectPorts"] = json!([port]);
    let person = Person::new()?;
    let run = person.kedge(["login", &hub.url()]);
    let run = run.env("BROWSER", person.browser("url")?);
    let ran = run.run()?.exits(1)?.says(&[
        &format!("cannot listen on port {port} of 127.0.0.1"),
        // As the person called it: it has no name here yet.
        &format!("hint: kedge login {} --device\n", hub.url()),
    ])?;
    assert_eq!(ran.out(), "");
    nothing_is_stored(&person);
    drop(busy);
    let (live, url) = person.begin_login(&["login", &hub.url()])?;
    let expected = format!("redirect_uri=http%3A%2F%2F127.0.0.1%3A{port}%2Fcallback");
    assert!(url.contains(&expected), "{url}");
    Browser::new("alice").open(&url)?;
    live.finish(PATIENCE)?.success()?;
    // What renews the login goes by what the hub said then.
    assert_eq!(person.stored()?["redirectPorts"], json!([port]));
    Ok(())
}

#[test]
fn a_token_for_others_too_is_taken_where_the_hub_takes_it() -> Result<()> {
    let (hub, issuer) = (FakeHub::start()?, issuer()?);
    hub.trust(&[("corp", &issuer)]);
    let both =
        json!({"aud": [issuer.client_id(), "https://hub.example"], "azp": issuer.client_id()});
    issuer.misbehave(Misbehaviour::TokensWith(both.as_object().cloned().unwrap()));
    let person = Person::new()?;
    let ran = person.log_in(&["login", &hub.url()], "alice")?.exits(1)?;
    assert!(ran.err().contains("cannot be believed"), "{ran}");
    nothing_is_stored(&person);
    hub.state().issuers[0]["audiences"] = json!(["https://hub.example"]);
    person.log_in(&["login", &hub.url()], "alice")?.success()?;
    assert_eq!(
        person.stored()?["audiences"],
        json!(["https://hub.example"])
    );
    Ok(())
}

#[test]
fn ctrl_c_ends_a_login_with_130_and_nothing_stored() -> Result<()> {
    let (hub, issuer) = (FakeHub::start()?, issuer()?);
    hub.trust(&[("corp", &issuer)]);
    let person = Person::new()?;
    let (live, _) = person.begin_login(&["login", &hub.url()])?;
    live.signal(Signal::INT)?;
    live.finish(PATIENCE)?
        .exits(130)?
        .says(&["the login was interrupted; nothing was stored"])?;
    nothing_is_stored(&person);
    Ok(())
}

#[test]
fn two_logins_at_once_both_hold() -> Result<()> {
    let (one, two, issuer) = (FakeHub::start()?, FakeHub::start()?, issuer()?);
    for (hub, name) in [(&one, "one"), (&two, "two")] {
        hub.trust(&[("corp", &issuer)]);
        hub.state().name = name.to_owned();
        hub.state().suffix = format!("{name}.kedge");
    }
    let person = Person::new()?;
    let begin = |hub: &FakeHub, name: &str| -> Result<(Live, String)> {
        let run = person
            .kedge(["login", &hub.url()])
            .env("BROWSER", person.browser(name)?);
        let live = Live::start(run.command)?;
        Ok((live, person.opened(name)?))
    };
    // Two at different hubs, and two at the same one.
    let (first, first_url) = begin(&one, "a")?;
    let (second, second_url) = begin(&two, "b")?;
    let (third, third_url) = begin(&two, "c")?;
    for url in [&third_url, &first_url, &second_url] {
        Browser::new("alice").open(url)?;
    }
    for live in [first, second, third] {
        live.finish(PATIENCE)?.success()?;
    }
    let config = fs::read_to_string(person.path(".config/kedge/config.toml"))?;
    assert!(
        config.contains("[hubs.one]") && config.contains("[hubs.two]"),
        "{config}"
    );
    for hub in ["one", "two"] {
        person
            .kedge(["--hub", hub, "get", "servers"])
            .run()?
            .success()?;
    }
    Ok(())
}

#[test]
fn of_several_issuers_one_is_named_or_was_used_last() -> Result<()> {
    let (hub, corp, partners) = (FakeHub::start()?, issuer()?, issuer()?);
    hub.trust(&[("corp", &corp), ("partners", &partners)]);
    let person = Person::new()?;
    let ran = person.kedge(["login", &hub.url()]).run()?.exits(2)?;
    assert_eq!(
        ran.err(),
        format!(
            "error: the hub has several issuers to log in at (corp, partners)\n\
             hint: kedge login {} --issuer NAME\n",
            hub.url()
        )
    );
    let ran = person
        .kedge(["login", &hub.url(), "--issuer", "x\u{1b}[2J"])
        .run()?
        .exits(2)?;
    assert!(ran.err().contains("(it has corp, partners)"), "{ran}");
    assert!(!ran.err().contains('\u{1b}'), "{ran}");
    nothing_is_stored(&person);
    let words = ["login", &hub.url(), "--issuer", "partners"];
    person.log_in(&words, "alice")?.success()?;
    assert_eq!(person.stored()?["issuer"], partners.url());
    person.log_in(&["login", "main"], "bob")?.success()?;
    assert_eq!(person.stored()?["issuer"], partners.url());
    assert_eq!(person.stored()?["subject"], "bob");
    Ok(())
}

#[test]
fn issuers_of_one_name_are_told_apart_by_their_urls() -> Result<()> {
    let (hub, one, other) = (FakeHub::start()?, issuer()?, issuer()?);
    hub.trust(&[("corp", &one), ("corp", &other)]);
    let person = Person::new()?;
    let words = ["login", &hub.url(), "--issuer", "corp"];
    let run = person.kedge(words).env("BROWSER", person.browser("url")?);
    let ran = run.run()?.exits(2)?;
    assert_eq!(
        ran.err(),
        format!(
            "error: the hub has several issuers `corp` ({}, {})\n\
             hint: kedge login {} --issuer URL\n",
            one.url(),
            other.url(),
            hub.url()
        )
    );
    nothing_is_stored(&person);
    let words = ["login", &hub.url(), "--issuer", &other.url()];
    person.log_in(&words, "alice")?.success()?;
    assert_eq!(person.stored()?["issuer"], other.url());
    Ok(())
}

#[test]
fn a_hub_with_static_tokens_alone_wants_one() -> Result<()> {
    let hub = FakeHub::start()?;
    let person = Person::new()?;
    let ran = person.kedge(["login", &hub.url()]).run()?.exits(2)?;
    let hint = format!("hint: kedge login {} --token-file FILE\n", hub.url());
    assert!(ran.err().ends_with(&hint), "{ran}");
    nothing_is_stored(&person);
    Ok(())
}

#[test]
fn a_name_that_is_taken_is_refused_before_anybody_logs_in() -> Result<()> {
    let (hub, issuer) = (FakeHub::start()?, issuer()?);
    let person = Person::at(&hub)?;
    let other = FakeHub::start()?;
    other.trust(&[("corp", &issuer)]);
    let ran = person.kedge(["login", &other.url()]).run()?.exits(2)?;
    assert!(ran.err().contains("there is a hub `main` already"), "{ran}");
    assert_eq!(issuer.requests_to("/authorize"), 0);
    Ok(())
}

/// Everything here is chosen by somebody else, and ends on a terminal.
#[test]
fn hostile_texts_stay_on_their_line() -> Result<()> {
    let evil = "x\u{1b}]0;y\u{7}\u{202e}\nerror: z\u{200b}";
    let (hub, issuer) = (FakeHub::start()?, issuer()?);
    issuer.know(IssuerPerson::new("evil").claim("groups", json!([evil])));
    let person = Person::logged_in(&hub, &issuer, "evil")?;
    let harmless = |text: &str| {
        let odd = ['\u{1b}', '\u{7}', '\u{202e}', '\u{200b}'];
        assert!(!text.contains(odd), "{text:?}");
        assert!(!text.contains("\nerror: z"), "{text:?}");
    };
    {
        let mut state = hub.state();
        state.person = json!({"claims": {"department": evil}, "loginError": evil, "login": null});
        state
            .objects
            .insert("servers/web01".into(), common::server("web01"));
        state.maps = false;
    }
    for words in [
        &["whoami"][..],
        &["whoami", "-o", "json"],
        &["whoami", "-o", "yaml"],
    ] {
        let ran = person.kedge(words).run()?.success()?;
        harmless(&ran.out());
        harmless(&ran.err());
    }
    hub.state().takes = Takes::Nothing;
    hub.state().refusal = evil.to_owned();
    for (words, code) in [
        (&["whoami"][..], 4),
        (&["ssh", "web01"], 255),
        (&["proxy", "web01"], 255),
    ] {
        let ran = person.kedge(words).run()?.exits(code)?;
        harmless(&ran.err());
        assert_eq!(ran.err().lines().count(), 2, "{ran}");
    }
    hub.trust(&[("corp", &issuer)]);
    for how in [
        Misbehaviour::AuthorizationError(evil.into()),
        Misbehaviour::TokenDescription(evil.into()),
        Misbehaviour::TokenError(evil.into()),
    ] {
        issuer.misbehave(how);
        harmless(&person.log_in(&["login", "main"], "evil")?.err());
        issuer.behave();
    }
    // Where a code is shown, nothing but it is.
    hub.state().issuers[0]["name"] = json!(evil.replace('\n', " "));
    let ran = person.kedge(["login", "main", "--issuer", "x"]).run()?;
    harmless(&ran.err());
    Ok(())
}

/// An issuer with a certificate of its own making, that says nothing but 404.
fn https_issuer() -> Result<(String, String)> {
    let issuer = self_signed(|session, socket| {
        let mut stream = rustls::Stream::new(session, socket);
        let mut head = [0; 4096];
        if stream.read(&mut head).is_ok() {
            let _ = stream.write_all(
                b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            );
        }
    })?;
    let url = format!("https://localhost:{}", issuer.address.port());
    Ok((url, issuer.certificate.pem()))
}

#[test]
fn authorities_that_the_hub_names_are_believed_for_the_issuer_alone() -> Result<()> {
    let hub = FakeHub::start()?;
    let (url, pem) = https_issuer()?;
    let person = Person::new()?;
    let tried = |info: serde_json::Value| -> Result<String> {
        hub.state().issuers = vec![info];
        let ran = person.kedge(["login", &hub.url(), "--device"]).run()?;
        Ok(ran.exits(1)?.err())
    };
    let mut info = json!({"name": "corp", "issuer": url, "clientId": "kedge"});
    let said = tried(info.clone())?;
    assert!(said.contains("is not trusted"), "{said}");
    info["certificateAuthorities"] = json!(pem);
    let said = tried(info.clone())?;
    assert!(!said.contains("trusted") && said.contains("404"), "{said}");
    info["certificateAuthorities"] = json!("none");
    let said = tried(info)?;
    assert!(said.contains("cannot read the certificates"), "{said}");
    // The hub itself is not believed for them.
    let (hub_url, hub_pem) = https_issuer()?;
    assert_ne!(pem, hub_pem);
    let ran = person.kedge(["login", &hub_url]).run()?.exits(1)?;
    assert!(
        ran.err().contains("no authority that this machine trusts"),
        "{ran}"
    );
    nothing_is_stored(&person);
    Ok(())
}

#[test]
fn whoami_says_as_whom_where_and_for_how_long() -> Result<()> {
    let (hub, issuer) = (FakeHub::start()?, issuer()?);
    let person = Person::logged_in(&hub, &issuer, "alice")?;
    for number in 1..=23 {
        let name = format!("web{number:02}");
        hub.put(&format!("servers/{name}"), common::server(&name));
    }
    let now = jiff::Timestamp::now();
    // Half a minute off a whole one, so that it does not matter when the second turns.
    let at = |minutes: i64| {
        kedge_api::Time::from(now + jiff::SignedDuration::from_secs(minutes * 60 - 30))
    };
    hub.state().person = json!({
        "issuer": issuer.url(), "subject": "248289761001", "user": "alice", "method": "oidc",
        "permissions": [], "authenticatedAt": at(-180), "expiresAt": at(43),
        "hubRights": {"roles": ["viewer"], "rules": [
            {"verbs": ["get", "list"], "resources": ["servers"], "resourceNames": ["web01"]},
        ]},
    });
    let said = person.kedge(["whoami"]).run()?.success()?.out();
    for line in [
        "User:          alice\n",
        "Subject:       248289761001\n",
        "Method:        oidc\n",
        "Rights:        viewer; get, list of servers (web01)\n",
        "Authenticated: 3 h ago (",
        "Expires:       in 42 min (",
        ", renewed by itself\n",
        "\nSERVER   LOGIN\nweb01    alice\n",
        "\nweb20    alice\nand 3 more: kedge whoami --server NAME\n",
    ] {
        assert!(said.contains(line), "no {line:?} in {said}");
    }
    hub.requests();
    let words = ["whoami", "--server", "web23", "--server", "nowhere"];
    let said = person.kedge(words).run()?.exits(6)?.out();
    assert!(
        said.ends_with(
            "\nSERVER    LOGIN\nweb23     alice\n\
             nowhere   <none>: servers \"nowhere\" not found, or you may not see it\n"
        ),
        "{said}"
    );
    assert_eq!(hub.requests().len(), 3);
    let data = person
        .kedge(["whoami", "--server", "web23", "-o", "json"])
        .run()?;
    let data = data.success()?.json()?;
    assert_eq!(
        data["servers"],
        json!([{"name": "web23", "login": "alice"}])
    );
    assert_eq!(data["user"], "alice");
    let data = person.kedge(["whoami", "-o", "json"]).run()?.json()?;
    assert_eq!(data["serversNotAsked"], 3);
    Ok(())
}

/// A command with a terminal for its input, output and errors.
fn at_a_terminal(person: &Person, line: &str) -> common::Run {
    let mut command = std::process::Command::new("script");
    let line = format!("{} {line}", common::kedge().display());
    command.args(["-qec", &line, "/dev/null"]);
    person.run(command).env("TERM", "xterm")
}

#[test]
fn kedge_ssh_logs_in_by_itself_where_somebody_sits() -> Result<()> {
    let (hub, issuer) = (FakeHub::start()?, issuer()?);
    let person = Person::logged_in(&hub, &issuer, "alice")?;
    hub.put("servers/web01", common::server("web01"));
    person.kedge(["logout"]).run()?.success()?;
    // Nobody is asked in a batch.
    let run = at_a_terminal(&person, "ssh -o BatchMode=yes web01 true");
    let ran = run
        .env("BROWSER", person.browser("url")?)
        .run()?
        .exits(255)?;
    assert!(ran.out().contains("hint: kedge login main"), "{ran}");
    assert!(!person.path("url").exists());
    // Somebody at a terminal is, and then it goes on to ssh, which finds no host key.
    let run = at_a_terminal(&person, "ssh web01 true");
    let live = Live::start(run.env("BROWSER", person.browser("url")?).command)?;
    Browser::new("alice").open(&person.opened("url")?)?;
    let ran = live.wait(PATIENCE)?.exits(255)?;
    assert!(ran.out().contains("not logged in at hub `main`"), "{ran}");
    assert!(
        ran.out().contains("Logged in at hub `main` as alice"),
        "{ran}"
    );
    assert!(
        hub.requests()
            .iter()
            .any(|asked| asked.ends_with("/servers/web01/access"))
    );
    Ok(())
}

#[test]
fn somebody_at_a_terminal_chooses_the_issuer() -> Result<()> {
    let (hub, corp, partners) = (FakeHub::start()?, issuer()?, issuer()?);
    hub.trust(&[("corp", &corp), ("partners", &partners)]);
    let person = Person::new()?;
    for (answer, chosen) in [("2\n", &partners), ("corp\n", &corp)] {
        let run = at_a_terminal(&person, &format!("login {}", hub.url()));
        let mut live = Live::start(run.env("BROWSER", person.browser("url")?).command)?;
        live.expect("Log in at which one? ", PATIENCE)?;
        live.send(answer)?;
        Browser::new("alice").open(&person.opened("url")?)?;
        live.wait(PATIENCE)?.success()?;
        assert_eq!(person.stored()?["issuer"], chosen.url());
        person.kedge(["logout"]).run()?.success()?;
    }
    for answer in ["3\n", "0\n", "\u{1b}[2J\n", "\n"] {
        let run = at_a_terminal(&person, &format!("login {}", hub.url()));
        let mut live = Live::start(run.command)?;
        live.expect("Log in at which one? ", PATIENCE)?;
        live.send(answer)?;
        let ran = live.wait(PATIENCE)?.exits(2)?;
        assert!(ran.out().contains("is none of them"), "{ran}");
    }
    assert!(!person.credentials().exists());
    Ok(())
}

#[test]
fn the_code_has_a_line_that_says_how_long_it_is_good() -> Result<()> {
    let (hub, issuer) = (FakeHub::start()?, issuer()?);
    hub.trust(&[("corp", &issuer)]);
    let person = Person::new()?;
    let live = Live::start(at_a_terminal(&person, &format!("login {}", hub.url())).command)?;
    let heard = |word: &str| {
        wait::until(word, PATIENCE, || {
            let said = String::from_utf8_lossy(&live.out()).into_owned();
            Ok(said.split(word).nth(1).map(str::to_owned))
        })
    };
    heard("\rWaiting for you; the code is good for ")?;
    let url = heard("or open ")?;
    let url = url.lines().next().context("a URL")?.trim().to_owned();
    Browser::new("alice").open(&url)?;
    live.wait(PATIENCE)?.success()?;
    assert_eq!(person.stored()?["kind"], "oidc");
    Ok(())
}
