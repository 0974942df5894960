//! Logging in and out, and what is left behind.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use common::tls::self_signed;
use common::{FakeHub, Person, TOKEN};

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.path() {
            path if path.is_dir() => files(&path),
            path => vec![path],
        })
        .collect()
}

#[test]
fn a_login_is_stored_privately_once_the_hub_knows_it() -> Result<()> {
    let hub = FakeHub::start()?;
    let person = Person::new()?;
    let token = person.secret("my.token", TOKEN)?;
    let ran = person
        .kedge(["login", &hub.url(), "--token-file", &token])
        .run()?
        .success()?;
    assert!(
        ran.out().starts_with("Logged in at hub `main`"),
        "{}",
        ran.out()
    );
    let stored = person.credentials();
    assert_eq!(
        fs::read_to_string(&stored)?,
        format!("{{\"kind\":\"static\",\"token\":\"{TOKEN}\"}}\n")
    );
    assert_eq!(fs::metadata(&stored)?.permissions().mode() & 0o777, 0o600);
    assert_eq!(
        fs::metadata(stored.parent().unwrap())?.permissions().mode() & 0o777,
        0o700
    );
    let config = fs::read_to_string(person.path(".config/kedge/config.toml"))?;
    let expected = format!(
        "default-hub = \"main\"\n\n[hubs.main]\nurl = \"{}\"\nsuffix = \"kedge\"\n",
        hub.url()
    );
    assert_eq!(config, expected);
    let who = person.kedge(["whoami"]).run()?.success()?.out();
    insta::assert_snapshot!(who, @r"
    Hub:           main
    User:          alice@corp.example
    Subject:       alice@corp.example
    Issuer:        static
    Method:        static-token
    Groups:        dev
    Login:         alice
    Rights:        admin
    ");
    assert_eq!(
        person.kedge(["logout"]).run()?.success()?.out(),
        "Logged out at hub `main`.\n"
    );
    assert!(files(&person.path(".local/state")).is_empty());
    let ran = person.kedge(["whoami"]).run()?.exits(4)?;
    insta::assert_snapshot!(ran.err(), @r"
    error: not logged in at hub `main`
    hint: kedge login main --token-file FILE
    ");
    Ok(())
}

#[test]
fn a_token_comes_from_standard_input_too_and_a_hub_by_its_name() -> Result<()> {
    let hub = FakeHub::start()?;
    let person = Person::at(&hub)?;
    person.kedge(["logout"]).run()?.success()?;
    let words = ["login", "main", "--token-file", "-"];
    person
        .kedge(words)
        .input(format!("{TOKEN}\n"))
        .run()?
        .success()?;
    person.kedge(["whoami"]).run()?.success()?;
    Ok(())
}

#[test]
fn nothing_is_stored_when_anything_is_wrong() -> Result<()> {
    let hub = FakeHub::start()?;
    let person = Person::new()?;
    let url = hub.url();
    let bad = person.secret("bad", "kpt_wrong")?;
    let empty = person.secret("empty", "\n")?;
    let odd = person.secret("odd", "two words")?;
    let open = person.secret("open", TOKEN)?;
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644))?;
    for (words, code, expected) in [
        (
            vec![url.as_str(), "--token-file", &bad],
            4,
            "does not know this token; nothing was stored",
        ),
        (vec![&url, "--token-file", &empty], 2, "the token is empty"),
        (vec![&url, "--token-file", &odd], 2, "odd characters"),
        (vec![&url, "--token-file", &open], 1, "others can read it"),
        (
            vec![&url, "--token-file", "/nonexistent"],
            1,
            "cannot read /nonexistent",
        ),
        (vec![&url], 2, "needs a token"),
        (
            vec!["ftp://x", "--token-file", &bad],
            2,
            "hub URL `ftp://x`",
        ),
        (
            vec!["http://hub.example", "--token-file", &bad],
            2,
            "plain HTTP",
        ),
        (vec!["https://u:p@x", "--token-file", &bad], 2, "hub URL"),
    ] {
        let mut all = vec!["login"];
        all.extend(words);
        let ran = person.kedge(&all).run()?.exits(code)?;
        assert!(
            ran.err().starts_with("error: ") && ran.err().contains(expected),
            "{all:?}: {}",
            ran.err()
        );
        assert!(
            !ran.err().contains("kpt_"),
            "a token was printed: {}",
            ran.err()
        );
        assert_eq!(ran.out(), "");
    }
    assert!(files(&person.path(".config")).is_empty());
    assert!(files(&person.path(".local")).is_empty());
    Ok(())
}

#[test]
fn a_self_signed_hub_shows_its_pin_and_how_to_compare_it() -> Result<()> {
    let hub =
        self_signed(
            |session, socket| {
                while session.is_handshaking() && session.complete_io(socket).is_ok() {}
            },
        )?;
    let pin = kedge_tunnel::CertificatePin::of(hub.certificate.der()).to_string();
    let url = format!("https://{}", hub.address);
    let person = Person::new()?;
    let token = person.secret("my.token", TOKEN)?;
    let ran = person
        .kedge(["login", &url, "--token-file", &token])
        .run()?
        .exits(1)?;
    assert!(
        ran.err().contains(&format!("it shows {pin}")),
        "{}",
        ran.err()
    );
    assert!(
        ran.err()
            .contains("hint: compare it with the pin that kedge-hub prints"),
        "{}",
        ran.err()
    );
    assert!(
        ran.err()
            .contains(&format!("--token-file {token} --pin {pin}")),
        "{}",
        ran.err()
    );
    let other = kedge_tunnel::CertificatePin::of(b"x").to_string();
    let words = ["login", &url, "--token-file", &token, "--pin", &other];
    let ran = person.kedge(words).run()?.exits(1)?;
    assert!(
        ran.err().contains(&pin) && ran.err().contains(&other),
        "{}",
        ran.err()
    );
    assert!(files(&person.path(".config")).is_empty());
    Ok(())
}

#[test]
fn a_configuration_that_was_named_must_be_there_but_for_login() -> Result<()> {
    let (hub, person) = (FakeHub::start()?, Person::new()?);
    let file = person
        .path("new/config.toml")
        .to_string_lossy()
        .into_owned();
    for (words, code) in [
        (&["get", "servers"][..], 2),
        (&["whoami"], 2),
        (&["ssh", "web01"], 255),
    ] {
        let ran = person.kedge([&["--config", &file], words].concat()).run()?;
        let ran = ran.exits(code)?;
        let expected = format!(
            "error: there is no configuration file {file}\n\
             hint: kedge login HUB makes it, with the same --config\n"
        );
        assert_eq!(ran.err(), expected, "{words:?}");
    }
    let token = person.secret("token", common::TOKEN)?;
    person
        .kedge([
            "--config",
            &file,
            "login",
            &hub.url(),
            "--token-file",
            &token,
        ])
        .run()?
        .success()?;
    person
        .kedge(["--config", &file, "get", "servers"])
        .run()?
        .success()?;
    Ok(())
}

#[test]
fn mistakes_in_the_configuration_name_their_place() -> Result<()> {
    let person = Person::new()?;
    let path = person.path("config.toml");
    fs::write(
        &path,
        "[hubs.main]\nurl = \"https://a\"\nsufix = \"kedge\"\n",
    )?;
    let file = path.to_string_lossy().into_owned();
    let ran = person
        .kedge(["--config", &file, "get", "servers"])
        .run()?
        .exits(2)?;
    let expected =
        format!("error: {file}:3:1: unknown key `hubs.main.sufix`; did you mean `suffix`?\n");
    assert_eq!(ran.err(), expected);
    let ran = person
        .kedge(["--config", &file, "ssh", "web01"])
        .run()?
        .exits(255)?;
    assert_eq!(ran.err(), expected);
    Ok(())
}
