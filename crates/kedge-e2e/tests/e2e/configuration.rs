//! A configuration that makes no sense is refused with file, line, key and the nearest right name, before anything
//! starts.

use std::fs;

use crate::prelude::*;

#[test]
fn unknown_keys_are_named_with_file_line_and_the_nearest_right_one() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let path = hub.config_path();
        let good = fs::read_to_string(&path)?;
        fs::write(&path, format!("lisen = \"127.0.0.1:0\"\n{good}"))?;
        let shown = format!("{}:1", path.display());
        for command in ["check-config", "run"] {
            let ran = run(hub.command(&[command]))?;
            ensure!(
                ran.code().is_some_and(|code| code != 0),
                "{command} took it: {ran}"
            );
            ran.says(&["lisen", "listen", &shown])?;
        }
        fs::write(&path, good)?;
        run(hub.command(&["check-config"]))?.success()?;

        let keys = host_key_file(t)?;
        let mut options = t.agent_options(&hub, SERVER, "tcp:127.0.0.1:22", &keys)?;
        options.extra = "tarjet = \"x\"".to_owned();
        let agent = Agent::new(options)?;
        run(agent.command("check-config"))?.says(&["tarjet", "target", "agent.toml:"])?;

        let person = t.person(&hub, "alice", None)?;
        let path = person.config_home().join("kedge/config.toml");
        let good = fs::read_to_string(&path)?;
        fs::write(&path, format!("default-hup = \"main\"\n{good}"))?;
        person.kedge(&["whoami"])?.exits(2)?.says(&[
            "default-hup",
            "default-hub",
            "config.toml:1",
        ])?;
        Ok(())
    })
}

#[test]
fn wrong_values_and_missing_files_have_a_reason() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let path = hub.config_path();
        let good = fs::read_to_string(&path)?;
        for (from, to, said) in [
            (
                "listen = \"127.0.0.1:0\"",
                "listen = \"somewhere\"",
                "listen",
            ),
            ("suffix = \"kedge\"", "suffix = \"ke dge\"", "suffix"),
            ("name = \"main\"", "name = 3", "name"),
        ] {
            fs::write(&path, good.replacen(from, to, 1))?;
            let ran = run(hub.command(&["check-config"]))?;
            ensure!(
                ran.code() != Some(0) && ran.err().contains(said),
                "{to}: {ran}"
            );
        }
        fs::write(&path, "listen = [")?;
        ensure!(
            run(hub.command(&["check-config"]))?.code() != Some(0),
            "no TOML was taken"
        );
        fs::remove_file(&path)?;
        let ran = run(hub.command(&["run"]))?;
        ensure!(
            ran.code() != Some(0) && ran.err().contains(&path.display().to_string()),
            "{ran}"
        );
        Ok(())
    })
}

#[test]
fn a_port_in_use_and_a_state_folder_in_use_are_reasons() -> Result<()> {
    case(|t| {
        let mut hub = t.hub()?;
        // The same configuration again: the state belongs to the first.
        let ran = run(hub.command(&["run"]))?;
        ensure!(ran.code() != Some(0), "two hubs share a store: {ran}");
        ensure!(
            ran.err().contains(&hub.state_dir().display().to_string()),
            "the place is not named: {ran}"
        );
        let address = hub.address().to_string();
        let path = hub.config_path();
        let config = fs::read_to_string(&path)?
            .replacen("127.0.0.1:0", &address, 1)
            .replace(
                &hub.state_dir().display().to_string(),
                &t.subdir("other")?.display().to_string(),
            );
        fs::write(&path, config)?;
        let ran = run(hub.command(&["run"]))?;
        ensure!(
            ran.code() != Some(0) && ran.err().contains(&address),
            "{ran}"
        );
        hub.stop()?;
        Ok(())
    })
}

#[test]
fn an_agent_that_never_joined_says_what_to_do() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let keys = host_key_file(t)?;
        let mut options = t.agent_options(&hub, SERVER, "tcp:127.0.0.1:22", &keys)?;
        let socket = t.dir().join("control.sock").display().to_string();
        options.extra = format!("control-socket = \"{socket}\"");
        let mut agent = Agent::new(options)?;
        agent.launch()?;
        let person = t.person(&hub, "alice", None)?;
        let status = ["agent", "status", "--socket", &socket];
        wait::until_true("the agent to answer", defaults::SOON, || {
            Ok(person.kedge(&status)?.code() == Some(0))
        })?;
        let said = person.kedge(&status)?.success()?.out();
        for part in ["not-joined", "kedge-agent join HUB --token-file FILE"] {
            ensure!(said.contains(part), "{part} in {said}");
        }
        agent.stop()?;
        Ok(())
    })
}

#[test]
fn the_people_of_a_hub_are_read_again_on_sighup() -> Result<()> {
    case(|t| {
        let mut stack = t.stack()?;
        let mut live = Live::start(
            stack
                .alice
                .kedge_ssh_command(&[SERVER, "echo started; cat"]),
        )?;
        live.expect("started", defaults::COMMAND)?;
        let path = stack.hub.config_path();
        let config = fs::read_to_string(&path)?;
        // bob is gone; alice's session does not notice.
        let people: Vec<&str> = config
            .split("[[people]]")
            .filter(|part| !part.contains("\"bob\""))
            .collect();
        fs::write(&path, people.join("[[people]]"))?;
        stack.hub.signal(rustix::process::Signal::HUP)?;
        let (endpoint, token) = (Endpoint::of(&stack.hub), stack.hub.token("bob")?.to_owned());
        wait::until_true("bob to be forgotten", defaults::SOON, || {
            let reply = Request::new("GET", "/apis/kedge.dev/v1alpha1/whoami")
                .bearer(&token)
                .send(endpoint)?;
            Ok(reply.status == 401)
        })?;
        live.send("still here\n")?;
        live.expect("still here", defaults::SOON)?;
        live.finish(defaults::COMMAND)?.success()?;
        Ok(())
    })
}
