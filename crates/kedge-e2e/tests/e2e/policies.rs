//! Deny by default; what is allowed ends when the policy does.

use kedge_proto::RefuseCode;

use crate::prelude::*;

fn refusal(
    cheap: &Cheap,
    subject: &str,
    server: &str,
    login: Option<&str>,
) -> Result<(RefuseCode, String)> {
    let mut client = Client::connect(cheap.endpoint(), cheap.hub.token(subject)?)?;
    match client.open(server, login)? {
        Ok(()) => bail!("{subject} was let in to {server} as {login:?}"),
        Err(refusal) => Ok(refusal),
    }
}

#[test]
fn without_a_policy_nobody_gets_in() -> Result<()> {
    case(|t| {
        let mut cheap = Cheap::start(t, Manner::Echo)?;
        cheap
            .admin
            .kedge(&["delete", "accesspolicy", "everyone-tested"])?
            .success()?;
        let (code, said) = refusal(&cheap, "alice", SERVER, None)?;
        ensure!(matches!(code, RefuseCode::NotFound), "{code:?} {said}");
        // Who administers sees every server, and may still not enter it.
        let (code, said) = refusal(&cheap, "admin", SERVER, None)?;
        ensure!(matches!(code, RefuseCode::Denied), "{code:?} {said}");
        ensure!(
            cheap.target.accepted() == 0,
            "a refused session reached the target"
        );
        let refused = cheap.hub.audited("the refusal", |event| {
            text(event, "event") == "session.refused" && text(event, "subject") == "alice"
        })?;
        ensure!(
            text(&refused, "server") == SERVER && !text(&refused, "reason").is_empty(),
            "{refused}"
        );
        Ok(())
    })
}

#[test]
fn who_no_policy_names_neither_enters_nor_sees() -> Result<()> {
    case(|t| {
        let stack = t.stack()?;
        let bob = t.person(&stack.hub, "bob", Some(&stack.sshd))?;
        let ran = bob.kedge_ssh(&[SERVER, "true"])?.exits(255)?;
        ensure!(!ran.err().trim().is_empty(), "no reason: {ran}");
        ran.never_says("everyone-tested")?;
        let listed = bob.kedge(&["get", "servers", "-o", "name"])?;
        listed.never_says(SERVER)?;
        stack
            .alice
            .kedge(&["get", "servers", "-o", "name"])?
            .success()
            .and_then(|ran| {
                ensure!(
                    ran.out().contains(SERVER),
                    "alice cannot see her server: {ran}"
                );
                Ok(())
            })
    })
}

#[test]
fn what_a_policy_does_not_list_is_refused() -> Result<()> {
    case(|t| {
        let cheap = Cheap::start(t, Manner::Echo)?;
        let (code, said) = refusal(&cheap, "alice", SERVER, Some("postgres"))?;
        ensure!(matches!(code, RefuseCode::Denied), "{code:?} {said}");
        let (code, absent) = refusal(&cheap, "bob", "web99", None)?;
        ensure!(matches!(code, RefuseCode::NotFound), "{code:?}");
        let (code, hidden) = refusal(&cheap, "bob", SERVER, None)?;
        ensure!(matches!(code, RefuseCode::NotFound), "{code:?}");
        ensure!(
            absent.replace("web99", "X") == hidden.replace(SERVER, "X"),
            "{absent} / {hidden}"
        );
        Ok(())
    })
}

#[test]
fn each_constraint_counts() -> Result<()> {
    case(|t| {
        let cheap = Cheap::start(t, Manner::Echo)?;
        cheap
            .admin
            .kedge(&["delete", "accesspolicy", "everyone-tested"])?
            .success()?;
        let elsewhere = json!({"sourceRanges": ["192.0.2.0/24"]});
        let past = json!({"notAfter": "2020-01-01T00:00:00Z"});
        for (name, constraints) in [("elsewhere", elsewhere), ("past", past)] {
            let mut policy = Person::policy(name, &["alice"])?;
            policy["spec"]["constraints"] = constraints;
            cheap.admin.apply(&policy)?;
        }
        refusal(&cheap, "alice", SERVER, None)?;
        let mut here = Person::policy("here", &["alice"])?;
        here["spec"]["constraints"] = json!({"sourceRanges": ["127.0.0.0/8"]});
        cheap.admin.apply(&here)?;
        cheap.greeted()?;
        Ok(())
    })
}

#[test]
fn groups_claims_and_labels_select() -> Result<()> {
    case(|t| {
        let cheap = Cheap::start(t, Manner::Echo)?;
        cheap
            .admin
            .kedge(&["delete", "accesspolicy", "everyone-tested"])?
            .success()?;
        let me = machine::me()?;
        let attempts = [
            (
                json!({"groups": ["guests"]}),
                json!({"names": ["*"]}),
                false,
            ),
            (
                json!({"groups": ["dev"]}),
                json!({"matchLabels": {"env": "prod"}}),
                false,
            ),
            (
                json!({"claims": [{"key": "preferred_username", "operator": "In", "values": ["somebody"]}]}),
                json!({"names": [SERVER]}),
                false,
            ),
            (
                json!({"claims": [{"key": "preferred_username", "operator": "In", "values": [me]}]}),
                json!({"names": [SERVER]}),
                true,
            ),
            (json!({"groups": ["dev"]}), json!({"names": ["*"]}), true),
            (json!({"users": ["*"]}), json!({"names": ["*"]}), true),
        ];
        for (subjects, servers, allowed) in attempts {
            let mut policy = Person::policy("only", &[])?;
            policy["spec"]["subjects"] = subjects.clone();
            policy["spec"]["servers"] = servers.clone();
            cheap.admin.apply(&policy)?;
            let mut client = cheap.client()?;
            let granted = client.open(SERVER, None)?.is_ok();
            ensure!(granted == allowed, "{subjects} on {servers}: {granted}");
            cheap
                .admin
                .kedge(&["delete", "accesspolicy", "only"])?
                .success()?;
        }
        Ok(())
    })
}

#[test]
fn a_revoked_policy_ends_the_session_within_ten_seconds() -> Result<()> {
    case(|t| {
        let mut stack = t.stack()?;
        let mut live = Live::start(
            stack
                .alice
                .kedge_ssh_command(&[SERVER, "echo started; cat"]),
        )?;
        live.expect("started", defaults::COMMAND)?;
        let start = std::time::Instant::now();
        stack
            .admin
            .kedge(&["delete", "accesspolicy", "everyone-tested"])?
            .success()?;
        let ran = live.wait(defaults::SOON)?.exits(255)?.says(&["error"])?;
        ensure!(
            start.elapsed() < Duration::from_secs(12),
            "it took {:?}: {ran}",
            start.elapsed()
        );
        let closed = stack.hub.audited("the closing event", |event| {
            text(event, "event") == "session.closed"
        })?;
        ensure!(text(&closed, "how").contains("revoked"), "{closed}");
        Ok(())
    })
}

#[test]
fn a_session_ends_at_its_policys_limit() -> Result<()> {
    case(|t| {
        let stack = t.stack()?;
        let mut policy = Person::policy("everyone-tested", &["alice"])?;
        policy["spec"]["constraints"] = json!({"maxSession": "2s"});
        stack.admin.apply(&policy)?;
        let live = Live::start(stack.alice.kedge_ssh_command(&[SERVER, "cat"]))?;
        let ran = live.wait(defaults::SOON)?.exits(255)?;
        ensure!(ran.err().contains("error"), "no reason: {ran}");
        Ok(())
    })
}

#[test]
fn a_bad_policy_is_refused_with_the_fields_path() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let admin = t.person(&hub, "admin", None)?;
        let good = Person::policy("p", &["alice"])?;
        for (pointer, value, path) in [
            ("/spec/logins", json!(["../x"]), "spec.logins[0]"),
            ("/spec/logins", json!([]), "spec.logins"),
            ("/spec/permissions", json!(["fly"]), "spec.permissions[0]"),
            ("/spec/subjects", json!({"user": ["x"]}), "spec.subjects"),
            (
                "/spec/servers",
                json!({"names": ["-oProxyCommand=x"]}),
                "spec.servers.names[0]",
            ),
            ("/metadata/name", json!("../p"), "metadata.name"),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).context("a field")? = value.clone();
            let command = admin.kedge_command(&["apply", "-f", "-"]);
            let ran = feed(command, bad.to_string().into_bytes(), defaults::COMMAND)?;
            ensure!(ran.code() != Some(0), "{value} was taken at {path}");
            ensure!(ran.err().contains(path), "wanted {path} for {value}: {ran}");
        }
        Ok(())
    })
}

#[test]
fn bad_conditions_are_refused_with_the_fields_path() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let admin = t.person(&hub, "admin", None)?;
        let window = |change: Value| {
            let mut window = json!({"days": ["Mon"], "from": "08:00", "to": "18:00", "timeZone": "Europe/Berlin"});
            for (name, value) in change.as_object().cloned().unwrap_or_default() {
                window[name] = value;
            }
            json!({"constraints": {"timeWindows": [window]}})
        };
        let claim = |value: Value| json!({"subjects": {"users": ["alice"], "claims": [value]}});
        let deny = |constraints: Value| json!({"effect": "Deny", "constraints": constraints});
        for (change, path) in [
            (json!({"effect": "Maybe"}), "spec.effect"),
            (
                window(json!({"timeZone": "Middle/Earth"})),
                "spec.constraints.timeWindows[0].timeZone",
            ),
            (
                window(json!({"days": ["Someday"]})),
                "spec.constraints.timeWindows[0].days[0]",
            ),
            (
                window(json!({"from": "25:00"})),
                "spec.constraints.timeWindows[0].from",
            ),
            (
                claim(json!({"key": "a", "operator": "Like", "values": ["b"]})),
                "spec.subjects.claims[0].operator",
            ),
            (
                claim(json!({"key": "a", "operator": "Exists", "values": ["b"]})),
                "spec.subjects.claims[0].values",
            ),
            (
                claim(json!({"key": "a", "operator": "In", "values": []})),
                "spec.subjects.claims[0].values",
            ),
            (
                claim(json!({"key": "", "operator": "Exists"})),
                "spec.subjects.claims[0].key",
            ),
            (
                json!({"subjects": {"users": ["alice"], "issuers": ["http://id.example"]}}),
                "spec.subjects.issuers[0]",
            ),
            (
                json!({"constraints": {"maxSession": "soon"}}),
                "spec.constraints.maxSession",
            ),
            (
                json!({"constraints": {"maxSession": "0s"}}),
                "spec.constraints.maxSession",
            ),
            (
                json!({"constraints": {"maxAuthAge": "-1h"}}),
                "spec.constraints.maxAuthAge",
            ),
            (
                json!({"constraints": {"maxSessions": 0}}),
                "spec.constraints.maxSessions",
            ),
            (
                json!({"constraints": {"sourceRanges": ["everywhere"]}}),
                "spec.constraints.sourceRanges[0]",
            ),
            (
                deny(json!({"maxSession": "1h"})),
                "spec.constraints.maxSession",
            ),
            (
                deny(json!({"maxSessions": 1})),
                "spec.constraints.maxSessions",
            ),
            (json!({"logins": ["*"]}), "spec.logins[0]"),
            (json!({"logins": ["{}"]}), "spec.logins[0]"),
            (json!({"permissions": ["*"]}), "spec.permissions[0]"),
            (json!({"hub": {"roles": ["king"]}}), "spec.hub.roles[0]"),
            (
                json!({"hub": {"rules": [{"verbs": ["fly"], "resources": ["servers"]}]}}),
                "spec.hub.rules[0].verbs[0]",
            ),
            (
                json!({"hub": {"rules": [{"verbs": ["get"], "resources": ["moons"]}]}}),
                "spec.hub.rules[0].resources[0]",
            ),
            (
                json!({"servers": {"matchExpressions": [{"key": "env", "operator": "In"}]}}),
                "spec.servers.matchExpressions[0].values",
            ),
        ] {
            let mut bad = Person::policy("p", &["alice"])?;
            for (name, value) in change.as_object().cloned().unwrap_or_default() {
                bad["spec"][name] = value;
            }
            let command = admin.kedge_command(&["apply", "-f", "-"]);
            let ran = feed(command, bad.to_string().into_bytes(), defaults::COMMAND)?;
            ensure!(ran.code() != Some(0), "{change} was taken at {path}");
            ensure!(
                ran.err().contains(path),
                "wanted {path} for {change}: {ran}"
            );
        }
        Ok(())
    })
}
