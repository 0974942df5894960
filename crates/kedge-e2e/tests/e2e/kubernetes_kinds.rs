//! A Kubernetes API server takes kedge's kinds, keeps their objects as they are, and `kubectl` shows them as a
//! Kubernetes person expects.

use kedge_api::{AccessPolicy, JoinToken, Resource, Server};
use serde::Deserialize;

use crate::kubernetes::{Place, hub_reads, object, policy_with, repository, text};
use crate::prelude::*;

#[test]
fn the_server_takes_the_kinds_without_a_complaint() -> Result<()> {
    let place = Place::new()?;
    let folder = repository("manifests/base/crd");
    let folder = folder.to_str().context("a path that is text")?;
    let words = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--kustomize",
        folder,
    ];
    let again = place.cluster.admin(&words)?;
    ensure!(!again.err().contains("Warning"), "{again}");
    for kind in ["accesspolicies", "jointokens", "servers"] {
        let name = format!("{kind}.kedge.dev");
        let get = ["get", "crd", &name, "--output", "json"];
        let definition = place.cluster.admin(&get)?.json()?;
        let conditions = definition["status"]["conditions"].as_array();
        let conditions = conditions.context("conditions")?;
        let status = |wanted: &str| {
            let found = conditions.iter().find(|c| c["type"] == wanted);
            found.map(|c| text(c, "/status"))
        };
        ensure!(
            status("Established").as_deref() == Some("True"),
            "{conditions:?}"
        );
        ensure!(
            status("NamesAccepted").as_deref() == Some("True"),
            "{conditions:?}"
        );
        ensure!(status("NonStructuralSchema").is_none(), "{conditions:?}");
    }
    Ok(())
}

/// Everything that the documentation shows and the tests know: made, read back, and read by the hub as it was written.
#[test]
fn what_the_hub_takes_the_server_takes_and_gives_back() -> Result<()> {
    let place = Place::new()?;
    let mut objects = policies_of_the_page()?;
    ensure!(objects.len() >= 9, "{}", objects.len());
    objects.extend(policies_of_the_corpus()?);
    objects.extend(more_objects());
    for (number, object) in objects.iter_mut().enumerate() {
        if text(object, "/kind") != "JoinToken" {
            object["metadata"]["name"] = format!("n{number}").into();
        }
        // What a server gives is not asked for.
        for given in ["uid", "resourceVersion", "generation", "creationTimestamp"] {
            let metadata = object["metadata"].as_object_mut().context("metadata")?;
            metadata.remove(given);
        }
        hub_reads(object).map_err(|status| anyhow::anyhow!("{object}: {status}"))?;
    }
    let verdicts = place.verdicts(&objects, &["--validate=strict"])?;
    for object in &objects {
        let (kind, name) = (text(object, "/kind"), text(object, "/metadata/name"));
        let verdict = verdicts.get(&name).context("a verdict")?;
        ensure!(verdict.is_none(), "{object}: {verdict:?}");
        let stored = place.stored(&kind, &name)?;
        match kind.as_str() {
            "AccessPolicy" => same::<AccessPolicy>(object, &stored)?,
            "JoinToken" => same::<JoinToken>(object, &stored)?,
            _ => same::<Server>(object, &stored)?,
        }
    }
    Ok(())
}

#[test]
fn a_status_is_kept_by_server_side_apply_and_changes_no_generation() -> Result<()> {
    let place = Place::new()?;
    made(&place, &object::<Server>("web01", &json!({})))?;
    let status = json!({
        "phase": "Online", "lastSeen": "2026-01-31T12:00:00Z", "agentVersion": "1.2.3", "os": "Debian GNU/Linux 12",
        "conditions": [
            {"type": "Connected", "status": "True", "reason": "TunnelUp", "message": "the tunnel is up",
             "lastTransitionTime": "2026-01-31T12:00:00Z", "observedGeneration": 1},
            {"type": "Ready", "status": "True", "reason": "Ready", "message": "",
             "lastTransitionTime": "2026-01-31T12:00:00Z"},
        ],
    });
    let patch = json!({
        "apiVersion": kedge_api::API_VERSION, "kind": "Server", "metadata": {"name": "web01"}, "status": status,
    });
    let apply = place.kubectl(&[
        "apply",
        "--server-side",
        "--subresource=status",
        "--field-manager=kedge-hub",
        "--filename",
        "-",
    ]);
    feed(apply, patch.to_string().into_bytes(), defaults::COMMAND)?.success()?;
    let stored = place.stored("server", "web01")?;
    ensure!(stored["metadata"]["generation"] == 1, "{stored}");
    let server: Server = serde_json::from_value(stored.clone())?;
    ensure!(server.is_connected(), "{stored}");
    ensure!(serde_json::to_value(&server.status)? == status, "{stored}");

    // A word of a newer hub is kept; two conditions of one type are not.
    let patch = r#"{"status": {"phase": "Hibernating"}}"#;
    let words = [
        "patch",
        "server",
        "web01",
        "--subresource=status",
        "--type=merge",
        "--patch",
        patch,
    ];
    run(place.kubectl(&words))?.success()?;
    let condition = &status["conditions"][0];
    let twice = json!({"status": {"conditions": [condition, condition]}}).to_string();
    let words = [
        "patch",
        "server",
        "web01",
        "--subresource=status",
        "--type=merge",
        "--patch",
        &twice,
    ];
    run(place.kubectl(&words))?
        .exits(1)?
        .says(&["status.conditions[1]", "Duplicate"])?;
    Ok(())
}

#[test]
fn what_must_not_change_does_not() -> Result<()> {
    let place = Place::new()?;
    let (one, other) = (agent_key('A'), agent_key('B'));
    made(
        &place,
        &object::<Server>("described", &json!({"sshUser": "deploy"})),
    )?;
    made(
        &place,
        &object::<Server>("joined", &json!({"agentKey": one})),
    )?;
    made(
        &place,
        &object::<JoinToken>("abcdefghij", &json!({"expiresAt": "2027-01-01T00:00:00Z"})),
    )?;
    let change = |kind: &str, name: &str, spec: Value| {
        let patch = json!({"spec": spec}).to_string();
        run(place.kubectl(&["patch", kind, name, "--type=merge", "--patch", &patch]))
    };
    let fixed = "cannot be changed; delete the server and enrol its agent again";
    change("server", "joined", json!({"agentKey": other}))?
        .exits(1)?
        .says(&["spec.agentKey", fixed])?;
    change("server", "joined", json!({"agentKey": null}))?
        .exits(1)?
        .says(&["spec.agentKey", fixed])?;
    change("server", "joined", json!({"sshUser": "deploy"}))?.success()?;
    // The hub does this, when the agent of a server joins that was described before.
    change("server", "described", json!({"agentKey": one}))?.success()?;
    for spec in [
        json!({"uses": 2}),
        json!({"expiresAt": "2028-01-01T00:00:00Z"}),
        json!({"labels": {"env": "prod"}}),
    ] {
        change("jointoken", "abcdefghij", spec)?.exits(1)?.says(&[
            "spec",
            "cannot be changed; revoke the token and make another",
        ])?;
    }
    Ok(())
}

#[test]
fn a_field_that_nobody_knows_is_refused_and_not_forgotten() -> Result<()> {
    let place = Place::new()?;
    for (object, field) in [
        (
            object::<Server>("a", &json!({"sshUsr": "deploy"})),
            "spec.sshUsr",
        ),
        (
            object::<Server>(
                "a",
                &json!({"sshKeySecretRef": {"name": "k", "namespace": "n", "key": "x"}}),
            ),
            "spec.sshKeySecretRef.key",
        ),
        (policy_with("a", &json!({"surprise": 1})), "spec.surprise"),
        (
            policy_with("a", &json!({"constraints": {"onlyOnSundays": true}})),
            "spec.constraints.onlyOnSundays",
        ),
        (
            object::<JoinToken>("abcdefghij", &json!({"use": 1})),
            "spec.use",
        ),
    ] {
        let apply = place.kubectl(&["apply", "--filename", "-"]);
        let ran = feed(apply, object.to_string().into_bytes(), defaults::COMMAND)?;
        ran.exits(1)?.says(&["unknown field", field])?;
    }
    Ok(())
}

#[test]
fn kubectl_shows_what_kedge_shows() -> Result<()> {
    let place = Place::new()?;
    made(
        &place,
        &object::<Server>(
            "web01",
            &json!({"sshUser": "deploy", "sshKeySecretRef": {"name": "web", "namespace": "ssh-keys"}}),
        ),
    )?;
    let patch = r#"{"status": {"phase": "Online", "lastSeen": "2026-01-31T12:00:00Z", "agentVersion": "1.2.3"}}"#;
    let words = [
        "patch",
        "server",
        "web01",
        "--subresource=status",
        "--type=merge",
        "--patch",
        patch,
    ];
    run(place.kubectl(&words))?.success()?;
    made(
        &place,
        &policy_with("developers", &json!({"subjects": {"groups": ["dev"]}})),
    )?;
    let token = json!({"serverName": "web01", "expiresAt": "2027-01-01T00:00:00Z"});
    made(&place, &object::<JoinToken>("abcdefghij", &token))?;

    let shown = |words: &[&str]| -> Result<Vec<Vec<String>>> {
        let table = run(place.kubectl(words))?.success()?.out();
        let lines = table.lines().filter(|line| !line.is_empty());
        Ok(lines
            .map(|line| {
                line.split("  ")
                    .map(|cell| cell.trim().to_owned())
                    .filter(|cell| !cell.is_empty())
                    .collect()
            })
            .collect())
    };
    let servers = shown(&["get", "servers"])?;
    ensure!(
        servers[0] == ["NAME", "PHASE", "LAST SEEN", "HOST KEY", "VERSION", "AGE"],
        "{servers:?}"
    );
    ensure!(servers[1][..2] == ["web01", "Online"], "{servers:?}");
    let wide = shown(&["get", "srv", "--output", "wide"])?;
    ensure!(
        wide[0][5..] == ["AGE", "OS", "LOGIN", "ADDRESS", "SECRET"],
        "{wide:?}"
    );
    ensure!(
        wide[1].contains(&"deploy".to_owned()) && wide[1].contains(&"web".to_owned()),
        "{wide:?}"
    );
    let policies = shown(&["get", "policy"])?;
    ensure!(
        policies[0]
            == [
                "NAME", "EFFECT", "USERS", "GROUPS", "SERVERS", "LOGINS", "AGE"
            ],
        "{policies:?}"
    );
    ensure!(
        policies[1][..3] == ["developers", "Allow", "[\"dev\"]"],
        "{policies:?}"
    );
    let tokens = shown(&["get", "jt"])?;
    ensure!(
        tokens[0] == ["NAME", "USED", "USES", "EXPIRES", "SERVER", "AGE"],
        "{tokens:?}"
    );
    let all = run(place.kubectl(&["get", "kedge", "--output", "name"]))?
        .success()?
        .out();
    for name in [
        "server.kedge.dev/web01",
        "accesspolicy.kedge.dev/developers",
        "jointoken.kedge.dev/abcdefghij",
    ] {
        ensure!(all.lines().any(|line| line == name), "{all}");
    }
    Ok(())
}

#[test]
fn kubectl_explains_every_field() -> Result<()> {
    let place = Place::new()?;
    for (path, words) in [
        ("server", "A machine reachable by SSH through an agent."),
        (
            "server.spec",
            "The host keys that are trusted: pinned at enrolment",
        ),
        (
            "server.spec.sshKeySecretRef",
            "read anew for each session, used by the hub alone",
        ),
        (
            "server.spec.sshKeySecretRef.namespace",
            "the hub's configuration must list it",
        ),
        (
            "server.status.phase",
            "One of Blocked, Offline, Online, Pending",
        ),
        (
            "accesspolicy.spec.constraints.timeWindows",
            "Hours of the week",
        ),
        ("jointoken.spec.uses", "How many agents may enrol with it."),
    ] {
        let said = run(place.kubectl(&["explain", path]))?.success()?.out();
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        ensure!(said.contains(words), "{path}: {said}");
    }
    let all = run(place.kubectl(&["explain", "server.spec", "--recursive"]))?
        .success()?
        .out();
    for field in [
        "agentKey",
        "hostKeys",
        "sshKeySecretDataKey",
        "sshKeySecretRef",
        "sshUser",
    ] {
        ensure!(all.contains(field), "{all}");
    }
    Ok(())
}

/// `kubectl apply -f policy.yaml`, twice, and with a change.
#[test]
fn a_policy_is_applied_from_a_file() -> Result<()> {
    case(|t| {
        let place = Place::new()?;
        let page = std::fs::read_to_string(repository("docs/policy.md"))?;
        let first = blocks(&page).next().context("a block")?;
        let file = t.write("policy.yaml", first)?;
        let file = file.to_str().context("a path that is text")?;
        let apply = || run(place.kubectl(&["apply", "-f", file]))?.success();
        ensure!(apply()?.out().contains("created"), "not created");
        ensure!(apply()?.out().contains("unchanged"), "not unchanged");
        t.write("policy.yaml", first.replace("env: dev", "env: test"))?;
        ensure!(apply()?.out().contains("configured"), "not configured");
        let stored = place.stored("accesspolicy", "developers")?;
        ensure!(
            stored["spec"]["servers"]["matchLabels"]["env"] == "test",
            "{stored}"
        );
        t.write("policy.yaml", first.replace("logins:", "logons:"))?;
        run(place.kubectl(&["apply", "-f", file]))?
            .exits(1)?
            .says(&["unknown field \"spec.logons\""])?;
        Ok(())
    })
}

/// Makes an object, which must be taken.
fn made(place: &Place, object: &Value) -> Result<()> {
    let verdicts = place.verdicts(std::slice::from_ref(object), &[])?;
    let verdict = verdicts.values().next().context("a verdict")?;
    ensure!(verdict.is_none(), "{object}: {verdict:?}");
    Ok(())
}

/// Requires that the hub reads the same from what was written and from what is stored.
fn same<R: Resource>(written: &Value, stored: &Value) -> Result<()> {
    let written: R = serde_json::from_value(written.clone())?;
    let stored: R = serde_json::from_value(stored.clone()).context("the hub cannot read it")?;
    ensure!(written.spec() == stored.spec(), "{written:?}\n{stored:?}");
    ensure!(stored.status() == &R::Status::default(), "{stored:?}");
    let (before, after) = (written.metadata(), stored.metadata());
    ensure!(
        before.labels == after.labels && before.annotations == after.annotations,
        "{stored:?}"
    );
    ensure!(
        after.uid.is_some()
            && after.resource_version.is_some()
            && after.creation_timestamp.is_some(),
        "{stored:?}"
    );
    Ok(())
}

/// The policies of `docs/policy.md`.
fn policies_of_the_page() -> Result<Vec<Value>> {
    let page = std::fs::read_to_string(repository("docs/policy.md"))?;
    let blocks = blocks(&page).filter(|block| !block.contains("expect:"));
    blocks
        .map(documents)
        .collect::<Result<Vec<_>>>()
        .map(|all| all.concat())
}

/// The policies of the fuzzer's corpus that the hub takes.
fn policies_of_the_corpus() -> Result<Vec<Value>> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(repository("fuzz/corpus/policy"))? {
        let text = std::fs::read_to_string(file?.path())?;
        let read = documents(&text).unwrap_or_default();
        found.extend(read.into_iter().filter(|object| hub_reads(object).is_ok()));
    }
    ensure!(found.len() >= 15, "{}", found.len());
    Ok(found)
}

fn more_objects() -> Vec<Value> {
    let keys = std::fs::read_to_string(repository("crates/kedge-api/tests/data/host_keys.txt"));
    let keys: Vec<String> = keys
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.split_once(' ').map(|(_, key)| key.to_owned()))
        .collect();
    let window =
        json!({"from": "00:00", "to": "24:00", "timeZone": "America/Argentina/Buenos_Aires"});
    vec![
        object::<Server>("a", &json!({})),
        object::<Server>(
            "a",
            &json!({
                "agentKey": agent_key('Z'), "hostKeys": keys, "sshUser": "_deploy-1",
                "sshKeySecretRef": {"name": "web.keys", "namespace": "ssh-keys"}, "sshKeySecretDataKey": ".id_ed25519",
            }),
        ),
        object::<JoinToken>("0123456789", &json!({})),
        object::<JoinToken>(
            "abcdefghij",
            &json!({"uses": 10_000, "labels": {"example.com/env": "prod", "x": ""}}),
        ),
        object::<JoinToken>(
            "abcde12345",
            &json!({"uses": 1, "serverName": "web01.example", "expiresAt": "2027-01-01T00:00:00Z"}),
        ),
        policy_with(
            "a",
            &json!({"subjects": {"users": ["größe", "a b", "x".repeat(256)], "groups": ["{}"]}}),
        ),
        policy_with(
            "a",
            &json!({"subjects": {"issuers": [
                "static", "*", "https://id.example/realms/main/", "http://127.0.0.1:8080", "http://[::1]:1/x", "http://localhost",
            ]}}),
        ),
        policy_with(
            "a",
            &json!({"logins": ["_x", "{login}", "{https://example/claim name}", "root"]}),
        ),
        policy_with(
            "a",
            &json!({"logins": vec!["alice"; 256], "permissions": ["ssh", "ssh"]}),
        ),
        policy_with(
            "a",
            &json!({"subjects": {"claims": [
                {"key": "x", "operator": "In", "values": vec!["y"; 256]}, {"key": "é", "operator": "Exists"},
                {"key": "z", "operator": "DoesNotExist", "values": []},
            ]}}),
        ),
        policy_with(
            "a",
            &json!({"servers": {"matchLabels": {"example.com/a": "b", "c": ""}, "matchExpressions": [
                {"key": "example.com/a", "operator": "NotIn", "values": ["", "b"]},
            ]}}),
        ),
        policy_with(
            "a",
            &json!({"constraints": {
                "sourceRanges": ["0.0.0.0/0", "::/0", "::ffff:0:0:0/95", "10.0.0.1/32", "2001:DB8::/32"],
                "timeWindows": [window], "maxSession": "1s", "maxAuthAge": "87840h", "maxSessions": 10_000,
                "notBefore": "2026-01-01T00:00:00.9Z", "notAfter": "2026-01-01T02:00:01+02:00",
            }}),
        ),
        policy_with(
            "a",
            &json!({"effect": "Deny", "logins": ["*"], "permissions": ["*"]}),
        ),
        object::<AccessPolicy>(
            "a",
            &json!({"subjects": {"users": ["*"]}, "permissions": [], "hub": {"rules": [
                {"verbs": ["*", "get"], "resources": ["*"], "resourceNames": ["a.b"]},
            ]}}),
        ),
    ]
}

/// An agent's public key of one letter.
fn agent_key(letter: char) -> String {
    format!("{}A=", letter.to_string().repeat(42))
}

/// The YAML blocks of a page.
fn blocks(page: &str) -> impl Iterator<Item = &str> {
    page.split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("\n```").map(|(block, _)| block))
}

fn documents(text: &str) -> Result<Vec<Value>> {
    serde_norway::Deserializer::from_str(text)
        .map(|document| Ok(Value::deserialize(document)?))
        .collect()
}
