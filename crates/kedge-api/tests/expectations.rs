//! Tables of expectations: what passes, what fails, and what is no table.

#![cfg(test)]

use kedge_api::expectations::{Report, Table};
use kedge_api::{Resource, Time};
use serde_json::{Value, json};

#[test]
fn a_table_is_decided_by_the_evaluator() {
    let report = run(&table(json!([
        {"user": "alice", "server": "web01", "result": "allow", "policy": "dev"},
        {"user": "alice", "server": "web01", "login": "deploy", "result": "deny"},
        {"user": "alice", "server": "db01", "result": "deny"},
        {"user": "olga", "server": "db01", "result": "allow", "policy": "ops"},
        {"user": "olga", "server": "db01", "at": "2026-01-04T12:00:00Z", "result": "deny", "policy": "no-sundays"},
        {"user": "olga", "server": "db01", "authAge": "2h", "result": "allow"},
        {"user": "olga", "verb": "delete", "resource": "servers", "name": "db01", "result": "allow"},
        {"user": "alice", "verb": "delete", "resource": "servers", "result": "deny"},
        {"user": "job", "server": "web01", "result": "deny"},
        {"user": "job", "server": "web01", "login": "deploy", "result": "allow", "policy": "ci"},
        {"user": "noclaim", "server": "web01", "result": "deny"},
        {"user": "noclaim", "server": "db01", "result": "deny"},
    ])));
    let failed: Vec<_> = report
        .checked
        .iter()
        .filter(|checked| !checked.passed)
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(report.passed());
    assert_eq!(report.untested, ["never"]);
    let questions: Vec<_> = report.checked.iter().map(|c| c.question.as_str()).collect();
    assert_eq!(questions[1], "alice ssh deploy@web01");
    assert_eq!(questions[4], "olga ssh db01 at 2026-01-04T12:00:00Z");
    assert_eq!(questions[6], "olga delete servers db01");
    assert!(
        report.checked[10]
            .login_error
            .as_ref()
            .unwrap()
            .contains("preferred_username")
    );
}

#[test]
fn what_does_not_come_out_fails() {
    for expectation in [
        json!({"user": "alice", "server": "web01", "result": "deny"}),
        json!({"user": "alice", "server": "web01", "result": "allow", "policy": "ops"}),
        json!({"user": "alice", "server": "db01", "result": "allow"}),
        json!({"user": "noclaim", "server": "web01", "result": "allow"}),
        json!({"user": "olga", "server": "db01", "at": "2026-01-04T12:00:00Z", "result": "deny", "policy": "ops"}),
    ] {
        let report = run(&table(json!([expectation])));
        assert!(!report.passed(), "{expectation}");
    }
}

type Change<'a> = &'a dyn Fn(&mut Value);

#[test]
fn mistakes_are_named_by_their_path() {
    let wrong = |change: Change<'_>| {
        let mut table = table(json!([{"user": "alice", "server": "web01", "result": "allow"}]));
        change(&mut table);
        match Table::parse(table.to_string().as_bytes()).and_then(|table| table.inline()) {
            Ok(_) => panic!("accepted: {table}"),
            Err(status) => status.message,
        }
    };
    let cases: [(Change<'_>, &str); 12] = [
        (
            &|t| t["expect"][0]["user"] = json!("bob"),
            "expect[0].user: `bob` is not among the people",
        ),
        (
            &|t| t["expect"][0]["server"] = json!("web99"),
            "expect[0].server: `web99` is not among the servers",
        ),
        (
            &|t| t["expect"][0]["result"] = json!("maybe"),
            "expect[0].result: ",
        ),
        (
            &|t| t["expect"][0]["verb"] = json!("get"),
            "expect[0]: needs `server`, or",
        ),
        (
            &|t| t["expect"][0]["surprise"] = json!(1),
            "expect[0].surprise: unknown field",
        ),
        (
            &|t| t["expect"][0]["issuer"] = json!("https://other.example"),
            "expect[0].user: `alice` is not among the people",
        ),
        (
            &|t| t["people"][1] = t["people"][0].clone(),
            "people[1].user: `alice` is there twice",
        ),
        (
            &|t| t["servers"][1] = t["servers"][0].clone(),
            "servers[1].name: `web01` is there twice",
        ),
        (
            &|t| t["policies"][0]["spec"]["logins"] = json!(["*"]),
            "policies[0].spec.logins[0]: `*` can only be denied",
        ),
        (
            &|t| t["policies"][1]["spec"]["effect"] = json!("Maybe"),
            "policies[1].spec.effect: ",
        ),
        (&|t| t["policies"][1] = json!(7), "policies[1]: "),
        (
            &|t| t["login"] = json!({"clame": "x"}),
            "login.clame: unknown field",
        ),
    ];
    for (change, expected) in cases {
        let message = wrong(change);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn files_are_the_callers_to_read() {
    let mut with_files = table(json!([]));
    with_files["policies"] = json!([
        "a.yaml",
        policy(
            "x",
            json!({"subjects": {"users": ["*"]}, "hub": {"roles": ["viewer"]}})
        ),
        "../b.yaml"
    ]);
    let table = Table::parse(with_files.to_string().as_bytes()).unwrap();
    assert_eq!(table.files().collect::<Vec<_>>(), ["a.yaml", "../b.yaml"]);
    let names: Vec<_> = table
        .inline()
        .unwrap()
        .iter()
        .map(|p| p.metadata().name.to_string())
        .collect();
    assert_eq!(names, ["x"]);
}

fn run(table: &Value) -> Report {
    let table = Table::parse(table.to_string().as_bytes())
        .unwrap_or_else(|status| panic!("{}", status.message));
    // A Thursday.
    let now: Time = "2026-01-01T12:00:00Z".parse().unwrap();
    table.check(&table.inline().unwrap(), now)
}

fn table(expect: Value) -> Value {
    json!({
        "policies": [
            policy("dev", json!({"subjects": {"groups": ["dev"]}, "servers": {"matchLabels": {"env": "dev"}}, "logins": ["{login}"]})),
            policy("ops", json!({
                "subjects": {"groups": ["ops"]}, "servers": {"names": ["*"]}, "logins": ["{login}", "root"], "hub": {"roles": ["admin"]},
            })),
            policy("no-sundays", json!({
                "effect": "Deny", "subjects": {"users": ["*"]}, "servers": {"names": ["*"]}, "logins": ["*"],
                "constraints": {"timeWindows": [{"days": ["Sun"], "from": "00:00", "to": "24:00"}]},
            })),
            policy("ci", json!({
                "subjects": {"issuers": ["https://ci.example"], "claims": [{"key": "ref", "operator": "In", "values": ["main"]}]},
                "servers": {"names": ["web01"]}, "logins": ["deploy"],
            })),
            policy("never", json!({"subjects": {"users": ["nobody"]}, "servers": {"names": ["*"]}, "logins": ["{login}"]})),
        ],
        "homeIssuer": "https://id.example",
        "servers": [{"name": "web01", "labels": {"env": "dev"}}, {"name": "db01", "labels": {"env": "prod"}, "sshUser": "dba"}],
        "people": [
            {"user": "alice", "groups": ["dev"], "claims": {"preferred_username": "alice"}},
            {"user": "olga", "issuer": "https://id.example", "groups": ["ops"], "claims": {"preferred_username": "olga"}},
            {"user": "job", "issuer": "https://ci.example", "groups": ["dev", "ops"], "claims": {"ref": "main"}},
            {"user": "noclaim", "groups": ["dev"]},
        ],
        "expect": expect,
    })
}

fn policy(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "kedge.dev/v1alpha1", "kind": "AccessPolicy", "metadata": {"name": name}, "spec": spec})
}
