//! What one session costs after another, counted in requests to the hub and in starts of `kedge`; and what is
//! not saved: whoever may not log in any more, or is another server by now, is noticed as in the first one.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::Result;
use common::Target;
use common::site::{ACCESS, CONNECT, Site, site};
use kedge_testkit::machine;
use kedge_tunnel::RefuseCode;

/// At 50 ms to the hub, a connection to it before the one that counts would be 150 ms.
#[test]
fn the_next_session_does_not_ask_before_it_dials() -> Result<()> {
    let site = site()?;
    let plain = |site: &Site| site.person.ssh(["web01.kedge", "true"]).run()?.success();
    plain(&site)?;
    site.hub.requests();
    plain(&site)?;
    assert_eq!(site.hub.requests(), [CONNECT], "at once");
    site.a_minute_passes()?;
    // All that `ssh` does before it connects.
    site.person.ssh(["-G", "web01.kedge"]).run()?.success()?;
    assert_eq!(site.hub.requests(), Vec::<String>::new());
    // The host keys are old now: they are asked for beside the dial, once, and `kedge known-hosts`, which
    // `ssh` runs twice, finds them.
    plain(&site)?;
    assert_eq!(site.sorted_requests(), [ACCESS, CONNECT]);
    plain(&site)?;
    assert_eq!(site.hub.requests(), [CONNECT], "they are new again");
    site.a_minute_passes()?;
    site.kedge_ssh(&["web01", "true"]).run()?.success()?;
    assert_eq!(site.sorted_requests(), [ACCESS, CONNECT]);
    Ok(())
}

/// A host key that is not trusted any more is not trusted for the time that a login is remembered.
#[test]
fn the_next_session_believes_only_the_host_keys_of_now() -> Result<()> {
    let site = site()?;
    site.person.ssh(["web01.kedge", "true"]).run()?.success()?;
    site.a_minute_passes()?;
    let other = site.person.path("other");
    kedge_testkit::sshd::keygen(&other, "ed25519")?;
    let public = fs::read_to_string(other.with_extension("pub"))?;
    let words: Vec<_> = public.split_whitespace().take(2).collect();
    let keys = std::mem::replace(&mut site.hub.state().host_keys, vec![words.join(" ")]);
    let ran = site.person.ssh(["web01.kedge", "true"]).run()?.exits(255)?;
    assert!(
        ran.err().contains("Host key verification failed"),
        "{}",
        ran.err()
    );
    site.hub.state().host_keys = keys;
    site.a_minute_passes()?;
    site.person.ssh(["web01.kedge", "true"]).run()?.success()?;
    Ok(())
}

#[test]
fn a_mapped_login_that_changed_is_learned_by_the_next_session() -> Result<()> {
    let site = site()?;
    let user = |site: &Site| {
        let ran = site.person.ssh(["-G", "web01.kedge"]).run()?.success()?;
        let out = ran.out();
        let line = out.lines().find_map(|line| line.strip_prefix("user "));
        Ok::<_, anyhow::Error>(line.unwrap_or_default().to_owned())
    };
    site.person.ssh(["web01.kedge", "true"]).run()?.success()?;
    let me = std::mem::replace(&mut site.hub.state().login, "another".into());
    site.a_minute_passes()?;
    assert_eq!(user(&site)?, me, "remembered");
    // The hub lets the former login in, and says beside it which one it is now.
    site.person.ssh(["web01.kedge", "true"]).run()?.success()?;
    assert_eq!(user(&site)?, "another");
    // Where it does not, the refusal makes the next try ask.
    site.a_minute_passes()?;
    let target = site.hub.state().target.clone();
    site.hub.state().target = Target::Refuse(RefuseCode::Denied, "another login now".into());
    site.hub.state().login = me;
    site.person.ssh(["web01.kedge", "true"]).run()?.exits(255)?;
    site.hub.state().target = target;
    site.person.ssh(["web01.kedge", "true"]).run()?.success()?;
    Ok(())
}

#[test]
fn who_is_not_logged_in_any_more_hears_it_before_ssh_begins() -> Result<()> {
    let site = site()?;
    let resolve = ["ssh-config", "--resolve=web01.kedge"];
    site.person.kedge(resolve).run()?.success()?;
    site.a_minute_passes()?;
    site.person.kedge(resolve).run()?.success()?;
    let login = site
        .person
        .path(".local/state/kedge/hubs/main/credentials.json");
    fs::remove_file(&login)?;
    let path = site.person.path("no-ssh-here").display().to_string();
    let ran = site
        .person
        .kedge(["ssh", "web01"])
        .env("PATH", &path)
        .run()?
        .exits(255)?;
    assert!(
        ran.err().contains("error: not logged in at hub `main`"),
        "{}",
        ran.err()
    );
    Ok(())
}

/// The answer to somebody's question comes when they are gone, and whoever logs in next is not to find it.
#[test]
fn what_is_said_to_somebody_who_logs_out_meanwhile_is_not_remembered() -> Result<()> {
    let resolve = ["ssh-config", "--resolve=web01.kedge"];
    for remembered in [false, true] {
        let site = site()?;
        if remembered {
            site.person.kedge(resolve).run()?.success()?;
            site.a_minute_passes()?;
        }
        site.hub.state().meanwhile = Some(site.person.kedge(["logout"]).command);
        // Asks before it begins the first time, and beside the dial the second time.
        let _ = site.person.ssh(["web01.kedge", "true"]).run()?;
        assert!(site.hub.state().meanwhile.is_none(), "the hub was asked");
        let answer = site
            .person
            .path(".local/state/kedge/hubs/main/access/web01");
        assert!(!answer.exists(), "{}", fs::read_to_string(answer)?);
    }
    Ok(())
}

/// One session is four starts of this program: one for the login, one for the connection, and two for the
/// host keys, since `ssh` asks for the order of algorithms and then for the keys.
#[test]
fn a_session_starts_kedge_four_times() -> Result<()> {
    let site = site()?;
    let (shim, log) = (
        site.person.path("counted-kedge"),
        site.person.path("starts"),
    );
    let program = fs::canonicalize(common::kedge())?.display().to_string();
    let script = format!(
        "#!/bin/sh\necho \"$*\" >> '{}'\nexec '{program}' \"$@\"\n",
        log.display()
    );
    fs::write(&shim, script)?;
    fs::set_permissions(&shim, fs::Permissions::from_mode(0o755))?;
    let file = site.person.path(".config/kedge/ssh_config");
    let text = fs::read_to_string(&file)?;
    assert!(text.contains(&program), "{text}");
    fs::write(&file, text.replace(&program, &shim.display().to_string()))?;
    site.person.ssh(["web01.kedge", "true"]).run()?.success()?;
    let me = machine::me()?;
    let started = fs::read_to_string(&log)?;
    let started: Vec<_> = started
        .lines()
        .map(|line| line.trim_start_matches("--hub main "))
        .collect();
    let known_hosts = format!("known-hosts --login={me} -- web01.kedge");
    let folder = site.person.path(".local/state/kedge/agent");
    let folder = folder.display();
    assert_eq!(
        started,
        [
            "ssh-config --resolve=web01.kedge",
            &format!("proxy --login={me} --port=22 --agent-folder={folder} -- web01.kedge"),
            &known_hosts,
            &known_hosts,
        ]
    );
    Ok(())
}
