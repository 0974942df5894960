//! An agent reaches its own machine's sshd and nothing else, and says why when it cannot.

use crate::prelude::*;

fn retargeted(t: &Case, target: &str) -> Result<Stack> {
    let mut stack = t.stack()?;
    stack.agent.stop()?;
    stack.agent.options_mut().target = target.to_owned();
    stack.agent.configure()?;
    stack.agent.start()?;
    stack.phase(SERVER, "Online", defaults::SOON)?;
    Ok(stack)
}

#[test]
fn a_closed_port_is_a_reason() -> Result<()> {
    case(|t| {
        let stack = retargeted(t, &format!("tcp:127.0.0.1:{}", machine::free_port()?))?;
        let ran = stack.alice.kedge_ssh(&[SERVER, "true"])?.exits(255)?;
        ensure!(
            ran.err().to_lowercase().contains("refused"),
            "no reason: {ran}"
        );
        Ok(())
    })
}

#[test]
fn an_sshd_that_accepts_and_says_nothing_is_a_reason() -> Result<()> {
    case(|t| {
        let silent = Target::start(Manner::Silent)?;
        let stack = retargeted(t, &tcp(silent.address()))?;
        let ran = stack.alice.kedge_ssh(&[SERVER, "true"])?.exits(255)?;
        ensure!(ran.err().contains("error"), "a silent end: {ran}");
        ensure!(ran.took < Duration::from_secs(45), "it took {:?}", ran.took);
        wait::until_true("the agent to let go of it", defaults::SOON, || {
            Ok(silent.open() == 0)
        })
    })
}

#[test]
fn an_sshd_that_closes_at_once_ends_the_session() -> Result<()> {
    case(|t| {
        let rude = Target::start(Manner::Bye)?;
        let stack = retargeted(t, &tcp(rude.address()))?;
        stack.alice.kedge_ssh(&[SERVER, "true"])?.exits(255)?;
        wait::until_true("the agent to let go of it", defaults::SOON, || {
            Ok(rude.open() == 0)
        })
    })
}

#[test]
fn a_unix_socket_is_a_target() -> Result<()> {
    case(|t| {
        let path = t.dir().join("sshd.sock");
        let stack = retargeted(t, &format!("unix:{}", path.display()))?;
        // Nobody is there yet: a reason.
        stack
            .alice
            .kedge_ssh(&[SERVER, "true"])?
            .exits(255)?
            .says(&["error"])?;
        let listener = std::os::unix::net::UnixListener::bind(&path)?;
        let sshd = stack.sshd.address();
        std::thread::spawn(move || -> Result<()> {
            for near in listener.incoming() {
                let (mut near, mut far) = (near?, std::net::TcpStream::connect(sshd)?);
                let (mut from, mut to) = (near.try_clone()?, far.try_clone()?);
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut far, &mut near);
                    let _ = near.shutdown(std::net::Shutdown::Both);
                });
            }
            Ok(())
        });
        let ran = stack
            .alice
            .kedge_ssh(&[SERVER, "echo through a socket"])?
            .success()?;
        ensure!(ran.out() == "through a socket\n", "{ran}");
        Ok(())
    })
}

#[test]
fn nothing_but_this_machine_is_a_target() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        for target in [
            "tcp:10.0.0.1:22",
            "tcp:example.org:22",
            "tcp:0.0.0.0:22",
            "tcp:169.254.169.254:80",
            "udp:127.0.0.1:53",
            "22",
        ] {
            let agent = Agent::new(t.agent_options(&hub, SERVER, target, "/nonexistent/*.pub")?)?;
            let ran = run(agent.command("check-config"))?;
            ensure!(ran.code() != Some(0), "`{target}` was taken: {ran}");
            ensure!(ran.err().contains("target"), "the key is not named: {ran}");
        }
        Ok(())
    })
}

#[test]
fn a_hub_cannot_choose_another_target() -> Result<()> {
    case(|t| {
        let cheap = Cheap::start(t, Manner::Echo)?;
        let other = Target::start(Manner::Echo)?;
        for target in ["tcp/127.0.0.1", "tcp", "exec", "ssh/other"] {
            let mut client = cheap.client()?;
            let frame = kedge_testkit::peers::open_frame(client.stream, SERVER, None)?;
            let kedge_proto::Frame::Open(mut open) = frame else {
                bail!("no OPEN")
            };
            open.target = target.parse()?;
            client.send(&kedge_proto::Frame::Open(open))?;
            match client.next(defaults::SOON)? {
                kedge_proto::Frame::Refused { .. } | kedge_proto::Frame::Reset { .. } => {}
                frame => bail!("`{target}` was granted: {frame:?}"),
            }
        }
        ensure!(other.accepted() == 0 && cheap.target.accepted() == 0);
        Ok(())
    })
}
