//! ssh's own options are ssh's: forwards of every kind, `-W`, `-N`, `-A`, `-o`.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::prelude::*;

fn greeting(port: u16) -> Result<()> {
    wait::until_true("the forwarded port to answer", defaults::SOON, || {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
            return Ok(false);
        };
        stream.set_read_timeout(Some(defaults::SOON))?;
        let mut greeting = vec![0; BANNER.len()];
        stream.read_exact(&mut greeting)?;
        ensure!(greeting == BANNER, "somebody else answered: {greeting:?}");
        stream.write_all(b"echo")?;
        let mut back = [0; 4];
        stream.read_exact(&mut back)?;
        ensure!(&back == b"echo");
        Ok(true)
    })
}

#[test]
fn local_forward_without_a_command() -> Result<()> {
    case(|t| {
        let stack = t.stack()?;
        let target = Target::start(Manner::Echo)?;
        let port = machine::free_port()?;
        let forward = format!("127.0.0.1:{port}:{}", target.address());
        let _live = Live::start(
            stack
                .alice
                .kedge_ssh_command(&["-N", "-L", &forward, SERVER]),
        )?;
        greeting(port)
    })
}

#[test]
fn remote_forward() -> Result<()> {
    case(|t| {
        let stack = t.stack()?;
        let target = Target::start(Manner::Echo)?;
        let port = machine::free_port()?;
        let forward = format!("127.0.0.1:{port}:{}", target.address());
        let _live = Live::start(
            stack
                .alice
                .kedge_ssh_command(&["-N", "-R", &forward, SERVER]),
        )?;
        greeting(port)
    })
}

#[test]
fn dynamic_forward_speaks_socks() -> Result<()> {
    case(|t| {
        let stack = t.stack()?;
        let target = Target::start(Manner::Echo)?;
        let port = machine::free_port()?;
        let _live = Live::start(stack.alice.kedge_ssh_command(&[
            "-N",
            "-D",
            &format!("127.0.0.1:{port}"),
            SERVER,
        ]))?;
        wait::until_true("the SOCKS port to answer", defaults::SOON, || {
            let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
                return Ok(false);
            };
            stream.set_read_timeout(Some(defaults::SOON))?;
            // SOCKS 4: connect to 127.0.0.1:port as nobody.
            let mut request = vec![4, 1];
            request.extend_from_slice(&target.address().port().to_be_bytes());
            request.extend_from_slice(&[127, 0, 0, 1, 0]);
            stream.write_all(&request)?;
            let mut answer = [0; 8];
            stream.read_exact(&mut answer)?;
            ensure!(answer[1] == 90, "SOCKS refused: {answer:?}");
            let mut greeting = vec![0; BANNER.len()];
            stream.read_exact(&mut greeting)?;
            Ok(greeting == BANNER)
        })
    })
}

#[test]
fn stdio_forward_and_jump_through_a_server() -> Result<()> {
    case(|t| {
        let stack = t.stack()?;
        let target = Target::start(Manner::Bye)?;
        let ran = stack
            .alice
            .kedge_ssh(&["-W", &target.address().to_string(), SERVER])?
            .success()?;
        ensure!(ran.stdout == BANNER, "it said {ran}");
        Ok(())
    })
}

#[test]
fn options_of_ssh_reach_ssh() -> Result<()> {
    case(|t| {
        let stack = t.stack()?;
        let ran = stack
            .alice
            .kedge_ssh(&["-o", "SetEnv=KEDGE_TEST=hello", "-v", SERVER, "exit 3"])?
            .exits(3)?;
        ensure!(ran.err().contains("debug1:"), "-v was not passed on: {ran}");
        let me = machine::me()?;
        stack
            .alice
            .kedge_ssh(&["-l", &me, SERVER, "true"])?
            .success()?;
        stack
            .alice
            .kedge_ssh(&[&format!("{me}@{SERVER}"), "true"])?
            .success()?;
        // An option that ssh does not know is ssh's to refuse.
        let ran = stack
            .alice
            .kedge_ssh(&["-o", "NoSuchOption=1", SERVER, "true"])?
            .exits(255)?;
        ensure!(
            ran.err().to_lowercase().contains("nosuchoption"),
            "ssh's words are missing: {ran}"
        );
        Ok(())
    })
}

#[test]
fn the_users_own_agent_is_forwarded_when_asked() -> Result<()> {
    case(|t| {
        let stack = t.stack()?;
        let socket = t.dir().join("agent.sock").display().to_string();
        let mut agent = std::process::Command::new("ssh-agent");
        agent.args(["-D", "-a", &socket]);
        let _agent = kedge_testkit::process::Daemon::spawn("ssh-agent", agent, t.logs())?;
        wait::until_true("ssh-agent to listen", defaults::SOON, || {
            Ok(std::path::Path::new(&socket).exists())
        })?;
        let mut add = std::process::Command::new("ssh-add");
        add.arg("-q")
            .arg(stack.sshd.user_key())
            .env("SSH_AUTH_SOCK", &socket);
        run(add)?.success()?;
        let identity = format!("IdentityAgent={socket}");
        let forwarded = ["-A", "-o", &identity, SERVER, "ssh-add -l"];
        let ran = stack.alice.kedge_ssh(&forwarded)?.success()?;
        ensure!(ran.out().contains("ED25519"), "no key of the agent: {ran}");
        let ran = stack
            .alice
            .kedge_ssh(&["-o", &identity, SERVER, "ssh-add -l"])?;
        ensure!(
            ran.code() == Some(2),
            "an agent that nobody forwarded: {ran}"
        );
        Ok(())
    })
}

#[test]
fn a_shared_connection_works_as_ever() -> Result<()> {
    case(|t| {
        let stack = t.stack()?;
        let control = format!("ControlPath={}", t.dir().join("control").display());
        let host = stack.host();
        let master = ["-M", "-N", "-o", &control, &host];
        let live = Live::start(stack.alice.openssh("ssh", &master))?;
        let check = ["-O", "check", "-o", &control, &host];
        wait::until_true("the shared connection", defaults::SOON, || {
            Ok(run(stack.alice.openssh("ssh", &check))?.code() == Some(0))
        })?;
        let accepted = stack.sshd.accepted()?;
        for code in [0, 3] {
            let words = ["-o", &control, &host, &format!("exit {code}")];
            run(stack.alice.openssh("ssh", &words))?.exits(code)?;
        }
        ensure!(
            stack.sshd.accepted()? == accepted,
            "another connection was made"
        );
        drop(live);
        Ok(())
    })
}
