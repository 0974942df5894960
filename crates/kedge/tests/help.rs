//! What `--help` says, and how a line that makes no sense is refused.

mod common;

use anyhow::Result;
use common::Person;

const COMMANDS: &[&str] = &[
    "",
    "login",
    "logout",
    "whoami",
    "ssh",
    "proxy",
    "known-hosts",
    "ssh-config",
    "get",
    "sessions",
    "sessions kill",
    "describe",
    "apply",
    "delete",
    "accept-host-keys",
    "agent",
    "agent reload",
    "agent status",
    "agent wait",
    "explain",
    "policy",
    "policy test",
    "token",
    "token create",
    "token list",
    "token revoke",
    "completion",
];

#[test]
fn golden_of_every_help() -> Result<()> {
    let person = Person::new()?;
    for command in COMMANDS {
        let words: Vec<_> = command.split_whitespace().chain(["--help"]).collect();
        let ran = person.kedge(words).env("COLUMNS", "100").run()?.success()?;
        assert_eq!(ran.err(), "", "{command}");
        let name = format!("help {command}").trim().replace(' ', "_");
        insta::assert_snapshot!(name, ran.out());
    }
    Ok(())
}

/// A command that is added and not listed above is found here.
#[test]
fn every_command_has_its_golden_and_an_example() {
    fn walk(command: &clap::Command, path: &str, found: &mut Vec<String>) {
        found.push(path.trim().to_owned());
        let visible = command
            .get_subcommands()
            .filter(|c| !c.is_hide_set() && c.get_name() != "help");
        for child in visible {
            walk(child, &format!("{path} {}", child.get_name()), found);
        }
        if !command.has_subcommands() {
            let text = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(text.contains("Examples:\n"), "{path} has no example");
        }
    }
    let mut found = Vec::new();
    walk(&kedge::cli::definition(), "", &mut found);
    let mut listed: Vec<_> = COMMANDS.iter().map(ToString::to_string).collect();
    found.sort();
    listed.sort();
    assert_eq!(found, listed);
}

#[test]
fn golden_of_wrong_lines() -> Result<()> {
    let person = Person::new()?;
    let mut page = String::new();
    for words in [
        &["frobnicate"][..],
        &["get"],
        &["get", "servers", "-o", "xml"],
        &["get", "servers", "--wide"],
        &["login"],
        &["login", "https://a", "--pin", "x"],
        &["login", "https://a", "--name", "../x"],
        &["accept-host-keys", "-oProxyCommand=x"],
        &["--hub", "A B", "get", "servers"],
        &["token", "revoke"],
        &["get", "servers"],
        &["get", "server\u{1b}[2J"],
    ] {
        let ran = person.kedge(words).run()?;
        page += &format!(
            "$ kedge {}\n{}[{}]\n",
            words.join(" ").escape_debug(),
            ran.err(),
            ran.code().unwrap_or(-1)
        );
        assert_eq!(ran.out(), "");
    }
    insta::assert_snapshot!(page);
    Ok(())
}

#[test]
fn completions_and_man_pages_are_made() -> Result<()> {
    let person = Person::new()?;
    for shell in ["bash", "zsh", "fish"] {
        let ran = person.kedge(["completion", shell]).run()?.success()?;
        assert!(ran.out().contains("accept-host-keys"), "{shell}");
    }
    person.kedge(["man", "man1"]).run()?.success()?;
    let page = std::fs::read_to_string(person.path("man1/kedge-ssh-config.1"))?;
    assert!(
        page.contains("ProxyCommand") || page.contains("Include"),
        "{page}"
    );
    Ok(())
}

/// The pages in `docs/reference` are what the program says of itself.
#[test]
fn the_reference_pages_are_up_to_date() -> Result<()> {
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
    for (file, text) in [
        ("cli.md", kedge::generate::cli_page()),
        ("config.toml.md", kedge::generate::config_page()),
    ] {
        let written = std::fs::read_to_string(docs.join(file)).unwrap_or_default();
        assert!(
            written == text,
            "docs/reference/{file} is not what `kedge reference` prints: cargo xtask generate"
        );
    }
    Ok(())
}
