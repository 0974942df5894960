//! A keystroke does not wait behind a download, and a stalled reader stalls its own stream only.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use kedge_testkit::peers::open_frame;

use crate::prelude::*;

#[test]
fn a_keystroke_does_not_wait_behind_downloads() -> Result<()> {
    case(|t| {
        let cheap = Cheap::start(t, Manner::Source)?;
        let echo = Target::start(Manner::Echo)?;
        let keys = host_key_file(t)?;
        let options = t.agent_options(&cheap.hub, "echo01", &tcp(echo.address()), &keys)?;
        let mut agent = t.join(&cheap.admin, options)?;
        agent.start()?;
        phase(&cheap.admin, "echo01", "Online", defaults::SOON)?;
        let over = AtomicBool::new(false);
        let (endpoint, token) = (cheap.endpoint(), cheap.hub.token("alice")?);
        std::thread::scope(|scope| -> Result<()> {
            for _ in 0..4 {
                scope.spawn(|| -> Result<()> {
                    let mut client = Client::connect(endpoint, token)?;
                    client.opened(SERVER)?;
                    while !over.load(Ordering::SeqCst) {
                        client.read(1024 * 1024)?;
                    }
                    Ok(())
                });
            }
            let typed = (|| -> Result<Duration> {
                let mut client = Client::connect(endpoint, token)?;
                client.opened("echo01")?;
                client.read(BANNER.len())?;
                let mut slowest = Vec::new();
                for _ in 0..50 {
                    let start = Instant::now();
                    client.write(b"k")?;
                    client.read(1)?;
                    slowest.push(start.elapsed());
                }
                slowest.sort_unstable();
                Ok(slowest[25])
            })();
            over.store(true, Ordering::SeqCst);
            // Debug builds on two busy cores: what is excluded is a queue of seconds, not of milliseconds.
            let median = typed?;
            ensure!(
                median < Duration::from_millis(500),
                "a keystroke takes {median:?}"
            );
            Ok(())
        })
    })
}

#[test]
fn stalled_readers_of_one_agent_do_not_stall_its_other_sessions() -> Result<()> {
    case(|t| {
        let cheap = Cheap::start(t, Manner::Source)?;
        let mut stalled = Vec::new();
        for _ in 0..32 {
            let mut client = cheap.client()?;
            client.send(&open_frame(client.stream, SERVER, None)?)?;
            stalled.push(client);
        }
        wait::until_true("the sources to be open", defaults::SOON, || {
            Ok(cheap.target.open() >= 32)
        })?;
        let mut reader = cheap.client()?;
        reader.opened(SERVER)?;
        let start = Instant::now();
        reader.read(4 * 1024 * 1024)?;
        ensure!(
            start.elapsed() < Duration::from_secs(30),
            "it took {:?}",
            start.elapsed()
        );
        drop(stalled);
        wait::until_true("the agent to let go of them", defaults::SOON, || {
            Ok(cheap.target.open() <= 1)
        })
    })
}
