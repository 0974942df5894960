//! Host keys are pinned at enrolment. A change blocks the server until an operator accepts it; nobody is ever asked.

use std::fs;

use crate::prelude::*;

/// New host keys for the server: sshd and the agent start again with them.
fn change_host_keys(t: &Case, stack: &mut Stack) -> Result<String> {
    let dir = t.subdir("new-keys")?;
    let key = dir.join("ssh_host_ed25519_key");
    kedge_testkit::sshd::keygen(&key, "ed25519")?;
    stack.agent.stop()?;
    stack.agent.options_mut().host_keys = dir.join("*.pub").display().to_string();
    stack.agent.configure()?;
    stack.agent.launch()?;
    Ok(key.with_extension("pub").display().to_string())
}

#[test]
fn changed_host_keys_block_until_accepted() -> Result<()> {
    case(|t| {
        let mut stack = t.stack()?;
        stack.alice.kedge_ssh(&[SERVER, "true"])?.success()?;
        let public = change_host_keys(t, &mut stack)?;
        stack.phase(SERVER, "Blocked", defaults::SOON)?;
        let server = stack.admin.get("server", SERVER)?;
        let conditions = server
            .pointer("/status/conditions")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let verified = conditions
            .iter()
            .find(|one| one.get("type") == Some(&json!("HostKeyVerified")));
        ensure!(
            verified.and_then(|one| one.get("status")) == Some(&json!("False")),
            "conditions of {server}"
        );
        // No session, no prompt, a reason.
        let sessions = stack.sshd.accepted()?;
        let ran = stack.alice.kedge_ssh(&[SERVER, "true"])?.exits(255)?;
        ensure!(
            ran.err().to_lowercase().contains("host key"),
            "no reason: {ran}"
        );
        let ran = ran.never_says("continue connecting")?;
        ensure!(
            stack.sshd.accepted()? == sessions,
            "a session reached sshd: {ran}"
        );
        run(stack.alice.openssh("ssh", &[stack.host().as_str(), "true"]))?
            .exits(255)?
            .never_says("continue connecting")?;
        // Only an operator accepts, and what is there.
        stack
            .alice
            .kedge(&[
                "accept-host-keys",
                SERVER,
                "--fingerprint",
                &fingerprint(&public)?,
            ])?
            .exits(5)?;
        let wrong = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let ran = stack
            .admin
            .kedge(&["accept-host-keys", SERVER, "--fingerprint", wrong])?;
        ensure!(
            ran.code() != Some(0),
            "a key that nobody reported was accepted: {ran}"
        );
        stack
            .admin
            .kedge(&[
                "accept-host-keys",
                SERVER,
                "--fingerprint",
                &fingerprint(&public)?,
            ])?
            .success()?;
        stack.phase(SERVER, "Online", defaults::SOON)?;
        Ok(())
    })
}

fn fingerprint(public: &str) -> Result<String> {
    let mut keygen = std::process::Command::new("ssh-keygen");
    keygen.args(["-l", "-f", public]);
    let said = run(keygen)?.success()?.out();
    said.split(' ')
        .nth(1)
        .map(str::to_owned)
        .with_context(|| format!("no fingerprint in {said}"))
}

#[test]
fn an_sshd_with_another_key_is_refused_without_a_question() -> Result<()> {
    case(|t| {
        let mut stack = t.stack()?;
        // The agent reports the pinned keys, but what answers behind it is somebody else.
        let impostor = t.sshd()?;
        stack.agent.stop()?;
        stack.agent.options_mut().target = tcp(impostor.address());
        stack.agent.configure()?;
        stack.agent.start()?;
        stack.phase(SERVER, "Online", defaults::SOON)?;
        for ran in [
            stack.alice.kedge_ssh(&[SERVER, "true"])?,
            run(stack.alice.openssh("ssh", &[stack.host().as_str(), "true"]))?,
            stack
                .alice
                .kedge_ssh(&["-o", "StrictHostKeyChecking=no", SERVER, "true"])?,
        ] {
            ran.exits(255)?
                .never_says("continue connecting")?
                .never_says("Permanently added")?;
        }
        ensure!(
            !impostor.daemon().log()?.contains("Accepted publickey"),
            "a user's key was used at an impostor"
        );
        Ok(())
    })
}

#[test]
fn known_hosts_prints_the_pinned_keys() -> Result<()> {
    case(|t| {
        let stack = t.stack()?;
        let said = stack
            .alice
            .kedge(&["known-hosts", &stack.host()])?
            .success()?
            .out();
        for name in ["ssh_host_ed25519_key.pub", "ssh_host_ecdsa_key.pub"] {
            let public = fs::read_to_string(stack.sshd.file(name))?;
            let blob = public.split(' ').nth(1).context("a key")?;
            ensure!(said.contains(blob), "{name} is missing in {said}");
        }
        for line in said.lines() {
            ensure!(
                line.starts_with(&stack.host()),
                "a line for somebody else: {line}"
            );
        }
        Ok(())
    })
}

#[test]
fn an_agent_may_not_report_for_another_server() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let admin = t.person(&hub, "admin", None)?;
        let endpoint = Endpoint::of(&hub);
        let mallory = FakeAgent::enrolled(endpoint, "mallory", &admin.join_token(&[])?)?;
        FakeAgent::enrolled(endpoint, "victim", &admin.join_token(&[])?)?;
        let body = json!({"hostKeys": mallory.host_keys, "version": "1"});
        let reply = Request::new(
            "POST",
            "/apis/kedge.dev/v1alpha1/servers/victim/agentreport",
        )
        .bearer(&mallory.assertion(None)?)
        .json(&body)
        .send(endpoint)?;
        ensure!(
            matches!(reply.status, 401 | 403 | 404),
            "{} {}",
            reply.status,
            reply.text()
        );
        let victim = admin.get("server", "victim")?;
        ensure!(
            victim.pointer("/status/phase") != Some(&json!("Blocked")),
            "it was believed: {victim}"
        );
        Ok(())
    })
}
