//! The generated configuration, read by the ssh that is installed: nothing in a host or user name
//! reaches a shell, and what does reach kedge is refused by its types.
//!
//! Distributions patch old OpenSSH to refuse odd names on the command line. `HostName` with `-o` and
//! `User` from a file go past that check, so an unpatched ssh is what these tests see.

mod common;

use std::fs;

use anyhow::Result;
use common::{FakeHub, Person};
use kedge_testkit::run::Ran;

/// What `ssh -G` made of one keyword.
fn value(ran: &Ran, keyword: &str) -> String {
    let out = ran.out();
    let line = out
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{keyword} ")));
    line.unwrap_or_default().to_owned()
}

fn installed() -> Result<(FakeHub, Person)> {
    let hub = FakeHub::start()?;
    hub.put("servers/web01", common::server("web01"));
    let person = Person::at(&hub)?;
    person.kedge(["ssh-config", "--write"]).run()?.success()?;
    hub.requests();
    Ok((hub, person))
}

#[test]
fn ssh_takes_every_line_as_it_is_meant() -> Result<()> {
    let (hub, person) = installed()?;
    let ran = person.ssh(["-G", "web01.kedge"]).run()?.success()?;
    for (keyword, expected) in [
        ("hostname", "web01.kedge"),
        ("user", "alice"),
        ("port", "22"),
        ("stricthostkeychecking", "true"),
        ("userknownhostsfile", "none"),
        ("globalknownhostsfile", "none"),
        ("updatehostkeys", "false"),
        ("verifyhostkeydns", "false"),
        ("checkhostip", "no"),
        ("canonicalizehostname", "false"),
        ("proxyusefdpass", "no"),
    ] {
        assert_eq!(value(&ran, keyword), expected, "{keyword} in {}", ran.out());
    }
    assert!(value(&ran, "ciphers").starts_with("aes128-gcm@openssh.com,"));
    let folder = person.path(".local/state/kedge/agent");
    let folder = folder.display();
    assert!(value(&ran, "proxycommand").ends_with(&format!(
        "proxy --login='%r' --port='%p' --agent-folder='{folder}' -- '%h'"
    )));
    // `ssh` has put in what `%C` stands for; what that is, kedge computes as well.
    let socket = value(&ran, "identityagent");
    let name = socket.strip_prefix(&format!("{folder}/")).unwrap();
    assert_eq!(
        (
            name.len(),
            name.trim_start_matches(|c: char| c.is_ascii_hexdigit())
        ),
        (40, "")
    );
    assert!(value(&ran, "knownhostscommand").ends_with("known-hosts --login=%r -- %H"));
    // One request for it all, and none for the next ssh.
    assert_eq!(
        hub.requests(),
        ["GET /apis/kedge.dev/v1alpha1/servers/web01/access"]
    );
    person.ssh(["-G", "web01.kedge"]).run()?.success()?;
    assert_eq!(hub.requests(), Vec::<String>::new());
    Ok(())
}

#[test]
fn a_home_with_letters_of_any_language_works() -> Result<()> {
    let hub = FakeHub::start()?;
    hub.put("servers/web01", common::server("web01"));
    let person = Person::new()?;
    let token = person.secret("token", common::TOKEN)?;
    // The bytes of some of these are white space in old 8-bit character sets.
    let home = person.path("jörg à Å 日本");
    fs::create_dir(&home)?;
    let kedge = |words: &[&str]| person.kedge(words).env("HOME", &home).run()?.success();
    kedge(&["login", &hub.url(), "--token-file", &token])?;
    kedge(&["ssh-config", "--write"])?;
    // The line in the person's own file leads there.
    for locale in ["C", "C.UTF-8"] {
        let mut command = std::process::Command::new("ssh");
        command.arg("-F").arg(home.join(".ssh/config"));
        command.args(["-G", "web01.kedge"]);
        let ran = person.run(command).env("HOME", &home).env("LC_ALL", locale);
        let ran = ran.run()?.success()?;
        assert_eq!(value(&ran, "user"), "alice", "{}", ran.err());
        assert!(value(&ran, "proxycommand").ends_with("-- '%h'"));
    }
    Ok(())
}

#[test]
fn other_hosts_are_left_alone() -> Result<()> {
    let (hub, person) = installed()?;
    for host in ["example.com", "kedge", "web01.kedge.example.com", "mykedge"] {
        let ran = person.ssh(["-G", host]).run()?.success()?;
        assert_eq!(value(&ran, "proxycommand"), "", "{host}");
        assert_eq!(value(&ran, "stricthostkeychecking"), "ask", "{host}");
    }
    assert_eq!(hub.requests(), Vec::<String>::new());
    Ok(())
}

#[test]
fn a_login_that_was_asked_for_wins_over_the_mapped_one() -> Result<()> {
    let (_hub, person) = installed()?;
    let ran = person.ssh(["-G", "deploy@web01.kedge"]).run()?.success()?;
    assert_eq!(value(&ran, "user"), "deploy");
    let ran = person
        .ssh(["-G", "-l", "deploy", "web01.kedge"])
        .run()?
        .success()?;
    assert_eq!(value(&ran, "user"), "deploy");
    Ok(())
}

#[test]
fn the_mapped_login_survives_a_hub_that_is_away() -> Result<()> {
    let (hub, person) = installed()?;
    person.ssh(["-G", "web01.kedge"]).run()?.success()?;
    drop(hub);
    fs::remove_dir_all(person.path(".local/state/kedge/hubs/main/access"))?;
    let ran = person.ssh(["-G", "web01.kedge"]).run()?.success()?;
    assert_eq!(value(&ran, "user"), "alice");
    assert!(!ran.err().contains("error"), "{}", ran.err());
    Ok(())
}

#[test]
fn fifty_at_once_each_get_their_login() -> Result<()> {
    let (hub, person) = installed()?;
    for n in 0..50 {
        hub.put(&format!("servers/s{n}"), common::server(&format!("s{n}")));
    }
    let answers: Vec<Result<String>> = std::thread::scope(|scope| {
        let person = &person;
        let runs: Vec<_> = (0..50)
            .map(|n| {
                scope.spawn(move || {
                    let ran = person
                        .ssh(["-G", &format!("s{n}.kedge")])
                        .run()?
                        .success()?;
                    Ok(value(&ran, "user"))
                })
            })
            .collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    for answer in answers {
        assert_eq!(answer?, "alice");
    }
    Ok(())
}

/// Names that would run a command if they reached a shell unquoted, or quoted the naive way. `CANARY`
/// stands for a file that must never be made.
const HOSTILE: &[&str] = &[
    "$(>CANARY)",
    "`>CANARY`",
    "'$(>CANARY)'",
    "'`>CANARY`'",
    "';>CANARY;'",
    "\\'$(>CANARY)\\'",
    "\\",
    "'",
    "!",
    "a'b",
    "a b",
    "-oProxyCommand=>CANARY",
    "-x",
    "--help",
    "%h%r",
    "%%",
    "..",
    "*",
    "a,b",
    "\u{202e}",
    "|>CANARY",
    ">CANARY",
    "&>CANARY&",
    "\nx",
    "\n>CANARY\n",
];

#[test]
fn no_host_name_reaches_a_shell() -> Result<()> {
    let (hub, person) = installed()?;
    for shell in ["/bin/sh", "/bin/bash"] {
        for hostile in HOSTILE {
            // Lower case, since ssh makes host names so.
            let canary = person.path("canary");
            let name = hostile.replace("CANARY", &canary.to_string_lossy().to_lowercase());
            let host = format!("{name}.kedge");
            let quoted = host.replace('\\', "\\\\").replace('"', "\\\"");
            for words in [
                vec![
                    "-o".to_owned(),
                    format!("HostName=\"{quoted}\""),
                    "x".to_owned(),
                    "true".to_owned(),
                ],
                vec!["--".to_owned(), host.clone(), "true".to_owned()],
            ] {
                let ran = person.ssh(&words).env("SHELL", shell).run()?;
                assert!(
                    !canary.exists(),
                    "{shell} ran a command in {host:?} given as {words:?}"
                );
                assert_eq!(ran.code(), Some(255), "{words:?}: {}", ran.err());
            }
        }
    }
    assert_eq!(
        hub.state().opened,
        [],
        "a name that is none reached the hub"
    );
    Ok(())
}

#[test]
fn no_user_name_reaches_a_shell() -> Result<()> {
    let (hub, person) = installed()?;
    let canary = person.path("canary");
    let ours = fs::read_to_string(person.ssh_config())?;
    for hostile in HOSTILE {
        let name = hostile.replace("CANARY", &canary.to_string_lossy());
        let ran = person.ssh(["-l", &name, "web01.kedge", "true"]).run()?;
        assert!(!canary.exists(), "a command in {name:?} was run");
        assert_eq!(ran.code(), Some(255), "{name:?}: {}", ran.err());
        if name.contains('\n') {
            continue; // cannot stand in a file
        }
        let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
        let file = person.path("with-user");
        fs::write(&file, format!("User \"{quoted}\"\n{ours}"))?;
        let file = file.to_string_lossy().into_owned();
        let ran = person.ssh(["-F", &file, "web01.kedge", "true"]).run()?;
        assert!(!canary.exists(), "a command in {name:?} was run");
        assert_eq!(ran.code(), Some(255), "{name:?}: {}", ran.err());
    }
    assert_eq!(
        hub.state().opened,
        [],
        "a login that is none reached the hub"
    );
    Ok(())
}

/// The tests above can fail: written the naive way, the same names do run commands.
#[test]
fn the_hostile_names_are_hostile() -> Result<()> {
    let (_hub, person) = installed()?;
    let canary = person.path("canary");
    let lower = canary.to_string_lossy().to_lowercase();
    assert_eq!(
        lower,
        canary.to_string_lossy(),
        "the temporary folder's name must be lower case"
    );
    let naive = person.path("naive");
    fs::write(
        &naive,
        "Match host \"*.kedge\"\n    ProxyCommand echo '%h'\n",
    )?;
    let naive = naive.to_string_lossy().into_owned();
    let host = format!("HostName=\"'$(>{lower})'.kedge\"");
    person.ssh(["-F", &naive, "-o", &host, "x", "true"]).run()?;
    assert!(
        canary.exists(),
        "this ssh refuses the name by itself; the tests above prove nothing"
    );
    Ok(())
}

#[test]
fn a_name_that_must_not_reach_a_shell_gets_a_clear_error() -> Result<()> {
    let (_hub, person) = installed()?;
    let ran = person
        .ssh(["-o", "HostName=\"a'b.kedge\"", "x"])
        .run()?
        .exits(255)?;
    assert!(
        ran.err()
            .contains("error: the host or user name has characters that no server or login has"),
        "{}",
        ran.err()
    );
    Ok(())
}

#[test]
fn another_port_is_refused_and_not_ignored() -> Result<()> {
    let (_hub, person) = installed()?;
    let ran = person
        .ssh(["-p", "2222", "web01.kedge"])
        .run()?
        .exits(255)?;
    assert!(
        ran.err().contains("error: port 2222 cannot be asked for"),
        "{}",
        ran.err()
    );
    Ok(())
}

#[test]
fn what_the_person_wrote_elsewhere_cannot_weaken_it() -> Result<()> {
    let (_hub, person) = installed()?;
    fs::create_dir_all(person.path(".ssh"))?;
    let config = person.path(".ssh/config");
    fs::write(
        &config,
        "Host *\n    StrictHostKeyChecking no\n    UserKnownHostsFile /dev/null\n    ProxyJump bastion\n    \
         Port 2222\n    CanonicalizeHostname always\n",
    )?;
    person.kedge(["ssh-config", "--write"]).run()?.success()?;
    let file = config.to_string_lossy().into_owned();
    let ran = person
        .ssh(["-F", &file, "-G", "web01.kedge"])
        .run()?
        .success()?;
    assert_eq!(value(&ran, "stricthostkeychecking"), "true");
    assert_eq!(value(&ran, "userknownhostsfile"), "none");
    assert_eq!(value(&ran, "proxyjump"), "");
    assert_eq!(value(&ran, "port"), "22");
    let ran = person
        .ssh(["-F", &file, "-G", "example.com"])
        .run()?
        .success()?;
    assert_eq!(value(&ran, "proxyjump"), "bastion");
    Ok(())
}

#[test]
fn writing_shows_what_it_does_and_does_it_once() -> Result<()> {
    let hub = FakeHub::start()?;
    let person = Person::at(&hub)?;
    fs::create_dir_all(person.path(".ssh"))?;
    fs::write(person.path(".ssh/config"), "Host old\n    User bob\n")?;
    let diff = person
        .kedge(["ssh-config", "--diff"])
        .run()?
        .success()?
        .out();
    assert!(
        diff.contains("+Include ") && diff.contains(" Host old"),
        "{diff}"
    );
    assert!(!person.ssh_config().exists(), "--diff alone writes nothing");
    let wrote = person
        .kedge(["ssh-config", "--write"])
        .run()?
        .success()?
        .out();
    assert_eq!(wrote.lines().count(), 2, "{wrote}");
    let again = person
        .kedge(["ssh-config", "--write", "--diff"])
        .run()?
        .success()?
        .out();
    assert_eq!(again, "Nothing to change.\n");
    let text = fs::read_to_string(person.path(".ssh/config"))?;
    let ours = person.ssh_config().display().to_string();
    assert_eq!(text, format!("Include {ours}\n\nHost old\n    User bob\n"));
    Ok(())
}

#[test]
fn two_hubs_each_have_their_suffix() -> Result<()> {
    let (main, person) = installed()?;
    let lab = FakeHub::start()?;
    lab.put("servers/web01", common::server("web01"));
    lab.state().login = "lab-alice".into();
    lab.state().name = "lab".into();
    let token = person.secret("token", common::TOKEN)?;
    let clash = person
        .kedge(["login", &lab.url(), "--token-file", &token])
        .run()?
        .exits(2)?;
    assert!(
        clash
            .err()
            .contains("hub `main` has the suffix `kedge` already"),
        "{}",
        clash.err()
    );
    let suffixed = [
        "login",
        &lab.url(),
        "--token-file",
        &token,
        "--suffix",
        "lab.kedge",
    ];
    // The installed configuration learns of the new hub by itself.
    person.kedge(suffixed).run()?.success()?;
    main.requests();
    lab.requests();
    let ran = person.ssh(["-G", "web01.lab.kedge"]).run()?.success()?;
    assert_eq!(value(&ran, "user"), "lab-alice");
    assert!(value(&ran, "proxycommand").contains("--hub lab "));
    assert_eq!(main.requests(), Vec::<String>::new());
    let ran = person.ssh(["-G", "web01.kedge"]).run()?.success()?;
    assert_eq!(value(&ran, "user"), "alice");
    assert!(value(&ran, "proxycommand").contains("--hub main "));
    assert_eq!(lab.requests().len(), 1);
    Ok(())
}

/// Our reading of a command line is that of the `ssh` that is installed.
#[test]
fn a_command_line_means_to_kedge_what_it_means_to_ssh() -> Result<()> {
    let person = Person::new()?;
    for words in [
        &["web01"][..],
        &["bob@web01", "ls", "-l"],
        &["-l", "alice", "bob@web01"],
        &["bob@web01", "-l", "alice"],
        &["web01", "-l", "alice", "-p", "2222", "-l", "x"],
        &["-oUser=carol", "-lalice", "web01"],
        &["-o", "User carol", "web01"],
        &["-o", "user = carol", "web01"],
        &["-fNTvvL8080:localhost:80", "-D", "1080", "web01"],
        &["-p2222", "web01", "-N", "--", "-l", "x"],
        &["-t", "--", "web01", "-l", "x"],
        &["ssh://bob@web01:2222"],
        &["ssh://web01"],
        &["a@b@web01"],
        &["-4Ap", "2222", "-oPort=3", "web01"],
    ] {
        let said = person
            .ssh([&["-F", "/dev/null", "-G"], words].concat())
            .run()?
            .success()?;
        let parsed = kedge::ssh::arguments::SshArguments::parse(words.iter().map(Into::into))?;
        let host = parsed
            .destination
            .as_ref()
            .map(|to| to.host.to_string_lossy().into_owned());
        assert_eq!(host, Some(value(&said, "hostname")), "{words:?}");
        if let Some(login) = parsed.login() {
            assert_eq!(login.to_string_lossy(), value(&said, "user"), "{words:?}");
        } else {
            assert_eq!(
                value(&said, "user"),
                kedge_testkit::machine::me()?,
                "{words:?}"
            );
        }
    }
    Ok(())
}
