//! A test that fails leaves the daemons' logs where its message says, and none of the daemons.

use std::process::Command;

use kedge_testkit::process::is_alive;

use crate::prelude::*;

/// Set for the one run that is to fail.
const FAIL: &str = "KEDGE_E2E_FAIL_ON_PURPOSE";

#[test]
fn a_failing_test_keeps_its_logs_and_nothing_else() -> Result<()> {
    case(|t| {
        let mut hub = t.hub()?;
        if std::env::var_os(FAIL).is_some() {
            bail!(
                "on purpose; the hub is {} in {}",
                hub.daemon()?.pid(),
                t.dir().display()
            );
        }
        let mut again = Command::new(std::env::current_exe()?);
        again.args([
            "--exact",
            "failing_tests::a_failing_test_keeps_its_logs_and_nothing_else",
            "--nocapture",
        ]);
        let logs = t.subdir("logs")?;
        again
            .env(FAIL, "1")
            .env("KEDGE_E2E_LOGS", &logs)
            .env("RUST_BACKTRACE", "0");
        let ran = run(again)?;
        ensure!(
            ran.code().is_some_and(|code| code != 0),
            "it did not fail: {ran}"
        );
        let named = logs.join("failing_tests.a_failing_test_keeps_its_logs_and_nothing_else");
        ensure!(
            ran.err().contains(&named.display().to_string()),
            "the folder is not named: {ran}"
        );
        let log = std::fs::read_to_string(named.join("hub-main.log"))?;
        ensure!(log.contains("hub listening"), "an empty log: {log}");
        let said = ran.err();
        let mut words = said
            .split_whitespace()
            .skip_while(|word| *word != "is")
            .skip(1);
        let pid: u32 = words.next().context("the hub's process")?.parse()?;
        ensure!(!is_alive(pid), "the hub of the failed test lives on");
        let scratch = words.nth(1).context("the scratch folder")?;
        ensure!(!std::path::Path::new(scratch).exists(), "{scratch} is left");
        Ok(())
    })
}
