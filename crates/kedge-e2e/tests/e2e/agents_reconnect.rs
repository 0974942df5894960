//! An agent keeps its tunnel: it comes back by itself, replaces its own older link, and the old link's death never
//! hurts the new one.

use crate::prelude::*;

#[test]
fn a_cut_link_is_dialled_again() -> Result<()> {
    case(|t| {
        let mut stack = t.wired_stack()?;
        // Only what is connected counts here: the status of a flapping agent may lag by half a minute.
        for round in 2..8 {
            stack.wire()?.cut();
            stack.agent.connected(round)?;
            let tunnels = "kedge_hub_tunnels";
            stack
                .hub
                .metric(tunnels, defaults::SOON, |tunnels| tunnels == 1.0)?;
            stack.alice.kedge_ssh(&[SERVER, "true"])?.success()?;
        }
        stack.phase(SERVER, "Online", defaults::SILENT_LOSS)?;
        Ok(())
    })
}

#[test]
fn a_new_link_replaces_the_old_one_and_outlives_its_end() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let admin = t.person(&hub, "admin", None)?;
        let endpoint = Endpoint::of(&hub);
        let agent = FakeAgent::enrolled(endpoint, SERVER, &admin.join_token(&[])?)?;
        let mut old = agent.connected()?;
        phase(&admin, SERVER, "Online", defaults::SOON)?;
        let mut new = agent.connected()?;
        // The hub ends the old link; whatever its end does, the server stays online and OPENs go to the new one.
        old.ends(defaults::SOON)?;
        drop(old);
        wait::throughout("the server to stay online", Duration::from_secs(2), || {
            Ok(admin.get("server", SERVER)?.pointer("/status/phase") == Some(&json!("Online")))
        })?;
        admin.apply(&Person::policy("p", &["alice"])?)?;
        let mut client = Client::connect(endpoint, hub.token("alice")?)?;
        client.send(&kedge_testkit::peers::open_frame(
            client.stream,
            SERVER,
            None,
        )?)?;
        let open = FakeAgent::opening(&mut new, defaults::SOON)?;
        ensure!(
            open.target.to_string() == "ssh",
            "the target is {}",
            open.target
        );
        Ok(())
    })
}

#[test]
fn the_status_tells_what_is_known() -> Result<()> {
    case(|t| {
        let mut stack = t.stack()?;
        let server = stack.admin.get("server", SERVER)?;
        for pointer in [
            "/status/agentVersion",
            "/status/lastSeen",
            "/status/os",
            "/status/hostKeyFingerprint",
        ] {
            let value = server
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default();
            ensure!(!value.is_empty(), "no {pointer} in {server}");
        }
        let fingerprint = server
            .pointer("/status/hostKeyFingerprint")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let mut keygen = std::process::Command::new("ssh-keygen");
        keygen
            .arg("-l")
            .arg("-f")
            .arg(stack.sshd.file("ssh_host_ed25519_key.pub"));
        let ed25519 = run(keygen)?.success()?.out();
        let mut keygen = std::process::Command::new("ssh-keygen");
        keygen
            .arg("-l")
            .arg("-f")
            .arg(stack.sshd.file("ssh_host_ecdsa_key.pub"));
        let ecdsa = run(keygen)?.success()?.out();
        ensure!(
            ed25519.contains(fingerprint) || ecdsa.contains(fingerprint),
            "{fingerprint} is no key of the server"
        );
        let condition = |server: &Value, kind: &str| {
            let conditions = server
                .pointer("/status/conditions")
                .and_then(Value::as_array)
                .cloned();
            let found = conditions
                .unwrap_or_default()
                .into_iter()
                .find(|one| one.get("type") == Some(&json!(kind)));
            found
                .and_then(|one| one.get("status").cloned())
                .unwrap_or_default()
        };
        for kind in ["Connected", "HostKeyVerified", "Ready"] {
            ensure!(
                condition(&server, kind) == json!("True"),
                "{kind} of {server}"
            );
        }
        stack.agent.stop()?;
        stack.phase(SERVER, "Offline", defaults::SOON)?;
        let server = stack.admin.get("server", SERVER)?;
        ensure!(
            condition(&server, "Connected") == json!("False"),
            "Connected of {server}"
        );
        Ok(())
    })
}

#[test]
fn an_agent_is_ready_before_the_hub_answers() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let admin = t.person(&hub, "admin", None)?;
        let keys = host_key_file(t)?;
        let options = t.agent_options(&hub, SERVER, "tcp:127.0.0.1:22", &keys)?;
        let mut agent = t.join(&admin, options)?;
        drop(hub);
        let path = t.dir().join("notify");
        let socket = std::os::unix::net::UnixDatagram::bind(&path)?;
        socket.set_read_timeout(Some(defaults::START))?;
        agent.options_mut().environment =
            vec![("NOTIFY_SOCKET".to_owned(), path.display().to_string())];
        agent.launch()?;
        let mut said = String::new();
        while !said.contains("READY=1") {
            let mut message = [0; 4096];
            let count = socket
                .recv(&mut message)
                .context("READY=1 before the hub answers")?;
            said.push_str(&String::from_utf8_lossy(&message[..count]));
            said.push('\n');
        }
        Ok(())
    })
}
