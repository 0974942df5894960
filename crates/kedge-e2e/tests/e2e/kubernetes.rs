//! What the tests with a Kubernetes API server have in common. Files of such tests are called `kubernetes_…`: by that
//! `cargo xtask test e2e` knows that it must start one, which they share.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use kedge_api::{AccessPolicy, JoinToken, Resource, Server, Status, decode};
use kedge_testkit::defaults;
use kedge_testkit::kube::{Cluster, shared};
use kedge_testkit::run::feed;
use serde_json::{Value, json};

/// A namespace of a test, on the cluster that all share.
pub(crate) struct Place {
    pub(crate) cluster: &'static Cluster,
    pub(crate) namespace: String,
}

impl Place {
    /// A new one, where kedge's kinds are known.
    pub(crate) fn new() -> Result<Self> {
        let cluster = shared()?;
        cluster.install_kinds()?;
        let namespace = cluster.namespace("kinds")?;
        Ok(Self { cluster, namespace })
    }

    /// `kubectl` in the namespace, as the administrator.
    pub(crate) fn kubectl(&self, words: &[&str]) -> std::process::Command {
        self.cluster
            .kubectl(&[&["--namespace", self.namespace.as_str()], words].concat())
    }

    /// What the server says to each of some objects that are to be made: nothing, or why not. They need names of their
    /// own.
    pub(crate) fn verdicts(
        &self,
        objects: &[Value],
        words: &[&str],
    ) -> Result<BTreeMap<String, Option<String>>> {
        let documents: Vec<String> = objects.iter().map(plain).collect();
        let words = [&["create", "--output", "name", "--filename", "-"], words].concat();
        let input = documents.join("\n---\n").into_bytes();
        let ran = feed(self.kubectl(&words), input, defaults::COMMAND)?;
        let (out, err) = (ran.out(), ran.err());
        let mut verdicts = BTreeMap::new();
        for object in objects {
            let (kind, name) = (text(object, "/kind"), text(object, "/metadata/name"));
            let made = format!("{}.kedge.dev/{name}", kind.to_lowercase());
            if out.lines().any(|line| line == made) {
                verdicts.insert(name, None);
                continue;
            }
            let about = format!("\"{name}\" is invalid: ");
            let mut lines = err.lines().skip_while(|line| !line.contains(&about));
            let first = lines
                .next()
                .with_context(|| format!("no word about {name}: {ran}"))?;
            // Several faults are a list below.
            let more = lines.take_while(|line| line.starts_with("* "));
            let said = std::iter::once(first).chain(more).collect::<Vec<_>>();
            verdicts.insert(name, Some(said.join("\n")));
        }
        Ok(verdicts)
    }

    /// An object as the server has it.
    pub(crate) fn stored(&self, kind: &str, name: &str) -> Result<Value> {
        let get = self.kubectl(&["get", kind, name, "--output", "json"]);
        feed(get, Vec::new(), defaults::COMMAND)?.success()?.json()
    }
}

/// JSON in ASCII: kubectl reads several documents as YAML, and that has more line breaks than JSON.
fn plain(object: &Value) -> String {
    let mut text = String::new();
    for c in object.to_string().chars() {
        if c.is_ascii() && !c.is_ascii_control() {
            text.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    text
}

/// An object of a kind.
pub(crate) fn object<R: Resource>(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": kedge_api::API_VERSION, "kind": R::KIND, "metadata": {"name": name}, "spec": spec,
    })
}

/// What the hub says to an object that is to be made.
pub(crate) fn hub_reads(object: &Value) -> Result<(), Status> {
    let bytes = object.to_string().into_bytes();
    match object["kind"].as_str() {
        Some("AccessPolicy") => decode::object::<AccessPolicy>(&bytes, None).map(drop),
        Some("JoinToken") => decode::object::<JoinToken>(&bytes, None).map(drop),
        _ => decode::object::<Server>(&bytes, None).map(drop),
    }
}

/// A policy that nothing is wrong with, but for what is put in the place of its parts.
pub(crate) fn policy_with(name: &str, parts: &Value) -> Value {
    let mut spec = json!({
        "subjects": {"users": ["alice"]}, "servers": {"names": ["*"]}, "logins": ["{login}"],
    });
    for (key, part) in parts.as_object().into_iter().flatten() {
        spec[key] = part.clone();
    }
    object::<AccessPolicy>(name, &spec)
}

/// A file of the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(path)
}

/// A text in JSON.
pub(crate) fn text(value: &Value, pointer: &str) -> String {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_default().to_owned()
}

/// Requires that the server refused an object, and named a field.
pub(crate) fn refused(verdict: Option<&Option<String>>, object: &Value, field: &str) -> Result<()> {
    let verdict = verdict.with_context(|| format!("no verdict about {object}"))?;
    let said = verdict
        .as_ref()
        .with_context(|| format!("the server took {object}"))?;
    ensure!(said.contains(field), "wanted {field} for {object}: {said}");
    Ok(())
}
