//! From an issuer's claim to a unix user: strictly, by each issuer's own rules, and never a guess.

use crate::prelude::*;
use crate::trusting::*;

fn hostile() -> Vec<(&'static str, Value)> {
    vec![
        ("root", json!("root")),
        ("path", json!("../x")),
        ("option", json!("-oProxyCommand=touch /tmp/x")),
        ("upper", json!("Alice")),
        ("mail", json!("alice@evil.example")),
        ("wide", json!("ａlice")),
        ("cyrillic", json!("аlice")),
        ("empty", json!("")),
        ("space", json!("alice ")),
        ("newline", json!("alice\nroot")),
        ("nul", json!("alice\u{0}")),
        ("turned", json!("\u{202e}ecila")),
        ("escape", json!("\u{1b}[31malice")),
        ("array", json!(["alice"])),
        ("object", json!({"name": "alice"})),
        ("number", json!(1000)),
        ("true", json!(true)),
        ("null", json!(null)),
        ("long", json!("a".repeat(33))),
        ("longer", json!("a".repeat(4096))),
    ]
}

#[test]
fn no_hostile_claim_becomes_a_login() -> Result<()> {
    case(|t| {
        let trusting = Trusting::start(t)?;
        for (what, claim) in hostile() {
            let changes = json!({"sub": what, "preferred_username": claim});
            let token = trusting.issuer.id_token_with("alice", &changes)?;
            // Whoever has a claim that is refused altogether is not let in at all, which is as good.
            let Ok(outcome) = trusting.open(&token, None) else {
                continue;
            };
            let Err((code, said)) = outcome else {
                bail!("{what} was let in")
            };
            ensure!(
                matches!(code, RefuseCode::Denied | RefuseCode::NotFound),
                "{what}: {code:?} {said}"
            );
            ensure!(!said.contains(char::is_control), "{what}: {said:?}");
            // Asking for a login by name needs a policy that lists it.
            for login in ["root", "alice", "deploy"] {
                ensure!(
                    trusting.open(&token, Some(login))?.is_err(),
                    "{what} asked for {login} and got it"
                );
            }
        }
        ensure!(trusting.cheap.target.accepted() == 0);
        Ok(())
    })
}

#[test]
fn hostile_claims_and_subjects_forge_no_line_anywhere() -> Result<()> {
    case(|t| {
        let mut trusting = Trusting::start(t)?;
        let subjects = [
            "eve\nforged: line",
            "eve\r\u{1b}[2Jcleared",
            "eve\u{202e}txt",
            "-oProxyCommand=x",
            "../../etc/passwd",
            "eve\u{0}",
            "{\"event\":\"session.opened\"}",
        ];
        for subject in subjects {
            let changes = json!({
                "sub": subject,
                "preferred_username": subject,
                "groups": [subject, "dev"],
                "email": subject,
                "name": subject,
            });
            let token = trusting.issuer.id_token_with("alice", &changes)?;
            let person = trusting.stranger(t, "eve")?;
            let ran = person.log_in_with(&trusting.cheap.hub, &trusting.cheap.hub.url(), &token)?;
            let mut outputs = vec![ran];
            outputs.push(person.kedge(&["whoami"])?);
            outputs.push(person.kedge(&["get", "servers"])?);
            outputs.push(person.kedge(&["proxy", SERVER])?);
            for ran in outputs {
                let said = format!("{}{}", ran.out(), ran.err());
                ensure!(
                    !said.contains(|letter: char| {
                        (letter.is_control() && !"\n\t".contains(letter)) || letter == '\u{202e}'
                    }),
                    "{subject:?} reached a terminal: {ran}"
                );
                ensure!(
                    !said.lines().any(|line| line.starts_with("forged")),
                    "{subject:?} made a line: {ran}"
                );
            }
        }
        let log = trusting.cheap.hub.daemon()?.log()?;
        for line in log.lines() {
            let event: Value = serde_json::from_str(line).context("a log line that is no JSON")?;
            ensure!(event.is_object(), "{line}");
        }
        Ok(())
    })
}

#[test]
fn each_issuer_maps_by_its_own_rules() -> Result<()> {
    case(|t| {
        let partners = Issuer::start(IssuerOptions::default())?;
        let trusting = Trusting::with(t, IssuerOptions::default(), |options| {
            let home = options
                .issuers
                .remove(0)
                .with("home = true")
                .with("[issuers.login]")
                .with("claim = \"email\"")
                .with("local-part-domains = [\"example.com\"]")
                .with("exceptions = { \"alice.smith@example.com\" = \"asmith\", \"boss@example.com\" = \"root\" }");
            let theirs = TrustedIssuer::new(&partners.url())
                .with("name = \"partners\"")
                .with("[issuers.login]")
                .with("claim = \"nickname\"");
            options.issuers = vec![home, theirs];
        })?;
        trusting.cheap.admin.apply(&policy(
            "everybody",
            json!({"users": ["*"], "issuers": ["*"]}),
            &["{login}"],
        ))?;
        let home = |changes: Value| trusting.issuer.id_token_with("alice", &changes);
        let theirs = |changes: Value| partners.id_token_with("alice", &changes);
        let attempts = [
            ("verified", home(json!({}))?, Some("alice")),
            (
                "not verified",
                home(json!({"email_verified": false}))?,
                None,
            ),
            (
                "verified as text",
                home(json!({"email_verified": "false"}))?,
                None,
            ),
            (
                "no word about it",
                home(json!({"email_verified": null}))?,
                None,
            ),
            (
                "another domain",
                home(json!({"email": "alice@evil.example"}))?,
                None,
            ),
            (
                "a domain below",
                home(json!({"email": "alice@x.example.com"}))?,
                None,
            ),
            (
                "a domain behind",
                home(json!({"email": "alice@example.com.evil"}))?,
                None,
            ),
            (
                "two signs",
                home(json!({"email": "alice@example.com@evil.example"}))?,
                None,
            ),
            (
                "no login",
                home(json!({"email": "Alice.Smith@example.com"}))?,
                None,
            ),
            (
                "an exception",
                home(json!({"email": "alice.smith@example.com"}))?,
                Some("asmith"),
            ),
            (
                "an exception that is not verified",
                home(json!({"email": "alice.smith@example.com", "email_verified": false}))?,
                None,
            ),
            (
                "root by exception",
                home(json!({"email": "boss@example.com"}))?,
                None,
            ),
            ("no nickname", theirs(json!({}))?, None),
            ("a nickname", theirs(json!({"nickname": "al"}))?, Some("al")),
            (
                "an exception of others",
                theirs(json!({"nickname": "alice.smith@example.com"}))?,
                None,
            ),
        ];
        for (what, token, login) in attempts {
            let granted = trusting.open(&token, None)?;
            ensure!(
                granted.is_ok() == login.is_some(),
                "{what}: {:?}",
                granted.err()
            );
            let Some(login) = login else { continue };
            ensure!(
                trusting.open(&token, Some(login))?.is_ok(),
                "{what} is not {login}"
            );
        }
        Ok(())
    })
}

/// What people may write into other claims is not theirs for that.
#[test]
fn an_address_is_a_login_only_if_it_is_verified_or_the_issuer_is_trusted_with_it() -> Result<()> {
    case(|t| {
        let directory = Issuer::start(IssuerOptions::default())?;
        let domains = "local-part-domains = [\"example.com\"]";
        let trusting = Trusting::with(t, IssuerOptions::default(), |options| {
            let home = options.issuers.remove(0).with("home = true");
            let theirs = TrustedIssuer::new(&directory.url())
                .with("name = \"directory\"")
                .with("[issuers.login]")
                .with(domains)
                .with("local-part-trust = \"issuer\"");
            options.issuers = vec![home.with("[issuers.login]").with(domains), theirs];
        })?;
        trusting.cheap.admin.apply(&policy(
            "everybody",
            json!({"users": ["*"], "issuers": ["*"]}),
            &["{login}"],
        ))?;
        let named = |address: &str, email: Value, verified: Value| json!({"preferred_username": address, "email": email, "email_verified": verified});
        let own = "alice@example.com";
        for (what, changes, verified, trusted) in [
            ("verified", named(own, json!(own), json!(true)), true, true),
            (
                "in capitals",
                named(own, json!("alice@EXAMPLE.com"), json!(true)),
                true,
                true,
            ),
            (
                "not verified",
                named(own, json!(own), json!(false)),
                false,
                true,
            ),
            (
                "verified as text",
                named(own, json!(own), json!("true")),
                false,
                true,
            ),
            (
                "no word about it",
                named(own, json!(own), json!(null)),
                false,
                true,
            ),
            (
                "the address of somebody else",
                named(own, json!("mallory@example.com"), json!(true)),
                false,
                true,
            ),
            (
                "no mail address",
                named(own, json!(null), json!(true)),
                false,
                true,
            ),
            (
                "of elsewhere",
                named(
                    "alice@evil.example",
                    json!("alice@evil.example"),
                    json!(true),
                ),
                false,
                false,
            ),
        ] {
            for (issuer, expected) in [(&trusting.issuer, verified), (&directory, trusted)] {
                let token = issuer.id_token_with("alice", &changes)?;
                let granted = trusting.open(&token, None)?;
                ensure!(granted.is_ok() == expected, "{what}: {:?}", granted.err());
                if expected {
                    ensure!(trusting.open(&token, Some("alice"))?.is_ok(), "{what}");
                }
            }
        }
        Ok(())
    })
}

#[test]
fn a_login_by_another_claim_needs_a_policy_and_is_never_root() -> Result<()> {
    case(|t| {
        let trusting = Trusting::start(t)?;
        let token = trusting.issuer.id_token_with(
            "alice",
            &json!({"roles": ["deploy", "root", "../x"], "team": "web"}),
        )?;
        ensure!(
            trusting.open(&token, Some("deploy"))?.is_err(),
            "without a policy"
        );
        trusting.cheap.admin.apply(&policy(
            "by-role",
            json!({"users": ["alice"]}),
            &["{roles}", "{team}"],
        ))?;
        for (login, allowed) in [
            ("deploy", true),
            ("web", true),
            ("root", false),
            ("postgres", false),
        ] {
            let granted = trusting.open(&token, Some(login))?.is_ok();
            ensure!(granted == allowed, "{login}: {granted}");
        }
        Ok(())
    })
}
