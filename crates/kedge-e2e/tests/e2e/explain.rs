//! `kedge explain` and `kedge policy test` say what the hub would do, by the code that does it.

use crate::prelude::*;
use crate::trusting::*;

/// What an explanation came to.
fn may(ran: &kedge_testkit::run::Ran) -> Result<bool> {
    let said = ran.out();
    let first = said.lines().next().unwrap_or_default();
    match (ran.code(), first.contains(" may not reach ")) {
        (Some(0), false) => Ok(true),
        (Some(5), true) => Ok(false),
        _ => bail!("neither yes nor no: {ran}"),
    }
}

#[test]
fn each_policy_is_named_with_the_condition_that_failed() -> Result<()> {
    case(|t| {
        let trusting = Trusting::start(t)?;
        let admin = &trusting.cheap.admin;
        admin.apply(&policy(
            "guests-only",
            json!({"groups": ["guests"]}),
            &["{login}"],
        ))?;
        let mut hours = policy("office-hours", json!({"users": ["alice"]}), &["deploy"]);
        hours["spec"]["constraints"] = json!({"timeWindows": [{
            "days": ["Mon", "Tue", "Wed", "Thu", "Fri"],
            "from": "08:00", "to": "18:00", "timeZone": "Europe/Berlin",
        }]});
        admin.apply(&hours)?;
        let target = format!("deploy@{SERVER}");
        let words = ["explain", "alice", "ssh", &target, "--at"];
        // A Wednesday at noon and one at midnight.
        for (at, allowed) in [
            ("2026-07-01T12:00:00+02:00", true),
            ("2026-07-01T23:00:00+02:00", false),
        ] {
            let ran = admin.kedge(&[&words[..], &[at]].concat())?;
            let said = ran.out();
            for name in ["guests-only", "office-hours", "everybody"] {
                ensure!(said.contains(name), "no word about {name}: {ran}");
            }
            ensure!(may(&ran)? == allowed, "{at} should be {allowed}: {ran}");
        }
        Ok(())
    })
}

#[test]
fn a_person_may_ask_about_themselves_and_about_nobody_else() -> Result<()> {
    case(|t| {
        let trusting = Trusting::start(t)?;
        let alice = trusting.logged_in(t, "alice")?;
        alice
            .kedge(&["explain", "alice", "ssh", SERVER])?
            .success()?;
        alice
            .kedge(&["explain", "bob", "ssh", SERVER])?
            .exits(5)?
            .says(&["error: "])?;
        Ok(())
    })
}

#[test]
fn what_explain_says_is_what_happens() -> Result<()> {
    case(|t| {
        let trusting = Trusting::start(t)?;
        let admin = &trusting.cheap.admin;
        let tokens = [
            ("alice", trusting.issuer.id_token("alice")?),
            ("bob", trusting.issuer.id_token("bob")?),
        ];
        // Once seen, a person's claims are known to the hub.
        for (_, token) in &tokens {
            ensure!(trusting.status(token)? == 200);
        }
        let mut deny = policy("no-guests", json!({"groups": ["guests"]}), &["*"]);
        deny["spec"]["effect"] = json!("Deny");
        deny["spec"]["permissions"] = json!(["*"]);
        admin.apply(&deny)?;
        for (name, token) in &tokens {
            for login in [None, Some("deploy"), Some("root")] {
                let target = login.map_or(SERVER.to_owned(), |login| format!("{login}@{SERVER}"));
                let group = if *name == "alice" { "dev" } else { "guests" };
                let claim = format!("preferred_username={name}");
                let words = [
                    "explain", name, "ssh", &target, "--groups", group, "--claim", &claim,
                ];
                let explained = admin.kedge(&words)?;
                let granted = trusting.open(token, login)?.is_ok();
                ensure!(
                    may(&explained)? == granted,
                    "{name} at {target} got {granted}, and explain says: {explained}"
                );
            }
        }
        Ok(())
    })
}

#[test]
fn a_table_of_expectations_fails_where_one_does() -> Result<()> {
    case(|t| {
        let person = t.stranger("ci", None)?;
        let table = |result: &str| {
            json!({
                "policies": [policy("dev", json!({"groups": ["dev"]}), &["{login}"])],
                "servers": [{"name": "web01", "labels": {"env": "prod"}}],
                "people": [
                    {"user": "alice", "groups": ["dev"], "claims": {"preferred_username": "alice"}},
                    {"user": "bob", "groups": [], "claims": {"preferred_username": "bob"}},
                ],
                "expect": [
                    {"user": "alice", "server": "web01", "result": result},
                    {"user": "bob", "server": "web01", "result": "deny"},
                ],
            })
        };
        let good = t.write("good.yaml", table("allow").to_string())?;
        let bad = t.write("bad.yaml", table("deny").to_string())?;
        let test =
            |file: &std::path::Path| person.kedge(&["policy", "test", &file.display().to_string()]);
        test(&good)?.success()?;
        let ran = test(&bad)?.exits(1)?;
        let said = format!("{}{}", ran.out(), ran.err());
        ensure!(said.contains("alice"), "not said which: {ran}");
        let broken = t.write("broken.yaml", "expect: [{user: alice}]")?;
        let ran = test(&broken)?;
        ensure!(
            ran.code() != Some(0) && ran.err().contains("expect"),
            "{ran}"
        );
        Ok(())
    })
}

#[test]
fn a_new_policy_is_tried_on_the_sessions_that_were() -> Result<()> {
    case(|t| {
        let trusting = Trusting::start(t)?;
        let token = trusting.issuer.id_token("alice")?;
        trusting
            .open(&token, None)?
            .map_err(|(code, said)| anyhow::anyhow!("{code:?} {said}"))?;
        let mut deny = policy("no-developers", json!({"groups": ["dev"]}), &["*"]);
        deny["spec"]["effect"] = json!("Deny");
        deny["spec"]["permissions"] = json!(["*"]);
        let file = t.write("new.yaml", deny.to_string())?;
        let admin = &trusting.cheap.admin;
        let path = file.display().to_string();
        wait::until_true("the session in the history", defaults::SOON, || {
            let ran = admin.kedge(&["explain", "--since", "1d", "--with", &path])?;
            ensure!(matches!(ran.code(), Some(0 | 1)), "{ran}");
            Ok(ran.out().contains("alice") && ran.out().contains("no-developers"))
        })?;
        // It was only a trial.
        trusting
            .open(&token, None)?
            .map_err(|(code, said)| anyhow::anyhow!("{code:?} {said}"))?;
        Ok(())
    })
}
