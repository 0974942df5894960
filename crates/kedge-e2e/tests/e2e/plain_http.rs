//! Behind a proxy that ends TLS, a hub serves plain HTTP, and everything works as with TLS.

use kedge_testkit::hub::Tls;

use crate::prelude::*;

#[test]
fn the_whole_path_over_plain_http() -> Result<()> {
    case(|t| {
        let mut options = t.hub_options()?;
        options.tls = Tls::Off;
        let stack = t.stack_with(options)?;
        ensure!(
            stack.hub.url().starts_with("http://") && stack.hub.pin().is_none(),
            "{}",
            stack.hub.url()
        );
        let bytes = noise(1_000_000);
        let ran = feed(
            stack.alice.kedge_ssh_command(&[SERVER, "cat"]),
            bytes.clone(),
            defaults::BULK,
        )?
        .success()?;
        ensure!(ran.stdout == bytes);
        run(stack
            .alice
            .openssh("ssh", &[stack.host().as_str(), "exit 3"]))?
        .exits(3)?;
        Ok(())
    })
}

#[test]
fn tls_to_a_plain_port_and_the_other_way_round_are_reasons() -> Result<()> {
    case(|t| {
        let mut options = t.hub_options()?;
        options.tls = Tls::Off;
        let (plain, secure) = (Hub::start(options)?, t.hub()?);
        let person = t.stranger("alice", None)?;
        for url in [
            format!("https://{}", plain.address()),
            format!("http://{}", secure.address()),
        ] {
            let ran = person.log_in_with(&plain, &url, plain.token("alice")?)?;
            ensure!(ran.code().is_some_and(|code| code != 0), "{url}: {ran}");
            ensure!(ran.err().starts_with("error: "), "{url}: {ran}");
        }
        Ok(())
    })
}

#[test]
fn a_forwarded_address_counts_only_from_a_trusted_proxy() -> Result<()> {
    case(|t| {
        for (extra, wanted) in [
            ("", "127.0.0.1"),
            ("trusted-proxies = [\"127.0.0.1/32\"]\n", "203.0.113.9"),
        ] {
            let mut options = t.hub_options()?;
            options.tls = Tls::Off;
            options.first = extra.to_owned();
            let mut hub = Hub::start(options)?;
            let request = Request::new("GET", "/apis/kedge.dev/v1alpha1/whoami")
                .bearer("kpt_wrong")
                .header("X-Forwarded-For", "203.0.113.9");
            request.send(Endpoint::of(&hub))?;
            let event = hub.audited("the refusal", |event| {
                text(event, "event") == "authentication.refused"
            })?;
            ensure!(text(&event, "from") == wanted, "{extra}: {event}");
        }
        Ok(())
    })
}
