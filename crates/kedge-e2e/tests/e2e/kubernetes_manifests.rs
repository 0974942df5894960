//! The manifests as shipped: an API server takes them, and they let the hub do what it does and nothing else.

use std::fs;

use kedge_testkit::kube::{Cluster, Installation, manifests, shared};
use kedge_testkit::peers::Certificate;
use kedge_testkit::run::Ran;

use crate::kubernetes::{repository, text};
use crate::prelude::*;

/// By server-side dry-run: the server decodes, defaults and validates everything as if it were to be kept.
#[test]
fn the_server_takes_every_overlay() -> Result<()> {
    let cluster = shared()?;
    cluster.install_kinds()?;
    // A dry run makes no namespaces for what is in them.
    for namespace in ["kedge", "kedge-dev", "ssh-keys"] {
        let object =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        cluster
            .apply(&object.to_string(), &["--server-side"])?
            .success()?;
    }
    for overlay in ["dev", "ha", "single"] {
        let rendered = render(cluster, &format!("overlays/{overlay}"))?;
        let ran = cluster
            .apply(
                &rendered,
                // Other tests apply the kinds as well, and not all of them by the server: who owns which field is not
                // what is looked at here.
                &[
                    "--server-side",
                    "--force-conflicts",
                    "--dry-run=server",
                    "--validate=strict",
                ],
            )?
            .success()?;
        // What is deprecated, or against the restricted standard of the namespace's pods, is a warning.
        ensure!(!ran.err().contains("Warning"), "{overlay}: {ran}");
        for kind in [
            "deployment.apps/kedge-hub",
            "networkpolicy.networking.k8s.io/kedge-hub",
        ] {
            ensure!(ran.out().contains(kind), "{overlay}: {ran}");
        }
    }
    Ok(())
}

/// The components for programs that are not everywhere, with stand-ins of those programs' kinds.
#[test]
fn the_server_takes_the_components_that_others_have_the_kinds_of() -> Result<()> {
    let cluster = shared()?;
    for (group, kind, plural) in [
        ("cert-manager.io", "Certificate", "certificates"),
        ("monitoring.coreos.com", "ServiceMonitor", "servicemonitors"),
    ] {
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.{group}")},
            "spec": {
                "group": group, "scope": "Namespaced", "names": {"kind": kind, "plural": plural},
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
                }],
            },
        });
        cluster
            .apply(&definition.to_string(), &["--server-side"])?
            .success()?;
        let name = format!("crd/{plural}.{group}");
        cluster.admin(&[
            "wait",
            "--for=condition=Established",
            "--timeout=60s",
            &name,
        ])?;
    }
    let namespace = cluster.namespace("components")?;
    let objects = cluster.rendered(&namespace, &[], &["cert-manager", "servicemonitor"])?;
    let ran = cluster
        .apply(
            &objects,
            &["--server-side", "--dry-run=server", "--validate=strict"],
        )?
        .success()?;
    ensure!(
        ran.out().contains("certificate.cert-manager.io/kedge-hub"),
        "{ran}"
    );
    ensure!(
        ran.out()
            .contains("servicemonitor.monitoring.coreos.com/kedge-hub"),
        "{ran}"
    );
    Ok(())
}

/// What the hub does, done by its own service account.
#[test]
fn the_hub_may_do_all_that_it_does() -> Result<()> {
    let place = Installed::new()?;
    let cluster = place.cluster;
    for (kind, name, spec) in [
        ("Server", "web01", json!({})),
        ("JoinToken", "abcdefghij", json!({})),
        (
            "AccessPolicy",
            "developers",
            json!({"subjects": {"groups": ["dev"]}, "servers": {"names": ["*"]}, "logins": ["{login}"]}),
        ),
    ] {
        let object = json!({
            "apiVersion": "kedge.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec,
        });
        let plural = match kind {
            "AccessPolicy" => "accesspolicies",
            "JoinToken" => "jointokens",
            _ => "servers",
        };
        place
            .hub_feeds(&["create", "--filename", "-"], &object)?
            .success()?;
        place.hub(&["get", plural])?.success()?;
        place.hub(&["get", plural, name])?.success()?;
        place.hub(&["label", plural, name, "env=test"])?.success()?;
        let watch = place.hub(&[
            "get",
            plural,
            "--watch",
            "--output-watch-events",
            "--request-timeout=1s",
        ])?;
        ensure!(watch.out().contains("ADDED"), "{watch}");
        let mut status = object.clone();
        status["spec"] = Value::Null;
        if let Some(fields) = status.as_object_mut() {
            fields.remove("spec");
            fields.insert("status".to_owned(), json!({}));
        }
        let apply = [
            "apply",
            "--server-side",
            "--subresource=status",
            "--field-manager=kedge-hub",
            "--filename",
            "-",
        ];
        place.hub_feeds(&apply, &status)?.success()?;
        let mut replaced = place
            .hub(&["get", plural, name, "--output", "json"])?
            .success()?
            .json()?;
        replaced["metadata"]["labels"]["env"] = json!("prod");
        place
            .hub_feeds(&["replace", "--filename", "-"], &replaced)?
            .success()?;
        place
            .hub(&["delete", plural, name, "--wait=false"])?
            .success()?;
    }
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "kedge-hub"},
        "spec": {"holderIdentity": "a", "leaseDurationSeconds": 10},
    });
    place
        .hub_feeds(&["create", "--filename", "-"], &lease)?
        .success()?;
    let mut held = place
        .hub(&["get", "lease", "kedge-hub", "--output", "json"])?
        .success()?
        .json()?;
    held["spec"]["holderIdentity"] = json!("b");
    place
        .hub_feeds(&["replace", "--filename", "-"], &held)?
        .success()?;
    place
        .hub(&[
            "patch",
            "lease",
            "kedge-hub",
            "--type=merge",
            "--patch",
            r#"{"spec": {"holderIdentity": "c"}}"#,
        ])?
        .success()?;

    let state = place
        .hub(&["get", "configmap", "kedge-hub-state", "--output", "json"])?
        .success()?;
    let mut state = state.json()?;
    state["data"] = json!({"id": "h-aaaaaaaaaaaaaaaaaaaaaaaaaa"});
    place
        .hub_feeds(&["replace", "--filename", "-"], &state)?
        .success()?;
    // To apply the manifests again, by either way, leaves what the hub keeps there. The kinds are the whole cluster's, and
    // not to be fought over with other tests.
    let documents = place.hub.manifests.split("---\n");
    let kinds = |document: &&str| document.contains("kind: CustomResourceDefinition");
    let own: Vec<_> = documents.filter(|document| !kinds(document)).collect();
    for way in [&["--server-side"][..], &[]] {
        cluster.apply(&own.join("---\n"), way)?.success()?;
        let kept = place.hub(&["get", "configmap", "kedge-hub-state", "--output", "json"])?;
        let kept = kept.success()?.json()?;
        ensure!(text(&kept, "/data/id").starts_with("h-"), "{kept}");
    }

    let secret = place.hub(&[
        "get",
        "secret",
        "web01",
        "--namespace",
        &place.secrets,
        "--output",
        "json",
    ])?;
    ensure!(
        secret.success()?.json()?["data"]["ssh-privatekey"] == "a2V5",
        "another secret"
    );
    Ok(())
}

/// `kubectl auth can-i` says no to everything else.
#[test]
fn the_hub_may_do_nothing_else() -> Result<()> {
    let place = Installed::new()?;
    let other = place.cluster.namespace("others")?;
    let (own, secrets) = (place.hub.namespace.as_str(), place.secrets.as_str());
    let everywhere = [own, secrets, other.as_str()];
    let mut wrong = Vec::new();
    let mut ask = |expected: &str, words: &[&str]| -> Result<()> {
        let words = [
            &["auth", "can-i"],
            words,
            &["--as", place.hub.account.as_str()],
        ]
        .concat();
        let said = run(place.cluster.kubectl(&words))?;
        if said.out().trim() != expected {
            wrong.push(format!("wanted {expected}: {said}"));
        }
        Ok(())
    };
    // That the question can be answered by yes.
    ask("yes", &["get", "secrets", "--namespace", secrets])?;
    ask("yes", &["update", "servers", "--namespace", own])?;
    ask(
        "yes",
        &["get", "configmaps/kedge-hub-state", "--namespace", own],
    )?;

    for namespace in everywhere {
        for verb in [
            "list",
            "watch",
            "create",
            "update",
            "patch",
            "delete",
            "deletecollection",
        ] {
            ask("no", &[verb, "secrets", "--namespace", namespace])?;
        }
        for verb in ["get", "create", "delete"] {
            ask("no", &[verb, "pods", "--namespace", namespace])?;
        }
        ask(
            "no",
            &[
                "create",
                "pods",
                "--subresource=exec",
                "--namespace",
                namespace,
            ],
        )?;
        ask(
            "no",
            &[
                "create",
                "serviceaccounts",
                "--subresource=token",
                "--namespace",
                namespace,
            ],
        )?;
        for verb in ["list", "watch", "create", "delete"] {
            ask("no", &[verb, "configmaps", "--namespace", namespace])?;
        }
        for verb in ["get", "update", "patch"] {
            ask(
                "no",
                &[verb, "configmaps/kedge-hub", "--namespace", namespace],
            )?;
        }
        ask(
            "no",
            &[
                "create",
                "rolebindings.rbac.authorization.k8s.io",
                "--namespace",
                namespace,
            ],
        )?;
        ask("no", &["*", "*", "--namespace", namespace])?;
    }
    ask("no", &["get", "secrets", "--namespace", own])?;
    ask("no", &["get", "secrets", "--namespace", &other])?;
    ask("no", &["get", "secrets", "--all-namespaces"])?;
    for resource in ["servers", "accesspolicies", "jointokens"] {
        ask("no", &["get", resource, "--namespace", &other])?;
        ask("no", &["list", resource, "--all-namespaces"])?;
        ask("no", &["deletecollection", resource, "--namespace", own])?;
    }
    for verb in ["get", "update", "patch"] {
        let other = "leases.coordination.k8s.io/other";
        ask("no", &[verb, other, "--namespace", own])?;
    }
    for verb in ["list", "watch", "delete"] {
        ask(
            "no",
            &[verb, "leases.coordination.k8s.io", "--namespace", own],
        )?;
    }
    ask(
        "no",
        &["get", "leases.coordination.k8s.io", "--namespace", &other],
    )?;
    for resource in [
        "namespaces",
        "nodes",
        "customresourcedefinitions.apiextensions.k8s.io",
        "clusterroles.rbac.authorization.k8s.io",
        "tokenreviews.authentication.k8s.io",
    ] {
        for verb in ["get", "list", "create"] {
            ask("no", &[verb, resource])?;
        }
    }
    ask("no", &["impersonate", "users"])?;
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));

    // And nothing else where none of these questions asked.
    let all = place.cluster.kubectl(&[
        "auth",
        "can-i",
        "--list",
        "--as",
        &place.hub.account,
        "--namespace",
        own,
    ]);
    let all = run(all)?.success()?.out();
    let mut rules: Vec<String> = all
        .lines()
        .skip(1)
        // What everybody may: read the versions there are, and ask what one may do.
        .filter(|line| !line.is_empty() && !line.starts_with(' ') && !line.contains("selfsubject"))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    rules.sort_unstable();
    let expected = [
        "accesspolicies.kedge.dev [] [] [create delete get list patch update watch]",
        "accesspolicies.kedge.dev/status [] [] [patch]",
        "configmaps [] [kedge-hub-state] [get patch update]",
        "jointokens.kedge.dev [] [] [create delete get list patch update watch]",
        "jointokens.kedge.dev/status [] [] [patch]",
        "leases.coordination.k8s.io [] [] [create]",
        "leases.coordination.k8s.io [] [kedge-hub] [get patch update]",
        "servers.kedge.dev [] [] [create delete get list patch update watch]",
        "servers.kedge.dev/status [] [] [patch]",
    ];
    ensure!(rules == expected, "{all}");
    Ok(())
}

/// What the page says of RBAC is what is shipped.
#[test]
fn the_page_says_what_the_hub_may_do() -> Result<()> {
    let page = fs::read_to_string(repository("docs/kubernetes.md"))?;
    let shipped = [
        fs::read_to_string(repository("manifests/base/rbac.yaml"))?,
        fs::read_to_string(repository(
            "manifests/components/secrets-namespace/rbac.yaml",
        ))?,
    ];
    let mut seen = 0;
    for line in shipped.iter().flat_map(|text| text.lines()) {
        for key in ["  resources: [", "  verbs: ["] {
            let Some(list) = line.strip_prefix(key) else {
                continue;
            };
            for word in list.trim_end_matches(']').split(", ") {
                ensure!(
                    page.contains(&format!("`{word}`")),
                    "docs/kubernetes.md does not have `{word}`"
                );
                seen += 1;
            }
        }
    }
    ensure!(seen > 15, "{seen}");
    Ok(())
}

/// The hub's configurations of the overlays are right. They are read by the hub that is built.
#[test]
fn the_configurations_of_the_overlays_are_right() -> Result<()> {
    case(|t| {
        let hub = t.bins().join("kedge-hub");
        let mut reference = std::process::Command::new(&hub);
        reference.arg("reference");
        if !run(reference)?.success()?.out().contains("`[store]`") {
            return skip("this hub has no choice of stores");
        }
        let folder = t.subdir("tls")?;
        let made = Certificate::make(&folder)?;
        for path in ["base", "overlays/dev", "overlays/ha", "overlays/single"] {
            let config = fs::read_to_string(repository(&format!("manifests/{path}/hub.toml")))?;
            let config = config
                .replace(
                    "/etc/kedge-tls/tls.crt",
                    &made.certificate.display().to_string(),
                )
                .replace("/etc/kedge-tls/tls.key", &made.key.display().to_string());
            let file = t.write("hub.toml", config)?;
            let mut check = std::process::Command::new(&hub);
            check.arg("check-config").arg("--config").arg(file);
            run(check)?.success().context(path)?;
        }
        Ok(())
    })
}

/// What `kubectl kustomize` makes of a folder of the manifests.
fn render(cluster: &Cluster, folder: &str) -> Result<String> {
    let folder = manifests().join(folder);
    let folder = folder.to_str().context("a path that is text")?;
    Ok(cluster.admin(&["kustomize", folder])?.out())
}

/// A hub's manifests in a namespace, and a Secret in another that it may read.
struct Installed {
    cluster: &'static Cluster,
    hub: Installation,
    secrets: String,
}

impl Installed {
    fn new() -> Result<Self> {
        let cluster = shared()?;
        let (namespace, secrets) = (cluster.namespace("hub")?, cluster.namespace("keys")?);
        let hub = cluster.install(&namespace, &[&secrets])?;
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/ssh-auth",
            "metadata": {"name": "web01", "namespace": secrets}, "stringData": {"ssh-privatekey": "key"},
        });
        cluster
            .apply(&secret.to_string(), &["--server-side"])?
            .success()?;
        Ok(Self {
            cluster,
            hub,
            secrets,
        })
    }

    /// `kubectl` as the hub.
    fn hub(&self, words: &[&str]) -> Result<Ran> {
        run(self.cluster.kubectl_by(&self.hub.kubeconfig, words))
    }

    /// The same, with an object to read.
    fn hub_feeds(&self, words: &[&str], object: &Value) -> Result<Ran> {
        let command = self.cluster.kubectl_by(&self.hub.kubeconfig, words);
        feed(command, object.to_string().into_bytes(), defaults::COMMAND)
    }
}
