//! `kedge ssh-config` prints, shows the difference, installs; what it installs is what makes plain ssh work.

use std::fs;

use crate::prelude::*;

#[test]
fn plain_ssh_never_asks_and_never_checks_less() -> Result<()> {
    case(|t| {
        let stack = t.stack()?;
        let mut command = stack.alice.openssh("ssh", &["-G", &stack.host()]);
        command.env("LC_ALL", "C");
        let said = run(command)?.success()?.out().to_lowercase();
        for line in [
            "stricthostkeychecking true",
            "updatehostkeys false",
            "checkhostip no",
            "user ",
        ] {
            ensure!(said.contains(line), "`{line}` is missing in\n{said}");
        }
        let value = |name: &str| {
            let line = said
                .lines()
                .find(|line| line.starts_with(&format!("{name} ")));
            line.map(|line| line[name.len() + 1..].to_owned())
                .unwrap_or_default()
        };
        for name in ["userknownhostsfile", "globalknownhostsfile"] {
            ensure!(
                matches!(value(name).as_str(), "none" | "/dev/null"),
                "{name} is {}",
                value(name)
            );
        }
        ensure!(
            value("knownhostscommand").contains("kedge")
                || value("knownhostscommand").contains("known-hosts"),
            "{said}"
        );
        ensure!(value("proxycommand").contains("proxy"), "{said}");
        ensure!(
            value("ciphers").starts_with("aes128-gcm@openssh.com"),
            "{}",
            value("ciphers")
        );
        // Hosts of nobody's hub are left alone.
        let said = run(stack.alice.openssh("ssh", &["-G", "example.org"]))?
            .success()?
            .out()
            .to_lowercase();
        ensure!(!said.contains("proxycommand"), "{said}");
        Ok(())
    })
}

#[test]
fn write_installs_once_and_diff_shows_it() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let alice = t.person(&hub, "alice", None)?;
        let ssh = alice.home().join(".ssh");
        let main = ssh.join("config");
        let before = alice.kedge(&["ssh-config", "--diff"])?;
        ensure!(
            before.out().contains('+'),
            "the difference to nothing: {before}"
        );
        ensure!(!main.exists(), "--diff wrote");
        fs::create_dir_all(&ssh)?;
        fs::write(&main, "Host mine\n  User me\n")?;
        alice.kedge(&["ssh-config", "--write"])?.success()?;
        let written = fs::read_to_string(&main)?;
        ensure!(
            written.contains("Host mine\n  User me\n"),
            "what was there is gone: {written}"
        );
        ensure!(written.matches("Include").count() == 1, "{written}");
        ensure!(
            written.find("Include") < written.find("Host mine"),
            "an Include after a Host counts for that host only"
        );
        alice.kedge(&["ssh-config", "--write"])?.success()?;
        ensure!(
            fs::read_to_string(&main)? == written,
            "a second --write changed something"
        );
        let after = alice.kedge(&["ssh-config", "--diff"])?.success()?;
        ensure!(
            after.out().trim().is_empty(),
            "a difference after --write: {after}"
        );
        Ok(())
    })
}
