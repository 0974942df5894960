//! The REST API has Kubernetes' shape: discovery, lists, watches, conflicts, `Status` errors.

use std::io::{BufRead, BufReader, Write};

use kedge_testkit::peers::Reply;

use crate::prelude::*;

const BASE: &str = "/apis/kedge.dev/v1alpha1";

struct Api {
    endpoint: Endpoint,
    token: String,
}

impl Api {
    fn of(hub: &Hub, subject: &str) -> Result<Self> {
        Ok(Self {
            endpoint: Endpoint::of(hub),
            token: hub.token(subject)?.to_owned(),
        })
    }

    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Reply> {
        let mut request = Request::new(method, &format!("{BASE}{path}")).bearer(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        request.send(self.endpoint)
    }

    /// A call that must fail with a `Status`.
    fn refused(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        code: u16,
        reason: &str,
    ) -> Result<Value> {
        let reply = self.call(method, path, body)?;
        let status = reply.json().with_context(|| format!("{method} {path}"))?;
        ensure!(
            reply.status == code,
            "{method} {path}: {} {status}",
            reply.status
        );
        for (field, wanted) in [
            ("kind", json!("Status")),
            ("status", json!("Failure")),
            ("reason", json!(reason)),
            ("code", json!(code)),
        ] {
            ensure!(status.get(field) == Some(&wanted), "{field} of {status}");
        }
        ensure!(
            status
                .get("message")
                .and_then(Value::as_str)
                .is_some_and(|said| !said.is_empty()),
            "{status}"
        );
        Ok(status)
    }
}

#[test]
fn discovery_needs_no_token() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let reply = Request::new("GET", "/.well-known/kedge").send(Endpoint::of(&hub))?;
        ensure!(reply.status == 200, "{}", reply.status);
        let found = reply.json()?;
        ensure!(
            found.get("protocols") == Some(&json!(["kedge.v1"])),
            "{found}"
        );
        ensure!(
            found.get("suffix") == Some(&json!("kedge"))
                && found.get("name") == Some(&json!("main")),
            "{found}"
        );
        ensure!(!reply.text().contains("kpt_"));
        Ok(())
    })
}

#[test]
fn objects_are_made_read_changed_and_deleted() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let api = Api::of(&hub, "admin")?;
        let policy = Person::policy("p", &["alice"])?;
        let made = api.call("POST", "/accesspolicies", Some(&policy))?;
        ensure!(made.status == 201, "{} {}", made.status, made.text());
        let made = made.json()?;
        for pointer in [
            "/metadata/uid",
            "/metadata/resourceVersion",
            "/metadata/creationTimestamp",
        ] {
            ensure!(
                made.pointer(pointer)
                    .and_then(Value::as_str)
                    .is_some_and(|text| !text.is_empty()),
                "{pointer}: {made}"
            );
        }
        ensure!(
            made.pointer("/metadata/generation") == Some(&json!(1)),
            "{made}"
        );
        api.refused(
            "POST",
            "/accesspolicies",
            Some(&policy),
            409,
            "AlreadyExists",
        )?;

        let mut changed = made.clone();
        changed["spec"]["subjects"] = json!({"users": ["bob"]});
        let changed = api.call("PUT", "/accesspolicies/p", Some(&changed))?;
        ensure!(
            changed.status == 200,
            "{} {}",
            changed.status,
            changed.text()
        );
        let changed = changed.json()?;
        ensure!(
            changed.pointer("/metadata/generation") == Some(&json!(2)),
            "{changed}"
        );
        ensure!(
            changed.pointer("/metadata/uid") == made.pointer("/metadata/uid"),
            "{changed}"
        );
        // Whoever has an old version has to read again.
        api.refused("PUT", "/accesspolicies/p", Some(&made), 409, "Conflict")?;

        let list = api.call("GET", "/accesspolicies", None)?.json()?;
        ensure!(
            list.get("kind") == Some(&json!("AccessPolicyList")),
            "{list}"
        );
        ensure!(
            list.pointer("/metadata/resourceVersion")
                .is_some_and(Value::is_string),
            "{list}"
        );
        ensure!(
            list.get("items")
                .and_then(Value::as_array)
                .is_some_and(|items| items.len() == 1),
            "{list}"
        );

        ensure!(api.call("DELETE", "/accesspolicies/p", None)?.status == 200);
        let status = api.refused("GET", "/accesspolicies/p", None, 404, "NotFound")?;
        ensure!(
            status.pointer("/details/name") == Some(&json!("p")),
            "{status}"
        );
        Ok(())
    })
}

#[test]
fn mistakes_are_status_errors() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let api = Api::of(&hub, "admin")?;
        let mut unknown = Person::policy("p", &["alice"])?;
        unknown["spec"]["colour"] = json!("blue");
        let reply = api.call("POST", "/accesspolicies", Some(&unknown))?;
        ensure!(
            matches!(reply.status, 400 | 422) && reply.text().contains("colour"),
            "{} {}",
            reply.status,
            reply.text()
        );
        let mut other = Person::policy("p", &["alice"])?;
        other["apiVersion"] = json!("v1");
        let reply = api.call("POST", "/accesspolicies", Some(&other))?;
        ensure!(
            matches!(reply.status, 400 | 422),
            "{} {}",
            reply.status,
            reply.text()
        );
        let reply = api.call("PATCH", "/accesspolicies/p", Some(&json!({})))?;
        ensure!(reply.status == 405, "{}", reply.status);
        ensure!(
            reply.json()?.get("kind") == Some(&json!("Status")),
            "{}",
            reply.text()
        );
        for path in [
            "/nonsense",
            "/servers/../accesspolicies",
            "/servers/%2e%2e",
            "/servers/UPPER",
        ] {
            let reply = api.call("GET", path, None)?;
            ensure!(
                matches!(reply.status, 400 | 404),
                "{path}: {} {}",
                reply.status,
                reply.text()
            );
        }
        let garbage = Request::new("POST", &format!("{BASE}/accesspolicies")).bearer(&api.token);
        let reply = garbage.json(&json!("not an object")).send(api.endpoint)?;
        ensure!(matches!(reply.status, 400 | 422), "{}", reply.status);
        let huge = json!({"apiVersion": "kedge.dev/v1alpha1", "kind": "AccessPolicy", "x": "y".repeat(300 * 1024)});
        let reply = api.call("POST", "/accesspolicies", Some(&huge))?;
        ensure!(reply.status == 413, "{}", reply.status);
        Ok(())
    })
}

#[test]
fn who_is_no_administrator_reads_servers_and_writes_nothing() -> Result<()> {
    case(|t| {
        let stack = t.stack()?;
        let alice = Api::of(&stack.hub, "alice")?;
        for (method, path) in [
            ("GET", "/accesspolicies"),
            ("GET", "/jointokens"),
            ("POST", "/accesspolicies"),
            ("POST", "/jointokens"),
            ("DELETE", "/servers/web01"),
        ] {
            let body = (method == "POST")
                .then(|| Person::policy("p", &["alice"]))
                .transpose()?;
            alice.refused(method, path, body.as_ref(), 403, "Forbidden")?;
        }
        let servers = |api: &Api| -> Result<usize> {
            let list = api.call("GET", "/servers", None)?.json()?;
            Ok(list
                .get("items")
                .and_then(Value::as_array)
                .map(Vec::len)
                .unwrap_or_default())
        };
        ensure!(servers(&alice)? == 1, "alice sees her server");
        ensure!(
            servers(&Api::of(&stack.hub, "bob")?)? == 0,
            "bob sees a server"
        );
        // Nobody learns from a code whether a server exists.
        let bob = Api::of(&stack.hub, "bob")?;
        let (there, not) = (
            bob.call("GET", "/servers/web01", None)?,
            bob.call("GET", "/servers/web99", None)?,
        );
        ensure!(
            there.status == not.status,
            "{} and {}",
            there.status,
            not.status
        );
        let (there, not) = (
            bob.call("GET", "/servers/web01/access", None)?,
            bob.call("GET", "/servers/web99/access", None)?,
        );
        ensure!(
            there.status == not.status,
            "{} and {}",
            there.status,
            not.status
        );
        Ok(())
    })
}

#[test]
fn a_watch_tells_each_change_once_and_goes_on_where_it_was() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let api = Api::of(&hub, "admin")?;
        let list = api.call("GET", "/accesspolicies", None)?.json()?;
        let version = list
            .pointer("/metadata/resourceVersion")
            .and_then(Value::as_str)
            .context("a version")?;
        let watch = |version: &str| -> Result<_> {
            let mut stream = api.endpoint.connect()?;
            let path = format!("{BASE}/accesspolicies?watch=1&resourceVersion={version}");
            let request = Request::new("GET", &path).bearer(&api.token);
            stream.write_all(&request.bytes(&api.endpoint.address.to_string()))?;
            stream.flush()?;
            Ok(BufReader::new(stream))
        };
        let event = |reader: &mut BufReader<_>| -> Result<Value> {
            loop {
                let mut line = String::new();
                ensure!(reader.read_line(&mut line)? > 0, "the watch ended");
                if line.starts_with('{') {
                    let event: Value = serde_json::from_str(&line)?;
                    if event.get("type") != Some(&json!("BOOKMARK")) {
                        return Ok(event);
                    }
                }
            }
        };
        let mut reader = watch(version)?;
        let mut policy = Person::policy("p", &["alice"])?;
        let made = api.call("POST", "/accesspolicies", Some(&policy))?.json()?;
        policy["metadata"] = made["metadata"].clone();
        policy["spec"]["subjects"] = json!({"users": ["bob"]});
        api.call("PUT", "/accesspolicies/p", Some(&policy))?;
        api.call("DELETE", "/accesspolicies/p", None)?;
        for wanted in ["ADDED", "MODIFIED", "DELETED"] {
            let got = event(&mut reader)?;
            ensure!(
                got.get("type") == Some(&json!(wanted)),
                "wanted {wanted}: {got}"
            );
            ensure!(
                got.pointer("/object/metadata/name") == Some(&json!("p")),
                "{got}"
            );
        }
        // A second watch from the same version tells the same story.
        let mut again = watch(version)?;
        ensure!(event(&mut again)?.get("type") == Some(&json!("ADDED")));
        Ok(())
    })
}

#[test]
fn lists_are_selected_by_labels() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let api = Api::of(&hub, "admin")?;
        for (name, env) in [("a", "prod"), ("b", "test")] {
            let mut policy = Person::policy(name, &["alice"])?;
            policy["metadata"]["labels"] = json!({"env": env});
            ensure!(api.call("POST", "/accesspolicies", Some(&policy))?.status == 201);
        }
        for (selector, wanted) in [
            ("env%3Dprod", 1),
            ("env%20in%20(prod,test)", 2),
            ("!env", 0),
            ("env!%3Dprod", 1),
        ] {
            let list = api
                .call(
                    "GET",
                    &format!("/accesspolicies?labelSelector={selector}"),
                    None,
                )?
                .json()?;
            let found = list.get("items").and_then(Value::as_array).map(Vec::len);
            ensure!(found == Some(wanted), "{selector}: {list}");
        }
        api.refused(
            "GET",
            "/accesspolicies?labelSelector=%3D%3D%3D",
            None,
            400,
            "BadRequest",
        )?;
        Ok(())
    })
}
