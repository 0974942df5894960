//! A name from outside cannot become an ssh option, a path, a log line or a shell word.

use kedge_proto::RefuseCode;

use crate::prelude::*;

fn hostile() -> Vec<String> {
    vec![
        "-oProxyCommand=touch PROOF".to_owned(),
        "../x".to_owned(),
        "../../../../etc/passwd".to_owned(),
        "web01\nforged".to_owned(),
        "web01\u{202e}".to_owned(),
        "web01 ".to_owned(),
        "ｗeb01".to_owned(),
        "web01;touch PROOF".to_owned(),
        "$(touch PROOF)".to_owned(),
        "`touch PROOF`".to_owned(),
        "web01'\"; touch PROOF; '".to_owned(),
        "%h".to_owned(),
        "*".to_owned(),
        ".".to_owned(),
        "a".repeat(254),
    ]
}

#[test]
fn the_command_line_refuses_them_and_does_nothing() -> Result<()> {
    case(|t| {
        let stack = t.stack()?;
        let proof = t.dir().join("PROOF").display().to_string();
        for name in hostile() {
            let name = name.replace("PROOF", &proof);
            for words in [
                vec!["ssh", "--", &name, "true"],
                vec!["proxy", "--", &name],
                vec!["known-hosts", "--", &name],
            ] {
                let mut command = stack.alice.kedge_command(&words);
                command.current_dir(t.dir());
                let ran = run(command)?;
                ensure!(ran.code() != Some(0), "{name:?} was taken: {ran}");
                ensure!(!ran.err().trim().is_empty(), "no reason for {name:?}");
                ensure!(
                    !ran.err().contains('\u{202e}'),
                    "a terminal was turned around by {name:?}"
                );
            }
        }
        ensure!(
            !std::path::Path::new(&proof).exists(),
            "a name became a command"
        );
        Ok(())
    })
}

#[test]
fn plain_ssh_runs_nothing_for_them() -> Result<()> {
    case(|t| {
        let stack = t.stack()?;
        let proof = t.dir().join("PROOF").display().to_string();
        // OpenSSH 9.2 does not yet refuse quotes in host and user names; the generated configuration must.
        let hosts = [
            "x'$(touch PROOF)'.kedge",
            "x;touch PROOF;.kedge",
            "`touch PROOF`.kedge",
            "$(touch PROOF).kedge",
            "x\"$(touch PROOF)\".kedge",
            "x|touch PROOF|.kedge",
            "x\ntouch PROOF\n.kedge",
            "x'&touch PROOF&'.kedge",
        ];
        for host in hosts {
            let host = host.replace("PROOF", &proof);
            run(stack.alice.openssh("ssh", &["--", host.as_str(), "true"]))?.exits(255)?;
        }
        let users = [
            "x';touch PROOF;'",
            "$(touch PROOF)",
            "`touch PROOF`",
            "x\";touch PROOF;\"",
            "x;touch PROOF",
        ];
        for user in users {
            let user = user.replace("PROOF", &proof);
            run(stack
                .alice
                .openssh("ssh", &["-l", user.as_str(), "--", &stack.host(), "true"]))?
            .exits(255)?;
            stack
                .alice
                .kedge_ssh(&["-l", user.as_str(), SERVER, "true"])?
                .exits(255)?;
        }
        ensure!(
            !std::path::Path::new(&proof).exists(),
            "a name became a command"
        );
        Ok(())
    })
}

#[test]
fn the_hub_refuses_them_and_its_log_stays_whole() -> Result<()> {
    case(|t| {
        let mut cheap = Cheap::start(t, Manner::Echo)?;
        for name in hostile() {
            let mut client = cheap.client()?;
            match client.open(&name, None)? {
                Err((RefuseCode::NotFound | RefuseCode::BadRequest | RefuseCode::Denied, said)) => {
                    ensure!(
                        !said.contains(['\n', '\u{202e}']),
                        "{name:?} came back as it was: {said:?}"
                    );
                }
                other => bail!("{name:?}: {other:?}"),
            }
        }
        ensure!(cheap.target.accepted() == 0);
        for line in cheap.hub.daemon()?.log()?.lines() {
            ensure!(
                serde_json::from_str::<Value>(line).is_ok(),
                "a line of the log is forged: {line}"
            );
            ensure!(
                !line.contains('\u{202e}'),
                "a terminal would turn around: {line}"
            );
        }
        Ok(())
    })
}

#[test]
fn sixty_four_kib_of_name_are_too_many_everywhere() -> Result<()> {
    case(|t| {
        let cheap = Cheap::start(t, Manner::Echo)?;
        let name = "a".repeat(64 * 1024);
        let alice = cheap.alice(t)?;
        let ran = alice.kedge(&["proxy", &name])?;
        ensure!(
            ran.code() != Some(0) && ran.err().len() < 4096,
            "{} bytes of reason",
            ran.err().len()
        );
        // A head that large is not read to its end: the answer may be lost with the connection.
        let reply = Request::new("GET", &format!("/apis/kedge.dev/v1alpha1/servers/{name}"))
            .bearer(cheap.hub.token("admin")?)
            .send(cheap.endpoint());
        let refused = |status| matches!(status, 400 | 404 | 414 | 431);
        ensure!(
            reply.as_ref().map_or(true, |reply| refused(reply.status)),
            "{reply:?}"
        );
        let body = FakeAgent::new(cheap.endpoint(), &name)?.enrolment("x.y.z");
        let reply = Request::new("POST", "/apis/kedge.dev/v1alpha1/enrollments")
            .bearer(&cheap.admin.join_token(&[])?)
            .json(&body)
            .send(cheap.endpoint())?;
        ensure!(
            matches!(reply.status, 400 | 401 | 413 | 422),
            "{} {}",
            reply.status,
            reply.text()
        );
        cheap.greeted()?;
        Ok(())
    })
}

#[test]
fn an_agent_cannot_join_under_a_hostile_name() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let admin = t.person(&hub, "admin", None)?;
        let keys = host_key_file(t)?;
        for name in ["-oProxyCommand=x", "../x", "web01\nforged", "WEB01", ""] {
            let mut options = t.agent_options(&hub, SERVER, "tcp:127.0.0.1:22", &keys)?;
            options.name = name.to_owned();
            let agent = Agent::new(options)?;
            let ran = agent.join(&admin.join_token(&[])?)?;
            ensure!(ran.code() != Some(0), "{name:?} joined: {ran}");
            ensure!(
                !agent.state_dir().join("agent.key").exists(),
                "{name:?} left a key behind"
            );
        }
        let listed = admin.kedge(&["get", "servers", "-o", "name"])?.success()?;
        ensure!(listed.out().trim().is_empty(), "somebody joined: {listed}");
        Ok(())
    })
}
