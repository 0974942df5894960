//! Real sessions: the system's ssh and sshd, kedge between them, and a hub that only passes bytes on.

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Result;
use common::Target;
use common::site::{self, Site, site};
use kedge_testkit::machine;
use kedge_testkit::run::Live;
use kedge_tunnel::RefuseCode;

#[test]
fn plain_ssh_needs_no_wrapper_and_one_extra_request() -> Result<()> {
    let site = site()?;
    let ran = site
        .person
        .ssh(["web01.kedge", "echo out; echo err >&2; exit 7"])
        .run()?
        .exits(7)?;
    assert_eq!(ran.out(), "out\n");
    assert!(ran.err().ends_with("err\n"), "{}", ran.err());
    assert_eq!(site.hub.requests(), [site::ACCESS, site::CONNECT]);
    let me = machine::me()?;
    assert_eq!(site.hub.state().opened, [("web01".to_owned(), Some(me))]);
    Ok(())
}

#[test]
fn kedge_ssh_passes_everything_through() -> Result<()> {
    let site = site()?;
    let ran = site
        .kedge_ssh(&["web01", "echo out; echo err >&2; exit 7"])
        .run()?
        .exits(7)?;
    assert_eq!(ran.out(), "out\n");
    assert_eq!(ran.err(), "err\n");
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n * 7) as u8).collect();
    let ran = site
        .kedge_ssh(&["-T", "web01.kedge", "--", "cat"])
        .input(bytes.clone())
        .run()?
        .success()?;
    assert_eq!(ran.stdout, bytes);
    // A command that dies of a signal is 255 to ssh; the words of the command reach the shell as typed.
    let ran = site
        .kedge_ssh(&["web01", "echo", "a  b", "'c  d'"])
        .run()?
        .success()?;
    assert_eq!(ran.out(), "a b c  d\n");
    Ok(())
}

#[test]
fn an_option_of_the_persons_cannot_weaken_the_host_key_check() -> Result<()> {
    let site = site()?;
    site.hub.state().host_keys.clear();
    let other = site.person.path("other");
    kedge_testkit::sshd::keygen(&other, "ed25519")?;
    let public = fs::read_to_string(other.with_extension("pub"))?;
    let key = public
        .split_whitespace()
        .take(2)
        .collect::<Vec<_>>()
        .join(" ");
    site.hub.state().host_keys.push(key);
    for words in [
        vec!["web01", "true"],
        vec![
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "web01",
            "true",
        ],
    ] {
        let ran = site.kedge_ssh(&words).run()?.exits(255)?;
        assert!(
            ran.err().contains("Host key verification failed"),
            "{}",
            ran.err()
        );
    }
    let ran = site.person.ssh(["web01.kedge", "true"]).run()?.exits(255)?;
    assert!(
        ran.err().contains("Host key verification failed"),
        "{}",
        ran.err()
    );
    Ok(())
}

#[test]
fn scp_sftp_and_rsync_work() -> Result<()> {
    let site = site()?;
    let from = site.person.path("from");
    fs::write(&from, vec![9; 200_000])?;
    let from = from.to_string_lossy().into_owned();
    for (program, words) in [
        (
            "scp",
            vec![
                "-q".to_owned(),
                from.clone(),
                format!("web01.kedge:{from}.scp"),
            ],
        ),
        (
            "scp",
            vec![
                "-qO".to_owned(),
                from.clone(),
                format!("web01.kedge:{from}.scp1"),
            ],
        ),
    ] {
        let ran = site.person.openssh(program, &words).run()?.success()?;
        assert_eq!(ran.out(), "", "{program}");
    }
    let batch = format!("put {from} {from}.sftp\n");
    site.person
        .openssh("sftp", ["-q", "-b", "-", "web01.kedge"])
        .input(batch)
        .run()?
        .success()?;
    let mut rsync = Command::new("rsync");
    rsync
        .arg("-e")
        .arg(format!("ssh -F {}", site.person.ssh_config().display()));
    rsync.arg(&from).arg(format!("web01.kedge:{from}.rsync"));
    site.person.run(rsync).run()?.success()?;
    for copy in ["scp", "scp1", "sftp", "rsync"] {
        assert_eq!(
            fs::read(format!("{from}.{copy}"))?,
            vec![9; 200_000],
            "{copy}"
        );
    }
    Ok(())
}

#[test]
fn a_multiplexed_master_serves_and_ends() -> Result<()> {
    let site = site()?;
    let control = site.person.path("c-%C");
    let options = ["-o", "ControlMaster=auto", "-o", "ControlPersist=60s", "-o"];
    let path = format!("ControlPath={}", control.display());
    let ssh = |words: &[&str]| {
        let mut all: Vec<&str> = options.to_vec();
        all.push(&path);
        all.push("web01.kedge");
        all.extend(words);
        site.person.ssh(all).run()
    };
    // Standard error is a pipe that is read to its end: a master that held it open would hang this.
    assert_eq!(ssh(&["echo one"])?.success()?.out(), "one\n");
    assert_eq!(ssh(&["echo two"])?.success()?.out(), "two\n");
    assert_eq!(
        site.hub.state().opened.len(),
        1,
        "the second went through the master"
    );
    let stop = ["-o", &path, "-O", "exit", "web01.kedge"];
    site.person.ssh(stop).run()?.success()?;
    Ok(())
}

#[test]
fn an_end_of_input_alone_does_not_end_the_output() -> Result<()> {
    let site = site()?;
    let ran = site
        .person
        .ssh([
            "web01.kedge",
            "cat >/dev/null; sleep 0.3; echo after the end",
        ])
        .input("x")
        .run()?
        .success()?;
    assert_eq!(ran.out(), "after the end\n");
    Ok(())
}

#[test]
fn every_refusal_is_255_with_a_reason() -> Result<()> {
    let site = site()?;
    site.hub.state().target = Target::Refuse(
        RefuseCode::Offline,
        "its agent is \u{1b}[2Jnot connected".into(),
    );
    for ran in [
        site.kedge_ssh(&["web01", "true"]).run()?,
        site.person.ssh(["web01.kedge", "true"]).run()?,
        site.person.kedge(["proxy", "web01"]).run()?,
    ] {
        let ran = ran.exits(255)?;
        assert!(
            ran.err()
                .contains("error: cannot connect to `web01`: its agent is "),
            "{}",
            ran.err()
        );
        assert!(
            ran.err().contains("hint: kedge describe server web01"),
            "{}",
            ran.err()
        );
        assert!(!ran.err().contains('\u{1b}'), "{:?}", ran.err());
    }
    Ok(())
}

/// A login that was remembered and is refused now is asked for again by the next `ssh`.
#[test]
fn a_refusal_makes_the_next_try_ask_the_hub() -> Result<()> {
    let site = site()?;
    let target = site.hub.state().target.clone();
    site.hub.state().target = Target::Refuse(RefuseCode::Denied, "another login now".into());
    let me = std::mem::replace(&mut site.hub.state().login, "former".into());
    site.person.ssh(["web01.kedge", "true"]).run()?.exits(255)?;
    {
        let mut state = site.hub.state();
        state.login = me;
        state.target = target;
    }
    site.person.ssh(["web01.kedge", "true"]).run()?.success()?;
    Ok(())
}

#[test]
fn what_is_wrong_before_ssh_is_255_too() -> Result<()> {
    let site = site()?;
    for (words, expected) in [
        (&["nosuch"][..], "error: servers \"nosuch\" not found"),
        (
            &["nobody@web01"],
            "error: no policy allows the login `nobody`",
        ),
        (
            &["-oProxyCommand=x", "web01"],
            "cannot be used with kedge ssh",
        ),
        (&["--", "-oProxyCommand=x"], "error: server name"),
        (&["../x"], "error: server name"),
        (&["web01\n"], "error: server name"),
        (&["Bob@web01"], "error: login"),
        (&["-l", "$(id)", "web01"], "error: login"),
        (&["-L"], "error: option -L needs a value"),
        (&["-z"], "error: ssh has no option -z"),
        (&[], "error: no server was named"),
    ] {
        let mut all = vec!["ssh"];
        all.extend(words);
        let ran = site.person.kedge(all).run()?.exits(255)?;
        assert!(ran.err().contains(expected), "{words:?}: {}", ran.err());
        assert_eq!(ran.out(), "");
    }
    let huge = "x".repeat(65_536);
    let ran = site.person.kedge(["ssh", &huge]).run()?.exits(255)?;
    assert!(ran.err().len() < 1000, "{}", ran.err());
    assert_eq!(site.hub.state().opened, []);
    Ok(())
}

#[test]
fn without_a_login_it_says_how_to_get_one() -> Result<()> {
    let site = site()?;
    site.person.kedge(["logout"]).run()?.success()?;
    for ran in [
        site.kedge_ssh(&["web01", "true"]).run()?,
        site.person.ssh(["web01.kedge", "true"]).run()?,
    ] {
        let ran = ran.exits(255)?;
        assert!(
            ran.err().contains("error: not logged in at hub `main`"),
            "{}",
            ran.err()
        );
        assert!(
            ran.err()
                .contains("hint: kedge login main --token-file FILE"),
            "{}",
            ran.err()
        );
        assert_eq!(
            ran.err().matches("error: ").count(),
            1,
            "said once: {}",
            ran.err()
        );
    }
    Ok(())
}

#[test]
fn a_hub_that_is_away_is_named() -> Result<()> {
    let Site {
        hub,
        person,
        sshd: _sshd,
    } = site()?;
    let address = hub.address;
    drop(hub);
    let ran = person.ssh(["web01.kedge", "true"]).run()?.exits(255)?;
    assert!(
        ran.err().contains("error: cannot reach hub `main`"),
        "{}",
        ran.err()
    );
    assert!(ran.err().contains(&address.to_string()), "{}", ran.err());
    Ok(())
}

#[test]
fn a_login_that_was_asked_for_is_enough() -> Result<()> {
    let site = site()?;
    site.hub.state().maps = false;
    let to = format!("{}@web01", machine::me()?);
    site.kedge_ssh(&[&to, "true"]).run()?.success()?;
    fs::remove_dir_all(site.person.path(".local/state/kedge/hubs/main/access"))?;
    site.person
        .ssh([&format!("{to}.kedge"), "true"])
        .run()?
        .success()?;
    let ran = site.kedge_ssh(&["web01", "true"]).run()?.exits(255)?;
    assert!(
        ran.err()
            .contains("error: no policy allows the login `alice`"),
        "{}",
        ran.err()
    );
    Ok(())
}

/// `ssh` is told by its SIGINT, kedge by its SIGHUP: a Ctrl-C reaches both, and is `ssh`'s.
#[test]
fn ctrl_c_is_for_ssh() -> Result<()> {
    let site = site()?;
    let mut command = Command::new(common::kedge());
    command
        .args(["proxy", "web01"])
        .env("HOME", site.person.home.path());
    command
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("XDG_STATE_HOME");
    let mut proxy = Live::start(command)?;
    proxy.expect("SSH-2.0-", Duration::from_secs(10))?;
    proxy.signal(rustix::process::Signal::INT)?;
    proxy.send("SSH-2.0-test\r\n")?;
    // sshd goes on with its key exchange: the proxy lives.
    proxy.expect("curve25519", Duration::from_secs(10))?;
    proxy.signal(rustix::process::Signal::HUP)?;
    let ran = proxy.wait(Duration::from_secs(10))?;
    assert_eq!((ran.code(), ran.err().as_str()), (Some(0), ""));
    Ok(())
}

#[test]
fn a_closed_input_ends_the_session_at_the_server() -> Result<()> {
    let site = site()?;
    let mut command = Command::new(common::kedge());
    command
        .args(["proxy", "web01"])
        .env("HOME", site.person.home.path());
    command
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("XDG_STATE_HOME");
    let mut proxy = Live::start(command)?;
    proxy.expect("SSH-2.0-", Duration::from_secs(10))?;
    proxy.close_stdin();
    // sshd sees the end, closes, and its end comes back as the end of our output.
    let ran = proxy.wait(Duration::from_secs(10))?;
    assert_eq!((ran.code(), ran.err().as_str()), (Some(0), ""));
    Ok(())
}

#[test]
fn sockets_and_files_serve_as_well_as_pipes() -> Result<()> {
    let site = site()?;
    // A socket for both directions, as inetd and some programs give.
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    let mut command = Command::new(common::kedge());
    command
        .args(["proxy", "web01"])
        .env("HOME", site.person.home.path());
    command
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("XDG_STATE_HOME");
    command.stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs.try_clone()?)));
    command.stdout(Stdio::from(std::os::fd::OwnedFd::from(theirs)));
    let mut child = command.spawn()?;
    drop(command);
    (&ours).write_all(b"SSH-2.0-test\r\n")?;
    ours.shutdown(std::net::Shutdown::Write)?;
    let mut got = Vec::new();
    std::io::Read::read_to_end(&mut (&ours), &mut got)?;
    assert!(got.starts_with(b"SSH-2.0-"), "{got:?}");
    assert!(child.wait()?.success());
    // A file in, a file out.
    let (input, output) = (site.person.path("in"), site.person.path("out"));
    fs::write(&input, "SSH-2.0-test\r\n")?;
    let mut command = Command::new(common::kedge());
    command
        .args(["proxy", "web01"])
        .env("HOME", site.person.home.path());
    command
        .stdin(fs::File::open(&input)?)
        .stdout(fs::File::create(&output)?);
    assert!(command.status()?.success());
    assert!(fs::read(&output)?.starts_with(b"SSH-2.0-"));
    Ok(())
}

#[test]
fn known_hosts_prints_pinned_keys_and_nothing_else() -> Result<()> {
    let site = site()?;
    let ran = site
        .person
        .kedge(["known-hosts", "Web01.kedge"])
        .run()?
        .success()?;
    let keys = site.hub.state().host_keys.clone();
    assert_eq!(ran.out().lines().count(), keys.len());
    for key in &keys {
        assert!(
            ran.out().contains(&format!("web01.kedge {key}\n")),
            "{}",
            ran.out()
        );
    }
    for name in [
        "*",
        "*.kedge",
        "-x",
        "a b",
        "web01.kedge,*",
        "@cert-authority",
        "[web01.kedge",
        "x\ny",
        "",
        "|1|a|b",
    ] {
        let ran = site.person.kedge(["known-hosts", "--", name]).run()?;
        assert_eq!(ran.out(), "", "{name:?}");
        assert_ne!(ran.code(), Some(0), "{name:?}");
    }
    Ok(())
}

/// What `exec` leaves to `ssh`: what a shell would have left it, the words as given.
#[test]
fn ssh_starts_as_if_a_shell_had_started_it() -> Result<()> {
    let site = site()?;
    let bin = site.person.path("bin");
    fs::create_dir(&bin)?;
    let script = bin.join("ssh");
    let text = "#!/bin/sh\ngrep -E 'SigIgn|SigBlk' /proc/self/status\nls /proc/self/fd | tr '\\n' ' '\n\
                for w; do echo \"<$w>\"; done\n";
    fs::write(&script, text)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let direct = site
        .person
        .run(Command::new(&script))
        .run()?
        .success()?
        .out();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH")?);
    let words = ["ssh", "-tL1:x:2", "web01", "-v", "a b", "-c"];
    let ran = site
        .person
        .kedge(words)
        .env("PATH", &path)
        .run()?
        .success()?;
    let out = ran.out();
    assert!(
        out.starts_with(&direct),
        "signals or descriptors differ: {direct}\n{out}"
    );
    let folder = site.person.path(".local/state/kedge/agent");
    let tail = format!(
        "<-t>\n<-L>\n<1:x:2>\n<-v>\n<-o>\n<Ciphers=^aes128-gcm@openssh.com>\n<-o>\n<IdentityAgent={}/%C>\n<-->\n\
         <web01.kedge>\n<a b>\n<-c>\n",
        folder.display()
    );
    assert!(out.ends_with(&tail), "{out}");
    Ok(())
}
