//! A session through the whole path is what a session without kedge is: streams, statuses, signals, nothing added.

use rustix::process::Signal;

use crate::prelude::*;

#[test]
fn the_exit_status_is_the_remotes() -> Result<()> {
    case(|t| {
        let stack = t.stack()?;
        for code in [0, 1, 42, 254] {
            stack
                .alice
                .kedge_ssh(&[SERVER, &format!("exit {code}")])?
                .exits(code)?;
        }
        stack
            .alice
            .kedge_ssh(&[SERVER, "--", "no-such-command-anywhere"])?
            .exits(127)?;
        run(stack
            .alice
            .openssh("ssh", &[stack.host().as_str(), "exit 7"]))?
        .exits(7)?;
        Ok(())
    })
}

#[test]
fn what_is_ours_exits_255_with_a_reason() -> Result<()> {
    case(|t| {
        let mut stack = t.stack()?;
        let unknown = stack
            .alice
            .kedge_ssh(&["no-such-server", "true"])?
            .exits(255)?;
        ensure!(!unknown.err().trim().is_empty(), "no reason: {unknown}");
        stack.agent.stop()?;
        stack.phase(SERVER, "Offline", defaults::SOON)?;
        stack
            .alice
            .kedge_ssh(&[SERVER, "true"])?
            .exits(255)?
            .says(&["not connected"])?;
        run(stack.alice.openssh("ssh", &[stack.host().as_str(), "true"]))?
            .exits(255)?
            .says(&["not connected"])?;
        Ok(())
    })
}

#[test]
fn stdin_stdout_and_stderr_stay_apart_and_untouched() -> Result<()> {
    case(|t| {
        let stack = t.stack()?;
        let command = stack
            .alice
            .kedge_ssh_command(&[SERVER, "cat; echo to stderr >&2; printf '\\000\\377'"]);
        let ran = feed(
            command,
            b"line\r\n\x00\x01\xff no newline".to_vec(),
            defaults::COMMAND,
        )?
        .success()?;
        ensure!(
            ran.stdout == b"line\r\n\x00\x01\xff no newline\x00\xff",
            "stdout changed: {ran}"
        );
        ensure!(ran.stderr == b"to stderr\n", "stderr changed: {ran}");
        Ok(())
    })
}

#[test]
fn half_close_is_exact_in_both_directions() -> Result<()> {
    case(|t| {
        let stack = t.stack()?;
        // The end of our input reaches the remote command, which goes on to speak.
        let mut live = Live::start(
            stack
                .alice
                .kedge_ssh_command(&[SERVER, "cat >/dev/null; echo input ended"]),
        )?;
        live.send("something")?;
        live.close_stdin();
        live.expect("input ended", defaults::COMMAND)?;
        live.finish(defaults::COMMAND)?.success()?;
        // The end of the remote's output reaches us, while it goes on to read.
        let proof = t.dir().join("proof");
        let words = format!("exec >&- 2>&-; cat > {}", proof.display());
        let mut live = Live::start(stack.alice.kedge_ssh_command(&[SERVER, &words]))?;
        live.send("after the end of stdout")?;
        live.finish(defaults::COMMAND)?.success()?;
        ensure!(std::fs::read(&proof)? == b"after the end of stdout");
        Ok(())
    })
}

#[test]
fn a_keystroke_comes_back_while_the_session_is_open() -> Result<()> {
    case(|t| {
        let stack = t.stack()?;
        let mut live = Live::start(stack.alice.kedge_ssh_command(&[SERVER, "cat"]))?;
        for word in ["one\n", "two\n", "three\n"] {
            live.send(word)?;
            live.expect(word, defaults::COMMAND)?;
        }
        live.finish(defaults::COMMAND)?.success()?;
        Ok(())
    })
}

#[test]
fn a_terminal_is_asked_for_and_given() -> Result<()> {
    case(|t| {
        let stack = t.stack()?;
        let ran = stack
            .alice
            .kedge_ssh(&["-tt", SERVER, "tty; stty size"])?
            .success()?;
        ensure!(ran.out().contains("/dev/pts/"), "no terminal: {ran}");
        let ran = stack.alice.kedge_ssh(&["-T", SERVER, "tty"])?.exits(1)?;
        ensure!(ran.out().contains("not a tty"), "a terminal: {ran}");
        Ok(())
    })
}

#[test]
fn a_killed_ssh_ends_the_session_at_the_server() -> Result<()> {
    case(|t| {
        let mut stack = t.stack()?;
        let proof = t.dir().join("proof");
        let words = format!("echo started; cat; echo over > {}", proof.display());
        let mut live = Live::start(stack.alice.kedge_ssh_command(&[SERVER, &words]))?;
        live.expect("started", defaults::COMMAND)?;
        live.signal(Signal::KILL)?;
        wait::until_true("sshd to see the end", defaults::SOON, || Ok(proof.exists()))?;
        let closed = stack.hub.audited("the closing event", |event| {
            text(event, "event") == "session.closed"
        })?;
        ensure!(
            text(&closed, "subject") == "alice",
            "whose was it: {closed}"
        );
        stack
            .hub
            .metric("kedge_hub_sessions", defaults::SOON, |live| live == 0.0)?;
        Ok(())
    })
}

#[test]
fn an_interrupted_ssh_ends_as_ssh_does() -> Result<()> {
    case(|t| {
        let stack = t.stack()?;
        let mut live = Live::start(
            stack
                .alice
                .kedge_ssh_command(&[SERVER, "echo started; cat"]),
        )?;
        live.expect("started", defaults::COMMAND)?;
        // OpenSSH looks whether a signal came and then waits for data; one that comes in between waits too, and people
        // press again.
        wait::until_true("the end of ssh", defaults::SOON, || {
            let runs = live.is_running()?;
            if runs {
                live.signal(Signal::INT)?;
            }
            Ok(!runs)
        })?;
        let ran = live.wait(defaults::SOON)?;
        let direct = ran.code();
        // ssh ends by the signal, or with 130 or 255 by its version; never with success.
        ensure!(
            matches!(direct, None | Some(130 | 255)),
            "it ended otherwise: {ran}"
        );
        Ok(())
    })
}

#[test]
fn a_hundred_sessions_at_once_do_not_mix() -> Result<()> {
    case(|t| {
        let cheap = Cheap::start(t, Manner::Echo)?;
        let (endpoint, token) = (cheap.endpoint(), cheap.hub.token("alice")?);
        std::thread::scope(|scope| -> Result<()> {
            let workers: Vec<_> = (0..100_u32)
                .map(|number| {
                    scope.spawn(move || -> Result<()> {
                        let mut client = Client::connect(endpoint, token)?;
                        client.opened(SERVER)?;
                        client.read(BANNER.len())?;
                        let mine = number.to_be_bytes().repeat(5_000);
                        for part in mine.chunks(7_001) {
                            client.write(part)?;
                        }
                        let back = client.read(mine.len())?;
                        ensure!(back == mine, "session {number} got other bytes");
                        client.finish()
                    })
                })
                .collect();
            for worker in workers {
                worker
                    .join()
                    .map_err(|_| anyhow::anyhow!("a session panicked"))??;
            }
            Ok(())
        })
    })
}
