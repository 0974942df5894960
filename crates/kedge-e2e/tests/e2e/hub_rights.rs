//! Who may do what with the hub itself is policy: administrators, viewers, rules per kind, and everybody else.

use crate::prelude::*;
use crate::trusting::*;

fn rights(name: &str, subjects: Value, hub: Value) -> Value {
    json!({
        "apiVersion": "kedge.dev/v1alpha1",
        "kind": "AccessPolicy",
        "metadata": { "name": name },
        "spec": { "subjects": subjects, "hub": hub },
    })
}

fn by_claim(t: &Case) -> Result<Trusting> {
    Trusting::with(t, IssuerOptions::default(), |options| {
        options.admin_claims = vec!["roles = [\"kedge-admin\"]".to_owned()];
    })
}

fn applies(person: &Person, object: &Value) -> Result<kedge_testkit::run::Ran> {
    let command = person.kedge_command(&["apply", "-f", "-"]);
    feed(command, object.to_string().into_bytes(), defaults::COMMAND)
}

#[test]
fn the_claim_of_the_configuration_makes_an_administrator() -> Result<()> {
    case(|t| {
        let trusting = by_claim(t)?;
        let admin = trusting.logged_in(t, "admin")?;
        admin.join_token(&[])?;
        admin.apply(&policy("new", json!({"users": ["bob"]}), &["bob"]))?;
        let said = admin.kedge(&["whoami"])?.success()?;
        ensure!(said.out().contains("admin"), "{said}");
        // No policy locks the bootstrap administrator out.
        let mut deny = rights("lock", json!({"users": ["*"]}), json!({"roles": ["admin"]}));
        deny["spec"]["effect"] = json!("Deny");
        let _ = applies(&admin, &deny)?;
        admin.kedge(&["get", "accesspolicies"])?.success()?;
        admin.join_token(&[])?;
        Ok(())
    })
}

/// They see every server, and may reach none.
#[test]
fn looking_at_oneself_is_no_refusal_of_an_administrator() -> Result<()> {
    case(|t| {
        let mut trusting = by_claim(t)?;
        let only_alice = policy("everybody", json!({"users": ["alice"]}), &["{login}"]);
        trusting.cheap.admin.apply(&only_alice)?;
        let admin = trusting.logged_in(t, "admin")?;
        let said = admin.kedge(&["whoami"])?.success()?;
        ensure!(
            said.out()
                .contains(&format!("no policy allows you to reach {SERVER} as ")),
            "{said}"
        );
        // What comes after it is in the log, and it is not.
        admin.kedge_ssh(&[SERVER, "true"])?.exits(255)?;
        let refused = |event: &Value| text(event, "event") == "session.refused";
        trusting.cheap.hub.audited("the refusal", refused)?;
        let log = trusting.cheap.hub.daemon()?.log()?;
        let refusals = log.matches("session.refused").count();
        ensure!(refusals == 1, "{refusals} refusals:\n{log}");
        Ok(())
    })
}

#[test]
fn an_ordinary_person_sees_what_they_may_reach_and_changes_nothing() -> Result<()> {
    case(|t| {
        let trusting = by_claim(t)?;
        let admin = &trusting.cheap.admin;
        admin.apply(&policy(
            "everybody",
            json!({"users": ["alice"]}),
            &["{login}"],
        ))?;
        let (alice, bob) = (
            trusting.logged_in(t, "alice")?,
            trusting.logged_in(t, "bob")?,
        );
        let seen = alice.kedge(&["get", "servers", "-o", "name"])?.success()?;
        ensure!(seen.out().contains(SERVER), "{seen}");
        bob.kedge(&["get", "servers", "-o", "name"])?
            .success()?
            .never_says(SERVER)?;
        for words in [
            ["get", "accesspolicies"],
            ["get", "jointokens"],
            ["token", "create"],
        ] {
            let ran = alice.kedge(&words)?;
            ensure!(ran.code() == Some(5), "{words:?}: {ran}");
        }
        let ran = applies(
            &alice,
            &policy("mine", json!({"users": ["alice"]}), &["root"]),
        )?;
        ensure!(ran.code() == Some(5), "{ran}");
        let ran = alice.kedge(&["delete", "server", SERVER])?;
        ensure!(ran.code() == Some(5), "{ran}");
        Ok(())
    })
}

#[test]
fn a_viewer_reads_everything_and_changes_nothing() -> Result<()> {
    case(|t| {
        let trusting = by_claim(t)?;
        let admin = &trusting.cheap.admin;
        admin
            .kedge(&["delete", "accesspolicy", "everybody"])?
            .success()?;
        admin.apply(&rights(
            "auditors",
            json!({"groups": ["guests"]}),
            json!({"roles": ["viewer"]}),
        ))?;
        let bob = trusting.logged_in(t, "bob")?;
        for kind in ["servers", "accesspolicies", "jointokens"] {
            bob.kedge(&["get", kind])?.success()?;
        }
        let seen = bob.kedge(&["get", "servers", "-o", "name"])?.success()?;
        ensure!(seen.out().contains(SERVER), "{seen}");
        let ran = bob.kedge(&["token", "create"])?;
        ensure!(ran.code() == Some(5), "{ran}");
        let ran = bob.kedge(&["delete", "server", SERVER])?;
        ensure!(ran.code() == Some(5), "{ran}");
        // Seeing a server is not entering it.
        ensure!(
            trusting
                .open(&trusting.issuer.id_token("bob")?, None)?
                .is_err()
        );
        Ok(())
    })
}

#[test]
fn rules_give_exactly_what_they_say_and_no_way_up() -> Result<()> {
    case(|t| {
        let trusting = by_claim(t)?;
        let admin = &trusting.cheap.admin;
        let rules = json!({"rules": [
            {"verbs": ["create"], "resources": ["jointokens"]},
            {"verbs": ["get", "list", "create", "update"], "resources": ["accesspolicies"]},
        ]});
        admin.apply(&rights("joiners", json!({"users": ["alice"]}), rules))?;
        let alice = trusting.logged_in(t, "alice")?;
        alice.join_token(&[])?;
        let ran = alice.kedge(&["delete", "accesspolicy", "everybody"])?;
        ensure!(ran.code() == Some(5), "{ran}");
        // She may write policies, and may not write herself more rights than she has.
        let mine = policy("mine", json!({"users": ["alice"]}), &["alice"]);
        applies(&alice, &mine)?.success()?;
        let climb = rights(
            "climb",
            json!({"users": ["alice"]}),
            json!({"roles": ["admin"]}),
        );
        let ran = applies(&alice, &climb)?;
        ensure!(ran.code() == Some(5), "{ran}");
        let mut climb = mine;
        climb["spec"]["hub"] = json!({"roles": ["admin"]});
        let ran = applies(&alice, &climb)?;
        ensure!(ran.code() == Some(5), "{ran}");
        // Nor take the administrators' policy away by rewriting it.
        let ran = applies(
            &alice,
            &policy("joiners", json!({"users": ["alice"]}), &["alice"]),
        )?;
        ensure!(ran.code() == Some(5), "{ran}");
        Ok(())
    })
}
