//! When a part dies in the middle of a session, the session ends with a reason, at once, and nothing stays.

use rustix::process::Signal;

use crate::prelude::*;

fn session(stack: &Stack) -> Result<Live> {
    let mut live = Live::start(
        stack
            .alice
            .kedge_ssh_command(&[SERVER, "echo started; cat"]),
    )?;
    live.expect("started", defaults::COMMAND)?;
    Ok(live)
}

#[test]
fn agent_killed_mid_session() -> Result<()> {
    case(|t| {
        let mut stack = t.stack()?;
        let live = session(&stack)?;
        stack.agent.kill()?;
        let ran = live.wait(defaults::SOON)?.exits(255)?;
        ensure!(ran.err().contains("error"), "no reason on stderr: {ran}");
        let closed = stack.hub.audited("the closing event", |event| {
            text(event, "event") == "session.closed"
        })?;
        ensure!(!text(&closed, "how").is_empty(), "no how: {closed}");
        stack
            .hub
            .metric("kedge_hub_sessions", defaults::SOON, |live| live == 0.0)?;
        stack.phase(SERVER, "Offline", defaults::SOON)?;
        // And it is as good as new when it comes back.
        stack.agent.start()?;
        stack.phase(SERVER, "Online", defaults::SOON)?;
        stack.alice.kedge_ssh(&[SERVER, "true"])?.success()?;
        Ok(())
    })
}

#[test]
fn hub_killed_mid_session() -> Result<()> {
    case(|t| {
        let mut stack = t.wired_stack()?;
        let live = session(&stack)?;
        stack.hub.kill()?;
        let ran = live.wait(defaults::SOON)?.exits(255)?;
        ensure!(ran.err().contains("error"), "no reason on stderr: {ran}");
        // The agent comes back by itself, and knows its place.
        stack.hub.launch()?;
        stack.wire()?.retarget(stack.hub.address());
        stack.phase(SERVER, "Online", defaults::SILENT_LOSS)?;
        stack.alice.kedge_ssh(&[SERVER, "true"])?.success()?;
        Ok(())
    })
}

#[test]
fn sshd_killed_mid_session() -> Result<()> {
    case(|t| {
        let stack = t.stack()?;
        let live = session(&stack)?;
        let Stack {
            sshd,
            alice,
            hub,
            agent,
            admin,
            ..
        } = stack;
        sshd.kill();
        live.wait(defaults::SOON)?.exits(255)?;
        alice
            .kedge_ssh(&[SERVER, "true"])?
            .exits(255)?
            .says(&["error"])?;
        drop((hub, agent, admin));
        Ok(())
    })
}

#[test]
fn a_hub_that_is_stopped_lets_sessions_end_by_themselves() -> Result<()> {
    case(|t| {
        let mut stack = t.stack()?;
        let mut live = session(&stack)?;
        stack.hub.signal(Signal::TERM)?;
        let admin_address = stack.hub.admin_address();
        wait::until_true(
            "the hub to say that it is not ready",
            defaults::SOON,
            || {
                Ok(kedge_testkit::census::get(admin_address, "/ready")
                    .map_or(true, |(status, _)| status != 200))
            },
        )?;
        // What is under way goes on.
        live.send("still here\n")?;
        live.expect("still here", defaults::SOON)?;
        live.close_stdin();
        live.finish(defaults::COMMAND)?.success()?;
        let status = stack.hub.daemon()?.wait(defaults::STOP)?;
        ensure!(status.success(), "the hub ended with {status}");
        Ok(())
    })
}

#[test]
fn a_session_that_does_not_end_is_cut_after_the_drain() -> Result<()> {
    case(|t| {
        let mut options = t.hub_options()?;
        options.extra = "[shutdown]\ndrain-seconds = 1\n".to_owned();
        let mut stack = t.stack_with(options)?;
        let live = session(&stack)?;
        let status = stack.hub.stop()?;
        ensure!(status.success(), "the hub ended with {status}");
        live.wait(defaults::SOON)?.exits(255)?.says(&["error"])?;
        Ok(())
    })
}

#[test]
fn an_agent_that_is_stopped_says_goodbye() -> Result<()> {
    case(|t| {
        let mut stack = t.stack()?;
        let start = std::time::Instant::now();
        let status = stack.agent.stop()?;
        ensure!(status.success(), "the agent ended with {status}");
        stack.phase(SERVER, "Offline", defaults::SOON)?;
        ensure!(
            start.elapsed() < Duration::from_secs(15),
            "a clean stop shows at once, not after a silence"
        );
        Ok(())
    })
}
