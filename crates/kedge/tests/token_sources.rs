//! Tokens that somebody else makes: from files and commands.
#![cfg(test)]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use anyhow::Result;
use common::{FakeHub, Person, Takes};
use kedge_testkit::issuer::{Issuer, IssuerOptions};
use serde_json::json;

fn workload_hub() -> Result<(FakeHub, Issuer)> {
    let (hub, issuer) = (FakeHub::start()?, Issuer::start(IssuerOptions::default())?);
    hub.state().takes = Takes::Jwt;
    Ok((hub, issuer))
}

#[test]
fn a_token_file_is_read_again_at_each_use_also_behind_links() -> Result<()> {
    let (hub, issuer) = workload_hub()?;
    let person = Person::new()?;
    // As Kubernetes projects a token: a link to a link into a folder that is replaced.
    let (first, second) = (
        issuer.id_token("alice")?,
        issuer.id_token_with("alice", &json!({"n": 2}))?,
    );
    fs::create_dir_all(person.path("tokens/..1"))?;
    fs::create_dir_all(person.path("tokens/..2"))?;
    person.secret("tokens/..1/token", &first)?;
    person.secret("tokens/..2/token", &second)?;
    symlink("..1", person.path("tokens/..data"))?;
    symlink("..data/token", person.path("tokens/token"))?;
    let words = ["login", &hub.url(), "--token-file", "tokens/token"];
    person.kedge(words).run()?.success()?;
    let stored = person.stored()?;
    assert_eq!(
        stored,
        json!({"kind": "file", "path": person.path("tokens/token")})
    );
    hub.shown();
    person.kedge(["get", "servers"]).run()?.success()?;
    fs::remove_file(person.path("tokens/..data"))?;
    symlink("..2", person.path("tokens/..data"))?;
    person.kedge(["get", "servers"]).run()?.success()?;
    assert_eq!(hub.shown(), [first, second]);
    Ok(())
}

#[test]
fn a_token_file_that_others_could_read_or_write_is_refused_each_time() -> Result<()> {
    let (hub, issuer) = workload_hub()?;
    let person = Person::new()?;
    let file = person.secret("token", &issuer.id_token("alice")?)?;
    symlink(&file, person.path("link"))?;
    let words = ["login", &hub.url(), "--token-file", "link"];
    for mode in [0o644, 0o640, 0o620, 0o602] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode))?;
        let ran = person.kedge(words).run()?.exits(1)?;
        assert!(ran.err().contains("others can read it"), "{ran}");
        assert!(
            ran.err().contains("chmod 600") && ran.err().contains("--token-command 'cat "),
            "{ran}"
        );
    }
    assert!(!person.credentials().exists());
    for mode in [0o600, 0o400] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode))?;
        person.kedge(words).run()?.success()?;
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
    let ran = person.kedge(["get", "servers"]).run()?.exits(1)?;
    assert!(ran.err().contains("others can read it"), "{ran}");
    let ran = person.kedge(["ssh", "web01"]).run()?.exits(255)?;
    assert!(ran.err().contains("others can read it"), "{ran}");
    fs::remove_file(&file)?;
    let ran = person.kedge(["get", "servers"]).run()?.exits(1)?;
    assert!(
        ran.err()
            .contains("the token file cannot be used: cannot read"),
        "{ran}"
    );
    Ok(())
}

#[test]
fn a_token_file_of_another_user_is_refused() -> Result<()> {
    let (hub, issuer) = workload_hub()?;
    let person = Person::new()?;
    let file = person.secret("token", &issuer.id_token("alice")?)?;
    if std::os::unix::fs::chown(&file, Some(54321), None).is_err() {
        eprintln!("skipped: only root can give a file away");
        return Ok(());
    }
    let ran = person
        .kedge(["login", &hub.url(), "--token-file", &file])
        .run()?
        .exits(1)?;
    assert!(ran.err().contains("belongs to the user 54321"), "{ran}");
    assert!(!person.credentials().exists());
    Ok(())
}

#[test]
fn a_static_token_and_what_cannot_be_read_again_are_copied() -> Result<()> {
    let (hub, issuer) = workload_hub()?;
    let person = Person::new()?;
    let token = issuer.id_token("alice")?;
    let words = ["login", &hub.url(), "--token-file", "-"];
    person.kedge(words).input(token.clone()).run()?.success()?;
    assert_eq!(person.stored()?, json!({"kind": "static", "token": token}));
    let pipe = format!(
        "{} login {} --token-file <(printf %s \"$T\")",
        common::kedge().display(),
        hub.url()
    );
    let mut shell = std::process::Command::new("bash");
    shell.args(["-c", &pipe]);
    person.run(shell).env("T", &token).run()?.success()?;
    assert_eq!(person.stored()?, json!({"kind": "static", "token": token}));
    hub.state().takes = Takes::Only(common::TOKEN.into());
    let file = person.secret("my.token", common::TOKEN)?;
    person
        .kedge(["login", "main", "--token-file", &file])
        .run()?
        .success()?;
    fs::remove_file(&file)?;
    person.kedge(["get", "servers"]).run()?.success()?;
    Ok(())
}

#[test]
fn a_token_command_serves_until_its_token_ends() -> Result<()> {
    let (hub, issuer) = workload_hub()?;
    let person = Person::new()?;
    person.secret("next", &issuer.id_token("alice")?)?;
    let command = "echo run >>runs; cat next";
    let runs = || {
        fs::read_to_string(person.path("runs"))
            .map(|text| text.lines().count())
            .unwrap_or(0)
    };
    person
        .kedge(["login", &hub.url(), "--token-command", command])
        .run()?
        .success()?;
    assert_eq!(runs(), 1);
    for _ in 0..3 {
        person.kedge(["get", "servers"]).run()?.success()?;
    }
    assert_eq!(runs(), 1, "its token is still good");
    // One that ends soon is asked for again, by one of many.
    let now = jiff::Timestamp::now();
    person.change_stored(|stored| {
        stored["cached"]["since"] = json!((now - jiff::SignedDuration::from_hours(1)).to_string());
        stored["cached"]["expiresAt"] =
            json!((now + jiff::SignedDuration::from_secs(30)).to_string());
    })?;
    let running: Vec<_> = (0..10)
        .map(|_| kedge_testkit::run::Live::start(person.kedge(["get", "servers"]).command))
        .collect::<Result<_>>()?;
    for live in running {
        live.finish(std::time::Duration::from_secs(60))?.success()?;
    }
    assert_eq!(runs(), 2);
    // A hub that refuses it makes for one more run.
    let refused = person.stored()?["cached"]["token"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    hub.state().takes = Takes::Others(refused);
    person.secret("next", &issuer.id_token_with("alice", &json!({"n": 2}))?)?;
    person.kedge(["get", "servers"]).run()?.success()?;
    assert_eq!(runs(), 3);
    Ok(())
}

#[test]
fn a_secret_that_does_not_end_is_not_kept() -> Result<()> {
    let hub = FakeHub::start()?;
    let person = Person::new()?;
    let command = format!("echo {}", common::TOKEN);
    person
        .kedge(["login", &hub.url(), "--token-command", &command])
        .run()?
        .success()?;
    assert_eq!(
        person.stored()?,
        json!({"kind": "command", "command": command})
    );
    person.kedge(["get", "servers"]).run()?.success()?;
    Ok(())
}

#[test]
fn a_token_command_that_fails_says_how() -> Result<()> {
    let (hub, issuer) = workload_hub()?;
    let person = Person::new()?;
    let login = |command: &str| {
        person
            .kedge(["login", &hub.url(), "--token-command", command])
            .run()
    };
    login("echo locked >&2; exit 7")?
        .exits(1)?
        .says(&["locked\n", "the token command ended with exit status 7"])?;
    login("true")?
        .exits(1)?
        .says(&["printed no token: the token is empty"])?;
    login("head -c 100000 /dev/zero")?
        .exits(1)?
        .says(&["the token is longer than"])?;
    login("printf 'a\\033[2Jb'")?
        .exits(1)?
        .says(&["odd characters"])?
        .never_says("\u{1b}")?;
    assert!(!person.credentials().exists());
    person.secret("next", &issuer.id_token("alice")?)?;
    login("cat next")?.success()?;
    fs::remove_file(person.path("next"))?;
    person.change_stored(|stored| {
        stored.as_object_mut().map(|fields| fields.remove("cached"));
    })?;
    person.kedge(["get", "servers"]).run()?.exits(1)?.says(&[
        "cannot use the login at hub `main`: the token command ended with exit status 1",
    ])?;
    // The environment is the person's own.
    let run = person.kedge([
        "login",
        "main",
        "--token-command",
        "printf %s \"$CI_TOKEN\"",
    ]);
    run.env("CI_TOKEN", issuer.id_token("alice")?)
        .run()?
        .success()?;
    Ok(())
}

#[test]
fn a_hub_that_refuses_a_workload_says_where_its_token_comes_from() -> Result<()> {
    let (hub, issuer) = workload_hub()?;
    let person = Person::new()?;
    let file = person.secret("token", &issuer.id_token("alice")?)?;
    person
        .kedge(["login", &hub.url(), "--token-file", &file])
        .run()?
        .success()?;
    hub.state().takes = Takes::Nothing;
    person
        .kedge(["get", "servers"])
        .run()?
        .exits(4)?
        .says(&["hint: the token file of `kedge login main` must hold another token"])?;
    Ok(())
}

#[test]
fn ways_to_log_in_exclude_each_other() -> Result<()> {
    let person = Person::new()?;
    for words in [
        &["--token-file", "a", "--token-command", "b"][..],
        &["--token-file", "a", "--device"],
        &["--token-command", "a", "--issuer", "b"],
        &["--token-file", "a", "--reauthenticate"],
    ] {
        let words = [&["login", "https://hub.example"], words].concat();
        person
            .kedge(words)
            .run()?
            .exits(2)?
            .says(&["cannot be used with"])?;
    }
    Ok(())
}
