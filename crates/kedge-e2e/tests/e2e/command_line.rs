//! The command line: what it prints, in which form, and with which status it ends.

use crate::prelude::*;

#[test]
fn get_in_every_form() -> Result<()> {
    case(|t| {
        let stack = t.stack()?;
        let get = |words: &[&str]| stack.admin.kedge(&[&["get"], words].concat())?.success();
        let table = get(&["servers"])?.out();
        ensure!(
            table.lines().count() == 2 && table.starts_with("NAME"),
            "{table}"
        );
        ensure!(
            table.contains(SERVER) && table.contains("Online"),
            "{table}"
        );
        ensure!(
            get(&["servers", "-o", "wide"])?.out().len() > table.len(),
            "wide is no wider"
        );
        ensure!(
            get(&["srv", "-o", "name"])?.out().trim() == format!("server.kedge.dev/{SERVER}"),
            "the short name"
        );
        let one = get(&["server", SERVER, "-o", "json"])?.json()?;
        ensure!(one.get("kind") == Some(&json!("Server")), "{one}");
        let list = get(&["servers", "-o", "json"])?.json()?;
        ensure!(
            list.get("items")
                .and_then(Value::as_array)
                .is_some_and(|items| items.len() == 1),
            "{list}"
        );
        let yaml = get(&["server", SERVER, "-o", "yaml"])?.out();
        ensure!(
            yaml.contains("kind: Server") && yaml.contains("name: web01"),
            "{yaml}"
        );
        ensure!(
            get(&["servers", "-l", "env=nowhere", "-o", "name"])?
                .out()
                .trim()
                .is_empty(),
            "the selector"
        );
        let described = stack
            .admin
            .kedge(&["describe", "server", SERVER])?
            .success()?
            .out();
        ensure!(
            described.contains(SERVER) && described.contains("SHA256:"),
            "{described}"
        );
        Ok(())
    })
}

#[test]
fn watch_prints_changes_as_they_happen() -> Result<()> {
    case(|t| {
        let mut stack = t.stack()?;
        let mut live = Live::start(stack.admin.kedge_command(&["get", "servers", "--watch"]))?;
        live.expect("Online", defaults::COMMAND)?;
        stack.agent.stop()?;
        live.expect("Offline", defaults::SOON)?;
        Ok(())
    })
}

#[test]
fn apply_says_what_it_did_and_delete_undoes_it() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let admin = t.person(&hub, "admin", None)?;
        let policy = Person::policy("p", &["alice"])?;
        let file = t
            .write("policy.json", policy.to_string())?
            .display()
            .to_string();
        for wanted in ["created", "unchanged"] {
            let said = admin.kedge(&["apply", "-f", &file])?.success()?;
            ensure!(said.out().contains(wanted), "wanted {wanted}: {said}");
        }
        std::fs::write(&file, Person::policy("p", &["bob"])?.to_string())?;
        let said = admin.kedge(&["apply", "-f", &file])?.success()?;
        ensure!(
            said.out().contains("configured") || said.out().contains("changed"),
            "{said}"
        );
        admin.kedge(&["delete", "-f", &file])?.success()?;
        admin.kedge(&["get", "policy", "p"])?.exits(6)?;
        admin.kedge(&["delete", "policy", "p"])?.exits(6)?;
        admin
            .kedge(&["delete", "policy", "p", "--ignore-not-found"])?
            .success()?;
        Ok(())
    })
}

#[test]
fn each_exit_code() -> Result<()> {
    case(|t| {
        let mut stack = t.stack()?;
        let stranger = t.stranger("stranger", None)?;
        stranger
            .kedge(&["get", "servers"])?
            .exits(4)?
            .says(&["error: ", "hint: "])?;
        stack
            .alice
            .kedge(&["get", "jointokens"])?
            .exits(5)?
            .says(&["error: "])?;
        stack
            .alice
            .kedge(&["delete", "server", SERVER])?
            .exits(5)?
            .says(&["error: "])?;
        stack
            .admin
            .kedge(&["get", "server", "nobody"])?
            .exits(6)?
            .says(&["error: ", "nobody"])?;
        stack.alice.kedge(&["get", "nonsense"])?.exits(2)?;
        stack.alice.kedge(&["--no-such-option"])?.exits(2)?;
        stack
            .alice
            .kedge(&["--hub", "nowhere", "get", "servers"])?
            .exits(2)?
            .says(&["nowhere"])?;
        stack.hub.kill()?;
        let ran = stack
            .alice
            .kedge(&["get", "servers"])?
            .exits(1)?
            .says(&["error: "])?;
        ensure!(
            ran.err().contains("127.0.0.1"),
            "what could not be reached is not named: {ran}"
        );
        stack
            .alice
            .kedge_ssh(&[SERVER, "true"])?
            .exits(255)?
            .says(&["error: "])?;
        Ok(())
    })
}

#[test]
fn a_closed_pipe_is_no_error_and_no_panic() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let admin = t.person(&hub, "admin", None)?;
        let mut shell = admin.command("sh");
        shell.args([
            "-c",
            "kedge completion bash | head -1 >/dev/null; kedge get policies -o json | true",
        ]);
        run(shell)?
            .success()?
            .never_says("panicked")?
            .never_says("Broken pipe")?;
        Ok(())
    })
}

#[test]
fn completions_and_manuals_are_there() -> Result<()> {
    case(|t| {
        let person = t.stranger("anybody", None)?;
        for shell in ["bash", "zsh", "fish"] {
            let script = person.kedge(&["completion", shell])?.success()?.out();
            ensure!(script.contains("kedge"), "{shell}: {script}");
        }
        let mut check = person.command("bash");
        check.args([
            "-c",
            "eval \"$(kedge completion bash)\" && complete -p kedge",
        ]);
        run(check)?.success()?;
        let folder = t.subdir("man")?.display().to_string();
        person.kedge(&["man", &folder])?.success()?;
        let pages = std::fs::read_dir(&folder)?.count();
        ensure!(pages > 10, "only {pages} pages");
        Ok(())
    })
}

#[test]
fn two_hubs_each_with_its_own_suffix() -> Result<()> {
    case(|t| {
        let stack = t.stack()?;
        let mut options = t.hub_options()?;
        (options.name, options.suffix) = ("lab".to_owned(), "lab.example".to_owned());
        let lab = t.stack_with(options)?;
        let both = t.stranger("both", Some(&stack.sshd))?;
        both.log_in(&stack.hub, &stack.hub.url(), "alice")?;
        both.log_in(&lab.hub, &lab.hub.url(), "alice")?;
        let mut config = both.kedge(&["ssh-config"])?.success()?.out();
        config.push_str(&format!(
            "\nHost *.lab.example\n  IdentityFile {}\n",
            lab.sshd.user_key().display()
        ));
        both.configure_ssh(&config)?;
        for (host, sshd) in [
            ("web01.kedge", &stack.sshd),
            ("web01.lab.example", &lab.sshd),
        ] {
            let before = sshd.accepted()?;
            run(both.openssh("ssh", &[host, "true"]))?.success()?;
            ensure!(sshd.accepted()? == before + 1, "{host} went elsewhere");
            both.kedge_ssh(&[host, "true"])?.success()?;
            ensure!(
                sshd.accepted()? == before + 2,
                "kedge ssh {host} went elsewhere"
            );
        }
        let mut command = both.kedge_command(&["--hub", "lab", "ssh", "-F"]);
        command.arg(both.ssh_config()).args([SERVER, "true"]);
        run(command)?.success()?;
        Ok(())
    })
}
