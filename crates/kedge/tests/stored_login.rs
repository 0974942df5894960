//! What may stand in place of a stored login: a damaged one, one that is too long, and what is no file at all.
#![cfg(test)]

mod common;

use std::fs;
use std::path::Path;

use anyhow::Result;
use common::{FakeHub, Person};
use rustix::fs::{CWD, Mode, mkfifoat};

const HINT: &str = "hint: kedge login main --token-file FILE\n";

/// More than any login has.
const MANY_BYTES: usize = 4 << 20;

fn pipe(path: &Path) -> Result<()> {
    fs::remove_file(path).or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })?;
    Ok(mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR)?)
}

#[test]
fn a_login_that_is_no_good_is_had_again_by_logging_in() -> Result<()> {
    let hub = FakeHub::start()?;
    let person = Person::at(&hub)?;
    let file = person.credentials();
    fs::write(&file, "{")?;
    let ran = person.kedge(["get", "servers"]).run()?.exits(1)?;
    assert!(ran.err().ends_with(HINT), "{ran}");
    fs::write(&file, "x".repeat(MANY_BYTES))?;
    let ran = person.kedge(["get", "servers"]).run()?.exits(1)?;
    assert!(
        ran.err().contains("credentials.json is longer than "),
        "{ran}"
    );
    assert!(ran.err().ends_with(HINT), "{ran}");
    Ok(())
}

#[test]
fn a_login_that_is_no_file_is_not_waited_for() -> Result<()> {
    let hub = FakeHub::start()?;
    let person = Person::at(&hub)?;
    // Nobody ever writes into it.
    pipe(&person.credentials())?;
    let ran = person.kedge(["get", "servers"]).run()?.exits(1)?;
    assert!(
        ran.err().contains("credentials.json is not a regular file"),
        "{ran}"
    );
    assert!(ran.err().ends_with(HINT), "{ran}");
    let token = person.path("token").to_string_lossy().into_owned();
    person
        .kedge(["login", "main", "--token-file", &token])
        .run()?
        .success()?;
    person.kedge(["get", "servers"]).run()?.success()?;
    Ok(())
}

#[test]
fn a_lock_that_is_no_file_is_said() -> Result<()> {
    let hub = FakeHub::start()?;
    let person = Person::at(&hub)?;
    pipe(&person.credentials().with_file_name("credentials.lock"))?;
    let token = person.path("token").to_string_lossy().into_owned();
    let ran = person
        .kedge(["login", "main", "--token-file", &token])
        .run()?
        .exits(1)?;
    assert!(
        ran.err().contains("credentials.lock is not a regular file"),
        "{ran}"
    );
    Ok(())
}
