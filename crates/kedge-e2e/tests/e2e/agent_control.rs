//! `kedge agent` tells what the agent of a machine is doing, waits for it, and has it read its configuration again
//! without dropping a stream; where it cannot, it says what to type.

use std::fs;
use std::os::unix::net::UnixListener;

use crate::prelude::*;

/// A stack whose agent has a control socket.
fn stack(t: &Case) -> Result<(Stack, String)> {
    let mut stack = t.stack()?;
    let socket = t.dir().join("control.sock").display().to_string();
    stack.agent.stop()?;
    stack.agent.options_mut().extra = format!("control-socket = \"{socket}\"");
    stack.agent.configure()?;
    stack.agent.launch()?;
    wait::until_true("the control socket", defaults::SOON, || {
        Ok(fs::exists(&socket)?)
    })?;
    let wait = ["agent", "wait", "--connected", "--socket", &socket];
    stack.alice.kedge(&wait)?.success()?;
    Ok((stack, socket))
}

#[test]
fn it_tells_what_the_agent_does_and_waits_for_it() -> Result<()> {
    case(|t| {
        let (mut stack, socket) = stack(t)?;
        let status = ["agent", "status", "--socket", &socket, "-o", "json"];
        let said = stack.alice.kedge(&status)?.success()?.json()?;
        for (field, wanted) in [
            ("name", json!(SERVER)),
            ("state", json!("connected")),
            ("hub", json!(stack.hub.url())),
            ("sessions", json!(0)),
            ("reason", Value::Null),
        ] {
            ensure!(said[field] == wanted, "{field} of {said}");
        }
        let page = stack.alice.kedge(&status[..4])?.success()?.out();
        let line = format!(
            "Server:    {SERVER}\nHub:       {}\nState:     connected\n",
            stack.hub.url()
        );
        ensure!(page.starts_with(&line), "{page}");

        // Without its hub it is ready all the same, and says what it waits for.
        stack.hub.stop()?;
        let begins = [
            "agent",
            "wait",
            "--connected",
            "--timeout",
            "1s",
            "--socket",
            &socket,
        ];
        wait::until_true("the agent to miss its hub", defaults::SOON, || {
            let said = stack.alice.kedge(&status)?.success()?.json()?;
            Ok(text(&said, "reason").contains("connection refused, again in "))
        })?;
        stack.alice.kedge(&begins)?.exits(6)?.says(&[
            "the agent is not connected after 1 s: it is connecting: ",
            "hint: journalctl -u kedge-agent",
        ])?;
        Ok(())
    })
}

#[test]
fn a_reload_drops_no_stream_and_says_what_came_of_it() -> Result<()> {
    case(|t| {
        let (mut stack, socket) = stack(t)?;
        let words = [SERVER, "echo started; cat"];
        let mut live = Live::start(stack.alice.kedge_ssh_command(&words))?;
        live.expect("started", defaults::COMMAND)?;
        let reload = ["agent", "reload", "--socket", &socket];
        stack.agent.options_mut().extra =
            format!("control-socket = \"{socket}\"\n[admin]\nlisten = \"127.0.0.1:0\"");
        stack.agent.configure()?;
        let done = stack.alice.kedge(&reload)?.success()?;
        ensure!(done.out() == "configuration reloaded\n", "{done}");
        done.says(&["these keys take effect at the next start: admin.listen"])?;
        live.send("still here\n")?;
        live.expect("still here", defaults::SOON)?;

        let path = stack.agent.config_path();
        let good = fs::read_to_string(&path)?;
        fs::write(&path, "tarjet = 1\n")?;
        stack.alice.kedge(&reload)?.exits(1)?.says(&[
            "error: the old configuration stays: ",
            "agent.toml:1:1: unknown key `tarjet`",
            "hint: kedge-agent check-config",
        ])?;
        fs::write(&path, good)?;
        stack.agent.signal(rustix::process::Signal::HUP)?;
        live.send("and here\n")?;
        live.expect("and here", defaults::SOON)?;
        live.finish(defaults::COMMAND)?.success()?;
        ensure!(
            stack.agent.daemon()?.exited()?.is_none(),
            "the agent is another by now"
        );
        Ok(())
    })
}

#[test]
fn where_it_cannot_ask_it_says_what_to_type() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let person = t.person(&hub, "alice", None)?;
        let socket = t.dir().join("none.sock").display().to_string();
        person
            .kedge(&["agent", "status", "--socket", &socket])?
            .exits(6)?
            .says(&[&socket, "hint: systemctl status kedge-agent.socket"])?;
        drop(UnixListener::bind(&socket)?);
        person
            .kedge(&["agent", "reload", "--socket", &socket])?
            .exits(6)?
            .says(&[&socket, "hint: systemctl status kedge-agent"])?;
        person
            .kedge(&["agent", "wait"])?
            .exits(2)?
            .says(&["--connected"])?;
        person
            .kedge(&["agent", "wait", "--connected", "--timeout", "soon"])?
            .exits(2)?
            .says(&["`soon` is no time"])?;
        Ok(())
    })
}
