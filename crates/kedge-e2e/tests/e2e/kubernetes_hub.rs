//! A hub whose objects and keys are in a cluster, with the rights that the manifests give it and no others.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use kedge_testkit::hub::HubOptions;
use kedge_testkit::kube::{self, Cluster};
use kedge_testkit::process::Daemon;
use kedge_testkit::{census, sshd};

use crate::injected_keys::every_tool;
use crate::prelude::*;

/// A namespace for a hub, another for its keys, and the shipped rights in both.
struct Place<'a> {
    cluster: &'a Cluster,
    hub: String,
    keys: String,
}

fn manifest(name: &str) -> Result<String> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../manifests")).join(name);
    fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

impl<'a> Place<'a> {
    fn new(cluster: &'a Cluster) -> Result<Self> {
        cluster.install_kinds()?;
        let place = Self {
            cluster,
            hub: cluster.namespace("hub")?,
            keys: cluster.namespace("keys")?,
        };
        for file in ["base/rbac.yaml", "base/state.yaml"] {
            let words = ["--namespace", place.hub.as_str()];
            cluster.apply(&manifest(file)?, &words)?.success()?;
        }
        let secrets = manifest("components/secrets-namespace/rbac.yaml")?
            .replace("namespace: ssh-keys", &format!("namespace: {}", place.keys))
            .replace("namespace: kedge\n", &format!("namespace: {}\n", place.hub));
        cluster.apply(&secrets, &[])?.success()?;
        Ok(place)
    }

    /// What makes a hub's options those of a hub here.
    fn settle(&self, options: &mut HubOptions) -> Result<()> {
        let token = self.cluster.token_of(&self.hub, "kedge-hub")?;
        let kubeconfig = self.cluster.kubeconfig_in(&token, &self.hub)?;
        options.extra.push_str(&format!(
            "[store]\nkind = \"kubernetes\"\n[store.kubernetes]\nkubeconfig = {}\n[secrets]\nnamespaces = [{}]\n",
            kedge_testkit::hub::quoted(&kubeconfig.display().to_string()),
            kedge_testkit::hub::quoted(&self.keys),
        ));
        Ok(())
    }

    fn user(&self) -> String {
        format!("system:serviceaccount:{}:kedge-hub", self.hub)
    }

    /// Has the Secret `web01` hold this, under this name.
    fn put(&self, key: &str, content: &[u8]) -> Result<()> {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"namespace": self.keys, "name": "web01"},
            "data": {key: BASE64_STANDARD.encode(content)},
        });
        self.cluster
            .apply(&secret.to_string(), &[])?
            .success()
            .map(drop)
    }

    fn kubectl(&self, words: &[&str]) -> Result<String> {
        let all = [words, &["--namespace", self.hub.as_str()]].concat();
        Ok(self.cluster.admin(&all)?.out())
    }

    /// Has the server refer to the Secret, as a person with kubectl does.
    fn refer(&self) -> Result<()> {
        let patch = json!({"spec": {"sshKeySecretRef": {"namespace": self.keys, "name": "web01"}}});
        self.kubectl(&[
            "patch",
            "server",
            SERVER,
            "--type=merge",
            "--patch",
            &patch.to_string(),
        ])
        .map(drop)
    }
}

/// A stack of which the hub is in a cluster, and an alice without a key.
fn stack(t: &Case, place: &Place<'_>) -> Result<(Stack, Person)> {
    let mut options = t.hub_options()?;
    place.settle(&mut options)?;
    let stack = t.stack_with(options)?;
    let alice = t.stranger("keyless", None)?;
    alice.log_in(&stack.hub, &stack.hub.url(), "alice")?;
    Ok((stack, alice))
}

#[test]
fn people_get_in_with_a_key_from_the_cluster_and_the_shipped_rights_are_enough() -> Result<()> {
    case(|t| {
        let place = Place::new(kube::shared()?)?;
        let (mut stack, alice) = stack(t, &place)?;
        // Nothing is read that nobody refers to.
        stack.alice.kedge_ssh(&[SERVER, "true"])?.success()?;
        let secrets = || -> Result<Vec<_>> {
            let asked = place.cluster.asked_by(&place.user())?;
            Ok(asked
                .into_iter()
                .filter(|one| one.resource == "secrets")
                .collect())
        };
        ensure!(secrets()?.is_empty(), "{:?}", secrets()?);
        place.put("ssh-privatekey", &fs::read(stack.sshd.user_key())?)?;
        place.refer()?;
        every_tool(t, &alice, &stack.host())?;
        // One by its name at a time, and for each session a few: never a list, never a watch.
        let read = secrets()?;
        ensure!(
            !read.is_empty()
                && read.iter().all(|one| {
                    (one.verb.as_str(), one.name.as_str(), &one.namespace)
                        == ("get", "web01", &place.keys)
                }),
            "{read:?}"
        );

        // Rotated between two sessions, and nothing is started anew.
        let key = t.dir().join("rotated");
        sshd::keygen(&key, "ecdsa")?;
        fs::copy(
            key.with_extension("pub"),
            stack.sshd.file("authorized_keys"),
        )?;
        alice.kedge_ssh(&[SERVER, "true"])?.exits(255)?;
        place.put("ssh-privatekey", &fs::read(&key)?)?;
        alice.kedge_ssh(&[SERVER, "true"])?.success()?;

        // Whatever is wrong with it is said by name, and on the server.
        let reference = format!("{}/web01", place.keys);
        let fails = |words: &str, reason: &str| {
            alice
                .kedge_ssh(&[SERVER, "true"])?
                .exits(255)?
                .says(&[&reference, words])?;
            // A status is written twice a minute at most.
            wait::until_true(reason, defaults::SILENT_LOSS, || {
                let path =
                    "jsonpath={.status.conditions[?(@.type==\"CredentialsResolved\")].reason}";
                Ok(place.kubectl(&["get", "server", SERVER, "--output", path])? == reason)
            })
        };
        place.put("ssh-privatekey", b"garbage")?;
        fails("", "KeyUnusable")?;
        place.put("another-field", b"")?;
        fails("ssh-privatekey", "SecretKeyMissing")?;
        place
            .cluster
            .admin(&["delete", "secret", "web01", "--namespace", &place.keys])?;
        fails("not found", "SecretNotFound")?;
        place.cluster.admin(&[
            "delete",
            "rolebinding",
            "kedge-hub-secrets",
            "--namespace",
            &place.keys,
        ])?;
        fails("may not", "SecretForbidden")?;

        // As a Kubernetes person sees it.
        ensure!(place.kubectl(&["get", "servers"])?.contains(SERVER));
        place.kubectl(&["delete", "accesspolicy", "everyone-tested"])?;
        wait::until_true("the policy to count no more", defaults::SOON, || {
            Ok(stack.alice.kedge_ssh(&[SERVER, "true"])?.code() == Some(255))
        })?;
        let policy = Person::policy("by-kubectl", &["alice"])?;
        let words = ["--namespace", place.hub.as_str()];
        place
            .cluster
            .apply(&policy.to_string(), &words)?
            .success()?;
        stack.admin.apply(&json!({
            "apiVersion": "kedge.dev/v1alpha1", "kind": "Server", "metadata": {"name": SERVER},
            "spec": {"sshKeySecretRef": null},
        }))?;
        fs::copy(
            stack.sshd.user_key().with_extension("pub"),
            stack.sshd.file("authorized_keys"),
        )?;
        wait::until_true("the other policy to count", defaults::SOON, || {
            Ok(stack.alice.kedge_ssh(&[SERVER, "true"])?.code() == Some(0))
        })?;
        // Whatever it asked for it got, but for the Secret that was taken away from it.
        let refused = place.cluster.asked_by(&place.user())?;
        let refused: Vec<_> = refused
            .into_iter()
            .filter(|one| one.status == 403 && one.resource != "secrets")
            .collect();
        ensure!(refused.is_empty(), "{refused:?}");
        stack.hub.stop().map(drop)
    })
}

#[test]
fn a_cluster_that_is_away_ends_no_session_and_loses_nothing() -> Result<()> {
    case(|t| {
        let mut cluster = Cluster::start()?;
        let place = Place::new(&cluster)?;
        let (stack, alice) = stack(t, &place)?;
        place.put("ssh-privatekey", &fs::read(stack.sshd.user_key())?)?;
        let keys = place.keys.clone();
        let hub = place.hub.clone();
        let mut live = Live::start(stack.alice.kedge_ssh_command(&[SERVER, "cat"]))?;
        live.send("before\n")?;
        live.expect("before", defaults::SOON)?;
        cluster.stop_api()?;
        // What is known serves on.
        live.send("during\n")?;
        live.expect("during", defaults::SOON)?;
        stack.alice.kedge_ssh(&[SERVER, "true"])?.success()?;
        stack.admin.get("server", SERVER)?;
        // What cannot be written is said.
        let policy = Person::policy("later", &["bob"])?;
        let words = ["apply", "-f", "-"];
        let apply = || {
            feed(
                stack.admin.kedge_command(&words),
                policy.to_string().into_bytes(),
                defaults::COMMAND,
            )
        };
        let refused = apply()?;
        ensure!(
            refused.code() != Some(0) && refused.err().contains("error: "),
            "{refused}"
        );
        let refused = stack.admin.kedge(&["token", "create"])?;
        ensure!(refused.code() != Some(0), "{refused}");
        let (status, said) = census::get(stack.hub.admin_address(), "/ready")?;
        ensure!(status == 200 && said.contains("store: "), "{status} {said}");
        cluster.start_api()?;
        wait::until_true("the cluster to be written to again", defaults::SOON, || {
            Ok(apply()?.code() == Some(0))
        })?;
        let there = cluster.admin(&["get", "accesspolicy", "later", "--namespace", &hub])?;
        ensure!(there.out().contains("later"));
        // And it hears of what others do.
        let patch =
            json!({"spec": {"sshKeySecretRef": {"namespace": keys, "name": "web01"}}}).to_string();
        cluster.admin(&[
            "patch",
            "server",
            SERVER,
            "--namespace",
            &hub,
            "--type=merge",
            "--patch",
            &patch,
        ])?;
        wait::until_true("the hub to hear of it", defaults::SOON, || {
            let server = stack.admin.get("server", SERVER)?;
            Ok(server["spec"]["sshKeySecretRef"]["name"] == "web01")
        })?;
        // Who has not asked before is not told what was true before.
        alice.kedge_ssh(&[SERVER, "true"])?.success()?;
        live.send("after\n")?;
        live.expect("after", defaults::SOON)
    })
}

/// A hub beside another one, with the same people, objects and name.
struct Second {
    daemon: Daemon,
    admin: SocketAddr,
    https: SocketAddr,
}

fn second(t: &Case, first: &Hub, name: &str) -> Result<Second> {
    let text = fs::read_to_string(first.config_path())?;
    let dir = t.subdir(name)?;
    let ports = [machine::free_port()?, machine::free_port()?];
    let [https, admin] = ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let state: PathBuf = first.state_dir();
    let text = text
        .replacen(
            "listen = \"127.0.0.1:0\"",
            &format!("listen = \"{https}\""),
            1,
        )
        .replacen(
            "listen = \"127.0.0.1:0\"",
            &format!("listen = \"{admin}\""),
            1,
        )
        .replace(
            &state.display().to_string(),
            &dir.join("state").display().to_string(),
        );
    let config = dir.join("hub.toml");
    fs::write(&config, text)?;
    let mut command = std::process::Command::new(t.bins().join("kedge-hub"));
    command.arg("run").arg("--config").arg(&config);
    let daemon = Daemon::spawn(&format!("hub-{name}"), command, t.logs())?;
    Ok(Second {
        daemon,
        admin,
        https,
    })
}

impl Second {
    fn ready(&self) -> bool {
        census::get(self.admin, "/ready").is_ok_and(|(status, _)| status == 200)
    }

    fn stands_by(&self) -> Result<()> {
        wait::until_true("probes to be answered", defaults::START, || {
            let live = census::get(self.admin, "/live");
            Ok(live.is_ok_and(|(status, _)| status == 200))
        })?;
        let (status, said) = census::get(self.admin, "/ready")?;
        ensure!(status == 503 && said.contains("lease"), "{status} {said}");
        ensure!(
            std::net::TcpStream::connect(self.https).is_err(),
            "it listens"
        );
        Ok(())
    }
}

#[test]
fn a_hub_that_stands_by_takes_over() -> Result<()> {
    case(|t| {
        let place = Place::new(kube::shared()?)?;
        let mut options = t.hub_options()?;
        place.settle(&mut options)?;
        let mut first = Hub::start(options)?;
        let second = second(t, &first, "second")?;
        second.stands_by()?;
        let third = self::second(t, &first, "third")?;
        third.stands_by()?;
        // Its holder is gone from one moment to the next.
        first.kill()?;
        let fifteen = Duration::from_secs(15);
        let mut heir = None;
        wait::until_true("one of them to take over", fifteen, || {
            heir = [second.ready(), third.ready()]
                .iter()
                .position(|ready| *ready);
            Ok(heir.is_some())
        })?;
        let (heir, other) = match heir {
            Some(0) => (second, third),
            _ => (third, second),
        };
        ensure!(!other.ready(), "both are ready");
        std::net::TcpStream::connect(heir.https)?;
        // One that stops gives it to the next at once; the lease would run for ten seconds.
        heir.daemon.signal(rustix::process::Signal::TERM)?;
        wait::until_true("the last one to take over", Duration::from_secs(6), || {
            Ok(other.ready())
        })?;
        ensure!(heir.daemon.stop()?.success());
        ensure!(other.daemon.stop()?.success());
        Ok(())
    })
}

#[test]
fn objects_move_between_a_file_and_a_cluster() -> Result<()> {
    case(|t| {
        let place = Place::new(kube::shared()?)?;
        let stack = t.stack()?;
        let token = stack.admin.join_token(&["--uses", "3"])?;
        let listed = |person: &Person| -> Result<Vec<Value>> {
            let mut all = Vec::new();
            for kind in ["servers", "accesspolicies", "jointokens"] {
                let list = person
                    .kedge(&["get", kind, "-o", "json"])?
                    .success()?
                    .json()?;
                all.extend(list["items"].as_array().cloned().unwrap_or_default());
            }
            Ok(all)
        };
        let before = listed(&stack.admin)?;
        let Stack {
            mut hub,
            admin,
            agent,
            alice,
            sshd,
            ..
        } = stack;
        hub.stop()?;
        let exported = run(hub.command(&["export"]))?.success()?;
        let import = |hub: &Hub, input: &[u8]| {
            feed(hub.command(&["import"]), input.to_vec(), defaults::COMMAND)
        };
        // Half of it is refused before anything is written.
        hub.change(|options| place.settle(options))?;
        let half = exported.stdout.len() / 2;
        let refused = import(&hub, &exported.stdout[..half])?;
        ensure!(
            refused.code() == Some(1) && refused.err().contains("error: "),
            "{refused}"
        );
        import(&hub, &exported.stdout)?.success()?;
        // A second time there is something already.
        let refused = import(&hub, &exported.stdout)?.exits(1)?;
        ensure!(refused.err().contains("not empty"), "{refused}");
        hub.launch()?;
        // The same hub, to everybody who knew it.
        let admin_again = t.person(&hub, "admin", None)?;
        let after = listed(&admin_again)?;
        let essence = |objects: &[Value]| -> Vec<Value> {
            let mut all: Vec<_> = objects
                .iter()
                .map(|object| {
                    json!([
                        object["kind"],
                        object["metadata"]["name"],
                        object["metadata"]["labels"],
                        object["spec"],
                        object["status"]["used"]
                    ])
                })
                .collect();
            all.sort_by_key(Value::to_string);
            all
        };
        ensure!(essence(&before) == essence(&after), "{before:?} {after:?}");
        drop((admin, agent, alice, sshd, token));
        hub.stop().map(drop)
    })
}
