//! An object that the hub would refuse is refused by the Kubernetes API server already, as far as a schema and CEL can
//! say why. What they cannot say is on `docs/kubernetes.md`, and here.

use kedge_api::{AccessPolicy, JoinToken, Server};

use crate::kubernetes::{Place, hub_reads, object, policy_with, refused, repository};
use crate::prelude::*;

/// Objects that both refuse, and the field that the server names.
fn refusals() -> Vec<(Value, &'static str)> {
    let mut all = policies();
    all.extend(constraints());
    let server = |spec: Value| object::<Server>("a", &spec);
    let secret = |name: &str, namespace: &str| {
        server(json!({"sshKeySecretRef": {"name": name, "namespace": namespace}}))
    };
    all.extend([
        (server(json!({"sshUser": "Root"})), "spec.sshUser"),
        (server(json!({"sshUser": "x".repeat(33)})), "spec.sshUser"),
        (server(json!({"sshUser": ""})), "spec.sshUser"),
        (server(json!({"sshUser": 7})), "spec.sshUser"),
        (server(json!({"agentKey": "AAAA"})), "spec.agentKey"),
        // Bits that are no part of the key.
        (server(json!({"agentKey": format!("{}B=", "A".repeat(42))})), "spec.agentKey"),
        (server(json!({"hostKeys": ["ssh-dss AAAA"]})), "spec.hostKeys[0]"),
        (server(json!({"hostKeys": ["AAAA"]})), "spec.hostKeys[0]"),
        (
            server(json!({"hostKeys": ('A'..='Q').map(ed25519).collect::<Vec<_>>()})),
            "spec.hostKeys",
        ),
        (secret("../x", "keys"), "spec.sshKeySecretRef.name"),
        (secret("web", "a.b"), "spec.sshKeySecretRef.namespace"),
        (server(json!({"sshKeySecretRef": {"name": "web"}})), "spec.sshKeySecretRef.namespace"),
        (server(json!({"sshKeySecretRef": {"namespace": "keys"}})), "spec.sshKeySecretRef.name"),
        (server(json!({"sshKeySecretDataKey": "id_rsa"})), "spec.sshKeySecretDataKey"),
        (
            server(json!({"sshKeySecretRef": {"name": "a", "namespace": "b"}, "sshKeySecretDataKey": "..data"})),
            "spec.sshKeySecretDataKey",
        ),
        (object::<Server>(&"x".repeat(64), &json!({})), "metadata.name"),
        (object::<Server>("a..b", &json!({})), "metadata.name"),
        (object::<Server>("A", &json!({})), "metadata.name"),
    ]);
    let token = |name: &str, spec: Value| object::<JoinToken>(name, &spec);
    all.extend([
        (token("short", json!({})), "metadata.name"),
        (token("abcde.fghi", json!({})), "metadata.name"),
        (token("abcdefghij", json!({"uses": 0})), "spec.uses"),
        (token("abcdefghij", json!({"uses": 10_001})), "spec.uses"),
        (token("abcdefghij", json!({"uses": -1})), "spec.uses"),
        (token("abcdefghij", json!({"uses": "1"})), "spec.uses"),
        (token("abcdefghij", json!({"uses": 2, "serverName": "web01"})), "spec.uses"),
        (token("abcdefghij", json!({"serverName": "-x"})), "spec.serverName"),
        (token("abcdefghij", json!({"expiresAt": "tomorrow"})), "spec.expiresAt"),
        (token("abcdefghij", json!({"labels": {"-x": "y"}})), "spec.labels"),
        (token("abcdefghij", json!({"labels": {"a b/x": "y"}})), "spec.labels"),
        (token("abcdefghij", json!({"labels": {"x": "a b"}})), "spec.labels.x"),
        (
            token("abcdefghij", json!({"labels": (0..65).map(|n| (format!("l{n}"), json!("x"))).collect::<serde_json::Map<_, _>>()})),
            "spec.labels",
        ),
        (
            token("abcdefghij", json!({"labels": {format!("{}/x", vec!["a".repeat(63); 4].join(".")): "y"}})),
            "spec.labels",
        ),
    ]);
    all
}

/// A host key that differs from others of its kind by a letter.
fn ed25519(letter: char) -> String {
    format!(
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{}",
        letter.to_string().repeat(43)
    )
}

fn policies() -> Vec<(Value, &'static str)> {
    let mut all = Vec::new();
    let mut refuse =
        |parts: Value, field: &'static str| all.push((policy_with("a", &parts), field));
    refuse(json!({"subjects": {}}), "spec.subjects");
    refuse(json!({"subjects": {"users": []}}), "spec.subjects");
    refuse(json!({"servers": {}}), "spec.servers");
    refuse(json!({"servers": {"names": []}}), "spec.servers");
    refuse(json!({"logins": []}), "spec.logins");
    refuse(json!({"permissions": []}), "spec.permissions");
    refuse(json!({"hub": {}}), "spec.hub");
    refuse(
        json!({"hub": {"roles": ["viewer"]}, "servers": {}}),
        "spec.servers",
    );
    refuse(
        json!({"hub": {"roles": ["viewer"]}, "logins": []}),
        "spec.logins",
    );
    refuse(json!({"effect": "deny"}), "spec.effect");
    // Too much.
    refuse(json!({"logins": vec!["alice"; 257]}), "spec.logins");
    refuse(
        json!({"subjects": {"users": vec!["alice"; 257]}}),
        "spec.subjects.users",
    );
    refuse(
        json!({"servers": {"names": vec!["web01"; 257]}}),
        "spec.servers.names",
    );
    refuse(
        json!({"subjects": {"claims": [{"key": "x", "operator": "In", "values": vec!["a"; 257]}]}}),
        "spec.subjects.claims[0].values",
    );
    // Words that are none.
    refuse(
        json!({"permissions": ["ssh", "fly"]}),
        "spec.permissions[1]",
    );
    refuse(json!({"permissions": ["*"]}), "spec.permissions");
    refuse(json!({"logins": ["alice", "*"]}), "spec.logins");
    for login in [
        "Alice",
        "{}",
        "{a}{b}",
        "x{login}",
        "{ a}",
        "",
        "a\u{1b}[2J",
        "{a\u{202e}}",
    ] {
        refuse(json!({"logins": [login]}), "spec.logins[0]");
    }
    refuse(
        json!({"subjects": {"groups": ["dev", "*"]}}),
        "spec.subjects.groups[1]",
    );
    for user in [
        "",
        " a",
        "a ",
        "a\nb",
        "a\u{202e}b",
        "\u{feff}a",
        "a\u{a0}",
        "a\u{85}b",
    ] {
        refuse(
            json!({"subjects": {"users": [user]}}),
            "spec.subjects.users[0]",
        );
    }
    refuse(
        json!({"subjects": {"users": ["é".repeat(129)]}}),
        "spec.subjects.users[0]",
    );
    refuse(
        json!({"subjects": {"users": ["x".repeat(257)]}}),
        "spec.subjects.users[0]",
    );
    for issuer in [
        "http://id.example",
        "https://id.example?x=1",
        "https://user@id.example",
        "ftp://id.example",
        "id.example",
        "https://",
        "http://127.0.0.1.example",
        "http://128.0.0.1",
        "https://id.example:99999",
        "https://id.example/a/../b",
        "https://id.example/%2e/b",
        "https://id.example/\u{e9}",
        "https://id.example/a\\b",
        "https://id.example/\"",
        "Static",
    ] {
        refuse(
            json!({"subjects": {"issuers": ["*", issuer]}}),
            "spec.subjects.issuers[1]",
        );
    }
    refuse(
        json!({"servers": {"names": ["-x"]}}),
        "spec.servers.names[0]",
    );
    refuse(
        json!({"servers": {"names": ["web*"]}}),
        "spec.servers.names[0]",
    );
    refuse(
        json!({"servers": {"matchLabels": {"-x": "y"}}}),
        "spec.servers.matchLabels",
    );
    refuse(
        json!({"servers": {"matchLabels": {"x": "y z"}}}),
        "spec.servers.matchLabels.x",
    );
    refuse(
        json!({"servers": {"matchExpressions": [{"key": "env", "operator": "In"}]}}),
        "spec.servers.matchExpressions[0].values",
    );
    refuse(
        json!({"servers": {"matchExpressions": [{"key": "a b", "operator": "Exists"}]}}),
        "spec.servers.matchExpressions[0].key",
    );
    refuse(json!({"hub": {"roles": ["owner"]}}), "spec.hub.roles[0]");
    let rule = |verbs: &[&str], resources: &[&str]| json!({"hub": {"rules": [{"verbs": verbs, "resources": resources}]}});
    refuse(
        rule(&["get", "patch"], &["servers"]),
        "spec.hub.rules[0].verbs[1]",
    );
    refuse(
        rule(&["get"], &["secrets"]),
        "spec.hub.rules[0].resources[0]",
    );
    refuse(rule(&[], &["servers"]), "spec.hub.rules[0].verbs");
    refuse(rule(&["get"], &[]), "spec.hub.rules[0].resources");
    all.extend(claims("subjects", "claims", "spec.subjects.claims"));
    all.push((
        object::<AccessPolicy>("a", &json!({"subjects": {"groups": ["ops"]}})),
        "spec.servers",
    ));
    all
}

/// Conditions on claims that say nothing.
fn claims(part: &'static str, list: &str, path: &'static str) -> Vec<(Value, &'static str)> {
    let all = [
        json!({"key": "x", "operator": "In", "values": []}),
        json!({"key": "x", "operator": "NotIn"}),
        json!({"key": "x", "operator": "Exists", "values": ["a"]}),
        json!({"key": "x", "operator": "DoesNotExist", "values": ["a"]}),
        json!({"key": "x", "operator": "Equals", "values": ["a"]}),
        json!({"key": "x", "operator": "In", "values": ["a", "*"]}),
        json!({"key": "x", "operator": "In", "values": ["a\u{202e}"]}),
        json!({"key": "x", "operator": "In", "values": [" a"]}),
        json!({"key": "x", "operator": "In", "values": [true]}),
        json!({"key": "x\n", "operator": "Exists"}),
        json!({"key": "{x}", "operator": "Exists"}),
        json!({"key": "x"}),
        json!({"operator": "Exists"}),
    ];
    all.into_iter()
        .map(|condition| (policy_with("a", &json!({part: {list: [condition]}})), path))
        .collect()
}

fn constraints() -> Vec<(Value, &'static str)> {
    let mut all = claims(
        "constraints",
        "requiredClaims",
        "spec.constraints.requiredClaims",
    );
    let mut refuse = |constraints: Value, field: &'static str| {
        all.push((
            policy_with("a", &json!({"constraints": constraints})),
            field,
        ));
    };
    for net in [
        "10.0.0.1/8",
        "10.0.0.0",
        "10.0.0.0/33",
        "::ffff:10.0.0.0/104",
        "2001:db8::1/32",
        "example.com/8",
        "",
    ] {
        refuse(
            json!({"sourceRanges": ["192.0.2.0/24", net]}),
            "spec.constraints.sourceRanges[1]",
        );
    }
    for span in [
        "0s",
        "",
        "1d",
        "8",
        "h",
        "-1h",
        "1.5h",
        "1s1m",
        "90000000h",
        "87841h",
        "8h ",
        "８h",
        "99999999999999999999h",
    ] {
        refuse(json!({"maxSession": span}), "spec.constraints.maxSession");
        refuse(json!({"maxAuthAge": span}), "spec.constraints.maxAuthAge");
    }
    refuse(json!({"maxSession": 3600}), "spec.constraints.maxSession");
    refuse(json!({"maxSessions": 0}), "spec.constraints.maxSessions");
    refuse(
        json!({"maxSessions": 10_001}),
        "spec.constraints.maxSessions",
    );
    for end in [
        "2026-01-01T00:00:00Z",
        "2025-12-31T23:59:59Z",
        "2026-01-01T00:00:00.7Z",
        "2026-01-01T00:30:00+01:00",
    ] {
        refuse(
            json!({"notBefore": "2026-01-01T00:00:00Z", "notAfter": end}),
            "spec.constraints.notAfter",
        );
    }
    for time in [
        "soon",
        "2026-01-01",
        "2026-01-01T00:00:00",
        "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-01-01T00:00:00+99:00",
    ] {
        refuse(json!({"notBefore": time}), "spec.constraints.notBefore");
    }
    let mut window =
        |window: Value, field: &'static str| refuse(json!({"timeWindows": [window]}), field);
    for time in [
        "8:00", "25:00", "24:01", "08:60", "08:00:00", "8 am", "-1:00", "",
    ] {
        window(
            json!({"from": time, "to": "18:00"}),
            "spec.constraints.timeWindows[0].from",
        );
        window(
            json!({"from": "08:00", "to": time}),
            "spec.constraints.timeWindows[0].to",
        );
    }
    window(
        json!({"from": "24:00", "to": "18:00"}),
        "spec.constraints.timeWindows[0].from",
    );
    window(
        json!({"days": ["Monday"], "from": "08:00", "to": "18:00"}),
        "spec.constraints.timeWindows[0].days[0]",
    );
    window(
        json!({"days": ["Mon", "Tue", "Mon"], "from": "08:00", "to": "18:00"}),
        "spec.constraints.timeWindows[0].days",
    );
    for zone in [
        "Europe/Atlantis",
        "",
        "../../etc/passwd",
        "Berlin",
        "CET+1",
        "Local",
        "+02:00",
        "02:00",
    ] {
        window(
            json!({"from": "08:00", "to": "18:00", "timeZone": zone}),
            "spec.constraints.timeWindows[0].timeZone",
        );
    }
    let window = json!({"from": "08:00", "to": "18:00"});
    refuse(
        json!({"timeWindows": vec![window; 15]}),
        "spec.constraints.timeWindows",
    );
    for (limit, field) in [
        (json!({"maxSession": "8h"}), "spec.constraints.maxSession"),
        (json!({"maxAuthAge": "12h"}), "spec.constraints.maxAuthAge"),
        (json!({"maxSessions": 5}), "spec.constraints.maxSessions"),
    ] {
        all.push((
            policy_with("a", &json!({"effect": "Deny", "constraints": limit})),
            field,
        ));
    }
    all
}

/// Objects that the hub refuses and the server cannot, and the words of the page that say so.
fn only_the_hub() -> Vec<(Value, &'static str)> {
    let many: serde_json::Map<_, _> = (0..65).map(|n| (format!("l{n}"), json!("x"))).collect();
    let labelled = |labels: Value| {
        let mut server = object::<Server>("a", &json!({}));
        server["metadata"]["labels"] = labels;
        server
    };
    let mut noted = object::<Server>("a", &json!({}));
    noted["metadata"]["annotations"] = json!({"note": "x".repeat(64 * 1024)});
    vec![
        (labelled(many.into()), "More than 64 labels"),
        (noted, "64 KiB of annotations"),
        (
            object::<Server>("a", &json!({"hostKeys": ["ssh-rsa AAAAB3NzaC1yc2EAAAAA"]})),
            "The numbers in an RSA host key",
        ),
        (
            policy_with(
                "a",
                &json!({"subjects": {"issuers": ["https://256.0.0.1"]}}),
            ),
            "no address of a host",
        ),
    ]
}

#[test]
fn what_the_hub_refuses_the_server_refuses_and_names_the_field() -> Result<()> {
    let place = Place::new()?;
    let mut refusals = refusals();
    // kubectl's answer is sorted by name.
    for (number, (object, _)) in refusals.iter_mut().enumerate() {
        ensure!(hub_reads(object).is_err(), "the hub takes {object}");
        let kept = object["metadata"]["name"] != "a" && object["metadata"]["name"] != "abcdefghij";
        if !kept {
            let tokens = object["kind"] == "JoinToken";
            let name = if tokens {
                format!("t{number:09}")
            } else {
                format!("n{number}")
            };
            object["metadata"]["name"] = name.into();
        }
    }
    let objects: Vec<_> = refusals.iter().map(|(object, _)| object.clone()).collect();
    let verdicts = place.verdicts(&objects, &["--dry-run=server"])?;
    let mut faults = Vec::new();
    for (object, field) in &refusals {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        if let Err(fault) = refused(verdicts.get(name), object, field) {
            faults.push(format!("{fault:#}"));
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

/// What each part may be depends on the others: the hub and the server agree on every mixture.
#[test]
fn the_hub_and_the_server_agree_on_mixtures_of_parts() -> Result<()> {
    let parts: [(&str, Vec<Value>); 7] = [
        ("effect", vec![Value::Null, json!("Deny")]),
        (
            "subjects",
            vec![json!({"users": ["alice"]}), json!({"groups": []})],
        ),
        (
            "servers",
            vec![
                Value::Null,
                json!({}),
                json!({"names": ["*"]}),
                json!({"matchLabels": {"env": "dev"}}),
            ],
        ),
        (
            "logins",
            vec![
                Value::Null,
                json!([]),
                json!(["{login}"]),
                json!(["alice", "*"]),
            ],
        ),
        (
            "permissions",
            vec![Value::Null, json!([]), json!(["ssh"]), json!(["*"])],
        ),
        (
            "hub",
            vec![
                Value::Null,
                json!({"rules": []}),
                json!({"roles": ["viewer"]}),
            ],
        ),
        (
            "constraints",
            vec![Value::Null, json!({}), json!({"maxSessions": 1})],
        ),
    ];
    let all: usize = parts.iter().map(|(_, values)| values.len()).product();
    // Every seventh: no list above has seven values, so each pair of values is among them.
    let objects: Vec<Value> = (0..all)
        .step_by(7)
        .map(|number| {
            let (mut spec, mut rest) = (json!({}), number);
            for (name, values) in &parts {
                let value = &values[rest % values.len()];
                rest /= values.len();
                if !value.is_null() {
                    spec[*name] = value.clone();
                }
            }
            object::<AccessPolicy>(&format!("m{number}"), &spec)
        })
        .collect();
    let verdicts = Place::new()?.verdicts(&objects, &["--dry-run=server"])?;
    let mut taken = 0;
    for object in &objects {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let server = verdicts.get(name).context("a verdict")?;
        let hub = hub_reads(object);
        ensure!(
            hub.is_ok() == server.is_none(),
            "{object}\nthe hub: {hub:?}\nthe server: {server:?}"
        );
        taken += usize::from(hub.is_ok());
    }
    ensure!(
        taken >= 20 && taken < objects.len() / 2,
        "{taken} of {}",
        objects.len()
    );
    Ok(())
}

/// So that the page does not go on about what the server has learned to refuse.
#[test]
fn what_only_the_hub_can_refuse_is_on_the_page() -> Result<()> {
    let place = Place::new()?;
    let page = std::fs::read_to_string(repository("docs/kubernetes.md"))?;
    for (object, words) in only_the_hub() {
        ensure!(hub_reads(&object).is_err(), "the hub takes {object}");
        let verdicts = place.verdicts(std::slice::from_ref(&object), &["--dry-run=server"])?;
        let verdict = verdicts.values().next().context("a verdict")?;
        ensure!(verdict.is_none(), "{object}: {verdict:?}");
        ensure!(
            page.contains(words),
            "docs/kubernetes.md does not say `{words}`"
        );
    }
    Ok(())
}
