//! The unix user is the server's, else the claim's, and never a guess.

use kedge_proto::RefuseCode;
use kedge_testkit::hub::KnownPerson;

use crate::prelude::*;

fn person(subject: &str, name: Option<&str>) -> KnownPerson {
    KnownPerson {
        subject: subject.to_owned(),
        groups: vec!["dev".to_owned()],
        preferred_username: name.map(str::to_owned),
    }
}

/// A hub that knows people with odd claims, all of whom a policy lets in as anybody it can name.
fn odd_people(t: &Case, people: &[KnownPerson], extra: &str) -> Result<Cheap> {
    let mut options = t.hub_options()?;
    options.people.extend(people.iter().cloned());
    options.extra = extra.to_owned();
    let cheap = Cheap::with(t, Hub::start(options)?, Manner::Echo)?;
    let mut policy = Person::policy("everybody", &["*"])?;
    policy["spec"]["logins"] = json!(["{login}", "deploy"]);
    cheap.admin.apply(&policy)?;
    Ok(cheap)
}

fn open(
    cheap: &Cheap,
    subject: &str,
    login: Option<&str>,
) -> Result<Result<(), (RefuseCode, String)>> {
    Client::connect(cheap.endpoint(), cheap.hub.token(subject)?)?.open(SERVER, login)
}

#[test]
fn illegal_and_missing_claims_are_refused_and_never_rewritten() -> Result<()> {
    case(|t| {
        let people = [
            person("none", None),
            person("empty", Some("")),
            person("upper", Some("Alice")),
            person("dotted", Some("alice.smith")),
            person("mail", Some("alice@corp.example")),
            person("path", Some("../alice")),
            person("option", Some("-oProxyCommand=x")),
            person("newline", Some("alice\nroot")),
            person("wide", Some("ａlice")),
            person("long", Some(&"a".repeat(33))),
            person("space", Some("alice ")),
        ];
        let cheap = odd_people(t, &people, "")?;
        for person in &people {
            let outcome = open(&cheap, &person.subject, None)?;
            let Err((_, said)) = outcome else {
                bail!("{} was let in", person.subject)
            };
            ensure!(!said.contains('\n'), "a claim forged a line: {said:?}");
        }
        ensure!(cheap.target.accepted() == 0);
        let none = t.person(&cheap.hub, "none", None)?;
        let said = none.kedge(&["whoami"])?.success()?.out();
        ensure!(
            said.to_lowercase().contains("preferred_username"),
            "no word about the claim: {said}"
        );
        Ok(())
    })
}

#[test]
fn root_only_where_a_policy_lists_it() -> Result<()> {
    case(|t| {
        let cheap = odd_people(t, &[person("rooty", Some("root"))], "")?;
        ensure!(
            open(&cheap, "rooty", None)?.is_err(),
            "`{{login}}` became root"
        );
        ensure!(
            open(&cheap, "rooty", Some("root"))?.is_err(),
            "asking made root"
        );
        let mut policy = Person::policy("roots", &["rooty"])?;
        policy["spec"]["logins"] = json!(["root"]);
        cheap.admin.apply(&policy)?;
        ensure!(
            open(&cheap, "rooty", None)?.is_ok(),
            "a policy that lists root does not allow it"
        );
        Ok(())
    })
}

#[test]
fn the_servers_user_wins() -> Result<()> {
    case(|t| {
        let mut cheap = odd_people(t, &[person("carol", Some("carol"))], "")?;
        ensure!(open(&cheap, "carol", None)?.is_ok());
        let mut server = cheap.admin.get("server", SERVER)?;
        server["spec"]["sshUser"] = json!("deploy");
        cheap.admin.apply(&server)?;
        ensure!(open(&cheap, "carol", None)?.is_ok());
        let opened = cheap.hub.audited("the second session", |event| {
            text(event, "event") == "session.opened" && text(event, "login") == "deploy"
        })?;
        ensure!(text(&opened, "subject") == "carol", "{opened}");
        Ok(())
    })
}

#[test]
fn a_local_part_counts_only_for_domains_that_are_listed() -> Result<()> {
    case(|t| {
        let people = [
            person("in", Some("carol@corp.example")),
            person("out", Some("carol@corp.example.evil")),
        ];
        let extra = "[login]\nlocal-part-domains = [\"corp.example\"]\n";
        let mut cheap = odd_people(t, &people, extra)?;
        ensure!(open(&cheap, "out", None)?.is_err());
        ensure!(open(&cheap, "in", None)?.is_ok());
        cheap.hub.audited("carol's session", |event| {
            text(event, "event") == "session.opened" && text(event, "login") == "carol"
        })?;
        Ok(())
    })
}

#[test]
fn plain_ssh_logs_in_as_the_mapped_user() -> Result<()> {
    case(|t| {
        let stack = t.stack()?;
        let ran = run(stack
            .alice
            .openssh("ssh", &[stack.host().as_str(), "id -un"]))?
        .success()?;
        ensure!(ran.out().trim() == machine::me()?, "{ran}");
        // The server's user, whoever types; nobody of that name exists, so sshd's word is the proof.
        let mut server = stack.admin.get("server", SERVER)?;
        server["spec"]["sshUser"] = json!("kedge-nobody");
        stack.admin.apply(&server)?;
        let mut policy = Person::policy("everyone-tested", &["alice"])?;
        policy["spec"]["logins"] = json!(["kedge-nobody"]);
        stack.admin.apply(&policy)?;
        // Somebody whose ssh has not asked before: a mapped login is remembered for ten minutes.
        let fresh = t.person(&stack.hub, "alice", Some(&stack.sshd))?;
        run(fresh.openssh("ssh", &[stack.host().as_str(), "true"]))?.exits(255)?;
        fresh.kedge_ssh(&[SERVER, "true"])?.exits(255)?;
        let log = stack.sshd.daemon().log()?;
        let tries = log.matches("Invalid user kedge-nobody").count();
        ensure!(tries >= 2, "sshd saw other users:\n{log}");
        Ok(())
    })
}
