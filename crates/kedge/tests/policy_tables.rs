//! `kedge policy test`: tables that pass, tables that fail, and what is no table. No hub is asked.

mod common;

use anyhow::Result;
use common::Person;

const POLICIES: &str = "\
apiVersion: kedge.dev/v1alpha1
kind: AccessPolicy
metadata: {name: dev}
spec: {subjects: {groups: [dev]}, servers: {matchLabels: {env: dev}}, logins: ['{login}']}
---
apiVersion: kedge.dev/v1alpha1
kind: AccessPolicy
metadata: {name: weekends}
spec:
  effect: Deny
  subjects: {users: ['*']}
  servers: {names: ['*']}
  logins: ['*']
  constraints: {timeWindows: [{days: [Sat, Sun], from: '00:00', to: '24:00'}]}
";

const TABLE: &str = "\
policies: [policies.yaml]
servers:
- {name: web01, labels: {env: dev}}
- {name: db01, labels: {env: prod}}
people:
- {user: alice, groups: [dev], claims: {preferred_username: alice}}
- {user: nobody}
expect:
- {user: alice, server: web01, at: '2026-01-01T12:00:00Z', result: allow, policy: dev}
- {user: alice, server: web01, at: '2026-01-03T12:00:00Z', result: deny, policy: weekends}
- {user: alice, server: db01, at: '2026-01-01T12:00:00Z', result: deny}
- {user: nobody, server: web01, result: deny}
- {user: alice, verb: delete, resource: servers, name: db01, result: deny}
";

/// Somebody with these two files.
fn person(policies: &str, table: &str) -> Result<(Person, String)> {
    let person = Person::new()?;
    person.secret("policies.yaml", policies)?;
    let table = person.secret("table.yaml", table)?;
    Ok((person, table))
}

#[test]
fn a_table_that_holds() -> Result<()> {
    let (person, table) = person(POLICIES, TABLE)?;
    let ran = person.kedge(["policy", "test", &table]).run()?.success()?;
    insta::assert_snapshot!(ran.out(), @r"
    ok   alice ssh web01 at 2026-01-01T12:00:00Z: allowed by dev
    ok   alice ssh web01 at 2026-01-03T12:00:00Z: denied by weekends
    ok   alice ssh db01 at 2026-01-01T12:00:00Z: no policy allows it
    ok   nobody ssh web01: no login: their identity has no claim `preferred_username`, which names the login
    ok   alice delete servers db01: no policy allows it
    ");
    assert_eq!(ran.err(), "");
    Ok(())
}

#[test]
fn a_table_that_does_not() -> Result<()> {
    let wrong = TABLE
        .replace("result: deny, policy: weekends", "result: allow")
        .replace("result: allow, policy: dev", "result: allow, policy: ops");
    let (person, table) = person(POLICIES, &wrong)?;
    let ran = person.kedge(["policy", "test", &table]).run()?.exits(1)?;
    insta::assert_snapshot!(ran.out(), @r"
    FAIL alice ssh web01 at 2026-01-01T12:00:00Z: allowed by dev
         expected: allow by ops
         POLICY     EFFECT   MATCHED   REASON
         dev        Allow    yes       every part matches
         weekends   Deny     no        it is outside of its hours (spec.constraints.timeWindows)
    FAIL alice ssh web01 at 2026-01-03T12:00:00Z: denied by weekends
         expected: allow
         POLICY     EFFECT   MATCHED   REASON
         dev        Allow    yes       every part matches
         weekends   Deny     yes       every part matches
    ok   alice ssh db01 at 2026-01-01T12:00:00Z: no policy allows it
    ok   nobody ssh web01: no login: their identity has no claim `preferred_username`, which names the login
    ok   alice delete servers db01: no policy allows it
    ");
    assert!(
        ran.err()
            .contains("table.yaml: 2 of 5 expectations are not met"),
        "{}",
        ran.err()
    );
    let json = person
        .kedge(["policy", "test", &table, "-o", "json"])
        .run()?
        .exits(1)?;
    assert_eq!(json.json()?["checked"][0]["passed"], false);
    assert_eq!(json.json()?["checked"][1]["found"], "denied");
    Ok(())
}

#[test]
fn policies_that_nothing_tests_are_named() -> Result<()> {
    let few: String = TABLE
        .lines()
        .filter(|line| !line.contains("weekends"))
        .map(|line| format!("{line}\n"))
        .collect();
    let (person, table) = person(POLICIES, &few)?;
    let ran = person.kedge(["policy", "test", &table]).run()?.success()?;
    assert_eq!(ran.err(), "note: nothing here tests the policy weekends\n");
    Ok(())
}

#[test]
fn what_is_no_table_is_named_by_its_path() -> Result<()> {
    refused(POLICIES, "{", "not YAML or JSON")?;
    refused(POLICIES, "[]", "table.yaml: ")?;
    let missing = "table.yaml: the table cannot be read: missing field `policies`\n";
    refused(POLICIES, "expect: []", missing)?;
    for (good, bad, expected) in [
        (
            "user: nobody, server",
            "user: bob, server",
            "expect[3].user: `bob` is not among the people",
        ),
        (
            "server: db01",
            "server: db02",
            "expect[2].server: `db02` is not among the servers",
        ),
        ("verb: delete", "verb: fly", "expect[4].verb: "),
        ("[policies.yaml]", "[nosuch.yaml]", "nosuch.yaml"),
        (
            "[policies.yaml]",
            "[policies.yaml, policies.yaml]",
            "the policy dev is there twice",
        ),
        ("result: allow", "result: \"a\\e[2J\"", "expect[0].result: "),
    ] {
        refused(POLICIES, &changed(TABLE, good, bad), expected)?;
    }
    let days = "spec.constraints.timeWindows[0].days[1]: ";
    for (good, bad, expected) in [
        ("Sat, Sun", "Sat, Caturday", days),
        ("kind: AccessPolicy", "kind: Server", "is no AccessPolicy"),
    ] {
        refused(&changed(POLICIES, good, bad), TABLE, expected)?;
    }
    Ok(())
}

fn changed(text: &str, good: &str, bad: &str) -> String {
    assert!(text.contains(good), "no `{good}` to be changed");
    text.replace(good, bad)
}

/// These two files are no table, for a reason in which this stands.
fn refused(policies: &str, table: &str, expected: &str) -> Result<()> {
    let (person, table) = person(policies, table)?;
    let ran = person.kedge(["policy", "test", &table]).run()?;
    let err = ran.err();
    assert!(
        err.starts_with("error: ") && err.contains(expected),
        "{expected}: {err}"
    );
    assert!(!err.contains('\u{1b}') && err.lines().count() <= 2, "{err}");
    assert!(matches!(ran.code(), Some(1 | 2)), "{:?}", ran.code());
    Ok(())
}

#[test]
fn the_table_of_the_manual_page_holds() -> Result<()> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/policy.md");
    let page = std::fs::read_to_string(page)?;
    let table = page
        .split("```yaml\n")
        .filter_map(|part| part.split("\n```").next())
        .find(|block| block.contains("expect:"))
        .unwrap_or_default();
    let (person, file) = person(POLICIES, table)?;
    let ran = person.kedge(["policy", "test", &file]).run()?.success()?;
    // Which of two people of one name is meant, is said.
    let partner = "ok   alice of https://id.partner.example ssh web01 at ";
    assert!(ran.out().contains(partner), "{ran}");
    Ok(())
}
