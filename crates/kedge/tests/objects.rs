//! What people see of a hub's objects, and what becomes of what they ask for.

mod common;

use std::fs;

use anyhow::Result;
use common::{FakeHub, Person};
use serde_json::json;

fn site() -> Result<(FakeHub, Person)> {
    let hub = FakeHub::start()?;
    let person = Person::at(&hub)?;
    hub.put("servers/web01", common::server("web01"));
    let offline = common::server_with(
        "db01",
        json!({ "phase": "Offline", "agentVersion": "0.1.0", "os": "evil\u{1b}[2J\u{202e}" }),
    );
    hub.put("servers/db01", offline);
    Ok((hub, person))
}

#[test]
fn get_prints_as_kubectl_does() -> Result<()> {
    let (_hub, person) = site()?;
    let table = person.kedge(["get", "servers"]).run()?.success()?.out();
    insta::assert_snapshot!(table, @r"
    NAME    PHASE     LAST SEEN   HOST KEY   VERSION
    db01    Offline   never       <none>     0.1.0
    web01   Online    never       <none>     0.1.0
    ");
    let wide = person
        .kedge(["get", "srv", "-o", "wide"])
        .run()?
        .success()?
        .out();
    assert!(
        wide.contains("LABELS") && wide.contains("env=prod"),
        "{wide}"
    );
    assert!(
        !wide.contains('\u{1b}') && !wide.contains('\u{202e}'),
        "{wide:?}"
    );
    let names = person
        .kedge(["get", "servers", "-o", "name"])
        .run()?
        .success()?
        .out();
    assert_eq!(names, "server.kedge.dev/db01\nserver.kedge.dev/web01\n");
    let one = person
        .kedge(["get", "server", "web01", "-o", "json"])
        .run()?
        .success()?;
    assert_eq!(one.json()?["metadata"]["name"], "web01");
    let yaml = person
        .kedge(["get", "server/web01", "-o", "yaml"])
        .run()?
        .success()?
        .out();
    assert!(yaml.contains("kind: Server\n"), "{yaml}");
    let bare = person
        .kedge(["get", "servers", "--no-headers"])
        .run()?
        .success()?
        .out();
    assert_eq!(bare.lines().count(), 2);
    Ok(())
}

#[test]
fn a_missing_object_does_not_hide_the_others() -> Result<()> {
    let (_hub, person) = site()?;
    let ran = person
        .kedge(["get", "server", "nosuch", "web01"])
        .run()?
        .exits(6)?;
    assert!(ran.out().contains("web01"), "{}", ran.out());
    insta::assert_snapshot!(ran.err(), @r#"
    error: servers "nosuch" not found
    hint: kedge get servers lists what you may reach
    "#);
    Ok(())
}

#[test]
fn a_selector_reaches_the_hub_encoded() -> Result<()> {
    let (hub, person) = site()?;
    person
        .kedge(["get", "servers", "-l", "env in (prod,test),!old"])
        .run()?
        .success()?;
    let requests = hub.requests();
    let [request] = requests.as_slice() else {
        panic!("{requests:?}")
    };
    assert!(
        request.contains("servers?labelSelector=env%20in%20%28prod%2Ctest%29%2C%21old"),
        "{request}"
    );
    let ran = person
        .kedge(["get", "servers", "-l", "a=b=c"])
        .run()?
        .exits(2)?;
    assert!(
        ran.err().starts_with("error: ") && ran.err().contains("hint: kedge get --help"),
        "{}",
        ran.err()
    );
    Ok(())
}

#[test]
fn a_watch_prints_rows_as_they_come_and_says_why_it_ends() -> Result<()> {
    let (_hub, person) = site()?;
    let ran = person
        .kedge(["get", "servers", "--watch"])
        .run()?
        .exits(5)?;
    insta::assert_snapshot!(ran.out(), @r"
    NAME    PHASE     LAST SEEN   HOST KEY   VERSION
    db01    Offline   never       <none>     0.1.0
    web01   Online    never       <none>     0.1.0
    db01    Offline   never       <none>     0.1.0
    web01   Online    never       <none>     0.1.0
    ");
    assert!(
        ran.err().starts_with("error: the watch is over\n"),
        "{}",
        ran.err()
    );
    let ran = person
        .kedge(["get", "server", "web01", "--watch", "-o", "name"])
        .run()?
        .exits(5)?;
    assert_eq!(
        ran.out(),
        "server.kedge.dev/web01\nserver.kedge.dev/web01\n"
    );
    Ok(())
}

#[test]
fn nothing_found_is_said_beside_the_output() -> Result<()> {
    let (_hub, person) = site()?;
    let ran = person.kedge(["get", "policies"]).run()?.success()?;
    assert_eq!(
        (ran.out().as_str(), ran.err().as_str()),
        ("", "Nothing found at hub `main`.\n")
    );
    let ran = person
        .kedge(["get", "policy", "-o", "json"])
        .run()?
        .success()?;
    assert_eq!(ran.json()?["items"], json!([]));
    person.kedge(["get", "sessions"]).run()?.success()?;
    Ok(())
}

#[test]
fn apply_creates_changes_and_leaves_alone() -> Result<()> {
    let (hub, person) = site()?;
    let file = person.path("policy.yaml");
    let policy = "apiVersion: kedge.dev/v1alpha1\nkind: AccessPolicy\nmetadata:\n  name: dev\nspec:\n  logins: [alice]\n";
    fs::write(&file, policy)?;
    let apply = || person.kedge(["apply", "-f", "policy.yaml"]).run();
    assert_eq!(
        apply()?.success()?.out(),
        "accesspolicy.kedge.dev/dev created\n"
    );
    assert_eq!(
        apply()?.success()?.out(),
        "accesspolicy.kedge.dev/dev unchanged\n"
    );
    fs::write(&file, policy.replace("alice", "bob"))?;
    assert_eq!(
        apply()?.success()?.out(),
        "accesspolicy.kedge.dev/dev configured\n"
    );
    // A label for a server leaves its host keys and everything else as it was.
    let label = "{\"apiVersion\":\"kedge.dev/v1alpha1\",\"kind\":\"Server\",\"metadata\":{\"name\":\"web01\",\"labels\":{\"tier\":\"web\"}}}";
    person
        .kedge(["apply", "-f", "-"])
        .input(label)
        .run()?
        .success()?;
    let server = hub.state().objects["servers/web01"].clone();
    assert_eq!(
        server["metadata"]["labels"],
        json!({ "env": "prod", "tier": "web" })
    );
    assert_eq!(server["spec"], json!({ "hostKeys": [] }));
    // What `get -o yaml` printed can be applied as it is.
    let yaml = person
        .kedge(["get", "server", "web01", "-o", "yaml"])
        .run()?
        .success()?
        .out();
    let same = person
        .kedge(["apply", "-f", "-"])
        .input(yaml)
        .run()?
        .success()?;
    assert_eq!(same.out(), "server.kedge.dev/web01 unchanged\n");
    Ok(())
}

#[test]
fn a_stale_file_does_not_undo_what_somebody_else_did() -> Result<()> {
    let (hub, person) = site()?;
    let dump = person
        .kedge(["get", "server", "web01", "-o", "yaml"])
        .run()?
        .success()?
        .out();
    let edited = dump.replace("env: prod", "env: test");
    let apply = |text: &str| person.kedge(["apply", "-f", "-"]).input(text).run();
    let fresh = apply(&edited)?.success()?.out();
    assert_eq!(fresh, "server.kedge.dev/web01 configured\n");
    // The dump is stale now, and what it would change is refused.
    let ran = apply(&dump)?.exits(1)?;
    insta::assert_snapshot!(ran.err(), @r"
    error: server.kedge.dev/web01 has changed since the file was made of it
    hint: kedge get server web01 -o yaml shows it as it is now
    ");
    let labels = || hub.state().objects["servers/web01"]["metadata"]["labels"].clone();
    assert_eq!(labels(), json!({ "env": "test" }));
    // What it would not change is no conflict.
    let same = apply(&edited)?.success()?.out();
    assert_eq!(same, "server.kedge.dev/web01 unchanged\n");
    // Without a version the file is what counts.
    let lines = dump
        .lines()
        .filter(|line| !line.contains("resourceVersion"));
    let unversioned = lines.collect::<Vec<_>>().join("\n");
    apply(&unversioned)?.success()?;
    assert_eq!(labels(), json!({ "env": "prod" }));
    // What was deleted does not come back unseen.
    hub.state().objects.remove("servers/web01");
    let ran = apply(&dump)?.exits(1)?;
    insta::assert_snapshot!(ran.err(), @r"
    error: server.kedge.dev/web01 has been deleted since the file was made of it
    hint: to make it anew, remove metadata.resourceVersion from the file
    ");
    assert!(!hub.state().objects.contains_key("servers/web01"));
    Ok(())
}

#[test]
fn a_folder_is_read_in_the_order_of_its_names() -> Result<()> {
    let (hub, person) = site()?;
    let policy = |name: &str| {
        format!(
            "apiVersion: kedge.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {{name: {name}}}\nspec: {{logins: [a]}}\n"
        )
    };
    let json = json!({
        "apiVersion": "kedge.dev/v1alpha1", "kind": "AccessPolicy",
        "metadata": { "name": "one" }, "spec": { "logins": ["a"] },
    });
    fs::create_dir_all(person.path("all/20-deeper.yaml"))?;
    fs::write(person.path("all/20-deeper.yaml/x.yaml"), policy("deeper"))?;
    fs::write(person.path("all/30-three.yml"), policy("three"))?;
    fs::write(person.path("all/20-two.yaml"), policy("two"))?;
    fs::write(person.path("all/10-one.json"), json.to_string())?;
    fs::write(person.path("all/README.md"), "nothing to apply")?;
    fs::write(person.path("all/20-two.yaml~"), "nothing to apply")?;
    let ran = person.kedge(["apply", "-f", "all"]).run()?.success()?;
    insta::assert_snapshot!(ran.out(), @r"
    accesspolicy.kedge.dev/one created
    accesspolicy.kedge.dev/two created
    accesspolicy.kedge.dev/three created
    ");
    let ran = person.kedge(["delete", "-f", "all"]).run()?.success()?;
    insta::assert_snapshot!(ran.out(), @r#"
    accesspolicy.kedge.dev "one" deleted
    accesspolicy.kedge.dev "two" deleted
    accesspolicy.kedge.dev "three" deleted
    "#);
    // Nothing is done when one file is wrong, and it is named.
    fs::write(person.path("all/40-four.yaml"), "kind: Nonsense\n")?;
    let ran = person.kedge(["apply", "-f", "all"]).run()?.exits(2)?;
    assert!(
        ran.err().starts_with("error: all/40-four.yaml: object 1: "),
        "{}",
        ran.err()
    );
    assert!(!hub.state().objects.contains_key("accesspolicies/one"));
    fs::create_dir(person.path("empty"))?;
    let ran = person.kedge(["apply", "-f", "empty"]).run()?.exits(2)?;
    assert_eq!(
        ran.err(),
        "error: empty holds no .json, .yaml or .yml file\n"
    );
    Ok(())
}

#[test]
fn sessions_come_as_every_other_list_does() -> Result<()> {
    let (hub, person) = site()?;
    let kinds = || -> Result<_> {
        let ran = person.kedge(["get", "sessions", "-o", "json"]).run()?;
        let list = ran.success()?.json()?;
        assert_eq!(list["apiVersion"], "kedge.dev/v1alpha1");
        assert_eq!(list["kind"], "SessionList");
        Ok(list["items"].clone())
    };
    assert_eq!(kinds()?, json!([]));
    let session = json!({ "id": "s-1", "subject": "alice" });
    hub.state().objects.insert("sessions/s-1".into(), session);
    assert_eq!(
        kinds()?,
        json!([{
            "apiVersion": "kedge.dev/v1alpha1", "kind": "Session", "id": "s-1", "subject": "alice",
        }])
    );
    Ok(())
}

#[test]
fn a_bad_file_changes_nothing() -> Result<()> {
    let (hub, person) = site()?;
    let text = "apiVersion: kedge.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: a}\n---\nkind: Nonsense\n";
    let ran = person
        .kedge(["apply", "-f", "-"])
        .input(text)
        .run()?
        .exits(2)?;
    insta::assert_snapshot!(ran.err(), @"error: standard input: object 2: no apiVersion; it must be `kedge.dev/v1alpha1`");
    let token = "apiVersion: kedge.dev/v1alpha1\nkind: JoinToken\nmetadata: {name: aaaaaaaaaa}\n";
    let ran = person
        .kedge(["apply", "-f", "-"])
        .input(token)
        .run()?
        .exits(2)?;
    assert!(
        ran.err().contains("hint: kedge token create"),
        "{}",
        ran.err()
    );
    assert!(hub.requests().is_empty());
    Ok(())
}

#[test]
fn delete_says_what_it_did() -> Result<()> {
    let (hub, person) = site()?;
    let ran = person
        .kedge(["delete", "server", "web01", "nosuch"])
        .run()?
        .exits(6)?;
    assert_eq!(ran.out(), "server.kedge.dev \"web01\" deleted\n");
    person
        .kedge(["delete", "server", "nosuch", "--ignore-not-found"])
        .run()?
        .success()?;
    let ran = person.kedge(["delete", "servers"]).run()?.exits(2)?;
    assert!(ran.err().contains("error: which servers?"), "{}", ran.err());
    person
        .kedge(["delete", "servers", "-l", "env=prod"])
        .run()?
        .success()?;
    assert!(hub.state().objects.is_empty());
    Ok(())
}

#[test]
fn describe_shows_everything_and_nothing_raw() -> Result<()> {
    let (_hub, person) = site()?;
    let ran = person
        .kedge(["describe", "server", "db01"])
        .run()?
        .success()?;
    assert!(
        ran.out().contains("Phase:                Offline"),
        "{}",
        ran.out()
    );
    assert!(
        !ran.out().contains('\u{1b}') && !ran.out().contains('\u{202e}'),
        "{:?}",
        ran.out()
    );
    for format in ["json", "yaml"] {
        let ran = person
            .kedge(["get", "server", "db01", "-o", format])
            .run()?
            .success()?;
        assert!(
            !ran.out().contains('\u{1b}') && !ran.out().contains('\u{202e}'),
            "{:?}",
            ran.out()
        );
    }
    Ok(())
}

#[test]
fn a_token_comes_as_the_command_to_run() -> Result<()> {
    let (hub, person) = site()?;
    let words = [
        "token", "create", "--server", "web02", "--label", "env=prod", "--ttl", "2h",
    ];
    let ran = person.kedge(words).run()?.success()?;
    let line = ran.out();
    let expected = format!("kedge-agent join {} --token kjt_", hub.url());
    assert!(
        line.starts_with(&expected) && line.ends_with(" --name web02\n"),
        "{line}"
    );
    assert_eq!(line.lines().count(), 1);
    assert!(ran.err().contains("shown this once"), "{}", ran.err());
    let name = {
        let state = hub.state();
        let (key, token) = state
            .objects
            .iter()
            .find(|(key, _)| key.starts_with("jointokens/"))
            .unwrap();
        assert_eq!(token["spec"]["labels"], json!({ "env": "prod" }));
        assert!(token["spec"]["expiresAt"].is_string());
        key.strip_prefix("jointokens/").unwrap().to_owned()
    };
    let list = person.kedge(["token", "list"]).run()?.success()?.out();
    assert!(
        list.contains(&name) && list.contains("0/1") && list.contains("in 1"),
        "{list}"
    );
    let json = person
        .kedge(["token", "create", "-o", "json"])
        .run()?
        .success()?
        .json()?;
    assert!(
        json["status"]["token"]
            .as_str()
            .unwrap()
            .starts_with("kjt_")
    );
    person.kedge(["token", "revoke", &name]).run()?.success()?;
    assert!(
        !hub.state()
            .objects
            .contains_key(&format!("jointokens/{name}"))
    );
    let ran = person
        .kedge(["token", "create", "--label", "x"])
        .run()?
        .exits(2)?;
    assert!(ran.err().contains("is not KEY=VALUE"), "{}", ran.err());
    Ok(())
}

#[test]
fn changed_host_keys_are_shown_and_exactly_the_named_ones_accepted() -> Result<()> {
    let (hub, person) = site()?;
    let ran = person
        .kedge(["accept-host-keys", "web01"])
        .run()?
        .success()?;
    assert!(ran.out().contains("nothing to accept"), "{}", ran.out());
    let key = person.path("key");
    kedge_testkit::sshd::keygen(&key, "ed25519")?;
    let public = fs::read_to_string(key.with_extension("pub"))?;
    let key: kedge_api::HostKey = public
        .split_whitespace()
        .take(2)
        .collect::<Vec<_>>()
        .join(" ")
        .parse()?;
    let mut server = common::server("web01");
    server["status"]["phase"] = json!("Blocked");
    server["status"]["observedHostKeys"] = json!([key.to_string()]);
    hub.put("servers/web01", server);
    // Nobody is there to be asked: shown, and nothing done.
    let ran = person
        .kedge(["accept-host-keys", "web01"])
        .run()?
        .exits(1)?;
    let print = key.fingerprint().to_string();
    assert!(ran.out().contains(&format!("+ {print}")), "{}", ran.out());
    assert!(
        ran.err().contains(&format!("--fingerprint {print}")),
        "{}",
        ran.err()
    );
    let other = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    person
        .kedge(["accept-host-keys", "web01", "--fingerprint", other])
        .run()?
        .exits(2)?;
    assert!(!hub.state().objects.contains_key("accepted/web01"));
    person
        .kedge(["accept-host-keys", "web01", "--fingerprint", &print])
        .run()?
        .success()?;
    assert_eq!(
        hub.state().objects["accepted/web01"],
        json!({ "accept": [print] })
    );
    Ok(())
}

#[test]
fn a_closed_reader_is_no_error_to_read_about() -> Result<()> {
    let (_hub, person) = site()?;
    let program = common::kedge().display();
    let mut shell = std::process::Command::new("sh");
    shell.arg("-c").arg(format!(
        "{{ {program} completion bash; echo $? >&2; }} | true"
    ));
    let ran = person.run(shell).run()?;
    let err = ran.err();
    assert!(!err.contains("error"), "{err}");
    assert!(matches!(err.trim(), "141" | "0"), "{err}");
    Ok(())
}
