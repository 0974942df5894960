//! What may stand in place of a stored login: a damaged one, and one that is too long.
#![cfg(test)]

mod common;

use std::fs;

use anyhow::Result;
use common::{FakeHub, Person};

const HINT: &str = "hint: kedge login main --token-file FILE\n";

/// More than any login has.
const MANY_BYTES: usize = 4 << 20;

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
