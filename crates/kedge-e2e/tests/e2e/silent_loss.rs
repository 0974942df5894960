//! A link that dies without a word is noticed by both ends within 40 s.

use std::time::Instant;

use crate::prelude::*;

#[test]
fn a_half_open_link_of_an_agent_is_noticed_by_both_ends() -> Result<()> {
    case(|t| {
        let mut stack = t.wired_stack()?;
        // People take another way, so that only the agent's link is silent.
        let url = stack.hub.url();
        let admin = t.person_at(&stack.hub, &url, "admin", None)?;
        let start = Instant::now();
        stack.wire()?.silence();
        phase(&admin, SERVER, "Offline", defaults::SILENT_LOSS)?;
        let noticed = start.elapsed();
        ensure!(
            noticed < Duration::from_secs(42),
            "the hub took {noticed:?}"
        );
        let daemon = stack.agent.daemon()?;
        daemon.event("the agent to notice", defaults::SILENT_LOSS, |event| {
            let message = text(event, "message");
            (message == "not connected").then_some(())
        })?;
        stack.wire()?.restore();
        stack.wire()?.cut();
        phase(&admin, SERVER, "Online", defaults::SILENT_LOSS)?;
        Ok(())
    })
}

#[test]
fn a_session_over_a_half_open_link_ends_with_a_reason() -> Result<()> {
    case(|t| {
        let stack = t.wired_stack()?;
        let mut live = Live::start(
            stack
                .alice
                .kedge_ssh_command(&[SERVER, "echo started; cat"]),
        )?;
        live.expect("started", defaults::COMMAND)?;
        let start = Instant::now();
        stack.wire()?.silence();
        let ran = live.wait(defaults::SILENT_LOSS)?.exits(255)?;
        ensure!(
            start.elapsed() < Duration::from_secs(42),
            "it took {:?}",
            start.elapsed()
        );
        ensure!(ran.err().contains("error"), "no reason: {ran}");
        Ok(())
    })
}
