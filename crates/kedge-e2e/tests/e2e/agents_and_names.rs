//! One agent is one server: nobody takes another's name, nobody speaks for another.

use crate::prelude::*;

#[test]
fn a_name_that_another_agent_has_is_refused() -> Result<()> {
    case(|t| {
        let stack = t.stack()?;
        let options = t.agent_options(
            &stack.hub,
            SERVER,
            "tcp:127.0.0.1:22",
            &stack.sshd.host_keys(),
        )?;
        let thief = Agent::new(options)?;
        let ran = thief.join(&stack.admin.join_token(&[])?)?;
        ensure!(ran.code() != Some(0), "the name was taken over: {ran}");
        ensure!(ran.err().contains(SERVER), "the name is not named: {ran}");
        ensure!(
            !thief.state_dir().join("identity.json").exists(),
            "half a join"
        );
        // The rightful one is untouched.
        stack.phase(SERVER, "Online", defaults::SOON)?;
        stack.alice.kedge_ssh(&[SERVER, "true"])?.success()?;
        Ok(())
    })
}

#[test]
fn assertions_are_checked_to_the_letter() -> Result<()> {
    case(|t| {
        let (hub, other) = (t.hub()?, t.hub()?);
        let admin = t.person(&hub, "admin", None)?;
        let endpoint = Endpoint::of(&hub);
        let mallory = FakeAgent::enrolled(endpoint, "mallory", &admin.join_token(&[])?)?;
        FakeAgent::enrolled(endpoint, "victim", &admin.join_token(&[])?)?;
        let foreign = FakeAgent::new(Endpoint::of(&other), "mallory")?;
        let good = mallory.assertion(None)?;
        let (body, signature) = good.rsplit_once('.').context("a JWT")?;
        let (_, claims) = body.split_once('.').context("a JWT")?;
        // {"alg":"none"} and {"alg":"HS256"}, base64url.
        let none = format!("eyJhbGciOiJub25lIn0.{claims}.");
        let hmac = format!("eyJhbGciOiJIUzI1NiJ9.{claims}.{signature}");
        let mut flipped = good.clone().into_bytes();
        let last = flipped.len() - 2;
        flipped[last] = if flipped[last] == b'A' { b'B' } else { b'A' };
        let attempts = [
            (
                "another server's name",
                mallory.assertion_for("victim", None)?,
            ),
            ("an unknown server", mallory.assertion_for("nobody", None)?),
            ("another hub's audience", foreign.assertion(None)?),
            ("no algorithm", none),
            ("a symmetric algorithm", hmac),
            ("a broken signature", String::from_utf8(flipped)?),
            ("garbage", "a.b.c".to_owned()),
        ];
        for (what, token) in attempts {
            let reply = Request::new("GET", "/kedge/v1/agent")
                .bearer(&token)
                .upgrade("kedge.v1")
                .send(endpoint)?;
            ensure!(
                reply.status == 401,
                "{what}: {} {}",
                reply.status,
                reply.text()
            );
        }
        // Seen once, an assertion is worth nothing.
        let request = Request::new("GET", "/kedge/v1/agent")
            .bearer(&good)
            .upgrade("kedge.v1");
        ensure!(request.send(endpoint)?.status == 101);
        ensure!(request.send(endpoint)?.status == 401, "a replay was taken");
        Ok(())
    })
}

#[test]
fn a_deleted_server_is_cut_off_and_stays_out() -> Result<()> {
    case(|t| {
        let stack = t.stack()?;
        let mut live = Live::start(
            stack
                .alice
                .kedge_ssh_command(&[SERVER, "echo started; cat"]),
        )?;
        live.expect("started", defaults::COMMAND)?;
        stack
            .admin
            .kedge(&["delete", "server", SERVER])?
            .success()?;
        live.wait(defaults::SOON)?.exits(255)?;
        stack
            .hub
            .metric("kedge_hub_tunnels", defaults::SOON, |tunnels| {
                tunnels == 0.0
            })?;
        stack.alice.kedge_ssh(&[SERVER, "true"])?.exits(255)?;
        Ok(())
    })
}

#[test]
fn a_second_join_of_the_same_agent_is_refused_or_the_same() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let admin = t.person(&hub, "admin", None)?;
        let keys = host_key_file(t)?;
        let options = t.agent_options(&hub, SERVER, "tcp:127.0.0.1:22", &keys)?;
        let mut agent = t.join(&admin, options)?;
        let key = std::fs::read(agent.state_dir().join("agent.key"))?;
        let _ = agent.join(&admin.join_token(&[])?)?;
        ensure!(
            std::fs::read(agent.state_dir().join("agent.key"))? == key,
            "a second join changed the key"
        );
        agent.options_mut().name = "other".to_owned();
        let ran = agent.join(&admin.join_token(&[])?)?;
        ensure!(
            ran.code() != Some(0),
            "an agent became another server: {ran}"
        );
        ensure!(
            std::fs::read(agent.state_dir().join("agent.key"))? == key,
            "a refused join changed the key"
        );
        agent.start()
    })
}
