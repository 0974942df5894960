//! Agents and people reach the hub through an HTTP CONNECT proxy, and not where `NO_PROXY` says so.

use kedge_testkit::connect_proxy::{Answer, ConnectProxy};

use crate::prelude::*;

#[test]
fn everything_goes_through_the_proxy() -> Result<()> {
    case(|t| {
        let (hub, sshd) = (t.hub()?, t.sshd()?);
        let proxy = ConnectProxy::start(Answer::Connect)?;
        let admin = t.person(&hub, "admin", Some(&sshd))?;
        let mut options = t.agent_options(&hub, SERVER, &tcp(sshd.address()), &sshd.host_keys())?;
        options.environment = vec![("HTTPS_PROXY".to_owned(), proxy.url())];
        let agent = Agent::new(options)?;
        let mut join = agent.join_command();
        let token = t.write("token", admin.join_token(&[])?)?;
        std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        join.arg("--token-file").arg(&token);
        run(join)?.success()?;
        let joined = proxy.asked().len();
        ensure!(joined > 0, "the join went around the proxy");
        let mut agent = agent;
        agent.start()?;
        ensure!(
            proxy.asked().len() > joined,
            "the tunnel went around the proxy"
        );
        ensure!(
            proxy
                .asked()
                .iter()
                .all(|asked| *asked == hub.address().to_string()),
            "{:?}",
            proxy.asked()
        );

        admin.apply(&Person::policy("p", &["admin"])?)?;
        phase(&admin, SERVER, "Online", defaults::SOON)?;
        let before = proxy.asked().len();
        let mut command = admin.kedge_ssh_command(&[SERVER, "echo through a proxy"]);
        command.env("https_proxy", proxy.url());
        let ran = run(command)?.success()?;
        ensure!(ran.out() == "through a proxy\n", "{ran}");
        ensure!(
            proxy.asked().len() > before,
            "the session went around the proxy"
        );
        Ok(())
    })
}

#[test]
fn no_proxy_is_heeded() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let proxy = ConnectProxy::start(Answer::Connect)?;
        let admin = t.person(&hub, "admin", None)?;
        for list in ["127.0.0.1", "example.org, 127.0.0.1", "127.0.0.0/8", "*"] {
            let mut command = admin.kedge_command(&["whoami"]);
            command
                .env("HTTPS_PROXY", proxy.url())
                .env("NO_PROXY", list);
            run(command)?.success()?;
            ensure!(
                proxy.asked().is_empty(),
                "NO_PROXY={list} went through the proxy"
            );
        }
        let mut command = admin.kedge_command(&["whoami"]);
        command
            .env("HTTPS_PROXY", proxy.url())
            .env("NO_PROXY", "example.org");
        run(command)?.success()?;
        let hub = hub.address().to_string();
        let asked = proxy.asked();
        ensure!(
            !asked.is_empty() && asked.iter().all(|target| *target == hub),
            "{asked:?}"
        );
        Ok(())
    })
}

#[test]
fn a_proxy_that_says_no_and_one_that_is_not_there_are_reasons() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let proxy = ConnectProxy::start(Answer::Forbid)?;
        let admin = t.person(&hub, "admin", None)?;
        let nobody = format!("http://127.0.0.1:{}", machine::free_port()?);
        for (url, said) in [(proxy.url(), "403"), (nobody, "proxy")] {
            let mut command = admin.kedge_command(&["whoami"]);
            command.env("HTTPS_PROXY", &url);
            let ran = run(command)?.exits(1)?.says(&["error: ", said])?;
            ensure!(ran.err().to_lowercase().contains("proxy"), "{ran}");
        }
        Ok(())
    })
}
