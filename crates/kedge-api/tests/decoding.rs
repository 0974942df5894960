//! What people want written is read strictly, and every refusal names the field.

#![cfg(test)]

use kedge_api::resources::ServerSpec;
use kedge_api::rest::HostKeyAcceptance;
use kedge_api::{AccessPolicy, JoinToken, Resource, Server, Status, StatusReason, decode};
use proptest::prelude::*;
use serde_json::{Value, json};

#[test]
fn unknown_fields_are_refused_by_their_path() {
    for (patch, field) in [
        (json!({"spek": 1}), "spek"),
        (json!({"metadata": {"lables": {}}}), "metadata.lables"),
        (json!({"spec": {"sshUsr": "x"}}), "spec.sshUsr"),
        (
            json!({"spec": {"sshKeySecretRef": {"name": "web01", "namespace": "keys", "key": "k"}}}),
            "spec.sshKeySecretRef",
        ),
        (json!({"status": {"phas": "Online"}}), "status.phas"),
        (
            json!({"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "R",
            "lastTransitionTime": "2026-01-01T00:00:00Z", "extra": 1}]}}),
            "status.conditions.0.extra",
        ),
    ] {
        let status = server_with(&patch).unwrap_err();
        assert_eq!(
            (status.code, &status.reason),
            (422, &StatusReason::Invalid),
            "{patch}"
        );
        let causes = &status.details.as_ref().unwrap().causes;
        assert!(
            causes[0].field.starts_with(field),
            "{patch}: {:?}",
            causes[0]
        );
        assert!(
            causes[0].message.contains("unknown field"),
            "{:?}",
            causes[0]
        );
    }
    let status = decode::body::<HostKeyAcceptance>(br#"{"accept": [], "all": true}"#).unwrap_err();
    assert!(status.message.contains("unknown field `all`"), "{status}");
}

#[test]
fn wrong_values_are_refused_by_their_path() {
    for (patch, field, message) in [
        (
            json!({"metadata": {"name": "../x"}}),
            "metadata.name",
            "name `../x` is not legal",
        ),
        (
            json!({"metadata": {"name": 7}}),
            "metadata.name",
            "expected a string",
        ),
        (
            json!({"metadata": {"labels": {"env": "a b"}}}),
            "metadata.labels.env",
            "label value `a b`",
        ),
        (
            json!({"metadata": {"labels": {"-x": "y"}}}),
            "metadata.labels.-x",
            "label key `-x`",
        ),
        (
            json!({"metadata": {"resourceVersion": 3}}),
            "metadata.resourceVersion",
            "expected a string",
        ),
        (
            json!({"metadata": {"resourceVersion": "-1"}}),
            "metadata.resourceVersion",
            "resource version `-1`",
        ),
        (
            json!({"spec": {"sshUser": "Root"}}),
            "spec.sshUser",
            "login `Root` is not legal",
        ),
        (
            json!({"spec": {"sshKeySecretRef": {"name": "web01"}}}),
            "spec.sshKeySecretRef",
            "missing field `namespace`",
        ),
        (
            json!({"spec": {"sshKeySecretRef": {"name": "../x", "namespace": "keys"}}}),
            "spec.sshKeySecretRef.name",
            "secret name `../x` is not legal",
        ),
        (
            json!({"spec": {"sshKeySecretRef": {"name": "web01", "namespace": "a.b"}}}),
            "spec.sshKeySecretRef.namespace",
            "namespace `a.b` is not legal",
        ),
        (
            json!({"spec": {"sshKeySecretDataKey": "..data"}}),
            "spec.sshKeySecretDataKey",
            "secret data key `..data` is not legal",
        ),
        (
            json!({"spec": {"sshKeySecretDataKey": "id_rsa"}}),
            "spec.sshKeySecretDataKey",
            "means nothing without `spec.sshKeySecretRef`",
        ),
        (
            json!({"spec": {"agentKey": "AAAA"}}),
            "spec.agentKey",
            "agent key `AAAA`",
        ),
        (
            json!({"spec": {"hostKeys": ["ssh-dss AAAA"]}}),
            "spec.hostKeys[0]",
            "`ssh-dss` is not supported",
        ),
        (
            json!({"kind": "Sever"}),
            "kind",
            "expected `Server`, found `Sever`",
        ),
        (
            json!({"apiVersion": "kedge.dev/v2"}),
            "apiVersion",
            "expected `kedge.dev/v1alpha1`",
        ),
        (
            json!({"kind": "x\u{202e}\n"}),
            "kind",
            r"found `x\\u{202e}\\u{a}`",
        ),
    ] {
        let status = server_with(&patch).unwrap_err();
        assert_eq!(status.reason, StatusReason::Invalid, "{patch}: {status}");
        let cause = &status.details.as_ref().unwrap().causes[0];
        assert_eq!(cause.field, field, "{patch}: {status}");
        assert!(
            cause.message.contains(message),
            "{patch}: {}",
            cause.message
        );
        assert!(
            !status.message.chars().any(char::is_control),
            "{:?}",
            status.message
        );
    }
}

#[test]
fn what_is_no_json_is_a_bad_request() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let good = serde_json::to_string(&server()).unwrap();
    for body in [
        "",
        "{",
        "null",
        "[]",
        "7",
        "{\"a\": nan}",
        "{'a': 1}",
        &format!("{good}x"),
        &format!("{good}{good}"),
        &good[..good.len() - 1],
        &deep,
        "\u{feff}{}",
    ] {
        let status = decode::object::<Server>(body.as_bytes(), None).unwrap_err();
        assert_eq!(
            status.reason,
            StatusReason::BadRequest,
            "{body:.40}: {status}"
        );
    }
    for body in [
        &b"\xff\xfe"[..],
        b"{\"metadata\": {\"name\": \"\xc3\x28\"}}",
        b"\0",
    ] {
        assert_eq!(decode::object::<Server>(body, None).unwrap_err().code, 400);
    }
    let huge = vec![b' '; 256 * 1024 + 1];
    assert_eq!(decode::object::<Server>(&huge, None).unwrap_err().code, 413);
}

#[test]
fn a_claimed_name_twice_is_refused() {
    let twice = br#"{"apiVersion":"kedge.dev/v1alpha1","kind":"Server","spec":{},
        "metadata":{"name":"web01","name":"db01"}}"#;
    let status = decode::object::<Server>(twice, None).unwrap_err();
    assert!(
        status.message.contains("duplicate field `name`"),
        "{status}"
    );
}

#[test]
fn agents_keys_are_not_changed_by_people() {
    let mut old = server();
    old.spec.agent_key = Some(
        "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
            .parse()
            .unwrap(),
    );
    let put = |new: &Server| decode::object(&serde_json::to_vec(new).unwrap(), Some(&old));
    let mut user = old.clone();
    user.spec.ssh_user = Some("ubuntu".parse().unwrap());
    assert_eq!(put(&user).unwrap(), user);
    for key in [
        None,
        Some(
            "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="
                .parse()
                .unwrap(),
        ),
    ] {
        let mut new = old.clone();
        new.spec.agent_key = key;
        let status = put(&new).unwrap_err();
        assert_eq!(status.details.unwrap().causes[0].field, "spec.agentKey");
    }
}

#[test]
fn join_tokens_are_checked() {
    let token = |name: &str, spec: Value| {
        let object = json!({"apiVersion": "kedge.dev/v1alpha1", "kind": "JoinToken",
            "metadata": {"name": name}, "spec": spec});
        decode::object::<JoinToken>(object.to_string().as_bytes(), None)
    };
    assert_eq!(token("abcdefghij", json!({})).unwrap().spec.uses, 1);
    for (name, spec, field) in [
        ("short", json!({}), "metadata.name"),
        ("abcde.fghi", json!({}), "metadata.name"),
        ("abcdefghij", json!({"uses": 0}), "spec.uses"),
        ("abcdefghij", json!({"uses": 10_001}), "spec.uses"),
        ("abcdefghij", json!({"uses": -1}), "spec.uses"),
        (
            "abcdefghij",
            json!({"uses": 2, "serverName": "web01"}),
            "spec.uses",
        ),
        ("abcdefghij", json!({"serverName": "-x"}), "spec.serverName"),
        (
            "abcdefghij",
            json!({"expiresAt": "tomorrow"}),
            "spec.expiresAt",
        ),
    ] {
        let status = token(name, spec.clone()).unwrap_err();
        assert_eq!(
            status.details.unwrap().causes[0].field,
            field,
            "{name} {spec}"
        );
    }
    let old = token("abcdefghij", json!({})).unwrap();
    let mut new = old.clone();
    new.spec.uses = 2;
    let status = decode::object(&serde_json::to_vec(&new).unwrap(), Some(&old)).unwrap_err();
    assert_eq!(status.details.unwrap().causes[0].field, "spec");
}

#[test]
fn tokens_are_spent_by_use_and_by_time() {
    let mut token = JoinToken::new("abcdefghij".parse().unwrap(), Default::default());
    let now = "2026-01-01T12:00:00Z".parse().unwrap();
    assert!(
        token.is_spent(now),
        "a token without an end is good for nothing"
    );
    token.spec.expires_at = Some("2026-01-01T12:00:01Z".parse().unwrap());
    assert!(!token.is_spent(now));
    token.status.used = 1;
    assert!(token.is_spent(now));
    token.spec.uses = 2;
    assert!(!token.is_spent(now));
    token.spec.expires_at = Some(now);
    assert!(token.is_spent(now));
}

#[test]
fn too_many_labels_or_too_long_notes_are_refused() {
    let mut server = server();
    for index in 0..65 {
        server
            .metadata
            .labels
            .insert(format!("l{index}").parse().unwrap(), "x".parse().unwrap());
    }
    server
        .metadata
        .annotations
        .insert("note".parse().unwrap(), "x".repeat(64 * 1024));
    let paths: Vec<_> = server
        .validate()
        .unwrap_err()
        .into_iter()
        .map(|e| e.path)
        .collect();
    assert_eq!(paths, ["metadata.labels", "metadata.annotations"]);
}

#[test]
fn readers_of_answers_forgive_what_is_new_but_not_in_a_spec() {
    let mut value = serde_json::to_value(server()).unwrap();
    value["metadata"]["managedFields"] = json!([]);
    value["status"]["phase"] = json!("Hibernating");
    value["status"]["mood"] = json!("good");
    let read: Server = serde_json::from_value(value).unwrap();
    assert_eq!(read.status.phase.as_str(), "Hibernating");
    assert_eq!(
        serde_json::to_value(&read).unwrap()["status"]["phase"],
        "Hibernating"
    );
    // A constraint that this version does not know must not be ignored by it.
    let policy = json!({"apiVersion": "kedge.dev/v1alpha1", "kind": "AccessPolicy",
        "metadata": {"name": "a"}, "spec": {"subjects": {"users": ["*"]}, "servers": {"names": ["*"]},
        "logins": ["{login}"], "constraints": {"onlyOnSundays": true}}});
    assert!(serde_json::from_value::<AccessPolicy>(policy).is_err());
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode::object::<Server>(&bytes, None);
        let _ = decode::object::<AccessPolicy>(&bytes, None);
    }

    #[test]
    fn a_server_with_one_byte_changed_reads_or_is_refused_in_one_line(
        at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut bytes = serde_json::to_vec(&server()).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Err(status) = decode::object::<Server>(&bytes, None) {
            prop_assert!(!status.message.chars().any(char::is_control), "{:?}", status.message);
            prop_assert!(status.message.len() < 2048);
        }
    }
}

fn server_with(patch: &Value) -> Result<Server, Status> {
    let mut value = serde_json::to_value(server()).unwrap();
    for (key, part) in patch.as_object().unwrap() {
        match part.as_object() {
            Some(fields) => {
                for (field, new) in fields {
                    value[key][field] = new.clone();
                }
            }
            None => value[key] = part.clone(),
        }
    }
    decode::object(value.to_string().as_bytes(), None)
}

fn server() -> Server {
    Server::new("web01".parse().unwrap(), ServerSpec::default())
}
